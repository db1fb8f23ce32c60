//! Neighbour lists, edge vectors and distances.

pub mod length;

use crate::call::Kernel;
use crate::real::Real;

/// The differentiable ops of this room.
pub fn kernels<T: Real>() -> Vec<(&'static str, Kernel<T>)> {
    vec![
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
