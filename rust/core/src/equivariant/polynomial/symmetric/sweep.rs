//! The inner loops: a tile of atoms through the trie, channels in SIMD lanes.
//!
//! A node's value is what its product is multiplied with, V = own + sum_leaves c_k x_k + sum_children x_j V_j; the output is
//! that of the tree's root. Its product times the output's cotangent is t (t = grad_out at the root, t_j = t x_j below), and
//! in one pass through the tree
//!
//!     grad x_k += t c_k,  grad c_k += t x_k  (leaves);   grad x_j += t V_j  (children);   grad own += t.
//!
//! So a coefficient costs one multiply-add forward and three backward, and nothing is kept a monomial.

use super::trie::{DEPTH, NONE, Trie};
use crate::basis::lanes::Lanes;

/// A number in every lane, alone or with its derivative along one direction.
pub trait Value: Copy {
    type L: Lanes;
    const SIZE: usize;
    fn zero() -> Self;
    fn load(x: &[<Self::L as Lanes>::T]) -> Self;
    fn store(self, out: &mut [<Self::L as Lanes>::T]);
    fn add(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    /// self * b + c.
    fn fma(self, b: Self, c: Self) -> Self;
    /// self * u + c for a constant u.
    fn scaled_add(self, u: <Self::L as Lanes>::T, c: Self) -> Self;
}

#[derive(Clone, Copy)]
pub struct One<L>(L);

impl<L: Lanes> Value for One<L> {
    type L = L;
    const SIZE: usize = L::N;
    #[inline(always)]
    fn zero() -> Self {
        One(L::zero())
    }
    #[inline(always)]
    fn load(x: &[L::T]) -> Self {
        One(L::load(x))
    }
    #[inline(always)]
    fn store(self, out: &mut [L::T]) {
        self.0.store(out);
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        One(self.0 + b.0)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        One(self.0 * b.0)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        One(self.0.fma(b.0, c.0))
    }
    #[inline(always)]
    fn scaled_add(self, u: L::T, c: Self) -> Self {
        One(self.0.fma(L::splat(u), c.0))
    }
}

#[derive(Clone, Copy)]
pub struct Dual<L>(L, L);

impl<L: Lanes> Value for Dual<L> {
    type L = L;
    const SIZE: usize = 2 * L::N;
    #[inline(always)]
    fn zero() -> Self {
        Dual(L::zero(), L::zero())
    }
    #[inline(always)]
    fn load(x: &[L::T]) -> Self {
        Dual(L::load(x), L::load(&x[L::N..]))
    }
    #[inline(always)]
    fn store(self, out: &mut [L::T]) {
        self.0.store(out);
        self.1.store(&mut out[L::N..]);
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Dual(self.0 + b.0, self.1 + b.1)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Dual(self.0 * b.0, self.0.fma(b.1, self.1 * b.0))
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        Dual(self.0.fma(b.0, c.0), self.0.fma(b.1, self.1.fma(b.0, c.1)))
    }
    #[inline(always)]
    fn scaled_add(self, u: L::T, c: Self) -> Self {
        Dual(self.0.fma(L::splat(u), c.0), self.1.fma(L::splat(u), c.1))
    }
}

type Number<V> = <<V as Value>::L as Lanes>::T;

#[inline(always)]
fn tile<V: Value, const A: usize>(x: &[Number<V>]) -> [V; A] {
    let x = &x[..A * V::SIZE];
    std::array::from_fn(|a| V::load(&x[a * V::SIZE..]))
}

#[inline(always)]
fn store_tile<V: Value, const A: usize>(values: &[V; A], out: &mut [Number<V>]) {
    let out = &mut out[..A * V::SIZE];
    for (a, v) in values.iter().enumerate() {
        v.store(&mut out[a * V::SIZE..]);
    }
}

/// out[o, a] for the atoms a of a tile. c: [coefficients]; x: [components, A]; out: [outputs, A], each a `Value`.
#[inline(always)]
pub fn forward<V: Value, const A: usize>(trie: &Trie, c: &[Number<V>], x: &[Number<V>], out: &mut [Number<V>]) {
    let (s, step) = (V::SIZE, A * V::SIZE);
    let mut v = [[V::zero(); A]; DEPTH];
    let mut path = [0; DEPTH];
    for node in &trie.nodes {
        let d = node.depth % DEPTH;
        path[d] = node.x;
        let mut sum = if node.own == NONE { [V::zero(); A] } else { [V::load(&c[node.own * s..]); A] };
        let cs = c[node.first * s..node.last * s].chunks_exact(s);
        for (&k, c) in trie.leaves[node.first..node.last].iter().zip(cs) {
            let (c, x) = (V::load(c), &x[k * step..][..step]);
            for a in 0..A {
                sum[a] = c.fma(V::load(&x[a * s..]), sum[a]);
            }
        }
        v[d] = sum;
        for k in (node.stop..=d).rev() {
            let x: [V; A] = tile(&x[path[k] * step..]);
            for a in 0..A {
                v[k - 1][a] = x[a].fma(v[k][a], v[k - 1][a]);
            }
        }
        if node.closes {
            store_tile(&v[0], &mut out[path[0] * step..]);
        }
    }
}

/// Values and gradients. x: [components, 2, A], values then (added to) gradients; out: [outputs, 2, A], cotangents then
/// values; g: [coefficients], added to.
#[inline(always)]
pub fn backward<V: Value, const A: usize>(
    trie: &Trie,
    c: &[Number<V>],
    x: &mut [Number<V>],
    out: &mut [Number<V>],
    g: &mut [Number<V>],
) {
    let (s, step) = (V::SIZE, A * V::SIZE);
    let mut v = [[V::zero(); A]; DEPTH];
    let mut t = [[V::zero(); A]; DEPTH];
    let mut path = [0; DEPTH];
    for node in &trie.nodes {
        let d = node.depth % DEPTH;
        path[d] = node.x;
        let mut here: [V; A] = tile(if d == 0 { &out[2 * node.x * step..] } else { &x[2 * node.x * step..] });
        if d > 0 {
            here = std::array::from_fn(|a| here[a].mul(t[d - 1][a]));
        }
        let mut sum = [V::zero(); A];
        if node.own != NONE {
            sum = [V::load(&c[node.own * s..]); A];
            let g = &mut g[node.own * s..][..s];
            here.iter().fold(V::load(g), |g, t| g.add(*t)).store(g);
        }
        let cs = c[node.first * s..node.last * s].chunks_exact(s);
        let gs = g[node.first * s..node.last * s].chunks_exact_mut(s);
        for ((&k, c), g) in trie.leaves[node.first..node.last].iter().zip(cs).zip(gs) {
            let (c, mut all) = (V::load(c), V::load(g));
            let (x, grad) = x[2 * k * step..][..2 * step].split_at_mut(step);
            for a in 0..A {
                let (x, grad) = (V::load(&x[a * s..]), &mut grad[a * s..]);
                sum[a] = c.fma(x, sum[a]);
                all = here[a].fma(x, all);
                c.fma(here[a], V::load(grad)).store(grad);
            }
            all.store(g);
        }
        (v[d], t[d]) = (sum, here);
        for k in (node.stop..=d).rev() {
            let (x, grad) = x[2 * path[k] * step..][..2 * step].split_at_mut(step);
            for a in 0..A {
                let (x, grad) = (V::load(&x[a * s..]), &mut grad[a * s..]);
                t[k - 1][a].fma(v[k][a], V::load(grad)).store(grad);
                v[k - 1][a] = x.fma(v[k][a], v[k - 1][a]);
            }
        }
        if node.closes {
            store_tile(&v[0], &mut out[(2 * path[0] + 1) * step..]);
        }
    }
}
