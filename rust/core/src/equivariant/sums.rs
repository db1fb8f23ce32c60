//! The inner loops of `contract`, channels in SIMD lanes: `Gather` t[g,k,slot,c] += C[i,j,k] y[e,j] x[s(e),i,c] over the
//! edges e of group g, and `Reduce` out[e,j] += C[i,j,k] x[s(e),i,c] u[t(e),k,slot,c].
//!
//! The factors C y come first, for a register of edges at once, and are shared by all channels; then 256 C multiply-adds an
//! edge (541 C where paths have weights) for degree 3. Bound by the loads, five for four multiply-adds.

use super::table::{Block, Table};
use crate::basis::lanes::{Job, Lanes, Simd};

/// Which edges a tile of groups has: positions in the sorted order, each with its group within the tile.
pub struct Edges<'a> {
    /// Sorted position -> edge; None where sorted already.
    pub order: Option<&'a [u32]>,
    /// Edge -> row of the gathered operand; None: the edge itself.
    pub gather: Option<&'a [i32]>,
    /// Sorted positions of this tile.
    pub first: usize,
    pub last: usize,
    /// Ends of the groups of this tile, as sorted positions; None: one edge a group.
    pub ends: Option<&'a [u32]>,
}

impl Edges<'_> {
    #[inline(always)]
    pub fn edge(&self, position: usize) -> usize {
        self.order.map_or(position, |o| o[position] as usize)
    }

    #[inline(always)]
    fn row(&self, edge: usize) -> usize {
        self.gather.map_or(edge, |g| g[edge] as usize)
    }

    #[inline(always)]
    fn group(&self, position: usize, from: usize) -> usize {
        match self.ends {
            None => position - self.first,
            Some(ends) => (from..ends.len()).find(|&g| position < ends[g] as usize).unwrap_or(from),
        }
    }
}

/// t[g, k, slot, c] += sum over the edges of g and (i, j) of C[i,j,k] y[e,j] x[row(e),i,c].
pub struct Gather<'a, T> {
    pub table: &'a Table<T>,
    pub block: &'a Block<T>,
    pub edges: &'a Edges<'a>,
    pub x: &'a [T],
    pub y: &'a [T],
    pub width: usize,
    pub t: &'a mut [T],
}

impl<T: Simd> Job<T> for Gather<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let [mi, mj, _] = self.table.sizes;
        let (block, width) = (self.block, self.width);
        if block.pairs.is_empty() {
            return; // no path leads to this degree
        }
        let inner = block.paths.len() * width;
        let mut y = vec![T::ZERO; mj * L::N];
        let mut a = vec![T::ZERO; block.pairs.len() * L::N];
        let mut group = 0;
        for start in (self.edges.first..self.edges.last).step_by(L::N) {
            let count = L::N.min(self.edges.last - start);
            for lane in 0..count {
                let e = self.edges.edge(start + lane);
                for (j, value) in self.y[e * mj..(e + 1) * mj].iter().enumerate() {
                    y[j * L::N + lane] = *value;
                }
            }
            for (pair, a) in block.pairs.iter().zip(a.chunks_exact_mut(L::N)) {
                let mut sum = L::zero();
                for f in &block.factors[pair.first..pair.last] {
                    sum = L::splat(f.value).fma(L::load(&y[f.j * L::N..]), sum);
                }
                sum.store(a);
            }
            for lane in 0..count {
                let e = self.edges.edge(start + lane);
                group = self.edges.group(start + lane, group);
                let x = &self.x[self.edges.row(e) * mi * width..][..mi * width];
                let t = &mut self.t[group * block.rows * inner..][..block.rows * inner];
                match width / L::N {
                    n if n % 4 == 0 => gather::<L, 4>(block, x, &a[lane..], width, inner, t),
                    n if n % 2 == 0 => gather::<L, 2>(block, x, &a[lane..], width, inner, t),
                    _ => gather::<L, 1>(block, x, &a[lane..], width, inner, t),
                }
            }
        }
    }
}

#[inline(always)]
fn gather<L: Lanes, const U: usize>(
    block: &Block<L::T>,
    x: &[L::T],
    a: &[L::T],
    width: usize,
    inner: usize,
    t: &mut [L::T],
) {
    for column in &block.columns {
        let out = &mut t[column.k * inner + column.slot * width..][..width];
        for (n, out) in out.chunks_exact_mut(U * L::N).enumerate() {
            let mut sums: [L; U] = std::array::from_fn(|u| L::load(&out[u * L::N..]));
            for p in column.first..column.last {
                let (factor, x) = (L::splat(a[p * L::N]), &x[block.pairs[p].i * width + n * U * L::N..][..U * L::N]);
                for u in 0..U {
                    sums[u] = factor.fma(L::load(&x[u * L::N..]), sums[u]);
                }
            }
            for u in 0..U {
                sums[u].store(&mut out[u * L::N..]);
            }
        }
    }
}

/// out[position, j] += sum_{i,k,slot,c} C[i,j,k] x[row(e),i,c] u[g,k,slot,c].
pub struct Reduce<'a, T> {
    pub table: &'a Table<T>,
    pub block: &'a Block<T>,
    pub edges: &'a Edges<'a>,
    pub x: &'a [T],
    pub u: &'a [T],
    pub width: usize,
    pub out: &'a mut [T],
}

impl<T: Simd> Job<T> for Reduce<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let [mi, mj, _] = self.table.sizes;
        let (block, width) = (self.block, self.width);
        if block.pairs.is_empty() {
            return; // no path leads to this degree
        }
        let inner = block.paths.len() * width;
        let mut group = 0;
        let mut last = [T::ZERO; 8];
        for (position, out) in (self.edges.first..self.edges.last).zip(self.out.chunks_exact_mut(mj)) {
            group = self.edges.group(position, group);
            let x = &self.x[self.edges.row(self.edges.edge(position)) * mi * width..][..mi * width];
            let u = &self.u[group * block.rows * inner..][..block.rows * inner];
            for column in &block.columns {
                let u = &u[column.k * inner + column.slot * width..][..width];
                for pair in &block.pairs[column.first..column.last] {
                    let x = &x[pair.i * width..][..width];
                    let mut sum = L::zero();
                    for (x, u) in x.chunks_exact(L::N).zip(u.chunks_exact(L::N)) {
                        sum = L::load(x).fma(L::load(u), sum);
                    }
                    sum.store(&mut last);
                    let sum = last[..L::N].iter().fold(T::ZERO, |s, v| s + *v);
                    for f in &block.factors[pair.first..pair.last] {
                        out[f.j] += f.value * sum;
                    }
                }
            }
        }
    }
}
