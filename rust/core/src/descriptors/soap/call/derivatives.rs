//! The way back of a call, its own derivative, and slopes along changes of the pairs.

use std::ops::Range;

use super::{Average, Kind, Run, Scratch, TASK, each};
use crate::descriptors::pairs::cut;
use crate::descriptors::soap::Precision;

impl<T: Precision> Run<'_, T> {
    pub fn emit_along(&self, panel: &[T], along: &[T], out: &mut [T]) {
        match self.kind {
            Kind::Power(..) => self.spectrum.forward_along(panel, along, out),
            _ => self.emit(along, out),
        }
    }

    /// dE/dc from dE/d row.
    fn back(&self, panel: &[T], grad: &[T], matrix: &mut [T], out: &mut [T]) {
        match self.kind {
            Kind::Power(..) => self.spectrum.backward(panel, grad, matrix, out),
            Kind::Coefficients => self.spectrum.gather(grad, out),
            Kind::Radial => {
                out.fill(T::ZERO);
                self.radial(|at, from| out[at] = grad[from]);
            }
        }
    }

    /// Rows of x [P, 3] of each task.
    fn pair_tasks<'b>(&self, x: &'b mut [T]) -> Vec<(Range<usize>, &'b mut [T])> {
        let n = self.pairs.centers();
        let tasks: Vec<_> = (0..n).step_by(TASK).map(|c| c..(c + TASK).min(n)).collect();
        let rows = cut(x, tasks.iter().map(|t| 3 * self.pairs.ptr[t.end * self.pairs.columns]));
        tasks.into_iter().zip(rows).collect()
    }

    /// The row of the cotangent that centre c answers to, and its share.
    fn row_of(&self, c: usize) -> (usize, T) {
        match self.average {
            Average::None => (c, T::ONE),
            _ => {
                let b = self.pairs.system[c] as usize;
                (b, T::of(1.0 / self.frames[b].len() as f64))
            }
        }
    }

    /// x [P, 3] of the pairs from dE/dc of each centre, which `prepare`(scratch, centre, row, that row of `grad`) leaves in the
    /// scratch; with `tangents` of the pairs, where it leaves the change of dE/dc too, the change of x.
    fn to_pairs(
        &self,
        cost_ns: usize,
        grad: &[T],
        tangents: Option<&[T]>,
        prepare: impl Fn(&mut Scratch<T>, usize, usize, &[T]) + Sync + Send,
    ) -> Vec<T> {
        let d = self.features();
        let mut x = vec![T::ZERO; 3 * self.pairs.len()];
        let items = self.pair_tasks(&mut x);
        each(
            cost_ns,
            items,
            || self.scratch(),
            |s, (task, x): (Range<usize>, &mut [T])| {
                let base = self.pairs.ptr[task.start * self.pairs.columns];
                for c in task {
                    let (row, share) = self.row_of(c);
                    s.kept.clear();
                    prepare(s, c, row, &grad[row * d..(row + 1) * d]);
                    if share != T::ONE {
                        s.grad.iter_mut().chain(s.dgrad.iter_mut()).for_each(|g| *g *= share);
                    }
                    for a in 0..self.pairs.columns {
                        let range = self.pairs.group_of(c, a);
                        let x = &mut x[3 * (range.start - base)..3 * (range.end - base)];
                        let (kernel, group) = (self.kernel(), self.group(c, a, tangents));
                        match tangents {
                            None => kernel.backward(&mut s.kept, &group, &s.grad, x),
                            Some(_) => kernel.second(&mut s.chunk, &group, &s.grad, &s.dgrad, x),
                        }
                    }
                }
            },
        );
        x
    }

    /// dE/dr of each pair [P, 3] from dE/d values [rows, D].
    pub fn vjp(&self, grad: &[T]) -> Vec<T> {
        let inner = if self.average == Average::Inner { self.mean_panels(None).0 } else { Vec::new() };
        self.to_pairs(3 * self.cost_ns(), grad, None, |s, c, row, g| {
            if self.average == Average::Inner {
                return self.back(&inner[row], g, &mut s.matrix, &mut s.grad);
            }
            if matches!(self.kind, Kind::Power(..)) {
                self.panel_kept(&mut s.kept, c, &mut s.panel);
                s.kept.rewind();
            }
            self.back(&s.panel, g, &mut s.matrix, &mut s.grad);
        })
    }

    /// dE/dx [N, 3] from dE/dr of pairs.
    pub fn to_positions(&self, x: &[T]) -> Vec<T> {
        self.pairs.to_positions(x, self.attached)
    }

    /// The vjp of [`Run::vjp`] for changes `tangents` [P + PADDING, 3] of the pairs (the cotangent of its x): to the pairs
    /// [P, 3] and to dE/d values [rows, D].
    pub fn second(&self, grad: &[T], tangents: &[T]) -> (Vec<T>, Vec<T>) {
        let power = matches!(self.kind, Kind::Power(..));
        let inner = if self.average == Average::Inner { self.mean_panels(Some(tangents)) } else { Default::default() };
        let x = self.to_pairs(8 * self.cost_ns(), grad, Some(tangents), |s, c, row, g| {
            let (panel, along) = match self.average {
                Average::Inner => (&inner.0[row][..], &inner.1[row][..]),
                _ => {
                    self.panel(&mut s.chunk, c, &mut s.panel, Some((tangents, &mut s.along)));
                    (&s.panel[..], &s.along[..])
                }
            };
            self.back(panel, g, &mut s.matrix, &mut s.grad);
            match power {
                true => self.back(along, g, &mut s.matrix, &mut s.dgrad),
                false => s.dgrad.fill(T::ZERO),
            }
        });
        (x, self.values_along(tangents))
    }

    /// The change of the values [rows, D] under changes of the pairs.
    pub fn values_along(&self, tangents: &[T]) -> Vec<T> {
        let (d, cost) = (self.features(), 3 * self.cost_ns());
        let mut out = vec![T::ZERO; self.rows() * d];
        if out.is_empty() {
            return out;
        }
        let both = |s: &mut Scratch<T>, c: usize| {
            self.panel(&mut s.chunk, c, &mut s.panel, Some((tangents, &mut s.along)));
        };
        match self.average {
            Average::None => self.each_center(cost, &mut out, |s, c, out| {
                both(s, c);
                self.emit_along(&s.panel, &s.along, out);
            }),
            Average::Inner => {
                let (panels, along) = self.mean_panels(Some(tangents));
                for ((panel, along), out) in panels.iter().zip(&along).zip(out.chunks_exact_mut(d)) {
                    self.emit_along(panel, along, out);
                }
            }
            Average::Outer => {
                let sums = self.means(d, |s, c| {
                    both(s, c);
                    let mut row = std::mem::take(&mut s.row);
                    self.emit_along(&s.panel, &s.along, &mut row);
                    s.row = row;
                });
                out.copy_from_slice(&sums);
            }
        }
        out
    }
}
