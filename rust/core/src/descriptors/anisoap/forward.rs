//! c_{i a, nlm} = sum over pairs (i, j) of species a of the pair's coefficients.
//!
//! Moments are added over the neighbours of a (centre, species) first; T and W act once.

use std::ops::Range;

use rayon::prelude::*;

use super::basis::Basis;
use super::contract::{PAD, coefficients};
use super::moments::{Group, Moments, sum_lanes};
use super::shapes::{ROW, Shapes};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::pairs::{Pairs, cut, tasks};
use crate::pool;
use crate::stages::{self, Stage};

/// Nanoseconds of a pair, for the choice between one thread and many.
pub fn pair_ns(basis: &Basis) -> usize {
    10 + basis.monomials() / 4
}

/// Rows (centre, species) of a task that have pairs, counted from the task's first.
pub fn rows_of<T: Simd>(pairs: &Pairs<T>, task: &Range<usize>) -> Vec<usize> {
    let (first, end) = (task.start * pairs.columns, task.end * pairs.columns);
    (first..end).filter(|&r| pairs.ptr[r] < pairs.ptr[r + 1]).map(|r| r - first).collect()
}

/// Rows whose moments are held at a time: 64 KiB of them, which stay in the second-level cache.
pub fn block_of(basis: &Basis) -> usize {
    (8192 / basis.monomials()).max(1).next_multiple_of(PAD)
}

/// Coefficients [C, S, F] of all centres.
pub fn expand<T: Simd>(basis: &Basis, pairs: &Pairs<T>, shapes: &Shapes<T>) -> Vec<T> {
    let (f, s) = (basis.width(), pairs.columns);
    let mut out = vec![T::ZERO; pairs.centers() * s * f];
    let tasks = tasks(pairs.centers());
    let parts = cut(&mut out, tasks.iter().map(|t| t.end * s * f));
    let one = |(task, out): (&Range<usize>, &mut [T])| expand_task(basis, pairs, shapes, task, out);
    pool::run(pairs.len() * pair_ns(basis), |threads| match threads {
        1 => tasks.iter().zip(parts).for_each(one),
        _ => tasks.par_iter().zip(parts).with_max_len(1).for_each(one),
    });
    out
}

/// Coefficients [centres, S, F] of the centres of one task.
pub fn expand_task<T: Simd>(basis: &Basis, pairs: &Pairs<T>, shapes: &Shapes<T>, task: &Range<usize>, out: &mut [T]) {
    let rows = rows_of(pairs, task);
    let block = block_of(basis).min(rows.len().next_multiple_of(PAD));
    let mut sums = vec![0.0; block * basis.monomials()];
    for rows in rows.chunks(block.max(1)) {
        let timer = stages::start(Stage::Moments);
        dispatch(Sums { basis, pairs, shapes, first: task.start * pairs.columns, rows, sums: &mut sums });
        drop(timer);
        let _timer = stages::start(Stage::Contract);
        coefficients(basis, &sums, rows, out);
    }
}

struct Sums<'a, T: Copy> {
    basis: &'a Basis,
    pairs: &'a Pairs<T>,
    shapes: &'a Shapes<T>,
    first: usize,
    rows: &'a [usize],
    sums: &'a mut [f64],
}

impl<T: Simd> Job<T> for Sums<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let size = self.basis.monomials();
        let mut buffer = [T::ZERO; MAX_LANES * ROW];
        let mut moments = Moments::<L>::new(self.basis.degree);
        let mut sums = vec![L::zero(); size.next_multiple_of(MAX_LANES)];
        for (&row, out) in self.rows.iter().zip(self.sums.chunks_exact_mut(size)) {
            for s in sums.iter_mut() {
                *s = L::zero();
            }
            let (mut p, end) = (self.pairs.ptr[self.first + row], self.pairs.ptr[self.first + row + 1]);
            while p < end {
                let group = Group::load((self.pairs, self.shapes), &mut buffer, p, end, self.basis);
                moments.add(&group, &mut sums);
                p += L::N;
            }
            sum_lanes(&sums, out);
        }
    }
}
