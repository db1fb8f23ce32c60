//! The weighted product of rows that share nothing but the weights, forward and vjp:
//! out[n,d,k] = sum_{p,c,i} W[p,c,d] A_p[n,i,k] x[n,c,i],  A_p[n,i,k] = sum_j C_p[i,j,k] y[n,j].
//!
//! Path by path over a tile of rows, the side with fewer components (2 l1 + 1 or 2 l_out + 1) takes the product with W.
//! For all paths to degree 3 these are 124 C D multiply-adds a row of 156 in the other order, and 541 C for the sums with
//! A. Bound by the dense products, whose operands stay in the first two cache levels.

use rayon::prelude::*;

use super::contract::padded;
use super::dense::{Matmul, Panels, Strided, pack};
use super::paths::{Path, Sum};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::pool;

/// Partial sums for W, added in order.
const PARTS: usize = 8;
/// Most rows of a tile: one path's operands stay in the first cache level at 32 channels; a multiple of the six rows of a
/// dense block.
const TILE: usize = 12;
/// Most components a row that are transposed in registers.
const MOST: usize = 64;

/// What both directions share. x [N, C, M1], y [N, M2], W [P, C, D], out [N, D, M3].
pub struct Rows<'a, T> {
    pub paths: &'a [Path],
    pub sizes: [usize; 3],
    pub channels: [usize; 2],
    pub x: &'a [T],
    pub y: &'a [T],
    pub weights: &'a [T],
}

/// Rows of a tile and channels of a row, padded. Features lie by degree: [l][row, component, channel]; y and A as [j or pair,
/// row padded to registers].
#[derive(Clone, Copy)]
struct Shape {
    tile: usize,
    width: usize,
}

impl Shape {
    fn pitch(&self) -> usize {
        self.tile.next_multiple_of(8)
    }

    fn degree(&self, l: usize) -> std::ops::Range<usize> {
        let size = self.tile * self.width;
        l * l * size..(l + 1) * (l + 1) * size
    }
}

/// Rows [rows, channels, m] to a tile, zeros beyond, or back.
struct Turn<'a, T> {
    rows: Rowwise<'a, T>,
    tile: &'a mut [T],
    shape: Shape,
    channels: usize,
    m: usize,
}

enum Rowwise<'a, T> {
    In(&'a [T]),
    Out(&'a mut [T]),
}

impl<T: Simd> Job<T> for Turn<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Turn { mut rows, tile, shape, channels, m } = self;
        let count = match &rows {
            Rowwise::In(x) => x.len() / (channels * m),
            Rowwise::Out(x) => x.len() / (channels * m),
        };
        let wide = if m <= MOST { channels - channels % L::N } else { 0 };
        let mut columns = [L::zero(); MOST];
        for n in 0..count {
            for c in (0..wide).step_by(L::N) {
                let (at, columns) = ((n * channels + c) * m, &mut columns[..m]);
                if let Rowwise::In(x) = &rows {
                    L::load_rows(&x[at..at + L::N * m], columns);
                }
                let mut l = 0;
                while l * l < m {
                    let tile = &mut tile[shape.degree(l)][n * (2 * l + 1) * shape.width..];
                    for (k, column) in columns[l * l..(l + 1) * (l + 1)].iter_mut().enumerate() {
                        let inside = &mut tile[k * shape.width + c..];
                        match &rows {
                            Rowwise::In(_) => column.store(inside),
                            Rowwise::Out(_) => *column = L::load(inside),
                        }
                    }
                    l += 1;
                }
                if let Rowwise::Out(x) = &mut rows {
                    L::store_rows(columns, &mut x[at..at + L::N * m]);
                }
            }
            for c in wide..channels {
                for i in 0..m {
                    let l = i.isqrt();
                    let at = (n * channels + c) * m + i;
                    let inside = &mut tile[shape.degree(l)][(n * (2 * l + 1) + i - l * l) * shape.width + c];
                    match &mut rows {
                        Rowwise::In(x) => *inside = x[at],
                        Rowwise::Out(x) => x[at] = *inside,
                    }
                }
            }
        }
    }
}

/// a[pair, row] of one path from y [j, row].
struct Couple<'a, T> {
    path: &'a Path,
    y: &'a [T],
    pitch: usize,
    a: &'a mut [T],
}

impl<T: Simd> Job<T> for Couple<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Couple { path, y, pitch, a } = self;
        for (ends, a) in path.ends.windows(2).zip(a.chunks_exact_mut(pitch)) {
            for (n, &(j, value)) in path.factors[ends[0]..ends[1]].iter().enumerate() {
                let (value, y) = (L::of(value), &y[j * pitch..(j + 1) * pitch]);
                for (a, y) in a.chunks_exact_mut(L::N).zip(y.chunks_exact(L::N)) {
                    let sum = if n == 0 { L::zero() } else { L::load(a) };
                    value.fma(L::load(y), sum).store(a);
                }
            }
        }
    }
}

/// dst[row, target, channel] (+)= sum over the terms of a[pair, row] src[row, source, channel].
struct Combine<'a, T> {
    sums: &'a [Sum],
    a: &'a [T],
    src: &'a [T],
    dst: &'a mut [T],
    /// Components of src and of dst.
    sizes: [usize; 2],
    shape: Shape,
    add: bool,
}

impl<T: Simd> Job<T> for Combine<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        let wide = self.shape.width.is_multiple_of(4 * L::N);
        for sum in self.sums {
            for (n, terms) in sum.terms.chunks(4).enumerate() {
                let add = self.add || n > 0;
                match (terms.len(), wide) {
                    (4, true) => combine::<L, 4, 4>(&mut self, sum.target, terms, add),
                    (3, true) => combine::<L, 4, 3>(&mut self, sum.target, terms, add),
                    (2, true) => combine::<L, 4, 2>(&mut self, sum.target, terms, add),
                    (_, true) => combine::<L, 4, 1>(&mut self, sum.target, terms, add),
                    _ => terms.iter().enumerate().for_each(|(t, _)| {
                        combine::<L, 1, 1>(&mut self, sum.target, &terms[t..], add || t > 0);
                    }),
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
    let a: [_; K] = std::array::from_fn(|t| &job.a[terms[t].1 * pitch..][..tile]);
    let at: [_; K] = std::array::from_fn(|t| terms[t].0 * width);
    let rows = job.src.chunks_exact(from * width).zip(job.dst.chunks_exact_mut(to * width));
    for (n, (x, out)) in rows.take(tile).enumerate() {
        let a: [L; K] = std::array::from_fn(|t| L::splat(a[t][n]));
        let x: [_; K] = std::array::from_fn(|t| &x[at[t]..at[t] + width]);
        let out = &mut out[target * width..(target + 1) * width];
        for (c, out) in out.chunks_exact_mut(U * L::N).enumerate() {
            let mut total = [L::zero(); U];
            if add {
                total = std::array::from_fn(|u| L::load(&out[u * L::N..]));
            }
            for t in 0..K {
                let x = &x[t][c * U * L::N..][..U * L::N];
                for u in 0..U {
                    total[u] = a[t].fma(L::load(&x[u * L::N..]), total[u]);
                }
            }
            for u in 0..U {
                total[u].store(&mut out[u * L::N..]);
            }
        }
    }
}

/// grad[j, row, lane] += C[i,j,k] x[row, i, channel] u[row, k, channel], the channels of one lane summed.
struct Reduce<'a, T> {
    path: &'a Path,
    x: &'a [T],
    u: &'a [T],
    shape: Shape,
    grad: &'a mut [T],
}

impl<T: Simd> Job<T> for Reduce<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let tile = self.shape.tile;
        let mut found = [[L::zero(); TILE]; 4];
        let wide = self.shape.width.is_multiple_of(4 * L::N);
        for sum in &self.path.to_out {
            for terms in sum.terms.chunks(4) {
                match (terms.len(), wide) {
                    (4, true) => reduce::<L, 4, 4>(&self, sum.target, terms, &mut found),
                    (3, true) => reduce::<L, 4, 3>(&self, sum.target, terms, &mut found),
                    (2, true) => reduce::<L, 4, 2>(&self, sum.target, terms, &mut found),
                    (_, true) => reduce::<L, 4, 1>(&self, sum.target, terms, &mut found),
                    _ => terms.iter().enumerate().for_each(|(t, _)| {
                        reduce::<L, 1, 1>(&self, sum.target, &terms[t..], &mut found[t..]);
                    }),
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
fn reduce<L: Lanes, const U: usize, const K: usize>(
    job: &Reduce<L::T>,
    target: usize,
    terms: &[(usize, usize)],
    found: &mut [[L; TILE]],
) {
    let (Shape { tile, width }, [l1, _, l3]) = (job.shape, job.path.degrees);
    let at: [_; K] = std::array::from_fn(|t| terms[t].0 * width);
    let rows = job.x.chunks_exact((2 * l1 + 1) * width).zip(job.u.chunks_exact((2 * l3 + 1) * width));
    for (n, (x, u)) in rows.take(tile).enumerate() {
        let x: [_; K] = std::array::from_fn(|t| &x[at[t]..at[t] + width]);
        let u = &u[target * width..(target + 1) * width];
        let mut sums = [L::zero(); K];
        for (c, u) in u.chunks_exact(U * L::N).enumerate() {
            let u: [L; U] = std::array::from_fn(|v| L::load(&u[v * L::N..]));
            for t in 0..K {
                let x = &x[t][c * U * L::N..][..U * L::N];
                for v in 0..U {
                    sums[t] = u[v].fma(L::load(&x[v * L::N..]), sums[t]);
                }
            }
        }
        for t in 0..K {
            found[t][n] = sums[t];
        }
    }
}

/// Buffers of one thread, made once a part.
struct Work<T> {
    x: Vec<T>,
    y: Vec<T>,
    out: Vec<T>,
    a: Vec<T>,
    mixed: Vec<T>,
    coupled: Vec<T>,
    grad_x: Vec<T>,
    grad_y: Vec<T>,
}

impl<'a, T: Simd> Rows<'a, T> {
    fn count(&self) -> usize {
        self.y.len() / self.sizes[1]
    }

    fn tile(&self) -> usize {
        if T::IS_SINGLE { TILE } else { TILE / 2 }.min(self.count().next_multiple_of(8))
    }

    fn shapes(&self) -> [Shape; 2] {
        self.channels.map(|c| Shape { tile: self.tile(), width: padded(c) })
    }

    fn work(&self) -> Work<T> {
        let [sx, so] = self.shapes();
        let rows = |l: usize, s: Shape| vec![T::ZERO; (2 * l + 1) * s.tile * s.width];
        let most = self.paths.iter().map(|p| p.degrees[0].max(p.degrees[2])).max().unwrap_or(0);
        let wider = Shape { tile: sx.tile, width: sx.width.max(so.width) };
        let pairs = self.paths.iter().map(Path::num_pairs).max().unwrap_or(0);
        Work {
            x: vec![T::ZERO; self.sizes[0] * sx.tile * sx.width],
            y: vec![T::ZERO; self.sizes[1] * sx.pitch()],
            out: vec![T::ZERO; self.sizes[2] * so.tile * so.width],
            a: vec![T::ZERO; pairs * sx.pitch()],
            mixed: rows(most, wider),
            coupled: rows(most, wider),
            grad_x: vec![T::ZERO; self.sizes[0] * sx.tile * sx.width],
            grad_y: vec![T::ZERO; self.sizes[1] * sx.tile * 8],
        }
    }

    /// W [C, D] of each path in panels, and their transposes if asked.
    fn pack(&self, turned: bool) -> Vec<Vec<T>> {
        let [c, d] = self.channels;
        let each = self.weights.chunks_exact(c * d);
        match turned {
            false => each.map(|w| pack(c, d, |i, j| w[i * d + j])).collect(),
            true => each.map(|w| pack(d, c, |i, j| w[j * d + i])).collect(),
        }
    }

    /// x and y of the rows from `first` on.
    fn load(&self, work: &mut Work<T>, first: usize) {
        let [sx, _] = self.shapes();
        let ([c, _], [m1, m2, _], count) = (self.channels, self.sizes, sx.tile.min(self.count() - first));
        if count < sx.tile {
            work.x.fill(T::ZERO);
            work.y.fill(T::ZERO);
        }
        let rows = Rowwise::In(&self.x[first * c * m1..][..count * c * m1]);
        dispatch(Turn { rows, tile: &mut work.x, shape: sx, channels: c, m: m1 });
        for (n, y) in self.y[first * m2..][..count * m2].chunks_exact(m2).enumerate() {
            y.iter().enumerate().for_each(|(j, y)| work.y[j * sx.pitch() + n] = *y);
        }
    }

    /// Work in nanoseconds of one row, at ten multiply-adds a nanosecond.
    fn cost(&self) -> usize {
        self.sizes[0] * self.channels[0] * (self.channels[1] + 8)
    }

    pub fn forward(&self, out: &mut [T]) {
        let ([c, d], [sx, so], m3) = (self.channels, self.shapes(), self.sizes[2]);
        let weights = self.pack(false);
        let parts: Vec<_> = out.chunks_mut(so.tile * d * m3).enumerate().collect();
        let run = |work: &mut Work<T>, (n, out): (usize, &mut [T])| {
            self.load(work, n * so.tile);
            work.out.fill(T::ZERO);
            for (path, w) in self.paths.iter().zip(&weights) {
                let [l1, _, l3] = path.degrees;
                let (x, y, a) = (&work.x[sx.degree(l1)], &work.y, &mut work.a);
                dispatch(Couple { path, y, pitch: sx.pitch(), a: &mut *a });
                let sizes = [2 * l1 + 1, 2 * l3 + 1];
                let (into, b, sums) = (&mut work.out[so.degree(l3)], Panels::packed(w, c), &path.to_out);
                if l3 <= l1 {
                    let m = (2 * l3 + 1) * so.tile;
                    dispatch(Combine { sums, a, src: x, dst: &mut work.coupled, sizes, shape: sx, add: false });
                    let a = Strided { values: &work.coupled, first: sx.width, second: 1 };
                    dispatch(Matmul { dst: into, width: so.width, a, b, m, k: c, add: true });
                } else {
                    let m = (2 * l1 + 1) * so.tile;
                    let left = Strided { values: x, first: sx.width, second: 1 };
                    dispatch(Matmul { dst: &mut work.mixed, width: so.width, a: left, b, m, k: c, add: false });
                    dispatch(Combine { sums, a, src: &work.mixed, dst: into, sizes, shape: so, add: true });
                }
            }
            dispatch(Turn { rows: Rowwise::Out(out), tile: &mut work.out, shape: so, channels: d, m: m3 });
        };
        pool::run(self.count() * self.cost(), |threads| match threads {
            1 => {
                let mut work = self.work();
                parts.into_iter().for_each(|part| run(&mut work, part));
            }
            _ => parts.into_par_iter().for_each_init(|| self.work(), run),
        });
    }

    /// The vjp for the cotangent g [N, D, M3]: grad_x, grad_y and grad_w, each written whole.
    pub fn backward(&self, g: &[T], grad_x: &mut [T], grad_y: &mut [T], grad_w: &mut [T]) {
        let ([c, d], [sx, _], [m1, m2, _]) = (self.channels, self.shapes(), self.sizes);
        let (weights, turned) = (self.pack(false), self.pack(true));
        // Parts are of whole tiles and their number is fixed, so the sums for W do not depend on the threads.
        let rows = self.count().div_ceil(sx.tile).div_ceil(PARTS).max(1) * sx.tile;
        let total = self.paths.len() * c * padded(d);
        let mut sums = vec![T::ZERO; self.count().div_ceil(rows) * total];
        let parts = grad_x.chunks_mut(rows * c * m1).zip(grad_y.chunks_mut(rows * m2)).zip(sums.chunks_mut(total));
        let parts: Vec<_> = parts.enumerate().collect();
        let run = |(n, ((grad_x, grad_y), sum)): (usize, ((&mut [T], &mut [T]), &mut [T]))| {
            let mut work = self.work();
            let tiles = grad_x.chunks_mut(sx.tile * c * m1).zip(grad_y.chunks_mut(sx.tile * m2));
            for (t, (grad_x, grad_y)) in tiles.enumerate() {
                let first = n * rows + t * sx.tile;
                self.backward_tile(&mut work, first, g, [&weights, &turned], [grad_x, grad_y, &mut *sum]);
            }
        };
        pool::run(self.count() * 3 * self.cost(), |threads| match threads {
            1 => parts.into_iter().for_each(run),
            _ => parts.into_par_iter().for_each(run),
        });
        let (whole, others) = sums.split_at_mut(total);
        for part in others.chunks_exact(total) {
            whole.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
        }
        for (out, sum) in grad_w.chunks_exact_mut(d).zip(whole.chunks_exact(padded(d))) {
            out.copy_from_slice(&sum[..d]);
        }
    }

    fn backward_tile(
        &self,
        work: &mut Work<T>,
        first: usize,
        g: &[T],
        [weights, turned]: [&[Vec<T>]; 2],
        [grad_x, grad_y, grad_w]: [&mut [T]; 3],
    ) {
        let ([c, d], [sx, so], [m1, m2, m3]) = (self.channels, self.shapes(), self.sizes);
        let count = grad_y.len() / m2;
        self.load(work, first);
        if count < sx.tile {
            work.out.fill(T::ZERO);
        }
        let rows = Rowwise::In(&g[first * d * m3..][..count * d * m3]);
        dispatch(Turn { rows, tile: &mut work.out, shape: so, channels: d, m: m3 });
        work.grad_x.fill(T::ZERO);
        work.grad_y.fill(T::ZERO);
        let size = c * so.width;
        for (p, (path, sum)) in self.paths.iter().zip(grad_w.chunks_exact_mut(size)).enumerate() {
            let [l1, _, l3] = path.degrees;
            let (x, g, a) = (&work.x[sx.degree(l1)], &work.out[so.degree(l3)], &mut work.a);
            dispatch(Couple { path, y: &work.y, pitch: sx.pitch(), a: &mut *a });
            let (into, grad) = (&mut work.grad_x[sx.degree(l1)], &mut work.grad_y);
            let (w, turned) = (Panels::packed(&weights[p], c), Panels::packed(&turned[p], d));
            let (small, large) = ((2 * l1 + 1) * sx.tile, (2 * l3 + 1) * sx.tile);
            // T = A x on the result's side, or V = A g on that of x.
            let t = &mut work.coupled;
            let (from, to) = (2 * l1 + 1, 2 * l3 + 1);
            let (sums, src, sizes, shape) =
                if l3 <= l1 { (&path.to_out, x, [from, to], sx) } else { (&path.to_x, g, [to, from], so) };
            dispatch(Combine { sums, a, src, dst: &mut *t, sizes, shape, add: false });
            let (left, b, k) = if l3 <= l1 { (&t[..], g, large) } else { (x, &t[..], small) };
            let (left, b) = (Strided { values: left, first: 1, second: sx.width }, Panels::plain(b, so.width));
            dispatch(Matmul { dst: sum, width: so.width, a: left, b, m: c, k, add: true });
            if large <= 2 * small {
                let (u, left) = (&mut work.mixed, Strided { values: g, first: so.width, second: 1 });
                dispatch(Matmul { dst: &mut *u, width: sx.width, a: left, b: turned, m: large, k: d, add: false });
                dispatch(Combine { sums: &path.to_x, a, src: u, dst: into, sizes: [to, from], shape: sx, add: true });
                dispatch(Reduce { path, x, u, shape: sx, grad });
            } else {
                let left = Strided { values: &t[..], first: so.width, second: 1 };
                dispatch(Matmul { dst: into, width: sx.width, a: left, b: turned, m: small, k: d, add: true });
                let (z, left) = (&mut work.mixed, Strided { values: x, first: sx.width, second: 1 });
                dispatch(Matmul { dst: &mut *z, width: so.width, a: left, b: w, m: small, k: c, add: false });
                dispatch(Reduce { path, x: z, u: g, shape: so, grad });
            }
        }
        dispatch(Turn { rows: Rowwise::Out(grad_x), tile: &mut work.grad_x, shape: sx, channels: c, m: m1 });
        dispatch(Fold { grad: &work.grad_y, tile: sx.tile, out: grad_y, m: m2 });
    }
}

/// out[row, j] = the sum of the lanes of grad[j, row].
struct Fold<'a, T> {
    grad: &'a [T],
    tile: usize,
    out: &'a mut [T],
    m: usize,
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
