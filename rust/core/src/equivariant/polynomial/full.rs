//! Fully connected products, out[w,k] += sum_{u,v} W[u,v,w] T[u,v,k], T[u,v,k] = sum_ij C x[u,i] y[v,j]: tile by tile of rows, T
//! as a channel-wise product and the sum over (u, v) as a linear map, so that neither all of T nor a loop over W per row is made.

use super::channels;
use super::form::{Form, MODES, Term};
use super::lanes;
use super::linear;
use super::rows::{Mode, Rows};
use crate::basis::lanes::Simd;

/// Rows whose products are held at once.
const TILE: usize = 256;

#[derive(Debug)]
pub struct Table {
    /// (x, y) -> T.
    couple: channels::Table,
    /// (W, T) -> out.
    mix: linear::Table,
    /// Operands W, x, y.
    operands: [usize; 3],
    sizes: Vec<usize>,
    /// Length of a row of T.
    width: usize,
}

impl Table {
    /// None where the form is of another kind.
    pub fn recognize(form: &Form) -> Option<Table> {
        let operands = form.terms.first()?.operands.clone();
        if form.sizes.len() != 4 || operands.len() != 4 || form.terms.iter().any(|t| t.operands != operands) {
            return None;
        }
        let place = (0..3).find(|&w| form.terms.iter().all(|t| last_mode(t, w).is_some()))?;
        let others: Vec<usize> = (0..3).filter(|&f| f != place).collect();
        let [x, y] = others[..] else { return None };
        if operands[x] == operands[y] || operands[x] == operands[place] || operands[y] == operands[place] {
            return None;
        }
        let (mut width, mut couple, mut mix) = (0, Vec::new(), Vec::new());
        for term in &form.terms {
            let last = last_mode(term, place)?;
            let inner: Vec<usize> = (0..MODES).filter(|&n| n != last && term.extents[n] > 1).collect();
            let count: usize = inner.iter().map(|&n| term.extents[n]).product();
            let mut extents = [1; MODES];
            let mut steps: [[usize; MODES]; 3] = [[0; MODES]; 3]; // of x, y and T
            let mut next = 1;
            for (m, &n) in inner.iter().enumerate() {
                extents[m] = term.extents[n];
                (steps[0][m], steps[1][m], steps[2][m]) = (term.strides[x][n], term.strides[y][n], next);
                next *= term.extents[n];
            }
            if inner.is_empty() {
                steps = [[1, 0, 0, 0], [0; MODES], [1, 0, 0, 0]]; // one channel is still a lane
            }
            let (mut offsets, mut coefficients) = (Vec::new(), Vec::new());
            let mut seen: Vec<([usize; 2], usize)> = Vec::new();
            for (at, c) in term.paths() {
                let key = [at[place], at[3]];
                let to = match seen.iter().find(|(k, _)| *k == key) {
                    Some((_, to)) => *to,
                    None => {
                        seen.push((key, width));
                        width += count;
                        width - count
                    }
                };
                offsets.extend([at[x], at[y], to]);
                coefficients.push(c);
            }
            couple.push(Term { operands: vec![0, 1, 2], extents, strides: steps.to_vec(), offsets, coefficients });
            mix.extend(mixing(term, place, last, &inner, &seen));
        }
        let couple = Form { sizes: vec![form.sizes[operands[x]], form.sizes[operands[y]], width], terms: couple };
        let mix = Form { sizes: vec![form.sizes[operands[place]], width, form.sizes[3]], terms: mix };
        Some(Table {
            couple: channels::Table::recognize(&couple)?,
            mix: linear::Table::recognize(&mix)?,
            operands: [operands[place], operands[x], operands[y]],
            sizes: form.sizes.clone(),
            width,
        })
    }

    /// Arrays of (x, y, T) as the channel-wise product has its roles.
    fn by_role<'s, T>(&self, values: [&'s [T]; 3]) -> [&'s [T]; 4] {
        self.couple.operands.map(|o| o.map_or(&[][..], |o| values[o]))
    }

    pub fn fits(&self, rows: &Rows) -> bool {
        !matches!(rows.modes[self.operands[0]], Mode::Own)
    }

    /// Adds towards the operands that have an `out`: either the output or inputs. `arrays` and `outs` by operand.
    pub fn add<T: Simd>(&self, rows: &Rows, arrays: &[&[T]; 4], outs: &mut [Option<&mut [T]>; 4]) {
        let [w, x, y] = self.operands;
        let towards_out = outs[3].is_some();
        let mut t = vec![T::ZERO; TILE.min(rows.count) * self.width];
        let mut grad_t = vec![T::ZERO; if towards_out { 0 } else { t.len() }];
        for first in (0..rows.count).step_by(TILE) {
            let count = TILE.min(rows.count - first);
            let tile = |o: usize| match rows.modes[o] {
                Mode::Indexed(index) => Mode::Indexed(&index[first..first + count]),
                mode => mode,
            };
            // A part of the array where each row has its own.
            let part = |o: usize| match rows.modes[o] {
                Mode::Own if !arrays[o].is_empty() => &arrays[o][first * self.sizes[o]..][..count * self.sizes[o]],
                _ => arrays[o],
            };
            let span = |o: usize| match rows.modes[o] {
                Mode::Own => (first * self.sizes[o], count * self.sizes[o]),
                _ => (0, usize::MAX),
            };
            let (t, coupling) =
                (&mut t[..count * self.width], Rows { count, modes: vec![tile(x), tile(y), Mode::Own] });
            let mixing = Rows { count, modes: vec![tile(w), Mode::Own, tile(3)] };
            t.fill(T::ZERO);
            if towards_out || outs[w].is_some() {
                let arrays = self.by_role([part(x), part(y), &[]]);
                lanes::add(&self.couple, &coupling, arrays, [None, None, None, Some(&mut *t)]);
            }
            if towards_out {
                let mut found = [None, None, cut(&mut outs[3], span(3)), None];
                self.mix.add(&mixing, &[arrays[w], t, &[], &[]], &mut found);
                continue;
            }
            if let Some(out) = outs[w].as_deref_mut() {
                self.mix.add(&mixing, &[arrays[w], t, part(3), &[]], &mut [Some(out), None, None, None]);
            }
            let grad_t = &mut grad_t[..count * self.width];
            grad_t.fill(T::ZERO);
            self.mix.add(&mixing, &[arrays[w], &[], part(3), &[]], &mut [None, Some(&mut *grad_t), None, None]);
            for (o, number) in [(x, 0), (y, 1)] {
                if let Some(out) = cut(&mut outs[o], span(o)) {
                    let mut found: [Option<&mut [T]>; 4] = [const { None }; 4];
                    if let Some(role) = self.couple.operands.iter().position(|&r| r == Some(number)) {
                        found[role] = Some(out);
                    }
                    lanes::add(&self.couple, &coupling, self.by_role([part(x), part(y), grad_t]), found);
                }
            }
        }
    }
}

/// The values (first, count) of a result, or what there is of them.
fn cut<'o, T>(out: &'o mut Option<&mut [T]>, (first, count): (usize, usize)) -> Option<&'o mut [T]> {
    let out = out.as_deref_mut()?;
    let end = first.saturating_add(count).min(out.len());
    Some(&mut out[first..end])
}

/// The mode that only W and the output have.
fn last_mode(term: &Term, w: usize) -> Option<usize> {
    let inputs = |n: usize| (0..3).filter(move |&f| f != w).all(|f| term.strides[f][n] == 0);
    (0..MODES).find(|&n| term.strides[w][n] > 0 && term.strides[3][n] > 0 && inputs(n)).filter(|&last| {
        // every other mode is summed over: W has it, the output does not
        (0..MODES)
            .filter(|&n| n != last && term.extents[n] > 1)
            .all(|n| term.strides[w][n] > 0 && term.strides[3][n] == 0)
    })
}

/// (W, T) -> out: the first summed mode as the inner side of dense products, further ones written out.
fn mixing(term: &Term, place: usize, last: usize, inner: &[usize], seen: &[([usize; 2], usize)]) -> Vec<Term> {
    let (w, out) = (&term.strides[place], &term.strides[3]);
    let (first, rest) = inner.split_first().map_or((None, inner), |(f, r)| (Some(*f), r));
    let side = first.map_or(1, |n| term.extents[n]);
    let mut offsets = Vec::new();
    for &([at_w, at_out], at_t) in seen {
        let total: usize = rest.iter().map(|&n| term.extents[n]).product();
        for index in 0..total {
            let (mut left, mut from_w, mut from_t, mut step) = (index, at_w, at_t, side);
            for &n in rest {
                let i = left % term.extents[n];
                left /= term.extents[n];
                (from_w, from_t) = (from_w + i * w[n], from_t + i * step);
                step *= term.extents[n];
            }
            offsets.extend([from_w, from_t, at_out]);
        }
    }
    let coefficients = vec![1.0; offsets.len() / 3];
    let extents = [side, term.extents[last], 1, 1];
    let strides = vec![[first.map_or(1, |n| w[n]), w[last], 0, 0], [1, 0, 0, 0], [0, out[last], 0, 0]];
    vec![Term { operands: vec![0, 1, 2], extents, strides, offsets, coefficients }]
}
