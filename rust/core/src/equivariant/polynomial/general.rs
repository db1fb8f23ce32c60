//! Any polynomial, path by path: grad[o_t] += C prod_{f != t} operand_f[o_f] for a target factor t.
//!
//! The plain executor: scalar, a multiply and an add per factor, path and mode index. It serves what no other executor
//! recognises and is what those are tested against.

use super::form::{FACTORS, Form, MODES, Term};
use super::rows::{Groups, Mode, Rows, for_each_part, parts};
use crate::real::Real;

/// Adds term `term` towards factor `target` to `out`, an array of that factor's operand. `factors`: the array of each factor
/// (that of the target is not read).
pub fn add<T: Real>(form: &Form, term: &Term, rows: &Rows, factors: &[&[T]], target: usize, out: &mut [T]) {
    let width = form.sizes[term.operands[target]];
    if out.is_empty() || rows.count == 0 || term.coefficients.is_empty() {
        return;
    }
    let coefficients: Vec<T> = term.coefficients.iter().map(|&c| T::of(c)).collect();
    let work = rows.count * term.coefficients.len() * term.extents.iter().product::<usize>() * 2;
    let row = |e: usize, out: &mut [T]| {
        let mut blocks: [&[T]; FACTORS] = [&[]; FACTORS];
        for (f, block) in blocks.iter_mut().enumerate().take(term.factors()).filter(|(f, _)| *f != target) {
            let size = form.sizes[term.operands[f]];
            *block = &factors[f][rows.modes[term.operands[f]].row(e) * size..][..size];
        }
        add_row(term, &coefficients, &blocks, target, out);
    };
    match rows.modes[term.operands[target]] {
        Mode::Own => {
            let pieces = parts(rows.count).into_iter().zip(split(out, width, rows.count)).collect();
            for_each_part(work, pieces, |(range, out)| {
                range.zip(out.chunks_exact_mut(width)).for_each(|(e, out)| row(e, out));
            });
        }
        Mode::Indexed(index) => {
            let count = out.len() / width;
            let groups = Groups::new(index, count);
            let pieces = parts(count).into_iter().zip(split(out, width, count)).collect();
            for_each_part(work, pieces, |(range, out)| {
                for (g, out) in range.zip(out.chunks_exact_mut(width)) {
                    groups.rows(g).iter().for_each(|&e| row(e as usize, out));
                }
            });
        }
        Mode::Shared => {
            let sums = for_each_part(work, parts(rows.count), |range| {
                let mut sum = vec![T::ZERO; width];
                range.for_each(|e| row(e, &mut sum));
                sum
            });
            for sum in sums {
                out.iter_mut().zip(sum).for_each(|(o, s)| *o += s);
            }
        }
    }
}

/// `out` cut as [`parts`] cuts its rows.
fn split<T>(out: &mut [T], width: usize, count: usize) -> impl Iterator<Item = &mut [T]> {
    let size = parts(count).first().map_or(1, |r| r.len());
    out.chunks_mut(size * width)
}

fn add_row<T: Real>(term: &Term, coefficients: &[T], blocks: &[&[T]; FACTORS], target: usize, out: &mut [T]) {
    let [n0, n1, n2, n3] = term.extents;
    let others: Vec<usize> = (0..term.factors()).filter(|&f| f != target).collect();
    let to: &[usize; MODES] = &term.strides[target];
    for (path, &c) in term.offsets.chunks_exact(term.factors()).zip(coefficients) {
        for a in 0..n0 {
            for b in 0..n1 {
                for d in 0..n2 {
                    let mut at: [usize; FACTORS] = [0; FACTORS];
                    for &f in &others {
                        let s = &term.strides[f];
                        at[f] = path[f] + a * s[0] + b * s[1] + d * s[2];
                    }
                    let place = path[target] + a * to[0] + b * to[1] + d * to[2];
                    for e in 0..n3 {
                        let mut product = c;
                        for &f in &others {
                            product *= blocks[f][at[f] + e * term.strides[f][3]];
                        }
                        out[place + e * to[3]] += product;
                    }
                }
            }
        }
    }
}
