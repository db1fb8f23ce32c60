//! All radial functions of one tile of distances: K columns of values and of as many derivatives as are wanted.
//!
//! f_k(r) = b_k(T(r)) c(r) with transform T and envelope c, and exactly 0 with its derivatives at r >= cutoff.

use super::envelope::{envelope, transform};
use super::functions::{exp, sin_cos_sum};
use super::lanes::{Lanes, Simd};
use super::spec::{Envelope, Kind, Radial, Transform};
use crate::real::Real;

/// The constants of a spec in the kernel's precision, and room for one tile.
pub struct Tile<'a, L: Lanes> {
    spec: &'a Radial,
    first: Vec<L>,
    second: Vec<L>,
    powers: Vec<[L; 2]>,
    /// Spacing of Gaussians of one width on a uniform grid, and exp(2 c spacing^2).
    grid: Option<(L, L)>,
    /// f, f', f'': K columns each, empty where they are not wanted.
    pub columns: [Vec<L>; 3],
}

/// What turns b, b', b'' into f, f', f''.
#[derive(Clone, Copy)]
struct Finish<L: Lanes> {
    is_transformed: bool,
    has_envelope: bool,
    t: (L, L),
    c: (L, L, L),
    inside: L::Mask,
    outside: L,
}

impl<L: Lanes> Finish<L> {
    #[inline(always)]
    fn emit<const D: usize>(&self, columns: &mut [Vec<L>; 3], k: usize, b: L, b1: L, b2: L) {
        let (mut b1, mut b2) = (b1, b2);
        if self.is_transformed {
            if D > 1 {
                b2 = (b2 * self.t.0).fma(self.t.0, b1 * self.t.1);
            }
            b1 = b1 * self.t.0;
        }
        let (mut f, mut f1, mut f2) = (b, b1, b2);
        if self.has_envelope {
            let (c, c1, c2) = self.c;
            f = b * c;
            f1 = b1.fma(c, b * c1);
            f2 = b2.fma(c, (b1 + b1).fma(c1, b * c2));
        }
        columns[0][k] = L::select(self.inside, f, self.outside);
        if D > 0 {
            columns[1][k] = L::select(self.inside, f1, self.outside);
        }
        if D > 1 {
            columns[2][k] = L::select(self.inside, f2, self.outside);
        }
    }
}

impl<'a, L: Lanes> Tile<'a, L>
where
    L::T: Simd,
{
    #[inline(always)]
    pub fn new(spec: &'a Radial, derivatives: usize) -> Self {
        let splat = |x: &f64| L::of(*x);
        let (mut first, mut second, mut powers) = (vec![], vec![], vec![]);
        match &spec.kind {
            Kind::Gaussian { centers: a, coefficients: b } => {
                first.extend(a.iter().map(splat));
                second.extend(b.iter().map(splat));
            }
            Kind::ExpNormal { means: a, betas: b, .. } => {
                first.extend(a.iter().map(splat));
                second.extend(b.iter().map(|x| L::of(-x)));
            }
            Kind::Bessel { frequencies, .. } => {
                first.extend(frequencies.iter().map(splat));
                // What rounding the frequency to this precision takes away.
                second.extend(frequencies.iter().map(|w| L::of(w - L::T::of(*w).to_f64())));
            }
            Kind::Bernstein | Kind::ExpBernstein { .. } => {
                // Binomials of n = K - 1, n - 1, n - 2, one after the other.
                for n in [spec.count as i64 - 1, spec.count as i64 - 2, spec.count as i64 - 3] {
                    let mut binomial = 1.0;
                    for v in 0..spec.count as i64 {
                        first.push(L::of(if v <= n { binomial } else { 0.0 }));
                        binomial = binomial * (n - v) as f64 / (v + 1) as f64;
                    }
                }
                powers = vec![[L::of(1.0); 2]; spec.count];
            }
            Kind::Chebyshev | Kind::One | Kind::Identity => {}
        }
        let column = |order: usize| vec![L::zero(); if order <= derivatives { spec.count } else { 0 }];
        let grid = match &spec.kind {
            Kind::Gaussian { centers, coefficients } => uniform::<L::T>(centers, coefficients, spec.cutoff),
            _ => None,
        };
        let grid = grid.map(|(spacing, ratio)| (L::of(spacing), L::of(ratio)));
        Tile { spec, first, second, powers, grid, columns: [column(0), column(1), column(2)] }
    }

    /// Fills the columns for distances r (and reference distances r0, read by a transform alone).
    #[inline(always)]
    pub fn fill<const D: usize>(&mut self, r: L, r0: L) {
        let spec = self.spec;
        let cutoff = L::of(spec.cutoff);
        let inside = r.lt(cutoff);
        // Past the cutoff the functions are evaluated at it, so that nothing overflows; NaN stays NaN.
        let r = L::select(cutoff.lt(r), cutoff, r);
        let (x, t1, t2) = transform(spec.transform, r, r0);
        let finish = Finish {
            is_transformed: spec.transform != Transform::None,
            has_envelope: spec.envelope != Envelope::None,
            t: (t1, t2),
            c: envelope::<L, D>(spec.envelope, spec.cutoff, r),
            inside,
            outside: r * L::zero(),
        };
        let columns = &mut self.columns;
        for c in &mut columns[..=D] {
            assert!(c.len() >= spec.count);
        }
        let (zero, one) = (L::zero(), L::of(1.0));
        match &spec.kind {
            Kind::Gaussian { .. } => {
                let run = if self.grid.is_none() { 1 } else { run_length::<L::T>() };
                let (mut b, mut step) = (one, one);
                for (k, (&mu, &c)) in self.first.iter().zip(&self.second).enumerate() {
                    let d = x - mu;
                    if k % run == 0 {
                        b = exp(c * d * d);
                        if let Some((spacing, _)) = self.grid {
                            step = exp(c * spacing * (spacing - (d + d)));
                        }
                    } else if let Some((_, ratio)) = self.grid {
                        b = b * step;
                        step = step * ratio;
                    }
                    let slope = (c + c) * d;
                    let b1 = slope * b;
                    finish.emit::<D>(columns, k, b, b1, slope.fma(b1, (c + c) * b));
                }
            }
            Kind::ExpNormal { alpha, lower, .. } => {
                let y = exp((L::of(*lower) - x) * L::of(*alpha));
                let factor = y * L::of(-2.0 * alpha);
                for (k, (&mu, &beta)) in self.first.iter().zip(&self.second).enumerate() {
                    // `beta` is stored with its sign turned.
                    let d = y - mu;
                    let h = exp(beta * d * d);
                    let g = factor * beta * d;
                    let bend = factor * beta * L::of(-alpha) * (mu - (y + y));
                    finish.emit::<D>(columns, k, h, g * h, g.fma(g, -bend) * h);
                }
            }
            Kind::Bessel { prefactor, step, .. } => {
                bessel::<L, D>(&self.first, &self.second, *prefactor, *step, x, finish, columns)
            }
            Kind::Chebyshev => {
                let (mut a, mut b) = ((one, zero, zero), (x, one, zero));
                let double = x + x;
                for k in 0..spec.count {
                    finish.emit::<D>(columns, k, b.0, b.1, b.2);
                    let next = (
                        double.fma(b.0, -a.0),
                        double.fma(b.1, (b.0 + b.0) - a.1),
                        double.fma(b.2, b.1.fma(L::of(4.0), -a.2)),
                    );
                    (a, b) = (b, next);
                }
            }
            Kind::Bernstein => {
                let y = x * L::of(1.0 / spec.cutoff);
                let (d, d2) = (L::of(1.0 / spec.cutoff), L::of(1.0 / (spec.cutoff * spec.cutoff)));
                bernstein::<L, D>(&self.first, &mut self.powers, y, |k, b, b1, b2| {
                    finish.emit::<D>(columns, k, b, b1 * d, b2 * d2);
                });
            }
            Kind::ExpBernstein { alpha } => {
                let y = exp(x * L::of(-alpha));
                let (d, d2) = (y * L::of(-alpha), y * L::of(alpha * alpha));
                bernstein::<L, D>(&self.first, &mut self.powers, y, |k, b, b1, b2| {
                    finish.emit::<D>(columns, k, b, b1 * d, y.fma(b2, b1) * d2);
                });
            }
            Kind::One => finish.emit::<D>(columns, 0, one, zero, zero),
            Kind::Identity => finish.emit::<D>(columns, 0, x, one, zero),
        }
    }
}

/// Gaussians that are made from one exponential by the recurrence; its error grows with their number, and with the rounding
/// of the exponent of `step`, so that f32 starts anew more often (measured: 7e-7 and 1e-14 of the largest value).
fn run_length<T: Simd>() -> usize {
    if T::IS_SINGLE { 4 } else { 8 }
}

/// (spacing, exp(2 c spacing^2)) if all Gaussians have one coefficient c and centers on a grid, exactly to rounding, and if
/// no ratio of neighbours can overflow: b_{k+1} = b_k s_k, s_{k+1} = s_k exp(2 c spacing^2).
fn uniform<T: Simd>(centers: &[f64], coefficients: &[f64], cutoff: f64) -> Option<(f64, f64)> {
    let (&first, &last, &c) = (centers.first()?, centers.last()?, coefficients.first()?);
    let spacing = (last - first) / (centers.len().max(2) - 1) as f64;
    let span = first.abs() + last.abs() + spacing.abs() + cutoff;
    let tolerance = 4.0 * f64::EPSILON * (first.abs() + last.abs());
    let on_grid = centers.iter().enumerate().all(|(k, mu)| (mu - (first + k as f64 * spacing)).abs() <= tolerance);
    let limit = if T::IS_SINGLE { 40.0 } else { 300.0 };
    let tame = centers.len() >= 4 && (2.0 * c * spacing * span).abs() <= limit;
    (on_grid && tame && coefficients.iter().all(|x| *x == c)).then(|| (spacing, (2.0 * c * spacing * spacing).exp()))
}

/// b = s / x with s = sin(omega x); b' = (omega cos - b) / x; b'' = -omega^2 b - 2 b' / x; the series below omega x = 0.3.
#[inline(always)]
fn bessel<L: Lanes, const D: usize>(
    frequencies: &[L],
    rests: &[L],
    prefactor: f64,
    step: Option<f64>,
    x: L,
    finish: Finish<L>,
    columns: &mut [Vec<L>; 3],
) where
    L::T: Simd,
{
    // Rotation by the first angle, seeded anew every few steps: its error grows with their number.
    let seed = if <L::T as Simd>::IS_SINGLE { 8 } else { 16 };
    let (s1, c1) = direct(x, frequencies[0], rests[0]);
    let (mut s, mut c) = (s1, c1);
    let inverse = L::of(1.0) / x;
    let factor = L::of(prefactor);
    for (k, &omega) in frequencies.iter().enumerate() {
        if k > 0 {
            if step.is_some() && k % seed != 0 {
                (s, c) = (s.fma(c1, c * s1), c.fma(c1, -(s * s1)));
            } else {
                (s, c) = direct(x, omega, rests[k]);
            }
        }
        let mut b = s * inverse;
        let mut b1 = omega.fma(c, -b) * inverse;
        let mut b2 = -(omega * omega).fma(b, (b1 + b1) * inverse);
        let z = x * omega;
        let near = z.lt(L::of(0.3));
        if L::any(near) {
            let (f, f1, f2) = near_zero(omega, z);
            (b, b1, b2) = (L::select(near, f, b), L::select(near, f1, b1), L::select(near, f2, b2));
        }
        finish.emit::<D>(columns, k, b * factor, b1 * factor, b2 * factor);
    }
}

/// (sin, cos) of omega x, for omega = `omega` + `rest`. A function, not a closure: only what is `inline(always)` is sure to
/// be compiled with the caller's features.
#[inline(always)]
fn direct<L: Lanes>(x: L, omega: L, rest: L) -> (L, L)
where
    L::T: Simd,
{
    let z = x * omega;
    // What the product's rounding takes away, exact under a fused multiply-add: in f32 at K = 20 it would be 4e-6.
    sin_cos_sum(z, x.fma(omega, -z) + x * rest)
}

/// sin(omega x) / x and its derivatives by their series in z = omega x < 0.3.
#[inline(always)]
fn near_zero<L: Lanes>(omega: L, z: L) -> (L, L, L) {
    let z2 = z * z;
    let (mut f, mut g, mut h) = (L::zero(), L::zero(), L::zero());
    // 1 / (2 n + 1)! for n = 0..8
    let inverse = [1.0, 1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362880.0, 1.0 / 39916800.0, 1.0 / 6227020800.0];
    for n in (0..6).rev() {
        let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
        let m = 2.0 * n as f64;
        f = f.fma(z2, L::of(sign * inverse[n]));
        g = g.fma(z2, L::of(-sign * (m + 2.0) * inverse[n + 1]));
        h = h.fma(z2, L::of(-sign * (m + 2.0) * (m + 1.0) * inverse[n + 1]));
    }
    let square = omega * omega;
    (omega * f, square * z * g, square * omega * h)
}

/// B_v(y) = C(n, v) y^(n-v) (1-y)^v with dB/dy = n (B^(n-1)_v - B^(n-1)_(v-1)) and the like for the second.
#[inline(always)]
fn bernstein<L: Lanes, const D: usize>(
    binomials: &[L],
    powers: &mut [[L; 2]],
    y: L,
    mut emit: impl FnMut(usize, L, L, L),
) {
    let count = powers.len();
    let one = L::of(1.0);
    for k in 1..count {
        powers[k] = [powers[k - 1][0] * y, powers[k - 1][1] * (one - y)];
    }
    // Of degree n = count - 1 - lower; 0 outside of 0..=n.
    let term = |lower: usize, v: usize| match (count - 1).checked_sub(lower + v) {
        Some(rest) => binomials[lower * count + v] * powers[rest][0] * powers[v][1],
        None => L::zero(),
    };
    let (first, second) = (L::of((count - 1) as f64), L::of((count - 1) as f64 * (count as f64 - 2.0)));
    for v in 0..count {
        let before = |lower: usize, back: usize| if v < back { L::zero() } else { term(lower, v - back) };
        let b1 = if D > 0 { (before(1, 0) - before(1, 1)) * first } else { L::zero() };
        let inner = |x: L, y: L, z: L| x - (y + y) + z;
        let b2 = if D > 1 { inner(before(2, 0), before(2, 1), before(2, 2)) * second } else { L::zero() };
        emit(v, term(0, v), b1, b2);
    }
}
