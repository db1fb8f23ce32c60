//! Radial tables: F = I / r^l and its derivatives by quintic Hermite interpolation.
//!
//! The knots are uniform in t = sqrt(s + b^2) - b with s = r^2, which is smooth at r = 0 and as dense as one in r elsewhere.
//! A knot holds f, h f', h^2 f'' of each function, so that neighbours share it; six numbers of a pair weigh those of two
//! knots. Lengths are in units of `reach`.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::radial::Radial;
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

#[derive(Clone, Debug)]
pub struct Table<T> {
    /// b and 1 / h, in units of `reach`.
    pub soft: T,
    pub per_unit: T,
    pub intervals: usize,
    /// [intervals + 1, 3, row].
    pub knots: Vec<T>,
    /// Largest errors at the middles of intervals, of I by the largest |I| and of dI/dr by the largest |dI/dr|.
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
                let knots = knots.into_iter().map(T::of).collect();
                let end = (1.0 + soft * soft).sqrt() - soft;
                let per_unit = T::of(intervals as f64 / end);
                return Ok(Table { soft: T::of(soft), per_unit, intervals, knots, errors });
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
        let mut knots = vec![0.0; (intervals + 1) * 3 * row];
        let mut raw = vec![[0.0; 3]; count];
        for k in 0..=intervals {
            self.at(h * k as f64, &mut raw);
            for (at, i, _) in self.rows.places() {
                for d in 0..3 {
                    knots[(3 * k + d) * row + at] = raw[i][d] * h.powi(d as i32);
                }
            }
        }
        let (value, slope) = (hermite(0.5), hermite_slope(0.5));
        let (mut error, mut largest) = ([0.0f64; 2], [0.0f64; 2]);
        for k in 0..intervals {
            let t = h * (k as f64 + 0.5);
            let s = self.at(t, &mut raw);
            for (at, i, l) in self.rows.places() {
                let at = |d: usize| knots[3 * k * row + d * row + at];
                let (mut f, mut g) = (0.0, 0.0);
                for d in 0..6 {
                    f += value[d] * at(d);
                    g += slope[d] * at(d) / h;
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
        let part = |k: usize| if largest[k] > 0.0 { error[k] / largest[k] } else { 0.0 };
        (knots, [part(0), part(1)])
    }
}

/// Weights of f, h f', h^2 f'' at both ends, for 0 <= x <= 1.
fn hermite(x: f64) -> [f64; 6] {
    let (x2, x3) = (x * x, x * x * x);
    [
        1.0 + x3 * (-10.0 + x * (15.0 - 6.0 * x)),
        x + x3 * (-6.0 + x * (8.0 - 3.0 * x)),
        0.5 * x2 + x3 * (-1.5 + x * (1.5 - 0.5 * x)),
        x3 * (10.0 + x * (-15.0 + 6.0 * x)),
        x3 * (-4.0 + x * (7.0 - 3.0 * x)),
        x3 * (0.5 + x * (-1.0 + 0.5 * x)),
    ]
}

fn hermite_slope(x: f64) -> [f64; 6] {
    let x2 = x * x;
    [
        x2 * (-30.0 + x * (60.0 - 30.0 * x)),
        1.0 + x2 * (-18.0 + x * (32.0 - 15.0 * x)),
        x + x2 * (-4.5 + x * (6.0 - 2.5 * x)),
        x2 * (30.0 + x * (-60.0 + 30.0 * x)),
        x2 * (-12.0 + x * (28.0 - 15.0 * x)),
        x2 * (1.5 + x * (-4.0 + 2.5 * x)),
    ]
}

/// a + b x + c x^2.
#[inline(always)]
fn square<L: Lanes>(x: L, a: f64, b: f64, c: f64) -> L {
    x.fma(x.fma(L::of(c), L::of(b)), L::of(a))
}

/// The same over lanes, and their derivatives up to the second.
#[inline(always)]
pub fn weights<L: Lanes>(x: L) -> [[L; 6]; 3] {
    let (x2, x3) = (x * x, x * x * x);
    let (a, b, d) = (square(x, 10.0, -15.0, 6.0), square(x, -6.0, 8.0, -3.0), square(x, -1.5, 1.5, -0.5));
    let (e, f) = (square(x, -4.0, 7.0, -3.0), square(x, 0.5, -1.0, 0.5));
    let value = [L::of(1.0) - x3 * a, x3.fma(b, x), x2.fma(L::of(0.5), x3 * d), x3 * a, x3 * e, x3 * f];
    let (a, b, d) = (square(x, 30.0, -60.0, 30.0), square(x, -18.0, 32.0, -15.0), square(x, -4.5, 6.0, -2.5));
    let (e, f) = (square(x, -12.0, 28.0, -15.0), square(x, 1.5, -4.0, 2.5));
    let slope = [-(x2 * a), x2.fma(b, L::of(1.0)), x2.fma(d, x), x2 * a, x2 * e, x2 * f];
    let (a, b, d) = (square(x, 60.0, -180.0, 120.0), square(x, -36.0, 96.0, -60.0), square(x, -9.0, 18.0, -10.0));
    let (e, f) = (square(x, -24.0, 84.0, -60.0), square(x, 3.0, -12.0, 10.0));
    let bend = [-(x * a), x * b, x.fma(d, L::of(1.0)), x * a, x * e, x * f];
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
    fn weights_reproduce_a_quintic_and_its_derivatives() {
        type L = <f64 as Simd>::Plain;
        let f = |x: f64| {
            let p = |k: i32| x.powi(k);
            [1.0 - 2.0 * p(1) + 0.5 * p(3) + 3.0 * p(5), -2.0 + 1.5 * p(2) + 15.0 * p(4), 3.0 * p(1) + 60.0 * p(3)]
        };
        let knots = [f(0.0), f(1.0)].concat();
        for x in [0.1, 0.5, 0.83] {
            let w = weights(L::of(x));
            for d in 0..3 {
                let mut buffer = [0.0];
                let sum = (0..6).fold(L::zero(), |s, k| w[d][k].fma(L::of(knots[k]), s));
                sum.store(&mut buffer);
                assert!((buffer[0] - f(x)[d]).abs() < 1e-13);
            }
            let (value, slope) = (hermite(x), hermite_slope(x));
            let dot = |w: [f64; 6]| (0..6).map(|k| w[k] * knots[k]).sum::<f64>();
            assert!((dot(value) - f(x)[0]).abs() < 1e-13 && (dot(slope) - f(x)[1]).abs() < 1e-13);
        }
    }
}
