//! Arrow columns ↔ slices. Nothing here knows Python; nothing here computes.
//!
//! [`frame`] takes what any producer of the Arrow C stream hands over (polars, pyarrow, DuckDB, pandas), [`column`] builds
//! what goes out. Both share memory with the other side where one chunk allows it.

pub mod column;
pub mod frame;

pub use column::{Column, export, export_one};
pub use frame::Frame;
