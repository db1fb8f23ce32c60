//! How a differentiable op is called without knowing its types: one signature for every kernel.
//!
//! A room lists its ops as `(name, Kernel<T>)`; the Python border, the torch and JAX registrations and the law tests
//! find them there by name. Shapes and dtypes are checked before a [`Call`] is made (see `rust/py/src/op.rs`).

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::real::Real;
use crate::stages::Stage;
use crate::{basis, edges, equivariant};

/// The body of an op. It trusts the lengths of its operands and checks what shapes cannot say (an index in range).
pub type Kernel<T> = fn(&Call<T>) -> Result<()>;

/// One input of a call.
#[derive(Clone, Copy)]
pub enum Operand<'a, T> {
    Real(&'a [T]),
    Index(&'a [i32]),
}

/// Operands, results and static parameters of one call of an op.
pub struct Call<'a, T> {
    pub inputs: &'a [Operand<'a, T>],
    /// Results, in declared order, each taken once.
    pub outputs: &'a [Cell<&'a mut [T]>],
    /// Static parameters as numbers, in the order that the declaration's `encode` gives.
    pub params: &'a [f64],
}

impl<'a, T: Real> Call<'a, T> {
    /// # Panics
    /// If input `i` is no real array: then declaration and kernel disagree, which is our bug.
    pub fn real(&self, i: usize) -> &'a [T] {
        match self.inputs[i] {
            Operand::Real(x) => x,
            Operand::Index(_) => panic!("input {i} of the op is declared as an index"),
        }
    }

    /// # Panics
    /// If input `i` is no index array.
    pub fn indices(&self, i: usize) -> &'a [i32] {
        match self.inputs[i] {
            Operand::Index(x) => x,
            Operand::Real(_) => panic!("input {i} of the op is declared as real"),
        }
    }

    /// Result `i`; a second request gives an empty slice.
    pub fn out(&self, i: usize) -> &'a mut [T] {
        self.outputs[i].take()
    }
}

/// Both precisions of one op.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub f32: Kernel<f32>,
    pub f64: Kernel<f64>,
}

/// The op called `name`, from whichever room has it.
pub fn find(name: &str) -> Option<Kernels> {
    all().get(name).copied()
}

/// The stage that an op is, for the timers: a derivative, a basis function, or a product.
pub fn stage(name: &str) -> Stage {
    let is_in = |room: Vec<(&str, Kernel<f64>)>| room.iter().any(|(n, _)| *n == name);
    if name.ends_with("_bwd") {
        Stage::Backward
    } else if is_in(equivariant::kernels()) {
        Stage::Contract
    } else {
        Stage::Basis
    }
}

/// The names of all ops, sorted.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = all().keys().copied().collect();
    names.sort_unstable();
    names
}

fn all() -> &'static HashMap<&'static str, Kernels> {
    static ALL: OnceLock<HashMap<&'static str, Kernels>> = OnceLock::new();
    ALL.get_or_init(|| {
        let rooms = [
            (edges::kernels::<f32>(), edges::kernels::<f64>()), //
            (basis::kernels::<f32>(), basis::kernels::<f64>()),
            (equivariant::kernels::<f32>(), equivariant::kernels::<f64>()),
        ];
        let pairs = rooms.into_iter().flat_map(|(single, double)| single.into_iter().zip(double));
        pairs.map(|((name, f32), (_, f64))| (name, Kernels { f32, f64 })).collect()
    })
}

/// `index` must be in [0, n): the one check that every op with indices makes.
pub fn check_index(name: &str, index: &[i32], n: usize) -> Result<()> {
    // One comparison finds negative values too: as u32 they are above any n that an i32 can reach.
    let limit = n.min(i32::MAX as usize) as u32;
    match index.iter().position(|&i| i as u32 >= limit) {
        None => Ok(()),
        Some(row) => Err(Error::value(name, &format!("in [0, {n})"), format!("{} in row {row}", index[row]))),
    }
}
