//! Messages of PaiNN and the way back. Per group of channels an atom's row holds [t_q t_R t_M mu_x mu_y mu_z], its gradient
//! [q mu_x mu_y mu_z], a filter [q R M] with their slopes; u is the unit vector from i to j.
//!
//! No closure over lanes here: the compiler may keep it apart, without the instructions that it needs.

use crate::basis::lanes::{Job, Lanes, Simd};
use crate::model::graph::Mechanics;
use crate::model::graph::edges::{Edge, Source, add_edge};
use crate::model::graph::layout::GROUP;
use crate::model::graph::rows::{FilterRow, Filters, Kernel, row_of, row_of_mut, sum, with};

/// Values of a group of: a filter row, a state, a gradient, and what the way back sums.
const FILTER: usize = 6 * GROUP;
pub const STATE: usize = 6 * GROUP;
pub const GRADIENT: usize = 4 * GROUP;
pub const SUMS: usize = 5 * GROUP;

/// Block b of a group, from channel c on.
#[inline(always)]
fn at<L: Lanes>(group: &[L::T], b: usize, c: usize) -> L {
    L::load(&group[b * GROUP + c..])
}

#[inline(always)]
fn add<L: Lanes>(group: &mut [L::T], b: usize, c: usize, x: L, factor: L) {
    let place = &mut group[b * GROUP + c..];
    x.fma(factor, L::load(place)).store(place);
}

/// q_i += sum w_q t_q; mu_i += sum w_R t_R u + w_M t_M mu_j; the rows of `out` are [q mu_x mu_y mu_z].
pub struct Gather<'a, T> {
    pub source: Source<'a, T>,
    pub edges: &'a [Edge<T>],
    pub first: usize,
    pub groups: usize,
    /// False while all mu are 0.
    pub vectors: bool,
    pub state: &'a [T],
    pub out: &'a mut [T],
}

impl<T: Simd> Job<T> for Gather<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        with::<FILTER, L, _>(self.source, self);
    }
}

impl<T: Simd> Kernel<T> for Gather<'_, T> {
    #[inline(always)]
    fn over<L: Lanes<T = T>, F: Filters<L>>(self, filters: F) {
        match self.vectors {
            true => self.sums::<L, F, true>(filters),
            false => self.sums::<L, F, false>(filters),
        }
    }
}

impl<T: Simd> Gather<'_, T> {
    #[inline(always)]
    fn sums<L: Lanes<T = T>, F: Filters<L>, const VECTORS: bool>(self, filters: F) {
        for (k, edge) in self.edges.iter().enumerate() {
            let w = filters.row(edge, k, self.groups);
            let u = [L::splat(edge.u[0]), L::splat(edge.u[1]), L::splat(edge.u[2])];
            let from = row_of::<STATE, T>(self.state, edge.target as usize, self.groups);
            let out = row_of_mut::<GRADIENT, T>(self.out, edge.source as usize - self.first, self.groups);
            for g in 0..self.groups {
                let (from, out) = (&from[g], &mut out[g]);
                let mut c = 0;
                while c < GROUP {
                    add::<L>(out, 0, c, w.value(g, c), at(from, 0, c));
                    let along = w.value(g, GROUP + c) * at::<L>(from, 1, c);
                    if VECTORS {
                        let share = w.value(g, 2 * GROUP + c) * at::<L>(from, 2, c);
                        for a in 0..3 {
                            let place = &mut out[(1 + a) * GROUP + c..];
                            let sum = share.fma(at(from, 3 + a, c), along.fma(u[a], L::load(place)));
                            sum.store(place);
                        }
                    } else {
                        for (a, u) in u.iter().enumerate() {
                            add(out, 1 + a, c, along, *u);
                        }
                    }
                    c += L::N;
                }
            }
        }
    }
}

/// Sums over an atom's edges that give its gradients, with w of each edge, g and m (of q and mu) of its neighbor j:
/// [sum w_q g, -sum w_R (m . u), sum w_M m (three)]; and each edge's own gradient, of both directions together:
/// along u, G = sum_c w'_q (g_i t_q,j + g_j t_q,i) + w'_R (u . p) + w'_M ((m_i . mu_j) t_M,j + (m_j . mu_i) t_M,i), and to u,
/// sum_c w_R p, with p = m_i t_R,j - m_j t_R,i.
pub struct Return<'a, T> {
    pub source: Source<'a, T>,
    pub edges: &'a [Edge<T>],
    pub vectors: &'a [[f64; 3]],
    pub first: usize,
    pub groups: usize,
    pub state: &'a [T],
    pub grad: &'a [T],
    /// Rows of [`SUMS`]; empty in the first layer, where all mu are 0 and nobody asks for gradients of q.
    pub sums: &'a mut [T],
    pub mechanics: &'a mut [Mechanics],
}

impl<T: Simd> Job<T> for Return<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        with::<FILTER, L, _>(self.source, self);
    }
}

impl<T: Simd> Kernel<T> for Return<'_, T> {
    #[inline(always)]
    fn over<L: Lanes<T = T>, F: Filters<L>>(self, filters: F) {
        match self.sums.is_empty() {
            true => self.sums::<L, F, false>(filters),
            false => self.sums::<L, F, true>(filters),
        }
    }
}

impl<T: Simd> Return<'_, T> {
    #[inline(always)]
    fn sums<L: Lanes<T = T>, F: Filters<L>, const VECTORS: bool>(self, filters: F) {
        let groups = self.groups;
        for (k, (edge, vector)) in self.edges.iter().zip(self.vectors).enumerate() {
            let w = filters.row(edge, k, groups);
            let u = [L::splat(edge.u[0]), L::splat(edge.u[1]), L::splat(edge.u[2])];
            let (i, j) = (edge.source as usize, edge.target as usize);
            let (own, other) = (row_of::<STATE, T>(self.state, i, groups), row_of::<STATE, T>(self.state, j, groups));
            let (grad, back) =
                (row_of::<GRADIENT, T>(self.grad, i, groups), row_of::<GRADIENT, T>(self.grad, j, groups));
            let out = match VECTORS {
                true => row_of_mut::<SUMS, T>(self.sums, i - self.first, groups),
                false => &mut [],
            };
            let mut along = L::zero();
            let mut turn = [L::zero(); 3];
            for g in 0..groups {
                let (own, other, grad, back) = (&own[g], &other[g], &grad[g], &back[g]);
                let mut c = 0;
                while c < GROUP {
                    let (value, slope) = w.both(g, c);
                    let gj = at::<L>(back, 0, c);
                    let pair = at::<L>(grad, 0, c).fma(at(other, 0, c), gj * at(own, 0, c));
                    along = pair.fma(slope, along);
                    if VECTORS {
                        add(&mut out[g], 0, c, gj, value);
                    }
                    let (value, slope) = w.both(g, GROUP + c);
                    let (ti, tj) = (at::<L>(own, 1, c), -at::<L>(other, 1, c));
                    let m = [at::<L>(back, 1, c), at(back, 2, c), at(back, 3, c)];
                    // -p.
                    let p = [
                        at::<L>(grad, 1, c).fma(tj, m[0] * ti),
                        at::<L>(grad, 2, c).fma(tj, m[1] * ti),
                        at::<L>(grad, 3, c).fma(tj, m[2] * ti),
                    ];
                    let projected = p[2].fma(u[2], p[1].fma(u[1], p[0] * u[0]));
                    along = (-projected).fma(slope, along);
                    for a in 0..3 {
                        turn[a] = (-p[a]).fma(value, turn[a]);
                    }
                    if VECTORS {
                        let projected = m[2].fma(u[2], m[1].fma(u[1], m[0] * u[0]));
                        add(&mut out[g], 1, c, -projected, value);
                        let (value, slope) = w.both(g, 2 * GROUP + c);
                        let (mut first, mut second) = (L::zero(), L::zero());
                        for (a, m) in m.iter().enumerate() {
                            first = at::<L>(grad, 1 + a, c).fma(at(other, 3 + a, c), first);
                            second = m.fma(at(own, 3 + a, c), second);
                            add(&mut out[g], 2 + a, c, *m, value);
                        }
                        let pair = first.fma(at(other, 2, c), second * at::<L>(own, 2, c));
                        along = pair.fma(slope, along);
                    }
                    c += L::N;
                }
            }
            let (along, turn) = (sum(along), [sum(turn[0]), sum(turn[1]), sum(turn[2])]);
            let u = edge.u.map(|x| x.to_f64());
            let radial = turn[0] * u[0] + turn[1] * u[1] + turn[2] * u[2];
            let inverse = edge.inverse.to_f64();
            let gradient = std::array::from_fn(|a| along * u[a] + (turn[a] - u[a] * radial) * inverse);
            add_edge(&mut self.mechanics[i - self.first], vector, gradient);
        }
    }
}
