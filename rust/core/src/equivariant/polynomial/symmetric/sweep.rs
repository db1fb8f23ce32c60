//! The inner loops: a tile of atoms through the factored polynomial, channels in SIMD lanes.
//!
//! A node is p V with V = own + sum_k c_k q_k. With t = grad_out p, in one pass over its leaves
//!
//! ```text
//! V += c_k q_k,   grad q_k += t c_k,   grad c_k += t q_k,   and then grad p += grad_out V,
//! ```
//!
//! so a coefficient costs one multiply-add forward and three backward, and no monomial is kept.

// Loops in place of closures: a closure that is not inlined has not the features of its caller, and each of its operations
// is then a call.

use super::factored::{Factored, NONE};
use crate::basis::lanes::Lanes;

/// A number in every lane, alone or with its derivative along one direction.
pub trait Value: Copy {
    type L: Lanes;
    const SIZE: usize;
    const DUAL: bool = false;
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
    const DUAL: bool = true;
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
    let mut values = [V::zero(); A];
    for a in 0..A {
        values[a] = V::load(&x[a * V::SIZE..]);
    }
    values
}

#[inline(always)]
fn store_tile<V: Value, const A: usize>(values: &[V; A], out: &mut [Number<V>]) {
    let out = &mut out[..A * V::SIZE];
    for (a, v) in values.iter().enumerate() {
        v.store(&mut out[a * V::SIZE..]);
    }
}

/// out[o, a] for the atoms a of a tile. c: [coefficients]; q: [products, A], the components filled in; out: [outputs, A], each
/// a `Value`.
#[inline(always)]
pub fn forward<V: Value, const A: usize>(
    terms: &Factored,
    c: &[Number<V>],
    q: &mut [Number<V>],
    out: &mut [Number<V>],
) {
    let (s, step) = (V::SIZE, A * V::SIZE);
    multiply::<V, A>(terms, q, step);
    for (out, range) in out.chunks_exact_mut(step).zip(terms.ends.windows(2)) {
        let mut total = [V::zero(); A];
        for node in &terms.nodes[range[0]..range[1]] {
            let mut sum = if node.own == NONE { [V::zero(); A] } else { [V::load(&c[node.own * s..]); A] };
            let cs = c[node.first * s..node.last * s].chunks_exact(s);
            for (&k, c) in terms.leaves[node.first..node.last].iter().zip(cs) {
                let (c, q) = (V::load(c), &q[k * step..][..step]);
                for a in 0..A {
                    sum[a] = c.fma(V::load(&q[a * s..]), sum[a]);
                }
            }
            if node.product == NONE {
                for a in 0..A {
                    total[a] = total[a].add(sum[a]);
                }
            } else {
                let q = &q[node.product * step..][..step];
                for a in 0..A {
                    total[a] = sum[a].fma(V::load(&q[a * s..]), total[a]);
                }
            }
        }
        store_tile(&total, out);
    }
}

/// The products that are not components; `stride` from one to the next.
#[inline(always)]
fn multiply<V: Value, const A: usize>(terms: &Factored, q: &mut [Number<V>], stride: usize) {
    let (s, step) = (V::SIZE, A * V::SIZE);
    let first = q.len() / stride - terms.products.len();
    for (n, &(p, i)) in terms.products.iter().enumerate() {
        let (made, to) = q.split_at_mut((first + n) * stride);
        let (p, i, to) = (&made[p * stride..][..step], &made[i * stride..][..step], &mut to[..step]);
        for a in 0..A {
            V::load(&p[a * s..]).mul(V::load(&i[a * s..])).store(&mut to[a * s..]);
        }
    }
}

/// Values and gradients. q: [products, 2, A], values (the components filled in), then gradients (zero before); out:
/// [outputs, 2, A], cotangents, then values, which only dual numbers make; g: [coefficients], added to.
#[inline(always)]
pub fn backward<V: Value, const A: usize>(
    terms: &Factored,
    c: &[Number<V>],
    q: &mut [Number<V>],
    out: &mut [Number<V>],
    g: &mut [Number<V>],
) {
    let (s, step) = (V::SIZE, A * V::SIZE);
    multiply::<V, A>(terms, q, 2 * step);
    for (out, range) in out.chunks_exact_mut(2 * step).zip(terms.ends.windows(2)) {
        let grad: [V; A] = tile(out);
        let mut total = [V::zero(); A];
        for node in &terms.nodes[range[0]..range[1]] {
            let mut t = grad;
            if node.product != NONE {
                let q = &q[2 * node.product * step..][..step];
                for a in 0..A {
                    t[a] = grad[a].mul(V::load(&q[a * s..]));
                }
            }
            let mut sum = [V::zero(); A];
            if node.own != NONE {
                sum = [V::load(&c[node.own * s..]); A];
                let g = &mut g[node.own * s..][..s];
                let mut all = V::load(g);
                for t in t {
                    all = all.add(t);
                }
                all.store(g);
            }
            let cs = c[node.first * s..node.last * s].chunks_exact(s);
            let gs = g[node.first * s..node.last * s].chunks_exact_mut(s);
            for ((&k, c), g) in terms.leaves[node.first..node.last].iter().zip(cs).zip(gs) {
                let (c, mut all) = (V::load(c), V::load(g));
                let (q, grad) = q[2 * k * step..][..2 * step].split_at_mut(step);
                for a in 0..A {
                    let (q, grad) = (V::load(&q[a * s..]), &mut grad[a * s..]);
                    sum[a] = c.fma(q, sum[a]);
                    all = t[a].fma(q, all);
                    c.fma(t[a], V::load(grad)).store(grad);
                }
                all.store(g);
            }
            if node.product != NONE {
                let (q, to) = q[2 * node.product * step..][..2 * step].split_at_mut(step);
                for a in 0..A {
                    grad[a].fma(sum[a], V::load(&to[a * s..])).store(&mut to[a * s..]);
                    if V::DUAL {
                        total[a] = sum[a].fma(V::load(&q[a * s..]), total[a]);
                    }
                }
            } else if V::DUAL {
                for a in 0..A {
                    total[a] = total[a].add(sum[a]);
                }
            }
        }
        store_tile(&total, &mut out[step..]);
    }
    let first = q.len() / (2 * step) - terms.products.len();
    for (n, &(p, i)) in terms.products.iter().enumerate().rev() {
        let (made, from) = q.split_at_mut(2 * (first + n) * step);
        let from: [V; A] = tile(&from[step..]);
        for (to, other) in [(p, i), (i, p)] {
            for a in 0..A {
                let other = V::load(&made[2 * other * step + a * s..][..s]);
                let to = &mut made[(2 * to + 1) * step + a * s..][..s];
                from[a].fma(other, V::load(to)).store(to);
            }
        }
    }
}
