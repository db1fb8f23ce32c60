//! Rules beyond one cutoff: cutoffs of pairs, excluded pairs, the k nearest. Applied to one sorted row at a time.

use super::memory::Buffer;
use super::order::append;
use super::sites::Sites;

/// Cutoffs that depend on the pair.
#[derive(Debug, Clone)]
pub enum Pairs {
    /// One cutoff for all.
    One,
    /// `table[kind_i * kinds + kind_j]`: cutoff of two kinds; 0 where they have no edges.
    Kinds { kind: Vec<u32>, kinds: usize, table: Vec<f64> },
    /// radius_i + radius_j.
    Radii(Vec<f64>),
}

/// A pair of atoms without an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exclusion {
    pub target: u32,
    /// `None`: the nearest images.
    pub shift: Option<[i32; 3]>,
}

/// The rules of one search; atoms are numbered over the whole batch.
#[derive(Debug, Clone)]
pub struct Selection {
    pub pairs: Pairs,
    /// Atom i excludes `excluded[excluded_ptr[i]..excluded_ptr[i + 1]]`, sorted; empty pointers exclude nothing.
    pub excluded_ptr: Vec<usize>,
    pub excluded: Vec<Exclusion>,
    pub k: Option<usize>,
    /// Keep all at the distance of the k-th, within a relative 1e-6.
    pub with_ties: bool,
}

impl Selection {
    /// Cutoff squared of a pair by the rule of the list (cutoff * cutoff); a negative value admits nothing.
    fn cutoff2(&self, i: usize, j: usize) -> f64 {
        let rc = match &self.pairs {
            Pairs::One => return f64::INFINITY,
            Pairs::Kinds { kind, kinds, table } => table[kind[i] as usize * kinds + kind[j] as usize],
            Pairs::Radii(radius) => radius[i] + radius[j],
        };
        rc * rc
    }

    /// Removes from `row[from..]`, the sorted sites of atom `i` of the system that starts at atom `first`, what the
    /// rules leave out. Returns whether `k` left out an edge.
    pub fn apply(&self, sites: &Sites, i: usize, first: usize, from: usize, row: &mut Buffer<u32>) -> bool {
        let target = |site: u32| first + sites.sites[site as usize].atom as usize;
        let mut kept = from;
        for at in from..row.len() {
            let site = row[at];
            // A zero cutoff admits not even two atoms at one place; the atom itself stays if it was asked for.
            if site == sites.home[i] || sites.edge(i, site).2 < self.cutoff2(first + i, target(site)) {
                row[kept] = site;
                kept += 1;
            }
        }
        row.truncate(kept);
        if !self.excluded_ptr.is_empty() {
            let excluded = &self.excluded[self.excluded_ptr[first + i]..self.excluded_ptr[first + i + 1]];
            if !excluded.is_empty() {
                self.exclude(sites, i, first, from, row, excluded);
            }
        }
        self.k.is_some_and(|k| self.nearest(sites, i, from, row, k))
    }

    fn exclude(&self, s: &Sites, i: usize, first: usize, from: usize, row: &mut Buffer<u32>, excluded: &[Exclusion]) {
        let all = row[from..].to_vec();
        row.truncate(from);
        let target = |site: u32| (first + s.sites[site as usize].atom as usize) as u32;
        for group in all.chunk_by(|&a, &b| target(a) == target(b)) {
            let t = target(group[0]);
            let at = excluded.partition_point(|x| x.target < t);
            let rules = &excluded[at..];
            let rules = &rules[..rules.partition_point(|x| x.target == t)];
            let nearest = group.iter().map(|&g| s.edge(i, g).2).fold(f64::INFINITY, f64::min) * (1.0 + 1e-9);
            for &g in group {
                let (shift, _, d2) = s.edge(i, g);
                if !rules.iter().any(|x| x.shift.map_or(d2 <= nearest, |e| e == shift)) {
                    append(&[g], row);
                }
            }
        }
    }

    /// Keeps the k smallest by (d2, target, shift), in the order of the list.
    fn nearest(&self, sites: &Sites, i: usize, from: usize, row: &mut Buffer<u32>, k: usize) -> bool {
        if row.len() - from <= k {
            return false;
        }
        let mut by_distance: Vec<(f64, u32)> = row[from..].iter().map(|&s| (sites.edge(i, s).2, s)).collect();
        by_distance.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut keep = k;
        if self.with_ties && k > 0 {
            let limit = by_distance[k - 1].0.sqrt() * (1.0 + 1e-6);
            keep = by_distance.partition_point(|d| d.0.sqrt() <= limit);
        }
        let truncated = keep < by_distance.len();
        for (at, (_, site)) in row[from..].iter_mut().zip(&by_distance) {
            *at = *site;
        }
        row.truncate(from + keep);
        row[from..].sort_unstable();
        truncated
    }
}
