//! Glue of the atoms room: extended XYZ files as arrays.

use std::path::PathBuf;

use numpy::{PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use valence_core::atoms::extxyz::{
    self, Frames, Info, InfoValues, Reader, Selection, Text, Value, Values, View, ViewColumn, ViewInfo, ViewInfoValues,
    ViewValues,
};
use valence_core::{Error, Result};

use crate::error::to_py;

type Parts<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyDict>,
    Bound<'py, PyDict>,
);

fn selection(start: usize, stop: Option<usize>, step: usize) -> Selection {
    Selection { start, stop: stop.unwrap_or(usize::MAX), step: step.max(1) }
}

/// positions, numbers, offsets, cell, pbc, columns, info of the selected frames. JSON values go through `json`.
#[pyfunction]
fn extxyz_read<'py>(
    py: Python<'py>,
    path: PathBuf,
    start: usize,
    stop: Option<usize>,
    step: usize,
    json: &Bound<'py, PyAny>,
) -> PyResult<Parts<'py>> {
    let frames = py.detach(|| extxyz::read(&path, selection(start, stop, step))).map_err(to_py)?;
    parts(py, frames, json)
}

/// The number of frames of a file.
#[pyfunction]
fn extxyz_count(py: Python<'_>, path: PathBuf) -> PyResult<usize> {
    py.detach(|| extxyz::count(&path)).map_err(to_py)
}

/// A file read some frames at a time.
#[pyclass(module = "valence._native")]
struct ExtxyzReader {
    reader: std::sync::Mutex<Reader>,
    json: Py<PyAny>,
}

#[pymethods]
impl ExtxyzReader {
    #[new]
    fn new(path: PathBuf, start: usize, stop: Option<usize>, step: usize, json: Py<PyAny>) -> PyResult<Self> {
        let reader = Reader::open(&path, selection(start, stop, step)).map_err(to_py)?;
        Ok(ExtxyzReader { reader: std::sync::Mutex::new(reader), json })
    }

    /// The next frames, at most `limit`; None at the end.
    fn next<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Option<Parts<'py>>> {
        let read = || -> Result<Option<Frames>> {
            let mut reader = self.reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            reader.next(limit)
        };
        match py.detach(read).map_err(to_py)? {
            Some(frames) => parts(py, frames, self.json.bind(py)).map(Some),
            None => Ok(None),
        }
    }
}

fn parts<'py>(py: Python<'py>, frames: Frames, json: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    let (num_atoms, num_frames) = (frames.numbers.len(), frames.offsets.len() - 1);
    let columns = PyDict::new(py);
    for column in frames.columns {
        let shape: &[usize] = if column.width == 1 { &[num_atoms] } else { &[num_atoms, column.width] };
        let array = match column.values {
            Values::Real(x) => shaped(py, x, shape)?,
            Values::Int(x) => shaped(py, x, shape)?,
            Values::Bool(x) => shaped(py, x, shape)?,
            Values::Text(x) => words(py, &x, shape)?,
        };
        columns.set_item(column.name, array)?;
    }
    let info = PyDict::new(py);
    for Info { name, shape, values } in frames.info {
        let shape: Vec<usize> = std::iter::once(num_frames).chain(shape).collect();
        let array = match values {
            InfoValues::Real(x) => shaped(py, x, &shape)?,
            InfoValues::Int(x) => shaped(py, x, &shape)?,
            InfoValues::Bool(x) => shaped(py, x, &shape)?,
            InfoValues::Mixed(x) => {
                let items =
                    x.into_iter().map(|v| v.map_or_else(|| Ok(py.None().into_bound(py)), |v| object(py, v, json)));
                PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any()
            }
        };
        info.set_item(name, array)?;
    }
    Ok((
        shaped(py, frames.positions, &[num_atoms, 3])?,
        PyArray1::from_vec(py, frames.numbers).into_any(),
        PyArray1::from_vec(py, frames.offsets).into_any(),
        shaped(py, frames.cell, &[num_frames, 3, 3])?,
        shaped(py, frames.pbc, &[num_frames, 3])?,
        columns,
        info,
    ))
}

/// The vector's own memory as an array.
fn shaped<'py, T: numpy::Element>(py: Python<'py>, mut values: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    values.shrink_to_fit();
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?.into_any())
}

/// Words as an array of numpy's fixed width text: 4 bytes a character.
fn words<'py>(py: Python<'py>, text: &Text, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let width = text.iter().map(|w| w.chars().count()).max().unwrap_or(0).max(1);
    let too_large = || to_py(Error::Memory(format!("words of {width} letters do not fit into an array")));
    let len = text.ends.len().checked_mul(width).ok_or_else(too_large)?;
    let mut flat: Vec<u32> = Vec::new();
    flat.try_reserve_exact(len).map_err(|_| too_large())?;
    for word in text.iter() {
        let end = flat.len() + width;
        flat.extend(word.chars().map(u32::from));
        flat.resize(end, 0);
    }
    let array = PyArray1::from_vec(py, flat).into_any();
    array.call_method1("view", (format!("U{width}"),))?.call_method1("reshape", (shape.to_vec(),))
}

fn object<'py>(py: Python<'py>, value: Value, json: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Int(x) => x.into_pyobject(py)?.into_any(),
        Value::Real(x) => x.into_pyobject(py)?.into_any(),
        Value::Bool(x) => x.into_pyobject(py)?.to_owned().into_any(),
        Value::Text(x) => x.into_pyobject(py)?.into_any(),
        Value::Json(x) => json.call1((x,))?,
        Value::Ints(x, s) => shaped(py, x, &s)?,
        Value::Reals(x, s) => shaped(py, x, &s)?,
        Value::Bools(x, s) => shaped(py, x, &s)?,
    })
}

enum Held<'py> {
    F32(Bound<'py, PyArrayDyn<f32>>),
    F64(Bound<'py, PyArrayDyn<f64>>),
    I64(Bound<'py, PyArrayDyn<i64>>),
    Bool(Bound<'py, PyArrayDyn<bool>>),
    Words(Text),
    Texts(Vec<Option<String>>),
}

impl<'py> Held<'py> {
    /// Arrays must be C-contiguous; `valence.atoms._files` makes them so.
    fn new(value: &Bound<'py, PyAny>, is_column: bool) -> PyResult<Self> {
        let held = if let Ok(a) = value.cast::<PyArrayDyn<f64>>() {
            Held::F64(a.clone())
        } else if let Ok(a) = value.cast::<PyArrayDyn<f32>>() {
            Held::F32(a.clone())
        } else if let Ok(a) = value.cast::<PyArrayDyn<i64>>() {
            Held::I64(a.clone())
        } else if let Ok(a) = value.cast::<PyArrayDyn<bool>>() {
            Held::Bool(a.clone())
        } else if is_column {
            let mut text = Text::default();
            for word in value.extract::<Vec<String>>()? {
                text.push(&word);
            }
            return Ok(Held::Words(text));
        } else {
            return Ok(Held::Texts(value.extract()?));
        };
        let is_contiguous = match &held {
            Held::F32(a) => a.is_c_contiguous(),
            Held::F64(a) => a.is_c_contiguous(),
            Held::I64(a) => a.is_c_contiguous(),
            Held::Bool(a) => a.is_c_contiguous(),
            _ => true,
        };
        if is_contiguous {
            Ok(held)
        } else {
            Err(PyTypeError::new_err("`columns` must be C-contiguous, got a strided array"))
        }
    }

    fn column(&self) -> ViewValues<'_> {
        match self {
            Held::F32(a) => ViewValues::Real32(slice(a)),
            Held::F64(a) => ViewValues::Real64(slice(a)),
            Held::I64(a) => ViewValues::Int(slice(a)),
            Held::Bool(a) => ViewValues::Bool(slice(a)),
            Held::Words(a) => ViewValues::Text(a),
            Held::Texts(_) => ViewValues::Int(&[]),
        }
    }

    fn info(&self) -> ViewInfoValues<'_> {
        match self {
            Held::F64(a) => ViewInfoValues::Real(slice(a)),
            Held::I64(a) => ViewInfoValues::Int(slice(a)),
            Held::Bool(a) => ViewInfoValues::Bool(slice(a)),
            Held::Texts(a) => ViewInfoValues::Text(a.clone()),
            Held::F32(_) | Held::Words(_) => ViewInfoValues::Int(&[]),
        }
    }
}

fn slice<'a, T: numpy::Element>(array: &'a Bound<'_, PyArrayDyn<T>>) -> &'a [T] {
    if array.len() == 0 {
        return &[];
    }
    // SAFETY: contiguous (checked in `Held::new`) and alive as long as the borrow; a writer in another thread is the
    // caller's race, as in numpy.
    unsafe { std::slice::from_raw_parts(array.data(), array.len()) }
}

/// Values of one row.
fn width(array: &Bound<'_, PyAny>) -> usize {
    let shape = array.getattr("shape").and_then(|s| s.extract::<Vec<usize>>());
    shape.map_or(1, |s| s.iter().skip(1).product())
}

/// Writes frames. `columns`: name, array [N, ...] or list of words. `info`: name, array [B, ...] or list of texts or None.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn extxyz_write(
    py: Python<'_>,
    path: PathBuf,
    positions: &Bound<'_, PyAny>,
    numbers: Bound<'_, PyArray1<u8>>,
    offsets: Bound<'_, PyArray1<i64>>,
    cell: Bound<'_, PyArray2<f64>>,
    pbc: Bound<'_, PyArray2<bool>>,
    columns: Vec<(String, usize, Bound<'_, PyAny>)>,
    info: Vec<(String, Bound<'_, PyAny>)>,
) -> PyResult<()> {
    let positions = Held::new(positions, true)?;
    let held: Vec<Held> = columns.iter().map(|(_, _, v)| Held::new(v, true)).collect::<PyResult<_>>()?;
    let held_info: Vec<Held> = info.iter().map(|(_, v)| Held::new(v, false)).collect::<PyResult<_>>()?;
    let (numbers, offsets, cell, pbc) = (numbers.readonly(), offsets.readonly(), cell.readonly(), pbc.readonly());
    let mut view = View {
        offsets: offsets.as_slice()?,
        numbers: numbers.as_slice()?,
        positions: positions.column(),
        cell: cell.as_slice()?,
        pbc: pbc.as_slice()?,
        columns: Vec::new(),
        info: Vec::new(),
    };
    for ((name, width, _), held) in columns.iter().zip(&held) {
        view.columns.push(ViewColumn { name: name.clone(), width: *width, values: held.column() });
    }
    for ((name, value), held) in info.iter().zip(&held_info) {
        let width = width(value);
        view.info.push(ViewInfo { name: name.clone(), width, values: held.info() });
    }
    py.detach(|| extxyz::write(&path, &view)).map_err(to_py)
}

/// A text as a comment line's value that reads back as text.
#[pyfunction]
fn extxyz_text(text: &str) -> String {
    extxyz::info_text(text)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ExtxyzReader>()?;
    m.add_function(wrap_pyfunction!(extxyz_read, m)?)?;
    m.add_function(wrap_pyfunction!(extxyz_count, m)?)?;
    m.add_function(wrap_pyfunction!(extxyz_write, m)?)?;
    m.add_function(wrap_pyfunction!(extxyz_text, m)?)
}
