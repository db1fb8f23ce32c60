//! Glue of the equivariant room: polynomials are handed over once and then found by their key.

use pyo3::prelude::*;
use valence_core::equivariant::polynomial::form;

use crate::error::to_py;

/// Makes a polynomial known: `key_high` and `key_low` of its digest, sizes of the operands, terms as
/// (operands, extents, strides, offsets, coefficients).
#[pyfunction]
fn register_polynomial(
    py: Python<'_>,
    key_high: u64,
    key_low: u64,
    sizes: Vec<usize>,
    terms: Vec<form::RawTerm>,
) -> PyResult<()> {
    py.detach(|| form::register((key_high, key_low), sizes, terms)).map_err(to_py)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(register_polynomial, m)?)
}
