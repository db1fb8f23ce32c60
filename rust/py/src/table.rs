//! Arrow tables ↔ numpy arrays, by memory that both sides share.

use std::ffi::CStr;

use numpy::ndarray::ArrayView;
use numpy::{Element, IxDyn, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use polars_arrow::ffi::ArrowArrayStream;
use polars_arrow::types::NativeType;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use valence_core::Error;
use valence_table::{Column, Frame, export, export_one};

use crate::error::to_py;

const STREAM: &CStr = c"arrow_array_stream";

/// A table or column that some library handed over, read column by column as numpy arrays.
#[pyclass(frozen, module = "valence._native")]
pub struct ArrowIn {
    frame: Frame,
}

#[pymethods]
impl ArrowIn {
    /// `table` is anything with `__arrow_c_stream__`; `name` is what messages call it.
    #[new]
    fn new(table: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        if !table.hasattr("__arrow_c_stream__")? {
            let rule = "a table or column with __arrow_c_stream__";
            return Err(to_py(Error::kind(name, rule, table.get_type())));
        }
        let capsule = table.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        let stream = capsule.pointer_checked(Some(STREAM))?;
        // SAFETY: a capsule of this name holds an ArrowArrayStream; it is moved out and left released.
        let frame = unsafe { Frame::from_stream(stream.as_ptr() as *mut ArrowArrayStream, name) }.map_err(to_py)?;
        Ok(ArrowIn { frame })
    }

    #[getter]
    fn names(&self) -> Vec<&str> {
        self.frame.names()
    }

    #[getter]
    fn is_column(&self) -> bool {
        self.frame.is_column
    }

    /// (type, width): the number type as polars spells it, and the width of a fixed-size list, 0 for a plain column.
    fn kind(&self, name: &str) -> PyResult<(String, usize)> {
        self.frame.kind(name).map_err(to_py)
    }

    /// A column of numbers as an array [rows] or [rows, width]: the producer's own memory, read-only, if it is one
    /// chunk, else a joined copy.
    fn array<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let frame = &slf.get().frame;
        let (kind, width) = frame.kind(name).map_err(to_py)?;
        match kind.as_str() {
            "Float64" => array_of::<f64>(slf, name, width),
            "Float32" => array_of::<f32>(slf, name, width),
            "Int64" => array_of::<i64>(slf, name, width),
            "Int32" => array_of::<i32>(slf, name, width),
            "Int16" => array_of::<i16>(slf, name, width),
            "Int8" => array_of::<i8>(slf, name, width),
            "UInt64" => array_of::<u64>(slf, name, width),
            "UInt32" => array_of::<u32>(slf, name, width),
            "UInt16" => array_of::<u16>(slf, name, width),
            "UInt8" => array_of::<u8>(slf, name, width),
            _ if kind.starts_with("List") => {
                let rule = "a column of numbers or of fixed-size lists of numbers (.cast(pl.Array(pl.Float64, 3)))";
                Err(to_py(Error::kind(name, rule, kind)))
            }
            _ => Err(to_py(Error::kind(name, "a column of numbers or of fixed-size lists of numbers", kind))),
        }
    }
}

fn array_of<'py, T: NativeType + Element>(
    owner: &Bound<'py, ArrowIn>,
    name: &str,
    width: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let slices = owner.get().frame.slices::<T>(name, width).map_err(to_py)?;
    let rows = slices.iter().map(|s| s.len()).sum::<usize>() / width.max(1);
    let shape: &[usize] = if width == 0 { &[rows] } else { &[rows, width] };
    let wrong = |e: numpy::ndarray::ShapeError| to_py(Error::value(name, "whole rows", e));
    if let [one] = slices[..] {
        let view = ArrayView::from_shape(IxDyn(shape), one).map_err(wrong)?;
        // SAFETY: the view's memory belongs to the frame inside `owner`, which is frozen and becomes the array's base.
        let array = unsafe { PyArrayDyn::borrow_from_array(&view, owner.clone().into_any()) };
        array.getattr("flags")?.setattr("writeable", false)?; // it is the producer's memory
        return Ok(array.into_any());
    }
    let joined = numpy::ndarray::ArrayD::from_shape_vec(IxDyn(shape), slices.concat()).map_err(wrong)?;
    Ok(PyArrayDyn::from_owned_array(owner.py(), joined).into_any())
}

/// A table of results for any reader of the Arrow C stream (`polars.DataFrame(x)`, `pyarrow.table(x)`, DuckDB by variable
/// name). It can be read many times.
#[pyclass(frozen, module = "valence._native")]
pub struct Table {
    columns: Vec<Column>,
    is_column: bool,
}

#[pymethods]
impl Table {
    /// `columns` are (name, array [rows] or [rows, width]): contiguous arrays are shared, not copied, so nobody may write
    /// to them afterwards. `as_column`: hand over the only column without a table around it.
    #[new]
    #[pyo3(signature = (columns, *, as_column=false))]
    fn new(columns: Vec<(String, Bound<'_, PyAny>)>, as_column: bool) -> PyResult<Self> {
        let columns = columns.iter().map(|(name, array)| column_of(name, array)).collect::<PyResult<Vec<_>>>()?;
        if as_column && columns.len() != 1 {
            return Err(to_py(Error::value("columns", "one column with `as_column`", columns.len())));
        }
        Ok(Table { columns, is_column: as_column })
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema; // a hint that a producer may ignore
        let columns = self.columns.clone();
        let stream = match self.is_column {
            true => columns.into_iter().next().map(export_one).unwrap_or_else(ArrowArrayStream::empty),
            false => export(columns).map_err(to_py)?,
        };
        // pyo3's own destructor drops the box; dropping an ArrowArrayStream that nobody took releases it.
        PyCapsule::new_with_value(py, stream, STREAM)
    }
}

/// A numpy array's memory, kept alive by the reference.
struct Shared<T> {
    _array: Py<PyUntypedArray>,
    address: usize,
    len: usize,
    of: std::marker::PhantomData<T>,
}

impl<T> AsRef<[T]> for Shared<T> {
    fn as_ref(&self) -> &[T] {
        match self.len {
            0 => &[],
            // SAFETY: the contiguous array's memory, alive as long as `_array`.
            n => unsafe { std::slice::from_raw_parts(self.address as *const T, n) },
        }
    }
}

fn column_of(name: &str, array: &Bound<'_, PyAny>) -> PyResult<Column> {
    macro_rules! try_types {
        ($($t:ty),*) => {
            $(if let Ok(array) = array.cast::<PyArrayDyn<$t>>() { return shared::<$t>(name, array); })*
        };
    }
    try_types!(f64, i32, u32, u8, f32, i64, i8, i16, u16, u64);
    Err(to_py(Error::kind(name, "an array of numbers", array.get_type())))
}

fn shared<T: NativeType + Element>(name: &str, array: &Bound<'_, PyArrayDyn<T>>) -> PyResult<Column> {
    let width = match array.shape() {
        [_] => 0,
        [_, width] if *width > 0 => *width,
        shape => return Err(to_py(Error::value(name, "of shape [rows] or [rows, width]", format!("{shape:?}")))),
    };
    let column = if array.is_c_contiguous() {
        let (address, len) = (array.data() as usize, array.len());
        let held = array.as_untyped().clone().unbind();
        Column::new::<T, _>(name, Shared::<T> { _array: held, address, len, of: std::marker::PhantomData }, width)
    } else {
        Column::new::<T, _>(name, array.readonly().as_array().iter().copied().collect::<Vec<T>>(), width)
    };
    column.map_err(to_py)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ArrowIn>()?;
    m.add_class::<Table>()
}
