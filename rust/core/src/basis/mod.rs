//! Functions of edge vectors and distances: radial bases, envelopes, transforms, spherical harmonics.

use crate::call::Kernel;
use crate::real::Real;

/// The differentiable ops of this room.
pub fn kernels<T: Real>() -> Vec<(&'static str, Kernel<T>)> {
    vec![]
}
