//! Tensor products of features with harmonics, forward, vjp and its vjp, all from the contractions of `contract`.
//! Formulas: E. Thomas et al., arXiv:1802.08219, eq. 9, over all paths (l1, l2, l_out).

use super::contract::{Groups, channels_inside, product, stack, towards_w, towards_y};
use super::coupling::{Coefficients, coefficients};
use super::paths::{Path, paths};
use super::rows::Rows;
use super::simple::{simple_product, sum_channels};
use super::table::Table;
use crate::basis::Normalization;
use crate::basis::harmonics::{Harmonics, spherical_harmonics, spherical_harmonics_bwd, spherical_harmonics_bwd_bwd};
use crate::basis::lanes::Simd;
use crate::call::{Call, check_index};
use crate::error::{Error, Result};

/// What an op has beside x and y.
#[derive(Clone, Copy)]
pub struct Form {
    /// y is made of edge vectors, which come before x, and x is gathered by `source_idx`.
    pub fused: bool,
    pub weighted: bool,
    /// The result is summed into nodes by `target_idx`.
    pub scatter: bool,
}

/// Largest degree: the whole-number sums of the coefficients are exact to it.
const LARGEST: f64 = 20.0;

/// One call's operands, sizes and tables.
struct Plan<'a, T: Simd> {
    form: Form,
    lmax: [usize; 3],
    all: std::sync::Arc<Coefficients>,
    x: &'a [T],
    vectors: &'a [T],
    w: &'a [T],
    source: Option<&'a [i32]>,
    target: Option<&'a [i32]>,
    c: usize,
    d: usize,
    /// Rows of x and of the result.
    num_x: usize,
    num_out: usize,
    harmonics: Harmonics,
    /// y as given or computed.
    y: std::borrow::Cow<'a, [T]>,
    /// Position of the first operand after the op's own inputs.
    next: usize,
}

impl<'a, T: Simd> Plan<'a, T> {
    /// `out_len`: length of the op's result (or of its gradient).
    fn new(form: Form, call: &Call<'a, T>, out_len: Option<usize>) -> Result<Self> {
        let degree = |l: f64| -> Result<usize> {
            if (0.0..=LARGEST).contains(&l) && l.fract() == 0.0 {
                return Ok(l as usize);
            }
            Err(Error::value("lmax", &format!("a whole number from 0 to {LARGEST}"), l))
        };
        let lmax = [degree(call.params[0])?, degree(call.params[1])?, degree(call.params[2])?];
        let [m1, m2, m3] = lmax.map(|l| (l + 1) * (l + 1));
        let nodes = call.params.get(3).map_or(0, |&n| n as usize);
        let all = coefficients(lmax);
        let (vectors, x) = if form.fused { (call.real(0), call.real(1)) } else { (&[][..], call.real(0)) };
        let mut next = 2;
        let w = if form.weighted { call.real(2) } else { &[] };
        next += usize::from(form.weighted);
        let source = form.fused.then(|| call.indices(next));
        let target = form.scatter.then(|| call.indices(next + 1));
        next += usize::from(form.fused) + usize::from(form.scatter);
        let rows = if form.fused { vectors.len() / 3 } else { call.real(1).len() / m2 };
        let out_len = out_len.unwrap_or_else(|| match call.inputs.get(next) {
            Some(crate::call::Operand::Real(g)) => g.len(),
            _ => 0,
        });
        let num_out = if form.scatter { nodes } else { rows };
        let d = out_len / (num_out * m3).max(1);
        let c = if form.weighted { w.len() / (all.num_paths * d).max(1) } else { d };
        let num_x = if form.fused { x.len() / (c * m1).max(1) } else { rows };
        if let Some(source) = source.filter(|_| c > 0) {
            check_index("source_idx", source, num_x)?;
        }
        if let Some(target) = target {
            check_index("target_idx", target, nodes)?;
        }
        let harmonics =
            Harmonics { lmax: lmax[1], normalize: false, normalization: Normalization::Component, polar_y: true };
        let y = if form.fused {
            let mut y = vec![T::ZERO; rows * m2];
            spherical_harmonics(&harmonics, vectors, &mut y);
            y.into()
        } else {
            call.real(1).into()
        };
        Ok(Plan { form, lmax, all, x, vectors, w, source, target, c, d, num_x, num_out, harmonics, y, next })
    }

    /// From operand `from` to operand `to` by the third, which takes the place of y.
    fn table(&self, from: usize, to: usize) -> Table<T> {
        Table::new(&self.all, self.lmax, [from, 3 - from - to, to], self.form.weighted)
    }

    fn by_result(&self) -> Groups<'_> {
        Groups::new(self.target, self.source, self.num_out)
    }

    fn by_x(&self) -> Groups<'_> {
        Groups::new(self.source, self.target, self.num_x)
    }

    fn inside(&self, x: &[T], operand: usize) -> Vec<T> {
        let channels = if operand == 0 { self.c } else { self.d };
        channels_inside(x, channels, (self.lmax[operand] + 1) * (self.lmax[operand] + 1))
    }

    /// Too few channels to fill the lanes.
    fn has_rows_in_lanes(&self) -> bool {
        !self.form.weighted && !self.form.fused && self.c < 8
    }

    fn rows<'b>(&'b self, paths: &'b [Path]) -> Rows<'b, T> {
        let sizes = self.lmax.map(|l| (l + 1) * (l + 1));
        Rows { paths, sizes, channels: [self.c, self.d], x: self.x, y: &self.y, weights: self.w }
    }

    /// No channels or no rows: every sum is empty.
    fn is_empty(&self) -> bool {
        self.c == 0 || self.d == 0 || self.y.is_empty()
    }
}

pub fn forward<T: Simd>(form: Form, call: &Call<T>) -> Result<()> {
    let out = call.out(0);
    let plan = Plan::new(form, call, Some(out.len()))?;
    if plan.is_empty() {
        out.fill(T::ZERO);
        return Ok(());
    }
    if form.weighted && !form.fused {
        plan.rows(&paths(plan.lmax)).forward(out);
        return Ok(());
    }
    let table = plan.table(0, 2);
    if plan.has_rows_in_lanes() {
        simple_product(&table, plan.x, &plan.y, plan.c, out);
        return Ok(());
    }
    let w = form.weighted.then(|| stack(&table, plan.w, plan.c, plan.d, false));
    let x = plan.inside(plan.x, 0);
    product(&table, &plan.by_result(), &[(vec![(&x, &plan.y)], w.as_deref())], [plan.c, plan.d], out);
    Ok(())
}

/// Results in the order of the op's inputs: (x, y, w), or (vectors, x, w).
pub fn backward<T: Simd>(form: Form, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(form, call, None)?;
    let g = call.real(plan.next);
    let (first, second) = (call.out(0), call.out(1));
    let (out_x, out_y) = if form.fused { (second, first) } else { (first, second) };
    if plan.is_empty() {
        out_x.fill(T::ZERO);
        out_y.fill(T::ZERO);
        if form.weighted {
            call.out(2).fill(T::ZERO);
        }
        return Ok(());
    }
    if form.weighted && !form.fused {
        plan.rows(&paths(plan.lmax)).backward(g, out_x, out_y, call.out(2));
        return Ok(());
    }
    let (table, reversed) = (plan.table(0, 2), plan.table(2, 0));
    if plan.has_rows_in_lanes() {
        simple_product(&reversed, g, &plan.y, plan.c, out_x);
        let (table, c) = (plan.table(0, 1), plan.c);
        let mut each = vec![T::ZERO; out_y.len() * c];
        simple_product(&table, plan.x, g, 1, &mut each);
        sum_channels(&each, c, table.sizes[2], out_y);
        return Ok(());
    }
    let (c, d, y) = (plan.c, plan.d, &plan.y[..]);
    let (x, g) = (plan.inside(plan.x, 0), plan.inside(g, 2));
    let groups = plan.by_result();
    let w = form.weighted.then(|| stack(&table, plan.w, c, d, false));
    let turned = form.weighted.then(|| stack(&reversed, plan.w, c, d, true));
    product(&reversed, &plan.by_x(), &[(vec![(&g, y)], turned.as_deref())], [d, c], out_x);
    if form.fused {
        let mut grad_y = vec![T::ZERO; y.len()];
        towards_y(&table, &groups, &[(&x, w.as_deref())], &g, [c, d], &mut grad_y);
        spherical_harmonics_bwd(&plan.harmonics, plan.vectors, &grad_y, out_y);
    } else {
        towards_y(&table, &groups, &[(&x, w.as_deref())], &g, [c, d], out_y);
    }
    if form.weighted {
        towards_w(&table, &groups, &[(&x, y)], &g, [c, d], call.out(2));
    }
    Ok(())
}

/// The derivative of (vjp, forward) along the cotangents of the vjp's results: the form is trilinear, so each term has one
/// factor replaced by its cotangent.
pub fn backward_twice<T: Simd>(form: Form, call: &Call<T>) -> Result<()> {
    let plan = Plan::new(form, call, None)?;
    let n = plan.next;
    let (first, second) = (call.out(0), call.out(1));
    let (out_x, out_y) = if form.fused { (second, first) } else { (first, second) };
    let out_w = if form.weighted { call.out(2) } else { Default::default() };
    let out_g = call.out(2 + usize::from(form.weighted));
    if plan.is_empty() {
        for out in [out_x, out_y, out_w, out_g] {
            out.fill(T::ZERO);
        }
        return Ok(());
    }
    let (hx, hy) = if form.fused { (call.real(n + 2), call.real(n + 1)) } else { (call.real(n + 1), call.real(n + 2)) };
    let (table, reversed) = (plan.table(0, 2), plan.table(2, 0));
    let (c, d, y, groups) = (plan.c, plan.d, &plan.y[..], plan.by_result());
    let (x, hx, g) = (plan.inside(plan.x, 0), plan.inside(hx, 0), plan.inside(call.real(n), 2));
    let w = form.weighted.then(|| stack(&table, plan.w, c, d, false));
    let turned = form.weighted.then(|| stack(&reversed, plan.w, c, d, true));
    let hw = form.weighted.then(|| stack(&table, call.real(n + 3), c, d, false));
    let hturned = form.weighted.then(|| stack(&reversed, call.real(n + 3), c, d, true));

    // Along h the harmonics move by their derivative, and the vjp of the harmonics by its own.
    let (moved, mut curved) = if form.fused {
        let mut grad_y = vec![T::ZERO; y.len()];
        towards_y(&table, &groups, &[(&x, w.as_deref())], &g, [c, d], &mut grad_y);
        let (mut moved, mut curved) = (vec![T::ZERO; y.len()], vec![T::ZERO; hy.len()]);
        spherical_harmonics_bwd_bwd(&plan.harmonics, plan.vectors, &grad_y, hy, &mut curved, &mut moved);
        (moved.into(), curved)
    } else {
        (std::borrow::Cow::Borrowed(hy), Vec::new())
    };
    let hy = &moved[..];

    let mut to_x = vec![(vec![(&g[..], hy)], turned.as_deref())];
    let mut to_y = vec![(&hx[..], w.as_deref())];
    let mut to_g = vec![(vec![(&hx[..], y), (&x[..], hy)], w.as_deref())];
    if form.weighted {
        to_x.push((vec![(&g, y)], hturned.as_deref()));
        to_y.push((&x, hw.as_deref()));
        to_g.push((vec![(&x, y)], hw.as_deref()));
        towards_w(&table, &groups, &[(&hx, y), (&x, hy)], &g, [c, d], out_w);
    }
    product(&reversed, &plan.by_x(), &to_x, [d, c], out_x);
    product(&table, &groups, &to_g, [c, d], out_g);
    if form.fused {
        let mut grad_y = vec![T::ZERO; y.len()];
        towards_y(&table, &groups, &to_y, &g, [c, d], &mut grad_y);
        spherical_harmonics_bwd(&plan.harmonics, plan.vectors, &grad_y, out_y);
        out_y.iter_mut().zip(&mut curved).for_each(|(a, b)| *a += *b);
    } else {
        towards_y(&table, &groups, &to_y, &g, [c, d], out_y);
    }
    Ok(())
}
