//! Edges to sums and back, all channels at once: the inner loops of the engine.
//!
//! Forward: sums[atom, m3, u] += R[e, u] sum_m1 M[e, m1, m3] x[s, m1, u]; a pair of registers of channels goes through all
//! edges of an atom with its sums in registers. Back, edge by edge: t[m1, u] = sum_m3 M g[m3, u], grad_x += R t,
//! grad_r += sum_u R' x t and grad_M[m1, m3] = sum_u R x g. Multiply-adds an edge and channel at 0e + 1o and degree 3: 106
//! forward, 250 back; both are bound by one load from the first-level cache for each (two a cycle on current cores), half
//! of the multiply-add peak.

use super::coupling::{BATCH, Coupling, Path};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd};

/// Edges first..last of a batch, all of one receiver (counted from the tile's first).
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub atom: usize,
    pub first: usize,
    pub last: usize,
}

/// A batch of edges as both directions read it.
#[derive(Clone, Copy)]
pub struct Batch<'a, T> {
    pub coupling: &'a Coupling<T>,
    pub runs: &'a [Run],
    /// Rows of R, `stride` apart.
    pub r: &'a [T],
    pub stride: usize,
    /// Rows of features, and which one each edge reads.
    pub x: &'a [T],
    pub rows: &'a [usize],
    /// [entries, BATCH].
    pub matrices: &'a [T],
    /// Atoms of the tile, which has the sums.
    pub atoms: usize,
}

impl<T: Simd> Batch<'_, T> {
    /// That every address the kernels make lies in its array.
    fn check(&self, sums: usize) {
        let (c, edges) = (self.coupling, self.rows.len());
        let width = c.components * c.padded;
        assert!(edges <= BATCH && self.stride >= c.weights() && self.r.len() >= edges * self.stride);
        assert!(
            self.rows.iter().all(|row| (row + 1) * width <= self.x.len()) && self.matrices.len() >= c.entries * BATCH
        );
        assert!(self.runs.iter().all(|r| r.atom < self.atoms && r.first <= r.last && r.last <= edges));
        assert!(sums >= self.atoms * c.sums);
    }

    /// Offset of the first component of a path's sums of an atom, and the step to the next.
    #[inline(always)]
    fn sums(&self, path: &Path, atom: usize) -> (usize, usize) {
        let block = &self.coupling.blocks[path.block];
        (block.before * self.atoms + atom * block.d * block.width + path.at, block.width)
    }
}

/// # Safety
/// `from` is the first of L::N values.
#[inline(always)]
pub(super) unsafe fn at<L: Lanes>(from: *const L::T) -> L {
    // SAFETY: the caller's.
    L::load(unsafe { std::slice::from_raw_parts(from, L::N) })
}

/// # Safety
/// `to` is the first of L::N values that nobody else holds.
#[inline(always)]
pub(super) unsafe fn put<L: Lanes>(value: L, to: *mut L::T) {
    // SAFETY: the caller's.
    value.store(unsafe { std::slice::from_raw_parts_mut(to, L::N) });
}

/// Adds a batch to the sums of its tile.
pub struct Forward<'a, T> {
    pub batch: Batch<'a, T>,
    pub sums: &'a mut [T],
}

impl<T: Simd> Job<T> for Forward<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        self.batch.check(self.sums.len());
        let coupling = self.batch.coupling;
        for channel in (0..coupling.padded).step_by(2 * L::N) {
            for path in &coupling.paths {
                match path.d3 {
                    1 => self.column::<L, 1, 2>(path, channel),
                    3 => self.column::<L, 3, 2>(path, channel),
                    5 => self.column::<L, 5, 2>(path, channel),
                    7 => (0..2).for_each(|h| self.column::<L, 7, 1>(path, channel + h * L::N)),
                    _ => (0..2).for_each(|h| self.column::<L, 9, 1>(path, channel + h * L::N)),
                }
            }
        }
    }
}

impl<T: Simd> Forward<'_, T> {
    /// B registers of channels of one path, all edges.
    #[inline(always)]
    fn column<L: Lanes<T = T>, const D: usize, const B: usize>(&mut self, path: &Path, channel: usize) {
        let batch = &self.batch;
        let (padded, width) = (batch.coupling.padded, batch.coupling.components * batch.coupling.padded);
        let matrices = batch.matrices[path.entry * BATCH..(path.entry + path.d1 * D) * BATCH].as_ptr();
        for run in batch.runs {
            let (start, step) = batch.sums(path, run.atom);
            // SAFETY (whole block): `check` has shown that rows of r, x, matrices and sums lie in their arrays; a channel and
            // the 2 N after it are below `padded`, components below the path's and so within a row; d3 is D.
            unsafe {
                let sums = self.sums.as_mut_ptr().add(start + channel);
                let mut acc = [[L::zero(); B]; D];
                for (m, acc) in acc.iter_mut().enumerate() {
                    for (b, acc) in acc.iter_mut().enumerate() {
                        *acc = at(sums.add(m * step + b * L::N));
                    }
                }
                for e in run.first..run.last {
                    let r = batch.r.as_ptr().add(e * batch.stride + path.r + channel);
                    let x = batch.x.as_ptr().add(batch.rows.get_unchecked(e) * width + path.x + channel);
                    for m1 in 0..path.d1 {
                        let mut z = [L::zero(); B];
                        for (b, z) in z.iter_mut().enumerate() {
                            *z = at::<L>(r.add(b * L::N)) * at(x.add(m1 * padded + b * L::N));
                        }
                        for (m3, acc) in acc.iter_mut().enumerate() {
                            let m = L::splat(*matrices.add((m1 * D + m3) * BATCH + e));
                            for b in 0..B {
                                acc[b] = m.fma(z[b], acc[b]);
                            }
                        }
                    }
                }
                for (m, acc) in acc.into_iter().enumerate() {
                    for (b, value) in acc.into_iter().enumerate() {
                        put(value, sums.add(m * step + b * L::N));
                    }
                }
            }
        }
    }
}

/// Gradients of a batch of edges.
pub struct Backward<'a, T> {
    pub batch: Batch<'a, T>,
    /// dR/dr, like R.
    pub slopes: &'a [T],
    /// Gradient to the tile's sums.
    pub grad: &'a [T],
    /// Rows like x, to which R t is added, and each edge's.
    pub to_x: Option<(&'a mut [T], &'a [usize])>,
    /// [BATCH] and [entries, BATCH], written.
    pub to_r: &'a mut [T],
    pub to_matrices: &'a mut [T],
    /// entries.next_multiple_of(MAX_LANES) * MAX_LANES values to work with.
    pub scratch: &'a mut [T],
}

impl<T: Simd> Job<T> for Backward<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        let (batch, entries) = (self.batch, self.batch.coupling.entries);
        batch.check(self.grad.len());
        assert!(self.slopes.len() >= batch.rows.len() * batch.stride && self.to_r.len() >= BATCH);
        assert!(self.to_matrices.len() >= entries * BATCH);
        assert!(self.scratch.len() >= entries.next_multiple_of(MAX_LANES) * MAX_LANES);
        if let Some((to_x, rows)) = &self.to_x {
            let width = batch.coupling.components * batch.coupling.padded;
            assert!(rows.len() == batch.rows.len() && rows.iter().all(|row| (row + 1) * width <= to_x.len()));
        }
        for run in batch.runs {
            for e in run.first..run.last {
                let mut radial = L::zero();
                for path in &batch.coupling.paths {
                    match path.d3 {
                        1 => self.edge::<L, 1>(path, run.atom, e, &mut radial),
                        3 => self.edge::<L, 3>(path, run.atom, e, &mut radial),
                        5 => self.edge::<L, 5>(path, run.atom, e, &mut radial),
                        7 => self.edge::<L, 7>(path, run.atom, e, &mut radial),
                        _ => self.edge::<L, 9>(path, run.atom, e, &mut radial),
                    }
                }
                let mut held = [T::ZERO; MAX_LANES];
                radial.store(&mut held);
                self.to_r[e] = held[..L::N].iter().copied().fold(T::ZERO, |a, b| a + b);
                self.reduce::<L>(e);
            }
        }
    }
}

impl<T: Simd> Backward<'_, T> {
    #[inline(always)]
    fn edge<L: Lanes<T = T>, const D: usize>(&mut self, path: &Path, atom: usize, e: usize, radial: &mut L) {
        let batch = &self.batch;
        let (padded, width) = (batch.coupling.padded, batch.coupling.components * batch.coupling.padded);
        let (start, step) = batch.sums(path, atom);
        // SAFETY (whole block): as in `Forward::column`; slopes are like r, to_x like x and its rows were checked, scratch
        // has MAX_LANES >= N values an entry.
        unsafe {
            let grad = self.grad.as_ptr().add(start);
            let r = batch.r.as_ptr().add(e * batch.stride + path.r);
            let slopes = self.slopes.as_ptr().add(e * batch.stride + path.r);
            for m1 in 0..path.d1 {
                let x = batch.x.as_ptr().add(batch.rows.get_unchecked(e) * width + path.x + m1 * padded);
                let to_x = match &mut self.to_x {
                    Some((to, rows)) => to.as_mut_ptr().add(rows.get_unchecked(e) * width + path.x + m1 * padded),
                    None => std::ptr::null_mut(),
                };
                let entry = path.entry + m1 * D;
                let mut m = [L::zero(); D];
                for (m3, m) in m.iter_mut().enumerate() {
                    *m = L::splat(*batch.matrices.as_ptr().add((entry + m3) * BATCH + e));
                }
                let mut to_m = [L::zero(); D];
                for channel in (0..padded).step_by(L::N) {
                    let (weight, feature): (L, L) = (at(r.add(channel)), at(x.add(channel)));
                    let z = weight * feature;
                    let mut t = L::zero();
                    for m3 in 0..D {
                        let g: L = at(grad.add(m3 * step + channel));
                        t = m[m3].fma(g, t);
                        to_m[m3] = z.fma(g, to_m[m3]);
                    }
                    *radial = (feature * t).fma(at(slopes.add(channel)), *radial);
                    if !to_x.is_null() {
                        put(weight.fma(t, at(to_x.add(channel))), to_x.add(channel));
                    }
                }
                for (m3, value) in to_m.into_iter().enumerate() {
                    put(value, self.scratch.as_mut_ptr().add((entry + m3) * L::N));
                }
            }
        }
    }

    /// Sums the lanes of each entry.
    #[inline(always)]
    fn reduce<L: Lanes<T = T>>(&mut self, e: usize) {
        let entries = self.batch.coupling.entries;
        for first in (0..entries).step_by(L::N) {
            let mut columns = [L::zero(); MAX_LANES];
            L::load_rows(&self.scratch[first * L::N..(first + L::N) * L::N], &mut columns[..L::N]);
            let sum = columns[1..L::N].iter().fold(columns[0], |a, b| a + *b);
            let mut held = [T::ZERO; MAX_LANES];
            sum.store(&mut held);
            for (n, value) in held[..L::N.min(entries - first)].iter().enumerate() {
                self.to_matrices[(first + n) * BATCH + e] = *value;
            }
        }
    }
}

/// One component of all edges of a batch.
type Batched<T> = [T; BATCH];

/// M[entry] = sum C Y[m2], [entries, BATCH] of harmonics [m2, BATCH].
pub struct Matrices<'a, T> {
    pub coupling: &'a Coupling<T>,
    pub harmonics: &'a [Batched<T>],
    pub out: &'a mut [Batched<T>],
}

impl<T: Simd> Job<T> for Matrices<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        self.out.iter_mut().for_each(|o| *o = [T::ZERO; BATCH]);
        for term in &self.coupling.terms {
            let (from, to) = (&self.harmonics[term.harmonic], &mut self.out[term.entry]);
            add::<L>(term.value, from, to);
        }
    }
}

/// Its transpose: adds to the gradients of harmonics.
pub struct ToHarmonics<'a, T> {
    pub coupling: &'a Coupling<T>,
    pub grad: &'a [Batched<T>],
    pub out: &'a mut [Batched<T>],
}

impl<T: Simd> Job<T> for ToHarmonics<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for term in &self.coupling.terms {
            let (from, to) = (&self.grad[term.entry], &mut self.out[term.harmonic]);
            add::<L>(term.value, from, to);
        }
    }
}

#[inline(always)]
fn add<L: Lanes>(factor: L::T, from: &Batched<L::T>, to: &mut Batched<L::T>) {
    let factor = L::splat(factor);
    for at in (0..BATCH).step_by(L::N) {
        factor.fma(L::load(&from[at..]), L::load(&to[at..])).store(&mut to[at..]);
    }
}
