//! Bins of sites: columns about one cutoff wide in x and y, cut finely along z.
//!
//! The sites of a column between two heights are contiguous in memory, so one centre has few, long candidate ranges.
//! Bins of an atom's reach are found by the same monotone function of a coordinate that placed the sites: rounding can
//! make a range longer, never shorter.

use super::sites::Sites;

/// Cuts along z per cutoff.
const FINE: f32 = 4.0;
/// Below this many sites one range holds all: cheaper than sorting into bins.
const BRUTE_BELOW: usize = 96;

/// Columns along each side of a tile of visited atoms.
const TILE: usize = 4;

/// How candidates are found. The list is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// By the number of sites.
    #[default]
    Auto,
    /// All sites for every atom.
    Brute,
    /// Bins, even for a single atom.
    Bins,
}

#[derive(Default)]
pub struct Bins {
    low: [f32; 3],
    per_length: [f32; 3],
    count: [usize; 3],
    /// First slot of each bin; the bins of one column follow each other.
    start: Vec<u32>,
    /// Coordinates and site numbers in slot order, padded by one vector of points at infinity.
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub z: Vec<f32>,
    pub site: Vec<u32>,
    /// Atoms in the order in which they are visited, with the slot of each.
    pub centres: Vec<(u32, u32)>,
    /// Reach of the filter: cutoff + margin.
    pub reach: f32,
    /// Whether slots are in site order, so that rows come out sorted.
    pub in_order: bool,
    bin_of: Vec<u32>,
}

impl Bins {
    pub fn build(&mut self, s: &Sites, cutoff: f64, method: Method) {
        let n = s.sites.len();
        self.reach = ((cutoff + s.margin) * (1.0 + 1e-6)) as f32;
        for v in [&mut self.x, &mut self.y, &mut self.z] {
            v.clear();
        }
        self.site.clear();
        self.centres.clear();
        self.in_order = method == Method::Brute || (method == Method::Auto && n < BRUTE_BELOW);
        if self.in_order {
            self.count = [1; 3];
            self.start.clear();
            self.start.extend([0, n as u32]);
            self.x.extend_from_slice(&s.local[0]);
            self.y.extend_from_slice(&s.local[1]);
            self.z.extend_from_slice(&s.local[2]);
            self.site.extend(0..n as u32);
            self.centres.extend(s.home.iter().enumerate().map(|(i, &h)| (i as u32, h)));
        } else {
            self.sort(s);
        }
        for v in [&mut self.x, &mut self.y, &mut self.z] {
            v.extend([f32::INFINITY; 8]);
        }
        self.site.extend([u32::MAX >> 1; 8]);
    }

    fn sort(&mut self, s: &Sites) {
        let n = s.sites.len();
        let mut extent = [0.0f32; 3];
        for (c, extent) in extent.iter_mut().enumerate() {
            self.low[c] = s.bounds.low[c];
            *extent = if n == 0 { 0.0 } else { s.bounds.high[c] - s.bounds.low[c] };
        }
        // Twice as many bins as sites at most: a few atoms in an empty box must not make a large grid.
        let most = (2 * n).max(8) as f64;
        let mut width = [self.reach, self.reach, self.reach / FINE];
        loop {
            let wanted: f64 = (0..3).map(|c| (f64::from(extent[c]) / f64::from(width[c])).floor().max(1.0)).product();
            if wanted <= most {
                break;
            }
            width = width.map(|w| w * ((wanted / most).cbrt() as f32).clamp(1.05, 1e6));
        }
        for c in 0..3 {
            self.count[c] = ((extent[c] / width[c]).floor() as usize).max(1);
            self.per_length[c] = if extent[c] > 0.0 { self.count[c] as f32 / extent[c] } else { 0.0 };
        }
        let bins = self.count[0] * self.count[1] * self.count[2];
        self.start.clear();
        self.start.resize(bins + 1, 0);
        self.bin_of.clear();
        self.bin_of.reserve(n);
        for k in 0..n {
            let [bx, by, bz] = std::array::from_fn(|c| self.index(c, s.local[c][k]));
            let b = (bx * self.count[1] + by) * self.count[2] + bz;
            self.bin_of.push(b as u32);
            self.start[b] += 1;
        }
        let mut sum = 0;
        for v in &mut self.start {
            sum += std::mem::replace(v, sum);
        }
        for v in [&mut self.x, &mut self.y, &mut self.z] {
            v.resize(n, 0.0);
        }
        self.site.resize(n, 0);
        for k in 0..n {
            let next = &mut self.start[self.bin_of[k] as usize];
            let slot = *next as usize;
            *next += 1;
            (self.x[slot], self.y[slot], self.z[slot]) = (s.local[0][k], s.local[1][k], s.local[2][k]);
            self.site[slot] = k as u32;
        }
        // Placing the sites moved each bin's start to its end, which is the next one's start.
        self.start.copy_within(0..bins, 1);
        self.start[0] = 0;
        self.visit(s);
    }

    /// Visits the atoms tile by tile of columns, in a tile by height: what one atom reads is then still in the cache
    /// for the next ones, however large the system.
    fn visit(&mut self, s: &Sites) {
        let [nx, ny, nz] = self.count;
        for (tx, ty) in (0..nx).step_by(TILE).flat_map(|tx| (0..ny).step_by(TILE).map(move |ty| (tx, ty))) {
            for bz in 0..nz {
                for bx in tx..nx.min(tx + TILE) {
                    for by in ty..ny.min(ty + TILE) {
                        let b = (bx * ny + by) * nz + bz;
                        for slot in self.start[b]..self.start[b + 1] {
                            let k = self.site[slot as usize];
                            let atom = s.sites[k as usize].atom;
                            if s.home[atom as usize] == k {
                                self.centres.push((atom, slot));
                            }
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn index(&self, c: usize, v: f32) -> usize {
        // `as` saturates: below the first bin is the first, beyond the last the last.
        (((v - self.low[c]) * self.per_length[c]) as usize).min(self.count[c] - 1)
    }

    /// The slots that can be within reach of the centre at `slot`, as ranges; returns their total length.
    #[inline(always)]
    pub fn ranges(&self, slot: usize, out: &mut Vec<(u32, u32)>) -> usize {
        out.clear();
        if self.in_order {
            out.push((0, self.start[1]));
            return self.start[1] as usize;
        }
        let r = self.reach;
        let (x, y, z) = (self.x[slot], self.y[slot], self.z[slot]);
        let (x0, x1) = (self.index(0, x - r), self.index(0, x + r));
        let (y0, y1) = (self.index(1, y - r), self.index(1, y + r));
        let (z0, z1) = (self.index(2, z - r), self.index(2, z + r));
        let mut total = 0;
        for bx in x0..=x1 {
            for by in y0..=y1 {
                let b = (bx * self.count[1] + by) * self.count[2];
                let (from, to) = (self.start[b + z0], self.start[b + z1 + 1]);
                if to > from {
                    total += (to - from) as usize;
                    out.push((from, to));
                }
            }
        }
        total
    }

    /// Candidates of all atoms: an upper bound on the edges, for the memory limit.
    pub fn candidates(&self, out: &mut Vec<(u32, u32)>) -> f64 {
        let step = (self.centres.len() / 4096).max(1);
        let sample: usize = self.centres.iter().step_by(step).map(|c| self.ranges(c.1 as usize, out)).sum();
        sample as f64 * step as f64
    }
}
