//! The symmetric contraction: polynomials of a channel's own features, with weights that rows share by an index.
//!
//! ```text
//! out[n, o, u] = sum_mono c[o, mono, u] prod_(i in mono) x[n, i, u],   c[o, mono, u] = sum_k U[o, mono, k] w[z_n, k, u]
//! ```
//!
//! (Batatia et al., MACE, NeurIPS 2022, eq. 10.) Rows are grouped by their weight row z; for each group and each block of
//! channels (SIMD lanes) the weights are folded into c once, and the atoms go through the monomials in tiles
//! ([`sweep`]), so that a coefficient is read once a tile. The weights' gradient is summed on the coefficients and projected
//! with U at the end. The second vjp is the first one with dual numbers: its direction is the cotangents of (w, x). A gathered
//! or shared x and a scattered output are copied to rows of their own around that.
//!
//! Measured on one Zen 3 core (104 Gflop/s), f32, 500 atoms, 128 channels, 10 elements, 0e + 1o + 2e + 3o to 0e + 1o at
//! degree 3 (410 coefficients): forward 4.5 ms, backward 11.6 ms, second vjp 23 ms; counted as 2 and 6 operations a coefficient,
//! 11 and 13 % of the peak. Of the forward pass 58 % are the sweep (bound by the latency of four chains of multiply-adds and by
//! 151 short loops a tile), 19 % the gathering of channels, 12 % the folding of weights, 11 % the writing of results. With 89
//! elements tiles of 4 are a third empty and folding weighs more: 8 and 22 ms.

mod factored;
mod fields;
mod sweep;
mod unit;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::factored::{DEGREE, Factored, Monomials, Parts};
use self::fields::Fields;
use self::unit::{Operands, Order, Sweep, TILE, Unit};
use super::form::Form;
use super::rows::{Groups, Mode, Rows, for_each_part};
use crate::basis::lanes::{Simd, dispatch};

/// A form recognised: operand 0 (the weights) times operand 1 several times, channel by channel.
pub struct Symmetric {
    sizes: [usize; 3],
    channels: usize,
    weights: Fields,
    x: Fields,
    out: Fields,
    terms: Factored,
    folding: Folding,
}

/// U between weights and coefficients. Couplings that are multiples of each other (most of MACE's are) are one class.
struct Folding {
    /// The class and the factor of each weight row.
    rows: Vec<(usize, f64)>,
    classes: usize,
    /// Coefficient n is the sum of parts[ends[n]..ends[n + 1]], each (class, U).
    ends: Vec<usize>,
    parts: Vec<(usize, f64)>,
}

impl Folding {
    fn new(coefficients: &[Parts], rows: usize) -> Self {
        let mut columns: Vec<Vec<(usize, f64)>> = vec![Vec::new(); rows];
        for (n, parts) in coefficients.iter().enumerate() {
            parts.iter().for_each(|&(k, u)| columns[k].push((n, u)));
        }
        let mut classes: Vec<usize> = Vec::new();
        let found: Vec<(usize, f64)> = (0..rows)
            .map(|k| {
                for (class, &first) in classes.iter().enumerate() {
                    if let Some(factor) = multiple(&columns[k], &columns[first]) {
                        return (class, factor);
                    }
                }
                classes.push(k);
                (classes.len() - 1, 1.0)
            })
            .collect();
        let (mut ends, mut list) = (vec![0], Vec::new());
        for parts in coefficients {
            list.extend(parts.iter().filter(|(k, _)| classes[found[*k].0] == *k).map(|&(k, u)| (found[k].0, u)));
            ends.push(list.len());
        }
        Folding { rows: found, classes: classes.len(), ends, parts: list }
    }
}

/// The factor by which `a` is `b`, to rounding.
fn multiple(a: &[(usize, f64)], b: &[(usize, f64)]) -> Option<f64> {
    let factor = a.first().zip(b.first()).map_or(1.0, |(a, b)| a.1 / b.1);
    let same = |(a, b): (&(usize, f64), &(usize, f64))| a.0 == b.0 && (a.1 - factor * b.1).abs() <= 1e-14 * a.1.abs();
    (a.len() == b.len() && a.iter().zip(b).all(same)).then_some(factor)
}

/// Distinct (offset, stride) in order, and their numbers.
#[derive(Default)]
struct Numbering(BTreeMap<(usize, usize), usize>);

impl Numbering {
    fn collect(form: &Form, factor: impl Fn(usize, usize) -> bool) -> Self {
        let mut found = Numbering::default();
        for term in &form.terms {
            for path in term.offsets.chunks_exact(term.factors()) {
                for f in (0..term.factors()).filter(|&f| factor(f, term.factors())) {
                    found.0.insert((path[f], term.strides[f][0]), 0);
                }
            }
        }
        found.0.values_mut().enumerate().for_each(|(n, v)| *v = n);
        found
    }

    fn fields(&self, channels: usize, size: usize) -> Option<Fields> {
        Fields::new(&self.0.keys().copied().collect::<Vec<_>>(), channels, size)
    }
}

impl Symmetric {
    /// None if the form is another kind of polynomial.
    pub fn recognize(form: &Form) -> Option<Self> {
        let sizes: [usize; 3] = form.sizes.as_slice().try_into().ok()?;
        let channels = form.terms.first()?.extents[0];
        let fits = form.terms.iter().all(|t| {
            let inner = &t.operands[1..t.factors() - 1];
            t.extents == [channels, 1, 1, 1]
                && t.operands[0] == 0
                && (1..=DEGREE).contains(&inner.len())
                && inner.iter().all(|&o| o == 1)
        });
        if !fits || form.terms.iter().all(|t| t.factors() < 4) {
            return None; // without a square it is a channel-wise product
        }
        let weights = Numbering::collect(form, |f, _| f == 0);
        let x = Numbering::collect(form, |f, count| f > 0 && f + 1 < count);
        let out = Numbering::collect(form, |f, count| f + 1 == count);
        let mut outputs = vec![Monomials::new(); out.0.len()];
        for term in &form.terms {
            let last = term.factors() - 1;
            for (path, c) in term.paths() {
                let number = |n: &Numbering, f: usize| n.0.get(&(path[f], term.strides[f][0])).copied();
                let mut monomial = (1..last).map(|f| number(&x, f)).collect::<Option<Vec<_>>>()?;
                monomial.sort_unstable();
                let row = number(&weights, 0)?;
                let parts = outputs.get_mut(number(&out, last)?)?.entry(monomial).or_default();
                match parts.iter_mut().find(|(k, _)| *k == row) {
                    Some((_, sum)) => *sum += c,
                    None => parts.push((row, c)),
                }
            }
        }
        let (terms, coefficients) = Factored::new(&outputs, x.0.len());
        Some(Symmetric {
            sizes,
            channels,
            folding: Folding::new(&coefficients, weights.0.len()),
            weights: weights.fields(channels, sizes[0])?,
            x: x.fields(channels, sizes[1])?,
            out: out.fields(channels, sizes[2])?,
            terms,
        })
    }

    pub fn forward<T: Simd>(&self, rows: &Rows, inputs: &[&[T]], out: &mut [T]) {
        let x = gathered(rows, 1, inputs[1], self.sizes[1]);
        let operands = Operands { w: [inputs[0], &[]], x: [&x, &[]], grad: &[] };
        self.scattered(rows, 2, out, |out| self.units(rows, operands, Order::Value, out, &mut [], &mut []));
    }

    pub fn backward<T: Simd>(&self, rows: &Rows, inputs: &[&[T]], grad: &[T], grad_w: &mut [T], grad_x: &mut [T]) {
        let x = gathered(rows, 1, inputs[1], self.sizes[1]);
        let grad = gathered(rows, 2, grad, self.sizes[2]);
        let operands = Operands { w: [inputs[0], &[]], x: [&x, &[]], grad: &grad };
        self.scattered(rows, 1, grad_x, |grad_x| self.units(rows, operands, Order::First, &mut [], grad_w, grad_x));
    }

    /// `h`: the cotangents of (grad_w, grad_x); `outs`: those of w, x and grad.
    pub fn backward_twice<T: Simd>(&self, rows: &Rows, inputs: &[&[T]], grad: &[T], h: [&[T]; 2], outs: [&mut [T]; 3]) {
        let x = gathered(rows, 1, inputs[1], self.sizes[1]);
        let h_x = gathered(rows, 1, h[1], self.sizes[1]);
        let grad = gathered(rows, 2, grad, self.sizes[2]);
        let operands = Operands { w: [inputs[0], h[0]], x: [&x, &h_x], grad: &grad };
        let [w, x, out] = outs;
        self.scattered(rows, 1, x, |x| {
            self.scattered(rows, 2, out, |out| self.units(rows, operands, Order::Second, out, w, x));
        });
    }

    /// Runs `job` with one row of operand `o` for each row of the call, then adds those to `out` as their mode has it.
    fn scattered<T: Simd>(&self, rows: &Rows, o: usize, out: &mut [T], job: impl FnOnce(&mut [T])) {
        if matches!(rows.modes[o], Mode::Own) {
            return job(out);
        }
        let size = self.sizes[o];
        let mut all = vec![T::ZERO; rows.count * size];
        job(&mut all);
        for (e, row) in all.chunks_exact(size).enumerate() {
            let out = &mut out[rows.modes[o].row(e) * size..][..size];
            out.iter_mut().zip(row).for_each(|(o, r)| *o += *r);
        }
    }

    /// `out` and `grad_x` have a row for each row of the call, or are empty where the order does not ask for them.
    fn units<T: Simd>(
        &self,
        rows: &Rows,
        operands: Operands<T>,
        order: Order,
        out: &mut [T],
        grad_w: &mut [T],
        grad_x: &mut [T],
    ) {
        let height = operands.w[0].len() / self.sizes[0];
        let index: Cow<[i32]> = match rows.modes[0] {
            Mode::Indexed(index) => Cow::Borrowed(index),
            Mode::Shared => Cow::Owned(vec![0; rows.count]),
            Mode::Own => Cow::Owned((0..rows.count as i32).collect()),
        };
        let groups = Groups::new(&index, height);
        let parts: Vec<(usize, T)> = self.folding.parts.iter().map(|&(class, u)| (class, T::of(u))).collect();
        // A fixed rule, so that sums over atoms have one order for any number of threads.
        let most = rows.count.div_ceil(16).clamp(16, 256).next_multiple_of(TILE);
        let mut outs: Vec<Option<&mut [T]>> = out.chunks_exact_mut(self.sizes[2]).map(Some).collect();
        let mut grads: Vec<Option<&mut [T]>> = grad_x.chunks_exact_mut(self.sizes[1]).map(Some).collect();
        let mut units = Vec::new();
        for z in 0..height {
            for rows in groups.rows(z).chunks(most) {
                let outs = rows.iter().filter_map(|&e| outs.get_mut(e as usize)?.take()).collect();
                let grads = rows.iter().filter_map(|&e| grads.get_mut(e as usize)?.take()).collect();
                units.push(Unit { table: self, parts: &parts, operands, order, z, rows, outs, grads });
            }
        }
        let cost = self.terms.coefficients() * self.channels / if T::IS_SINGLE { 16 } else { 8 };
        let done = for_each_part(rows.count * cost, units, |unit| {
            let mut sum = vec![T::ZERO; if order == Order::Value { 0 } else { self.sizes[0] }];
            let z = unit.z;
            dispatch(Sweep { unit, grad_w: &mut sum });
            (z, sum)
        });
        for (z, sum) in done {
            grad_w.iter_mut().skip(z * self.sizes[0]).zip(sum).for_each(|(g, s)| *g += s);
        }
    }
}

/// `data` with one row for each row of the call.
fn gathered<'a, T: Simd>(rows: &Rows, o: usize, data: &'a [T], size: usize) -> Cow<'a, [T]> {
    if matches!(rows.modes[o], Mode::Own) {
        return Cow::Borrowed(data);
    }
    let mut all = Vec::with_capacity(rows.count * size);
    (0..rows.count).for_each(|e| all.extend_from_slice(&data[rows.modes[o].row(e) * size..][..size]));
    Cow::Owned(all)
}

#[cfg(test)]
mod tests;
