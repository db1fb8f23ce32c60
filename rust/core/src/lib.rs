//! Kernels of Valence: slices in, slices out. No Python, no Arrow, no CUDA.
//!
//! Rooms, in the order in which data flows: [`atoms`] → [`edges`] → [`basis`] → [`equivariant`].
//! Around them stand the few things that every room uses: [`error`], [`pool`], [`real`], [`stages`] and [`call`].

mod aligned;
pub mod atoms;
pub mod basis;
pub mod call;
pub mod descriptors;
pub mod edges;
pub mod equivariant;
pub mod error;
pub mod model;
pub mod pool;
pub mod real;
pub mod stages;

pub use error::{Error, Result};
pub use real::Real;
