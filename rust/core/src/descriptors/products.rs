//! The products of a power spectrum over lanes: blocks and triangles of features from a panel, and a panel times a matrix.

use super::power::{Degree, Spectrum};
use super::tiles::{Emit, Store, Tile};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd};
use crate::real::Real;

/// out = f left right, and with `both` also right left.
pub(super) struct Products<'a, T> {
    pub spectrum: &'a Spectrum,
    pub left: &'a [T],
    pub right: &'a [T],
    pub both: bool,
    pub out: &'a mut [T],
}

impl<'a, T: Simd> Job<T> for Products<'a, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let out = self.out;
        for (block, d, range) in self.spectrum.parts() {
            let n = d.columns;
            if n == 0 {
                continue;
            }
            let out = &mut out[range];
            let (x, y) = (d.start + block.left * d.padded, d.start + block.right * d.padded);
            let columns = n.next_multiple_of(L::N);
            let tile = |left: &'a [T], right: &'a [T]| Tile {
                left: &left[x..],
                left_steps: [1, d.row],
                right: &right[y..],
                right_step: d.row,
                depth: d.m,
            };
            let first = tile(self.left, self.right);
            let mut put =
                Part { out, n, scale: d.factor * block.factor, diagonal: block.triangle.then_some(1.0 / block.factor) };
            if self.both {
                let second = tile(self.right, self.left);
                let mut column = 0;
                while column < columns {
                    for r in 0..n {
                        let mut sum = first.product::<L, 1, 1>(r, column);
                        second.add(r, column, &mut sum);
                        put.put(r, column, sum[0][0]);
                    }
                    column += L::N;
                }
            } else if n >= L::N {
                let mut rows = Rows { out: put.out, n, scale: L::of(put.scale), triangle: block.triangle };
                rows.fill(&first);
                if let Some(own) = put.diagonal.filter(|&own| own != 1.0) {
                    (0..n).for_each(|r| put.out[r * n - r * r.saturating_sub(1) / 2] *= T::of(own));
                }
            } else {
                first.for_each::<L>(n, columns, &mut put);
            }
        }
    }
}

/// The features of one block and degree: [n, n], or its upper triangle.
struct Part<'a, T> {
    out: &'a mut [T],
    n: usize,
    scale: f64,
    /// Of a triangle: the factor of the diagonal.
    diagonal: Option<f64>,
}

impl<L: Lanes> Emit<L> for Part<'_, L::T> {
    #[inline(always)]
    fn put(&mut self, r: usize, c: usize, sum: L) {
        let (sum, n) = (sum * L::of(self.scale), self.n);
        let Some(own) = self.diagonal else {
            let row = &mut self.out[r * n..(r + 1) * n];
            if c + L::N <= n {
                return sum.store(&mut row[c..]);
            }
            let mut buffer = [L::T::ZERO; MAX_LANES];
            sum.store(&mut buffer);
            // A few numbers: not worth the call of a copy.
            return row[c..].iter_mut().zip(&buffer).for_each(|(to, x)| *to = *x);
        };
        // Row r of the triangle has the columns from r on.
        let (first, end) = (r.max(c), n.min(c + L::N));
        if first >= end {
            return;
        }
        let start = r * n - r * (r + 1) / 2;
        let mut buffer = [L::T::ZERO; MAX_LANES];
        sum.store(&mut buffer);
        if first == r {
            buffer[r - c] *= L::T::of(own);
        }
        if end - first == L::N {
            return L::load(&buffer).store(&mut self.out[start + c..]);
        }
        let from = &buffer[first - c..end - c];
        self.out[start + first..start + end].iter_mut().zip(from).for_each(|(to, x)| *to = *x);
    }
}

/// The same where n is at least the lanes, with whole stores alone. Rows come from the last to the first: what a store leaves
/// to the left of a triangle's row are ends of the rows before it, which are stored afterwards.
struct Rows<'a, L: Lanes> {
    out: &'a mut [L::T],
    n: usize,
    scale: L,
    triangle: bool,
}

impl<L: Lanes<T: Simd>> Rows<'_, L> {
    #[inline(always)]
    fn fill(&mut self, tile: &Tile<L::T>) {
        let n = self.n;
        let mut end = n;
        for left in (1..=n.div_ceil(4)).rev() {
            let height = end.div_ceil(left);
            let row = end - height;
            // The last columns may be computed twice.
            let mut column = (if self.triangle { row } else { 0 }).min(n - L::N);
            loop {
                let two = column + 2 * L::N <= n;
                match (height, two) {
                    (1, false) => tile.block::<L, 1, 1>(row, column, self),
                    (1, true) => tile.block::<L, 1, 2>(row, column, self),
                    (2, false) => tile.block::<L, 2, 1>(row, column, self),
                    (2, true) => tile.block::<L, 2, 2>(row, column, self),
                    (3, false) => tile.block::<L, 3, 1>(row, column, self),
                    (3, true) => tile.block::<L, 3, 2>(row, column, self),
                    (_, false) => tile.block::<L, 4, 1>(row, column, self),
                    (_, true) => tile.block::<L, 4, 2>(row, column, self),
                }
                let next = column + if two { 2 * L::N } else { L::N };
                if next >= n {
                    break;
                }
                column = next.min(n - L::N);
            }
            end = row;
        }
    }
}

impl<L: Lanes> Emit<L> for Rows<'_, L> {
    #[inline(always)]
    fn put(&mut self, r: usize, c: usize, sum: L) {
        let start = r * self.n - if self.triangle { r * (r + 1) / 2 } else { 0 };
        (sum * self.scale).store(&mut self.out[start + c..]);
    }
}

/// out_l = panel_l H.
pub(super) struct Apply<'a, T> {
    pub degree: &'a Degree,
    pub panel: &'a [T],
    pub matrix: &'a [T],
    pub out: &'a mut [T],
}

impl<T: Simd> Job<T> for Apply<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let d = self.degree;
        if d.row == 0 {
            return;
        }
        let panel = &self.panel[d.start..d.start + d.m * d.row];
        let out = &mut self.out[d.start..d.start + d.m * d.row];
        let tile = Tile { left: panel, left_steps: [d.row, 1], right: self.matrix, right_step: d.row, depth: d.row };
        tile.for_each::<L>(d.m, d.row, &mut Store { out, step: d.row });
    }
}
