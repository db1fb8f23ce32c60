//! Moments to coefficients and cotangents of coefficients to polynomials, in f64, a few rows (centre, species) at a time.

use super::basis::Basis;
use crate::basis::lanes::{Job, Lanes, dispatch};
use crate::real::Real;

/// Rows that are worked on together are a multiple of this; memory of rows is padded to it.
pub const PAD: usize = 4;

struct Forward<'a, T> {
    basis: &'a Basis,
    moments: &'a [f64],
    rows: &'a [usize],
    out: &'a mut [T],
}

/// `out` [.., F]: row `rows[k]` becomes the coefficients of moments k, [rows padded, monomials].
pub fn coefficients<T: Real>(basis: &Basis, moments: &[f64], rows: &[usize], out: &mut [T]) {
    dispatch(Forward { basis, moments, rows, out });
}

impl<T: Real> Job<f64> for Forward<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = f64>>(self) {
        let (b, f, size) = (self.basis, self.basis.width(), self.basis.monomials());
        let mut columns = vec![L::zero(); size];
        let mut raw = vec![L::zero(); f];
        let mut done = vec![L::zero(); f];
        let mut flat = vec![0.0; f * L::N];
        let t = &b.table;
        for (k, rows) in self.rows.chunks(L::N).enumerate() {
            L::load_rows(&self.moments[k * L::N * size..(k + 1) * L::N * size], &mut columns);
            for (o, raw) in raw.iter_mut().enumerate() {
                *raw = t.row(o, &columns);
            }
            let mut at = 0;
            for (l, (&n, w)) in b.radial.iter().zip(&b.weights).enumerate() {
                let m = 2 * l + 1;
                for to in 0..n {
                    for q in 0..m {
                        let mut sum = L::zero();
                        for from in 0..n {
                            sum = L::splat(w[from * n + to]).fma(raw[at + from * m + q], sum);
                        }
                        done[at + to * m + q] = sum;
                    }
                }
                at += n * m;
            }
            L::store_rows(&done, &mut flat);
            for (&row, flat) in rows.iter().zip(flat.chunks_exact(f)) {
                for (o, &v) in self.out[row * f..(row + 1) * f].iter_mut().zip(flat) {
                    *o = T::of(v);
                }
            }
        }
    }
}

struct Backward<'a, T> {
    basis: &'a Basis,
    grad: &'a [T],
    rows: &'a [usize],
    out: &'a mut [T],
}

/// The transpose: `out` [rows, monomials] are the polynomials Q = sum g W T (in the scaled monomials) of rows `rows` of
/// the cotangent `grad` [.., F].
pub fn polynomials<T: Real>(basis: &Basis, grad: &[T], rows: &[usize], out: &mut [T]) {
    dispatch(Backward { basis, grad, rows, out });
}

impl<T: Real> Job<f64> for Backward<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = f64>>(self) {
        let (b, f, size) = (self.basis, self.basis.width(), self.basis.monomials());
        let mut given = vec![L::zero(); f];
        let mut raw = vec![L::zero(); f];
        let mut done = vec![L::zero(); size];
        let mut flat = vec![0.0; f.max(size) * L::N];
        let t = &b.transposed;
        for (rows, out) in self.rows.chunks(L::N).zip(self.out.chunks_mut(L::N * size)) {
            for (&row, flat) in rows.iter().zip(flat.chunks_exact_mut(f)) {
                for (o, v) in flat.iter_mut().zip(&self.grad[row * f..(row + 1) * f]) {
                    *o = v.to_f64();
                }
            }
            L::load_rows(&flat[..f * L::N], &mut given);
            let mut at = 0;
            for (l, (&n, w)) in b.radial.iter().zip(&b.weights).enumerate() {
                let m = 2 * l + 1;
                for from in 0..n {
                    for q in 0..m {
                        let mut sum = L::zero();
                        for to in 0..n {
                            sum = L::splat(w[from * n + to]).fma(given[at + to * m + q], sum);
                        }
                        raw[at + from * m + q] = sum;
                    }
                }
                at += n * m;
            }
            for (k, done) in done.iter_mut().enumerate() {
                *done = t.row(k, &raw);
            }
            L::store_rows(&done, &mut flat[..size * L::N]);
            for (o, &v) in out.iter_mut().zip(&flat) {
                *o = T::of(v);
            }
        }
    }
}
