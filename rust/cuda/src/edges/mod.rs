//! Edges on a GPU.

pub mod length;
