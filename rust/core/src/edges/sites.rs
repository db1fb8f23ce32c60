//! Sites: the atoms of one system and every periodic image of them that an edge can reach.
//!
//! With the images explicit the search is that of an open system: cells larger and smaller than the cutoff, skewed
//! cells and partly periodic ones are the same code. Sites are numbered by (atom, shift), so that the order of site
//! numbers in a row is the order that the list promises.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::lattice::{Lattice, Mat3, row_times};
use crate::error::{Error, Result};
use crate::pool;
use crate::real::Real;

/// One image of one atom, in one cache line. The edge from an atom i to it has shift S = `shift` + wrap_i.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Site {
    /// The atom's position as the caller gave it.
    pub position: [f64; 3],
    pub shift01: [i32; 2],
    /// `shift` @ cell, by [`Lattice::offset`].
    pub offset: [f64; 3],
    pub shift2: i32,
    /// Row of the atom in its system.
    pub atom: u32,
}

impl Site {
    #[inline(always)]
    pub fn shift(&self) -> [i32; 3] {
        [self.shift01[0], self.shift01[1], self.shift2]
    }
}

/// The sites of one system; memory is kept between systems.
#[derive(Default)]
pub struct Sites {
    pub lattice: Lattice,
    pub sites: Vec<Site>,
    /// Site number of each atom itself (image zero of the wrapped position).
    pub home: Vec<u32>,
    /// w_i: the wrapped position is x_i - w_i @ cell.
    pub wrap: Vec<[i32; 3]>,
    pub any_wrap: bool,
    /// Wrapped coordinates of the sites relative to the middle of the system, for the filter only.
    pub local: [Vec<f32>; 3],
    /// Least and largest of them.
    pub bounds: Bounds<f32>,
    /// |distance in `local` - exact distance| is below this.
    pub margin: f64,
    fractional: Vec<Placed>,
}

/// Fractional coordinates of a wrapped atom, and the cells that were taken off.
type Placed = ([f64; 3], [i64; 3]);

/// The least and the largest value of each coordinate.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<T> {
    pub low: [T; 3],
    pub high: [T; 3],
}

impl<T: Real> Default for Bounds<T> {
    fn default() -> Self {
        Bounds { low: [T::of(f64::INFINITY); 3], high: [T::of(f64::NEG_INFINITY); 3] }
    }
}

impl<T: Real> Bounds<T> {
    #[inline(always)]
    fn take(&mut self, c: usize, low: T, high: T) {
        if low < self.low[c] {
            self.low[c] = low;
        }
        if high > self.high[c] {
            self.high[c] = high;
        }
    }

    fn join(mut self, other: Bounds<T>) -> Self {
        (0..3).for_each(|c| self.take(c, other.low[c], other.high[c]));
        self
    }

    /// The largest absolute value.
    pub fn largest(&self) -> T {
        (0..3).flat_map(|c| [self.low[c].abs(), self.high[c].abs()]).fold(T::ZERO, |a, b| if b > a { b } else { a })
    }
}

/// Atoms of a part of a large system, and what one costs in nanoseconds.
const PART: usize = 2048;
const ATOM_NS: usize = 30;

/// `work` of each item, in parallel if `cost_ns` pays for it.
fn parts<I: Send, R: Send>(cost_ns: usize, items: Vec<I>, work: impl Fn(I) -> R + Sync + Send) -> Vec<R> {
    match items.len() {
        0 | 1 => items.into_iter().map(work).collect(),
        _ => pool::run(cost_ns, |threads| match threads {
            1 => items.into_iter().map(&work).collect(),
            _ => items.into_par_iter().with_max_len(1).map(&work).collect(),
        }),
    }
}

/// Takes the first `n` of a slice.
fn head<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(n);
    *rest = tail;
    head
}

/// Where the images of a part go.
struct Room<'a> {
    /// The part's first atom and first site.
    atom: usize,
    site: usize,
    placed: &'a [Placed],
    wrap: &'a [[i32; 3]],
    home: &'a mut [u32],
    sites: &'a mut [Site],
    local: [&'a mut [f32]; 3],
}

/// Shifts beyond this are refused: sums of two must fit an i32.
const MAX_SHIFT: f64 = (1u64 << 30) as f64;

impl Sites {
    /// Sites of the atoms at `x` ([n, 3]) within `cutoff` of any of them. `first` is the number of the first atom and
    /// `system` that of the system, for errors; `check` is asked whether that many sites may be made.
    #[allow(clippy::too_many_arguments)]
    pub fn build<T: Real>(
        &mut self,
        x: &[T],
        cell: &Mat3,
        pbc: [bool; 3],
        cutoff: f64,
        first: usize,
        system: usize,
        check: &dyn Fn(&Lattice, f64) -> Result<()>,
    ) -> Result<()> {
        let n = x.len() / 3;
        self.lattice = Lattice::new(cell, pbc, cutoff, system)?;
        let at = |i: usize| [x[3 * i].to_f64(), x[3 * i + 1].to_f64(), x[3 * i + 2].to_f64()];
        let mut given = Bounds::default();
        for i in 0..n {
            let p = at(i);
            for c in 0..3 {
                if !p[c].is_finite() {
                    let what = format!("{} at atom {}, axis {}", p[c], first + i, ["x", "y", "z"][c]);
                    return Err(Error::value("positions", "finite", what));
                }
                given.take(c, p[c], p[c]);
            }
        }
        self.sites.clear();
        self.home.clear();
        self.wrap.clear();
        self.local.iter_mut().for_each(Vec::clear);
        self.any_wrap = false;
        self.bounds = Bounds::default();
        let largest = if n == 0 { 0.0 } else { given.largest() };
        if self.lattice.is_open() {
            self.open(n, at, given);
        } else {
            self.periodic(n, at, cutoff, largest, first, check)?;
        }
        let reach = if n == 0 { 0.0 } else { f64::from(self.bounds.largest()) };
        self.margin = 1e-6 * reach + 1e-6 + 32.0 * f64::EPSILON * largest;
        Ok(())
    }

    fn open(&mut self, n: usize, at: impl Fn(usize) -> [f64; 3], given: Bounds<f64>) {
        let origin: [f64; 3] = std::array::from_fn(|c| 0.5 * given.low[c] + 0.5 * given.high[c]);
        for i in 0..n {
            let p = at(i);
            for c in 0..3 {
                let x = (p[c] - origin[c]) as f32;
                self.local[c].push(x);
                self.bounds.take(c, x, x);
            }
            self.home.push(i as u32);
            self.sites.push(Site { position: p, shift01: [0; 2], offset: [0.0; 3], shift2: 0, atom: i as u32 });
        }
        self.wrap.resize(n, [0; 3]);
    }

    fn periodic(
        &mut self,
        n: usize,
        at: impl Fn(usize) -> [f64; 3] + Sync,
        cutoff: f64,
        largest: f64,
        first: usize,
        check: &dyn Fn(&Lattice, f64) -> Result<()>,
    ) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let lattice = &self.lattice;
        let pbc = lattice.pbc;
        self.fractional.resize(n, Default::default());
        self.wrap.resize(n, [0; 3]);
        let items = self.fractional.chunks_mut(PART).zip(self.wrap.chunks_mut(PART)).enumerate().collect();
        let placed = parts(n * ATOM_NS, items, |(part, (placed, wrap)): (usize, (&mut [Placed], &mut [[i32; 3]]))| {
            place(lattice, &at, part * PART, first, placed, wrap)
        });
        let (mut inside, mut wrapped) = (Bounds::<f64>::default(), Bounds::default());
        for part in placed {
            let (f, p) = part?;
            (inside, wrapped) = (inside.join(f), wrapped.join(p));
        }
        self.any_wrap = self.wrap.iter().any(|&w| w != [0; 3]);
        // Wider than the cutoff by what rounding can do to a fractional coordinate.
        let (mut low, mut high) = (inside.low, inside.high);
        for a in (0..3).filter(|&a| pbc[a]) {
            let slack = 1e-9 + 1e-9 * cutoff / lattice.spacing[a] + 64.0 * f64::EPSILON * largest / lattice.spacing[a];
            let reach = cutoff / lattice.spacing[a] + slack;
            low[a] -= reach;
            high[a] += reach;
        }
        // The images of an atom at f are low - f to high - f, rounded inwards; 0 is always among them.
        let range = |f: &[f64; 3]| -> [(i64, i64); 3] {
            let mut of = [(0, 0); 3];
            for a in 0..3 {
                let (down, up) = (low[a] - f[a], high[a] - f[a]);
                if pbc[a] && (down <= -1.0 || up >= 1.0) {
                    of[a] = (down.ceil() as i64, up.floor() as i64);
                }
            }
            of
        };
        let count = |f: &[f64; 3]| range(f).iter().map(|(l, h)| (h - l + 1) as f64).product::<f64>();
        let counts = parts(n * ATOM_NS, self.fractional.chunks(PART).collect(), |part: &[Placed]| {
            part.iter().map(|(f, _)| count(f)).sum::<f64>()
        });
        let total: f64 = counts.iter().sum();
        if total.partial_cmp(&f64::from(i32::MAX)) != Some(Ordering::Less) {
            return Err(Error::Memory(format!(
                "`cutoff` = {cutoff} Angstrom needs {total:.3e} periodic images of {n} atoms"
            )));
        }
        check(lattice, total)?;
        let total = total as usize;
        self.sites.resize(total, Site::default());
        self.local.iter_mut().for_each(|l| l.resize(total, 0.0));
        self.home.resize(n, 0);
        let origin: [f64; 3] = std::array::from_fn(|c| 0.5 * wrapped.low[c] + 0.5 * wrapped.high[c]);
        let (mut sites, mut home) = (&mut self.sites[..], &mut self.home[..]);
        let [mut x, mut y, mut z] = self.local.each_mut().map(|l| &mut l[..]);
        let mut rooms = Vec::with_capacity(counts.len());
        let mut site = 0;
        for (k, placed) in self.fractional.chunks(PART).enumerate() {
            let (atom, many) = (k * PART, counts[k] as usize);
            rooms.push(Room {
                atom,
                site,
                placed,
                wrap: &self.wrap[atom..atom + placed.len()],
                home: head(&mut home, placed.len()),
                sites: head(&mut sites, many),
                local: [head(&mut x, many), head(&mut y, many), head(&mut z, many)],
            });
            site += many;
        }
        let bounds = parts(total * ATOM_NS, rooms, |room| images(lattice, &at, &range, origin, room));
        self.bounds = bounds.into_iter().fold(Bounds::default(), Bounds::join);
        Ok(())
    }

    /// Shift, vector and squared distance of the edge from atom `i` to `site`, by the rule of the list:
    /// r = (x_j - x_i) + ((S0 a0 + S1 a1) + S2 a2), d2 = (rx rx + ry ry) + rz rz, in f64 without contraction.
    #[inline(always)]
    pub fn edge(&self, i: usize, site: u32) -> ([i32; 3], [f64; 3], f64) {
        let to = &self.sites[site as usize];
        let from = self.sites[self.home[i] as usize].position;
        let w = self.wrap[i];
        let (shift, offset) = match w == [0; 3] {
            true => (to.shift(), to.offset),
            false => {
                let s = to.shift();
                let s = [s[0] + w[0], s[1] + w[1], s[2] + w[2]];
                (s, self.lattice.offset(s))
            }
        };
        let r: [f64; 3] = std::array::from_fn(|c| (to.position[c] - from[c]) + offset[c]);
        (shift, r, (r[0] * r[0] + r[1] * r[1]) + r[2] * r[2])
    }
}

/// Wraps the atoms of a part; returns the bounds of their fractional and of their wrapped coordinates. `first` is the number
/// of the system's first atom.
fn place(
    lattice: &Lattice,
    at: &impl Fn(usize) -> [f64; 3],
    from: usize,
    first: usize,
    placed: &mut [Placed],
    wrap: &mut [[i32; 3]],
) -> Result<(Bounds<f64>, Bounds<f64>)> {
    let (mut inside, mut wrapped) = (Bounds::default(), Bounds::default());
    for (k, (placed, wrap)) in placed.iter_mut().zip(wrap).enumerate() {
        let i = from + k;
        let p = at(i);
        let mut f = row_times(p, &lattice.inverse);
        let mut w = [0i64; 3];
        for a in (0..3).filter(|&a| lattice.pbc[a]) {
            if !(0.0..1.0).contains(&f[a]) {
                let floor = f[a].floor();
                if floor.abs().partial_cmp(&MAX_SHIFT) != Some(Ordering::Less) {
                    let what = format!("{} cells at atom {}, direction {a}", floor, first + i);
                    return Err(Error::value("positions", "within 2^30 cells of the origin", what));
                }
                f[a] -= floor;
                w[a] = floor as i64;
            }
            inside.take(a, f[a], f[a]);
        }
        let user = lattice.to_user(w);
        if user.iter().any(|s| s.abs() > 1 << 30) {
            let what = format!("shift {user:?} at atom {}", first + i);
            return Err(Error::value("positions", "within 2^30 cells of the origin", what));
        }
        *wrap = user.map(|s| s as i32);
        let back = if w == [0; 3] { [0.0; 3] } else { lattice.offset(*wrap) };
        for c in 0..3 {
            wrapped.take(c, p[c] - back[c], p[c] - back[c]);
        }
        *placed = (f, w);
    }
    Ok((inside, wrapped))
}

/// Writes the images of a part's atoms, each atom's in the order of their shifts; returns the bounds of the local coordinates.
fn images(
    lattice: &Lattice,
    at: &impl Fn(usize) -> [f64; 3],
    range: &impl Fn(&[f64; 3]) -> [(i64, i64); 3],
    origin: [f64; 3],
    room: Room,
) -> Bounds<f32> {
    let Room { atom, site, placed, wrap, home, sites, mut local } = room;
    let mut bounds = Bounds::default();
    let mut shifts: Vec<[i64; 3]> = Vec::new();
    let mut next = 0;
    for (k, &(f, w)) in placed.iter().enumerate() {
        let (i, p) = (atom + k, at(atom + k));
        let own = wrap[k].map(|w| -w);
        let mut push = |s: [i32; 3]| {
            let offset = if s == [0; 3] { [0.0; 3] } else { lattice.offset(s) };
            for c in 0..3 {
                let x = (p[c] + offset[c] - origin[c]) as f32;
                local[c][next] = x;
                bounds.take(c, x, x);
            }
            sites[next] = Site { position: p, shift01: [s[0], s[1]], offset, shift2: s[2], atom: i as u32 };
            next += 1;
            (site + next - 1) as u32
        };
        let [(l0, h0), (l1, h1), (l2, h2)] = range(&f);
        if (l0, h0, l1, h1, l2, h2) == (0, 0, 0, 0, 0, 0) {
            home[k] = push(own);
            continue;
        }
        shifts.clear();
        for s0 in l0..=h0 {
            for s1 in l1..=h1 {
                for s2 in l2..=h2 {
                    shifts.push(lattice.to_user([s0 - w[0], s1 - w[1], s2 - w[2]]));
                }
            }
        }
        if lattice.unimodular.is_some() {
            shifts.sort_unstable();
        }
        for s in &shifts {
            let s = s.map(|s| s as i32);
            let place = push(s);
            if s == own {
                home[k] = place;
            }
        }
    }
    bounds
}
