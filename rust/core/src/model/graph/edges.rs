//! Atoms and edges of a call, cut into pieces of whole systems, and what the layers read of an edge.

use std::ops::Range;

use super::filter::{Basis, Filter, Radials, Table};
use crate::basis::lanes::Simd;
use crate::call::check_index;
use crate::error::{Error, Result};
use crate::pool;

/// Atoms of a piece of small systems: enough for dense layers, few enough for the caches.
const PIECE: usize = 128;

/// Atoms of one or more systems and their edges, sorted by source; SchNet and PaiNN need each edge with its reverse.
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    /// Chemical elements, [N].
    pub numbers: &'a [i32],
    /// First atom of each system, and N.
    pub offsets: &'a [i64],
    /// x_target - x_source + shift, Angstrom, [E, 3].
    pub vectors: &'a [f64],
    pub source: &'a [i32],
    pub target: &'a [i32],
}

/// A number for an ordered pair of atoms that sums tell apart.
fn mixed(a: i32, b: i32) -> u64 {
    let x = ((a as u64) << 32 | b as u32 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl<'a> Graph<'a> {
    pub fn atoms(&self) -> usize {
        self.numbers.len()
    }

    /// Refuses what the kernels cannot trust: indices, order, systems and, for a `full` list, edges without their reverse.
    pub fn check(&self, elements: usize, full: bool) -> Result<()> {
        let (n, e) = (self.numbers.len(), self.source.len());
        if self.vectors.len() != 3 * e || self.target.len() != e {
            return Err(Error::value("vectors", "of a row for each edge", self.vectors.len() / 3));
        }
        check_index("numbers", self.numbers, elements)?;
        check_index("source", self.source, n)?;
        check_index("target", self.target, n)?;
        if let Some(row) = self.source.windows(2).position(|w| w[0] > w[1]) {
            return Err(Error::value("source", "sorted", format!("a smaller one in row {}", row + 1)));
        }
        let ends = (self.offsets.first(), self.offsets.last());
        if ends != (Some(&0), Some(&(n as i64))) || self.offsets.windows(2).any(|w| w[0] > w[1]) {
            return Err(Error::value("offsets", &format!("rising from 0 to {n}"), format!("{ends:?}")));
        }
        let pairs = self.source.iter().zip(self.target);
        let balance = pairs.fold(0u64, |sum, (&a, &b)| sum.wrapping_add(mixed(a, b)).wrapping_sub(mixed(b, a)));
        if full && balance != 0 {
            return Err(Error::value("target", "of a full list, each edge with its reverse", "edges without it"));
        }
        let mut rows = self.vectors.iter().enumerate();
        match rows.find(|(_, x)| !x.is_finite()) {
            None => Ok(()),
            Some((at, x)) => Err(Error::value("vectors", "finite", format!("{x} in row {}", at / 3))),
        }
    }

    /// First edge of each atom, and E.
    fn rows(&self) -> Vec<usize> {
        let mut rows = vec![0; self.atoms() + 1];
        for &i in self.source {
            rows[i as usize + 1] += 1;
        }
        for i in 0..self.atoms() {
            rows[i + 1] += rows[i];
        }
        rows
    }

    /// Runs of whole systems, of [`PIECE`] atoms or one system with more.
    fn pieces(&self) -> Vec<Range<usize>> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for w in self.offsets.windows(2) {
            let (start, end) = (w[0] as usize, w[1] as usize);
            match pieces.last_mut() {
                Some(last) if end - last.start <= PIECE => last.end = end,
                _ => pieces.push(start..end),
            }
        }
        pieces
    }

    /// `job` on every piece, its results in order. The atoms of a result do not depend on the piece that they were in.
    pub fn each<R: Send>(&self, work: usize, job: impl Fn(Piece<'a>) -> Result<R> + Sync + Send) -> Result<Vec<R>> {
        use rayon::prelude::*;
        let (rows, pieces) = (self.rows(), self.pieces());
        let piece = |atoms: Range<usize>| {
            let edges = rows[atoms.start]..rows[atoms.end];
            let local = rows[atoms.start..=atoms.end].iter().map(|e| e - edges.start).collect();
            job(Piece { graph: *self, atoms, edges, rows: local })
        };
        // A few large systems: threads share each one; many small: each thread takes whole pieces.
        if pieces.len() < 2 * pool::num_threads() {
            return pieces.into_iter().map(piece).collect();
        }
        pool::run(work, |threads| match threads {
            1 => pieces.into_iter().map(piece).collect(),
            _ => pieces.into_par_iter().map(piece).collect(),
        })
    }
}

/// Whole systems of a graph.
pub struct Piece<'a> {
    graph: Graph<'a>,
    pub atoms: Range<usize>,
    edges: Range<usize>,
    /// First edge of each atom of the piece, counted from the piece's first.
    pub rows: Vec<usize>,
}

/// An edge as the layers read it.
#[derive(Clone, Copy, Debug)]
pub struct Edge<T> {
    pub source: u32,
    pub target: u32,
    /// Of the filter table: interval and place in it.
    pub node: u32,
    pub t: T,
    /// Unit vector; 0 where two atoms are in one place.
    pub u: [T; 3],
    /// 1 / d, or 0.
    pub inverse: T,
}

impl<'a> Piece<'a> {
    pub fn numbers(&self) -> &'a [i32] {
        &self.graph.numbers[self.atoms.clone()]
    }

    pub fn vectors(&self) -> &'a [[f64; 3]] {
        &self.graph.vectors.as_chunks().0[self.edges.clone()]
    }

    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// Edges, with their places in a table or their radial functions.
    pub fn edges<T: Simd>(&self, radials: &Radials, table: Option<&Table<T>>) -> Result<EdgesOf<T>> {
        let first = self.atoms.start as i32;
        let ends = self.graph.source[self.edges.clone()].iter().zip(&self.graph.target[self.edges.clone()]);
        let mut distances = Vec::with_capacity(if table.is_some() { 0 } else { self.edges.len() });
        let mut edges = Vec::with_capacity(self.edges.len());
        for ((&source, &target), v) in ends.zip(self.vectors()) {
            let d = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
            let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
            let (node, t) = match table {
                Some(table) => table.place(d),
                None => {
                    distances.push(T::of(d));
                    (0, T::ZERO)
                }
            };
            let u = v.map(|x| T::of(x * inverse));
            let (source, target) = ((source - first) as u32, (target - first) as u32);
            if target as usize >= self.atoms.len() {
                return Err(Error::value("target", "of the source's system", target));
            }
            edges.push(Edge { source, target, node, t, u, inverse: T::of(inverse) });
        }
        let basis = table.is_none().then(|| Basis::new(radials, &distances)).transpose()?;
        Ok((edges, basis))
    }
}

/// Edges, and their radial functions where filters are computed exactly.
pub type EdgesOf<T> = (Vec<Edge<T>>, Option<Basis<T>>);

/// What an atom's edges give: F (eV/Angstrom) and its part of dE/d strain (row by row).
pub type Mechanics = [f64; 12];

/// Adds one edge's gradient of the energy to what it makes of its source; the reverse edge does so with the other.
#[inline(always)]
pub fn add_edge(to: &mut Mechanics, vector: &[f64; 3], gradient: [f64; 3]) {
    for a in 0..3 {
        to[a] += gradient[a];
        for b in 0..3 {
            to[3 + 3 * a + b] += 0.5 * vector[a] * gradient[b];
        }
    }
}

/// Edges of a tile where filters are computed exactly.
pub const TILE: usize = 64;

/// Runs `tile(filter rows, edges)` over the edges of some atoms: all at once for a table, else tile by tile.
pub fn each_tile<T: Simd>(
    filter: &Filter<T>,
    basis: Option<&Basis<T>>,
    edges: Range<usize>,
    slope: bool,
    mut tile: impl FnMut(Source<T>, Range<usize>),
) {
    match (filter, basis) {
        (Filter::Table(table), _) => tile(Source::Table(table), edges),
        (Filter::Exact(network), Some(basis)) => {
            let (mut scratch, mut rows) = (Default::default(), Vec::new());
            for first in edges.clone().step_by(TILE) {
                let count = TILE.min(edges.end - first);
                network.rows(basis, first, count, slope, &mut scratch, &mut rows);
                tile(Source::Rows(&rows), first..first + count);
            }
        }
        (Filter::Exact(_), None) => {}
    }
}

/// Where a message kernel reads filters: a table, or one row for each edge of its range.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    Table(&'a Table<T>),
    Rows(&'a [T]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_checked() {
        let vectors = [0.0, 0.0, 1.0, 0.0, 0.0, -1.0];
        let good = Graph { numbers: &[1, 6], offsets: &[0, 2], vectors: &vectors, source: &[0, 1], target: &[1, 0] };
        assert!(good.check(100, true).is_ok());
        let bad = [
            Graph { target: &[1, 1], ..good },
            Graph { target: &[1, 2], ..good },
            Graph { source: &[1, 0], ..good },
            Graph { numbers: &[1, 100], ..good },
            Graph { offsets: &[0, 1], ..good },
            Graph { offsets: &[], ..good },
            Graph { vectors: &[0.0; 3], ..good },
            Graph { vectors: &[f64::NAN; 6], ..good },
        ];
        for graph in bad {
            assert!(graph.check(100, true).is_err());
        }
        assert!(Graph { target: &[1, 1], ..good }.check(100, false).is_ok());
    }

    #[test]
    fn pieces_are_whole_systems() {
        let numbers = vec![1; 400];
        let offsets = [0, 60, 120, 121, 360, 400];
        let graph = Graph { numbers: &numbers, offsets: &offsets, vectors: &[], source: &[], target: &[] };
        assert_eq!(graph.pieces(), [0..121, 121..360, 360..400]);
    }
}
