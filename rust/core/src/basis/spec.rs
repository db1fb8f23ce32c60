//! What a radial op computes, decoded once a call from its flat parameters and checked there.
//!
//! The list: kind, K, cutoff, a, b, envelope, three parameters of the envelope, transform, three parameters of the
//! transform, then the stored arrays. `python/valence/basis/radial.py` writes it.

use crate::error::{Error, Result};

/// The radial functions b_k(x); x is the distance, or the transformed distance.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// exp(c_k (x - mu_k)^2)
    Gaussian { centers: Vec<f64>, coefficients: Vec<f64> },
    /// prefactor sin(omega_k x) / x; `step` is omega_1 where omega_k = k omega_1.
    Bessel { prefactor: f64, frequencies: Vec<f64>, step: Option<f64> },
    /// T_1..T_K of x as it is given.
    Chebyshev,
    /// C(K-1, v) y^(K-1-v) (1-y)^v of y = x / cutoff.
    Bernstein,
    /// The same of y = exp(-alpha x).
    ExpBernstein { alpha: f64 },
    /// exp(-beta_k (exp(alpha (lower - x)) - mu_k)^2)
    ExpNormal { alpha: f64, lower: f64, means: Vec<f64>, betas: Vec<f64> },
    /// 1: the envelope alone.
    One,
    /// x: the transform alone.
    Identity,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Envelope {
    None,
    /// p, and p as a small whole number where it is one.
    Polynomial {
        p: f64,
        whole: Option<usize>,
    },
    Cosine {
        lower: f64,
    },
    /// The factor is 1, or 1 / tanh(1)^3.
    Tanh3 {
        factor: f64,
    },
    Mollifier,
    Switch {
        on: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    None,
    Agnesi { q: f64, p: f64, a: f64 },
    Soft { alpha: f64 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Radial {
    pub kind: Kind,
    /// K.
    pub count: usize,
    pub cutoff: f64,
    pub envelope: Envelope,
    pub transform: Transform,
}

const HEAD: usize = 13;
/// K of the polynomial kinds is limited by the growth of binomials, that of all by memory.
const LARGEST: usize = 4096;
const LARGEST_BERNSTEIN: usize = 64;

fn positive(name: &str, x: f64) -> Result<f64> {
    if x > 0.0 && x.is_finite() { Ok(x) } else { Err(Error::value(name, "positive and finite", x)) }
}

fn finite(name: &str, x: &[f64]) -> Result<Vec<f64>> {
    match x.iter().position(|v| !v.is_finite()) {
        None => Ok(x.to_vec()),
        Some(k) => Err(Error::value(name, "finite", format!("{} at {k}", x[k]))),
    }
}

impl Radial {
    pub fn decode(params: &[f64]) -> Result<Self> {
        let Some((head, arrays)) = params.split_first_chunk::<HEAD>() else {
            return Err(Error::value("params", &format!("at least {HEAD} numbers for a radial op"), params.len()));
        };
        let &[kind, count, cutoff, a, b, envelope, e0, e1, e2, transform, t0, t1, t2] = head;
        if !(count >= 1.0 && count <= LARGEST as f64 && count.fract() == 0.0) {
            return Err(Error::value("n", &format!("a whole number from 1 to {LARGEST}"), count));
        }
        let n = count as usize;
        if cutoff.is_nan() || cutoff <= 0.0 {
            return Err(Error::value("cutoff", "a positive length in Angstrom", cutoff));
        }
        let expected = n * match kind {
            0.0 | 5.0 => 2,
            1.0 => 1,
            _ => 0,
        };
        if arrays.len() != expected {
            return Err(Error::value("params", &format!("{HEAD} + {expected} numbers"), params.len()));
        }
        let (first, second) = arrays.split_at(n.min(arrays.len()));
        let kind = match kind {
            0.0 => Kind::Gaussian { centers: finite("offsets", first)?, coefficients: finite("coeff", second)? },
            1.0 => {
                let frequencies = finite("frequencies", first)?;
                let omega = frequencies[0];
                let multiple = |(k, w): (usize, &f64)| (w - (k + 1) as f64 * omega).abs() <= 4e-16 * w.abs();
                let step = frequencies.iter().enumerate().all(multiple).then_some(omega);
                Kind::Bessel { prefactor: a, frequencies, step }
            }
            2.0 => Kind::Chebyshev,
            3.0 | 4.0 if n > LARGEST_BERNSTEIN => {
                return Err(Error::value("n", &format!("at most {LARGEST_BERNSTEIN} for Bernstein polynomials"), n));
            }
            3.0 => Kind::Bernstein,
            4.0 => Kind::ExpBernstein { alpha: positive("alpha", a)? },
            5.0 => {
                let (means, betas) = (finite("means", first)?, finite("betas", second)?);
                Kind::ExpNormal { alpha: positive("alpha", a)?, lower: b, means, betas }
            }
            6.0 if n == 1 => Kind::One,
            7.0 if n == 1 => Kind::Identity,
            other => return Err(Error::value("kind", "a number from 0 to 7", other)),
        };
        let envelope = match envelope {
            0.0 => Envelope::None,
            1.0 if (2.0..=64.0).contains(&e0) => {
                Envelope::Polynomial { p: e0, whole: (e0.fract() == 0.0).then_some(e0 as usize) }
            }
            1.0 => return Err(Error::value("p", "from 2 to 64", e0)),
            2.0 if e1 >= 0.0 && e1 < cutoff => Envelope::Cosine { lower: e1 },
            2.0 => return Err(Error::value("lower", "from 0 to below the cutoff", e1)),
            3.0 => Envelope::Tanh3 { factor: if e2 != 0.0 { 1.0 / 1f64.tanh().powi(3) } else { 1.0 } },
            4.0 => Envelope::Mollifier,
            5.0 if e1 >= 0.0 && e1 < cutoff => Envelope::Switch { on: e1 },
            5.0 => return Err(Error::value("on", "from 0 to below the cutoff", e1)),
            other => return Err(Error::value("envelope", "a number from 0 to 5", other)),
        };
        let transform = match transform {
            0.0 => Transform::None,
            1.0 => Transform::Agnesi { q: positive("q", t0)?, p: positive("p", t1)?, a: positive("a", t2)? },
            2.0 => Transform::Soft { alpha: positive("alpha", t0)? },
            other => return Err(Error::value("transform", "a number from 0 to 2", other)),
        };
        Ok(Radial { kind, count: n, cutoff, envelope, transform })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_list_of_parameters_is_refused_and_never_indexes_out_of_range() {
        let good = [1.0, 2.0, 5.0, 1.0, 0.0, 1.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 1.2];
        assert_eq!(Radial::decode(&good).unwrap().count, 2);
        for length in 0..good.len() {
            assert!(Radial::decode(&good[..length]).is_err());
        }
        for (at, bad) in
            [(0, 9.0), (1, 0.0), (1, 2.5), (2, -1.0), (2, f64::NAN), (5, 7.0), (6, 1.0), (9, 3.0), (13, f64::NAN)]
        {
            let mut list = good;
            list[at] = bad;
            assert!(Radial::decode(&list).is_err(), "{at}");
        }
    }
}
