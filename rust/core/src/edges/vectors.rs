//! Edge vectors v_e = (x_t - x_s) + ((S0 a0 + S1 a1) + S2 a2), their vjp and its vjp; computed in f64 for both types.
//!
//! With t = target_e, s = source_e, b = system_e and the cotangent g [E, 3] of v:
//! grad_x_i = sum_{e: t = i} g_e - sum_{e: s = i} g_e and grad_H_b,ac = sum_{e of b} S_ea g_ec (formulas of the
//! neighbor list, section 8). The op is linear, so the vjp of the vjp is the op itself on the cotangents.

use crate::call::{Call, check_index};
use crate::error::Result;
use crate::pool::{for_each_block, for_each_row};
use crate::real::Real;

/// Serial cost of an edge, measured.
const COST_NS: usize = 4;
/// Edges of one partial sum: fixed, so that the bits do not depend on the number of threads.
const BLOCK: usize = 8192;

/// The graph of a call: which atoms and images the edges join.
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    /// [E].
    pub source: &'a [i32],
    /// [E].
    pub target: &'a [i32],
    /// [E, 3].
    pub shift: &'a [i32],
    /// [E].
    pub system: &'a [i32],
}

impl<'a> Graph<'a> {
    fn of_call<T: Real>(c: &Call<'a, T>) -> Result<Self> {
        let g = Graph { source: c.indices(2), target: c.indices(3), shift: c.indices(4), system: c.indices(5) };
        check_index("source", g.source, c.real(0).len() / 3)?;
        check_index("target", g.target, c.real(0).len() / 3)?;
        check_index("system", g.system, c.real(1).len() / 9)?;
        Ok(g)
    }
}

/// `positions` [N, 3] and `cell` [B, 3, 3] -> `out` [E, 3].
pub fn edge_vectors<T: Real>(positions: &[T], cell: &[T], g: Graph, out: &mut [T]) {
    for_each_block(out, 3, COST_NS, |first, out| {
        for (k, o) in out.chunks_exact_mut(3).enumerate() {
            let e = first + k;
            let (s, t) = (3 * g.source[e] as usize, 3 * g.target[e] as usize);
            let h = &cell[9 * g.system[e] as usize..][..9];
            let shift: [f64; 3] = std::array::from_fn(|a| f64::from(g.shift[3 * e + a]));
            let term = |a: usize, c: usize| if shift[a] == 0.0 { 0.0 } else { shift[a] * h[3 * a + c].to_f64() };
            for (c, o) in o.iter_mut().enumerate() {
                let offset = (term(0, c) + term(1, c)) + term(2, c);
                *o = T::of((positions[t + c].to_f64() - positions[s + c].to_f64()) + offset);
            }
        }
    });
}

/// Edge numbers by atom: those of atom i are `order[start[i]..start[i + 1]]`, ascending; `None` where edges are sorted.
struct ByAtom {
    start: Vec<usize>,
    order: Option<Vec<u32>>,
}

impl ByAtom {
    fn new(atom: &[i32], n: usize) -> Self {
        let mut start = vec![0usize; n + 1];
        for &i in atom {
            start[i as usize + 1] += 1;
        }
        for i in 0..n {
            start[i + 1] += start[i];
        }
        if atom.is_sorted() {
            return ByAtom { start, order: None };
        }
        let (mut next, mut order) = (start.clone(), vec![0u32; atom.len()]);
        for (e, &i) in atom.iter().enumerate() {
            order[next[i as usize]] = e as u32;
            next[i as usize] += 1;
        }
        ByAtom { start, order: Some(order) }
    }

    #[inline(always)]
    fn sum<T: Real>(&self, i: usize, g: &[T]) -> [f64; 3] {
        let mut sum = [0.0; 3];
        let mut add = |e: usize| {
            for (c, s) in sum.iter_mut().enumerate() {
                *s += g[3 * e + c].to_f64();
            }
        };
        match &self.order {
            None => (self.start[i]..self.start[i + 1]).for_each(&mut add),
            Some(order) => order[self.start[i]..self.start[i + 1]].iter().for_each(|&e| add(e as usize)),
        }
        sum
    }
}

/// Cotangent `grad_vector` [E, 3] -> `out_positions` [N, 3] and `out_cell` [B, 3, 3].
pub fn edge_vectors_bwd<T: Real>(g: Graph, grad_vector: &[T], out_positions: &mut [T], out_cell: &mut [T]) {
    let n = out_positions.len() / 3;
    let (incoming, outgoing) = (ByAtom::new(g.target, n), ByAtom::new(g.source, n));
    let cost = COST_NS * (1 + g.source.len() / n.max(1));
    for_each_row(out_positions, 3, cost, |i, o| {
        let (plus, minus) = (incoming.sum(i, grad_vector), outgoing.sum(i, grad_vector));
        for c in 0..3 {
            o[c] = T::of(plus[c] - minus[c]);
        }
    });
    let edge = |e: usize, sum: &mut [f64]| {
        for a in 0..3 {
            let s = f64::from(g.shift[3 * e + a]);
            if s != 0.0 {
                for c in 0..3 {
                    sum[3 * a + c] += s * grad_vector[3 * e + c].to_f64();
                }
            }
        }
    };
    let mut sum = vec![0.0f64; out_cell.len()];
    if sum.len() == 9 {
        let mut parts = vec![0.0f64; 9 * g.source.len().div_ceil(BLOCK)];
        for_each_row(&mut parts, 9, COST_NS * BLOCK, |b, part| {
            (b * BLOCK..g.source.len().min((b + 1) * BLOCK)).for_each(|e| edge(e, part));
        });
        for part in parts.chunks_exact(9) {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        }
    } else {
        for e in 0..g.source.len() {
            edge(e, &mut sum[9 * g.system[e] as usize..][..9]);
        }
    }
    out_cell.iter_mut().zip(sum).for_each(|(o, s)| *o = T::of(s));
}

/// The op as the registry calls it, and its derivatives.
pub fn forward<T: Real>(c: &Call<T>) -> Result<()> {
    edge_vectors(c.real(0), c.real(1), Graph::of_call(c)?, c.out(0));
    Ok(())
}

/// As [`edge_vectors_bwd`].
pub fn bwd<T: Real>(c: &Call<T>) -> Result<()> {
    edge_vectors_bwd(Graph::of_call(c)?, c.real(6), c.out(0), c.out(1));
    Ok(())
}

/// Cotangents of the vjp's results (inputs 7 and 8) -> zeros for positions and cell, [`edge_vectors`] of them for
/// `grad_vector`.
pub fn bwd_bwd<T: Real>(c: &Call<T>) -> Result<()> {
    let graph = Graph::of_call(c)?;
    c.out(0).fill(T::ZERO);
    c.out(1).fill(T::ZERO);
    edge_vectors(c.real(7), c.real(8), graph, c.out(2));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: Graph = Graph { source: &[1, 0], target: &[0, 1], shift: &[1, 0, -2, -1, 0, 2], system: &[0, 0] };

    #[test]
    fn an_edge_and_its_reverse_are_opposite() {
        let cell = [5.0, 0.0, 0.1, 0.0, 6.0, 0.0, 0.3, 0.0, 7.0];
        let mut v = [0.0; 6];
        edge_vectors(&[0.1, 0.2, 0.3, 1.0, 2.0, 3.0], &cell, GRAPH, &mut v);
        assert!((0..3).all(|c| v[c] == -v[3 + c]) && (v[0] - (0.1 - 1.0 + 5.0 - 0.6)).abs() < 1e-14);
    }

    #[test]
    fn gradients_do_not_depend_on_the_order_of_edges_beyond_rounding() {
        let g = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        let (mut x, mut h) = ([0.0; 6], [0.0; 9]);
        edge_vectors_bwd(GRAPH, &g, &mut x, &mut h);
        assert_eq!(x, [-9.0, -18.0, -27.0, 9.0, 18.0, 27.0]);
        assert_eq!(h, [-9.0, -18.0, -27.0, 0.0, 0.0, 0.0, 18.0, 36.0, 54.0]);
    }
}
