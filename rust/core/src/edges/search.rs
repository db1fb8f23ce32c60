//! The neighbor list of a batch of systems: which (i, j, S) have |x_j - x_i + S @ cell| < cutoff, in f64 and strictly.
//!
//! Two passes. The first finds each atom's sites (4 bytes an edge) and so the exact count; the second writes the rows
//! into results of the right size. Small systems are tasks in groups, large ones are cut into runs of bins; a task's
//! rows do not depend on the others, so the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::bins::{Bins, Method};
use super::fill::Rows;
use super::filter::{Keep, Search};
use super::lattice::{Lattice, Mat3};
use super::memory::{self, Buffer};
use super::order;
use super::select::Selection;
use super::sites::Sites;
use crate::error::{Error, Result, check_cutoff};
use crate::pool;
use crate::real::Real;
use crate::stages::{self, Stage};

/// Systems from this many atoms on are cut into several tasks; in a batch of few atoms, where these would be all the tasks,
/// from the second number on.
const LARGE: usize = 2048;
const LARGE_ALONE: usize = 384;
/// Atoms of a task: about 5 ms of work, so that a call is interruptible and threads share it evenly.
const TASK_ATOMS: usize = 4096;
/// Serial cost of an atom with few neighbours, for the choice between serial and parallel.
const ATOM_NS: usize = 400;

/// A batch of systems, concatenated.
#[derive(Clone, Copy)]
pub struct Systems<'a, T> {
    /// [N, 3], Angstrom.
    pub positions: &'a [T],
    /// [B + 1]: system b has atoms offsets[b]..offsets[b + 1].
    pub offsets: &'a [i64],
    /// [B, 3, 3], rows are lattice vectors.
    pub cell: &'a [f64],
    /// [B, 3].
    pub pbc: &'a [bool],
}

impl<T: Real> Systems<'_, T> {
    pub fn cell_of(&self, b: usize) -> Mat3 {
        std::array::from_fn(|r| std::array::from_fn(|c| self.cell[9 * b + 3 * r + c]))
    }

    pub fn pbc_of(&self, b: usize) -> [bool; 3] {
        std::array::from_fn(|a| self.pbc[3 * b + a])
    }

    fn validate(&self) -> Result<()> {
        let (n, o) = (self.positions.len() / 3, self.offsets);
        let monotone = o.first() == Some(&0) && o.windows(2).all(|w| w[0] <= w[1]) && o.last() == Some(&(n as i64));
        if !monotone {
            let (first, last) = (o.first().copied().unwrap_or(-1), o.last().copied().unwrap_or(-1));
            let rule = format!("ascending from 0 to the number of atoms, {n}");
            return Err(Error::value("offsets", &rule, format!("{first} to {last} in {} values", o.len())));
        }
        let b = o.len() - 1;
        if self.cell.len() != 9 * b || self.pbc.len() != 3 * b {
            let got = format!("{} and {} values", self.cell.len(), self.pbc.len());
            return Err(Error::value("cell", &format!("{b} cells of 9 values, with 3 flags of `pbc` each"), got));
        }
        if n > i32::MAX as usize {
            return Err(Error::Overflow(format!("`positions` must be at most 2^31 - 1 atoms, got {n}")));
        }
        Ok(())
    }
}

/// What to search and how.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Angstrom. The largest one where `selection` has cutoffs of its own.
    pub cutoff: f64,
    pub keep: Keep,
    pub selection: Option<&'a Selection>,
    pub method: Method,
    /// Without SIMD: the same list, for the tests.
    pub portable: bool,
    /// Bytes; `None` is 80 % of what is available.
    pub memory_limit: Option<u64>,
    /// Whether more than 2^31 - 1 edges are welcome.
    pub wide: bool,
}

impl Options<'_> {
    pub fn new(cutoff: f64) -> Self {
        let (keep, method) = (Keep::Full, Method::Auto);
        Options { cutoff, keep, selection: None, method, portable: false, memory_limit: None, wide: false }
    }
}

/// The list, sorted by (source, target, shift).
#[derive(Debug, PartialEq)]
pub struct List<T: Copy> {
    pub source: Buffer<i32>,
    pub target: Buffer<i32>,
    /// [E, 3].
    pub shift: Buffer<i32>,
    /// [E, 3], Angstrom.
    pub vector: Buffer<T>,
    /// [E], Angstrom.
    pub distance: Buffer<T>,
    /// [N + 1]: atom i has edges row_ptr[i]..row_ptr[i + 1].
    pub row_ptr: Vec<i64>,
    /// Whether a `k` left out edges.
    pub truncated: bool,
}

/// One system ready to be searched; memory is kept between systems.
#[derive(Default)]
struct Prepared {
    sites: Sites,
    bins: Bins,
    /// The system that it holds, plus one.
    holds: usize,
}

enum Task {
    /// Systems b0..b1, whole.
    Group(usize, usize),
    /// Centres c0..c1, in the order of the bins, of the large system of this number.
    Run { large: usize, from: usize, to: usize },
}

struct Found {
    sites: Buffer<u32>,
    counts: Vec<(u32, u32)>,
}

struct Plan<'a, T> {
    systems: Systems<'a, T>,
    options: Options<'a>,
    large: Vec<(usize, Prepared)>,
    simd: bool,
}

impl<T: Real> Plan<'_, T> {
    fn prepare(&self, p: &mut Prepared, b: usize) -> Result<()> {
        if p.holds == b + 1 {
            return Ok(());
        }
        let (s, o) = (&self.systems, &self.options);
        let (first, last) = (s.offsets[b] as usize, s.offsets[b + 1] as usize);
        p.holds = 0;
        let check = |l: &Lattice, sites: f64| expected::<T>(l, sites, last - first, o);
        let x = &s.positions[3 * first..3 * last];
        p.sites.build(x, &s.cell_of(b), s.pbc_of(b), o.cutoff, first, b, &check)?;
        p.bins.build(&p.sites, o.cutoff, o.method);
        p.holds = b + 1;
        Ok(())
    }

    /// Finds the rows of some centres of system `b`.
    fn find(
        &self,
        p: &Prepared,
        b: usize,
        centres: &[(u32, u32)],
        scratch: &mut Scratch,
        found: &mut Found,
    ) -> Result<bool> {
        let search = Search::new(&p.sites, &p.bins, self.options.cutoff, self.options.keep);
        let first = self.systems.offsets[b] as usize;
        let mut truncated = false;
        for &(i, slot) in centres {
            let candidates = p.bins.ranges(slot as usize, &mut scratch.ranges);
            if scratch.hits.len() < candidates + 64 {
                scratch.hits.resize(2 * candidates + 64, 0);
            }
            let (hits, before) = (&mut scratch.hits[..], found.sites.len());
            found.sites.reserve(candidates + 64)?;
            #[cfg(target_arch = "x86_64")]
            if self.simd {
                // SAFETY: `simd` says that the processor has AVX2 and FMA; `hits` has 64 places more than candidates.
                let n = unsafe { search.avx2(i as usize, slot as usize, &scratch.ranges, hits) };
                match p.bins.in_order {
                    true => order::append(&hits[..n], &mut found.sites),
                    // SAFETY: as above.
                    false => unsafe { order::avx2(hits, n, &mut found.sites) },
                }
            }
            if !self.simd {
                let n = search.portable(i as usize, slot as usize, &scratch.ranges, hits);
                order::portable(&mut hits[..n], &mut found.sites);
            }
            if let Some(selection) = self.options.selection {
                truncated |= selection.apply(&p.sites, i as usize, first, before, &mut found.sites);
            }
            found.counts.push(((first + i as usize) as u32, (found.sites.len() - before) as u32));
        }
        Ok(truncated)
    }

    fn pass1(&self, task: &Task, p: &mut Prepared, scratch: &mut Scratch) -> Result<(Found, bool)> {
        let mut found = Found { sites: Buffer::default(), counts: Vec::new() };
        let mut truncated = false;
        match *task {
            Task::Group(b0, b1) => {
                for b in b0..b1 {
                    self.prepare(p, b)?;
                    self.guard_candidates(p, scratch)?;
                    truncated |= self.find(p, b, &p.bins.centres, scratch, &mut found)?;
                }
            }
            Task::Run { large, from, to } => {
                let (b, p) = &self.large[large];
                truncated = self.find(p, *b, &p.bins.centres[from..to], scratch, &mut found)?;
            }
        }
        Ok((found, truncated))
    }

    fn pass2(&self, task: &Task, found: &Found, row_ptr: &[i64], rows: Rows<T>, p: &mut Prepared) -> Result<()> {
        let mut next = 0;
        let mut write = |sites: &Sites, first: usize, counts: &[(u32, u32)]| {
            for &(atom, count) in counts {
                let row = &found.sites[next..next + count as usize];
                next += count as usize;
                let at = row_ptr[atom as usize] as usize;
                // SAFETY: the results have row_ptr[N] edges, and this task alone has this atom. `simd` as above.
                unsafe {
                    #[cfg(target_arch = "x86_64")]
                    if self.simd {
                        rows.avx2(sites, atom as usize - first, row, at, first);
                        continue;
                    }
                    rows.portable(sites, atom as usize - first, row, at, first);
                }
            }
        };
        match *task {
            Task::Group(b0, b1) => {
                let mut done = 0;
                for b in b0..b1 {
                    self.prepare(p, b)?;
                    let n = (self.systems.offsets[b + 1] - self.systems.offsets[b]) as usize;
                    write(&p.sites, self.systems.offsets[b] as usize, &found.counts[done..done + n]);
                    done += n;
                }
            }
            Task::Run { large, .. } => {
                let (b, p) = &self.large[large];
                write(&p.sites, self.systems.offsets[*b] as usize, &found.counts);
            }
        }
        Ok(())
    }

    /// Where the density is not known beforehand (an open direction), the candidates bound the edges.
    fn guard_candidates(&self, p: &Prepared, scratch: &mut Scratch) -> Result<()> {
        if p.sites.lattice.pbc == [true; 3] || p.bins.centres.len() < LARGE {
            return Ok(());
        }
        // A ball has 4.19 cutoffs cubed of the 18 or more of the ranges; half of that share is certain not to be less.
        let edges = p.bins.candidates(&mut scratch.ranges) * 0.1;
        memory::check(edges, edges * edge_bytes::<T>(), self.options.cutoff, f64::NAN, self.options.memory_limit)
    }
}

#[derive(Default)]
struct Scratch {
    ranges: Vec<(u32, u32)>,
    hits: Vec<u32>,
}

/// Bytes of an edge: results and the site number of the first pass.
fn edge_bytes<T>() -> f64 {
    (24 + 4 * size_of::<T>()) as f64
}

/// Memory guard of one system, from its density where all directions are periodic, before anything is allocated.
fn expected<T>(l: &Lattice, sites: f64, n: usize, o: &Options) -> Result<()> {
    let mut edges = 0.0;
    let mut density = f64::NAN;
    if l.pbc == [true; 3] {
        density = n as f64 / l.volume();
        edges = n as f64 * density * 4.0 / 3.0 * std::f64::consts::PI * o.cutoff.powi(3);
        if o.selection.is_some_and(|s| s.k.is_some()) {
            edges = 0.0;
        }
    }
    memory::check(edges, edges * edge_bytes::<T>() + sites * 96.0, o.cutoff, density, o.memory_limit)
}

/// Finds the edges of all systems. `interrupted` is asked between tasks on the calling thread.
pub fn search<T: Real>(
    systems: &Systems<T>,
    options: &Options,
    interrupted: &mut dyn FnMut() -> bool,
) -> Result<List<T>> {
    let _timer = stages::start(Stage::Neighbors);
    check_cutoff(options.cutoff)?;
    systems.validate()?;
    #[cfg(target_arch = "x86_64")]
    let simd = !options.portable && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let simd = false;
    let mut plan = Plan { systems: *systems, options: *options, large: Vec::new(), simd };
    let (mut prepared, mut scratch) = (Prepared::default(), Scratch::default());
    let n = systems.positions.len() / 3;
    let tasks = tasks(&mut plan, &mut scratch)?;

    let mut found: Vec<Found> = Vec::with_capacity(tasks.len());
    let mut truncated = false;
    let together = 4 * pool::num_threads();
    let mut total = 0usize;
    for chunk in tasks.chunks(together) {
        let work = if n == 0 { 0 } else { (n * ATOM_NS).min(chunk.len() * TASK_ATOMS * ATOM_NS) };
        let plan = &plan;
        let (prepared, scratch) = (&mut prepared, &mut scratch);
        let part: Result<Vec<(Found, bool)>> = match chunk {
            [task] => plan.pass1(task, prepared, scratch).map(|f| vec![f]),
            _ => pool::run(work, move |threads| match threads {
                1 => chunk.iter().map(|t| plan.pass1(t, prepared, scratch)).collect(),
                _ => chunk
                    .par_iter()
                    .with_max_len(1)
                    .map_init(Default::default, |(p, s), t| plan.pass1(t, p, s))
                    .collect(),
            }),
        };
        for (f, t) in part? {
            total += f.sites.len();
            found.push(f);
            truncated |= t;
        }
        let bytes = total as f64 * edge_bytes::<T>();
        memory::check(total as f64, bytes, options.cutoff, f64::NAN, options.memory_limit)?;
        if interrupted() {
            return Err(Error::Interrupted);
        }
    }
    if total > i32::MAX as usize && !options.wide {
        let rule = "at most 2^31 - 1 edges where indices are int32 (ask for `index` = \"int64\")";
        return Err(Error::Overflow(format!("a neighbor list must be {rule}, got {total}")));
    }

    let mut row_ptr = vec![0i64; n + 1];
    for f in &found {
        for &(atom, count) in &f.counts {
            row_ptr[atom as usize + 1] = i64::from(count);
        }
    }
    for i in 0..n {
        row_ptr[i + 1] += row_ptr[i];
    }
    let mut list = List {
        source: Buffer::with_room(total)?,
        target: Buffer::with_room(total)?,
        shift: Buffer::with_room(3 * total)?,
        vector: Buffer::with_room(3 * total)?,
        distance: Buffer::with_room(total)?,
        row_ptr,
        truncated,
    };
    let rows = Rows {
        source: list.source.as_mut_ptr(),
        target: list.target.as_mut_ptr(),
        shift: list.shift.as_mut_ptr(),
        vector: list.vector.as_mut_ptr(),
        distance: list.distance.as_mut_ptr(),
    };
    let row_ptr = &list.row_ptr[..];
    for (chunk, found) in tasks.chunks(together).zip(found.chunks(together)) {
        let work = if n == 0 { 0 } else { (n * ATOM_NS).min(chunk.len() * TASK_ATOMS * ATOM_NS) };
        let (plan, prepared) = (&plan, &mut prepared);
        let both = chunk.iter().zip(found);
        match chunk {
            [task] => plan.pass2(task, &found[0], row_ptr, rows, prepared)?,
            _ => pool::run(work, move |threads| match threads {
                1 => both.into_iter().try_for_each(|(t, f)| plan.pass2(t, f, row_ptr, rows, prepared)),
                _ => chunk
                    .par_iter()
                    .zip(found)
                    .with_max_len(1)
                    .try_for_each_init(Prepared::default, |p, (t, f)| plan.pass2(t, f, row_ptr, rows, p)),
            })?,
        }
        if interrupted() {
            return Err(Error::Interrupted);
        }
    }
    // SAFETY: the rows of all atoms, row_ptr[N] = total edges, were written.
    unsafe {
        list.source.set_len(total);
        list.target.set_len(total);
        list.shift.set_len(3 * total);
        list.vector.set_len(3 * total);
        list.distance.set_len(total);
    }
    Ok(list)
}

/// Cuts the batch into tasks, preparing its large systems.
fn tasks<T: Real>(plan: &mut Plan<T>, scratch: &mut Scratch) -> Result<Vec<Task>> {
    let (mut tasks, mut from, mut atoms) = (Vec::new(), 0, 0);
    let large = if plan.systems.positions.len() / 3 <= 2 * LARGE { LARGE_ALONE } else { LARGE };
    for b in 0..plan.systems.offsets.len() - 1 {
        let n = (plan.systems.offsets[b + 1] - plan.systems.offsets[b]) as usize;
        if n >= large || atoms >= TASK_ATOMS / 2 {
            if b > from {
                tasks.push(Task::Group(from, b));
            }
            (from, atoms) = (b, 0);
        }
        if n >= large {
            let mut p = Prepared::default();
            plan.prepare(&mut p, b)?;
            plan.guard_candidates(&p, scratch)?;
            let number = plan.large.len();
            plan.large.push((b, p));
            let size = TASK_ATOMS.min(n.div_ceil(8));
            tasks.extend((0..n).step_by(size).map(|c| Task::Run { large: number, from: c, to: (c + size).min(n) }));
            from = b + 1;
        }
        atoms += n;
    }
    let end = plan.systems.offsets.len() - 1;
    if end > from {
        tasks.push(Task::Group(from, end));
    }
    Ok(tasks)
}
