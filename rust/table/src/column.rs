//! Result columns on their way out: an owned buffer becomes an Arrow buffer without a copy.

use polars_arrow::array::{Array, FixedSizeListArray, PrimitiveArray, StructArray};
use polars_arrow::datatypes::{ArrowDataType, Field};
use polars_arrow::ffi::{ArrowArrayStream, export_iterator};
use polars_arrow::types::NativeType;
use polars_buffer::Buffer;
use valence_core::{Error, Result};

/// A named column. Cloning counts references, it copies no data.
#[derive(Clone)]
pub struct Column {
    field: Field,
    array: Box<dyn Array>,
}

impl Column {
    /// A plain column (`width` 0) or a fixed-size list of `width`, over memory that `owner` keeps alive.
    pub fn new<T, O>(name: &str, owner: O, width: usize) -> Result<Self>
    where
        T: NativeType,
        O: AsRef<[T]> + Send + 'static,
    {
        let values = PrimitiveArray::<T>::new(T::PRIMITIVE.into(), Buffer::from_owner(owner), None);
        if width == 0 {
            return Ok(Column { field: Field::new(name.into(), values.dtype().clone(), false), array: values.boxed() });
        }
        if !values.len().is_multiple_of(width) {
            return Err(Error::value(
                name,
                &format!("whole rows of {width} values"),
                format!("{} values", values.len()),
            ));
        }
        let item = Field::new("item".into(), values.dtype().clone(), false);
        let dtype = ArrowDataType::FixedSizeList(Box::new(item), width);
        let rows = values.len() / width;
        let array = FixedSizeListArray::new(dtype.clone(), rows, values.boxed(), None).boxed();
        Ok(Column { field: Field::new(name.into(), dtype, false), array })
    }

    pub fn num_rows(&self) -> usize {
        self.array.len()
    }

    pub fn name(&self) -> &str {
        &self.field.name
    }
}

/// Columns of one length as a stream of one record batch, to be put in a capsule.
pub fn export(columns: Vec<Column>) -> Result<ArrowArrayStream> {
    let rows = columns.first().map_or(0, Column::num_rows);
    if let Some(odd) = columns.iter().find(|c| c.num_rows() != rows) {
        return Err(Error::value(odd.name(), &format!("of {rows} rows as the columns before"), odd.num_rows()));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().map(|c| (c.field, c.array)).unzip();
    let batch = StructArray::new(ArrowDataType::Struct(fields), rows, arrays, None);
    let field = Field::new("".into(), batch.dtype().clone(), false);
    Ok(export_iterator(Box::new(std::iter::once(Ok(batch.boxed()))), field))
}

/// One column as a stream of its own, so that a reader gets a series and not a table.
pub fn export_one(column: Column) -> ArrowArrayStream {
    export_iterator(Box::new(std::iter::once(Ok(column.array))), column.field)
}
