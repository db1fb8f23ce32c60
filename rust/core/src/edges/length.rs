//! Edge length r_e = |v_e|, its vjp and its second vjp. Bound by memory: 4 values moved an edge forward, 7 and 11 in the
//! derivatives, against a dozen flops.

use crate::pool::{for_each_block, for_each_row};
use crate::real::Real;

/// Serial cost of one row, measured, for the pool's choice between serial and parallel.
const COST_NS: usize = 2;

#[inline(always)]
pub(crate) fn row3<T: Real>(v: &[T], e: usize) -> [T; 3] {
    [v[3 * e], v[3 * e + 1], v[3 * e + 2]]
}

#[inline(always)]
pub(crate) fn dot3<T: Real>(a: [T; 3], b: [T; 3]) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// r_e = |v_e|. `vector` [E, 3] Angstrom -> `out` [E] Angstrom.
pub fn edge_length<T: Real>(vector: &[T], out: &mut [T]) {
    for_each_block(out, 1, COST_NS, |first, out| {
        let rows = vector[3 * first..].chunks_exact(3);
        for (o, v) in out.iter_mut().zip(rows) {
            *o = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
        }
    });
}

/// grad_v = g v / r, for g [E] the gradient of r -> `out` [E, 3]. Where r = 0 the gradient is zero by definition:
/// the length has no derivative there, and zero is what keeps a sum over edges finite.
pub fn edge_length_bwd<T: Real>(vector: &[T], grad_length: &[T], out: &mut [T]) {
    for_each_row(out, 3, COST_NS, |e, o| {
        let v = row3(vector, e);
        let r = dot3(v, v).sqrt();
        // Not `r > 0`: a NaN must come out as NaN, only an exact zero is defined away.
        let s = if r == T::ZERO { T::ZERO } else { grad_length[e] / r };
        for k in 0..3 {
            o[k] = s * v[k];
        }
    });
}

/// Vjp of [`edge_length_bwd`], for w [E, 3] the cotangent of its result: with u = v / r,
/// grad_v = (g / r) (w - u (w . u))  ([E, 3], `out_vector`) and grad_g = w . u  ([E], `out_grad`).
pub fn edge_length_bwd_bwd<T: Real>(
    vector: &[T],
    grad_length: &[T],
    w: &[T],
    out_vector: &mut [T],
    out_grad: &mut [T],
) {
    for_each_row(out_vector, 3, COST_NS, |e, o| {
        let (v, w) = (row3(vector, e), row3(w, e));
        let r2 = dot3(v, v);
        if r2 == T::ZERO {
            return o.fill(T::ZERO);
        }
        let (s, along) = (grad_length[e] / r2.sqrt(), dot3(w, v) / r2);
        for k in 0..3 {
            o[k] = s * (w[k] - v[k] * along);
        }
    });
    for_each_row(out_grad, 1, COST_NS, |e, o| {
        let v = row3(vector, e);
        let r = dot3(v, v).sqrt();
        o[0] = if r == T::ZERO { T::ZERO } else { dot3(row3(w, e), v) / r };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_3_4_5_triangle_has_length_5() {
        let mut r = [0.0; 2];
        edge_length(&[0.3, -1.2, 2.0, 3.0, 4.0, 0.0], &mut r);
        assert_eq!(r[1], 5.0);
    }

    #[test]
    fn a_zero_vector_gives_zeros_and_never_nan() {
        let (mut a, mut b, mut c) = ([9.0; 3], [9.0; 1], [9.0; 3]);
        edge_length_bwd(&[0.0; 3], &[1.0], &mut a);
        edge_length_bwd_bwd(&[0.0; 3], &[1.0], &[1.0, 2.0, 3.0], &mut c, &mut b);
        assert_eq!((a, b, c), ([0.0; 3], [0.0; 1], [0.0; 3]));
    }
}
