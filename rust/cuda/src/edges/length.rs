//! Launcher of `length.cu`.

use valence_core::Result;

use crate::plan::{Builder, Memory, Shapes};
use crate::source::Unit;

pub const TEXT: &str = include_str!("length.cu");
const THREADS: usize = 256;

/// The ops `edge_length`, `_bwd`, `_bwd_bwd`.
pub fn plan(b: &mut Builder, order: usize, shapes: &Shapes) -> Result<()> {
    use Memory::{Input, Output};
    let rows = shapes.size(0, 0);
    let (kernel, memory) = match order {
        0 => ("edge_length", vec![Input(0), Output(0)]),
        1 => ("edge_length_bwd", vec![Input(0), Input(1), Output(0)]),
        _ => ("edge_length_bwd_bwd", vec![Input(0), Input(1), Input(2), Output(0), Output(1)]),
    };
    b.launch(Unit::Length, kernel, [rows.div_ceil(THREADS), 1, 1], THREADS).memory(&memory).sizes(&[rows])
}
