//! Arrays at the border, for all rooms: values of what Python gives, and results without a copy.

use numpy::ndarray::{ArrayView1, ArrayView2};
use numpy::{Element, PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use valence_core::Error;
use valence_core::edges::memory::{Block, Buffer};

use crate::error::to_py;

/// The values of an array, in C order: borrowed where they lie so, else copied.
pub enum Values<'a, T> {
    Borrowed(&'a [T]),
    Copied(Vec<T>),
}

impl<T> std::ops::Deref for Values<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Values::Borrowed(v) => v,
            Values::Copied(v) => v,
        }
    }
}

/// An array of type T, of the shape that `rule` describes and `fits` accepts.
pub fn values<'a, T: Element + Copy>(
    given: &'a Bound<'_, PyAny>,
    name: &str,
    kind: &str,
    rule: &str,
    fits: impl Fn(&[usize]) -> bool,
) -> PyResult<Values<'a, T>> {
    let Ok(array) = given.cast::<PyArrayDyn<T>>() else {
        let got = match given.cast::<PyUntypedArray>() {
            Ok(array) => array.dtype().to_string(),
            Err(_) => given.get_type().to_string(),
        };
        return Err(to_py(Error::kind(name, &format!("an array of {kind}"), got)));
    };
    if !fits(array.shape()) {
        return Err(to_py(Error::value(name, &format!("of shape {rule}"), format!("{:?}", array.shape()))));
    }
    if array.len() == 0 {
        return Ok(Values::Borrowed(&[]));
    }
    if !array.is_c_contiguous() {
        return Ok(Values::Copied(array.readonly().as_array().iter().copied().collect()));
    }
    // SAFETY: contiguous and alive as long as `given`; a writer in another thread is the caller's race, as in numpy.
    Ok(Values::Borrowed(unsafe { std::slice::from_raw_parts(array.data(), array.len()) }))
}

/// An array of `shape` that takes over `data`.
pub fn array<'py, T: Element>(py: Python<'py>, data: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyArray1::from_vec(py, data).reshape(shape.to_vec())?.into_any())
}

/// Keeps the memory of a result array alive; when it goes, the memory returns to the store.
#[pyclass(frozen, module = "valence._native")]
struct ResultMemory {
    _block: Block,
}

/// An array over a buffer's own memory.
pub fn buffer<T: Element + Copy>(py: Python<'_>, mut data: Buffer<T>, width: usize) -> PyResult<Bound<'_, PyAny>> {
    if width > 1 {
        let rows = data.len() / width;
        return matrix(py, data, [rows, width]);
    }
    let (at, len) = (data.as_mut_ptr(), data.len());
    let owner = Bound::new(py, ResultMemory { _block: data.into_block() })?.into_any();
    // SAFETY: `len` values were written at `at`, which `owner` keeps; the array has the only other reference to it.
    unsafe { Ok(PyArray1::borrow_from_array(&ArrayView1::from_shape_ptr(len, at), owner).into_any()) }
}

/// The same of `shape`.
pub fn matrix<T: Element + Copy>(py: Python<'_>, mut data: Buffer<T>, shape: [usize; 2]) -> PyResult<Bound<'_, PyAny>> {
    assert_eq!(data.len(), shape[0] * shape[1]);
    let at = data.as_mut_ptr();
    let owner = Bound::new(py, ResultMemory { _block: data.into_block() })?.into_any();
    // SAFETY: all values were written at `at`, which `owner` keeps; the array has the only other reference to it.
    unsafe { Ok(PyArray2::borrow_from_array(&ArrayView2::from_shape_ptr(shape, at), owner).into_any()) }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ResultMemory>()
}
