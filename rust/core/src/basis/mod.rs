//! Functions of edge vectors and distances: radial bases, envelopes, transforms, spherical harmonics.

mod blocks;
mod envelope;
pub(crate) mod functions;
pub mod harmonics;
mod harmonics_body;
pub mod harmonics_table;
pub mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_avx2;
mod number;
pub mod radial;
mod radial_body;
pub mod spec;

pub use harmonics_table::Normalization;

use crate::call::{Call, Kernel};
use crate::error::Result;
use harmonics::Harmonics;
use lanes::Simd;
use radial::Distances;
use spec::Radial;

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
        ("radial", forward::<T, 1>),
        ("radial_bwd", backward::<T, 1>),
        ("radial_bwd_bwd", second::<T, 1>),
        ("radial_with_derivative", with_derivative::<T, 1>),
        ("radial_derivatives", derivatives::<T, 1>),
        ("radial_transformed", forward::<T, 2>),
        ("radial_transformed_bwd", backward::<T, 2>),
        ("radial_transformed_bwd_bwd", second::<T, 2>),
        ("radial_transformed_with_derivative", with_derivative::<T, 2>),
        ("radial_transformed_derivatives", derivatives::<T, 2>),
        // An envelope is the radial function 1 times itself.
        ("cutoff_envelope", forward::<T, 1>),
        ("cutoff_envelope_bwd", backward::<T, 1>),
        ("cutoff_envelope_bwd_bwd", second::<T, 1>),
    ]
}

/// Spec and distances of a call; with IN = 2 inputs the second is the reference distance.
fn taken<'a, T: Simd, const IN: usize>(c: &Call<'a, T>) -> Result<(Radial, Distances<'a, T>)> {
    let spec = Radial::decode(c.params)?;
    Ok((spec, Distances::new(c.real(0), (IN == 2).then(|| c.real(1)))?))
}

fn forward<T: Simd, const IN: usize>(c: &Call<T>) -> Result<()> {
    let (spec, distances) = taken::<T, IN>(c)?;
    radial::radial(&spec, distances, c.out(0));
    Ok(())
}

fn with_derivative<T: Simd, const IN: usize>(c: &Call<T>) -> Result<()> {
    let (spec, distances) = taken::<T, IN>(c)?;
    radial::radial_with_derivative(&spec, distances, c.out(0), c.out(1));
    Ok(())
}

fn derivatives<T: Simd, const IN: usize>(c: &Call<T>) -> Result<()> {
    let (spec, distances) = taken::<T, IN>(c)?;
    radial::radial_derivatives(&spec, distances, c.out(0), c.out(1));
    Ok(())
}

fn backward<T: Simd, const IN: usize>(c: &Call<T>) -> Result<()> {
    let (spec, distances) = taken::<T, IN>(c)?;
    radial::radial_bwd(&spec, distances, c.real(IN), c.out(0));
    Ok(())
}

fn second<T: Simd, const IN: usize>(c: &Call<T>) -> Result<()> {
    let (spec, distances) = taken::<T, IN>(c)?;
    radial::radial_bwd_bwd(&spec, distances, c.real(IN), c.real(IN + 1), c.out(0), c.out(1));
    Ok(())
}
