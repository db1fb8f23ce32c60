//! One call: pairs, coefficients, and what is made of them.

mod derivatives;

use std::ops::Range;

use rayon::prelude::*;

use super::chunk::{Chunk, Group, Kept, Kernel};
use super::{Precision, Soap};
use crate::aligned::Aligned;
use crate::basis::lanes::Simd;
use crate::descriptors::pairs::{Pairs, Request, columns_of};
use crate::descriptors::power::{Compression, Layout, Shape, Spectrum};
use crate::edges::Systems;
use crate::edges::memory::Buffer;
use crate::error::{Error, Result};
use crate::pool;
use crate::stages::{self, Stage};

/// Centres of a task: about 20 microseconds of work.
const TASK: usize = 8;
/// Centres of one partial sum of a mean: fixed, so that the bits do not depend on the number of threads.
const PART: usize = 128;

/// What is made of the coefficients of a centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Power(Layout, Compression),
    /// c_n00, [S, n_0].
    Radial,
    /// [S, F].
    Coefficients,
}

/// Over the centres of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Average {
    None,
    /// Of the coefficients.
    Inner,
    /// Of the results.
    Outer,
}

pub struct Input<'a, T> {
    pub systems: Systems<'a, T>,
    /// [N]; 0 is a point that is a centre only.
    pub numbers: &'a [u8],
    /// [S], ascending.
    pub species: &'a [u8],
    /// [S], or empty for ones.
    pub species_weights: &'a [f64],
    /// Rows that are centres; `None`: all.
    pub centers: Option<&'a [u32]>,
    pub kind: Kind,
    pub average: Average,
    /// Whether a centre at an atom moves with it.
    pub attached: bool,
    /// Without SIMD.
    pub portable: bool,
}

/// Pairs and layout of a call.
pub struct Run<'a, T: Simd> {
    pub soap: &'a Soap,
    pub pairs: Pairs<T>,
    pub spectrum: Spectrum,
    pub kind: Kind,
    average: Average,
    pub attached: bool,
    prepared: &'a super::Prepared<T>,
    factors: Vec<f64>,
    /// Own column of each centre, or -1.
    own: Vec<i32>,
    /// Consecutive centres of each frame.
    frames: Vec<Range<usize>>,
    portable: bool,
}

/// Buffers of a thread.
pub struct Scratch<T> {
    pub chunk: Chunk<T>,
    kept: Kept<T>,
    pub panel: Aligned<T>,
    pub along: Aligned<T>,
    pub grad: Aligned<T>,
    pub dgrad: Aligned<T>,
    pub matrix: Aligned<T>,
    pub row: Vec<T>,
}

/// `work(scratch, item)` for all items, in parallel where it pays.
pub fn each<I: Send, S>(
    cost_ns: usize,
    items: Vec<I>,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, I) + Sync + Send,
) {
    pool::run(cost_ns, |threads| match threads {
        1 => {
            let mut s = scratch();
            items.into_iter().for_each(|i| work(&mut s, i));
        }
        _ => items.into_par_iter().for_each_init(&scratch, |s, i| work(s, i)),
    });
}

impl<'a, T: Precision> Run<'a, T> {
    pub fn new(soap: &'a Soap, input: &Input<T>, interrupted: &mut dyn FnMut() -> bool) -> Result<Self> {
        let prepared = soap.prepared::<T>()?;
        let columns = input.species.len();
        let column = columns_of(input.numbers, input.species)?;
        let rows = input.numbers.len();
        if let Some(&bad) = input.centers.into_iter().flatten().find(|&&c| c as usize >= rows) {
            return Err(Error::value("centers", &format!("rows in [0, {rows})"), bad));
        }
        let request = Request {
            column: &column,
            columns,
            cutoff: soap.reach,
            inclusive: soap.inclusive,
            // An atom that moves off its centre is a neighbour like others.
            self_pair: !input.attached,
            centers: input.centers,
        };
        let pairs = Pairs::new(&input.systems, &request, input.portable, interrupted)?;
        let shape = Shape { radial: prepared.rows.counts.clone(), species: columns };
        let spectrum = match input.kind {
            Kind::Power(layout, compression) => Spectrum::new::<T>(shape, layout, compression),
            _ => Spectrum::new::<T>(shape, Layout::Featomic, Compression::None),
        };
        let factors = match input.species_weights {
            [] => vec![1.0; columns],
            given => given.to_vec(),
        };
        let own = pairs.center.iter().map(|&c| column[c as usize]).collect();
        let mut frames = vec![0..0; input.systems.offsets.len() - 1];
        let mut from = 0;
        for (b, frame) in frames.iter_mut().enumerate() {
            let end = from + pairs.system[from..].iter().take_while(|&&s| s as usize == b).count();
            *frame = from..end;
            from = end;
        }
        if from != pairs.centers() && input.average != Average::None {
            return Err(Error::value("centers", "in the order of the systems", "others"));
        }
        let (kind, average, attached, portable) = (input.kind, input.average, input.attached, input.portable);
        Ok(Run { soap, pairs, spectrum, kind, average, attached, prepared, factors, own, frames, portable })
    }

    /// D.
    pub fn features(&self) -> usize {
        let shape = &self.spectrum.shape;
        match self.kind {
            Kind::Power(..) => self.spectrum.features(),
            Kind::Radial => shape.species * shape.radial[0],
            Kind::Coefficients => shape.species * shape.width(),
        }
    }

    /// C, or B of a mean.
    pub fn rows(&self) -> usize {
        if self.average == Average::None { self.pairs.centers() } else { self.frames.len() }
    }

    pub fn scratch(&self) -> Scratch<T> {
        let zeros = |n: usize| Aligned::new(T::ZERO, n);
        let panel = || zeros(self.spectrum.panel_len());
        Scratch {
            chunk: Chunk::new(self.prepared),
            kept: Kept::new(self.prepared),
            panel: panel(),
            along: panel(),
            grad: panel(),
            dgrad: panel(),
            matrix: zeros(self.spectrum.matrix_len()),
            row: vec![T::ZERO; self.features()],
        }
    }

    pub fn kernel(&self) -> Kernel<'_, T> {
        Kernel { soap: self.soap, prepared: self.prepared, spectrum: &self.spectrum, portable: self.portable }
    }

    fn cost_ns(&self) -> usize {
        let (row, n) = (self.prepared.rows.len(), self.pairs.len());
        n * (row + 40) + self.pairs.centers() * (200 + self.features())
    }

    /// The pairs of centre c with column a.
    pub fn group<'b>(&'b self, c: usize, a: usize, tangents: Option<&'b [T]>) -> Group<'b, T> {
        let range = self.pairs.group_of(c, a);
        Group {
            vector: &self.pairs.vector[3 * range.start..],
            tangent: tangents.map(|t| &t[3 * range.start..]),
            count: range.len(),
            column: a,
            factor: self.factors[a],
            own: self.own_pair(c, a),
        }
    }

    /// Which of the pairs of centre c with column a is the centre itself.
    pub fn own_pair(&self, c: usize, a: usize) -> Option<usize> {
        if self.attached || self.own[c] != a as i32 {
            return None;
        }
        let center = self.pairs.center[c];
        self.pairs.group_of(c, a).position(|p| self.pairs.target[p] == center && self.pairs.is_home(p))
    }

    /// The coefficients of centre c, and their change under `tangents` of the pairs.
    pub fn panel(&self, chunk: &mut Chunk<T>, c: usize, panel: &mut [T], mut along: Option<(&[T], &mut [T])>) {
        panel.fill(T::ZERO);
        if let Some((_, along)) = &mut along {
            along.fill(T::ZERO);
        }
        let kernel = self.kernel();
        for a in 0..self.pairs.columns {
            let group = self.group(c, a, along.as_ref().map(|(t, _)| *t));
            if group.count > 0 {
                kernel.expand(chunk, &group, panel, along.as_mut().map(|(_, out)| &mut **out));
            }
        }
        self.finish(c, panel);
        if let Some((_, along)) = along {
            self.spectrum.sum_species(along);
        }
    }

    /// [`Run::panel`], leaving in `kept` what [`Kernel::backward`] needs.
    fn panel_kept(&self, kept: &mut Kept<T>, c: usize, panel: &mut [T]) {
        panel.fill(T::ZERO);
        let kernel = self.kernel();
        for a in 0..self.pairs.columns {
            kernel.expand_kept(kept, &self.group(c, a, None), panel);
        }
        self.finish(c, panel);
    }

    /// The centre's own part, and sums over species.
    fn finish(&self, c: usize, panel: &mut [T]) {
        if self.attached
            && let Ok(a) = usize::try_from(self.own[c])
        {
            let (start, ..) = self.spectrum.place(0, a);
            let factor = T::of(self.factors[a]);
            for (x, own) in panel[start..].iter_mut().zip(&self.prepared.own) {
                *x += factor * *own;
            }
        }
        self.spectrum.sum_species(panel);
    }

    /// What is made of a panel, and of the change of one.
    pub fn emit(&self, panel: &[T], out: &mut [T]) {
        let _timer = stages::start(Stage::PowerSpectrum);
        match self.kind {
            Kind::Power(..) if self.portable => self.spectrum.forward_plain(panel, out),
            Kind::Power(..) => self.spectrum.forward(panel, out),
            Kind::Coefficients => self.spectrum.scatter(panel, out),
            Kind::Radial => self.radial(|at, to| out[to] = panel[at]),
        }
    }

    fn radial(&self, mut each: impl FnMut(usize, usize)) {
        let n = self.spectrum.shape.radial[0];
        for a in 0..self.pairs.columns {
            let (start, ..) = self.spectrum.place(0, a);
            (0..n).for_each(|k| each(start + k, a * n + k));
        }
    }

    /// `row`(scratch, centre, its row of `out` [C, D]) of all centres.
    fn each_center(&self, cost_ns: usize, out: &mut [T], row: impl Fn(&mut Scratch<T>, usize, &mut [T]) + Sync + Send) {
        let d = self.features();
        each(
            cost_ns,
            out.chunks_mut(TASK * d).enumerate().collect(),
            || self.scratch(),
            |s, (task, out): (usize, &mut [T])| {
                for (i, out) in out.chunks_exact_mut(d).enumerate() {
                    row(s, task * TASK + i, out);
                }
            },
        );
    }

    /// [C, D], or [B, D] of means.
    pub fn values(&self) -> Result<Buffer<T>> {
        let (d, cost) = (self.features(), self.cost_ns());
        let mut out = Buffer::numbers(self.rows() * d)?;
        if out.is_empty() {
            return Ok(out);
        }
        match self.average {
            Average::None => self.each_center(cost, &mut out, |s, c, out| {
                self.panel(&mut s.chunk, c, &mut s.panel, None);
                self.emit(&s.panel, out);
            }),
            Average::Inner => {
                let (panels, _) = self.mean_panels(None);
                for (panel, out) in panels.iter().zip(out.chunks_exact_mut(d)) {
                    self.emit(panel, out);
                }
            }
            Average::Outer => {
                let sums = self.means(d, |s, c| {
                    self.panel(&mut s.chunk, c, &mut s.panel, None);
                    self.emit(&s.panel, &mut s.row);
                });
                out.copy_from_slice(&sums);
            }
        }
        Ok(out)
    }

    /// Means [B, width] over frames of what `row` leaves in the scratch's row, in parts of fixed size.
    fn means(&self, width: usize, row: impl Fn(&mut Scratch<T>, usize) + Sync + Send) -> Vec<T> {
        let parts = self.parts();
        let mut sums = vec![T::ZERO; parts.len() * width];
        let items = parts.iter().zip(sums.chunks_mut(width.max(1))).collect();
        each(
            self.cost_ns(),
            items,
            || self.scratch(),
            |s, ((_, range), sum): (&(usize, Range<usize>), &mut [T])| {
                for c in range.clone() {
                    row(s, c);
                    sum.iter_mut().zip(&s.row).for_each(|(x, y)| *x += *y);
                }
            },
        );
        let mut out = vec![T::ZERO; self.frames.len() * width];
        for ((b, _), sum) in parts.iter().zip(sums.chunks(width.max(1))) {
            let scale = T::of(1.0 / self.frames[*b].len() as f64);
            out[b * width..(b + 1) * width].iter_mut().zip(sum).for_each(|(x, y)| *x += *y * scale);
        }
        out
    }

    fn parts(&self) -> Vec<(usize, Range<usize>)> {
        let cut = |(b, frame): (usize, &Range<usize>)| {
            let (start, end) = (frame.start, frame.end);
            (start..end).step_by(PART).map(move |c| (b, c..(c + PART).min(end))).collect::<Vec<_>>()
        };
        self.frames.iter().enumerate().flat_map(cut).collect()
    }

    /// The mean panel of each frame, and of its change.
    fn mean_panels(&self, tangents: Option<&[T]>) -> (Vec<Vec<T>>, Vec<Vec<T>>) {
        let width = self.spectrum.panel_len();
        let mean = |along: bool| {
            let sums = self.means(width, |s, c| {
                match tangents {
                    Some(t) => self.panel(&mut s.chunk, c, &mut s.panel, Some((t, &mut s.along))),
                    None => self.panel(&mut s.chunk, c, &mut s.panel, None),
                }
                s.row.clear();
                s.row.extend_from_slice(if along { &s.along } else { &s.panel });
            });
            match width {
                0 => vec![Vec::new(); self.frames.len()],
                _ => sums.chunks_exact(width).map(<[T]>::to_vec).collect::<Vec<_>>(),
            }
        };
        (mean(false), if tangents.is_some() { mean(true) } else { Vec::new() })
    }
}
