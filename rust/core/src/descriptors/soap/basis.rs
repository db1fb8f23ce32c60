//! The radial bases, orthonormalised in numbers of 256 bits and rounded once.

use super::radial::{Degree, Grid, Primitives};
use crate::descriptors::extended::Wide;
use crate::descriptors::loewdin::{Root, inverse_sqrt};
use crate::error::{Error, Result};

/// A basis of one degree.
#[derive(Clone, Debug)]
pub enum Basis {
    /// u^n exp(-u^2 / 2 s_n^2), s_n = radius max(sqrt n, 1) / count, the same for each l (featomic's "Gto").
    FeatomicGto { count: usize, radius: f64 },
    /// u^l exp(-alpha u^2) with alpha from count radii between 1 and r_cut (dscribe's "gto").
    DscribeGto { count: usize, r_cut: f64 },
    /// (r_cut - u)^(k + 2), k = 1..=count (dscribe's "polynomial").
    DscribePolynomial { count: usize, r_cut: f64 },
    /// u^(l + 2n) exp(-u^2 / 2 width^2) (AniSOAP's "gto").
    CommonGto { count: usize, width: f64 },
    /// As given, not orthonormalised.
    Tabulated(Grid),
}

/// Above this the coefficients would be noise.
const WORST: f64 = 1e-4;

/// Gamma(k / 2).
fn gamma_of_half(k: usize) -> Wide {
    match k.is_multiple_of(2) {
        true => (1..k as u64 / 2).fold(Wide::ONE, |g, j| g * Wide::whole(j)),
        false => Wide::gamma_half(k / 2),
    }
}

/// x^(k / 2).
fn half_power(x: Wide, k: usize) -> Wide {
    let whole = x.powi((k / 2) as i32);
    if k.is_multiple_of(2) { whole } else { whole * x.sqrt() }
}

impl Basis {
    pub fn count(&self) -> usize {
        match self {
            Basis::FeatomicGto { count, .. } | Basis::DscribeGto { count, .. } => *count,
            Basis::DscribePolynomial { count, .. } | Basis::CommonGto { count, .. } => *count,
            Basis::Tabulated(grid) => grid.count,
        }
    }

    fn validate(&self, l: usize) -> Result<()> {
        let length = |name: &str, x: f64| match x > 0.0 && x.is_finite() {
            true => Ok(()),
            false => Err(Error::value(name, "a positive finite length in Angstrom", format!("{x:?}"))),
        };
        if self.count() == 0 || self.count() > 64 {
            return Err(Error::value("max_radial", "from 0 to 63", self.count() as i64 - 1));
        }
        match self {
            Basis::FeatomicGto { radius, .. } => length("radius", *radius),
            Basis::CommonGto { width, .. } => length("radial width", *width),
            Basis::DscribePolynomial { r_cut, .. } => length("r_cut", *r_cut),
            Basis::DscribeGto { r_cut, .. } => match *r_cut > 1.0 && r_cut.is_finite() {
                true => Ok(()),
                false => Err(Error::value("r_cut", "above 1 Angstrom for the basis dscribe_gto", format!("{r_cut:?}"))),
            },
            Basis::Tabulated(g) => {
                let n = g.radius.len();
                let ascending = n >= 2 && g.radius.windows(2).all(|w| w[0] < w[1]) && g.radius[0] >= 0.0;
                let whole = g.value.len() == n * g.count && g.slope.len() == n * g.count;
                let finite = [&g.radius, &g.value, &g.slope].iter().all(|v| v.iter().all(|x| x.is_finite()));
                if ascending && whole && finite {
                    return Ok(());
                }
                let rule = "finite values and derivatives at two or more ascending radii";
                Err(Error::value("radial_basis", rule, format!("{n} radii for l = {l}")))
            }
        }
    }

    /// The functions of degree l, and the factor by which making them orthonormal enlarges rounding errors.
    pub fn degree(&self, l: usize) -> Result<(Degree, f64)> {
        self.validate(l)?;
        let n = self.count();
        let (primitives, norm, root) = match self {
            Basis::Tabulated(grid) => {
                return Ok((Degree { primitives: Primitives::Tabulated(grid.clone()), transform: None }, 1.0));
            }
            Basis::FeatomicGto { count, radius } => {
                // In the unit of the radius: 1 / s^2 = count^2 / max(n, 1), a ratio of whole numbers.
                let sharp = |n: usize| Wide::ratio((count * count) as u64, n.max(1) as u64);
                let exponents = |n: usize| (n, 0.5 * (count * count) as f64 / (n.max(1) as f64 * radius * radius));
                let root = normalised(n, |n| (n, sharp(n)))?;
                let norm = |n: usize| norm_of(n, sharp(n), *radius);
                (Primitives::Gaussian((0..n).map(exponents).collect()), (0..n).map(norm).collect::<Vec<_>>(), root)
            }
            Basis::CommonGto { width, .. } => {
                let root = normalised(n, |n| (l + 2 * n, Wide::ONE))?;
                let exponents = |n: usize| (l + 2 * n, 0.5 / (width * width));
                let norm = |n: usize| norm_of(l + 2 * n, Wide::ONE, *width);
                (Primitives::Gaussian((0..n).map(exponents).collect()), (0..n).map(norm).collect(), root)
            }
            Basis::DscribeGto { r_cut, .. } => {
                let alpha = |k: usize| {
                    let a = if n == 1 { 1.0 } else { 1.0 + (r_cut - 1.0) * k as f64 / (n - 1) as f64 };
                    -(1e-3 / a.powi(l as i32)).ln() / (a * a)
                };
                let half = gamma_of_half(2 * l + 3).scaled(-1);
                let overlap =
                    |i: usize, j: usize| half / half_power(Wide::of(alpha(i)) + Wide::of(alpha(j)), 2 * l + 3);
                let root = inverse_sqrt(n, overlap, 0.0)?;
                (Primitives::Gaussian((0..n).map(|k| (l, alpha(k))).collect()), vec![Wide::ONE; n], root)
            }
            Basis::DscribePolynomial { r_cut, .. } => {
                let rc = Wide::of(*r_cut);
                let overlap = |i: usize, j: usize| {
                    let k = (i + j + 2) as u64;
                    rc.powi(7 + k as i32).scaled(1) / Wide::whole((5 + k) * (6 + k) * (7 + k))
                };
                let root = inverse_sqrt(n, overlap, 0.0)?;
                (Primitives::Polynomial { rc: *r_cut, count: n }, vec![Wide::ONE; n], root)
            }
        };
        let amplification = root.condition().sqrt();
        if amplification.is_nan() || amplification * 2e-16 >= WORST {
            let got = format!("{n} functions for l = {l}, of which rounding errors grow {amplification:.1e} times");
            return Err(Error::value("max_radial", "so small that the radial functions are independent", got));
        }
        let matrix = (0..n * n).map(|k| (root.root[k] * norm[k % n]).to_f64()).collect();
        Ok((Degree { primitives, transform: Some(matrix) }, amplification))
    }
}

/// sqrt(2 / (s^(2k + 3) Gamma(k + 3/2))) with s = unit / sqrt(sharp).
fn norm_of(k: usize, sharp: Wide, unit: f64) -> Wide {
    let inverse = sharp / (Wide::of(unit) * Wide::of(unit));
    (half_power(inverse, 2 * k + 3).scaled(1) / gamma_of_half(2 * k + 3)).sqrt()
}

/// The root of the overlap of normalised u^k exp(-e u^2 / 2), by (k, e) of each function.
fn normalised(n: usize, function: impl Fn(usize) -> (usize, Wide)) -> Result<Root> {
    let parts: Vec<_> = (0..n)
        .map(|i| {
            let (k, e) = function(i);
            (k, e, (half_power(e, 2 * k + 3) / gamma_of_half(2 * k + 3)).sqrt())
        })
        .collect();
    let overlap = |i: usize, j: usize| {
        let ((k, e, u), (k2, e2, u2)) = (parts[i], parts[j]);
        gamma_of_half(k + k2 + 3) * u * u2 / half_power((e + e2).scaled(-1), k + k2 + 3)
    };
    inverse_sqrt(n, overlap, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::soap::radial::{Density, Radial};
    use crate::descriptors::soap::special::gauss_legendre;

    #[test]
    fn every_basis_is_orthonormal() {
        let bases = [
            Basis::FeatomicGto { count: 6, radius: 4.5 },
            Basis::DscribeGto { count: 5, r_cut: 4.0 },
            Basis::DscribePolynomial { count: 6, r_cut: 4.0 },
            Basis::CommonGto { count: 5, width: 0.9 },
        ];
        for basis in bases {
            for l in [0, 3] {
                let (degree, _) = basis.degree(l).unwrap();
                let n = basis.count();
                let mut degrees = vec![None; l];
                degrees.push(Some(degree));
                let radial = Radial::new(degrees, Density::Delta);
                let far = if matches!(basis, Basis::DscribePolynomial { .. }) { 4.0 } else { 25.0 };
                let mut overlap = vec![0.0; n * n];
                let mut value = vec![[0.0; 3]; n];
                for panel in 0..50 {
                    for (x, w) in gauss_legendre(16) {
                        let u = far / 50.0 * (panel as f64 + 0.5 + 0.5 * x);
                        radial.at(u, &mut value);
                        for i in 0..n * n {
                            overlap[i] += far / 100.0 * w * u * u * value[i / n][0] * value[i % n][0];
                        }
                    }
                }
                for i in 0..n * n {
                    let expected = if i % n == i / n { 1.0 } else { 0.0 };
                    assert!((overlap[i] - expected).abs() < 1e-10, "{basis:?} {l}: {overlap:?}");
                }
            }
        }
    }

    #[test]
    fn impossible_bases_say_what_to_change() {
        let message = |b: Basis| b.degree(2).unwrap_err().to_string();
        let text = message(Basis::DscribeGto { count: 4, r_cut: 0.9 });
        assert_eq!(text, "`r_cut` must be above 1 Angstrom for the basis dscribe_gto, got 0.9");
        let text = message(Basis::DscribePolynomial { count: 16, r_cut: 5.0 });
        assert!(text.starts_with("`max_radial` must be so small that the radial functions are independent"), "{text}");
    }
}
