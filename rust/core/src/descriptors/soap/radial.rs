//! Radial integrals I_nl(r) of a Gaussian density (or of a point, the delta density) in orthonormal radial bases.
//!
//! I_nl(r) = 4 pi int u^2 R_nl(u) g_l(u, r) du, g_l = A exp(-c (u^2 + r^2)) i_l(2 c u r), c = 1 / (2 width^2). For a Gaussian,
//! F = I / r^l is a smooth function of s = r^2; what is evaluated is F and its derivatives in s. For a point I_nl = R_nl, which
//! has no such form: there it is I and its derivatives in r.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::special::{bessel, gamma_of_half, gauss_legendre, kummer};

/// R_n(u) of one degree before orthonormalisation.
#[derive(Clone, Debug)]
pub enum Primitives {
    /// u^k exp(-d u^2), by (k, d) of each function.
    Gaussian(Vec<(usize, f64)>),
    /// (rc - u)^(n + 3) for n = 0.. on [0, rc].
    Polynomial { rc: f64, count: usize },
    /// Values [G, N] and derivatives at ascending radii, joined by cubics.
    Tabulated(Grid),
}

#[derive(Clone, Debug)]
pub struct Grid {
    pub radius: Vec<f64>,
    pub value: Vec<f64>,
    pub slope: Vec<f64>,
    pub count: usize,
}

/// One degree: primitives and the matrix [N, N] that makes them orthonormal.
#[derive(Clone, Debug)]
pub struct Degree {
    pub primitives: Primitives,
    /// Row-major; `None` is the identity.
    pub transform: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Density {
    /// A exp(-c |u - r|^2).
    Gaussian {
        amplitude: f64,
        exponent: f64,
    },
    Delta,
}

/// All degrees; `None` where one is left out.
#[derive(Clone, Debug)]
pub struct Radial {
    pub degrees: Vec<Option<Degree>>,
    pub density: Density,
    /// Nodes, weights times u^2, and primitives of the degrees that need quadrature.
    rules: Vec<Option<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// (u, weight u^2).
    node: Vec<(f64, f64)>,
    /// [nodes, N], orthonormal functions.
    value: Vec<f64>,
}

impl Primitives {
    pub fn count(&self) -> usize {
        match self {
            Primitives::Gaussian(list) => list.len(),
            Primitives::Polynomial { count, .. } => *count,
            Primitives::Tabulated(grid) => grid.count,
        }
    }

    /// R_n(u), R'_n, R''_n.
    fn at(&self, n: usize, u: f64) -> [f64; 3] {
        match self {
            Primitives::Gaussian(list) => {
                let (k, d) = list[n];
                let e = (-d * u * u).exp();
                let p = |j: usize| if k >= j { u.powi((k - j) as i32) } else { 0.0 };
                let kf = k as f64;
                let (v, dv, d2v) = (p(0), kf * p(1), kf * (kf - 1.0) * p(2));
                let g = -2.0 * d * u;
                [v * e, (dv + g * v) * e, (d2v + 2.0 * g * dv + (g * g - 2.0 * d) * v) * e]
            }
            Primitives::Polynomial { rc, .. } => {
                let (x, k) = ((rc - u).max(0.0), n as i32 + 3);
                [x.powi(k), -f64::from(k) * x.powi(k - 1), f64::from(k * (k - 1)) * x.powi(k - 2)]
            }
            Primitives::Tabulated(grid) => grid.at(n, u),
        }
    }
}

impl Grid {
    fn at(&self, n: usize, u: f64) -> [f64; 3] {
        let at = self.radius.partition_point(|&x| x <= u).clamp(1, self.radius.len() - 1);
        let (x0, x1) = (self.radius[at - 1], self.radius[at]);
        let (h, t) = (x1 - x0, (u - x0) / (x1 - x0));
        let (i, j) = ((at - 1) * self.count + n, at * self.count + n);
        let (a, b, da, db) = (self.value[i], self.value[j], h * self.slope[i], h * self.slope[j]);
        let (c2, c3) = (3.0 * (b - a) - 2.0 * da - db, 2.0 * (a - b) + da + db);
        [
            a + t * (da + t * (c2 + t * c3)),
            (da + t * (2.0 * c2 + 3.0 * t * c3)) / h,
            (2.0 * c2 + 6.0 * t * c3) / (h * h),
        ]
    }
}

impl Radial {
    pub fn new(degrees: Vec<Option<Degree>>, density: Density) -> Self {
        let rules = degrees.iter().map(|d| d.as_ref().and_then(|d| rule(d, density))).collect();
        Radial { degrees, density, rules }
    }

    /// n_l.
    pub fn counts(&self) -> Vec<usize> {
        self.degrees.iter().map(|d| d.as_ref().map_or(0, |d| d.primitives.count())).collect()
    }

    pub fn is_delta(&self) -> bool {
        self.density == Density::Delta
    }

    /// For each (l, n) in this order `[F, dF/ds, d2F/ds2]` at s = r^2; of a delta density `[I, I', I'']`.
    pub fn at(&self, r: f64, out: &mut [[f64; 3]]) {
        let mut from = 0;
        for (l, degree) in self.degrees.iter().enumerate() {
            let Some(degree) = degree else { continue };
            let n = degree.primitives.count();
            let out = &mut out[from..from + n];
            from += n;
            match (self.density, &self.rules[l], &degree.primitives) {
                (Density::Delta, ..) => {
                    let raw: Vec<_> = (0..n).map(|k| degree.primitives.at(k, r)).collect();
                    degree.turn(&raw, out);
                }
                (Density::Gaussian { amplitude, exponent }, None, Primitives::Gaussian(list)) => {
                    let raw: Vec<_> = list.iter().map(|&(k, d)| closed(l, k, d, amplitude, exponent, r * r)).collect();
                    degree.turn(&raw, out);
                }
                (Density::Gaussian { amplitude, exponent: c }, Some(rule), _) => {
                    rule.integrate(l, 4.0 * std::f64::consts::PI * amplitude, c, r, out);
                }
                (Density::Gaussian { .. }, None, _) => out.fill([0.0; 3]),
            }
        }
    }
}

impl Degree {
    fn turn(&self, raw: &[[f64; 3]], out: &mut [[f64; 3]]) {
        let Some(matrix) = &self.transform else { return out.copy_from_slice(raw) };
        for (row, out) in matrix.chunks_exact(raw.len()).zip(out) {
            let mut sum = [0.0; 3];
            for (w, x) in row.iter().zip(raw) {
                for k in 0..3 {
                    sum[k] += w * x[k];
                }
            }
            *out = sum;
        }
    }
}

/// F of u^k exp(-d u^2): A pi^{3/2} c^l (c + d)^{-a} Gamma(a) / Gamma(b) exp(-g s) 1F1(b - a; b; -q s), a = (k + l + 3) / 2,
/// b = l + 3/2, g = c d / (c + d), q = c^2 / (c + d).
fn closed(l: usize, k: usize, d: f64, amplitude: f64, c: f64, s: f64) -> [f64; 3] {
    let (a, b) = ((k + l + 3) as f64 / 2.0, l as f64 + 1.5);
    let (p, g, q) = (b - a, c * d / (c + d), c * c / (c + d));
    let gamma = gamma_of_half(k + l + 3) / gamma_of_half(2 * l + 3);
    let front = amplitude * std::f64::consts::PI.powf(1.5) * c.powi(l as i32) * (c + d).powf(-a) * gamma;
    let e = front * (-g * s).exp();
    let x = q * s;
    let m0 = kummer(p, b, x);
    let m1 = if p == 0.0 { 0.0 } else { -q * p / b * kummer(p + 1.0, b + 1.0, x) };
    let m2 = match p * (p + 1.0) {
        0.0 => 0.0,
        pp => q * q * pp / (b * (b + 1.0)) * kummer(p + 2.0, b + 2.0, x),
    };
    [e * m0, e * (m1 - g * m0), e * (m2 - 2.0 * g * m1 + g * g * m0)]
}

/// Nodes for a degree that has no closed form with this density.
fn rule(degree: &Degree, density: Density) -> Option<Rule> {
    let Density::Gaussian { exponent, .. } = density else { return None };
    let ends = match &degree.primitives {
        Primitives::Gaussian(_) => return None,
        Primitives::Polynomial { rc, .. } => vec![0.0, *rc],
        Primitives::Tabulated(grid) => grid.radius.clone(),
    };
    let longest = 1.5 / (2.0 * exponent).sqrt();
    let gauss = gauss_legendre(16);
    let mut node = Vec::new();
    for w in ends.windows(2) {
        // At least four panels over a polynomial's range; no panel wider than 1.5 widths of the density.
        let least = if ends.len() == 2 { 4.0 } else { 1.0 };
        let parts = ((w[1] - w[0]) / longest).ceil().max(least);
        let h = (w[1] - w[0]) / parts;
        for i in 0..parts as usize {
            let middle = w[0] + h * (i as f64 + 0.5);
            for (x, weight) in &gauss {
                let u = middle + 0.5 * h * x;
                node.push((u, 0.5 * h * weight * u * u));
            }
        }
    }
    let n = degree.primitives.count();
    let mut value = vec![0.0; node.len() * n];
    let (mut raw, mut turned) = (vec![[0.0; 3]; n], vec![[0.0; 3]; n]);
    for (q, (u, _)) in node.iter().enumerate() {
        for (k, r) in raw.iter_mut().enumerate() {
            *r = degree.primitives.at(k, *u);
        }
        degree.turn(&raw, &mut turned);
        for (k, t) in turned.iter().enumerate() {
            value[q * n + k] = t[0];
        }
    }
    Some(Rule { node, value })
}

impl Rule {
    /// d/ds of exp(-c s) K_l is exp(-c s) (-c K_l + 2 c^2 u^2 K_{l+1}), with K_l = i_l(z) / z^l and z = 2 c u r.
    fn integrate(&self, l: usize, front: f64, c: f64, r: f64, out: &mut [[f64; 3]]) {
        out.fill([0.0; 3]);
        let mut k = vec![0.0; l + 3];
        for ((u, weight), values) in self.node.iter().zip(self.value.chunks_exact(out.len())) {
            let exponent = c * (u - r) * (u - r);
            if exponent > 745.0 {
                continue;
            }
            bessel(2.0 * c * u * r, &mut k);
            let e = front * weight * (-exponent).exp() * (2.0 * c * u).powi(l as i32);
            let q = 2.0 * c * c * u * u;
            let terms = [
                e * k[l],
                e * (q * k[l + 1] - c * k[l]),
                e * (c * c * k[l] - 2.0 * c * q * k[l + 1] + q * q * k[l + 2]),
            ];
            for (o, v) in out.iter_mut().zip(values) {
                for j in 0..3 {
                    o[j] += terms[j] * v;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(primitives: Primitives, l: usize, density: Density) -> Radial {
        let mut degrees = vec![None; l];
        degrees.push(Some(Degree { primitives, transform: None }));
        Radial::new(degrees, density)
    }

    #[test]
    fn closed_forms_are_their_integrals() {
        for width in [0.08, 0.4, 1.1] {
            let c = 0.5 / (width * width);
            for l in [0, 1, 4, 9] {
                for k in [0, 1, 2, 5, 12] {
                    let d = 0.3 + 0.1 * k as f64;
                    let gaussian = Primitives::Gaussian(vec![(k, d)]);
                    let degree = Degree { primitives: gaussian, transform: None };
                    // Quadrature by hand: the same rule over a range beyond which nothing is left.
                    let grid = Primitives::Polynomial { rc: 14.0, count: 1 };
                    let made = rule(
                        &Degree { primitives: grid, transform: None },
                        Density::Gaussian { amplitude: 1.0, exponent: c },
                    );
                    let Some(mut rule) = made else { continue };
                    for (q, (u, _)) in rule.node.iter().enumerate() {
                        rule.value[q] = degree.primitives.at(0, *u)[0];
                    }
                    for r in [0.0, 0.3, 1.7, 4.9] {
                        let exact = closed(l, k, d, 0.7, c, r * r);
                        let mut sum = [[0.0; 3]];
                        rule.integrate(l, 4.0 * std::f64::consts::PI * 0.7, c, r, &mut sum);
                        for j in 0..3 {
                            // Derivatives in s are sums of terms as large as c^j F.
                            let scale = exact[0].abs() * c.powi(j as i32).max(1.0);
                            assert!(
                                (exact[j] - sum[0][j]).abs() < 2e-12 * scale.max(1e-290),
                                "{width} {l} {k} {r} {j} {exact:?} {sum:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn derivatives_are_limits_of_differences() {
        let density = Density::Gaussian { amplitude: 1.0, exponent: 2.0 };
        let bases = [
            Primitives::Gaussian(vec![(3, 0.4)]),
            Primitives::Polynomial { rc: 4.0, count: 1 },
            Primitives::Tabulated(Grid {
                radius: vec![0.0, 1.5, 4.0],
                value: vec![1.0, -0.4, 0.0],
                slope: vec![0.0, 0.3, 0.1],
                count: 1,
            }),
        ];
        for primitives in bases {
            for (density, power) in [(density, 0.5f64), (Density::Delta, 1.0)] {
                let radial = one(primitives.clone(), 2, density);
                let at = |x: f64| {
                    let mut out = [[0.0; 3]];
                    radial.at(x.powf(power), &mut out);
                    out[0]
                };
                for x in [0.8, 2.5] {
                    let (h, low_high_mid) = (1e-5, (at(x - 1e-5), at(x + 1e-5), at(x)));
                    let (low, high, mid) = low_high_mid;
                    for k in 0..2 {
                        let quotient = (high[k] - low[k]) / (2.0 * h);
                        assert!((quotient - mid[k + 1]).abs() < 1e-6 * (1.0 + mid[k + 1].abs()), "{primitives:?}");
                    }
                }
            }
        }
    }
}
