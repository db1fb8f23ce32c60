//! Neighbour lists, edge vectors and distances.

pub mod bins;
pub mod fill;
pub mod filter;
pub mod lattice;
pub mod length;
pub mod memory;
pub mod order;
pub mod reverse;
pub mod search;
pub mod select;
pub mod sites;
pub mod skin;
pub mod vectors;

pub use bins::Method;
pub use filter::Keep;
pub use search::{List, Options, Systems, search};

use crate::call::Kernel;
use crate::real::Real;

/// The differentiable ops of this room.
pub fn kernels<T: Real>() -> Vec<(&'static str, Kernel<T>)> {
    vec![
        ("edge_vectors", vectors::forward),
        ("edge_vectors_bwd", vectors::bwd),
        ("edge_vectors_bwd_bwd", vectors::bwd_bwd),
        ("edge_length", |c| {
            length::edge_length(c.real(0), c.out(0));
            Ok(())
        }),
        ("edge_length_bwd", |c| {
            length::edge_length_bwd(c.real(0), c.real(1), c.out(0));
            Ok(())
        }),
        ("edge_length_bwd_bwd", |c| {
            length::edge_length_bwd_bwd(c.real(0), c.real(1), c.real(2), c.out(0), c.out(1));
            Ok(())
        }),
    ]
}
