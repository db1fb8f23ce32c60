//! The filters of one edge as a message kernel reads them, group by group: from two nodes of a table or from a made row.
//!
//! A group of a row has N values: those of all blocks, then their slopes.

use super::edges::{Edge, Source};
use super::filter::{Table, hermite};
use crate::basis::lanes::Lanes;
use crate::real::Real;

/// Filters of one edge: values and slopes of the channels `at..at + L::N` of a group.
pub trait FilterRow<L: Lanes> {
    fn value(&self, group: usize, at: usize) -> L;
    fn both(&self, group: usize, at: usize) -> (L, L);
}

/// Gives the filters of edge number `k` of a range.
pub trait Filters<L: Lanes>: Copy {
    type Row: FilterRow<L>;
    fn row(&self, edge: &Edge<L::T>, k: usize, groups: usize) -> Self::Row;
}

/// A kernel over edges, written once for both ways to get filters.
pub trait Kernel<T> {
    fn over<L: Lanes<T = T>, F: Filters<L>>(self, filters: F);
}

/// Runs a kernel with what `source` holds; N values a group.
#[inline(always)]
pub fn with<const N: usize, L: Lanes, K: Kernel<L::T>>(source: Source<L::T>, kernel: K) {
    match source {
        Source::Table(table) => kernel.over::<L, Nodes<L::T, N>>(Nodes { table }),
        Source::Rows(rows) => kernel.over::<L, Made<L::T, N>>(Made { rows: rows.as_chunks().0 }),
    }
}

#[derive(Clone, Copy)]
pub struct Nodes<'a, T, const N: usize> {
    table: &'a Table<T>,
}

pub struct NodeRow<'a, L: Lanes, const N: usize> {
    left: &'a [[L::T; N]],
    right: &'a [[L::T; N]],
    h: [L; 4],
    dh: [L; 4],
}

impl<'a, L: Lanes, const N: usize> Filters<L> for Nodes<'a, L::T, N> {
    type Row = NodeRow<'a, L, N>;
    #[inline(always)]
    fn row(&self, edge: &Edge<L::T>, _: usize, groups: usize) -> Self::Row {
        let at = edge.node as usize * groups * N;
        let (left, right) = self.table.rows[at..at + 2 * groups * N].split_at(groups * N);
        let [h, dh] = hermite(edge.t);
        let factor = L::splat(L::T::of(self.table.per_length));
        NodeRow {
            left: &left.as_chunks().0[..groups],
            right: &right.as_chunks().0[..groups],
            h: [L::splat(h[0]), L::splat(h[1]), L::splat(h[2]), L::splat(h[3])],
            dh: [
                L::splat(dh[0]) * factor,
                L::splat(dh[1]) * factor,
                L::splat(dh[2]) * factor,
                L::splat(dh[3]) * factor,
            ],
        }
    }
}

impl<L: Lanes, const N: usize> FilterRow<L> for NodeRow<'_, L, N> {
    #[inline(always)]
    fn value(&self, group: usize, at: usize) -> L {
        let (a, b) = (&self.left[group], &self.right[group]);
        let low = L::load(&a[at..]) * self.h[0];
        let low = L::load(&a[N / 2 + at..]).fma(self.h[1], low);
        let low = L::load(&b[at..]).fma(self.h[2], low);
        L::load(&b[N / 2 + at..]).fma(self.h[3], low)
    }

    #[inline(always)]
    fn both(&self, group: usize, at: usize) -> (L, L) {
        let (a, b) = (&self.left[group], &self.right[group]);
        let (v0, s0) = (L::load(&a[at..]), L::load(&a[N / 2 + at..]));
        let (v1, s1) = (L::load(&b[at..]), L::load(&b[N / 2 + at..]));
        let (h, dh) = (&self.h, &self.dh);
        (s1.fma(h[3], v1.fma(h[2], s0.fma(h[1], v0 * h[0]))), s1.fma(dh[3], v1.fma(dh[2], s0.fma(dh[1], v0 * dh[0]))))
    }
}

#[derive(Clone, Copy)]
pub struct Made<'a, T, const N: usize> {
    rows: &'a [[T; N]],
}

pub struct MadeRow<'a, T, const N: usize>(&'a [[T; N]]);

impl<'a, L: Lanes, const N: usize> Filters<L> for Made<'a, L::T, N> {
    type Row = MadeRow<'a, L::T, N>;
    #[inline(always)]
    fn row(&self, _: &Edge<L::T>, k: usize, groups: usize) -> Self::Row {
        MadeRow(&self.rows[k * groups..(k + 1) * groups])
    }
}

impl<L: Lanes, const N: usize> FilterRow<L> for MadeRow<'_, L::T, N> {
    #[inline(always)]
    fn value(&self, group: usize, at: usize) -> L {
        L::load(&self.0[group][at..])
    }

    #[inline(always)]
    fn both(&self, group: usize, at: usize) -> (L, L) {
        (L::load(&self.0[group][at..]), L::load(&self.0[group][N / 2 + at..]))
    }
}

/// Groups of row `row`.
#[inline(always)]
pub fn row_of<const N: usize, T>(rows: &[T], row: usize, groups: usize) -> &[[T; N]] {
    &rows[row * groups * N..(row + 1) * groups * N].as_chunks().0[..groups]
}

#[inline(always)]
pub fn row_of_mut<const N: usize, T>(rows: &mut [T], row: usize, groups: usize) -> &mut [[T; N]] {
    &mut rows[row * groups * N..(row + 1) * groups * N].as_chunks_mut().0[..groups]
}

/// Sum of the lanes.
#[inline(always)]
pub fn sum<L: Lanes>(x: L) -> f64 {
    let mut lanes = [L::T::ZERO; crate::basis::lanes::MAX_LANES];
    x.store(&mut lanes);
    let mut step = L::N / 2;
    while step > 0 {
        for i in 0..step {
            lanes[i] += lanes[i + step];
        }
        step /= 2;
    }
    lanes[0].to_f64()
}
