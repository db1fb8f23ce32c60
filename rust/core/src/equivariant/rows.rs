//! The weighted product of rows that share nothing but the weights, forward and vjp:
//! out[n,d,k] = sum_{p,c,i} W[p,c,d] A_p[n,i,k] x[n,c,i],  A_p[n,i,k] = sum_j C_p[i,j,k] y[n,j].
//!
//! Path by path over a tile of rows, the side with fewer components (2 l1 + 1 or 2 l_out + 1) takes the product with W.
//! For all paths to degree 3 these are 124 C D multiply-adds a row (156 if all were taken on the result's side) and 541 C for
//! the sums with A; the vjp has 269 C D and three times 541 C. Bound by the dense products, whose operands stay in the first
//! two cache levels: in f32 at C = D = 32 they take 60 to 64 % of the time, at the rate of torch's 512 x 512 product, and the
//! whole reaches 0.66 (vjp: 0.56) of that rate (one core of an AMD Zen 3, 87 GFlop/s).

use rayon::prelude::*;

use super::contract::padded;
use super::dense::{Matmul, Panels, Strided, pack};
use super::paths::Path;
use super::tile::{Combine, Couple, Fold, Reduce, Rowwise, Shape, TILE, Turn};
use crate::basis::lanes::{Simd, dispatch};
use crate::pool;

/// Partial sums for W, added in order.
const PARTS: usize = 8;

/// What both directions share. x [N, C, M1], y [N, M2], W [P, C, D], out [N, D, M3].
pub struct Rows<'a, T> {
    pub paths: &'a [Path],
    pub sizes: [usize; 3],
    pub channels: [usize; 2],
    pub x: &'a [T],
    pub y: &'a [T],
    pub weights: &'a [T],
}

/// grad_x, grad_y and the sums for W of some tiles.
type Part<'a, T> = ((&'a mut [T], &'a mut [T]), &'a mut [T]);

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
        let run = |(n, ((grad_x, grad_y), sum)): (usize, Part<T>)| {
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
