//! What the network reads of a distance, with its derivative: B_k(t(r)) f_c(r), in f64.
//!
//! Basis and envelope as in the file: Bessel sqrt(2 / r_max) sin(w_k t) / t, Gaussian exp(-(t - g_k)^2 / (2 width^2)) or
//! Chebyshev T_k(t); t is r, or its Agnesi or Soft transform; the envelope takes r itself.

use crate::error::{Error, Result};

/// The functions of a distance, with what the file holds for them.
#[derive(Clone, Debug)]
pub enum Basis {
    Bessel { frequencies: Vec<f64>, factor: f64 },
    Gaussian { centers: Vec<f64>, width: f64 },
    Chebyshev { count: usize },
}

/// The distance that the basis sees.
#[derive(Clone, Debug)]
pub enum Transform {
    None,
    Agnesi { a: f64, q: f64, p: f64, radii: Vec<f64> },
    Soft { alpha: f64, radii: Vec<f64> },
}

/// Ziegler, Biersack and Littmark's repulsion, half of each directed edge.
#[derive(Clone, Debug)]
pub struct Repulsion {
    pub numbers: Vec<f64>,
    pub radii: Vec<f64>,
    pub exponent: f64,
    pub prefactor: f64,
    pub c: [f64; 4],
    pub power: f64,
}

#[derive(Clone, Debug)]
pub struct Radial {
    pub basis: Basis,
    pub transform: Transform,
    pub r_max: f64,
    pub power: f64,
    /// The envelope multiplies the basis; else the radial network's result.
    pub apply_cutoff: bool,
}

/// Value and derivative.
type Pair = (f64, f64);

/// f_c and its derivative: 0 from the cutoff on.
pub fn envelope(r: f64, cutoff: f64, p: f64) -> Pair {
    let u = r / cutoff;
    // Written so that NaN stays NaN.
    if u >= 1.0 {
        return (0.0, 0.0);
    }
    let below = u.powf(p - 1.0);
    let (a, b, c) = (0.5 * (p + 1.0) * (p + 2.0), p * (p + 2.0), 0.5 * p * (p + 1.0));
    let value = 1.0 - below * u * (a - u * (b - u * c));
    let slope = -below * (a * p - u * (b * (p + 1.0) - u * c * (p + 2.0)));
    (value, slope / cutoff)
}

impl Basis {
    pub fn count(&self) -> usize {
        match self {
            Basis::Bessel { frequencies, .. } => frequencies.len(),
            Basis::Gaussian { centers, .. } => centers.len(),
            Basis::Chebyshev { count } => *count,
        }
    }

    /// (B_k, dB_k/dt) for each k.
    fn each(&self, t: f64, mut put: impl FnMut(usize, Pair)) {
        match self {
            Basis::Bessel { frequencies, factor } => {
                for (k, w) in frequencies.iter().enumerate() {
                    let (sin, cos) = (w * t).sin_cos();
                    put(k, (factor * sin / t, factor * (w * cos - sin / t) / t));
                }
            }
            Basis::Gaussian { centers, width } => {
                for (k, g) in centers.iter().enumerate() {
                    let x = (t - g) / width;
                    let value = (-0.5 * x * x).exp();
                    put(k, (value, -x / width * value));
                }
            }
            Basis::Chebyshev { count } => {
                let (mut before, mut now) = ((1.0, 0.0), (t, 1.0));
                for k in 0..*count {
                    put(k, now);
                    (before, now) = (now, (2.0 * t * now.0 - before.0, 2.0 * (now.0 + t * now.1) - before.1));
                }
            }
        }
    }
}

impl Transform {
    fn of(&self, r: f64, a: usize, b: usize) -> Pair {
        match self {
            Transform::None => (r, 1.0),
            Transform::Agnesi { a: factor, q, p, radii } => {
                let reach = 0.5 * (radii[a] + radii[b]);
                let s = r / reach;
                let (above, lower) = (s.powf(*q), s.powf(q - p));
                let x = factor * above / (1.0 + lower);
                let slope = x * (q / s - (q - p) / s * lower / (1.0 + lower));
                let t = 1.0 / (1.0 + x);
                (t, -t * t * slope / reach)
            }
            Transform::Soft { alpha, radii } => {
                let reach = radii[a] + radii[b];
                let (low, high) = (0.75 * reach, 4.0 / 3.0 * reach);
                let steep = alpha / (high - low);
                let tanh = (steep * (r - 0.5 * (low + high))).tanh();
                let slope = 0.5 * (1.0 + tanh) + 0.5 * (r - low) * steep * (1.0 - tanh * tanh);
                (low + 0.5 * (r - low) * (1.0 + tanh), slope)
            }
        }
    }

    fn radii(&self) -> Option<&[f64]> {
        match self {
            Transform::None => None,
            Transform::Agnesi { radii, .. } | Transform::Soft { radii, .. } => Some(radii),
        }
    }
}

impl Radial {
    pub fn check(&self, elements: usize) -> Result<()> {
        match self.transform.radii() {
            Some(radii) if radii.len() != elements => {
                Err(Error::value("covalent_radii", &format!("of {elements} elements"), radii.len()))
            }
            _ => Ok(()),
        }
    }

    /// Fills values and derivatives of one edge between elements a and b; gives the envelope.
    pub fn edge(&self, r: f64, a: usize, b: usize, values: &mut [f64], slopes: &mut [f64]) -> Pair {
        let (t, dt) = self.transform.of(r, a, b);
        let cut = envelope(r, self.r_max, self.power);
        self.basis.each(t, |k, (value, slope)| {
            let slope = slope * dt;
            (values[k], slopes[k]) =
                if self.apply_cutoff { (value * cut.0, slope * cut.0 + value * cut.1) } else { (value, slope) };
        });
        cut
    }
}

impl Repulsion {
    pub fn edge(&self, r: f64, a: usize, b: usize) -> Pair {
        let (za, zb) = (self.numbers[a], self.numbers[b]);
        let length = self.prefactor * 0.529 / (za.powf(self.exponent) + zb.powf(self.exponent));
        let (mut sum, mut slope) = (0.0, 0.0);
        for (c, b) in self.c.iter().zip([3.2, 0.9423, 0.4028, 0.2016]) {
            let value = c * (-b * r / length).exp();
            sum += value;
            slope -= b / length * value;
        }
        let (cut, dcut) = envelope(r, self.radii[a] + self.radii[b], self.power);
        let factor = 0.5 * 14.3996 * za * zb / r;
        let value = factor * sum * cut;
        (value, factor * (slope * cut + sum * dcut) - value / r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(f: impl Fn(f64) -> f64, r: f64) -> f64 {
        let h = 1e-5;
        (8.0 * (f(r + h) - f(r - h)) - f(r + 2.0 * h) + f(r - 2.0 * h)) / (12.0 * h)
    }

    #[test]
    fn derivatives_are_difference_quotients() {
        let radii = vec![0.31, 0.66];
        let bases = [
            Basis::Bessel { frequencies: vec![0.6, 1.3, 1.9], factor: 0.5 },
            Basis::Gaussian { centers: vec![0.0, 2.0, 4.0], width: 1.5 },
            Basis::Chebyshev { count: 3 },
        ];
        let transforms = [
            Transform::None,
            Transform::Agnesi { a: 1.0805, q: 0.9183, p: 4.5791, radii: radii.clone() },
            Transform::Soft { alpha: 4.0, radii: radii.clone() },
        ];
        for basis in bases {
            for transform in &transforms {
                for apply_cutoff in [true, false] {
                    let radial = Radial {
                        basis: basis.clone(),
                        transform: transform.clone(),
                        r_max: 5.0,
                        power: 5.0,
                        apply_cutoff,
                    };
                    let of = |r: f64| {
                        let (mut values, mut slopes) = ([0.0; 3], [0.0; 3]);
                        let cut = radial.edge(r, 0, 1, &mut values, &mut slopes);
                        (values, slopes, cut)
                    };
                    for r in [0.7, 1.5, 3.9] {
                        for k in 0..3 {
                            let exact = slope(|r| of(r).0[k], r);
                            assert!((of(r).1[k] - exact).abs() < 1e-8 * exact.abs().max(1.0), "{radial:?} {r} {k}");
                        }
                        assert!((of(r).2.1 - slope(|r| of(r).2.0, r)).abs() < 1e-9);
                    }
                }
            }
        }
        let zbl = Repulsion {
            numbers: vec![1.0, 8.0],
            radii,
            exponent: 0.3,
            prefactor: 0.4543,
            c: [0.1818, 0.5099, 0.2802, 0.02817],
            power: 6.0,
        };
        for r in [0.3, 0.6, 0.9] {
            let exact = slope(|r| zbl.edge(r, 0, 1).0, r);
            assert!((zbl.edge(r, 0, 1).1 - exact).abs() < 1e-7 * exact.abs());
        }
        assert_eq!(envelope(5.0, 5.0, 5.0), (0.0, 0.0));
    }
}
