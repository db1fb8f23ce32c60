//! Launcher of `harmonics.cu`: a text for each degree and normalisation, with the constants of its recursion.

use valence_core::basis::Normalization;
use valence_core::basis::harmonics::Harmonics;
use valence_core::basis::harmonics_table::Table;

use crate::plan::{Builder, Memory, Shapes};
use crate::source::{Precision, Unit};
use valence_core::Result;

pub const TEXT: &str = include_str!("harmonics.cu");

pub fn label(spec: &Harmonics) -> String {
    let normalization = match spec.normalization {
        Normalization::Component => "component",
        Normalization::Norm => "norm",
        Normalization::Integral => "integral",
    };
    let (axis, unit) = (if spec.polar_y { "y" } else { "z" }, if spec.normalize { "unit" } else { "solid" });
    format!("lmax={} {unit} {normalization} polar={axis}", spec.lmax)
}

/// The generated `harmonics_table.cuh`.
pub fn table(spec: &Harmonics, precision: Precision) -> String {
    let table = Table::new(spec.lmax, spec.normalization);
    let list = |name: &str, values: &[f64]| {
        let values: Vec<_> = values.iter().map(|&x| precision.literal(x)).collect();
        format!("static __device__ const real {name}[] = {{{}}};\n", values.join(", "))
    };
    let mut text = format!("#define LMAX {}\n#define NORMALIZE {}\n", spec.lmax, spec.normalize);
    text += &format!("#define POLAR_Y {}\n", spec.polar_y);
    let lists =
        [("START", &table.start), ("ALONG", &table.along), ("BACK", &table.back), ("DZ", &table.dz), ("DR", &table.dr)];
    lists.into_iter().for_each(|(name, values)| text += &list(name, values));
    text
}

/// Threads of a block: those of the text.
fn threads(spec: &Harmonics) -> usize {
    if (4..=6).contains(&spec.lmax) { 64 } else { 128 }
}

/// Y of `vector`.
pub fn forward(b: &mut Builder, spec: Harmonics, vector: Memory, out: Memory, rows: usize) -> Result<()> {
    b.launch(Unit::Harmonics(spec), "harmonics", [rows.div_ceil(threads(&spec)), 1, 1], threads(&spec))
        .memory(&[vector, out])
        .sizes(&[rows])
}

pub fn backward(
    b: &mut Builder,
    spec: Harmonics,
    [vector, grad, out]: [Memory; 3],
    rows: usize,
    add: bool,
) -> Result<()> {
    b.launch(Unit::Harmonics(spec), "harmonics_bwd", [rows.div_ceil(threads(&spec)), 1, 1], threads(&spec))
        .memory(&[vector, grad, out])
        .sizes(&[rows, usize::from(add)])
}

/// Along h: the derivatives of the vjp and of Y.
pub fn backward_twice(
    b: &mut Builder,
    spec: Harmonics,
    [vector, grad, h, out_vector, out_grad]: [Memory; 5],
    rows: usize,
) -> Result<()> {
    b.launch(Unit::Harmonics(spec), "harmonics_bwd_bwd", [rows.div_ceil(threads(&spec)), 1, 1], threads(&spec))
        .memory(&[vector, grad, h, out_vector, out_grad])
        .sizes(&[rows])
}

/// The ops `spherical_harmonics`, `_bwd`, `_bwd_bwd`.
pub fn plan(b: &mut Builder, order: usize, params: &[f64], shapes: &Shapes) -> Result<()> {
    use Memory::{Input, Output};
    let (spec, rows) = (Harmonics::decode(params)?, shapes.size(0, 0));
    match order {
        0 => forward(b, spec, Input(0), Output(0), rows),
        1 => backward(b, spec, [Input(0), Input(1), Output(0)], rows, false),
        _ => backward_twice(b, spec, [Input(0), Input(1), Input(2), Output(0), Output(1)], rows),
    }
}
