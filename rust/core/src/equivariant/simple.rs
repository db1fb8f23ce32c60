//! out[r,k] = sum_{ijk} C[i,j,k] x[r,i] y[r / C, j], every path with weight 1, rows in SIMD lanes: for few channels.
//!
//! To degree 3 these are 611 multiply-adds for A[i,k] = C[i,j,k] y[j] and 256 for A x a row, on 4 registers of rows at once.
//! Bound by the loads from the first cache level, five for four multiply-adds: 32,000 rows of f32 at 0.37 of the rate of
//! torch's 512 x 512 product (one core of an AMD Zen 3, 87 GFlop/s).

use super::table::Table;
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::pool;

/// Registers of rows a tile.
const WIDE: usize = 4;
/// Most components a row that are transposed in registers.
const MOST: usize = 64;

/// `table` says which operands x, y and out are; one row of y serves `channels` rows of x.
pub fn simple_product<T: Simd>(table: &Table<T>, x: &[T], y: &[T], channels: usize, out: &mut [T]) {
    let [m1, m2, m3] = table.sizes;
    pool::for_each_block(out, m3, 8 * m3, |first, out| {
        let x = &x[first * m1..];
        // A block begins anywhere, so within the rows of one row of y.
        let (y, skip) = (&y[first / channels * m2..], first % channels);
        dispatch(Rows { table, x, y, channels, skip, out });
    });
}

/// The sums over each run of `channels` rows of `m` values.
pub fn sum_channels<T: Simd>(each: &[T], channels: usize, m: usize, out: &mut [T]) {
    for (out, each) in out.chunks_exact_mut(m).zip(each.chunks_exact(channels * m)) {
        let (first, others) = each.split_at(m);
        out.copy_from_slice(first);
        others.chunks_exact(m).for_each(|row| out.iter_mut().zip(row).for_each(|(a, b)| *a += *b));
    }
}

struct Rows<'a, T> {
    table: &'a Table<T>,
    x: &'a [T],
    y: &'a [T],
    channels: usize,
    skip: usize,
    out: &'a mut [T],
}

impl<T: Simd> Job<T> for Rows<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Rows { table, x, y, channels, skip, out } = self;
        let ([m1, m2, m3], width) = (table.sizes, WIDE * L::N);
        let [mut xs, mut ys, mut sums] = [m1, m2, m3].map(|m| vec![T::ZERO; m * width]);
        let mut spread = vec![T::ZERO; m2 * width];
        for (tile, out) in out.chunks_mut(width * m3).enumerate() {
            let (first, count) = (tile * width, out.len() / m3);
            columns::<L>(&x[first * m1..][..count * m1], m1, &mut xs);
            if channels == 1 {
                columns::<L>(&y[first * m2..][..count * m2], m2, &mut ys);
            } else {
                for (r, row) in spread[..count * m2].chunks_exact_mut(m2).enumerate() {
                    row.copy_from_slice(&y[(skip + first + r) / channels * m2..][..m2]);
                }
                columns::<L>(&spread[..count * m2], m2, &mut ys);
            }
            for block in &table.blocks {
                for column in &block.columns {
                    let mut sum = [L::zero(); WIDE];
                    for pair in &block.pairs[column.first..column.last] {
                        let mut a = [L::zero(); WIDE];
                        for f in &block.factors[pair.first..pair.last] {
                            let (value, y) = (L::splat(f.value), &ys[f.j * width..][..width]);
                            for v in 0..WIDE {
                                a[v] = value.fma(L::load(&y[v * L::N..]), a[v]);
                            }
                        }
                        let x = &xs[pair.i * width..][..width];
                        for v in 0..WIDE {
                            sum[v] = a[v].fma(L::load(&x[v * L::N..]), sum[v]);
                        }
                    }
                    let out = &mut sums[(block.start + column.k) * width..][..width];
                    for v in 0..WIDE {
                        sum[v].store(&mut out[v * L::N..]);
                    }
                }
            }
            rows::<L>(&sums, m3, out);
        }
    }
}

/// Rows [count, m] to columns [m, width]; what is beyond `count` keeps older numbers, which no row reads.
#[inline(always)]
fn columns<L: Lanes>(rows: &[L::T], m: usize, out: &mut [L::T]) {
    let width = WIDE * L::N;
    let mut turned = [L::zero(); MOST];
    for (v, rows) in rows.chunks(L::N * m).enumerate() {
        if m <= MOST && rows.len() == L::N * m {
            L::load_rows(rows, &mut turned[..m]);
            for (i, column) in turned[..m].iter().enumerate() {
                column.store(&mut out[i * width + v * L::N..]);
            }
        } else {
            for (r, row) in rows.chunks_exact(m).enumerate() {
                row.iter().enumerate().for_each(|(i, x)| out[i * width + v * L::N + r] = *x);
            }
        }
    }
}

/// The inverse of [`columns`].
#[inline(always)]
fn rows<L: Lanes>(columns: &[L::T], m: usize, out: &mut [L::T]) {
    let width = WIDE * L::N;
    let mut turned = [L::zero(); MOST];
    for (v, rows) in out.chunks_mut(L::N * m).enumerate() {
        if m <= MOST && rows.len() == L::N * m {
            for (i, column) in turned[..m].iter_mut().enumerate() {
                *column = L::load(&columns[i * width + v * L::N..]);
            }
            L::store_rows(&turned[..m], rows);
        } else {
            for (r, row) in rows.chunks_exact_mut(m).enumerate() {
                row.iter_mut().enumerate().for_each(|(i, x)| *x = columns[i * width + v * L::N + r]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::equivariant::coupling::coefficients;

    #[test]
    fn wide_registers_and_plain_ones_give_the_sum_over_all_coefficients() {
        let (lmax, count) = ([2, 1, 2], 45);
        let all = coefficients(lmax);
        let table = Table::<f64>::new(&all, lmax, [0, 1, 2], false);
        let value = |n: usize| ((n * 37 + 11) % 19) as f64 - 9.0;
        let [x, y]: [Vec<f64>; 2] = [9, 4].map(|m| (0..count * m).map(value).collect());
        let mut expected = vec![0.0; count * 9];
        for r in 0..count {
            for c in &all.list {
                expected[r * 9 + c.at[2]] += c.value * x[r * 9 + c.at[0]] * y[r / 3 * 4 + c.at[1]];
            }
        }
        let (mut wide, mut plain) = (vec![0.0; count * 9], vec![0.0; count * 9]);
        simple_product(&table, &x, &y, 3, &mut wide);
        let job = Rows { table: &table, x: &x, y: &y, channels: 3, skip: 0, out: &mut plain };
        job.run::<<f64 as Simd>::Plain>();
        for ((a, b), c) in wide.iter().zip(&plain).zip(&expected) {
            assert!((a - c).abs() < 1e-12 && (b - c).abs() < 1e-12);
        }
    }
}
