//! Radial functions of one pair of elements as quintic Hermite polynomials between knots a fixed step apart.
//!
//! A knot holds value, slope and curvature of every function (times 1, h, h^2), so that an edge reads one run of two knots:
//! six multiply-adds a function, twelve with the derivative. Bound by the reading: 6 x 4 or 8 bytes a function from the
//! third-level cache. The curvature is the one that three knots give, 2 (f+ - 2 f + f-) / h^2 - (f'+ - f'-) / (2 h), whose
//! error is of the order of the interpolation's own. The result is twice continuously differentiable, and its derivative
//! is the one that forces get, so energy is conserved whatever the step.

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
    /// [steps + 1, 3, width].
    knots: Vec<T>,
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

    /// Knots from every second sample (`every` = 2) or from all (1), beginning with sample `every`.
    fn knots<T: Simd>(&self, every: usize, step: f64, steps: usize, width: usize) -> Vec<T> {
        let h = step * every as f64;
        let mut knots = vec![T::ZERO; (steps + 1) * 3 * width];
        for (n, knot) in knots.chunks_exact_mut(3 * width).enumerate() {
            let (now, before) = ((n + 1) * every * width, n * every * width);
            let after = (n + 2) * every * width;
            for k in 0..width {
                let f = |at: usize| self.values[at + k];
                let d = |at: usize| self.slopes[at + k];
                let bend = 2.0 * (f(after) - 2.0 * f(now) + f(before)) - 0.5 * h * (d(after) - d(before));
                knot[k] = T::of(f(now));
                knot[width + k] = T::of(h * d(now));
                knot[2 * width + k] = T::of(bend);
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
            let mut table =
                Table { low, high, steps, width, knots: samples.knots::<f64>(2, half, steps, width), error: [0.0; 2] };
            table.measure(&samples);
            if table.error[1] < tolerance || steps == STEPS[1] {
                let knots = table.knots.iter().map(|&x| T::of(x)).collect();
                return Table { low, high, steps, width, knots, error: table.error };
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
        let knots = &self.knots[n * 3 * self.width..(n + 2) * 3 * self.width];
        let (weights, steep) = hermite(place - n as f64);
        let steep = steep.map(|w| w * inverse);
        dispatch(Interpolate { knots, width: self.width, weights, steep, values, slopes });
    }

    pub fn bytes(&self) -> usize {
        self.knots.len() * size_of::<T>()
    }
}

impl Table<f64> {
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

struct Interpolate<'a, T> {
    knots: &'a [T],
    width: usize,
    weights: [f64; 6],
    steep: [f64; 6],
    values: &'a mut [T],
    slopes: Option<&'a mut [T]>,
}

impl<T: Simd> Job<T> for Interpolate<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (w, d) = (self.weights.map(L::of), self.steep.map(L::of));
        let mut rows = self.knots.chunks_exact(self.width);
        let six: [&[T]; 6] = std::array::from_fn(|_| rows.next().unwrap_or(&[]));
        let six = six.map(|row| row.chunks_exact(L::N));
        let [a, b, c, e, f, g] = six;
        let knots = a.zip(b).zip(c).zip(e.zip(f).zip(g));
        let values = self.values.chunks_exact_mut(L::N);
        match self.slopes {
            None => {
                for ((((a, b), c), ((e, f), g)), value) in knots.zip(values) {
                    let six = [a, b, c, e, f, g].map(L::load);
                    sum(&six, &w).store(value);
                }
            }
            Some(slopes) => {
                for (((((a, b), c), ((e, f), g)), value), slope) in knots.zip(values).zip(slopes.chunks_exact_mut(L::N))
                {
                    let six = [a, b, c, e, f, g].map(L::load);
                    sum(&six, &w).store(value);
                    sum(&six, &d).store(slope);
                }
            }
        }
    }
}

#[inline(always)]
fn sum<L: Lanes>(x: &[L; 6], w: &[L; 6]) -> L {
    let one = x[0].fma(w[0], x[1].fma(w[1], x[2] * w[2]));
    x[3].fma(w[3], x[4].fma(w[4], x[5].fma(w[5], one)))
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
        let (mut a, mut b) = ([0.0f32; 16], [0.0; 16]);
        single.row(2.345, &mut a, None);
        double.row(2.345, &mut b, None);
        a.iter().zip(b).for_each(|(a, b)| assert!((f64::from(*a) - b).abs() < 3e-7));
    }
}
