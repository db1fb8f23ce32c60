//! A list for moved atoms out of one that was built with a skin: the same edges, tested anew.

use super::lattice::Lattice;
use super::memory::Buffer;
use super::search::{List, Systems};
use crate::error::{Result, check_cutoff};
use crate::pool;
use crate::real::Real;
use rayon::prelude::*;

/// Atoms of one block.
const BLOCK: usize = 1024;
/// Serial cost of an atom.
const ATOM_NS: usize = 300;

/// The stored list.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub target: &'a [i32],
    /// [E, 3].
    pub shift: &'a [i32],
    /// [N + 1].
    pub row_ptr: &'a [i64],
    /// [N, 3]: whole cells that the caller moved each atom by since; S becomes S + moved_source - moved_target.
    pub moved: Option<&'a [i32]>,
}

#[derive(Clone, Copy)]
struct Out<T> {
    source: *mut i32,
    target: *mut i32,
    shift: *mut i32,
    vector: *mut T,
    distance: *mut T,
}

// SAFETY: addresses of results that outlive the call; blocks write disjoint edges.
unsafe impl<T> Send for Out<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Out<T> {}

/// The edges of `stored` with d < `cutoff` at the present positions, by the rule of [`super::search`]. Every edge that
/// a fresh search would find is in it as long as no pair outside has come nearer than the cutoff: the caller's test.
pub fn refilter<T: Real>(systems: &Systems<T>, stored: Stored, cutoff: f64) -> Result<List<T>> {
    check_cutoff(cutoff)?;
    let n = systems.positions.len() / 3;
    let b = systems.offsets.len() - 1;
    let lattices: Vec<Lattice> =
        (0..b).map(|b| Lattice::new(&systems.cell_of(b), systems.pbc_of(b), cutoff, b)).collect::<Result<_>>()?;
    let capacity = stored.target.len();
    let mut list = List {
        source: Buffer::with_room(capacity)?,
        target: Buffer::with_room(capacity)?,
        shift: Buffer::with_room(3 * capacity)?,
        vector: Buffer::with_room(3 * capacity)?,
        distance: Buffer::with_room(capacity)?,
        row_ptr: vec![0; n + 1],
        truncated: false,
    };
    let out = Out {
        source: list.source.as_mut_ptr(),
        target: list.target.as_mut_ptr(),
        shift: list.shift.as_mut_ptr(),
        vector: list.vector.as_mut_ptr(),
        distance: list.distance.as_mut_ptr(),
    };
    let job = Job { systems, stored, lattices: &lattices, cutoff2: cutoff * cutoff, out };
    let (_, rows) = list.row_ptr.split_at_mut(1);
    let total = pool::run(n * ATOM_NS, |threads| {
        if threads == 1 {
            return job.block::<true>(0, rows, 0, capacity);
        }
        let ends: Vec<usize> =
            rows.par_chunks_mut(BLOCK).enumerate().map(|(k, r)| job.block::<false>(k * BLOCK, r, 0, 0)).collect();
        let mut starts = vec![0];
        starts.extend(ends.iter().scan(0, |sum, e| {
            *sum += e;
            Some(*sum)
        }));
        rows.par_chunks_mut(BLOCK).enumerate().for_each(|(k, r)| {
            job.block::<true>(k * BLOCK, r, starts[k], starts[k + 1]);
        });
        starts[ends.len()]
    });
    // SAFETY: `total` edges were written, each value of them.
    unsafe {
        list.source.set_len(total);
        list.target.set_len(total);
        list.shift.set_len(3 * total);
        list.vector.set_len(3 * total);
        list.distance.set_len(total);
    }
    Ok(list)
}

struct Job<'a, T> {
    systems: &'a Systems<'a, T>,
    stored: Stored<'a>,
    lattices: &'a [Lattice],
    cutoff2: f64,
    out: Out<T>,
}

impl<T: Real> Job<'_, T> {
    /// Edges of the atoms from `first` on, written from edge `at` and never at or beyond `end`; their row ends go to
    /// `rows`. Returns the end of the last row, counted from `at` where nothing is written.
    fn block<const WRITE: bool>(&self, first: usize, rows: &mut [i64], mut at: usize, end: usize) -> usize {
        let x = self.systems.positions;
        let position = |i: usize| [x[3 * i].to_f64(), x[3 * i + 1].to_f64(), x[3 * i + 2].to_f64()];
        let mut b = self.systems.offsets.partition_point(|&o| o <= first as i64) - 1;
        for (k, row) in rows.iter_mut().enumerate() {
            let i = first + k;
            while self.systems.offsets[b + 1] <= i as i64 {
                b += 1;
            }
            let (lattice, from) = (&self.lattices[b], position(i));
            for e in self.stored.row_ptr[i] as usize..self.stored.row_ptr[i + 1] as usize {
                let j = self.stored.target[e] as usize;
                let mut s = [self.stored.shift[3 * e], self.stored.shift[3 * e + 1], self.stored.shift[3 * e + 2]];
                if let Some(moved) = self.stored.moved {
                    for (c, s) in s.iter_mut().enumerate() {
                        *s += moved[3 * i + c] - moved[3 * j + c];
                    }
                }
                let (to, offset) = (position(j), if s == [0; 3] { [0.0; 3] } else { lattice.offset(s) });
                let r: [f64; 3] = std::array::from_fn(|c| (to[c] - from[c]) + offset[c]);
                let d2 = (r[0] * r[0] + r[1] * r[1]) + r[2] * r[2];
                // Written always and kept only if near: which it is, is hard to predict.
                if WRITE && at < end {
                    // SAFETY: at < end, and the results have room for `end` edges; this block alone writes them.
                    unsafe {
                        *self.out.source.add(at) = i as i32;
                        *self.out.target.add(at) = j as i32;
                        for c in 0..3 {
                            *self.out.shift.add(3 * at + c) = s[c];
                            *self.out.vector.add(3 * at + c) = T::of(r[c]);
                        }
                        *self.out.distance.add(at) = T::of(d2.sqrt());
                    }
                }
                at += usize::from(d2 < self.cutoff2);
            }
            *row = at as i64;
        }
        at
    }
}
