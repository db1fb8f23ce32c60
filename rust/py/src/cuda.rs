//! Glue of the device floor: the probe and the compiler.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use valence_cuda::{compile, device, sources};

use crate::error::to_py;

/// Why `device="cuda"` cannot be served on this machine; None if it can.
#[pyfunction]
fn cuda_why_not(py: Python<'_>) -> Option<String> {
    py.detach(device::why_not)
}

/// (name, architecture, bytes of memory) of each GPU.
#[pyfunction]
fn cuda_devices(py: Python<'_>) -> PyResult<Vec<(String, String, usize)>> {
    py.detach(device::list).map_err(to_py)
}

/// (name, text) of every kernel of the package.
#[pyfunction]
fn cuda_sources() -> Vec<(&'static str, &'static str)> {
    sources().into_iter().map(|s| (s.name, s.text)).collect()
}

/// A kernel text compiled for one architecture ("sm_90"). Needs NVRTC, no GPU.
#[pyfunction]
fn cuda_cubin<'py>(
    py: Python<'py>,
    text: &str,
    name: &str,
    arch: &str,
    includes: Vec<String>,
) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = py.detach(|| compile::cubin(text, name, arch, &includes, &[])).map_err(to_py)?;
    Ok(PyBytes::new(py, &bytes))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(cuda_why_not, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_devices, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_sources, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_cubin, m)?)
}
