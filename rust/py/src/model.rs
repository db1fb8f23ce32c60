//! Glue of the model room: a file's tensors as NumPy arrays.

use std::path::PathBuf;

use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use valence_core::model::file::{File, Tensor};

use crate::error::to_py;

/// (metadata, configuration as JSON text, {name: array}) of a safetensors file; every array is a copy.
#[pyfunction]
fn read_model<'py>(
    py: Python<'py>,
    path: PathBuf,
    key: &str,
) -> PyResult<(Bound<'py, PyDict>, String, Bound<'py, PyDict>)> {
    let file = File::open(&path).map_err(to_py)?;
    let metadata = PyDict::new(py);
    for (name, text) in &file.metadata {
        metadata.set_item(name, text)?;
    }
    let config = file.yaml(key).map_err(to_py)?;
    Ok((metadata, config, arrays(py, &file)?))
}

/// {name: array} of a safetensors file without a configuration.
#[pyfunction]
fn read_tensors<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    arrays(py, &File::open(&path).map_err(to_py)?)
}

fn arrays<'py>(py: Python<'py>, file: &File) -> PyResult<Bound<'py, PyDict>> {
    let arrays = PyDict::new(py);
    for tensor in file.tensors().map_err(to_py)? {
        let array = match tensor.kind {
            "F64" => copied(py, &tensor, f64::from_le_bytes)?,
            "F32" => copied(py, &tensor, f32::from_le_bytes)?,
            "I64" => copied(py, &tensor, i64::from_le_bytes)?,
            "I32" => copied(py, &tensor, i32::from_le_bytes)?,
            "I16" => copied(py, &tensor, i16::from_le_bytes)?,
            _ => copied(py, &tensor, u8::from_le_bytes)?,
        };
        arrays.set_item(&tensor.name, array)?;
    }
    Ok(arrays)
}

fn copied<'py, T: Element, const N: usize>(
    py: Python<'py>,
    tensor: &Tensor,
    value: fn([u8; N]) -> T,
) -> PyResult<Bound<'py, PyAny>> {
    let values = tensor.bytes.as_chunks::<N>().0.iter().map(|b| value(*b));
    Ok(PyArray1::from_iter(py, values).reshape(tensor.shape.clone())?.into_any())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(read_model, m)?)?;
    m.add_function(wrap_pyfunction!(read_tensors, m)?)
}
