//! How a neighbour counts by its distance: cutoff functions and density scalings, with two derivatives.

use crate::error::{Error, Result};

/// A factor that falls with distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// rate / (rate + (r / scale)^exponent). Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018).
    Willatt {
        rate: f64,
        scale: f64,
        exponent: f64,
    },
    /// c (1 + 2 x^3 - 3 x^2)^m for x = r / r0 <= 1, else 0.
    Poly {
        c: f64,
        m: f64,
        r0: f64,
    },
    /// c / (d + x^m).
    Pow {
        c: f64,
        d: f64,
        m: f64,
        r0: f64,
    },
    /// c / (d + exp(-x)), the sign as dscribe 2.1.2 has it.
    Exp {
        c: f64,
        d: f64,
        r0: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    pub cutoff: f64,
    /// Width of the shifted cosine; `None` is a step.
    pub smoothing: Option<f64>,
    pub scaling: Scaling,
    /// In place of the scaling at r = 0 exactly.
    pub at_zero: Option<f64>,
}

fn positive(name: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::value(name, "a positive finite number", format!("{value:?}")))
}

fn finite(name: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::value(name, "a finite number that is not negative", format!("{value:?}")))
}

impl Weight {
    pub fn validate(&self) -> Result<()> {
        if let Some(width) = self.smoothing {
            positive("smoothing width", width)?;
        }
        match self.scaling {
            Scaling::None => Ok(()),
            Scaling::Willatt { rate, scale, exponent } => {
                finite("rate", rate)?;
                positive("scale", scale)?;
                finite("exponent", exponent)
            }
            Scaling::Poly { c, m, r0 } => {
                finite("c", c)?;
                finite("m", m)?;
                positive("r0", r0)
            }
            Scaling::Pow { c, d, m, r0 } => {
                finite("c", c)?;
                finite("d", d)?;
                finite("m", m)?;
                if d == 0.0 && self.at_zero.is_none() {
                    return Err(Error::value("d", "positive where no `w0` says the weight at r = 0", d));
                }
                positive("r0", r0)
            }
            Scaling::Exp { c, d, r0 } => {
                finite("c", c)?;
                finite("d", d)?;
                positive("r0", r0)
            }
        }
    }

    /// Whether the weight is 1 everywhere.
    pub fn is_one(&self) -> bool {
        self.smoothing.is_none() && self.scaling == Scaling::None && self.at_zero.is_none()
    }

    /// Where r^2 is not above this the weight is 1; negative if nowhere.
    pub fn flat_square(&self) -> f64 {
        match (self.smoothing, self.scaling, self.at_zero) {
            (Some(width), Scaling::None, None) if width < self.cutoff => (self.cutoff - width).powi(2) * (1.0 - 1e-12),
            _ => -1.0,
        }
    }

    /// W and its derivatives in sigma = (r / unit)^2.
    pub fn along_square(&self, r2: f64, unit: f64) -> [f64; 3] {
        let r = r2.sqrt();
        let [w, w1, w2] = self.at(r);
        if w1 == 0.0 && w2 == 0.0 || r == 0.0 {
            return [w, 0.0, 0.0];
        }
        let u2 = unit * unit;
        [w, 0.5 * w1 * u2 / r, 0.25 * (w2 - w1 / r) * u2 * u2 / r2]
    }

    /// W, W', W'' at r >= 0.
    pub fn at(&self, r: f64) -> [f64; 3] {
        let smooth = match self.smoothing {
            None => [1.0, 0.0, 0.0],
            Some(width) => cosine(r, self.cutoff, width),
        };
        let scale = match self.at_zero {
            Some(w) if r == 0.0 => [w, 0.0, 0.0],
            _ => self.scaling.at(r),
        };
        [
            smooth[0] * scale[0],
            smooth[1] * scale[0] + smooth[0] * scale[1],
            smooth[2] * scale[0] + 2.0 * smooth[1] * scale[1] + smooth[0] * scale[2],
        ]
    }
}

/// 1 up to R - w, then (1 + cos(pi (r - R + w) / w)) / 2, and 0 from R on.
fn cosine(r: f64, cutoff: f64, width: f64) -> [f64; 3] {
    if r <= cutoff - width {
        return [1.0, 0.0, 0.0];
    }
    if r >= cutoff {
        return [0.0; 3];
    }
    let k = std::f64::consts::PI / width;
    let (sin, cos) = ((r - cutoff + width) * k).sin_cos();
    [0.5 * (1.0 + cos), -0.5 * k * sin, -0.5 * k * k * cos]
}

/// x^m, and its two derivatives; at x = 0 only those of whole small powers are finite, and others are 0 by definition.
fn power(x: f64, m: f64) -> [f64; 3] {
    let term = |factor: f64, m: f64| {
        let value = if factor == 0.0 { 0.0 } else { factor * x.powf(m) };
        if value.is_finite() { value } else { 0.0 }
    };
    [term(1.0, m), term(m, m - 1.0), term(m * (m - 1.0), m - 2.0)]
}

/// c / u with its derivatives from those of u.
fn reciprocal(c: f64, u: [f64; 3]) -> [f64; 3] {
    let v = c / u[0];
    [v, -v * u[1] / u[0], v * (2.0 * u[1] * u[1] / u[0] - u[2]) / u[0]]
}

impl Scaling {
    fn at(&self, r: f64) -> [f64; 3] {
        let (value, scale) = match *self {
            Scaling::None => return [1.0, 0.0, 0.0],
            Scaling::Willatt { rate, scale, exponent } => {
                // A rate of 0 is the bare power (scale / r)^exponent, as featomic takes it, and 1 at r = 0.
                if exponent == 0.0 || r == 0.0 {
                    return [if rate == 0.0 || r == 0.0 { 1.0 } else { rate / (rate + 1.0) }, 0.0, 0.0];
                }
                let [p, dp, d2p] = power(r / scale, exponent);
                (reciprocal(if rate == 0.0 { 1.0 } else { rate }, [rate + p, dp, d2p]), scale)
            }
            Scaling::Poly { c, m, r0 } => {
                let x = r / r0;
                if x > 1.0 {
                    return [0.0; 3];
                }
                let [u, du, d2u] = [1.0 + x * x * (2.0 * x - 3.0), 6.0 * x * (x - 1.0), 12.0 * x - 6.0];
                let [p, dp, d2p] = power(u, m);
                ([c * p, c * dp * du, c * (d2p * du * du + dp * d2u)], r0)
            }
            Scaling::Pow { c, d, m, r0 } => {
                let [p, dp, d2p] = power(r / r0, m);
                (reciprocal(c, [d + p, dp, d2p]), r0)
            }
            Scaling::Exp { c, d, r0 } => {
                let e = (-r / r0).exp();
                (reciprocal(c, [d + e, -e, e]), r0)
            }
        };
        [value[0], value[1] / scale, value[2] / (scale * scale)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_limits_of_differences() {
        let scalings = [
            Scaling::Willatt { rate: 1.3, scale: 2.0, exponent: 5.0 },
            Scaling::Poly { c: 1.1, m: 2.0, r0: 4.5 },
            Scaling::Pow { c: 1.1, d: 0.7, m: 3.0, r0: 2.0 },
            Scaling::Exp { c: 1.1, d: 0.7, r0: 2.0 },
        ];
        for scaling in scalings {
            let w = Weight { cutoff: 5.0, smoothing: Some(2.0), scaling, at_zero: None };
            for r in [0.7, 2.2, 3.4, 4.1] {
                let h = 1e-5;
                let (low, high, mid) = (w.at(r - h), w.at(r + h), w.at(r));
                for k in 0..2 {
                    assert!(((high[k] - low[k]) / (2.0 * h) - mid[k + 1]).abs() < 1e-8, "{scaling:?} at {r}");
                }
            }
            assert_eq!(w.at(5.0)[0], 0.0);
            assert!(w.at(0.0).iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_weight_at_zero_replaces_the_scaling_there_alone() {
        let w = Weight {
            cutoff: 5.0,
            smoothing: None,
            scaling: Scaling::Pow { c: 2.0, d: 1.0, m: 2.0, r0: 1.0 },
            at_zero: Some(0.3),
        };
        assert_eq!((w.at(0.0)[0], w.at(1.0)[0]), (0.3, 1.0));
    }
}
