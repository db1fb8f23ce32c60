//! The steps over one tile of rows that the weighted product is made of, channels in SIMD lanes.
//!
//! `Combine` and `Reduce` do 541 C multiply-adds a row each to degree 3, on a load each: bound by the loads from the first
//! cache level.

use super::paths::{Path, Sum};
use crate::basis::lanes::{Job, Lanes, Simd};

/// Most rows of a tile: one path's operands stay in the first two cache levels at 32 channels; a multiple of the six rows
/// of a dense block.
pub const TILE: usize = 24;
/// Most terms that are summed at once: all of a component to degree 3.
const TERMS: usize = 7;
/// Most components a row that are transposed in registers.
const MOST: usize = 64;

/// Rows of a tile and channels of a row, padded. Features lie by degree: [l][row, component, channel]; y and A as [j or pair,
/// row padded to registers].
#[derive(Clone, Copy)]
pub struct Shape {
    pub tile: usize,
    pub width: usize,
}

impl Shape {
    pub fn pitch(&self) -> usize {
        self.tile.next_multiple_of(8)
    }

    pub fn degree(&self, l: usize) -> std::ops::Range<usize> {
        let size = self.tile * self.width;
        l * l * size..(l + 1) * (l + 1) * size
    }
}

/// Rows [rows, channels, m] to a tile, zeros beyond, or back.
pub struct Turn<'a, T> {
    pub rows: Rowwise<'a, T>,
    pub tile: &'a mut [T],
    pub shape: Shape,
    pub channels: usize,
    pub m: usize,
}

pub enum Rowwise<'a, T> {
    In(&'a [T]),
    Out(&'a mut [T]),
}

impl<T: Simd> Job<T> for Turn<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        let Turn { channels, m, .. } = self;
        let count = match &self.rows {
            Rowwise::In(x) => x.len() / (channels * m),
            Rowwise::Out(x) => x.len() / (channels * m),
        };
        let wide = if m <= MOST { channels - channels % L::N } else { 0 };
        for n in 0..count {
            for c in (0..wide).step_by(L::N) {
                match m {
                    16 => turn(&mut self, n, c, &mut [L::zero(); 16]),
                    _ => turn(&mut self, n, c, &mut [L::zero(); MOST][..m]),
                }
            }
            for c in wide..channels {
                for i in 0..m {
                    let l = i.isqrt();
                    let at = (n * channels + c) * m + i;
                    let inside = (n * (2 * l + 1) + i - l * l) * self.shape.width + c;
                    let inside = &mut self.tile[self.shape.degree(l)][inside];
                    match &mut self.rows {
                        Rowwise::In(x) => *inside = x[at],
                        Rowwise::Out(x) => x[at] = *inside,
                    }
                }
            }
        }
    }
}

/// N channels from `c` on of row `n`.
#[inline(always)]
fn turn<L: Lanes>(job: &mut Turn<L::T>, n: usize, c: usize, columns: &mut [L]) {
    let (m, shape) = (columns.len(), job.shape);
    let at = (n * job.channels + c) * m;
    if let Rowwise::In(x) = &job.rows {
        L::load_rows(&x[at..at + L::N * m], columns);
    }
    let mut l = 0;
    while l * l < m {
        let tile = &mut job.tile[shape.degree(l)][n * (2 * l + 1) * shape.width..];
        for (k, column) in columns[l * l..(l + 1) * (l + 1)].iter_mut().enumerate() {
            let inside = &mut tile[k * shape.width + c..];
            match &job.rows {
                Rowwise::In(_) => column.store(inside),
                Rowwise::Out(_) => *column = L::load(inside),
            }
        }
        l += 1;
    }
    if let Rowwise::Out(x) = &mut job.rows {
        L::store_rows(columns, &mut x[at..at + L::N * m]);
    }
}

/// a[pair, row] of one path from y [j, row].
pub struct Couple<'a, T> {
    pub path: &'a Path,
    pub y: &'a [T],
    pub pitch: usize,
    pub a: &'a mut [T],
}

impl<T: Simd> Job<T> for Couple<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Couple { path, y, pitch, a } = self;
        for (ends, a) in path.ends.windows(2).zip(a.chunks_exact_mut(pitch)) {
            for (n, a) in a.chunks_exact_mut(L::N).enumerate() {
                let mut sum = L::zero();
                for &(j, value) in &path.factors[ends[0]..ends[1]] {
                    sum = L::of(value).fma(L::load(&y[j * pitch + n * L::N..]), sum);
                }
                sum.store(a);
            }
        }
    }
}

/// dst[row, target, channel] (+)= sum over the terms of a[pair, row] src[row, source, channel].
pub struct Combine<'a, T> {
    pub sums: &'a [Sum],
    pub a: &'a [T],
    pub src: &'a [T],
    pub dst: &'a mut [T],
    /// Components of src and of dst.
    pub sizes: [usize; 2],
    pub shape: Shape,
    pub add: bool,
}

/// Calls `$body` with the number of terms, 1 to 7, as a constant.
macro_rules! by_count {
    ($terms:expr, $body:ident::<$lanes:ident, $wide:literal>($($argument:expr),*)) => {
        match $terms.len() {
            7 => $body::<$lanes, $wide, 7>($($argument),*),
            6 => $body::<$lanes, $wide, 6>($($argument),*),
            5 => $body::<$lanes, $wide, 5>($($argument),*),
            4 => $body::<$lanes, $wide, 4>($($argument),*),
            3 => $body::<$lanes, $wide, 3>($($argument),*),
            2 => $body::<$lanes, $wide, 2>($($argument),*),
            _ => $body::<$lanes, $wide, 1>($($argument),*),
        }
    };
}

impl<T: Simd> Job<T> for Combine<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        let wide = self.shape.width.is_multiple_of(4 * L::N);
        for sum in self.sums {
            for (n, terms) in sum.terms.chunks(TERMS).enumerate() {
                let (target, add) = (sum.target, self.add || n > 0);
                if wide {
                    by_count!(terms, combine::<L, 4>(&mut self, target, terms, add));
                } else {
                    by_count!(terms, combine::<L, 1>(&mut self, target, terms, add));
                }
            }
        }
    }
}

/// K terms and U registers at once, so that a sum is loaded and stored once for them.
#[inline(always)]
fn combine<L: Lanes, const U: usize, const K: usize>(
    job: &mut Combine<L::T>,
    target: usize,
    terms: &[(usize, usize)],
    add: bool,
) {
    let ([from, to], Shape { tile, width }, pitch) = (job.sizes, job.shape, job.shape.pitch());
    let x_at: [_; K] = std::array::from_fn(|t| terms[t].0 * width);
    let a_at: [_; K] = std::array::from_fn(|t| terms[t].1 * pitch);
    assert!(job.src.len() >= tile * from * width && job.dst.len() >= tile * to * width && target < to);
    assert!(a_at.iter().all(|at| job.a.len() >= at + tile));
    assert!(width.is_multiple_of(U * L::N));
    for n in 0..tile {
        // SAFETY: of each of the `tile` rows, `from` (or `to`) components of `width` values are there, and `tile` values of
        // each pair's A, by the assertions above; a term's source is below `from`, as a path's terms are made.
        unsafe {
            let a: [L; K] = std::array::from_fn(|t| L::splat(*job.a.get_unchecked(a_at[t] + n)));
            let mut c = 0;
            while c < width {
                let x = job.src.as_ptr().add(n * from * width + c);
                let out = job.dst.as_mut_ptr().add((n * to + target) * width + c);
                let out = std::slice::from_raw_parts_mut(out, U * L::N);
                let mut total = [L::zero(); U];
                if add {
                    total = std::array::from_fn(|u| L::load(&out[u * L::N..]));
                }
                for t in 0..K {
                    let x = std::slice::from_raw_parts(x.add(x_at[t]), U * L::N);
                    for u in 0..U {
                        total[u] = a[t].fma(L::load(&x[u * L::N..]), total[u]);
                    }
                }
                for u in 0..U {
                    total[u].store(&mut out[u * L::N..]);
                }
                c += U * L::N;
            }
        }
    }
}

/// grad[j, row, lane] += C[i,j,k] x[row, i, channel] u[row, k, channel], the channels of one lane summed.
pub struct Reduce<'a, T> {
    pub path: &'a Path,
    pub x: &'a [T],
    pub u: &'a [T],
    pub shape: Shape,
    pub grad: &'a mut [T],
}

impl<T: Simd> Job<T> for Reduce<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let tile = self.shape.tile;
        let mut found = [[L::zero(); TILE]; TERMS];
        let wide = self.shape.width.is_multiple_of(4 * L::N);
        for sum in &self.path.to_out {
            for terms in sum.terms.chunks(TERMS) {
                if wide {
                    by_count!(terms, reduce::<L, 4>(&self, sum.target, terms, &mut found));
                } else {
                    by_count!(terms, reduce::<L, 1>(&self, sum.target, terms, &mut found));
                }
                for (&(_, pair), found) in terms.iter().zip(&found) {
                    for &(j, value) in &self.path.factors[self.path.ends[pair]..self.path.ends[pair + 1]] {
                        let (value, grad) = (L::of(value), &mut self.grad[j * tile * L::N..][..tile * L::N]);
                        for (grad, found) in grad.chunks_exact_mut(L::N).zip(found) {
                            value.fma(*found, L::load(grad)).store(grad);
                        }
                    }
                }
            }
        }
    }
}

/// found[term, row] = sum of x[row, source, channel] u[row, target, channel] over the channels of one lane.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // t and v count registers
fn reduce<L: Lanes, const U: usize, const K: usize>(
    job: &Reduce<L::T>,
    target: usize,
    terms: &[(usize, usize)],
    found: &mut [[L; TILE]; TERMS],
) {
    let (Shape { tile, width }, [l1, _, l3]) = (job.shape, job.path.degrees);
    let (from, to) = (2 * l1 + 1, 2 * l3 + 1);
    let at: [_; K] = std::array::from_fn(|t| terms[t].0 * width);
    assert!(job.x.len() >= tile * from * width && job.u.len() >= tile * to * width && target < to);
    assert!(width.is_multiple_of(U * L::N));
    for n in 0..tile {
        let mut sums = [L::zero(); K];
        let mut c = 0;
        while c < width {
            // SAFETY: of each of the `tile` rows, `from` (or `to`) components of `width` values are there, by the
            // assertions above; a term's source is below `from`, as a path's terms are made.
            unsafe {
                let u = job.u.as_ptr().add((n * to + target) * width + c);
                let u = std::slice::from_raw_parts(u, U * L::N);
                let u: [L; U] = std::array::from_fn(|v| L::load(&u[v * L::N..]));
                let x = job.x.as_ptr().add(n * from * width + c);
                for t in 0..K {
                    let x = std::slice::from_raw_parts(x.add(at[t]), U * L::N);
                    for v in 0..U {
                        sums[t] = u[v].fma(L::load(&x[v * L::N..]), sums[t]);
                    }
                }
            }
            c += U * L::N;
        }
        for t in 0..K {
            found[t][n] = sums[t];
        }
    }
}

/// out[row, j] = the sum of the lanes of grad[j, row].
pub struct Fold<'a, T> {
    pub grad: &'a [T],
    pub tile: usize,
    pub out: &'a mut [T],
    pub m: usize,
}

impl<T: Simd> Job<T> for Fold<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for (n, row) in self.out.chunks_exact_mut(self.m).enumerate() {
            for (j, out) in row.iter_mut().enumerate() {
                let lanes = &self.grad[(j * self.tile + n) * L::N..][..L::N];
                *out = lanes.iter().fold(T::ZERO, |s, v| s + *v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::lanes::dispatch;
    use crate::equivariant::paths::paths;

    #[test]
    fn wide_registers_and_plain_ones_couple_and_reduce_alike() {
        let paths = paths([3, 2, 3]);
        let shape = Shape { tile: 12, width: 32 };
        let value = |n: usize| ((n * 37 + 11) % 19) as f64 - 9.0;
        let [x, u, y]: [Vec<f64>; 3] =
            [7 * 12 * 32, 7 * 12 * 32, 9 * 16].map(|size| (0..size).map(|n| value(n) / 19.0).collect());
        for path in paths.iter() {
            let sizes = [2 * path.degrees[0] + 1, 2 * path.degrees[2] + 1];
            let mut found: [[Vec<f64>; 3]; 2] = Default::default();
            for (wide, [a, t, grad]) in found.iter_mut().enumerate() {
                a.resize(path.num_pairs() * 16, 0.0);
                t.resize(sizes[1] * 12 * 32, 0.0);
                grad.resize(9 * 12 * 4, 0.0);
                let couple = Couple { path, y: &y, pitch: 16, a: &mut a[..] };
                if wide == 1 {
                    dispatch(couple)
                } else {
                    couple.run::<<f64 as Simd>::Plain>()
                }
                let combine = Combine { sums: &path.to_out, a, src: &x, dst: &mut t[..], sizes, shape, add: true };
                if wide == 1 {
                    dispatch(combine)
                } else {
                    combine.run::<<f64 as Simd>::Plain>()
                }
                let reduce = Reduce { path, x: &x, u: &u, shape, grad: &mut grad[..] };
                if wide == 1 { dispatch(reduce) } else { reduce.run::<<f64 as Simd>::Plain>() }
            }
            let [[_, plain, plain_grad], [_, wide, wide_grad]] = &found;
            plain.iter().zip(wide).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
            // The lanes of one row are apart in `grad`: their sum is what counts.
            let lanes = if size_of::<<f64 as Simd>::Wide>() == 32 { 4 } else { 1 };
            for (n, a) in plain_grad[..9 * 12].iter().enumerate() {
                let b: f64 = wide_grad[n * lanes..(n + 1) * lanes].iter().sum();
                assert!((a - b).abs() < 1e-11);
            }
        }
    }
}
