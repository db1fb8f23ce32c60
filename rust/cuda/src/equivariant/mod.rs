//! Tensor products on a GPU.

pub mod coupling;
mod dense;
pub mod product;

pub const SIMPLE: &str = include_str!("simple.cu");
pub const GATHER: &str = include_str!("gather.cu");
pub const REDUCE: &str = include_str!("reduce.cu");
pub const DENSE: &str = include_str!("dense.cu");
pub const INSIDE: &str = include_str!("inside.cu");
