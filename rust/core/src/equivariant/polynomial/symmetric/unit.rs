//! Atoms that share a weight row: weights folded into coefficients, tiles of atoms through [`sweep`], the weights' gradient
//! projected back, block of channels after block.

use super::Symmetric;
use super::sweep::{self, Dual, One, Value};
use crate::basis::lanes::{Job, Lanes, Simd};

/// Atoms that share the loads of a coefficient: what the registers hold.
pub const TILE: usize = 4;
const DUAL_TILE: usize = 2;

/// Values, and (for the second vjp) the direction in which they are derived.
#[derive(Clone, Copy)]
pub struct Operands<'a, T> {
    pub w: [&'a [T]; 2],
    pub x: [&'a [T]; 2],
    pub grad: &'a [T],
}

#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    Value,
    First,
    Second,
}

/// Atoms that share a weight row: what one thread does at a time.
pub struct Unit<'a, T> {
    pub table: &'a Symmetric,
    pub parts: &'a [(usize, T)],
    pub operands: Operands<'a, T>,
    pub order: Order,
    pub z: usize,
    pub rows: &'a [u32],
    /// The rows of the results, in the order of `rows`, or none.
    pub outs: Vec<&'a mut [T]>,
    pub grads: Vec<&'a mut [T]>,
}

pub struct Sweep<'a, T> {
    pub unit: Unit<'a, T>,
    pub grad_w: &'a mut [T],
}

impl<T: Simd> Job<T> for Sweep<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        match self.unit.order {
            Order::Value => self.values::<L>(),
            Order::First => self.gradients::<One<L>, TILE>(),
            Order::Second => self.gradients::<Dual<L>, DUAL_TILE>(),
        }
    }
}

impl<T: Simd> Sweep<'_, T> {
    #[inline(always)]
    fn values<L: Lanes<T = T>>(mut self) {
        let table = self.unit.table;
        let (s, step) = (L::N, TILE * L::N);
        let mut c = vec![T::ZERO; table.terms.coefficients() * s];
        let mut x = vec![T::ZERO; (table.x.count + table.terms.products.len()) * step];
        let mut out = vec![T::ZERO; table.out.count * step];
        for u in (0..table.channels).step_by(L::N) {
            self.fold::<One<L>>(u, &mut c);
            for (tile, outs) in self.unit.rows.chunks(TILE).zip(self.unit.outs.chunks_mut(TILE)) {
                for (a, &e) in tile.iter().enumerate() {
                    let row = &self.unit.operands.x[0][e as usize * table.sizes[1]..][..table.sizes[1]];
                    table.x.load::<L>(row, u, &mut x[a * s..], step);
                }
                sweep::forward::<One<L>, TILE>(&table.terms, &c, &mut x, &mut out);
                for (a, row) in outs.iter_mut().enumerate() {
                    table.out.store::<L>(row, u, &out[a * s..], step);
                }
            }
        }
    }

    #[inline(always)]
    fn gradients<V: Value<L: Lanes<T = T>>, const A: usize>(mut self) {
        let (table, operands) = (self.unit.table, self.unit.operands);
        let (n, s, step) = (V::L::N, V::SIZE, A * V::SIZE);
        // Of a dual number the derivative is asked for: the last part.
        let (parts, last) = (s / n, s - n);
        let mut c = vec![T::ZERO; table.terms.coefficients() * s];
        let mut g = vec![T::ZERO; table.terms.coefficients() * s];
        let mut x = vec![T::ZERO; (table.x.count + table.terms.products.len()) * 2 * step];
        let mut out = vec![T::ZERO; table.out.count * 2 * step];
        for u in (0..table.channels).step_by(n) {
            self.fold::<V>(u, &mut c);
            g.fill(T::ZERO);
            for (place, tile) in self.unit.rows.chunks(A).enumerate() {
                x.fill(T::ZERO);
                out.fill(T::ZERO);
                for (a, &e) in tile.iter().enumerate() {
                    for (part, x_e) in operands.x.iter().enumerate().take(parts) {
                        let row = &x_e[e as usize * table.sizes[1]..][..table.sizes[1]];
                        table.x.load::<V::L>(row, u, &mut x[a * s + part * n..], 2 * step);
                    }
                    let row = &operands.grad[e as usize * table.sizes[2]..][..table.sizes[2]];
                    table.out.load::<V::L>(row, u, &mut out[a * s..], 2 * step);
                }
                sweep::backward::<V, A>(&table.terms, &c, &mut x, &mut out, &mut g);
                for a in 0..tile.len() {
                    let at = step + a * s + last;
                    table.x.store::<V::L>(self.unit.grads[place * A + a], u, &x[at..], 2 * step);
                    if let Some(row) = self.unit.outs.get_mut(place * A + a) {
                        table.out.store::<V::L>(row, u, &out[at..], 2 * step);
                    }
                }
            }
            self.project::<V>(u, &g);
        }
    }

    /// c[n] = sum_k U[n, k] w[z, k, u..].
    #[inline(always)]
    fn fold<V: Value<L: Lanes<T = T>>>(&self, u: usize, c: &mut [T]) {
        let (table, n, s) = (self.unit.table, V::L::N, V::SIZE);
        let mut w = vec![T::ZERO; table.weights.count * s];
        let mut classes = vec![T::ZERO; table.folding.classes * s];
        for (part, all) in self.unit.operands.w.iter().enumerate().take(s / n) {
            let row = &all[self.unit.z * table.sizes[0]..][..table.sizes[0]];
            table.weights.load::<V::L>(row, u, &mut w[part * n..], s);
        }
        for (&(class, factor), w) in table.folding.rows.iter().zip(w.chunks_exact(s)) {
            let sum = &mut classes[class * s..][..s];
            V::load(w).scaled_add(T::of(factor), V::load(sum)).store(sum);
        }
        for (c, range) in c.chunks_exact_mut(s).zip(table.folding.ends.windows(2)) {
            let mut sum = V::zero();
            for &(class, u) in &self.unit.parts[range[0]..range[1]] {
                sum = V::load(&classes[class * s..]).scaled_add(u, sum);
            }
            sum.store(c);
        }
    }

    /// grad_w[k, u..] = sum_n U[n, k] g[n], of the last part of g.
    #[inline(always)]
    fn project<V: Value<L: Lanes<T = T>>>(&mut self, u: usize, g: &[T]) {
        let (table, n, s) = (self.unit.table, V::L::N, V::SIZE);
        let mut w = vec![T::ZERO; table.weights.count * n];
        let mut classes = vec![T::ZERO; table.folding.classes * n];
        for (g, range) in g.chunks_exact(s).zip(table.folding.ends.windows(2)) {
            let g = V::L::load(&g[s - n..]);
            for &(class, u) in &self.unit.parts[range[0]..range[1]] {
                let sum = &mut classes[class * n..][..n];
                V::L::splat(u).fma(g, V::L::load(sum)).store(sum);
            }
        }
        for (&(class, factor), w) in table.folding.rows.iter().zip(w.chunks_exact_mut(n)) {
            (V::L::load(&classes[class * n..]) * V::L::of(factor)).store(w);
        }
        table.weights.store::<V::L>(self.grad_w, u, &w, n);
    }
}
