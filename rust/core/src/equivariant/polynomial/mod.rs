//! Polynomials of segmented operands: one description, several executors, derivatives derived from the description.
//!
//! A path is a product of factors, one number of each. Its derivatives to the second order are the same product towards
//! another factor, with one factor replaced by its cotangent; [`backward`] and [`backward_twice`] say which.

mod channels;
pub mod form;
mod full;
mod general;
mod lanes;
mod linear;
pub(crate) mod rows;
mod symmetric;

use form::{Form, Polynomial};
use rows::{Mode, Rows};

use crate::basis::lanes::Simd;
use crate::call::{Call, Operand};
use crate::error::Result;

/// The executors that know a form. Each takes some ways in which rows meet; what none takes, the general one does.
pub struct Engines {
    linear: Option<linear::Table>,
    full: Option<full::Table>,
    channels: Option<channels::Table>,
    symmetric: Option<symmetric::Symmetric>,
}

impl Engines {
    pub fn choose(form: &Form) -> Self {
        let (linear, full) = (linear::Table::recognize(form), full::Table::recognize(form));
        let symmetric = symmetric::Symmetric::recognize(form);
        Engines {
            linear,
            channels: if full.is_some() { None } else { channels::Table::recognize(form) },
            full,
            symmetric,
        }
    }
}

/// One call: operands, how their rows meet, and where its further operands begin.
struct Plan<'a, T> {
    polynomial: std::sync::Arc<Polynomial>,
    rows: Rows<'a>,
    inputs: Vec<&'a [T]>,
    /// Of the first operand after the op's own.
    next: usize,
}

impl<'a, T: Simd> Plan<'a, T> {
    fn new(count: usize, call: &Call<'a, T>, out_len: Option<usize>) -> Result<Self> {
        let polynomial = form::find((call.params[0] as u64, call.params[1] as u64))?;
        let sizes = &polynomial.form.sizes;
        let inputs: Vec<&[T]> = (0..count).map(|n| call.real(n)).collect();
        let modes: Vec<Mode> = (0..=count)
            .map(|n| match call.params[2 + n] as i64 {
                0 => Mode::Own,
                1 => Mode::Shared,
                _ => Mode::Indexed(call.indices(count + n)),
            })
            .collect();
        let next = 2 * count + 1;
        let out_len = out_len.unwrap_or_else(|| match call.inputs.get(next) {
            Some(Operand::Real(g)) => g.len(),
            _ => 0,
        });
        let height = |n: usize| match inputs.get(n) {
            Some(x) => x.len() / sizes[n].max(1),
            None => out_len / sizes[n].max(1),
        };
        let indexed = modes.iter().find_map(|m| if let Mode::Indexed(index) = m { Some(index.len()) } else { None });
        let own = (0..=count).find(|&n| matches!(modes[n], Mode::Own) && sizes[n] > 0).map(height);
        let rows = Rows { count: indexed.or(own).unwrap_or(1), modes };
        let heights: Vec<usize> = (0..=count)
            .map(|n| match rows.modes[n] {
                _ if sizes[n] > 0 => height(n),
                Mode::Own => rows.count,
                Mode::Shared => 1,
                Mode::Indexed(_) => usize::MAX, // rows of no width: any index reads nothing
            })
            .collect();
        rows.check(&heights)?;
        Ok(Plan { polynomial, rows, inputs, next })
    }
}

/// By operand: None where nothing is asked for.
type Outs<'o, T> = [Option<&'o mut [T]>; 4];

/// A polynomial, its inputs and how their rows meet.
struct Meeting<'a, T> {
    polynomial: &'a Polynomial,
    rows: &'a Rows<'a>,
    inputs: &'a [&'a [T]],
}

impl Polynomial {
    /// Adds the value on rows that fit the arrays to `out`: for engines that hold their own arrays.
    pub fn forward<T: Simd>(&self, rows: &Rows, inputs: &[&[T]], out: &mut [T]) {
        if let Some(engine) = &self.engines.symmetric {
            return engine.forward(rows, inputs, out);
        }
        let mut outs = [const { None }; 4];
        outs[inputs.len()] = Some(out);
        add(&Meeting { polynomial: self, rows, inputs }, None, &[], outs);
    }

    /// Adds the vjp of `grad` towards the inputs that have an `out`.
    pub fn towards<T: Simd>(&self, rows: &Rows, inputs: &[&[T]], grad: &[T], outs: [Option<&mut [T]>; 3]) {
        let [first, second, third] = outs;
        if let Some(engine) = &self.engines.symmetric {
            // This executor always makes both; what nobody asked for goes nowhere.
            let spare = |o: &Option<&mut [T]>, n: usize| vec![T::ZERO; if o.is_some() { 0 } else { inputs[n].len() }];
            let (mut w, mut x) = (spare(&first, 0), spare(&second, 1));
            return engine.backward(rows, inputs, grad, first.unwrap_or(&mut w), second.unwrap_or(&mut x));
        }
        add(&Meeting { polynomial: self, rows, inputs }, None, grad, [first, second, third, None]);
    }
}

/// Adds the polynomial's products towards the operands that have an `out`, either the output or inputs; `h` stands in for one
/// input, `grad` for the output.
fn add<T: Simd>(call: &Meeting<T>, h: Option<(usize, &[T])>, grad: &[T], mut outs: Outs<T>) {
    let (rows, engines, form) = (call.rows, &call.polynomial.engines, &call.polynomial.form);
    let output = call.inputs.len();
    let arrays: [&[T]; 4] = std::array::from_fn(|o| match h {
        _ if o == output => grad,
        Some((r, h)) if r == o => h,
        _ => call.inputs.get(o).copied().unwrap_or(&[]),
    });
    if let Some(table) = engines.linear.as_ref().filter(|t| t.fits(rows)) {
        return table.add(rows, &arrays, &mut outs);
    }
    if let Some(table) = engines.full.as_ref().filter(|t| t.fits(rows)) {
        return table.add(rows, &arrays, &mut outs);
    }
    if let Some(table) = &engines.channels {
        let found = table.operands.map(|o| o.and_then(|o| outs[o].take()));
        return lanes::add(table, rows, table.operands.map(|o| o.map_or(&[][..], |o| arrays[o])), found);
    }
    // Factor by factor: an input that comes several times is replaced, and aimed at, in one place at a time.
    for term in &form.terms {
        let last = term.factors() - 1;
        let places: Vec<Option<usize>> = match h {
            Some((r, _)) => (0..last).filter(|&f| term.operands[f] == r).map(Some).collect(),
            None => vec![None],
        };
        for replaced in places {
            let factors: Vec<&[T]> = (0..=last)
                .map(|f| match term.operands[f] {
                    o if Some(f) == replaced || o == output => arrays[o],
                    o => call.inputs[o],
                })
                .collect();
            for target in (0..=last).filter(|&t| Some(t) != replaced) {
                if let Some(out) = outs[term.operands[target]].as_deref_mut() {
                    general::add(form, term, rows, &factors, target, out);
                }
            }
        }
    }
}

/// Op `polynomial_<count>`.
pub fn forward<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let out = call.out(0);
    let plan = Plan::new(count, call, Some(out.len()))?;
    out.fill(T::ZERO);
    plan.polynomial.forward(&plan.rows, &plan.inputs, out);
    Ok(())
}

/// Towards each input: every factor that is that input is a target once.
pub fn backward<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(count, call, None)?;
    let [x1, x2, x3, _] = zeroed(std::array::from_fn(|o| (o < count).then(|| call.out(o))));
    plan.polynomial.towards(&plan.rows, &plan.inputs, call.real(plan.next), [x1, x2, x3]);
    Ok(())
}

/// With h the cotangents of the vjp's results, the derivative of sum_q <h_q, vjp_q>: one input factor is h, another factor
/// (the cotangent of the output too) the target.
pub fn backward_twice<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(count, call, None)?;
    let mut outs: Outs<T> = zeroed(std::array::from_fn(|o| (o <= count).then(|| call.out(o))));
    let grad = call.real(plan.next);
    if let Some(engine) = &plan.polynomial.engines.symmetric {
        let h = [call.real(plan.next + 1), call.real(plan.next + 2)];
        if let [Some(w), Some(x), Some(out), _] = outs {
            engine.backward_twice(&plan.rows, &plan.inputs, grad, h, [w, x, out]);
        }
        return Ok(());
    }
    for replaced in 0..count {
        let h = Some((replaced, call.real(plan.next + 1 + replaced)));
        let repeated =
            plan.polynomial.form.terms.iter().any(|t| t.operands.iter().filter(|&&o| o == replaced).count() > 1);
        let mut inputs: Outs<T> = [const { None }; 4];
        let mut output: Outs<T> = [const { None }; 4];
        for (o, out) in outs.iter_mut().enumerate() {
            match out.as_deref_mut() {
                Some(out) if o == count => output[o] = Some(out),
                Some(out) if o != replaced || repeated => inputs[o] = Some(out),
                _ => {}
            }
        }
        let call = Meeting { polynomial: &plan.polynomial, rows: &plan.rows, inputs: &plan.inputs };
        add(&call, h, grad, inputs);
        add(&call, h, grad, output);
    }
    Ok(())
}

fn zeroed<T: Simd>(mut outs: Outs<T>) -> Outs<T> {
    outs.iter_mut().flatten().for_each(|o| o.fill(T::ZERO));
    outs
}
