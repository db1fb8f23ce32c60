//! Kernel texts, complete: the text of a file behind its precision, its constants and what it includes.

use valence_core::basis::harmonics::Harmonics;

use crate::equivariant::coupling::Coupling;
use crate::{basis, edges, equivariant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    F32,
    F64,
}

impl Precision {
    pub fn bytes(self) -> usize {
        if self == Precision::F32 { 4 } else { 8 }
    }

    pub fn name(self) -> &'static str {
        if self == Precision::F32 { "f32" } else { "f64" }
    }

    fn c_type(self) -> &'static str {
        if self == Precision::F32 { "float" } else { "double" }
    }

    /// A number as a literal of this precision, all digits.
    pub fn literal(self, x: f64) -> String {
        match self {
            Precision::F32 => format!("{:?}f", x as f32),
            Precision::F64 => format!("{x:?}"),
        }
    }
}

/// A text to compile, by what it depends on beside the precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Zero,
    Length,
    Inside,
    Harmonics(Harmonics),
    /// The product without weights.
    Simple(Coupling),
    /// The product with weights: sums over edges, towards y, dense products.
    Gather(Coupling),
    Reduce(Coupling),
    Dense(Coupling),
}

/// A complete kernel text.
pub struct Source {
    pub name: String,
    pub text: String,
}

const COMMON: &str = include_str!("common.cuh");

impl Unit {
    pub fn source(&self, precision: Precision) -> Source {
        let (file, text, label, header) = match self {
            Unit::Zero => ("zero.cu", include_str!("zero.cu"), String::new(), String::new()),
            Unit::Length => ("edges/length.cu", edges::length::TEXT, String::new(), String::new()),
            Unit::Inside => ("equivariant/inside.cu", equivariant::INSIDE, String::new(), String::new()),
            Unit::Harmonics(spec) => {
                let header = basis::harmonics::table(spec, precision);
                ("basis/harmonics.cu", basis::harmonics::TEXT, basis::harmonics::label(spec), header)
            }
            Unit::Simple(c) => ("equivariant/simple.cu", equivariant::SIMPLE, c.label(), c.simple(precision)),
            Unit::Gather(c) => ("equivariant/gather.cu", equivariant::GATHER, c.label(), c.gather(precision)),
            Unit::Reduce(c) => ("equivariant/reduce.cu", equivariant::REDUCE, c.label(), c.reduce(precision)),
            Unit::Dense(c) => ("equivariant/dense.cu", equivariant::DENSE, c.label(), c.dense()),
        };
        let text = text
            .replace("#include \"common.cuh\"", &COMMON.replace("#pragma once", ""))
            .replace("#include \"coupling.cuh\"", &header)
            .replace("#include \"harmonics_table.cuh\"", &header);
        let label = if label.is_empty() { label } else { format!("{label} ") };
        let name = format!("{file} {label}{}", precision.name());
        Source { name, text: format!("#define REAL {}\n{text}", precision.c_type()) }
    }
}
