//! The atomwise half of a layer: [V, W] = mu B^T, n = sqrt(V . V + epsilon), s = act([q, n] C1^T + c1) C2^T + c2,
//! q += s_1 + s_3 (V . W), mu += s_2 W; and the way back.
//!
//! Per group of channels a tape row holds [V_x W_x V_y W_y V_z W_z n s_1 s_2 s_3 act'].

use super::messages::GRADIENT;
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::model::graph::activation::times;
use crate::model::graph::dense::plain;
use crate::model::graph::layout::{GROUP, Layout};
use crate::model::graph::rows::{row_of, row_of_mut};
use crate::model::graph::{Activation, Dense};

pub const TAPE: usize = 11 * GROUP;
const PAIR: usize = 2 * GROUP;
const TRIPLE: usize = 3 * GROUP;

/// Dense layers, each with its transpose.
#[derive(Clone, Debug)]
pub struct Mixing<T> {
    pub vectors: [Dense<T>; 2],
    pub first: [Dense<T>; 2],
    pub second: [Dense<T>; 2],
    pub epsilon: f64,
}

/// `blocks` groups from block `first` on, of rows with `size` values a group.
pub fn inside(groups: usize, size: usize, first: usize, blocks: usize) -> Layout {
    Layout { row: groups * size, first: first * GROUP, blocks, group: size }
}

impl<T: Simd> Mixing<T> {
    /// In place on rows [q mu_x mu_y mu_z], with what the way back needs in `tape`.
    pub fn forward(&self, activation: Activation, groups: usize, state: &mut [T], tape: &mut [T]) {
        let rows = state.len() / groups / GRADIENT;
        for a in 0..3 {
            let mu = inside(groups, GRADIENT, 1 + a, 1).of(state);
            self.vectors[0].apply(mu, rows, inside(groups, TAPE, 2 * a, 2).of_mut(tape), false);
        }
        let mut context = vec![T::ZERO; rows * groups * PAIR];
        let epsilon = T::of(self.epsilon);
        dispatch(Norms { groups, rows, epsilon, state, tape, context: &mut context });
        let mut hidden = vec![T::ZERO; rows * groups * GROUP];
        self.first[0].apply(plain(2 * groups).of(&context), rows, plain(groups).of_mut(&mut hidden), false);
        activation.apply(&mut hidden, rows, Some(inside(groups, TAPE, 10, 1).of_mut(tape)));
        self.second[0].apply(plain(groups).of(&hidden), rows, inside(groups, TAPE, 7, 3).of_mut(tape), false);
        dispatch(Update { groups, rows, state, tape });
    }

    /// The gradient in rows [q mu_x mu_y mu_z], from that after the layer to that before, in place.
    pub fn backward(&self, groups: usize, tape: &[T], grad: &mut [T]) {
        let rows = grad.len() / groups / GRADIENT;
        let mut shares = vec![T::ZERO; rows * groups * TRIPLE];
        dispatch(Shares { groups, rows, tape, grad, shares: &mut shares });
        let (mut hidden, mut context) = (vec![T::ZERO; rows * groups * GROUP], vec![T::ZERO; rows * groups * PAIR]);
        self.second[1].apply(plain(3 * groups).of(&shares), rows, plain(groups).of_mut(&mut hidden), false);
        times(&mut hidden, rows, inside(groups, TAPE, 10, 1).of(tape));
        self.first[1].apply(plain(groups).of(&hidden), rows, plain(2 * groups).of_mut(&mut context), false);
        let mut pairs = vec![T::ZERO; rows * groups * 3 * PAIR];
        dispatch(Products { groups, rows, tape, context: &context, grad, pairs: &mut pairs });
        for a in 0..3 {
            let out = inside(groups, GRADIENT, 1 + a, 1).of_mut(grad);
            self.vectors[1].apply(inside(groups, 3 * PAIR, 2 * a, 2).of(&pairs), rows, out, true);
        }
    }
}

#[inline(always)]
fn at<L: Lanes>(group: &[L::T], b: usize, c: usize) -> L {
    L::load(&group[b * GROUP + c..])
}

#[inline(always)]
fn put<L: Lanes>(group: &mut [L::T], b: usize, c: usize, x: L) {
    x.store(&mut group[b * GROUP + c..]);
}

/// sum_a x_(first + step a) y_(other + step' a).
#[inline(always)]
fn dot<L: Lanes>(
    (x, first, step): (&[L::T], usize, usize),
    (y, other, stride): (&[L::T], usize, usize),
    c: usize,
) -> L {
    let sum = at::<L>(x, first, c) * at(y, other, c);
    let sum = at::<L>(x, first + step, c).fma(at(y, other + stride, c), sum);
    at::<L>(x, first + 2 * step, c).fma(at(y, other + 2 * stride, c), sum)
}

/// n of the tape, and [q n].
struct Norms<'a, T> {
    groups: usize,
    rows: usize,
    epsilon: T,
    state: &'a [T],
    tape: &'a mut [T],
    context: &'a mut [T],
}

impl<T: Simd> Job<T> for Norms<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for at_group in 0..self.rows * self.groups {
            let state = &row_of::<GRADIENT, T>(self.state, at_group, 1)[0];
            let tape = &mut row_of_mut::<TAPE, T>(self.tape, at_group, 1)[0];
            let context = &mut row_of_mut::<PAIR, T>(self.context, at_group, 1)[0];
            let mut c = 0;
            while c < GROUP {
                let norm = (dot::<L>((tape, 0, 2), (tape, 0, 2), c) + L::splat(self.epsilon)).sqrt();
                put(tape, 6, c, norm);
                put(context, 0, c, at::<L>(state, 0, c));
                put(context, 1, c, norm);
                c += L::N;
            }
        }
    }
}

/// q += s_1 + s_3 (V . W), mu += s_2 W.
struct Update<'a, T> {
    groups: usize,
    rows: usize,
    state: &'a mut [T],
    tape: &'a [T],
}

impl<T: Simd> Job<T> for Update<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for at_group in 0..self.rows * self.groups {
            let state = &mut row_of_mut::<GRADIENT, T>(self.state, at_group, 1)[0];
            let tape = &row_of::<TAPE, T>(self.tape, at_group, 1)[0];
            let mut c = 0;
            while c < GROUP {
                let product = dot::<L>((tape, 0, 2), (tape, 1, 2), c);
                let added = at::<L>(tape, 9, c).fma(product, at(tape, 7, c));
                let scalar = at::<L>(state, 0, c) + added;
                put(state, 0, c, scalar);
                for a in 0..3 {
                    let moved = at::<L>(tape, 8, c).fma(at(tape, 1 + 2 * a, c), at(state, 1 + a, c));
                    put(state, 1 + a, c, moved);
                }
                c += L::N;
            }
        }
    }
}

/// Gradients of s: [g, m . W, g (V . W)].
struct Shares<'a, T> {
    groups: usize,
    rows: usize,
    tape: &'a [T],
    grad: &'a [T],
    shares: &'a mut [T],
}

impl<T: Simd> Job<T> for Shares<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for at_group in 0..self.rows * self.groups {
            let tape = &row_of::<TAPE, T>(self.tape, at_group, 1)[0];
            let grad = &row_of::<GRADIENT, T>(self.grad, at_group, 1)[0];
            let shares = &mut row_of_mut::<TRIPLE, T>(self.shares, at_group, 1)[0];
            let mut c = 0;
            while c < GROUP {
                let g = at::<L>(grad, 0, c);
                put(shares, 0, c, g);
                put(shares, 1, c, dot::<L>((grad, 1, 1), (tape, 1, 2), c));
                put(shares, 2, c, g * dot::<L>((tape, 0, 2), (tape, 1, 2), c));
                c += L::N;
            }
        }
    }
}

/// Gradients of V and W; that of q is finished in place.
struct Products<'a, T> {
    groups: usize,
    rows: usize,
    tape: &'a [T],
    context: &'a [T],
    grad: &'a mut [T],
    pairs: &'a mut [T],
}

impl<T: Simd> Job<T> for Products<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        for at_group in 0..self.rows * self.groups {
            let tape = &row_of::<TAPE, T>(self.tape, at_group, 1)[0];
            let context = &row_of::<PAIR, T>(self.context, at_group, 1)[0];
            let grad = &mut row_of_mut::<GRADIENT, T>(self.grad, at_group, 1)[0];
            let pairs = &mut row_of_mut::<{ 3 * PAIR }, T>(self.pairs, at_group, 1)[0];
            let mut c = 0;
            while c < GROUP {
                let g = at::<L>(grad, 0, c);
                let product = g * at(tape, 9, c);
                let norm = at::<L>(context, 1, c) / at(tape, 6, c);
                for a in 0..3 {
                    let (v, w) = (at::<L>(tape, 2 * a, c), at::<L>(tape, 2 * a + 1, c));
                    put(pairs, 2 * a, c, product.fma(w, norm * v));
                    put(pairs, 2 * a + 1, c, at::<L>(grad, 1 + a, c).fma(at(tape, 8, c), product * v));
                }
                put(grad, 0, c, g + at(context, 0, c));
                c += L::N;
            }
        }
    }
}
