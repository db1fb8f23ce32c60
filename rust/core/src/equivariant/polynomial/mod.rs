//! Polynomials of segmented operands: one description, several executors, derivatives derived from the description.
//!
//! A path is a product of factors, one number of each. Its derivatives to the second order are the same product towards
//! another factor, with one factor replaced by its cotangent; [`backward`] and [`backward_twice`] say which.

mod channels;
pub mod form;
mod general;
mod lanes;
mod rows;

use form::{Form, Polynomial, Term};
use rows::{Mode, Rows};

use crate::basis::lanes::Simd;
use crate::call::{Call, Operand};
use crate::error::Result;

/// The executor of a form.
pub enum Engine {
    General,
    Channels(channels::Table),
}

impl Engine {
    pub fn choose(form: &Form) -> Self {
        match channels::Table::recognize(form) {
            Some(table) => Engine::Channels(table),
            None => Engine::General,
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

    fn factors(&self, term: &Term) -> Vec<&'a [T]> {
        term.operands.iter().map(|&o| self.inputs.get(o).copied().unwrap_or(&[])).collect()
    }
}

/// Adds a polynomial's products to `outs`, one array per operand: towards the operand that is a target, with the others'
/// arrays in `factors` (by operand). `targets` of one call are either the output or inputs.
fn add<T: Simd>(plan: &Plan<T>, replaced: Option<(usize, &[T])>, grad: &[T], targets: &[usize], outs: &mut [&mut [T]]) {
    let output = plan.inputs.len();
    let array = |o: usize| match replaced {
        _ if o == output => grad,
        Some((r, h)) if r == o => h,
        _ => plan.inputs[o],
    };
    match &plan.polynomial.engine {
        Engine::Channels(table) => {
            let arrays = table.operands.map(|o| o.map_or(&[][..], array));
            let mut found: [Option<&mut [T]>; 4] = [const { None }; 4];
            for (o, out) in outs.iter_mut().enumerate().filter(|(o, _)| targets.contains(o)) {
                if let Some(role) = table.operands.iter().position(|&r| r == Some(o)) {
                    found[role] = Some(out);
                }
            }
            lanes::add(table, &plan.rows, arrays, found);
        }
        Engine::General => unreachable!("the general executor goes by factors"),
    }
}

/// Op `polynomial_<count>`.
pub fn forward<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let out = call.out(0);
    let plan = Plan::new(count, call, Some(out.len()))?;
    out.fill(T::ZERO);
    let form = &plan.polynomial.form;
    if !matches!(plan.polynomial.engine, Engine::General) {
        let mut outs: Vec<&mut [T]> = (0..count).map(|_| &mut [][..]).collect();
        outs.push(out);
        add(&plan, None, &[], &[count], &mut outs);
        return Ok(());
    }
    for term in &form.terms {
        general::add(form, term, &plan.rows, &plan.factors(term), term.factors() - 1, out);
    }
    Ok(())
}

/// Towards each input: every factor that is that input is a target once.
pub fn backward<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(count, call, None)?;
    let mut outs: Vec<&mut [T]> = (0..count).map(|n| call.out(n)).collect();
    outs.iter_mut().for_each(|o| o.fill(T::ZERO));
    let form = &plan.polynomial.form;
    let grad = call.real(plan.next);
    if !matches!(plan.polynomial.engine, Engine::General) {
        let inputs: Vec<usize> = (0..count).collect();
        add(&plan, None, grad, &inputs, &mut outs);
        return Ok(());
    }
    for term in &form.terms {
        let mut factors = plan.factors(term);
        let last = term.factors() - 1;
        factors[last] = grad;
        for target in 0..last {
            general::add(form, term, &plan.rows, &factors, target, &mut *outs[term.operands[target]]);
        }
    }
    Ok(())
}

/// With h the cotangents of the vjp's results, the derivative of sum_q <h_q, vjp_q>: one input factor is h, another factor
/// (the cotangent of the output too) the target.
pub fn backward_twice<T: Simd>(count: usize, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(count, call, None)?;
    let mut outs: Vec<&mut [T]> = (0..=count).map(|n| call.out(n)).collect();
    outs.iter_mut().for_each(|o| o.fill(T::ZERO));
    let form = &plan.polynomial.form;
    let grad = call.real(plan.next);
    if !matches!(plan.polynomial.engine, Engine::General) {
        for replaced in 0..count {
            let h = Some((replaced, call.real(plan.next + 1 + replaced)));
            let others: Vec<usize> = (0..count).filter(|&n| n != replaced).collect();
            add(&plan, h, grad, &others, &mut outs);
            add(&plan, h, grad, &[count], &mut outs);
        }
        return Ok(());
    }
    for term in &form.terms {
        let last = term.factors() - 1;
        for replaced in 0..last {
            let mut factors = plan.factors(term);
            factors[last] = grad;
            factors[replaced] = call.real(plan.next + 1 + term.operands[replaced]);
            for target in (0..=last).filter(|&t| t != replaced) {
                general::add(form, term, &plan.rows, &factors, target, &mut *outs[term.operands[target]]);
            }
        }
    }
    Ok(())
}
