//! The channel-wise product of messages in the form in which the edge kernels take it.
//!
//! A path couples d1 components of the sender's features with a harmonic to d3 components. The harmonics do not depend on the
//! channel, so an edge has one small matrix M[m1, m3] = sum_m2 C[m1, m2, m3] Y[m2] a path, shared by all channels:
//! message[m3, u] = R[u] sum_m1 M[m1, m3] x[m1, u]. Channels are padded to [`PAD`], so that kernels have no remainders.

use std::collections::{BTreeMap, BTreeSet};

use super::Weighted;
use crate::basis::lanes::Simd;
use crate::equivariant::matmul::{Matrix, MatrixMut, matmul};
use crate::equivariant::polynomial::form::{Form, Polynomial};
use crate::error::{Error, Result};

/// Channels are padded to a multiple of this: two registers of f32.
pub const PAD: usize = 16;
/// Edges that go through the kernels together: their rows of R fit in the second-level cache.
pub const BATCH: usize = 16;

/// One path. Offsets are in padded rows.
#[derive(Clone, Debug)]
pub struct Path {
    /// Of the weights in a row of R, of the first component in a row of x.
    pub r: usize,
    pub x: usize,
    pub d1: usize,
    pub d3: usize,
    /// First entry [m1, m3] of its matrix.
    pub entry: usize,
    /// Its block of sums, see [`Block`], and the place of its channels in that block's rows.
    pub block: usize,
    pub at: usize,
}

/// Sums of all paths to one irrep: rows (atom, m3) of `width` values, all atoms of a tile one after another.
#[derive(Clone, Debug)]
pub struct Block {
    pub d: usize,
    pub width: usize,
    /// Values an atom has in the blocks before.
    pub before: usize,
}

/// C Y[m2] in entry `entry` of the matrices.
#[derive(Clone, Copy, Debug)]
pub struct Term<T> {
    pub entry: usize,
    pub harmonic: usize,
    pub value: T,
}

/// Sums of a tile to messages: [atoms d, width] times W [width, columns] for each block.
#[derive(Clone, Debug)]
struct Dense<T> {
    weights: Vec<T>,
    columns: usize,
    /// First component in a row of messages.
    to: usize,
}

/// The message product and the linear map after it.
#[derive(Clone, Debug)]
pub struct Coupling<T> {
    pub channels: usize,
    /// Channels in memory.
    pub padded: usize,
    pub paths: Vec<Path>,
    pub blocks: Vec<Block>,
    pub terms: Vec<Term<T>>,
    /// Entries of the matrices of an edge.
    pub entries: usize,
    pub harmonics: usize,
    /// Components of x, and values an atom has in the sums.
    pub components: usize,
    pub sums: usize,
    /// Length of a row of messages.
    pub target: usize,
    down: Vec<Dense<T>>,
}

fn wrong(what: &str) -> Error {
    Error::value("messages", what, "another product")
}

/// (weights, x, harmonic, out, C), and the number of channels.
type Entries = (Vec<([usize; 4], f64)>, usize);

fn entries(form: &Form) -> Result<Entries> {
    let mut found = Vec::new();
    let channels = form.terms.first().ok_or_else(|| wrong("a channel-wise product"))?.extents[0];
    for term in &form.terms {
        let fits = term.operands == [0, 1, 2, 3] && term.extents == [channels, 1, 1, 1];
        if !fits || term.strides.iter().map(|s| s[0]).ne([1, 1, 0, 1]) {
            return Err(wrong("a channel-wise product of equally many channels"));
        }
        found.extend(term.paths().map(|(o, c)| ([o[0], o[1], o[2], o[3]], c)));
    }
    Ok((found, channels))
}

impl<T: Simd> Coupling<T> {
    /// `factor`: of the linear map's result.
    pub fn new(messages: &Polynomial, down: &Weighted<f64>, factor: f64) -> Result<Self> {
        let (found, channels) = entries(&messages.form)?;
        let padded = channels.next_multiple_of(PAD);
        let mut grouped: BTreeMap<usize, Vec<([usize; 4], f64)>> = BTreeMap::new();
        found.into_iter().for_each(|e| grouped.entry(e.0[0]).or_default().push(e));
        let linear = Linear::new(down)?;
        let mut coupling = Coupling {
            channels,
            padded,
            paths: Vec::new(),
            blocks: Vec::new(),
            terms: Vec::new(),
            entries: 0,
            harmonics: messages.form.sizes[2],
            components: messages.form.sizes[1] / channels,
            sums: 0,
            target: linear.target,
            down: Vec::new(),
        };
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (n, (weight, list)) in grouped.into_iter().enumerate() {
            let ends = |k: usize| -> BTreeSet<usize> { list.iter().map(|e| e.0[k]).collect() };
            let (x, out) = (ends(1), ends(3));
            let (Some(&x_at), Some(&out_at)) = (x.first(), out.first()) else { continue };
            let (d1, d3) = (x.len(), out.len());
            if weight != n * channels || x_at % channels != 0 || !d3.is_multiple_of(2) && d3 > 9 || d3.is_multiple_of(2)
            {
                return Err(wrong("of irreps to degree 4"));
            }
            for (o, c) in list {
                let (m1, m3) = ((o[1] - x_at) / channels, (o[3] - out_at) / channels);
                if m1 >= d1 || m3 >= d3 {
                    return Err(wrong("of whole irreps"));
                }
                let entry = coupling.entries + m1 * d3 + m3;
                coupling.terms.push(Term { entry, harmonic: o[2], value: T::of(c) });
            }
            let to = linear.of(out_at)?;
            let block = match places.iter().position(|&p| p == (to, d3)) {
                Some(b) => b,
                None => {
                    places.push((to, d3));
                    coupling.blocks.push(Block { d: d3, width: 0, before: 0 });
                    coupling.down.push(Dense { weights: Vec::new(), columns: linear.columns(out_at)?, to });
                    places.len() - 1
                }
            };
            let at = coupling.blocks[block].width;
            coupling.paths.push(Path {
                r: n * padded,
                x: x_at / channels * padded,
                d1,
                d3,
                entry: coupling.entries,
                block,
                at,
            });
            coupling.entries += d1 * d3;
            coupling.blocks[block].width += padded;
            let Dense { weights, columns, .. } = &mut coupling.down[block];
            linear.rows(out_at, factor, |row| weights.extend(row.map(T::of)));
            weights.resize((at + padded) * *columns, T::ZERO);
        }
        for b in 0..coupling.blocks.len() {
            coupling.blocks[b].before = coupling.sums;
            coupling.sums += coupling.blocks[b].d * coupling.blocks[b].width;
        }
        Ok(coupling)
    }

    /// Weights of all paths in a padded row.
    pub fn weights(&self) -> usize {
        self.paths.len() * self.padded
    }

    /// Where the block's rows begin in the sums of a tile.
    pub fn start(&self, block: usize, atoms: usize) -> usize {
        self.blocks[block].before * atoms
    }

    /// Messages [atoms, target] of a tile's sums.
    pub fn down(&self, sums: &[T], atoms: usize, out: &mut [T]) {
        let mut held = Vec::new();
        for (b, (block, dense)) in self.blocks.iter().zip(&self.down).enumerate() {
            let (rows, from) = (atoms * block.d, self.start(b, atoms));
            held.clear();
            held.resize(rows * dense.columns, T::ZERO);
            let left = Matrix::new(&sums[from..], [rows, block.width], [block.width, 1]);
            let right = Matrix::new(&dense.weights, [block.width, dense.columns], [dense.columns, 1]);
            matmul(T::ONE, left, right, MatrixMut::new(&mut held, [rows, dense.columns], [dense.columns, 1]));
            let size = block.d * dense.columns;
            for (row, out) in held.chunks_exact(size).zip(out.chunks_exact_mut(self.target)) {
                out[dense.to..dense.to + size].copy_from_slice(row);
            }
        }
    }

    /// The transpose: sums of a tile's gradients to messages.
    pub fn up(&self, grad: &[T], atoms: usize, sums: &mut Vec<T>) {
        sums.clear();
        sums.resize(atoms * self.sums, T::ZERO);
        let mut held: Vec<T> = Vec::new();
        for (b, (block, dense)) in self.blocks.iter().zip(&self.down).enumerate() {
            let (rows, from) = (atoms * block.d, self.start(b, atoms));
            held.clear();
            let size = block.d * dense.columns;
            grad.chunks_exact(self.target).for_each(|row| held.extend_from_slice(&row[dense.to..dense.to + size]));
            let left = Matrix::new(&held, [rows, dense.columns], [dense.columns, 1]);
            let right = Matrix::new(&dense.weights, [dense.columns, block.width], [1, dense.columns]);
            matmul(T::ONE, left, right, MatrixMut::new(&mut sums[from..], [rows, block.width], [block.width, 1]));
        }
    }
}

/// The linear map by the component that it reads.
struct Linear<'w> {
    down: &'w Weighted<f64>,
    target: usize,
    /// Offset in the map's input -> (term, path of the term).
    places: BTreeMap<usize, (usize, usize)>,
}

impl<'w> Linear<'w> {
    fn new(down: &'w Weighted<f64>) -> Result<Self> {
        let form = &down.product.form;
        let mut places = BTreeMap::new();
        for (t, term) in form.terms.iter().enumerate() {
            if term.operands != [0, 1, 2] {
                return Err(wrong("followed by a linear map"));
            }
            for (p, (offsets, _)) in term.paths().enumerate() {
                if places.insert(offsets[1], (t, p)).is_some() {
                    return Err(wrong("followed by a map to one irrep of a kind"));
                }
            }
        }
        Ok(Linear { down, target: form.sizes[2], places })
    }

    fn place(&self, out_at: usize) -> Result<(usize, usize)> {
        self.places.get(&out_at).copied().ok_or_else(|| wrong("of irreps that its linear map reads"))
    }

    /// Offset of the result of the component that lies at `out_at`.
    fn of(&self, out_at: usize) -> Result<usize> {
        let (t, p) = self.place(out_at)?;
        Ok(self.down.product.form.terms[t].offsets[3 * p + 2])
    }

    /// Results of a component.
    fn columns(&self, out_at: usize) -> Result<usize> {
        let (t, _) = self.place(out_at)?;
        let term = &self.down.product.form.terms[t];
        Ok((0..2).find(|&n| term.strides[2][n] != 0).map_or(1, |n| term.extents[n]))
    }

    /// Rows u of the matrix, each over the results v.
    fn rows(&self, out_at: usize, factor: f64, mut put: impl FnMut(std::vec::IntoIter<f64>)) {
        let Ok((t, p)) = self.place(out_at) else { return };
        let term = &self.down.product.form.terms[t];
        let steps = |along: usize| (0..2).find(|&n| term.strides[along][n] != 0);
        let (u, v) = (steps(1), steps(2));
        let count = |mode: Option<usize>| mode.map_or(1, |n| term.extents[n]);
        let step = |mode: Option<usize>| mode.map_or(0, |n| term.strides[0][n]);
        for a in 0..count(u) {
            let at = |b: usize| term.offsets[3 * p] + a * step(u) + b * step(v);
            let row: Vec<f64> =
                (0..count(v)).map(|b| self.down.weights[at(b)] * term.coefficients[p] * factor).collect();
            put(row.into_iter());
        }
    }
}
