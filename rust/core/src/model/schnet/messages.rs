//! Messages of SchNet: m_i = sum_e y_j w_e, and the way back.

use crate::basis::lanes::{Job, Lanes, Simd};
use crate::model::graph::Mechanics;
use crate::model::graph::edges::{Edge, Source, add_edge};
use crate::model::graph::layout::GROUP;
use crate::model::graph::rows::{FilterRow, Filters, Kernel, row_of, row_of_mut, sum, with};

/// Values of a group of a filter row: values and slopes.
const FILTER: usize = 2 * GROUP;

/// m_i += y_j w_e over some edges; `out` begins at atom `first`.
pub struct Gather<'a, T> {
    pub source: Source<'a, T>,
    pub edges: &'a [Edge<T>],
    pub first: usize,
    pub groups: usize,
    pub y: &'a [T],
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
        for (k, edge) in self.edges.iter().enumerate() {
            let w = filters.row(edge, k, self.groups);
            let y = row_of::<GROUP, T>(self.y, edge.target as usize, self.groups);
            let out = row_of_mut::<GROUP, T>(self.out, edge.source as usize - self.first, self.groups);
            for g in 0..self.groups {
                let mut c = 0;
                while c < GROUP {
                    let m = L::load(&y[g][c..]).fma(w.value(g, c), L::load(&out[g][c..]));
                    m.store(&mut out[g][c..]);
                    c += L::N;
                }
            }
        }
    }
}

/// Gradients: to y, gy_i += gm_j w_e (its own as a neighbor, by the reverse edges), and along each edge,
/// G_e = sum_c (gm_i y_j + gm_j y_i) w'_e, which both directions of a pair share.
pub struct Return<'a, T> {
    pub source: Source<'a, T>,
    pub edges: &'a [Edge<T>],
    pub vectors: &'a [[f64; 3]],
    pub first: usize,
    pub groups: usize,
    pub y: &'a [T],
    pub grad: &'a [T],
    /// Empty where nobody asks.
    pub grad_y: &'a mut [T],
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
        let groups = self.groups;
        for (k, (edge, vector)) in self.edges.iter().zip(self.vectors).enumerate() {
            let w = filters.row(edge, k, groups);
            let (i, j) = (edge.source as usize, edge.target as usize);
            let (yi, yj) = (row_of::<GROUP, T>(self.y, i, groups), row_of::<GROUP, T>(self.y, j, groups));
            let (gi, gj) = (row_of::<GROUP, T>(self.grad, i, groups), row_of::<GROUP, T>(self.grad, j, groups));
            let mut along = L::zero();
            if self.grad_y.is_empty() {
                for g in 0..groups {
                    let mut c = 0;
                    while c < GROUP {
                        let (_, slope) = w.both(g, c);
                        let pair = L::load(&gj[g][c..]) * L::load(&yi[g][c..]);
                        along = L::load(&gi[g][c..]).fma(L::load(&yj[g][c..]), pair).fma(slope, along);
                        c += L::N;
                    }
                }
            } else {
                let out = row_of_mut::<GROUP, T>(self.grad_y, i - self.first, groups);
                for g in 0..groups {
                    let mut c = 0;
                    while c < GROUP {
                        let (value, slope) = w.both(g, c);
                        let back = L::load(&gj[g][c..]);
                        back.fma(value, L::load(&out[g][c..])).store(&mut out[g][c..]);
                        let pair = back * L::load(&yi[g][c..]);
                        along = L::load(&gi[g][c..]).fma(L::load(&yj[g][c..]), pair).fma(slope, along);
                        c += L::N;
                    }
                }
            }
            let along = sum(along);
            let gradient = edge.u.map(|u| along * u.to_f64());
            add_edge(&mut self.mechanics[i - self.first], vector, gradient);
        }
    }
}
