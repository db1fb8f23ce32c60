//! A tile of receivers: its edges batch by batch, from the senders' features to messages and back.

use std::ops::Range;

use super::coupling::{BATCH, PAD};
use super::functions::Pairs;
use super::kernels::{Backward, Batch, Forward, Matrices, Run, ToHarmonics};
use super::{Graph, Layer, Mace};
use crate::basis::Normalization;
use crate::basis::harmonics::{Harmonics, spherical_harmonics, spherical_harmonics_bwd};
use crate::basis::lanes::{MAX_LANES, Simd, dispatch};
use crate::real::Real;
use crate::stages::{self, Stage};

/// Receivers and their edges.
#[derive(Clone, Debug)]
pub struct Tile {
    pub atoms: Range<usize>,
    pub edges: Range<usize>,
}

/// Atoms of a tile; `n` alone says how many, so that sums do not depend on the threads.
pub fn tile_size(n: usize) -> usize {
    n.div_ceil(4).clamp(16, 32)
}

/// Runs of atoms.
pub fn tiles(receiver: &[i32], n: usize) -> Vec<Tile> {
    let size = tile_size(n);
    let ends = |atom: usize| receiver.partition_point(|&r| (r as usize) < atom);
    (0..n)
        .step_by(size)
        .map(|first| {
            let last = (first + size).min(n);
            Tile { atoms: first..last, edges: ends(first)..ends(last) }
        })
        .collect()
}

/// One layer of one call.
pub struct Pass<'p, T> {
    pub model: &'p Mace<T>,
    pub layer: &'p Layer<T>,
    pub graph: &'p Graph<'p>,
    pub harmonics: &'p Harmonics,
    /// Features of senders, padded, and the row of each atom (its element in the first layer).
    pub x: &'p [T],
    pub rows: Option<&'p [i32]>,
}

/// What both directions make of a batch of edges.
struct Held<T> {
    distances: Vec<f64>,
    elements: Vec<[usize; 2]>,
    /// From sender to receiver.
    turned: Vec<T>,
    flat: Vec<T>,
    harmonics: Vec<[T; BATCH]>,
    matrices: Vec<[T; BATCH]>,
    values: Vec<T>,
    slopes: Vec<T>,
    rows: Vec<usize>,
    runs: Vec<Run>,
}

impl<T: Simd> Held<T> {
    fn new(layer: &Layer<T>, slopes: bool) -> Self {
        let (c, width) = (&layer.coupling, layer.functions.width());
        Held {
            distances: Vec::with_capacity(BATCH),
            elements: Vec::with_capacity(BATCH),
            turned: Vec::with_capacity(3 * BATCH),
            flat: vec![T::ZERO; c.harmonics * BATCH],
            harmonics: vec![[T::ZERO; BATCH]; c.harmonics],
            matrices: vec![[T::ZERO; BATCH]; c.entries],
            values: vec![T::ZERO; width * BATCH],
            slopes: vec![T::ZERO; if slopes { width * BATCH } else { 0 }],
            rows: Vec::with_capacity(BATCH),
            runs: Vec::with_capacity(BATCH),
        }
    }
}

/// Gradients of a tile: to its edges' vectors, and rows of gradients to features of senders.
pub struct Found<T> {
    pub senders: Vec<i32>,
    pub to_x: Vec<T>,
}

impl<T: Simd> Pass<'_, T> {
    fn fill(&self, tile: &Tile, edges: Range<usize>, held: &mut Held<T>) {
        let _timer = stages::start(Stage::Basis);
        let (graph, count, c) = (self.graph, edges.len(), &self.layer.coupling);
        held.distances.clear();
        held.elements.clear();
        held.turned.clear();
        held.rows.clear();
        held.runs.clear();
        for (n, e) in edges.enumerate() {
            let v = &graph.vectors[3 * e..3 * e + 3];
            let [receiver, sender] = [graph.receiver[e] as usize, graph.sender[e] as usize];
            held.distances.push((v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt());
            held.elements.push([receiver, sender].map(|atom| graph.elements[atom] as usize));
            held.turned.extend(v.iter().map(|&x| T::of(-x)));
            held.rows.push(self.rows.map_or(sender, |rows| rows[sender] as usize));
            let atom = receiver - tile.atoms.start;
            match held.runs.last_mut() {
                Some(run) if run.atom == atom => run.last = n + 1,
                _ => held.runs.push(Run { atom, first: n, last: n + 1 }),
            }
        }
        let m = c.harmonics;
        held.flat[..count * m].fill(T::ZERO);
        spherical_harmonics(self.harmonics, &held.turned, &mut held.flat[..count * m]);
        for (n, row) in held.flat[..count * m].chunks_exact(m).enumerate() {
            held.harmonics.iter_mut().zip(row).for_each(|(h, y)| h[n] = *y);
        }
        dispatch(Matrices { coupling: c, harmonics: &held.harmonics, out: &mut held.matrices });
        let width = self.layer.functions.width();
        let pairs = Pairs { distances: &held.distances, elements: &held.elements };
        let slopes = if held.slopes.is_empty() { 0 } else { count * width };
        let radial = &self.model.head.radial;
        self.layer.functions.rows(radial, &pairs, &mut held.values[..count * width], &mut held.slopes[..slopes]);
    }

    fn batch<'h>(&'h self, tile: &Tile, held: &'h Held<T>) -> Batch<'h, T> {
        Batch {
            coupling: &self.layer.coupling,
            runs: &held.runs,
            r: &held.values,
            stride: self.layer.functions.width(),
            x: self.x,
            rows: &held.rows,
            matrices: held.matrices.as_flattened(),
            atoms: tile.atoms.len(),
        }
    }

    /// Messages [atoms, target] of a tile; to each atom's divisor its density is added.
    pub fn forward(&self, tile: &Tile, messages: &mut [T], density: &mut [f64]) {
        let (c, atoms) = (&self.layer.coupling, tile.atoms.len());
        let mut held = Held::new(self.layer, false);
        let mut sums = vec![T::ZERO; atoms * c.sums];
        for first in tile.edges.clone().step_by(BATCH) {
            let edges = first..(first + BATCH).min(tile.edges.end);
            self.fill(tile, edges, &mut held);
            let timer = stages::start(Stage::Moments);
            dispatch(Forward { batch: self.batch(tile, &held), sums: &mut sums });
            drop(timer);
            if let Some(at) = self.layer.functions.density() {
                for run in &held.runs {
                    let rows = held.values.chunks_exact(self.layer.functions.width());
                    density[run.atom] += self.layer.divisor[1]
                        * rows.take(run.last).skip(run.first).map(|row| row[at].to_f64()).sum::<f64>();
                }
            }
        }
        c.down(&sums, atoms, messages);
        if self.layer.functions.density().is_some() {
            scale_rows(messages, c.target, density.iter().map(|d| 1.0 / d));
        }
    }

    /// Adds to `to_vectors` [edges of the tile, 3] at the gradients to the tile's messages (before any division by the density)
    /// and to each atom's divisor.
    pub fn backward(
        &self,
        tile: &Tile,
        grad: &[T],
        to_density: &[f64],
        to_vectors: &mut [f64],
        to_features: bool,
    ) -> Found<T> {
        let (c, graph, atoms) = (&self.layer.coupling, self.graph, tile.atoms.len());
        let width = c.components * c.padded;
        let mut sums = Vec::new();
        c.up(grad, atoms, &mut sums);
        // The senders of this tile, each once: gradients to their features lie side by side.
        let mut senders: Vec<i32> = if to_features { graph.sender[tile.edges.clone()].to_vec() } else { Vec::new() };
        senders.sort_unstable();
        senders.dedup();
        let mut to_x = vec![T::ZERO; senders.len() * width];

        let mut held = Held::new(self.layer, true);
        let mut to_r = [T::ZERO; BATCH];
        let mut to_matrices = vec![[T::ZERO; BATCH]; c.entries];
        let mut to_harmonics = vec![[T::ZERO; BATCH]; c.harmonics];
        let mut scratch = vec![T::ZERO; c.entries.next_multiple_of(MAX_LANES) * MAX_LANES];
        let (mut along, mut local) = ([T::ZERO; 3 * BATCH], Vec::with_capacity(BATCH));
        for first in tile.edges.clone().step_by(BATCH) {
            let edges = first..(first + BATCH).min(tile.edges.end);
            let count = edges.len();
            self.fill(tile, edges.clone(), &mut held);
            if to_features {
                local.clear();
                local.extend(graph.sender[edges].iter().map(|s| senders.binary_search(s).unwrap_or(0)));
            }
            let timer = stages::start(Stage::Backward);
            dispatch(Backward {
                batch: self.batch(tile, &held),
                slopes: &held.slopes,
                grad: &sums,
                to_x: to_features.then_some((&mut to_x[..], &local[..])),
                to_r: &mut to_r,
                to_matrices: to_matrices.as_flattened_mut(),
                scratch: &mut scratch,
            });
            drop(timer);
            to_harmonics.iter_mut().for_each(|h| *h = [T::ZERO; BATCH]);
            dispatch(ToHarmonics { coupling: c, grad: &to_matrices, out: &mut to_harmonics });
            let m = c.harmonics;
            for (n, row) in held.flat[..count * m].chunks_exact_mut(m).enumerate() {
                row.iter_mut().zip(&to_harmonics).for_each(|(y, h)| *y = h[n]);
            }
            along[..3 * count].fill(T::ZERO);
            spherical_harmonics_bwd(self.harmonics, &held.turned, &held.flat[..count * m], &mut along[..3 * count]);
            let mut radial: [f64; BATCH] = std::array::from_fn(|e| to_r[e].to_f64());
            if let Some(at) = self.layer.functions.density() {
                let (row, factor) = (self.layer.functions.width(), self.layer.divisor[1]);
                for run in &held.runs {
                    (run.first..run.last)
                        .for_each(|e| radial[e] += factor * to_density[run.atom] * held.slopes[e * row + at].to_f64());
                }
            }
            let out = &mut to_vectors[3 * (first - tile.edges.start)..][..3 * count];
            for (e, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let v = &graph.vectors[3 * (first + e)..][..3];
                for k in 0..3 {
                    out[k] += radial[e] * v[k] / held.distances[e] - along[3 * e + k].to_f64();
                }
            }
        }
        Found { senders, to_x }
    }
}

/// The network's harmonics, of vectors from sender to receiver.
pub fn harmonics(lmax: usize) -> Harmonics {
    Harmonics { lmax, normalize: true, normalization: Normalization::Component, polar_y: true }
}

pub fn scale_rows<T: Real>(rows: &mut [T], width: usize, factors: impl Iterator<Item = f64>) {
    for (row, factor) in rows.chunks_exact_mut(width.max(1)).zip(factors) {
        row.iter_mut().for_each(|x| *x *= T::of(factor));
    }
}

/// Rows of `channels` to rows of their padded number, or back.
pub fn resize<T: Real>(x: Vec<T>, from: usize, to: usize) -> Vec<T> {
    if from == to {
        return x;
    }
    let mut out = vec![T::ZERO; x.len() / from * to];
    for (row, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
        let few = from.min(to);
        out[..few].copy_from_slice(&row[..few]);
    }
    out
}

const _: () = assert!(PAD.is_multiple_of(MAX_LANES) && BATCH.is_multiple_of(MAX_LANES));
