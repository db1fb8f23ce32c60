//! Three contractions of the trilinear form S = sum_{e,p,c,d,ijk} W[p,c,d] C_p[i,j,k] x[s(e),c,i] y[e,j] g[t(e),d,k]:
//! towards g (and, with exchanged roles, x), y and W. Products along edges are made of them, with all their derivatives, and
//! so are the second derivatives of products of rows (whose first ones are in `rows` and `simple`).
//!
//! The sum over the edges of a group comes before the product with W, so W costs one dense product a group, not an edge.
//! Tiles of groups are fixed and each is written by one thread: the bits do not depend on the thread count.

use rayon::prelude::*;

use super::matmul::{Matrix, MatrixMut, matmul};
use super::polynomial::rows;
use super::sums::{Edges, Gather, Reduce};
use super::table::{Block, Table};
use crate::basis::lanes::{Simd, dispatch};
use crate::pool;

/// Groups a tile: a slab of the largest degree stays within the second-level cache at 64 channels.
const TILE: usize = 16;
/// Partial sums for W, added in order.
const PARTS: usize = 8;
/// Multiple of channels in the inner loops, for both precisions.
const LANES: usize = 8;

pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Edges sorted by what they are summed into.
pub struct Groups<'a> {
    pub count: usize,
    sorted: Option<(Vec<u32>, Vec<u32>)>,
    gather: Option<&'a [i32]>,
}

impl<'a> Groups<'a> {
    /// `into`: edge -> group, None: each edge its own. `gather`: edge -> row of the gathered operand.
    pub fn new(into: Option<&[i32]>, gather: Option<&'a [i32]>, count: usize) -> Self {
        let sorted = into.map(|into| {
            let found = rows::Groups::new(into, count);
            (found.ends, found.order)
        });
        Groups { count, sorted, gather }
    }

    fn tile(&self, first: usize, last: usize) -> Edges<'_> {
        let gather = self.gather;
        match &self.sorted {
            None => Edges { order: None, gather, first, last, ends: None },
            Some((ends, order)) => {
                let (a, b) = (ends[first] as usize, ends[last] as usize);
                Edges { order: Some(order), gather, first: a, last: b, ends: Some(&ends[first + 1..=last]) }
            }
        }
    }

    fn position(&self, group: usize) -> usize {
        self.sorted.as_ref().map_or(group, |(ends, _)| ends[group] as usize)
    }

    fn work(&self, table_cost: usize) -> usize {
        self.count.max(self.position(self.count)) * table_cost
    }
}

/// [rows, C, M] to [rows, M, padded C].
pub fn channels_inside<T: Simd>(x: &[T], channels: usize, m: usize) -> Vec<T> {
    let width = padded(channels);
    let rows = x.len() / (channels * m).max(1);
    let mut out = vec![T::ZERO; rows * m * width];
    pool::for_each_row(&mut out, m * width, m * channels, |n, row| {
        let x = &x[n * channels * m..(n + 1) * channels * m];
        for (c, x) in x.chunks_exact(m).enumerate() {
            for (i, x) in x.iter().enumerate() {
                row[i * width + c] = *x;
            }
        }
    });
    out
}

/// Weights [P, C, D] stacked for each block: [slot, padded C, D], or [slot, padded D, C] where `exchanged`.
pub fn stack<T: Simd>(table: &Table<T>, w: &[T], c: usize, d: usize, exchanged: bool) -> Vec<Vec<T>> {
    let (rows, columns) = if exchanged { (d, c) } else { (c, d) };
    let stacked = table.blocks.iter().map(|block| {
        let mut out = vec![T::ZERO; block.paths.len() * padded(rows) * columns];
        for (&p, out) in block.paths.iter().zip(out.chunks_exact_mut((padded(rows) * columns).max(1))) {
            for r in 0..rows {
                for q in 0..columns {
                    out[r * columns + q] = w[p * c * d + if exchanged { q * d + r } else { r * d + q }];
                }
            }
        }
        out
    });
    stacked.collect()
}

/// Two factors of one term: x with channels inside, y [E, M2].
pub type Factors<'a, T> = (&'a [T], &'a [T]);
/// x with channels inside and the weights.
pub type Side<'a, T> = (&'a [T], Option<&'a [Vec<T>]>);
/// Products that share their weights; None: no weights.
pub type Term<'a, T> = (Vec<Factors<'a, T>>, Option<&'a [Vec<T>]>);

fn gather_all<T: Simd>(
    table: &Table<T>,
    block: &Block<T>,
    edges: &Edges,
    pairs: &[Factors<T>],
    width: usize,
    t: &mut [T],
) {
    t.fill(T::ZERO);
    for &(x, y) in pairs {
        dispatch(Gather { table, block, edges, x, y, width, t: &mut *t });
    }
}

fn for_each_part<T: Send>(work: usize, parts: Vec<T>, job: impl Fn(usize, T) + Sync + Send) {
    pool::run(work, |threads| match threads {
        1 => parts.into_iter().enumerate().for_each(|(n, part)| job(n, part)),
        _ => parts.into_par_iter().enumerate().for_each(|(n, part)| job(n, part)),
    });
}

/// out [groups, D, M] = the terms' sum. C = `c` channels in, D = `d` out.
pub fn product<T: Simd>(table: &Table<T>, groups: &Groups, terms: &[Term<T>], [c, d]: [usize; 2], out: &mut [T]) {
    let (width, m) = (padded(c), table.sizes[2]);
    if out.is_empty() {
        return;
    }
    let parts: Vec<_> = out.chunks_mut(TILE * d * m).collect();
    for_each_part(groups.work(c * (d + 8) * 2), parts, |n, out| {
        let count = out.len() / (d * m);
        let edges = groups.tile(n * TILE, n * TILE + count);
        for (b, block) in table.blocks.iter().enumerate() {
            let (rows, inner) = (count * block.rows, block.paths.len() * width);
            let mut t = vec![T::ZERO; rows * inner];
            let mut mixed = vec![T::ZERO; rows * d];
            for (pairs, w) in terms {
                gather_all(table, block, &edges, pairs, width, &mut t);
                if let Some(w) = w {
                    let left = Matrix::new(&t, [rows, inner], [inner, 1]);
                    let right = Matrix::new(&w[b], [inner, d], [d, 1]);
                    matmul(T::ONE, left, right, MatrixMut::new(&mut mixed, [rows, d], [d, 1]));
                }
            }
            let (found, stride) = if terms[0].1.is_some() { (&mixed, d) } else { (&t, width) };
            for (row, values) in found.chunks_exact(stride).enumerate() {
                let (g, k) = (row / block.rows, row % block.rows);
                for (channel, value) in values[..d].iter().enumerate() {
                    out[(g * d + channel) * m + block.start + k] = *value;
                }
            }
        }
    });
}

/// The rows of one block of g [groups, M, padded D], dense [group, row, D].
fn rows_of<T: Simd>(g: &[T], block: &Block<T>, first: usize, count: usize, m: usize, d: usize, out: &mut Vec<T>) {
    out.clear();
    for n in first..first + count {
        for k in 0..block.rows {
            out.extend_from_slice(&g[(n * m + block.start + k) * padded(d)..][..d]);
        }
    }
}

/// grad_y [E, M2] for g with channels inside, of terms (x, weights).
pub fn towards_y<T: Simd>(
    table: &Table<T>,
    groups: &Groups,
    terms: &[Side<T>],
    g: &[T],
    [c, d]: [usize; 2],
    out: &mut [T],
) {
    let (width, [_, mj, m]) = (padded(c), table.sizes);
    let mut sorted = vec![T::ZERO; out.len()];
    let (mut parts, mut rest) = (Vec::new(), &mut sorted[..]);
    for first in (0..groups.count).step_by(TILE) {
        let last = (first + TILE).min(groups.count);
        let (part, tail) = rest.split_at_mut((groups.position(last) - groups.position(first)) * mj);
        parts.push(part);
        rest = tail;
    }
    for_each_part(groups.work(c * (d + 8) * 2), parts, |n, out| {
        let (first, count) = (n * TILE, TILE.min(groups.count - n * TILE));
        let edges = groups.tile(first, first + count);
        let mut dense = Vec::new();
        for (b, block) in table.blocks.iter().enumerate() {
            let (rows, inner) = (count * block.rows, block.paths.len() * width);
            let mut u = vec![T::ZERO; rows * inner];
            rows_of(g, block, first, count, m, d, &mut dense);
            for (x, w) in terms {
                match w {
                    Some(w) => {
                        let (left, right) =
                            (Matrix::new(&dense, [rows, d], [d, 1]), Matrix::new(&w[b], [d, inner], [1, d]));
                        u.fill(T::ZERO);
                        matmul(T::ONE, left, right, MatrixMut::new(&mut u, [rows, inner], [inner, 1]));
                    }
                    None => {
                        for (u, g) in u.chunks_exact_mut(width).zip(dense.chunks_exact(d)) {
                            u[..d].copy_from_slice(g);
                        }
                    }
                }
                dispatch(Reduce { table, block, edges: &edges, x, u: &u, width, out: &mut *out });
            }
        }
    });
    match &groups.sorted {
        None => out.copy_from_slice(&sorted),
        Some((_, order)) => {
            for (&e, row) in order.iter().zip(sorted.chunks_exact(mj)) {
                out[e as usize * mj..][..mj].copy_from_slice(row);
            }
        }
    }
}

/// grad_W [P, C, D] for g with channels inside.
pub fn towards_w<T: Simd>(
    table: &Table<T>,
    groups: &Groups,
    pairs: &[Factors<T>],
    g: &[T],
    [c, d]: [usize; 2],
    out: &mut [T],
) {
    let (width, m) = (padded(c), table.sizes[2]);
    let total: usize = table.blocks.iter().map(|b| b.paths.len() * width * d).sum();
    let tiles = groups.count.div_ceil(TILE);
    let size = tiles.div_ceil(PARTS).max(1);
    let mut sums = vec![T::ZERO; tiles.div_ceil(size).max(1) * total];
    if total == 0 {
        return;
    }
    let parts: Vec<_> = sums.chunks_mut(total).collect();
    for_each_part(groups.work(c * (d + 8) * 2), parts, |n, sum| {
        let (mut t, mut dense) = (Vec::new(), Vec::new());
        for tile in n * size..((n + 1) * size).min(tiles) {
            let (first, count) = (tile * TILE, TILE.min(groups.count - tile * TILE));
            let edges = groups.tile(first, first + count);
            let mut start = 0;
            for block in &table.blocks {
                let (rows, inner) = (count * block.rows, block.paths.len() * width);
                t.resize(rows * inner, T::ZERO);
                gather_all(table, block, &edges, pairs, width, &mut t);
                rows_of(g, block, first, count, m, d, &mut dense);
                let into = &mut sum[start..start + inner * d];
                let (left, right) =
                    (Matrix::new(&t, [inner, rows], [1, inner]), Matrix::new(&dense, [rows, d], [d, 1]));
                matmul(T::ONE, left, right, MatrixMut::new(into, [inner, d], [d, 1]));
                start += inner * d;
            }
        }
    });
    let (whole, others) = sums.split_at_mut(total);
    for part in others.chunks_exact(total) {
        whole.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
    }
    let paths = table.blocks.iter().flat_map(|b| b.paths.iter());
    for (&p, stacked) in paths.zip(whole.chunks_exact(width * d)) {
        out[p * c * d..(p + 1) * c * d].copy_from_slice(&stacked[..c * d]);
    }
}
