//! Sorting a row of site numbers.

use super::memory::Buffer;

/// Longest row that is sorted by counting smaller values; beyond, the quadratic work loses to a real sort.
pub const RANK_UP_TO: usize = 192;

/// Appends `row` to `out`, which has room, in ascending order. Values are distinct and below 2^31.
pub fn portable(row: &mut [u32], out: &mut Buffer<u32>) {
    row.sort_unstable();
    append(row, out);
}

/// Appends a row that is in order; `out` has room for it.
pub fn append(row: &[u32], out: &mut Buffer<u32>) {
    assert!(out.len() + row.len() <= out.room());
    let at = out.len();
    // SAFETY: there is room, and a buffer never overlaps a borrowed slice.
    unsafe {
        std::ptr::copy_nonoverlapping(row.as_ptr(), out.as_mut_ptr().add(at), row.len());
        out.set_len(at + row.len());
    }
}

/// [`portable`] for a row of `n` values at the start of `row`, which has room up to the next multiple of 32:
/// the place of a value is the number of smaller ones, counted for 32 values at a time.
///
/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub unsafe fn avx2(row: &mut [u32], n: usize, out: &mut Buffer<u32>) {
    use std::arch::x86_64::*;
    if n > RANK_UP_TO {
        return portable(&mut row[..n], out);
    }
    let padded = n.next_multiple_of(32);
    row[n..padded].fill(i32::MAX as u32);
    let base = out.len();
    assert!(base + n <= out.room());
    let mut rank = [0u32; 32];
    for block in (0..n).step_by(32) {
        // SAFETY: `row` has `padded` values, so all 32 of this block; `rank` has 32. Ranks of the n values are below n,
        // a permutation as the values are distinct, and `out` has room for n.
        unsafe {
            let to = out.as_mut_ptr().add(base);
            let p = row.as_ptr().add(block);
            let v: [__m256i; 4] = std::array::from_fn(|q| _mm256_loadu_si256(p.add(8 * q).cast()));
            let mut r = [_mm256_setzero_si256(); 4];
            for &m in row.get_unchecked(..n) {
                let m = _mm256_set1_epi32(m as i32);
                for (r, v) in r.iter_mut().zip(v) {
                    *r = _mm256_sub_epi32(*r, _mm256_cmpgt_epi32(v, m));
                }
            }
            for (q, &r) in r.iter().enumerate() {
                _mm256_storeu_si256(rank.as_mut_ptr().add(8 * q).cast(), r);
            }
            for (k, &rank) in rank[..32.min(n - block)].iter().enumerate() {
                *to.add(rank as usize) = *p.add(k);
            }
        }
    }
    // SAFETY: the n distinct ranks filled places 0..n.
    unsafe { out.set_len(base + n) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn ranks_sort_rows_of_any_length() {
        if !is_x86_feature_detected!("avx2") {
            return;
        }
        for n in 0..260usize {
            let mut row: Vec<u32> = (0..n as u32).map(|k| (k * 7919 + 13) % 100_003).collect();
            let mut sorted = row.clone();
            sorted.sort_unstable();
            row.resize(n.next_multiple_of(32) + 32, 5);
            let mut out = Buffer::with_room(n + 1).unwrap();
            append(&[42], &mut out);
            // SAFETY: the processor was asked.
            unsafe { avx2(&mut row, n, &mut out) };
            assert_eq!((out[0], &out[1..]), (42, &sorted[..]));
        }
    }
}
