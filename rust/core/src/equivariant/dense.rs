//! Dense products dst[m, n] (+)= sum_k a[m, k] b[k, n] of sizes that fit the caches: no packing of `a` or `dst`, `b` in panels.
//!
//! Six rows by two registers of columns are summed in registers over all of k: 12 multiply-adds on 8 loads a step, bound by
//! the multiply-adds. In the weighted product at 32 channels it runs at the rate of a 512 x 512 product of torch's BLAS.

use crate::basis::lanes::{Job, Lanes, Simd};

/// Columns of a panel: two registers of the widest lanes.
pub const fn panel<T: Simd>() -> usize {
    if T::IS_SINGLE { 16 } else { 8 }
}

/// A matrix [k, n] as panels [n / panel, k, panel], zeros beyond n; `at(k, n)` gives its values.
pub fn pack<T: Simd>(k: usize, n: usize, at: impl Fn(usize, usize) -> T) -> Vec<T> {
    let width = panel::<T>();
    let mut out = vec![T::ZERO; n.div_ceil(width) * k * width];
    for (p, out) in out.chunks_exact_mut((k * width).max(1)).enumerate() {
        for (r, row) in out.chunks_exact_mut(width).enumerate() {
            for (c, value) in row.iter_mut().enumerate().take(n - p * width) {
                *value = at(r, p * width + c);
            }
        }
    }
    out
}

/// One matrix as a slice with the strides of its first and second index.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    pub values: &'a [T],
    pub first: usize,
    pub second: usize,
}

/// The right factor [k, n]: `row` from one k to the next, `panel` from one panel of columns to the next.
#[derive(Clone, Copy)]
pub struct Panels<'a, T> {
    pub values: &'a [T],
    pub row: usize,
    pub panel: usize,
}

impl<'a, T: Simd> Panels<'a, T> {
    /// What [`pack`] made of a matrix of `k` rows.
    pub fn packed(values: &'a [T], k: usize) -> Self {
        Panels { values, row: panel::<T>(), panel: k * panel::<T>() }
    }

    /// A row-major matrix [k, width], `width` a multiple of a register.
    pub fn plain(values: &'a [T], width: usize) -> Self {
        Panels { values, row: width, panel: panel::<T>() }
    }
}

/// dst [m, width] (+)= a b; `width` columns, a multiple of 8. Run by `lanes::dispatch`.
pub struct Matmul<'a, T> {
    pub dst: &'a mut [T],
    pub width: usize,
    pub a: Strided<'a, T>,
    pub b: Panels<'a, T>,
    pub m: usize,
    pub k: usize,
    pub add: bool,
}

impl<T: Simd> Job<T> for Matmul<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Matmul { dst, width, a, b, m, k, add } = self;
        let b_row = b.row;
        if m == 0 || width == 0 || k == 0 {
            if !add {
                dst.fill(T::ZERO);
            }
            return;
        }
        let step = panel::<T>();
        let panels = width.div_ceil(step);
        let last = width - (panels - 1) * step;
        assert!(width % 8 == 0 && dst.len() >= m * width);
        assert!(a.values.len() > (m - 1) * a.first + (k - 1) * a.second);
        assert!(b.values.len() >= (panels - 1) * b.panel + (k - 1) * b.row + last);
        for p in 0..panels {
            let columns = if p + 1 == panels { last } else { step };
            let b = Panels { values: &b.values[p * b.panel..], ..b };
            let mut row = 0;
            while row < m {
                let left = m - row;
                // Four rows have enough sums in flight to hide the latency, one or two have not: 8 = 4 + 4, not 6 + 2.
                let count = if left >= 6 && left != 8 { 6 } else { left.min(4) };
                let a = Strided { values: &a.values[row * a.first..], ..a };
                let dst = &mut dst[row * width + p * step..];
                let mut done = 0;
                while done < columns {
                    let (b, dst) = (&b.values[done..], &mut dst[done..]);
                    // SAFETY: rows row..row + 6 (or 4, or one by one) of m, columns done..done + 2 N (or N) of `columns`,
                    // and all k of them are within the three slices by the assertions above.
                    unsafe {
                        match (count, columns - done >= 2 * L::N) {
                            (6, true) => block::<L, 6, 2>(dst, width, a, b, b_row, k, add),
                            (6, false) => block::<L, 6, 1>(dst, width, a, b, b_row, k, add),
                            (4, true) => block::<L, 4, 2>(dst, width, a, b, b_row, k, add),
                            _ => (0..count).for_each(|r| {
                                let a = Strided { values: &a.values[r * a.first..], ..a };
                                block::<L, 1, 1>(&mut dst[r * width..], width, a, b, b_row, k, add)
                            }),
                        }
                    }
                    done += if count >= 4 && columns - done >= 2 * L::N { 2 * L::N } else { L::N };
                }
                row += count;
            }
        }
    }
}

/// R rows by V registers.
///
/// # Safety
/// dst[r * width + V N - 1], a[r * first + (k - 1) * second] and b[(k - 1) * b_row + V N - 1] must be there for r = R - 1.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // r and v count registers
unsafe fn block<L: Lanes, const R: usize, const V: usize>(
    dst: &mut [L::T],
    width: usize,
    a: Strided<L::T>,
    b: &[L::T],
    b_row: usize,
    k: usize,
    add: bool,
) {
    let mut sums = [[L::zero(); V]; R];
    for s in 0..k {
        // SAFETY: the caller's promise; R and V are what it gave.
        unsafe {
            let b: [L; V] =
                std::array::from_fn(|v| L::load(b.get_unchecked(s * b_row + v * L::N..s * b_row + (v + 1) * L::N)));
            for r in 0..R {
                let a = L::splat(*a.values.get_unchecked(r * a.first + s * a.second));
                for v in 0..V {
                    sums[r][v] = a.fma(b[v], sums[r][v]);
                }
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            // SAFETY: as above.
            let out = unsafe { dst.get_unchecked_mut(r * width + v * L::N..r * width + (v + 1) * L::N) };
            let sum = if add { sums[r][v] + L::load(out) } else { sums[r][v] };
            sum.store(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::lanes::dispatch;

    fn check<T: Simd>(m: usize, width: usize, k: usize, turned: bool) {
        let value = |n: usize| T::of(((n * 37 + 11) % 19) as f64 - 9.0);
        let a: Vec<T> = (0..m * k).map(value).collect();
        let b = |r: usize, c: usize| value(r * 5 + c * 3);
        let packed = pack(k, width, b);
        let at = |i: usize, s: usize| if turned { a[s * m + i] } else { a[i * k + s] };
        let (first, second) = if turned { (1, m) } else { (k, 1) };
        let (mut wide, mut plain) = (vec![T::ONE; m * width], vec![T::ONE; m * width]);
        let job = |dst| {
            let (a, b) = (Strided { values: &a, first, second }, Panels::packed(&packed, k));
            Matmul { dst, width, a, b, m, k, add: true }
        };
        dispatch(job(&mut wide));
        job(&mut plain).run::<T::Plain>();
        for i in 0..m {
            for j in 0..width {
                // Whole numbers: every order of summation is exact.
                let sum = (0..k).fold(T::ONE, |sum, s| sum + at(i, s) * b(s, j));
                assert!(wide[i * width + j] == sum && plain[i * width + j] == sum, "{m} {width} {k} at {i} {j}");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_are_the_plain_sums_with_and_without_wide_registers() {
        for m in (1..=20).chain([32, 84]) {
            for width in [8, 16, 24, 40] {
                check::<f32>(m, width, 7, m % 2 == 0);
                check::<f64>(m, width, 5, m % 2 == 1);
            }
        }
    }
}
