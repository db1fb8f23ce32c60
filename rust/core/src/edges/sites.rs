//! Sites: the atoms of one system and every periodic image of them that an edge can reach.
//!
//! With the images explicit the search is that of an open system: cells larger and smaller than the cutoff, skewed
//! cells and partly periodic ones are the same code. Sites are numbered by (atom, shift), so that the order of site
//! numbers in a row is the order that the list promises.

use std::cmp::Ordering;

use super::lattice::{Lattice, Mat3, row_times};
use crate::error::{Error, Result};
use crate::real::Real;

/// One image of one atom, in one cache line. The edge from an atom i to it has shift S = `shift` + wrap_i.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
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
    /// |distance in `local` - exact distance| is below this.
    pub margin: f64,
    fractional: Vec<([f64; 3], [i64; 3])>,
    images: Vec<[i64; 3]>,
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
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for i in 0..n {
            let p = at(i);
            for c in 0..3 {
                if !p[c].is_finite() {
                    let what = format!("{} at atom {}, axis {}", p[c], first + i, ["x", "y", "z"][c]);
                    return Err(Error::value("positions", "finite", what));
                }
                low[c] = low[c].min(p[c]);
                high[c] = high[c].max(p[c]);
            }
        }
        self.sites.clear();
        self.home.clear();
        self.wrap.clear();
        self.local.iter_mut().for_each(Vec::clear);
        self.any_wrap = false;
        let largest = (0..3).map(|c| low[c].abs().max(high[c].abs())).fold(0.0, f64::max);
        if self.lattice.is_open() {
            self.open(n, at, low, high);
        } else {
            self.periodic(n, at, cutoff, largest, first, check)?;
        }
        let reach = self.local.iter().flatten().fold(0.0f32, |m, v| m.max(v.abs())) as f64;
        self.margin = 1e-6 * reach + 1e-6 + 32.0 * f64::EPSILON * largest;
        Ok(())
    }

    fn open(&mut self, n: usize, at: impl Fn(usize) -> [f64; 3], low: [f64; 3], high: [f64; 3]) {
        let origin: [f64; 3] = std::array::from_fn(|c| 0.5 * low[c] + 0.5 * high[c]);
        for i in 0..n {
            let p = at(i);
            for c in 0..3 {
                self.local[c].push((p[c] - origin[c]) as f32);
            }
            self.home.push(i as u32);
            self.sites.push(Site { position: p, shift01: [0; 2], offset: [0.0; 3], shift2: 0, atom: i as u32 });
        }
        self.wrap.resize(n, [0; 3]);
    }

    fn periodic(
        &mut self,
        n: usize,
        at: impl Fn(usize) -> [f64; 3],
        cutoff: f64,
        largest: f64,
        first: usize,
        check: &dyn Fn(&Lattice, f64) -> Result<()>,
    ) -> Result<()> {
        let lattice = self.lattice.clone();
        let pbc = lattice.pbc;
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        let (mut least, mut most) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        self.fractional.clear();
        for i in 0..n {
            let p = at(i);
            let mut f = row_times(p, &lattice.inverse);
            let mut w = [0i64; 3];
            for a in (0..3).filter(|&a| pbc[a]) {
                let floor = f[a].floor();
                if floor.abs().partial_cmp(&MAX_SHIFT) != Some(Ordering::Less) {
                    let what = format!("{} cells at atom {}, direction {a}", floor, first + i);
                    return Err(Error::value("positions", "within 2^30 cells of the origin", what));
                }
                f[a] -= floor;
                w[a] = floor as i64;
                low[a] = low[a].min(f[a]);
                high[a] = high[a].max(f[a]);
            }
            let user = lattice.to_user(w);
            if user.iter().any(|s| s.abs() > 1 << 30) {
                let what = format!("shift {user:?} at atom {}", first + i);
                return Err(Error::value("positions", "within 2^30 cells of the origin", what));
            }
            let wrap = user.map(|s| s as i32);
            self.any_wrap |= wrap != [0; 3];
            self.wrap.push(wrap);
            let back = lattice.offset(wrap);
            for c in 0..3 {
                least[c] = least[c].min(p[c] - back[c]);
                most[c] = most[c].max(p[c] - back[c]);
            }
            self.fractional.push((f, w));
        }
        if n == 0 {
            return Ok(());
        }
        // Wider than the cutoff by what rounding can do to a fractional coordinate.
        for a in (0..3).filter(|&a| pbc[a]) {
            let slack = 1e-9 + 1e-9 * cutoff / lattice.spacing[a] + 64.0 * f64::EPSILON * largest / lattice.spacing[a];
            let reach = cutoff / lattice.spacing[a] + slack;
            low[a] -= reach;
            high[a] += reach;
        }
        let range = |f: f64, a: usize| match pbc[a] {
            true => ((low[a] - f).ceil() as i64, (high[a] - f).floor() as i64),
            false => (0, 0),
        };
        let count = |f: &[f64; 3]| (0..3).map(|a| range(f[a], a)).map(|(l, h)| (h - l + 1) as f64).product::<f64>();
        let total: f64 = self.fractional.iter().map(|(f, _)| count(f)).sum();
        if total.partial_cmp(&f64::from(i32::MAX)) != Some(Ordering::Less) {
            return Err(Error::Memory(format!(
                "`cutoff` = {cutoff} Angstrom needs {total:.3e} periodic images of {n} atoms"
            )));
        }
        check(&lattice, total)?;
        let total = total as usize;
        self.sites.reserve(total);
        self.local.iter_mut().for_each(|l| l.reserve(total));
        let origin: [f64; 3] = std::array::from_fn(|c| 0.5 * least[c] + 0.5 * most[c]);
        for i in 0..n {
            let (f, w) = self.fractional[i];
            let [(l0, h0), (l1, h1), (l2, h2)] = [range(f[0], 0), range(f[1], 1), range(f[2], 2)];
            let wrap = self.wrap[i];
            let p = at(i);
            if (l0, h0, l1, h1, l2, h2) == (0, 0, 0, 0, 0, 0) {
                self.home.push(self.sites.len() as u32);
                self.push(&lattice, p, wrap.map(|w| -w), origin, i);
                continue;
            }
            self.images.clear();
            for s0 in l0..=h0 {
                for s1 in l1..=h1 {
                    for s2 in l2..=h2 {
                        self.images.push(lattice.to_user([s0 - w[0], s1 - w[1], s2 - w[2]]));
                    }
                }
            }
            if lattice.unimodular.is_some() {
                self.images.sort_unstable();
            }
            for k in 0..self.images.len() {
                let s = self.images[k].map(|s| s as i32);
                if s == wrap.map(|w| -w) {
                    self.home.push(self.sites.len() as u32);
                }
                self.push(&lattice, p, s, origin, i);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn push(&mut self, lattice: &Lattice, p: [f64; 3], s: [i32; 3], origin: [f64; 3], atom: usize) {
        let offset = lattice.offset(s);
        for c in 0..3 {
            self.local[c].push((p[c] + offset[c] - origin[c]) as f32);
        }
        self.sites.push(Site { position: p, shift01: [s[0], s[1]], offset, shift2: s[2], atom: atom as u32 });
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
