//! Dense layers on rows of channels: y = x W^T + b, and the same with the transposed weights.
//!
//! Channels stand in groups of [`GROUP`]; where several blocks of channels belong together (the three filters of PaiNN, the
//! components of a vector) the groups of all blocks with the same channels are neighbors in memory. Weights are packed
//! once for the kernel, 6 rows by 16 columns; each result is one sum over k in order, so that no row depends on the rows
//! beside it.

use super::layout::{GROUP, Layout, RowsMut, RowsRef, groups};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};

/// Rows of one tile of the kernel.
const TILE: usize = 6;

/// Blocks of channels: `count` blocks of `channels` each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    pub count: usize,
    pub channels: usize,
}

impl Blocks {
    pub const fn one(channels: usize) -> Self {
        Blocks { count: 1, channels }
    }

    /// Groups of all blocks.
    pub fn groups(self) -> usize {
        self.count * groups(self.channels)
    }

    /// Place of channel `c` of block `b` in a row of groups.
    pub fn place(self, b: usize, c: usize) -> usize {
        (c / GROUP * self.count + b) * GROUP + c % GROUP
    }
}

/// Packed weights and bias.
#[derive(Clone, Debug)]
pub struct Dense<T> {
    inputs: usize,
    /// For each group of outputs, for each input: the 16 weights.
    panels: Vec<[T; GROUP]>,
    bias: Vec<[T; GROUP]>,
}

impl<T: Simd> Dense<T> {
    /// From weights [out, in] row by row; padded channels have weights 0.
    pub fn new(weights: &[f64], bias: Option<&[f64]>, out: Blocks, into: Blocks) -> Self {
        let (rows, columns) = (out.count * out.channels, into.count * into.channels);
        assert_eq!(weights.len(), rows * columns, "weights do not fit their blocks");
        let inputs = into.groups() * GROUP;
        let mut panels = vec![[T::ZERO; GROUP]; out.groups() * inputs];
        let mut offsets = vec![[T::ZERO; GROUP]; out.groups()];
        for row in 0..rows {
            let o = out.place(row / out.channels, row % out.channels);
            for column in 0..columns {
                let i = into.place(column / into.channels, column % into.channels);
                panels[o / GROUP * inputs + i][o % GROUP] = T::of(weights[row * columns + column]);
            }
            if let Some(bias) = bias {
                offsets[o / GROUP][o % GROUP] = T::of(bias[row]);
            }
        }
        Dense { inputs, panels, bias: offsets }
    }

    /// The transposed weights, without a bias: from gradients of the outputs to those of the inputs.
    pub fn transposed(weights: &[f64], out: Blocks, into: Blocks) -> Self {
        let (rows, columns) = (out.count * out.channels, into.count * into.channels);
        let mut turned = vec![0.0; weights.len()];
        for row in 0..rows {
            for column in 0..columns {
                turned[column * rows + row] = weights[row * columns + column];
            }
        }
        Dense::new(&turned, None, into, out)
    }

    /// Without the bias: for derivatives.
    pub fn without_bias(&self) -> Self {
        let bias = vec![[T::ZERO; GROUP]; self.bias.len()];
        Dense { inputs: self.inputs, panels: self.panels.clone(), bias }
    }

    /// out = x W^T + b for `rows` rows; `add`: added to what is there.
    pub fn apply(&self, x: RowsRef<T>, rows: usize, out: RowsMut<T>, add: bool) {
        dispatch(Product { dense: self, x, rows, out, add });
    }

    /// Multiply-adds of one row.
    pub fn work(&self) -> usize {
        self.panels.len() * GROUP
    }
}

struct Product<'a, T> {
    dense: &'a Dense<T>,
    x: RowsRef<'a, T>,
    rows: usize,
    out: RowsMut<'a, T>,
    add: bool,
}

impl<T: Simd> Job<T> for Product<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        for panel in 0..self.dense.bias.len() {
            let mut row = 0;
            while row + TILE <= self.rows {
                self.tile::<L, TILE>(panel, row);
                row += TILE;
            }
            match self.rows - row {
                1 => self.tile::<L, 1>(panel, row),
                2 => self.tile::<L, 2>(panel, row),
                3 => self.tile::<L, 3>(panel, row),
                4 => self.tile::<L, 4>(panel, row),
                5 => self.tile::<L, 5>(panel, row),
                _ => {}
            }
        }
    }
}

impl<T: Simd> Product<'_, T> {
    #[inline(always)]
    fn tile<L: Lanes<T = T>, const R: usize>(&mut self, panel: usize, first: usize) {
        let inputs = self.dense.inputs;
        let weights = self.dense.panels[panel * inputs..(panel + 1) * inputs].as_chunks::<GROUP>().0;
        let bias = &self.dense.bias[panel];
        let place = self.out.layout.place(panel);
        let mut column = 0;
        while column < GROUP {
            let mut sums = [[L::zero(); 2]; R];
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = [L::load(&bias[column..]), L::load(&bias[column + L::N..])];
                if self.add {
                    let from = self.out.group(first + r, place);
                    *sum = [sum[0] + L::load(&from[column..]), sum[1] + L::load(&from[column + L::N..])];
                }
            }
            for (group, weights) in weights.iter().enumerate() {
                let at = self.x.layout.place(group);
                let mut x = [self.x.group(first, at); R];
                for (r, x) in x.iter_mut().enumerate().skip(1) {
                    *x = self.x.group(first + r, at);
                }
                for k in 0..GROUP {
                    let (a, b) = (L::load(&weights[k][column..]), L::load(&weights[k][column + L::N..]));
                    for r in 0..R {
                        let x = L::splat(x[r][k]);
                        sums[r] = [x.fma(a, sums[r][0]), x.fma(b, sums[r][1])];
                    }
                }
            }
            for (r, sum) in sums.iter().enumerate() {
                let out = self.out.group_mut(first + r, place);
                sum[0].store(&mut out[column..]);
                sum[1].store(&mut out[column + L::N..]);
            }
            column += 2 * L::N;
        }
    }
}

/// Contiguous rows of one block, `groups` groups each.
pub fn plain(groups: usize) -> Layout {
    Layout { row: groups * GROUP, first: 0, blocks: 1, group: GROUP }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 0.37).sin()).collect()
    }

    #[test]
    fn every_row_is_its_sum_whatever_stands_beside_it() {
        // Two blocks of 5 into three of 20, group by group.
        let (out, into) = (Blocks { count: 3, channels: 20 }, Blocks { count: 2, channels: 5 });
        let (w, b) = (weights(600), weights(60));
        let dense = Dense::<f64>::new(&w, Some(&b), out, into);
        for rows in 1..14 {
            let mut x = vec![0.0; rows * 32];
            let value = |r: usize, i: usize| (r as f64 + 1.7 * i as f64).cos();
            for r in 0..rows {
                for i in 0..10 {
                    x[r * 32 + into.place(i / 5, i % 5)] = value(r, i);
                }
            }
            let mut y = vec![7.0; rows * 96];
            let layout = Layout { row: 32, first: 0, blocks: 1, group: GROUP };
            dense.apply(layout.of(&x), rows, plain(6).of_mut(&mut y), false);
            for r in 0..rows {
                for o in 0..60 {
                    let sum = (0..10).fold(b[o], |s, i| value(r, i).mul_add(w[o * 10 + i], s));
                    assert!((y[r * 96 + out.place(o / 20, o % 20)] - sum).abs() < 1e-13);
                }
                assert_eq!(y[r * 96 + out.place(0, 19) + 1], 0.0, "padding stays 0");
            }
            let mut single = vec![0.0; 96];
            dense.apply(layout.of(&x[(rows - 1) * 32..]), 1, plain(6).of_mut(&mut single), false);
            assert_eq!(single, y[(rows - 1) * 96..]);
        }
    }

    #[test]
    fn the_portable_form_agrees_and_the_transpose_is_the_transpose() {
        let (out, into) = (Blocks::one(18), Blocks::one(33));
        let w = weights(18 * 33);
        let (forward, back) = (Dense::<f32>::new(&w, None, out, into), Dense::<f32>::transposed(&w, out, into));
        let x: Vec<f32> = (0..48).map(|i| if i < 33 { (i as f32).sin() } else { 0.0 }).collect();
        let g: Vec<f32> = (0..32).map(|i| if i < 18 { (i as f32).cos() } else { 0.0 }).collect();
        let (mut y, mut z, mut plainly) = (vec![0f32; 32], vec![0f32; 48], vec![0f32; 32]);
        forward.apply(plain(3).of(&x), 1, plain(2).of_mut(&mut y), false);
        back.apply(plain(2).of(&g), 1, plain(3).of_mut(&mut z), true);
        let (a, b): (f32, f32) = (
            y.iter().zip(&g).map(|(a, b)| a * b).sum(),
            z.iter().zip(&x).map(|(a, b)| a * b).sum(), //
        );
        assert!((a - b).abs() < 1e-4 * a.abs().max(1.0));
        let job =
            Product { dense: &forward, x: plain(3).of(&x), rows: 1, out: plain(2).of_mut(&mut plainly), add: false };
        job.run::<<f32 as Simd>::Plain>();
        assert!(y.iter().zip(&plainly).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
