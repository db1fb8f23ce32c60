//! Functions of edge vectors and distances: radial bases, envelopes, transforms, spherical harmonics.

mod blocks;
pub mod harmonics;
mod harmonics_body;
mod harmonics_table;
pub mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_avx2;
mod number;

pub use harmonics_table::Normalization;

use crate::call::Kernel;
use harmonics::Harmonics;
use lanes::Simd;

/// The differentiable ops of this room.
pub fn kernels<T: Simd>() -> Vec<(&'static str, Kernel<T>)> {
    vec![
        ("spherical_harmonics", |c| {
            harmonics::spherical_harmonics(&Harmonics::decode(c.params)?, c.real(0), c.out(0));
            Ok(())
        }),
        ("spherical_harmonics_bwd", |c| {
            harmonics::spherical_harmonics_bwd(&Harmonics::decode(c.params)?, c.real(0), c.real(1), c.out(0));
            Ok(())
        }),
        ("spherical_harmonics_bwd_bwd", |c| {
            let spec = Harmonics::decode(c.params)?;
            harmonics::spherical_harmonics_bwd_bwd(&spec, c.real(0), c.real(1), c.real(2), c.out(0), c.out(1));
            Ok(())
        }),
    ]
}
