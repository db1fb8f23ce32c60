//! The change of the coefficients under changes of pair vectors and shapes: the forward mode of the expansion, and what the
//! second vjp gives to the cotangent of the coefficients.
//!
//! With u the change of r and Z that of Sigma, p = G u, P = G Z G (all in the unit s), the moments change by
//! alpha m + beta_i d_i m + gamma_ij d_i d_j m, alpha = -r.p + (r.P r - tr G Z) / 2, beta = p - P r, gamma = P / 2, where d_i m_abc is
//! m_{abc - e_i}; for monomials alpha = 0, beta = u, gamma = Z / 2.

use std::ops::Range;

use rayon::prelude::*;

use super::basis::{Basis, Radial};
use super::contract::coefficients;
use super::forward::{block_of, pair_ns, rows_of};
use super::moments::{Group, Moments, dot, sum_lanes, times};
use super::monomials::start;
use super::shapes::{ROW, Shapes};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::pairs::{Pairs, cut, tasks};
use crate::pool;

/// A direction: `vector` [P + PADDING, 3] in Angstrom and, unless empty, `shape` [N, 6] (xx xy xz yy yz zz) in square Angstrom.
#[derive(Clone, Copy)]
pub struct Direction<'a, T> {
    pub vector: &'a [T],
    pub shape: &'a [T],
}

/// The change [C, S, F] of the coefficients.
pub fn tangent<T: Simd>(basis: &Basis, pairs: &Pairs<T>, shapes: &Shapes<T>, along: Direction<T>) -> Vec<T> {
    let (f, s) = (basis.width(), pairs.columns);
    let mut out = vec![T::ZERO; pairs.centers() * s * f];
    let tasks = tasks(pairs.centers());
    let parts = cut(&mut out, tasks.iter().map(|t| t.end * s * f));
    let one = |(task, out): (&Range<usize>, &mut [T])| {
        let rows = rows_of(pairs, task);
        let (block, first) = (block_of(basis), task.start * pairs.columns);
        let mut sums = vec![0.0; block * basis.monomials()];
        for rows in rows.chunks(block) {
            dispatch(Tangent { basis, pairs, shapes, along, first, rows, sums: &mut sums });
            coefficients(basis, &sums, rows, out);
        }
    };
    pool::run(3 * pairs.len() * pair_ns(basis), |threads| match threads {
        1 => tasks.iter().zip(parts).for_each(one),
        _ => tasks.par_iter().zip(parts).with_max_len(1).for_each(one),
    });
    out
}

/// The direction of a group of pairs in the unit s: u, Z.
#[inline(always)]
pub(super) fn load_direction<L: Lanes>(
    along: &Direction<L::T>,
    pairs: &Pairs<L::T>,
    p: usize,
    end: usize,
    inverse: L,
) -> ([L; 3], [L; 6])
where
    L::T: Simd,
{
    let [x, y, z] = L::load3(&along.vector[3 * p..3 * (p + L::N)]);
    let u = [x * inverse, y * inverse, z * inverse];
    let mut shape = [L::zero(); 6];
    if !along.shape.is_empty() {
        let mut buffer = [L::T::default(); MAX_LANES];
        let square = inverse * inverse;
        for k in 0..6 {
            for i in 0..L::N {
                buffer[i] = along.shape[6 * pairs.target[(p + i).min(end - 1)] as usize + k];
            }
            shape[k] = L::load(&buffer) * square;
        }
    }
    (u, shape)
}

/// A B A of two symmetric matrices.
#[inline(always)]
pub(super) fn sandwich<L: Lanes>(a: &[L; 6], b: &[L; 6]) -> [L; 6] {
    let columns = [times(b, &[a[0], a[1], a[2]]), times(b, &[a[1], a[3], a[4]]), times(b, &[a[2], a[4], a[5]])];
    let [x, y, z] = [times(a, &columns[0]), times(a, &columns[1]), times(a, &columns[2])];
    [x[0], x[1], x[2], y[1], y[2], z[2]]
}

/// A:B of two symmetric matrices.
#[inline(always)]
pub(super) fn contract<L: Lanes>(a: &[L; 6], b: &[L; 6]) -> L {
    let off = a[1].fma(b[1], a[2].fma(b[2], a[4] * b[4]));
    a[0].fma(b[0], a[3].fma(b[3], a[5].fma(b[5], off + off)))
}

struct Tangent<'a, T: Copy> {
    basis: &'a Basis,
    pairs: &'a Pairs<T>,
    shapes: &'a Shapes<T>,
    along: Direction<'a, T>,
    first: usize,
    rows: &'a [usize],
    sums: &'a mut [f64],
}

impl<T: Simd> Job<T> for Tangent<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (size, degree) = (self.basis.monomials(), self.basis.degree);
        let gto = self.basis.kind == Radial::Gto;
        let turning = !self.along.shape.is_empty();
        let inverse = L::of(1.0 / self.basis.unit);
        let (half, kappa) = (L::of(0.5), L::of(self.basis.scale));
        let mut buffer = [T::ZERO; MAX_LANES * ROW];
        let mut moments = Moments::<L>::new(degree);
        let mut sums = vec![L::zero(); size.next_multiple_of(MAX_LANES)];
        for (&row, out) in self.rows.iter().zip(self.sums.chunks_exact_mut(size)) {
            for s in sums.iter_mut() {
                *s = L::zero();
            }
            let (mut p, end) = (self.pairs.ptr[self.first + row], self.pairs.ptr[self.first + row + 1]);
            while p < end {
                let g = Group::load((self.pairs, self.shapes), &mut buffer, p, end, self.basis);
                let (u, z) = load_direction(&self.along, self.pairs, p, end, inverse);
                // alpha, beta, and gamma with the off-diagonal elements of both triangles.
                let mut f = [L::zero(), u[0], u[1], u[2], z[0] * half, z[1], z[2], z[3] * half, z[4], z[5] * half];
                if gto {
                    let along = times(&g.g, &u);
                    let squeezed = sandwich(&g.g, &z);
                    let pr = times(&squeezed, &g.r);
                    let trace = contract(&g.g, &z);
                    f[0] = (dot(&g.r, &pr) - trace) * half - dot(&g.r, &along);
                    for k in 0..3 {
                        f[1 + k] = along[k] - pr[k];
                    }
                    let [a, b, c, d, e, h] = squeezed;
                    (f[4], f[5], f[6], f[7], f[8], f[9]) = (a * half, b, c, d * half, e, h * half);
                }
                for (k, f) in f.iter_mut().enumerate().skip(1) {
                    *f = *f * if k < 4 { kappa } else { kappa * kappa };
                }
                moments.begin(&g);
                spread(0, degree, &moments.now, &f, turning, &mut sums);
                for d in 1..=degree {
                    moments.step::<false>(d, &mut []);
                    spread(d, degree, &moments.now, &f, turning, &mut sums);
                }
                p += L::N;
            }
            sum_lanes(&sums, out);
        }
    }
}

/// Adds what the moments `m` of degree `d` give to degrees d, d + 1 and d + 2.
#[inline(always)]
fn spread<L: Lanes>(d: usize, degree: usize, m: &[L], f: &[L; 10], second: bool, sums: &mut [L]) {
    let (s0, s1, s2) = (start(d), start(d + 1), start(d + 2));
    let mut t = 0;
    for k in 0..=d {
        for _ in 0..=k {
            let m = m[t];
            sums[s0 + t] = f[0].fma(m, sums[s0 + t]);
            if d < degree {
                for (i, at) in [t, t + k + 1, t + k + 2].into_iter().enumerate() {
                    sums[s1 + at] = f[1 + i].fma(m, sums[s1 + at]);
                }
            }
            if second && d + 2 <= degree {
                let places = [t, t + k + 1, t + k + 2, t + 2 * k + 3, t + 2 * k + 4, t + 2 * k + 5];
                for (i, at) in places.into_iter().enumerate() {
                    sums[s2 + at] = f[4 + i].fma(m, sums[s2 + at]);
                }
            }
            t += 1;
        }
    }
}
