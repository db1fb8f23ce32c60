//! Radial functions of one pair of elements as quintic Hermite polynomials between knots a fixed step apart.
//!
//! In f64 a knot holds value, slope and curvature of every function (times 1, h, h^2), so that an edge reads one run of two
//! knots. In f32 the difference of two rounded values would spoil the derivative; there each step has the six coefficients
//! of its polynomial. Both are sums of six rows: six multiply-adds a function, twelve with the derivative. Bound by the reading: 6 x 4 or 8 bytes a function from the
//! third-level cache. The curvature is the one that three knots give, 2 (f+ - 2 f + f-) / h^2 - (f'+ - f'-) / (2 h), whose
//! error is of the order of the interpolation's own. The result is twice continuously differentiable, and its derivative
//! is the one that forces get, so energy is conserved whatever the step.

use super::kernels::{at, put};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::equivariant::polynomial::rows::for_each_part;

/// Fewest and most steps.
const STEPS: [usize; 2] = [128, 2048];
/// Distances given to the exact functions at once.
const ROWS: usize = 32;

/// Distances to values and derivatives of all functions, a row each.
pub type Exact<'f> = dyn Fn(&[f64], &mut [f64], &mut [f64]) + Sync + 'f;

#[derive(Clone, Debug)]
pub struct Table<T> {
    pub low: f64,
    pub high: f64,
    steps: usize,
    width: usize,
    /// Knots [steps + 1, 3, width], or coefficients [steps, 6, width].
    rows: Vec<T>,
    /// Whether there are coefficients.
    powers: bool,
    /// Largest deviation at the midpoints, of values and of derivatives, over the largest of them.
    pub error: [f64; 2],
}

/// Values and slopes at `count` distances a step apart.
struct Samples {
    values: Vec<f64>,
    slopes: Vec<f64>,
}

impl Samples {
    fn new(exact: &Exact, from: f64, step: f64, count: usize, width: usize) -> Self {
        let (mut values, mut slopes) = (vec![0.0; count * width], vec![0.0; count * width]);
        let distances: Vec<f64> = (0..count).map(|n| from + step * n as f64).collect();
        let rows = ROWS * width;
        let parts: Vec<_> = distances.chunks(ROWS).zip(values.chunks_mut(rows).zip(slopes.chunks_mut(rows))).collect();
        for_each_part(count * width * 10, parts, |(r, (v, s))| exact(r, v, s));
        Samples { values, slopes }
    }

    /// Knots from every second sample, beginning with the third.
    fn knots(&self, h: f64, steps: usize, width: usize) -> Vec<f64> {
        let mut knots = vec![0.0; (steps + 1) * 3 * width];
        for (n, knot) in knots.chunks_exact_mut(3 * width).enumerate() {
            let [before, now, after] = [n, n + 1, n + 2].map(|n| 2 * n * width);
            for k in 0..width {
                let f = |at: usize| self.values[at + k];
                let d = |at: usize| self.slopes[at + k];
                let bend = 2.0 * (f(after) - 2.0 * f(now) + f(before)) - 0.5 * h * (d(after) - d(before));
                knot[k] = f(now);
                knot[width + k] = h * d(now);
                knot[2 * width + k] = bend;
            }
        }
        knots
    }
}

impl<T: Simd> Table<T> {
    /// A table from `low` to `high` whose derivatives deviate by less than `tolerance` of the largest one, or the finest there
    /// is. `exact` must be defined one knot beyond both ends.
    pub fn new(exact: &Exact, [low, high]: [f64; 2], width: usize, tolerance: f64) -> Self {
        let mut steps = STEPS[0];
        loop {
            // Samples at twice the resolution: knots and the midpoints between them, and one knot more at both ends.
            let half = (high - low) / (2 * steps) as f64;
            let samples = Samples::new(exact, low - 2.0 * half, half, 2 * steps + 5, width);
            let rows = samples.knots(2.0 * half, steps, width);
            let mut table = Table { low, high, steps, width, rows, powers: false, error: [0.0; 2] };
            table.measure(&samples);
            if table.error[1] < tolerance || steps == STEPS[1] {
                let rows = if T::IS_SINGLE { table.coefficients() } else { table.rows };
                let rows = rows.into_iter().map(T::of).collect();
                return Table { low, high, steps, width, rows, powers: T::IS_SINGLE, error: table.error };
            }
            steps *= 2;
        }
    }

    /// Whether the distance is one of the table's.
    pub fn holds(&self, r: f64) -> bool {
        r >= self.low && r <= self.high
    }

    /// Values and, if asked for, derivatives at a distance that it holds.
    pub fn row(&self, r: f64, values: &mut [T], slopes: Option<&mut [T]>) {
        let inverse = self.steps as f64 / (self.high - self.low);
        let place = ((r - self.low) * inverse).max(0.0);
        let n = (place as usize).min(self.steps - 1);
        let first = n * self.width * if self.powers { 6 } else { 3 };
        let rows = &self.rows[first..first + 6 * self.width];
        let (weights, steep) = if self.powers { powers(place - n as f64) } else { hermite(place - n as f64) };
        let steep = steep.map(|w| w * inverse);
        dispatch(Interpolate { rows, width: self.width, weights, steep, values, slopes });
    }

    pub fn bytes(&self) -> usize {
        self.rows.len() * size_of::<T>()
    }
}

impl Table<f64> {
    /// Of each step, [steps, 6, width].
    fn coefficients(&self) -> Vec<f64> {
        let width = self.width;
        let mut rows = vec![0.0; self.steps * 6 * width];
        for (n, out) in rows.chunks_exact_mut(6 * width).enumerate() {
            let knots = &self.rows[n * 3 * width..];
            for k in 0..width {
                let [f, d, c, f1, d1, c1] = [0, 1, 2, 3, 4, 5].map(|row| knots[row * width + k]);
                let (rise, tilt, bend) = (f1 - f - d - 0.5 * c, d1 - d - c, c1 - c);
                let last = [
                    10.0 * rise - 4.0 * tilt + 0.5 * bend,
                    -15.0 * rise + 7.0 * tilt - bend,
                    6.0 * rise - 3.0 * tilt + 0.5 * bend,
                ];
                [f, d, 0.5 * c].iter().chain(&last).enumerate().for_each(|(p, x)| out[p * width + k] = *x);
            }
        }
        rows
    }

    fn measure(&mut self, samples: &Samples) {
        let width = self.width;
        let (mut values, mut slopes) = (vec![0.0; width], vec![0.0; width]);
        let (mut worst, mut largest) = ([0.0f64; 2], [0.0f64; 2]);
        let half = (self.high - self.low) / (2 * self.steps) as f64;
        for n in 0..self.steps {
            let at = (2 * n + 3) * width;
            self.row(self.low + (2 * n + 1) as f64 * half, &mut values, Some(&mut slopes));
            let pairs = [(&values, &samples.values), (&slopes, &samples.slopes)];
            for (k, (found, exact)) in pairs.into_iter().enumerate() {
                for (f, e) in found.iter().zip(&exact[at..at + width]) {
                    worst[k] = worst[k].max((f - e).abs());
                    largest[k] = largest[k].max(e.abs());
                }
            }
        }
        self.error = std::array::from_fn(|k| if largest[k] > 0.0 { worst[k] / largest[k] } else { 0.0 });
    }
}

/// Weights of (f, h f', h^2 f'') at both ends of a step, at s of it; and their derivatives along s.
fn hermite(s: f64) -> ([f64; 6], [f64; 6]) {
    let (s2, s3) = (s * s, s * s * s);
    let (s4, s5) = (s2 * s2, s2 * s3);
    let rise = 10.0 * s3 - 15.0 * s4 + 6.0 * s5;
    let steep = 30.0 * (s2 - 2.0 * s3 + s4);
    let weights = [
        1.0 - rise,
        s - 6.0 * s3 + 8.0 * s4 - 3.0 * s5,
        0.5 * s2 - 1.5 * s3 + 1.5 * s4 - 0.5 * s5,
        rise,
        -4.0 * s3 + 7.0 * s4 - 3.0 * s5,
        0.5 * s3 - s4 + 0.5 * s5,
    ];
    let slopes = [
        -steep,
        1.0 - 18.0 * s2 + 32.0 * s3 - 15.0 * s4,
        s - 4.5 * s2 + 6.0 * s3 - 2.5 * s4,
        steep,
        -12.0 * s2 + 28.0 * s3 - 15.0 * s4,
        1.5 * s2 - 4.0 * s3 + 2.5 * s4,
    ];
    (weights, slopes)
}

/// Powers of s, and their derivatives.
fn powers(s: f64) -> ([f64; 6], [f64; 6]) {
    let (s2, s3, s4) = (s * s, s * s * s, s * s * s * s);
    ([1.0, s, s2, s3, s4, s4 * s], [0.0, 1.0, 2.0 * s, 3.0 * s2, 4.0 * s3, 5.0 * s4])
}

struct Interpolate<'a, T> {
    rows: &'a [T],
    width: usize,
    weights: [f64; 6],
    steep: [f64; 6],
    values: &'a mut [T],
    slopes: Option<&'a mut [T]>,
}

impl<T: Simd> Job<T> for Interpolate<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (w, d) = (splat::<L>(&self.weights), splat::<L>(&self.steep));
        let width = self.width;
        assert!(width.is_multiple_of(L::N) && self.rows.len() >= 6 * width && self.values.len() >= width);
        let rows = self.rows.as_ptr();
        match self.slopes {
            None => {
                for k in (0..width).step_by(L::N) {
                    // SAFETY: k + N <= width, so rows and results were checked to reach that far.
                    unsafe { put(sum(rows.add(k), width, &w), self.values.as_mut_ptr().add(k)) }
                }
            }
            Some(slopes) => {
                assert!(slopes.len() >= width);
                for k in (0..width).step_by(L::N) {
                    // SAFETY: as above; the second reading of a row comes from the first-level cache.
                    unsafe {
                        put(sum(rows.add(k), width, &w), self.values.as_mut_ptr().add(k));
                        put(sum(rows.add(k), width, &d), slopes.as_mut_ptr().add(k));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn splat<L: Lanes>(x: &[f64; 6]) -> [L; 6] {
    [L::of(x[0]), L::of(x[1]), L::of(x[2]), L::of(x[3]), L::of(x[4]), L::of(x[5])]
}

/// # Safety
/// Six rows of `width` values begin N or more values before their ends at `from`.
#[inline(always)]
unsafe fn sum<L: Lanes>(from: *const L::T, width: usize, w: &[L; 6]) -> L {
    // SAFETY: the caller's.
    unsafe {
        let one = at::<L>(from).fma(w[0], at::<L>(from.add(width)).fma(w[1], at::<L>(from.add(2 * width)) * w[2]));
        let two = at::<L>(from.add(4 * width)).fma(w[4], at::<L>(from.add(5 * width)) * w[5]);
        at::<L>(from.add(3 * width)).fma(w[3], one + two)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(distances: &[f64], values: &mut [f64], slopes: &mut [f64]) {
        for (n, (v, s)) in values.iter_mut().zip(slopes).enumerate() {
            let (r, w) = (distances[n / 16], 1.0 + (n % 16) as f64 / 4.0);
            (*v, *s) = ((w * r).sin() * (-0.3 * r).exp(), (w * (w * r).cos() - 0.3 * (w * r).sin()) * (-0.3 * r).exp());
        }
    }

    #[test]
    fn a_table_is_its_functions_within_the_stated_error() {
        let table = Table::<f64>::new(&wave, [0.5, 6.0], 16, 1e-9);
        assert!(table.error[1] < 1e-9 && table.error[0] < 1e-10);
        let (mut found, mut exact) = ([[0.0; 16]; 2], [[0.0; 16]; 2]);
        for n in 0..=1000 {
            let r = (0.5 + 5.5e-3 * f64::from(n)).min(6.0);
            let [v, s] = &mut found;
            table.row(r, v, Some(s));
            let [v, s] = &mut exact;
            wave(&[r], v, s);
            for k in 0..16 {
                assert!((found[0][k] - exact[0][k]).abs() < 1e-10 && (found[1][k] - exact[1][k]).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn the_slope_is_the_derivative_of_the_value() {
        let table = Table::<f64>::new(&wave, [0.5, 6.0], 16, 1.0);
        let value = |r: f64| {
            let mut v = [0.0; 16];
            table.row(r, &mut v, None);
            v[9]
        };
        for r in [0.5001, 0.77, 3.2, 5.9999] {
            let (mut v, mut s) = ([0.0; 16], [0.0; 16]);
            table.row(r, &mut v, Some(&mut s));
            assert!((s[9] - (value(r + 1e-6) - value(r - 1e-6)) / 2e-6).abs() < 1e-8);
        }
    }

    #[test]
    fn single_precision_tables_round_once() {
        let (single, double) =
            (Table::<f32>::new(&wave, [0.5, 6.0], 16, 1e-7), Table::<f64>::new(&wave, [0.5, 6.0], 16, 1e-7));
        let (mut a, mut b) = ([[0.0f32; 16]; 2], [[0.0; 16]; 2]);
        for n in 0..500 {
            let ([v, s], [w, t]) = (&mut a, &mut b);
            single.row(0.5 + 0.0109 * f64::from(n), v, Some(s));
            double.row(0.5 + 0.0109 * f64::from(n), w, Some(t));
            for k in 0..16 {
                assert!((f64::from(v[k]) - w[k]).abs() < 2e-7 && (f64::from(s[k]) - t[k]).abs() < 1e-6);
            }
        }
    }
}
