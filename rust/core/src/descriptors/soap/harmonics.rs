//! Real solid harmonics R_lm = r^l Y_lm (integral normalisation, polar axis z), their slope along a direction, and the
//! transpose of their gradient, over lanes of pairs.
//!
//! Buffers are [(lmax + 1)^2, stride], a row (l, m) holding one value a pair. R_lm = q_l^m(z, r^2) c_m or s_m, with the
//! recursions of the basis room. The gradient of degree l lies in degree l - 1: with a_l^m = sqrt((2l + 1) / (2l - 1) (l + m)
//! (l + m - 1)) / 2, b_l^m = sqrt((2l + 1) / (2l - 1) (l - m) (l - m - 1)) / 2, both times sqrt(2) between m = 0 and 1,
//! d/dx C_m = a C_{m-1} - b C_{m+1}, d/dy C_m = -a S_{m-1} - b S_{m+1}, d/dx S_m = a S_{m-1} - b S_{m+1},
//! d/dy S_m = a C_{m-1} + b C_{m+1}, d/dz of either = sqrt((2l + 1) / (2l - 1) (l^2 - m^2)) times itself.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use crate::basis::Normalization;
use crate::basis::harmonics_table::{Table, pair};
use crate::basis::lanes::{Job, Lanes, Simd};

/// Constants of one lmax.
#[derive(Clone, Debug)]
pub struct Solid<T> {
    pub lmax: usize,
    start: Vec<T>,
    /// (along, back) of each (m, l > m), in the order in which they are used.
    steps: Vec<[T; 2]>,
    /// [a of (l, m + 1), b of (l, m - 1), z] for each (l >= 1, m <= l - 1).
    down: Vec<[T; 3]>,
}

impl<T: Simd> Solid<T> {
    pub fn new(lmax: usize) -> Self {
        let table = Table::new(lmax, Normalization::Integral);
        let mut steps = Vec::new();
        for m in 0..=lmax {
            for l in m + 1..=lmax {
                steps.push([T::of(table.along[pair(l, m)]), T::of(-table.back[pair(l, m)])]);
            }
        }
        let mut down = Vec::new();
        for l in 1..=lmax {
            let ratio = (2 * l + 1) as f64 / (2 * l - 1) as f64;
            let (lf, root) = (l as f64, 2f64.sqrt());
            for m in 0..l {
                let up = (m + 1) as f64;
                let a = 0.5 * (ratio * (lf + up) * (lf + up - 1.0)).sqrt() * if m == 0 { root } else { 1.0 };
                let below = m as f64 - 1.0;
                let b = match m {
                    0 => 0.0,
                    _ => 0.5 * (ratio * (lf - below) * (lf - below - 1.0)).sqrt() * if m == 1 { root } else { 1.0 },
                };
                let z = (ratio * (lf * lf - (m * m) as f64)).sqrt();
                down.push([T::of(a), T::of(b), T::of(z)]);
            }
        }
        let start = table.start.iter().map(|&x| T::of(x)).collect();
        Solid { lmax, start, steps, down }
    }

    pub fn width(&self) -> usize {
        (self.lmax + 1) * (self.lmax + 1)
    }
}

/// R of `count` points (a multiple of the lanes), and with `tangent` its slope along it.
pub struct Values<'a, T> {
    pub solid: &'a Solid<T>,
    /// [3, stride].
    pub point: &'a [T],
    pub tangent: Option<(&'a [T], &'a mut [T])>,
    pub out: &'a mut [T],
    pub stride: usize,
    pub count: usize,
}

impl<T: Simd> Job<T> for Values<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let stride = self.stride;
        let mut p = 0;
        match self.tangent {
            None => {
                // Two at a time: a recursion waits for its own last step.
                while p + 2 * L::N <= self.count {
                    plain::<L, 2>(self.solid, self.point, p, self.out, stride);
                    p += 2 * L::N;
                }
                while p < self.count {
                    plain::<L, 1>(self.solid, self.point, p, self.out, stride);
                    p += L::N;
                }
            }
            Some((tangent, slope)) => {
                while p < self.count {
                    let (v, u) = (at3::<L>(self.point, p, stride), at3::<L>(tangent, p, stride));
                    along::<L>(self.solid, v, u, &mut self.out[p..], &mut slope[p..], stride);
                    p += L::N;
                }
            }
        }
    }
}

#[inline(always)]
fn at3<L: Lanes>(v: &[L::T], p: usize, stride: usize) -> [L; 3] {
    [L::load(&v[p..]), L::load(&v[stride + p..]), L::load(&v[2 * stride + p..])]
}

/// The row m of degree l, whose m = 0 is row `center`.
#[inline(always)]
fn row_at<L: Lanes>(rows: &[L::T], center: usize, m: isize, stride: usize) -> L {
    L::load(&rows[center.wrapping_add_signed(m) * stride..])
}

/// R of V lanes of points from `p` on.
#[inline(always)]
fn plain<L: Lanes, const V: usize>(solid: &Solid<L::T>, point: &[L::T], p: usize, out: &mut [L::T], stride: usize) {
    let lmax = solid.lmax;
    let out = &mut out[p..];
    assert!(out.len() >= lmax * (lmax + 2) * stride + V * L::N);
    let (mut x, mut y, mut z, mut r2) = ([L::zero(); V], [L::zero(); V], [L::zero(); V], [L::zero(); V]);
    let (mut c, mut s) = ([L::of(1.0); V], [L::zero(); V]);
    for v in 0..V {
        [x[v], y[v], z[v]] = at3::<L>(point, p + v * L::N, stride);
        r2[v] = x[v].fma(x[v], y[v].fma(y[v], z[v] * z[v]));
    }
    let mut steps = solid.steps.iter();
    for m in 0..=lmax {
        if m > 0 {
            for v in 0..V {
                (c[v], s[v]) = (x[v].fma(c[v], -(y[v] * s[v])), x[v].fma(s[v], y[v] * c[v]));
            }
        }
        let mut last = [L::splat(solid.start[m]); V];
        let mut before = [L::zero(); V];
        // The row (l, 0), and from there to the next.
        let (mut at, mut next_row) = ((m * m + m) * stride, 2 * (m + 1) * stride);
        for l in m..=lmax {
            if l > m {
                let Some(&[along, back]) = steps.next() else { return };
                let (along, back) = (L::splat(along), L::splat(back));
                for v in 0..V {
                    let next = (along * z[v]).fma(last[v], back * r2[v] * before[v]);
                    (before[v], last[v]) = (last[v], next);
                }
                at += next_row;
                next_row += 2 * stride;
            }
            for v in 0..V {
                let (up, low) = (at + m * stride + v * L::N, at - m * stride + v * L::N);
                // SAFETY: the row is below (lmax + 1)^2, whose last was checked.
                (last[v] * c[v]).store(unsafe { out.get_unchecked_mut(up..up + L::N) });
                if m > 0 {
                    // SAFETY: likewise.
                    (last[v] * s[v]).store(unsafe { out.get_unchecked_mut(low..low + L::N) });
                }
            }
        }
    }
}

#[inline(always)]
fn along<L: Lanes>(
    solid: &Solid<L::T>,
    [x, y, z]: [L; 3],
    [u, v, w]: [L; 3],
    out: &mut [L::T],
    slope: &mut [L::T],
    stride: usize,
) {
    let lmax = solid.lmax;
    let r2 = x.fma(x, y.fma(y, z * z));
    let half = x.fma(u, y.fma(v, z * w));
    let dr2 = half + half;
    let (mut c, mut s, mut dc, mut ds) = (L::of(1.0), L::zero(), L::zero(), L::zero());
    let mut steps = solid.steps.iter();
    for m in 0..=lmax {
        if m > 0 {
            (dc, ds) = (x.fma(dc, u * c) - y.fma(ds, v * s), x.fma(ds, u * s) + y.fma(dc, v * c));
            (c, s) = (x.fma(c, -(y * s)), x.fma(s, y * c));
        }
        let (mut last, mut before) = (L::splat(solid.start[m]), L::zero());
        let (mut dlast, mut dbefore) = (L::zero(), L::zero());
        for l in m..=lmax {
            if l > m {
                let Some(&[a, b]) = steps.next() else { return };
                let (a, b) = (L::splat(a), L::splat(b));
                let next = (a * z).fma(last, b * r2 * before);
                let dnext = a * z.fma(dlast, w * last) + b * r2.fma(dbefore, dr2 * before);
                (before, last, dbefore, dlast) = (last, next, dlast, dnext);
            }
            let at = l * l + l;
            if m == 0 {
                last.store(&mut out[at * stride..]);
                dlast.store(&mut slope[at * stride..]);
            } else {
                (last * c).store(&mut out[(at + m) * stride..]);
                (last * s).store(&mut out[(at - m) * stride..]);
                last.fma(dc, dlast * c).store(&mut slope[(at + m) * stride..]);
                last.fma(ds, dlast * s).store(&mut slope[(at - m) * stride..]);
            }
        }
    }
}

/// x = sum_lm A_lm grad R_lm; with `tangent`, also its slope: sum_lm A grad R' + A' grad R.
pub struct Gradient<'a, T> {
    pub solid: &'a Solid<T>,
    /// A.
    pub weight: &'a [T],
    pub value: &'a [T],
    /// A' and R', and the slope of x.
    pub tangent: Option<(&'a [T], &'a [T], &'a mut [T])>,
    /// [3, stride].
    pub out: &'a mut [T],
    pub stride: usize,
    pub count: usize,
}

impl<T: Simd> Job<T> for Gradient<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let stride = self.stride;
        let mut tangent = self.tangent;
        let mut p = 0;
        while p < self.count {
            let x = contract::<L>(self.solid, &self.weight[p..], &self.value[p..], stride);
            for k in 0..3 {
                x[k].store(&mut self.out[k * stride + p..]);
            }
            if let Some((weight, value, out)) = &mut tangent {
                let a = contract::<L>(self.solid, &self.weight[p..], &value[p..], stride);
                let b = contract::<L>(self.solid, &weight[p..], &self.value[p..], stride);
                for k in 0..3 {
                    (a[k] + b[k]).store(&mut out[k * stride + p..]);
                }
            }
            p += L::N;
        }
    }
}

#[inline(always)]
fn contract<L: Lanes>(solid: &Solid<L::T>, weight: &[L::T], value: &[L::T], stride: usize) -> [L; 3] {
    let (mut x, mut y, mut z) = (L::zero(), L::zero(), L::zero());
    let mut down = solid.down.iter();
    for l in 1..=solid.lmax {
        let (from, to) = (l * l + l, (l - 1) * (l - 1) + l - 1);
        for m in 0..l as isize {
            let Some(&[a, b, c]) = down.next() else { return [x, y, z] };
            let (a, b, c) = (L::splat(a), L::splat(b), L::splat(c));
            let cos = row_at::<L>(value, to, m, stride);
            z = (c * row_at::<L>(weight, from, m, stride)).fma(cos, z);
            if m == 0 {
                x = (a * row_at::<L>(weight, from, 1, stride)).fma(cos, x);
                y = (a * row_at::<L>(weight, from, -1, stride)).fma(cos, y);
                continue;
            }
            let sin = row_at::<L>(value, to, -m, stride);
            z = (c * row_at::<L>(weight, from, -m, stride)).fma(sin, z);
            let (cos_up, sin_up, cos_down) = (
                a * row_at::<L>(weight, from, m + 1, stride),
                a * row_at::<L>(weight, from, -m - 1, stride),
                b * row_at::<L>(weight, from, m - 1, stride),
            );
            let sin_down = if m == 1 { L::zero() } else { b * row_at::<L>(weight, from, 1 - m, stride) };
            x = (cos_up - cos_down).fma(cos, (sin_up - sin_down).fma(sin, x));
            y = (sin_up + sin_down).fma(cos, (-(cos_up + cos_down)).fma(sin, y));
        }
    }
    [x, y, z]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::lanes::dispatch;

    fn values(lmax: usize, point: [f64; 3]) -> Vec<f64> {
        let solid = Solid::new(lmax);
        let mut out = vec![0.0; solid.width()];
        let job = Values { solid: &solid, point: &point, tangent: None, out: &mut out, stride: 1, count: 1 };
        job.run::<<f64 as Simd>::Plain>();
        out
    }

    #[test]
    fn small_degrees_are_known_polynomials() {
        let [x, y, z] = [0.3, -1.2, 0.7f64];
        let r = values(2, [x, y, z]);
        let k = 1.0 / (4.0 * std::f64::consts::PI).sqrt();
        let s3 = 3f64.sqrt();
        let r2 = x * x + y * y + z * z;
        let half15 = 15f64.sqrt() / 2.0;
        let expected = [
            1.0,
            s3 * y,
            s3 * z,
            s3 * x,
            2.0 * half15 * x * y,
            2.0 * half15 * y * z,
            5f64.sqrt() / 2.0 * (3.0 * z * z - r2),
            2.0 * half15 * x * z,
            half15 * (x * x - y * y),
        ];
        assert!(r.iter().zip(expected).all(|(a, b)| (a - k * b).abs() < 1e-14), "{r:?}");
    }

    #[test]
    fn slopes_and_gradients_are_limits_of_differences() {
        let lmax = 7;
        let solid = Solid::<f64>::new(lmax);
        let m = solid.width();
        let (v, u, h) = ([0.4, -0.7, 0.5], [0.3, 0.8, -0.2], 1e-5);
        let moved = |t: f64| values(lmax, [v[0] + t * u[0], v[1] + t * u[1], v[2] + t * u[2]]);
        let quotient: Vec<f64> = moved(h).iter().zip(moved(-h)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        let (mut out, mut slope) = (vec![0.0; m], vec![0.0; m]);
        let tangent = Some((&u[..], &mut slope[..]));
        Values { solid: &solid, point: &v, tangent, out: &mut out, stride: 1, count: 1 }.run::<<f64 as Simd>::Plain>();
        assert!(slope.iter().zip(&quotient).all(|(a, b)| (a - b).abs() < 1e-8));
        let a: Vec<f64> = (0..m).map(|i| (i as f64 * 0.7).sin()).collect();
        let b: Vec<f64> = (0..m).map(|i| (i as f64 * 1.3).cos()).collect();
        let (mut x, mut dx) = ([0.0; 3], [0.0; 3]);
        let tangent = Some((&b[..], &slope[..], &mut dx[..]));
        let job = Gradient { solid: &solid, weight: &a, value: &out, tangent, out: &mut x, stride: 1, count: 1 };
        job.run::<<f64 as Simd>::Plain>();
        let along: f64 = (0..3).map(|k| x[k] * u[k]).sum();
        let expected: f64 = a.iter().zip(&slope).map(|(a, s)| a * s).sum();
        assert!((along - expected).abs() < 1e-12);
        let gradient = |t: f64| {
            let (mut out, value) = ([0.0; 3], moved(t));
            let w: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + t * b).collect();
            let job = Gradient {
                solid: &solid,
                weight: &w,
                value: &value,
                tangent: None,
                out: &mut out,
                stride: 1,
                count: 1,
            };
            job.run::<<f64 as Simd>::Plain>();
            out
        };
        let (low, high) = (gradient(-h), gradient(h));
        assert!((0..3).all(|k| ((high[k] - low[k]) / (2.0 * h) - dx[k]).abs() < 1e-7));
    }

    #[test]
    fn lanes_agree_with_one_number_at_a_time() {
        let solid = Solid::<f64>::new(6);
        let point: Vec<f64> = (0..24).map(|i| (i as f64).sin()).collect();
        let mut out = vec![0.0; solid.width() * 8];
        dispatch(Values { solid: &solid, point: &point, tangent: None, out: &mut out, stride: 8, count: 8 });
        for p in 0..8 {
            let one = values(6, [point[p], point[8 + p], point[16 + p]]);
            assert!(one.iter().enumerate().all(|(i, a)| (a - out[8 * i + p]).abs() < 1e-13));
        }
    }
}
