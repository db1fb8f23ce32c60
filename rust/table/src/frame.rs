//! The Arrow C stream on its way in: zero copy per chunk, chunks joined only when a kernel needs one slice.

use polars_arrow::array::{Array, FixedSizeListArray, PrimitiveArray, StructArray};
use polars_arrow::datatypes::{ArrowDataType, Field};
use polars_arrow::ffi::{ArrowArrayStream, ArrowArrayStreamReader};
use polars_arrow::types::NativeType;
use valence_core::{Error, Result};

/// A table (or one column) as its producer chunked it. Holds the producer's memory alive.
pub struct Frame {
    fields: Vec<Field>,
    batches: Vec<Vec<Box<dyn Array>>>,
    /// True if the producer handed over one column without a table around it (a polars Series).
    pub is_column: bool,
}

impl Frame {
    /// Takes the stream out of a producer's capsule: the producer's struct is left released, as the interface asks.
    ///
    /// # Safety
    /// `stream` must point to a valid `ArrowArrayStream` (what a capsule named `arrow_array_stream` holds).
    pub unsafe fn from_stream(stream: *mut ArrowArrayStream, name: &str) -> Result<Self> {
        // SAFETY: as the caller vouches; the struct is moved out and an empty one left in its place.
        let owned = Box::new(unsafe { std::ptr::replace(stream, ArrowArrayStream::empty()) });
        // SAFETY: `owned` is a live stream that nobody else reads.
        let mut reader = unsafe { ArrowArrayStreamReader::try_new(owned) }.map_err(|e| unreadable(name, e))?;
        let field = reader.field().clone();
        let mut batches = Vec::new();
        // SAFETY: the reader was built from a valid stream just above.
        while let Some(batch) = unsafe { reader.next() } {
            let batch = batch.map_err(|e| unreadable(name, e))?;
            batches.push(match batch.as_any().downcast_ref::<StructArray>() {
                Some(rows) => rows.values().to_vec(),
                None => vec![batch],
            });
        }
        let (fields, is_column) = match field.dtype() {
            ArrowDataType::Struct(fields) => (fields.clone(), false),
            _ => (vec![field], true),
        };
        Ok(Frame { fields, batches, is_column })
    }

    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|f| f.name.as_str()).collect()
    }

    /// The number type and row width of a column: (type as polars spells it, 0 for a plain column).
    pub fn kind(&self, name: &str) -> Result<(String, usize)> {
        Ok(match self.fields[self.index(name)?].dtype() {
            ArrowDataType::FixedSizeList(item, width) => (spell(item.dtype()), *width),
            other => (spell(other), 0),
        })
    }

    fn index(&self, name: &str) -> Result<usize> {
        if self.is_column {
            return Ok(0);
        }
        self.fields.iter().position(|f| f.name == name).ok_or_else(|| {
            Error::value("table", &format!("with a column `{name}`"), format!("columns {:?}", self.names()))
        })
    }

    /// A column's numbers as one slice per chunk, without a copy; a fixed-size list of `width` is read flat.
    pub fn slices<T: NativeType>(&self, name: &str, width: usize) -> Result<Vec<&[T]>> {
        let i = self.index(name)?;
        self.batches
            .iter()
            .map(|b| match width {
                0 => primitive::<T>(b[i].as_ref(), name),
                _ => vector_chunk(b[i].as_ref(), name, width),
            })
            .collect()
    }
}

#[cold]
fn unreadable(name: &str, e: impl std::fmt::Display) -> Error {
    Error::value(name, "a readable Arrow stream", e)
}

fn vector_chunk<'a, T: NativeType>(column: &'a dyn Array, name: &str, width: usize) -> Result<&'a [T]> {
    let rule = || format!("a column of Array({:?}, {width})", T::PRIMITIVE);
    let list = column.as_any().downcast_ref::<FixedSizeListArray>().filter(|l| l.size() == width);
    let list = list.ok_or_else(|| Error::kind(name, &rule(), spell(column.dtype())))?;
    no_nulls(list, name)?;
    primitive(list.values().as_ref(), name)
}

fn no_nulls(array: &dyn Array, name: &str) -> Result<()> {
    match array.null_count() {
        0 => Ok(()),
        n => Err(Error::value(name, "without nulls", format!("{n} nulls"))),
    }
}

fn primitive<'a, T: NativeType>(array: &'a dyn Array, name: &str) -> Result<&'a [T]> {
    no_nulls(array, name)?;
    let typed = array.as_any().downcast_ref::<PrimitiveArray<T>>();
    let typed = typed.ok_or_else(|| Error::kind(name, &format!("{:?}", T::PRIMITIVE), spell(array.dtype())))?;
    Ok(typed.values().as_slice())
}

/// A type as a polars user writes it.
fn spell(dtype: &ArrowDataType) -> String {
    match dtype {
        ArrowDataType::List(item) | ArrowDataType::LargeList(item) => format!("List({})", spell(item.dtype())),
        ArrowDataType::FixedSizeList(item, width) => format!("Array({}, {width})", spell(item.dtype())),
        ArrowDataType::Utf8View | ArrowDataType::LargeUtf8 | ArrowDataType::Utf8 => "String".into(),
        other => format!("{other:?}"),
    }
}
