//! SOAP: the spherical expansion of a neighbour density, and its power and radial spectrum.
//!
//! c_{i,a,nlm} = sum over neighbours j of species a of W(r_ij) I_nl(r_ij) Y_lm(r_ij / |r_ij|), with r_ij = x_j - x_i + shift @ cell.
//! Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013). W and I_nl / r^l are functions of r^2, so all is a polynomial in the
//! vector times smooth functions of its square, without a division by r.
//!
//! A pair of lmax 6 with 8 functions takes 336 multiply-adds of the table, about 50 of the harmonics and 392 of the sum: 100
//! cycles where two products of four lanes end in each. Measured (AMD Zen 3 at 2.45 GHz, f64): 173 cycles, 53 of the table
//! (bound by its 84 loads, 42 cycles), 51 of the sum (its blocks of rows alone would take 54 for their latencies), 24 of the
//! harmonics (49 stores), 20 to find intervals and weights, 15 of the power spectrum of its centre. Beside that a pair costs
//! 42 cycles of neighbour list.

pub mod basis;
pub mod call;
mod chunk;
pub mod harmonics;
pub mod jacobian;
pub mod radial;
pub mod special;
mod stages;
pub mod table;
pub mod weight;

use std::sync::OnceLock;

pub use call::{Average, Input, Kind, Run};
pub use chunk::Prepared;

use crate::basis::lanes::Simd;
use crate::error::{Error, Result};
use basis::Basis;
use radial::{Density, Radial};
use weight::Weight;

/// Degrees above this are refused: nobody uses them, and buffers grow with their square.
pub const LARGEST_DEGREE: usize = 24;

/// What expands densities.
pub struct Soap {
    pub radial: Radial,
    pub weight: Weight,
    /// Neighbours are searched up to here, Angstrom.
    pub reach: f64,
    /// Whether one at `reach` counts.
    pub inclusive: bool,
    /// Multiplies the self pair.
    pub center_weight: f64,
    /// Of the density, Angstrom; 0 is a point.
    pub width: f64,
    /// Of the radial tables; `None`: closed forms.
    pub accuracy: Option<f64>,
    /// sqrt of the worst condition number of the overlap matrices.
    pub amplification: f64,
    single: OnceLock<Result<Prepared<f32>>>,
    double: OnceLock<Result<Prepared<f64>>>,
}

/// The parts of a [`Soap`].
pub struct Parts {
    /// One a degree; `None` leaves a degree out.
    pub bases: Vec<Option<Basis>>,
    pub weight: Weight,
    pub reach: f64,
    pub inclusive: bool,
    pub center_weight: f64,
    pub width: f64,
    /// Whether the density is normalised to int g^2 = 1 (featomic), else its peak is 1 (dscribe).
    pub normalised: bool,
    pub accuracy: Option<f64>,
}

impl Soap {
    pub fn new(parts: Parts) -> Result<Self> {
        let length = |name: &str, x: f64| match x > 0.0 && x.is_finite() {
            true => Ok(()),
            false => Err(Error::value(name, "a positive finite length in Angstrom", format!("{x:?}"))),
        };
        length("cutoff", parts.reach)?;
        if parts.width != 0.0 {
            length("width", parts.width)?;
        }
        if parts.width > 0.0 && parts.width < 1e-3 * parts.reach {
            let rule = format!("0 (a point) or at least {} Angstrom for this cutoff", 1e-3 * parts.reach);
            return Err(Error::value("width", &rule, parts.width));
        }
        if !parts.center_weight.is_finite() {
            return Err(Error::value("center_weight", "finite", parts.center_weight));
        }
        if let Some(accuracy) = parts.accuracy
            && !(accuracy > 0.0 && accuracy < 1.0)
        {
            return Err(Error::value("accuracy", "between 0 and 1, or None", format!("{accuracy:?}")));
        }
        parts.weight.validate()?;
        if parts.bases.is_empty() || parts.bases.len() > LARGEST_DEGREE + 1 {
            let got = parts.bases.len() as i64 - 1;
            return Err(Error::value("lmax", &format!("from 0 to {LARGEST_DEGREE}"), got));
        }
        let mut amplification: f64 = 1.0;
        let mut degrees = Vec::new();
        for (l, basis) in parts.bases.iter().enumerate() {
            let Some(basis) = basis else {
                degrees.push(None);
                continue;
            };
            let (degree, grown) = basis.degree(l)?;
            amplification = amplification.max(grown);
            degrees.push(Some(degree));
        }
        let density = if parts.width == 0.0 {
            Density::Delta
        } else {
            let square = parts.width * parts.width;
            let amplitude = if parts.normalised { (std::f64::consts::PI * square).powf(-0.75) } else { 1.0 };
            Density::Gaussian { amplitude, exponent: 0.5 / square }
        };
        Ok(Soap {
            radial: Radial::new(degrees, density),
            weight: parts.weight,
            reach: parts.reach,
            inclusive: parts.inclusive,
            center_weight: parts.center_weight,
            width: parts.width,
            accuracy: parts.accuracy,
            amplification,
            single: OnceLock::new(),
            double: OnceLock::new(),
        })
    }

    /// Tables and constants of a precision, made at the first use.
    pub fn prepared<T: Precision>(&self) -> Result<&Prepared<T>> {
        T::cell(self).get_or_init(|| Prepared::new(self)).as_ref().map_err(Clone::clone)
    }
}

/// f32 and f64, each with its place in a [`Soap`].
pub trait Precision: Simd {
    fn cell(soap: &Soap) -> &OnceLock<Result<Prepared<Self>>>;
}

impl Precision for f32 {
    fn cell(soap: &Soap) -> &OnceLock<Result<Prepared<f32>>> {
        &soap.single
    }
}

impl Precision for f64 {
    fn cell(soap: &Soap) -> &OnceLock<Result<Prepared<f64>>> {
        &soap.double
    }
}

#[cfg(test)]
mod tests;
