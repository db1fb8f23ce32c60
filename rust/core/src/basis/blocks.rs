//! Runs of rows: two results in one pass over our pool, and the padding of the last few.

use rayon::prelude::*;

use crate::pool;

/// [`pool::for_each_block`] for two results with the same number of rows: `block(first_row, rows_a, rows_b)`.
pub fn for_each_block2<T, F>((a, width_a): (&mut [T], usize), (b, width_b): (&mut [T], usize), cost_ns: usize, block: F)
where
    T: Send,
    F: Fn(usize, &mut [T], &mut [T]) + Sync + Send,
{
    if a.is_empty() || width_a == 0 || width_b == 0 {
        return;
    }
    let rows = a.len() / width_a;
    pool::run(rows * cost_ns, |threads| {
        if threads == 1 {
            return block(0, a, b);
        }
        let size = rows.div_ceil(8 * threads).max(64).next_multiple_of(8);
        let pairs = a.par_chunks_mut(size * width_a).zip(b.par_chunks_mut(size * width_b));
        pairs.enumerate().for_each(|(i, (a, b))| block(i * size, a, b));
    });
}

/// `n` rows of `width` values from row `first` on; where only `count` are left, padded in `buffer`.
#[inline(always)]
pub fn padded<'a, T: Copy>(
    rows: &'a [T],
    first: usize,
    count: usize,
    n: usize,
    width: usize,
    buffer: &'a mut [T],
) -> &'a [T] {
    if count == n {
        return &rows[first * width..(first + n) * width];
    }
    buffer[..count * width].copy_from_slice(&rows[first * width..(first + count) * width]);
    &buffer[..n * width]
}
