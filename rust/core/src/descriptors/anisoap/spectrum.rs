//! Power spectra and their vjp task by task: coefficients of a few centres at a time, never of all.

use std::ops::Range;

use rayon::prelude::*;

use super::adjoint::{PairGradients, adjoint_task, for_pairs};
use super::basis::Basis;
use super::forward::{expand_task, pair_ns};
use super::shapes::Shapes;
use crate::basis::lanes::Simd;
use crate::descriptors::pairs::{Pairs, cut, tasks};
use crate::descriptors::power::Spectrum;
use crate::pool;
use crate::stages::{self, Stage};

/// Tasks whose spectra are held at a time by [`mean`]. Fixed: no sum depends on the number of threads.
const TOGETHER: usize = 16;

struct Scratch<T> {
    coefficients: Vec<T>,
    panel: Vec<T>,
    back: Vec<T>,
    matrix: Vec<T>,
}

fn work<T: Simd>(basis: &Basis, pairs: &Pairs<T>, spectrum: &Spectrum) -> usize {
    pairs.len() * pair_ns(basis) + pairs.centers() * spectrum.features()
}

/// p [centres, D] of the centres of one task.
fn power_task<T: Simd>(
    basis: &Basis,
    (pairs, shapes): (&Pairs<T>, &Shapes<T>),
    spectrum: &Spectrum,
    task: &Range<usize>,
    out: &mut [T],
) {
    let width = pairs.columns * basis.width();
    let mut coefficients = vec![T::ZERO; task.len() * width];
    expand_task(basis, pairs, shapes, task, &mut coefficients);
    let _timer = stages::start(Stage::PowerSpectrum);
    let mut panel = vec![T::ZERO; spectrum.panel_len()];
    for (i, out) in out.chunks_exact_mut(spectrum.features().max(1)).enumerate() {
        spectrum.gather(&coefficients[i * width..(i + 1) * width], &mut panel);
        spectrum.forward(&panel, out);
    }
}

/// p [C, D].
pub fn power<T: Simd>(basis: &Basis, pairs: &Pairs<T>, shapes: &Shapes<T>, spectrum: &Spectrum) -> Vec<T> {
    let d = spectrum.features();
    let mut out = vec![T::ZERO; pairs.centers() * d];
    let tasks = tasks(pairs.centers());
    let parts = cut(&mut out, tasks.iter().map(|t| t.end * d));
    let one = |(task, out): (&Range<usize>, &mut [T])| power_task(basis, (pairs, shapes), spectrum, task, out);
    pool::run(work(basis, pairs, spectrum), |threads| match threads {
        1 => tasks.iter().zip(parts).for_each(one),
        _ => tasks.par_iter().zip(parts).with_max_len(1).for_each(one),
    });
    out
}

/// The mean [B, D] of p over the centres of each system; zero for a system without any.
pub fn mean<T: Simd>(
    basis: &Basis,
    pairs: &Pairs<T>,
    shapes: &Shapes<T>,
    spectrum: &Spectrum,
    systems: usize,
) -> Vec<T> {
    let d = spectrum.features();
    let mut sums = vec![0.0f64; systems * d];
    let mut counts = vec![0usize; systems];
    let tasks = tasks(pairs.centers());
    for wave in tasks.chunks(TOGETHER) {
        let first = wave[0].start;
        let mut rows = vec![T::ZERO; (wave[wave.len() - 1].end - first) * d];
        let parts = cut(&mut rows, wave.iter().map(|t| (t.end - first) * d));
        let one = |(task, out): (&Range<usize>, &mut [T])| power_task(basis, (pairs, shapes), spectrum, task, out);
        pool::run(work(basis, pairs, spectrum) / tasks.len() * wave.len(), |threads| match threads {
            1 => wave.iter().zip(parts).for_each(one),
            _ => wave.par_iter().zip(parts).with_max_len(1).for_each(one),
        });
        for (row, &b) in rows.chunks_exact(d.max(1)).zip(&pairs.system[first..]) {
            counts[b as usize] += 1;
            for (s, v) in sums[b as usize * d..(b as usize + 1) * d].iter_mut().zip(row) {
                *s += v.to_f64();
            }
        }
    }
    let of = |(k, s): (usize, &f64)| T::of(s / counts[k / d.max(1)].max(1) as f64);
    sums.iter().enumerate().map(of).collect()
}

/// The gradients of E = sum(`grad` * p), `grad` [C, D].
pub fn power_bwd<T: Simd>(
    basis: &Basis,
    (pairs, shapes): (&Pairs<T>, &Shapes<T>),
    spectrum: &Spectrum,
    grad: &[T],
    with_shapes: bool,
) -> PairGradients<T> {
    let (d, width) = (spectrum.features(), pairs.columns * basis.width());
    for_pairs(pairs, with_shapes, 3 * work(basis, pairs, spectrum), |task, vectors, shape| {
        let mut s = Scratch {
            coefficients: vec![T::ZERO; task.len() * width],
            panel: vec![T::ZERO; spectrum.panel_len()],
            back: vec![T::ZERO; spectrum.panel_len()],
            matrix: vec![T::ZERO; spectrum.matrix_len()],
        };
        expand_task(basis, pairs, shapes, task, &mut s.coefficients);
        for (i, own) in s.coefficients.chunks_exact_mut(width.max(1)).enumerate() {
            let c = task.start + i;
            spectrum.gather(own, &mut s.panel);
            spectrum.backward(&s.panel, &grad[c * d..(c + 1) * d], &mut s.matrix, &mut s.back);
            spectrum.scatter(&s.back, own);
        }
        adjoint_task(basis, (pairs, shapes), &s.coefficients, task, vectors, shape);
    })
}
