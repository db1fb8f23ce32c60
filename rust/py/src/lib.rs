//! The glue between Python and the other floors: borrow, check, release the GIL, call, map the error.

mod anisoap;
mod arrays;
mod atoms;
mod basis;
mod cuda;
mod edges;
mod engine;
mod equivariant;
mod error;
mod ffi;
mod graph;
mod mace;
mod model;
mod op;
mod soap;
mod table;

use pyo3::prelude::*;

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    op::register(m)?;
    table::register(m)?;
    ffi::register(m)?;
    cuda::register(m)?;
    anisoap::register(m)?;
    arrays::register(m)?;
    atoms::register(m)?;
    edges::register(m)?;
    basis::register(m)?;
    equivariant::register(m)?;
    engine::register(m)?;
    graph::register(m)?;
    mace::register(m)?;
    model::register(m)?;
    soap::register(m)?;
    Ok(())
}
