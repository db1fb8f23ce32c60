//! Radial functions f_k(r) and their derivatives. `distance` [E] Angstrom -> [E, K]; with a transform also
//! `reference_distance` [E] Angstrom, r0 of each pair, which has no gradient.
//!
//! vjp: grad_r = sum_k g_k f'_k. Its vjp, for v [E]: to r: v sum_k g_k f''_k, to g_k: v f'_k.

use super::blocks::{for_each_block2, padded};
use super::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use super::radial_body::Tile;
use super::spec::Radial;
use crate::error::{Error, Result};
use crate::pool::for_each_block;

/// The distances of a call, with one reference distance each where there is a transform.
#[derive(Clone, Copy)]
pub struct Distances<'a, T> {
    pub distance: &'a [T],
    pub reference: Option<&'a [T]>,
}

impl<'a, T: Simd> Distances<'a, T> {
    /// Refuses negative distances and reference distances that are not positive. NaN passes and comes out as NaN.
    pub fn new(distance: &'a [T], reference: Option<&'a [T]>) -> Result<Self> {
        let row = |name: &str, rule: &str, values: &[T], bad: fn(&T) -> bool| {
            // One sum of flags without a branch first: the search for the row is the rare case.
            match values.iter().fold(false, |any, x| any | bad(x)).then(|| values.iter().position(bad)).flatten() {
                Some(row) => Err(Error::value(name, rule, format!("{} in row {row}", values[row]))),
                None => Ok(()),
            }
        };
        row("distance", "zero or positive", distance, |x| *x < T::ZERO)?;
        row("reference_distance", "positive", reference.unwrap_or(&[]), |x| *x <= T::ZERO)?;
        Ok(Distances { distance, reference })
    }

    fn part(self, first: usize, rows: usize) -> Self {
        let cut = |x: &'a [T]| &x[first..first + rows];
        Distances { distance: cut(self.distance), reference: self.reference.map(cut) }
    }

    /// r and r0 of one tile.
    #[inline(always)]
    fn take<L: Lanes<T = T>>(&self, first: usize, count: usize) -> (L, L) {
        let one = || [T::ONE; MAX_LANES];
        let r = L::load(padded(self.distance, first, count, L::N, 1, &mut one()));
        let r0 = match self.reference {
            Some(reference) => L::load(padded(reference, first, count, L::N, 1, &mut one())),
            None => L::of(1.0),
        };
        (r, r0)
    }
}

/// Measured, per value, for the pool's choice between serial and parallel.
fn cost_ns(spec: &Radial) -> usize {
    4 + spec.count
}

/// f [E, K].
pub fn radial<T: Simd>(spec: &Radial, distances: Distances<T>, out: &mut [T]) {
    let k = spec.count;
    for_each_block(out, k, cost_ns(spec), |first, out| {
        let distances = distances.part(first, out.len() / k);
        dispatch(Tables::<T, 0> { spec, distances, out: [out, &mut [], &mut []] });
    });
}

/// f and f' [E, K], in one pass.
pub fn radial_with_derivative<T: Simd>(spec: &Radial, distances: Distances<T>, out: &mut [T], out_first: &mut [T]) {
    let k = spec.count;
    for_each_block2((out, k), (out_first, k), cost_ns(spec), |first, a, b| {
        let distances = distances.part(first, a.len() / k);
        dispatch(Tables::<T, 1> { spec, distances, out: [a, b, &mut []] });
    });
}

/// f' and f'' [E, K], in one pass.
pub fn radial_derivatives<T: Simd>(spec: &Radial, distances: Distances<T>, out_first: &mut [T], out_second: &mut [T]) {
    let k = spec.count;
    for_each_block2((out_first, k), (out_second, k), cost_ns(spec), |first, a, b| {
        let distances = distances.part(first, a.len() / k);
        dispatch(Tables::<T, 2> { spec, distances, out: [&mut [], a, b] });
    });
}

/// grad_r [E] for `grad_basis` [E, K].
pub fn radial_bwd<T: Simd>(spec: &Radial, distances: Distances<T>, grad_basis: &[T], out: &mut [T]) {
    let k = spec.count;
    for_each_block(out, 1, cost_ns(spec), |first, out| {
        let grad = &grad_basis[first * k..(first + out.len()) * k];
        dispatch(Vjp { spec, distances: distances.part(first, out.len()), grad, out });
    });
}

/// Cotangents of `distance` [E] and of `grad_basis` [E, K], for `grad_grad_distance` [E].
pub fn radial_bwd_bwd<T: Simd>(
    spec: &Radial,
    distances: Distances<T>,
    grad_basis: &[T],
    grad_grad_distance: &[T],
    out_distance: &mut [T],
    out_grad: &mut [T],
) {
    let k = spec.count;
    for_each_block2((out_distance, 1), (out_grad, k), 2 * cost_ns(spec), |first, out, out_grad| {
        let rows = out.len();
        let (grad, v) = (&grad_basis[first * k..(first + rows) * k], &grad_grad_distance[first..first + rows]);
        dispatch(SecondVjp { spec, distances: distances.part(first, rows), grad, v, out, out_grad });
    });
}

/// N rows of `columns`, or as many as are left.
#[inline(always)]
fn emit_rows<L: Lanes>(columns: &[L], out: &mut [L::T], first: usize, count: usize)
where
    L::T: Simd,
{
    let width = columns.len();
    let out = &mut out[first * width..(first + count) * width];
    if count == L::N {
        return L::store_rows(columns, out);
    }
    let mut last = vec![L::T::default(); L::N * width];
    L::store_rows(columns, &mut last);
    out.copy_from_slice(&last[..count * width]);
}

#[inline(always)]
fn take_rows<L: Lanes>(rows: &[L::T], first: usize, count: usize, columns: &mut [L])
where
    L::T: Simd,
{
    let width = columns.len();
    if count == L::N {
        return L::load_rows(&rows[first * width..(first + count) * width], columns);
    }
    let mut last = vec![L::T::default(); L::N * width];
    L::load_rows(padded(rows, first, count, L::N, width, &mut last), columns);
}

/// Tables of f, f', f'' up to order D; an empty one is not written.
struct Tables<'a, T, const D: usize> {
    spec: &'a Radial,
    distances: Distances<'a, T>,
    out: [&'a mut [T]; 3],
}

impl<T: Simd, const D: usize> Job<T> for Tables<'_, T, D> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let mut tile = Tile::<L>::new(self.spec, D);
        let rows = self.distances.distance.len();
        for first in (0..rows).step_by(L::N) {
            let count = L::N.min(rows - first);
            let (r, r0) = self.distances.take::<L>(first, count);
            tile.fill::<D>(r, r0);
            for order in 0..=D {
                if !self.out[order].is_empty() {
                    emit_rows(&tile.columns[order], self.out[order], first, count);
                }
            }
        }
    }
}

struct Vjp<'a, T> {
    spec: &'a Radial,
    distances: Distances<'a, T>,
    grad: &'a [T],
    out: &'a mut [T],
}

impl<T: Simd> Job<T> for Vjp<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let mut tile = Tile::<L>::new(self.spec, 1);
        let mut g = vec![L::zero(); self.spec.count];
        let rows = self.distances.distance.len();
        for first in (0..rows).step_by(L::N) {
            let count = L::N.min(rows - first);
            let (r, r0) = self.distances.take::<L>(first, count);
            tile.fill::<1>(r, r0);
            take_rows(self.grad, first, count, &mut g);
            let sum = tile.columns[1].iter().zip(&g).fold(L::zero(), |sum, (f1, g)| f1.fma(*g, sum));
            emit_rows(&[sum], self.out, first, count);
        }
    }
}

struct SecondVjp<'a, T> {
    spec: &'a Radial,
    distances: Distances<'a, T>,
    grad: &'a [T],
    v: &'a [T],
    out: &'a mut [T],
    out_grad: &'a mut [T],
}

impl<T: Simd> Job<T> for SecondVjp<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let mut tile = Tile::<L>::new(self.spec, 2);
        let mut g = vec![L::zero(); self.spec.count];
        let rows = self.distances.distance.len();
        for first in (0..rows).step_by(L::N) {
            let count = L::N.min(rows - first);
            let (r, r0) = self.distances.take::<L>(first, count);
            tile.fill::<2>(r, r0);
            take_rows(self.grad, first, count, &mut g);
            let v = L::load(padded(self.v, first, count, L::N, 1, &mut [T::ZERO; MAX_LANES]));
            let [_, slopes, bends] = &mut tile.columns;
            let sum = bends.iter().zip(&g).fold(L::zero(), |sum, (f2, g)| f2.fma(*g, sum));
            for f1 in slopes.iter_mut() {
                *f1 = *f1 * v;
            }
            emit_rows(&[sum * v], self.out, first, count);
            emit_rows(slopes, self.out_grad, first, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portable_gap<T: Simd>(params: &[f64]) -> f64 {
        let Ok(spec) = Radial::decode(params) else { return f64::NAN };
        let r: Vec<T> = (0..53).map(|i| T::of(i as f64 * 0.1)).collect();
        let r0 = vec![T::of(1.3); r.len()];
        let distances = Distances { distance: &r, reference: Some(&r0) };
        let table = || vec![T::ZERO; r.len() * spec.count];
        let (mut a, mut b) = ([table(), table(), table()], [table(), table(), table()]);
        dispatch(Tables::<T, 2> { spec: &spec, distances, out: a.each_mut().map(Vec::as_mut_slice) });
        Job::<T>::run::<T::Plain>(Tables::<T, 2> { spec: &spec, distances, out: b.each_mut().map(Vec::as_mut_slice) });
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        pairs.fold(0.0, |gap, (a, b)| gap.max((*a - *b).to_f64().abs() / (10.0 + a.to_f64().abs())))
    }

    #[test]
    fn the_portable_form_agrees_with_the_registers_to_rounding() {
        for (kind, arrays) in
            [(0.0, &[0.5, 2.0, -1.0, -0.7][..]), (1.0, &[0.6, 1.3]), (2.0, &[]), (3.0, &[]), (4.0, &[])]
        {
            for envelope in [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] {
                for transform in [0.0, 1.0, 2.0] {
                    let head = [kind, 2.0, 5.0, 0.9, 0.0, envelope, 6.0, 0.5, 0.0, transform, 0.9, 4.6, 1.1];
                    let params: Vec<f64> = head.iter().chain(arrays).copied().collect();
                    assert!(portable_gap::<f64>(&params) < 1e-12, "{params:?} {}", portable_gap::<f64>(&params));
                    assert!(portable_gap::<f32>(&params) < 1e-4, "{params:?} {}", portable_gap::<f32>(&params));
                }
            }
        }
    }
}
