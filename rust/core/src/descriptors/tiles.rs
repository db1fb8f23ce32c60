//! Small dense products in registers: the one inner loop of the expansion, the power spectrum and their derivatives.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use crate::basis::lanes::{Lanes, Simd};

/// What a tile is the product of: left[r, k] right[k, :], summed over k < `depth`.
#[derive(Clone, Copy)]
pub struct Tile<'a, T> {
    pub left: &'a [T],
    /// Steps of `left` from one row r, and from one k, to the next.
    pub left_steps: [usize; 2],
    pub right: &'a [T],
    /// From one k to the next.
    pub right_step: usize,
    pub depth: usize,
}

/// Takes the lanes of a product. A trait and not a closure: closures are compiled apart from the function that enables the
/// registers, and then run without them.
pub trait Emit<L> {
    fn put(&mut self, row: usize, column: usize, sum: L);
}

/// Stores at `row * step + column`.
pub struct Store<'a, T> {
    pub out: &'a mut [T],
    pub step: usize,
}

impl<L: Lanes> Emit<L> for Store<'_, L::T> {
    #[inline(always)]
    fn put(&mut self, row: usize, column: usize, sum: L) {
        sum.store(&mut self.out[row * self.step + column..]);
    }
}

/// Adds there.
pub struct Add<'a, T> {
    pub out: &'a mut [T],
    pub step: usize,
}

impl<L: Lanes> Emit<L> for Add<'_, L::T> {
    #[inline(always)]
    fn put(&mut self, row: usize, column: usize, sum: L) {
        let to = &mut self.out[row * self.step + column..];
        (L::load(to) + sum).store(to);
    }
}

impl<T: Simd> Tile<'_, T> {
    /// R rows of V lanes, from row `row` and column `column` on.
    ///
    /// # Panics
    /// If the tile leaves its memory.
    #[inline(always)]
    pub fn product<L: Lanes<T = T>, const R: usize, const V: usize>(&self, row: usize, column: usize) -> [[L; V]; R] {
        let mut sum = [[L::zero(); V]; R];
        self.add::<L, R, V>(row, column, &mut sum);
        sum
    }

    /// Adds the product to `sum`.
    #[inline(always)]
    pub fn add<L: Lanes<T = T>, const R: usize, const V: usize>(
        &self,
        row: usize,
        column: usize,
        sum: &mut [[L; V]; R],
    ) {
        if self.depth == 0 {
            return;
        }
        let [ls, lk] = self.left_steps;
        let last = self.depth - 1;
        assert!((row + R - 1) * ls + last * lk < self.left.len());
        assert!(last * self.right_step + column + V * L::N <= self.right.len());
        let mut acc = *sum;
        for k in 0..self.depth {
            let mut right = [L::zero(); V];
            for v in 0..V {
                let at = k * self.right_step + column + v * L::N;
                // SAFETY: at + N is at most the last index checked above.
                right[v] = L::load(unsafe { self.right.get_unchecked(at..at + L::N) });
            }
            for r in 0..R {
                // SAFETY: the index is at most the last one checked above.
                let left = L::splat(*unsafe { self.left.get_unchecked((row + r) * ls + k * lk) });
                for v in 0..V {
                    acc[r][v] = left.fma(right[v], acc[r][v]);
                }
            }
        }
        *sum = acc;
    }

    /// All of `rows` x `columns` (a multiple of the lanes), handed to `emit`.
    #[inline(always)]
    pub fn for_each<L: Lanes<T = T>>(&self, rows: usize, columns: usize, emit: &mut impl Emit<L>) {
        let mut column = 0;
        while column + 2 * L::N <= columns {
            self.column::<L, 2>(rows, column, emit);
            column += 2 * L::N;
        }
        while column < columns {
            self.column::<L, 1>(rows, column, emit);
            column += L::N;
        }
    }

    /// Rows in blocks of nearly the same height, at most 6: 12 sums, 2 columns and a row then fill the registers, and a block
    /// of one or two rows would wait for its own sums.
    #[inline(always)]
    fn column<L: Lanes<T = T>, const V: usize>(&self, rows: usize, column: usize, emit: &mut impl Emit<L>) {
        let mut row = 0;
        for left in (1..=rows.div_ceil(6)).rev() {
            let height = (rows - row).div_ceil(left);
            match height {
                1 => self.block::<L, 1, V>(row, column, emit),
                2 => self.block::<L, 2, V>(row, column, emit),
                3 => self.block::<L, 3, V>(row, column, emit),
                4 => self.block::<L, 4, V>(row, column, emit),
                5 => self.block::<L, 5, V>(row, column, emit),
                _ => self.block::<L, 6, V>(row, column, emit),
            }
            row += height;
        }
    }

    /// One block, the last row first.
    #[inline(always)]
    pub(super) fn block<L: Lanes<T = T>, const R: usize, const V: usize>(
        &self,
        row: usize,
        column: usize,
        emit: &mut impl Emit<L>,
    ) {
        let sum = self.product::<L, R, V>(row, column);
        for r in (0..R).rev() {
            for v in 0..V {
                emit.put(row + r, column + v * L::N, sum[r][v]);
            }
        }
    }
}
