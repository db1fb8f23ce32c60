//! Radial tables: F = I / r^l and its derivatives by quintic splines.
//!
//! The knots are uniform in t = sqrt(s + b^2) - b with s = r^2, which is smooth at r = 0 and as dense as one in r elsewhere.
//! A spline is a sum of B-splines: six numbers of a pair weigh six consecutive rows of coefficients, of which there are few:
//! 20 KiB for 56 functions at 1e-8, which stay in the first cache, where values with derivatives at knots take three times
//! that. Reading them is what bounds the interpolation. Lengths are in units of `reach`.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::radial::Radial;
use crate::aligned::Aligned;
use crate::basis::lanes::{Lanes, Simd};
use crate::error::{Error, Result};

/// Where the functions of degree l stand in a row, padded to the lanes.
#[derive(Clone, Debug)]
pub struct Rows {
    /// n_l.
    pub counts: Vec<usize>,
    /// Where each degree begins, and the whole length.
    pub start: Vec<usize>,
}

impl Rows {
    pub fn new<T: Simd>(counts: Vec<usize>) -> Self {
        let mut start = vec![0];
        for (l, n) in counts.iter().enumerate() {
            start.push(start[l] + n.next_multiple_of(T::Wide::N));
        }
        Rows { counts, start }
    }

    pub fn len(&self) -> usize {
        self.start[self.start.len() - 1]
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// (place in the row, number among all (l, n), l).
    pub fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let each = self.counts.iter().enumerate().flat_map(|(l, n)| (0..*n).map(move |k| (l, k)));
        each.enumerate().map(|(i, (l, k))| (self.start[l] + k, i, l))
    }
}

#[derive(Debug)]
pub struct Table<T> {
    /// b and 1 / h, in units of `reach`.
    pub soft: T,
    pub per_unit: T,
    pub intervals: usize,
    /// Coefficients [intervals + 5, row]: those of interval k are rows k..k + 6.
    pub knots: Aligned<T>,
    /// Largest errors at middles and quarters of intervals, of I by the largest |I| and of dI/dr by the largest |dI/dr|.
    pub errors: [f64; 2],
}

const MOST: usize = 1 << 15;

/// Values and both t-derivatives of r^l-free functions at t, scaled to lengths of `reach`.
struct Source<'a> {
    radial: &'a Radial,
    rows: &'a Rows,
    reach: f64,
    soft: f64,
}

impl Source<'_> {
    fn at(&self, t: f64, raw: &mut [[f64; 3]]) -> f64 {
        let root = t + self.soft;
        let s = (t * (t + 2.0 * self.soft)).max(0.0);
        self.radial.at(s.sqrt() * self.reach, raw);
        let unit = self.reach * self.reach;
        for (_, i, l) in self.rows.places() {
            let scale = self.reach.powi(l as i32);
            let [f, fs, fss] = raw[i];
            let (f, fs, fss) = (f * scale, fs * scale * unit, fss * scale * unit * unit);
            raw[i] = [f, fs * 2.0 * root, fss * 4.0 * root * root + 2.0 * fs];
        }
        s
    }
}

impl<T: Simd> Table<T> {
    /// As few intervals as `accuracy` allows. `width` of the density is the length that functions vary on.
    pub fn new(radial: &Radial, rows: &Rows, reach: f64, width: f64, accuracy: f64) -> Result<Self> {
        let accuracy = if T::IS_SINGLE { accuracy.max(2e-7) } else { accuracy };
        let soft = (2.0 * width / reach).min(4.0);
        let source = Source { radial, rows, reach, soft };
        let mut intervals = 32;
        loop {
            let (knots, errors) = source.tabulate(intervals);
            // Slopes are one power of the step worse; they are the table's own, so they agree with its values anyway.
            let worst = (errors[0] / accuracy).max((errors[1] / (20.0 * accuracy)).powf(1.2));
            if worst <= 1.0 || (intervals >= MOST && errors[0] < 1e-6) {
                if worst > 1.0 {
                    let rule = format!("at least {:.1e} for this basis (or None)", errors[0].max(errors[1] / 20.0));
                    return Err(Error::value("accuracy", &rule, accuracy));
                }
                let knots: Vec<T> = knots.into_iter().map(T::of).collect();
                let end = (1.0 + soft * soft).sqrt() - soft;
                let per_unit = T::of(intervals as f64 / end);
                return Ok(Table { soft: T::of(soft), per_unit, intervals, knots: Aligned::of(&knots), errors });
            }
            if intervals >= MOST {
                let rule = format!("at least {:.1e} for this basis (or None)", errors[0]);
                return Err(Error::value("accuracy", &rule, accuracy));
            }
            let factor = (1.05 * worst.powf(1.0 / 6.0)).clamp(1.1, 4.0);
            intervals = ((intervals as f64 * factor).ceil() as usize).min(MOST);
        }
    }
}

impl Source<'_> {
    fn tabulate(&self, intervals: usize) -> (Vec<f64>, [f64; 2]) {
        let (row, count) = (self.rows.len(), self.rows.counts.iter().sum());
        let end = (1.0 + self.soft * self.soft).sqrt() - self.soft;
        let h = end / intervals as f64;
        let mut knots = vec![0.0; (intervals + 5) * row];
        let mut ends = vec![[0.0; 4]; row];
        let mut raw = vec![[0.0; 3]; count];
        for k in 0..=intervals {
            self.at(h * k as f64, &mut raw);
            for (at, i, _) in self.rows.places() {
                let [f, slope, bend] = raw[i];
                knots[(k + 2) * row + at] = f;
                if k == 0 {
                    [ends[at][0], ends[at][1]] = [slope * h, bend * h * h];
                }
                if k == intervals {
                    [ends[at][2], ends[at][3]] = [slope * h, bend * h * h];
                }
            }
        }
        coefficients(&mut knots, &ends);
        let (mut error, mut largest) = ([0.0f64; 2], [0.0f64; 2]);
        // The error of values is largest at the middle, that of slopes near a quarter.
        for x in [0.25, 0.5] {
            let [value, slope, _] = weights(<f64 as Simd>::Plain::of(x)).map(numbers);
            for k in 0..intervals {
                let t = h * (k as f64 + x);
                let s = self.at(t, &mut raw);
                for (at, i, l) in self.rows.places() {
                    let (mut f, mut g) = (0.0, 0.0);
                    for d in 0..6 {
                        let c = knots[(k + d) * row + at];
                        f += value[d] * c;
                        g += slope[d] * c / h;
                    }
                    // I = r^l F; dI/dr = l r^(l - 1) F + r^l F_t dt/dr, dt/dr = r / (t + b).
                    let r = s.sqrt();
                    let power = r.powi(l as i32);
                    let down = if l == 0 { 0.0 } else { l as f64 * r.powi(l as i32 - 1) };
                    let along = power * r / (t + self.soft);
                    error[0] = error[0].max(power * (f - raw[i][0]).abs());
                    largest[0] = largest[0].max(power * raw[i][0].abs());
                    error[1] = error[1].max((down * (f - raw[i][0]) + along * (g - raw[i][1])).abs());
                    largest[1] = largest[1].max((down * raw[i][0] + along * raw[i][1]).abs());
                }
            }
        }
        let part = |k: usize| if largest[k] > 0.0 { error[k] / largest[k] } else { 0.0 };
        (knots, [part(0), part(1)])
    }
}

/// Coefficients of the quintic splines through values f_0..f_N, which are rows 2..=N + 2 of `c` [N + 5, row] on entry, with
/// h f' and h^2 f'' at the first and at the last knot as `ends` has them.
///
/// c_(k-2) + 26 c_(k-1) + 66 c_k + 26 c_(k+1) + c_(k+2) = 120 f_k. The slopes and bends of an end give the two coefficients
/// beyond it, in terms of those inside; what is left has five diagonals and needs no pivots.
fn coefficients(c: &mut [f64], ends: &[[f64; 4]]) {
    let row = ends.len();
    if row == 0 {
        return;
    }
    let n = c.len() / row - 4;
    // Of row k, what stands at columns k - 2..=k + 2.
    let mut band = vec![[1.0, 26.0, 66.0, 26.0, 1.0]; n];
    band[0] = [0.0, 0.0, 54.0, 60.0, 6.0];
    band[1] = [0.0, 25.25, 67.5, 26.25, 1.0];
    band[n - 1] = [6.0, 60.0, 54.0, 0.0, 0.0];
    band[n - 2] = [1.0, 26.25, 67.5, 25.25, 0.0];
    c.iter_mut().for_each(|x| *x *= 120.0);
    for (at, &[slope, bend, last_slope, last_bend]) in ends.iter().enumerate() {
        for (first, second, slope, bend) in [(2, 3, slope, bend), (n + 1, n, -last_slope, last_bend)] {
            c[first * row + at] += 72.0 * slope + 12.0 * bend;
            c[second * row + at] += 3.0 * slope + 0.75 * bend;
        }
    }
    for k in 0..n {
        for below in 1..=2.min(n - 1 - k) {
            let factor = band[k + below][2 - below] / band[k][2];
            for d in 0..3 {
                band[k + below][2 - below + d] -= factor * band[k][2 + d];
            }
            let (head, tail) = c.split_at_mut((k + 2 + below) * row);
            let from = &head[(k + 2) * row..(k + 3) * row];
            tail[..row].iter_mut().zip(from).for_each(|(x, y)| *x -= factor * y);
        }
    }
    for k in (0..n).rev() {
        for at in 0..row {
            let value = |d: usize| if k + d < n { band[k][2 + d] * c[(k + 2 + d) * row + at] } else { 0.0 };
            c[(k + 2) * row + at] = (c[(k + 2) * row + at] - value(1) - value(2)) / band[k][2];
        }
    }
    for (at, &[slope, bend, last_slope, last_bend]) in ends.iter().enumerate() {
        let mut beyond = |outer: usize, inner: usize, near: [usize; 3], slope: f64, bend: f64| {
            let [a, b, d] = near.map(|k| c[k * row + at]);
            c[inner * row + at] = -(0.75 * bend + 3.0 * slope + 0.75 * a - 1.5 * b - 0.25 * d);
            c[outer * row + at] = 7.5 * bend + 6.0 * slope + 7.5 * a - 5.0 * b - 1.5 * d;
        };
        beyond(0, 1, [2, 3, 4], slope, bend);
        beyond(n + 3, n + 2, [n + 1, n, n - 1], -last_slope, last_bend);
    }
}

fn numbers(w: [<f64 as Simd>::Plain; 6]) -> [f64; 6] {
    w.map(|x| {
        let mut number = [0.0];
        x.store(&mut number);
        number[0]
    })
}

/// a + b x + ... over lanes.
#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(x: L, c: [f64; N]) -> L {
    let mut sum = L::of(c[N - 1]);
    for k in (0..N - 1).rev() {
        sum = x.fma(sum, L::of(c[k]));
    }
    sum
}

/// Values of the six B-splines that do not vanish at 0 <= x <= 1, and their derivatives up to the second.
#[inline(always)]
pub fn weights<L: Lanes>(x: L) -> [[L; 6]; 3] {
    const fn over<const N: usize>(mut c: [f64; N], by: f64) -> [f64; N] {
        let mut k = 0;
        while k < N {
            c[k] /= by;
            k += 1;
        }
        c
    }
    const VALUE: [[f64; 6]; 2] =
        [over([26.0, 50.0, 20.0, -20.0, -20.0, 10.0], 120.0), over([1.0, 5.0, 10.0, 10.0, 5.0, -5.0], 120.0)];
    const SLOPE: [[f64; 5]; 2] = [over([5.0, 4.0, -6.0, -8.0, 5.0], 12.0), over([1.0, 4.0, 6.0, 4.0, -5.0], 24.0)];
    const BEND: [[f64; 4]; 2] = [over([1.0, -3.0, -6.0, 5.0], 3.0), over([1.0, 3.0, 3.0, -5.0], 6.0)];
    let y = L::of(1.0) - x;
    let (x2, y2) = (x * x, y * y);
    let (x3, y3) = (x * x2, y * y2);
    let value = [
        y2 * y3 * L::of(1.0 / 120.0),
        polynomial(y, VALUE[1]),
        polynomial(y, VALUE[0]),
        polynomial(x, VALUE[0]),
        polynomial(x, VALUE[1]),
        x2 * x3 * L::of(1.0 / 120.0),
    ];
    let slope = [
        -(y2 * y2 * L::of(1.0 / 24.0)),
        -polynomial(y, SLOPE[1]),
        -polynomial(y, SLOPE[0]),
        polynomial(x, SLOPE[0]),
        polynomial(x, SLOPE[1]),
        x2 * x2 * L::of(1.0 / 24.0),
    ];
    let bend = [
        y3 * L::of(1.0 / 6.0),
        polynomial(y, BEND[1]),
        polynomial(y, BEND[0]),
        polynomial(x, BEND[0]),
        polynomial(x, BEND[1]),
        x3 * L::of(1.0 / 6.0),
    ];
    [value, slope, bend]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::soap::basis::Basis;
    use crate::descriptors::soap::radial::Density;

    fn radial(width: f64) -> Radial {
        let c = 0.5 / (width * width);
        let basis = Basis::FeatomicGto { count: 6, radius: 5.0 };
        let degrees = (0..5).map(|l| Some(basis.degree(l).unwrap().0)).collect();
        let amplitude = (std::f64::consts::PI * width * width).powf(-0.75);
        Radial::new(degrees, Density::Gaussian { amplitude, exponent: c })
    }

    #[test]
    fn a_table_is_as_accurate_as_asked() {
        let radial = radial(0.4);
        let rows = Rows::new::<f64>(radial.counts());
        let mut last = 0;
        for accuracy in [1e-6, 1e-8, 1e-10] {
            let table = Table::<f64>::new(&radial, &rows, 5.0, 0.4, accuracy).unwrap();
            assert!(table.errors[0] <= accuracy && table.intervals > last);
            last = table.intervals;
        }
        let refused = Table::<f64>::new(&radial, &rows, 5.0, 0.4, 1e-18).unwrap_err().to_string();
        assert!(refused.starts_with("`accuracy` must be at least"), "{refused}");
    }

    #[test]
    fn a_spline_of_a_quintic_is_the_quintic() {
        type L = <f64 as Simd>::Plain;
        let f = |x: f64| {
            let p = |k: i32| x.powi(k);
            let value = 1.0 - 2.0 * p(1) + 0.5 * p(3) + 0.03 * p(5);
            [value, -2.0 + 1.5 * p(2) + 0.15 * p(4), 3.0 * p(1) + 0.6 * p(3)]
        };
        let n = 7;
        let mut c = vec![0.0; n + 5];
        (0..=n).for_each(|k| c[k + 2] = f(k as f64)[0]);
        let (first, last) = (f(0.0), f(n as f64));
        coefficients(&mut c, &[[first[1], first[2], last[1], last[2]]]);
        for k in 0..n {
            for x in [0.0, 0.1, 0.5, 0.83, 1.0] {
                let w = weights(L::of(x));
                let expected = f(k as f64 + x);
                for d in 0..3 {
                    let mut buffer = [0.0];
                    (0..6).fold(L::zero(), |s, i| w[d][i].fma(L::of(c[k + i]), s)).store(&mut buffer);
                    assert!((buffer[0] - expected[d]).abs() < 1e-10, "{d} at {k} + {x}: {} {}", buffer[0], expected[d]);
                }
            }
        }
    }
}
