//! A list for moved atoms out of one that was built with a skin: the same edges, tested anew.

use super::lattice::Lattice;
use super::memory::Buffer;
use super::search::{List, Systems};
use crate::error::{Result, check_cutoff};
use crate::pool;
use crate::real::Real;
use crate::stages::{self, Stage};
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

/// The edges of `stored` with d < `cutoff` at the present positions, by the rule of [`super::search()`]. Every edge that
/// a fresh search would find is in it as long as no pair outside has come nearer than the cutoff: the caller's test.
/// `portable` leaves out SIMD.
pub fn refilter<T: Real>(systems: &Systems<T>, stored: Stored, cutoff: f64, portable: bool) -> Result<List<T>> {
    let _timer = stages::start(Stage::Neighbors);
    check_cutoff(cutoff)?;
    let n = systems.positions.len() / 3;
    let b = systems.offsets.len() - 1;
    let lattices: Vec<Lattice> =
        (0..b).map(|b| Lattice::new(&systems.cell_of(b), systems.pbc_of(b), cutoff, b)).collect::<Result<_>>()?;
    let capacity = stored.target.len();
    assert!(stored.shift.len() == 3 * capacity && stored.row_ptr.len() == n + 1);
    assert!(stored.moved.is_none_or(|m| m.len() == 3 * n));
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
    #[cfg(target_arch = "x86_64")]
    let simd = !portable && is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let simd = false;
    let mut padded = Vec::new();
    if simd {
        padded.reserve_exact(4 * n);
        for p in systems.positions.chunks_exact(3) {
            padded.extend([p[0].to_f64(), p[1].to_f64(), p[2].to_f64(), 0.0]);
        }
    }
    let cutoff2 = cutoff * cutoff;
    let job = Job { systems, stored, lattices: &lattices, cutoff2, out, padded: &padded, simd };
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
    /// Positions in f64, [N, 4]: only for `simd`.
    padded: &'a [f64],
    simd: bool,
}

impl<T: Real> Job<'_, T> {
    /// Edges of the atoms from `first` on, written from edge `at` and never at or beyond `end`; their row ends go to
    /// `rows`. Returns the end of the last row, counted from `at` where nothing is written.
    fn block<const WRITE: bool>(&self, first: usize, rows: &mut [i64], at: usize, end: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.simd {
            // SAFETY: `simd` says that the processor has AVX2.
            return unsafe { self.avx2::<WRITE>(first, rows, at, end) };
        }
        self.portable::<WRITE>(first, rows, at, end)
    }

    fn portable<const WRITE: bool>(&self, first: usize, rows: &mut [i64], mut at: usize, end: usize) -> usize {
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
                    unsafe { self.write(at, i, j, s, r) };
                }
                at += usize::from(d2 < self.cutoff2);
            }
            *row = at as i64;
        }
        at
    }

    /// [`Job::portable`] with AVX2: one edge at a time, its three components side by side; the same bits.
    ///
    /// # Safety
    /// The processor must have AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn avx2<const WRITE: bool>(&self, first: usize, rows: &mut [i64], mut at: usize, end: usize) -> usize {
        use std::arch::x86_64::*;
        let is_double = size_of::<T>() == 8;
        let (x, st) = (self.padded, &self.stored);
        let mut b = self.systems.offsets.partition_point(|&o| o <= first as i64) - 1;
        for (k, row) in rows.iter_mut().enumerate() {
            let i = first + k;
            while self.systems.offsets[b + 1] <= i as i64 {
                b += 1;
            }
            let l = &self.lattices[b];
            let own = st.moved.map_or([0; 3], |m| [m[3 * i], m[3 * i + 1], m[3 * i + 2]]);
            // SAFETY: `padded` has 4 values for each atom, and targets are atoms; shifts and vectors are written with a
            // fourth value only where a further edge may follow in this block.
            unsafe {
                let from = _mm256_loadu_pd(x[4 * i..4 * i + 4].as_ptr());
                let vector = |a: usize| match l.pbc[a] {
                    true => _mm256_set_pd(0.0, l.cell[a][2], l.cell[a][1], l.cell[a][0]),
                    false => _mm256_setzero_pd(),
                };
                let a = [vector(0), vector(1), vector(2)];
                for e in st.row_ptr[i] as usize..st.row_ptr[i + 1] as usize {
                    let j = st.target[e] as usize;
                    let p = st.shift.as_ptr().add(3 * e);
                    let mut s = _mm_set_epi32(0, *p.add(2), *p.add(1), *p);
                    if let Some(m) = st.moved {
                        let m = &m[3 * j..3 * j + 3];
                        let change = _mm_set_epi32(0, own[2] - m[2], own[1] - m[1], own[0] - m[0]);
                        s = _mm_add_epi32(s, change);
                    }
                    let f = _mm256_cvtepi32_pd(s);
                    let t0 = _mm256_mul_pd(_mm256_permute4x64_pd::<0x00>(f), a[0]);
                    let t1 = _mm256_mul_pd(_mm256_permute4x64_pd::<0x55>(f), a[1]);
                    let t2 = _mm256_mul_pd(_mm256_permute4x64_pd::<0xAA>(f), a[2]);
                    let offset = _mm256_add_pd(_mm256_add_pd(t0, t1), t2);
                    let to = _mm256_loadu_pd(x[4 * j..4 * j + 4].as_ptr());
                    let r = _mm256_add_pd(_mm256_sub_pd(to, from), offset);
                    let q = _mm256_mul_pd(r, r);
                    let (xy, z) = (_mm256_castpd256_pd128(q), _mm256_extractf128_pd::<1>(q));
                    let d2 = _mm_add_sd(_mm_add_sd(xy, _mm_unpackhi_pd(xy, xy)), z);
                    if WRITE && at + 1 < end {
                        *self.out.source.add(at) = i as i32;
                        *self.out.target.add(at) = j as i32;
                        _mm_storeu_si128(self.out.shift.add(3 * at).cast(), s);
                        let (v, d) = (self.out.vector.add(3 * at), self.out.distance.add(at));
                        let length = _mm_sqrt_sd(d2, d2);
                        if is_double {
                            _mm256_storeu_pd(v.cast(), r);
                            _mm_store_sd(d.cast(), length);
                        } else {
                            _mm_storeu_ps(v.cast(), _mm256_cvtpd_ps(r));
                            _mm_store_ss(d.cast(), _mm_cvtsd_ss(_mm_setzero_ps(), length));
                        }
                    } else if WRITE && at < end {
                        let (mut shift, mut vector) = ([0i32; 4], [0.0f64; 4]);
                        _mm_storeu_si128(shift.as_mut_ptr().cast(), s);
                        _mm256_storeu_pd(vector.as_mut_ptr(), r);
                        self.write(at, i, j, [shift[0], shift[1], shift[2]], [vector[0], vector[1], vector[2]]);
                    }
                    at += usize::from(_mm_cvtsd_f64(d2) < self.cutoff2);
                }
            }
            *row = at as i64;
        }
        at
    }

    /// # Safety
    /// The results have room for edge `at`, and this block alone writes it.
    unsafe fn write(&self, at: usize, i: usize, j: usize, s: [i32; 3], r: [f64; 3]) {
        // SAFETY: as our own.
        unsafe {
            *self.out.source.add(at) = i as i32;
            *self.out.target.add(at) = j as i32;
            for c in 0..3 {
                *self.out.shift.add(3 * at + c) = s[c];
                *self.out.vector.add(3 * at + c) = T::of(r[c]);
            }
            *self.out.distance.add(at) = T::of(((r[0] * r[0] + r[1] * r[1]) + r[2] * r[2]).sqrt());
        }
    }
}

/// How far atoms went since a list was built, for the test whether it still holds.
pub struct Moves {
    /// [B], Angstrom: the largest and the second largest displacement of each system, added.
    pub largest_two: Vec<f64>,
    /// [N, 3] whole cells that each atom was moved by; empty if none was.
    pub whole: Vec<i32>,
}

/// delta_i = x_i - x0_i A, less whole cells k_i = round(delta_i P) of the rows H: all [B, 3, 3] by system. `None` if
/// something is not finite, or was moved by 2^28 cells.
pub fn moves<T: Real>(
    systems: &Systems<T>,
    built: &[f64],
    change: &[f64],
    fractional: &[f64],
    rows: &[f64],
) -> Option<Moves> {
    let x = systems.positions;
    let mut found = Moves { largest_two: Vec::new(), whole: Vec::new() };
    let times = |v: [f64; 3], m: &[f64]| -> [f64; 3] {
        std::array::from_fn(|c| v[0] * m[c] + v[1] * m[3 + c] + v[2] * m[6 + c])
    };
    for b in 0..systems.offsets.len() - 1 {
        let (m, p, h) = (&change[9 * b..9 * b + 9], &fractional[9 * b..9 * b + 9], &rows[9 * b..9 * b + 9]);
        let is_same = m == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let periodic = systems.pbc_of(b) != [false; 3];
        let (mut first, mut second) = (0.0f64, 0.0f64);
        for i in systems.offsets[b] as usize..systems.offsets[b + 1] as usize {
            let old = [built[3 * i], built[3 * i + 1], built[3 * i + 2]];
            let old = if is_same { old } else { times(old, m) };
            let mut delta: [f64; 3] = std::array::from_fn(|c| x[3 * i + c].to_f64() - old[c]);
            if periodic {
                let k = times(delta, p).map(f64::round);
                if k != [0.0; 3] {
                    if !k.iter().all(|k| k.abs() < (1 << 28) as f64) {
                        return None;
                    }
                    found.whole.resize(x.len(), 0);
                    let back = times(k, h);
                    for c in 0..3 {
                        delta[c] -= back[c];
                        found.whole[3 * i + c] = k[c] as i32;
                    }
                }
            }
            let d2 = delta[0] * delta[0] + delta[1] * delta[1] + delta[2] * delta[2];
            if !d2.is_finite() {
                return None;
            }
            if d2 > second {
                (first, second) = if d2 > first { (d2, first) } else { (first, d2) };
            }
        }
        found.largest_two.push(first.sqrt() + second.sqrt());
    }
    Some(found)
}
