//! The second vjp: gradients of phi = u.dE/dr + Z:dE/dSigma, summed over pairs, for given directions u of each pair's vector
//! and Z of each particle's Sigma (training on forces, torques and cell gradients).
//!
//! dE/dSigma is 1/2 d2E/dr2, so phi = E_1.u + E_2:Z / 2 with E_k the k-th derivatives of a pair's E in r, and
//! dphi/dr = E_2 u + E_3:Z / 2, dphi/dSigma = (E_3 u + E_4:Z / 2) / 2. With N_k = w <grad^k Q, M> and S_k the k-th derivatives at
//! eta = 0 of exp(-r.eta) sum N_k eta^k / k!, the E_k are those of exp(-delta.G delta / 2) S(G delta); for monomials E_k = N_k.

use std::ops::Range;

use super::adjoint::{PairGradients, for_pairs};
use super::basis::{Basis, Radial};
use super::contract::polynomials;
use super::forward::{block_of, pair_ns, rows_of};
use super::moments::{Group, Moments, dot, times};
use super::monomials::start;
use super::shapes::{ROW, Shapes};
use super::tangent::{Direction, contract, load_direction, sandwich};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::pairs::Pairs;

/// Components of the derivatives of orders 0 to 4; order j begins at start(j) and stands as monomials of degree j do.
const COMPONENTS: usize = 35;

/// Gradients of phi in pair vectors and (as [`super::adjoint`] leaves them) in shapes, with E = sum(`grad` coefficients).
pub fn second<T: Simd>(
    basis: &Basis,
    pairs: &Pairs<T>,
    shapes: &Shapes<T>,
    grad: &[T],
    along: Direction<T>,
    with_shapes: bool,
) -> PairGradients<T> {
    let (s, f) = (pairs.columns, basis.width());
    for_pairs(pairs, with_shapes, 5 * pairs.len() * pair_ns(basis), |task: &Range<usize>, vectors, shape| {
        let rows = rows_of(pairs, task);
        let (own, first) = (&grad[task.start * s * f..task.end * s * f], task.start * s);
        let block = block_of(basis);
        let mut q = vec![T::ZERO; block.min(rows.len()) * basis.monomials()];
        for rows in rows.chunks(block) {
            let q = &mut q[..rows.len() * basis.monomials()];
            polynomials(basis, own, rows, q);
            dispatch(Second { basis, pairs, shapes, along, first, rows, q, vectors, shape });
        }
    })
}

struct Second<'a, T: Copy> {
    basis: &'a Basis,
    pairs: &'a Pairs<T>,
    shapes: &'a Shapes<T>,
    along: Direction<'a, T>,
    first: usize,
    rows: &'a [usize],
    q: &'a [T],
    vectors: &'a mut [T],
    shape: &'a mut [T],
}

impl<T: Simd> Job<T> for Second<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (size, degree) = (self.basis.monomials(), self.basis.degree);
        let gto = self.basis.kind == Radial::Gto;
        let (unit, kappa) = (L::of(1.0 / self.basis.unit), L::of(self.basis.scale));
        // Orders that are needed: one more for directions of shapes, one more for gradients in shapes.
        let (turning, with_shapes) = (!self.along.shape.is_empty(), !self.shape.is_empty());
        let orders = 2 + usize::from(turning) + usize::from(with_shapes);
        let base = self.pairs.ptr[self.first];
        let mut buffer = [T::ZERO; MAX_LANES * ROW];
        let mut moments = Moments::<L>::new(degree);
        let mut values = [T::ZERO; 7 * MAX_LANES];
        for (&row, q) in self.rows.iter().zip(self.q.chunks_exact(size)) {
            let (mut p, end) = (self.pairs.ptr[self.first + row], self.pairs.ptr[self.first + row + 1]);
            while p < end {
                let g = Group::load((self.pairs, self.shapes), &mut buffer, p, end, self.basis);
                let (u, z) = load_direction(&self.along, self.pairs, p, end, unit);
                let n = (end - p).min(L::N);
                let mut s = [L::zero(); COMPONENTS];
                moments.begin(&g);
                products(0, degree, &moments.now, q, orders, &mut s);
                for d in 1..=degree {
                    moments.step::<false>(d, &mut []);
                    products(d, degree, &moments.now, q, orders, &mut s);
                }
                let mut power = kappa;
                for order in 1..=4 {
                    for s in &mut s[start(order)..start(order + 1)] {
                        *s = *s * power;
                    }
                    power = power * kappa;
                }
                let (dr, shape) = if gto {
                    with_gaussian(&g, &u, &z, &mut s, orders)
                } else {
                    let half = L::of(0.5);
                    let (second, third) = (order2(&s), by_matrix3(&s, &z));
                    let mut dr = times(&second, &u);
                    for k in 0..3 {
                        dr[k] = half.fma(third[k], dr[k]);
                    }
                    let (a, b) = (by_vector3(&s, &u), by_matrix4(&s, &z));
                    let mut shape = [L::zero(); 7];
                    for k in 0..6 {
                        shape[1 + k] = half.fma(b[k], a[k]);
                    }
                    (dr, shape)
                };
                L::store3([dr[0] * unit, dr[1] * unit, dr[2] * unit], &mut values);
                self.vectors[3 * (p - base)..3 * (p - base + n)].copy_from_slice(&values[..3 * n]);
                if with_shapes {
                    L::store_rows(&shape, &mut values[..7 * L::N]);
                    self.shape[7 * (p - base)..7 * (p - base + n)].copy_from_slice(&values[..7 * n]);
                }
                p += L::N;
            }
        }
    }
}

/// dphi/dr and (a, A) with dphi/dSigma = (G A G - a G) / 2.
#[inline(always)]
fn with_gaussian<L: Lanes>(
    g: &Group<L>,
    u: &[L; 3],
    z: &[L; 6],
    s: &mut [L; COMPONENTS],
    orders: usize,
) -> ([L; 3], [L; 7])
where
    L::T: Simd,
{
    let half = L::of(0.5);
    shift_by_gaussian(s, &g.r, orders);
    let s0 = s[0];
    let s1 = [s[1], s[2], s[3]];
    let s2 = order2(s);
    let p = times(&g.g, u);
    let squeezed = sandwich(&g.g, z);
    let trace = contract(&g.g, z);
    // E_2 u = G (S_2 p - S_0 u), E_3:Z = G (S_3:P - 2 Z G S_1 - tr(G Z) S_1).
    let (a, b) = (times(&s2, &p), by_matrix3(s, &squeezed));
    let zgs = times(z, &times(&g.g, &s1));
    let mut inner = [L::zero(); 3];
    for k in 0..3 {
        inner[k] = (a[k] - s0 * u[k]) + half * (b[k] - (zgs[k] + zgs[k]) - trace * s1[k]);
    }
    let dr = times(&g.g, &inner);
    // A of E_3 u: S_3 p - u S_1^T - S_1 u^T, a: S_1.p. Of E_4:Z / 2: (S_4:P - t S_2 - 2 (Z G S_2 + S_2 G Z) + 2 S_0 Z) / 2, a:
    // (S_2:P - S_0 t) / 2.
    let (c, d) = (by_vector3(s, &p), by_matrix4(s, &squeezed));
    let mut shape = [L::zero(); 7];
    shape[0] = dot(&s1, &p) + half * (contract(&s2, &squeezed) - s0 * trace);
    let gz = [times(&g.g, &[z[0], z[1], z[2]]), times(&g.g, &[z[1], z[3], z[4]]), times(&g.g, &[z[2], z[4], z[5]])];
    // Column j of S_2 G Z.
    let sgz = [times(&s2, &gz[0]), times(&s2, &gz[1]), times(&s2, &gz[2])];
    let mut k = 0;
    for i in 0..3 {
        for j in i..3 {
            let first = c[k] - (u[i] * s1[j] + s1[i] * u[j]);
            let both = sgz[j][i] + sgz[i][j];
            let second = d[k] - trace * s2[k] + (s0 * z[k] - both) * L::of(2.0);
            shape[1 + k] = half.fma(second, first);
            k += 1;
        }
    }
    (dr, shape)
}

#[inline(always)]
fn order2<L: Lanes>(s: &[L; COMPONENTS]) -> [L; 6] {
    [s[4], s[5], s[6], s[7], s[8], s[9]]
}

/// Place of x^a y^b z^c among the derivatives.
const fn place(b: usize, c: usize, order: usize) -> usize {
    let k = b + c;
    start(order) + k * (k + 1) / 2 + c
}

/// The pairs (b, c) of the axes x, y, z and of the six components of a symmetric matrix, with their multiplicities.
const AXES: [[usize; 2]; 3] = [[0, 0], [1, 0], [0, 1]];
const MATRIX: [[usize; 2]; 6] = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]];
const TIMES: [f64; 6] = [1.0, 2.0, 2.0, 1.0, 2.0, 1.0];

/// S_3:P, a vector.
#[inline(always)]
fn by_matrix3<L: Lanes>(s: &[L; COMPONENTS], p: &[L; 6]) -> [L; 3] {
    let mut out = [L::zero(); 3];
    for i in 0..3 {
        for k in 0..6 {
            let at = place(AXES[i][0] + MATRIX[k][0], AXES[i][1] + MATRIX[k][1], 3);
            out[i] = (s[at] * L::of(TIMES[k])).fma(p[k], out[i]);
        }
    }
    out
}

/// S_3 p, a symmetric matrix.
#[inline(always)]
fn by_vector3<L: Lanes>(s: &[L; COMPONENTS], p: &[L; 3]) -> [L; 6] {
    let mut out = [L::zero(); 6];
    for k in 0..6 {
        for i in 0..3 {
            let at = place(AXES[i][0] + MATRIX[k][0], AXES[i][1] + MATRIX[k][1], 3);
            out[k] = s[at].fma(p[i], out[k]);
        }
    }
    out
}

/// S_4:P, a symmetric matrix.
#[inline(always)]
fn by_matrix4<L: Lanes>(s: &[L; COMPONENTS], p: &[L; 6]) -> [L; 6] {
    let mut out = [L::zero(); 6];
    for k in 0..6 {
        for j in 0..6 {
            let at = place(MATRIX[j][0] + MATRIX[k][0], MATRIX[j][1] + MATRIX[k][1], 4);
            out[k] = (s[at] * L::of(TIMES[j])).fma(p[j], out[k]);
        }
    }
    out
}

/// N_k to S_k: derivatives at 0 of exp(-r.eta) N(eta), one axis after another.
#[inline(always)]
fn shift_by_gaussian<L: Lanes>(s: &mut [L; COMPONENTS], r: &[L; 3], orders: usize) {
    const BINOMIAL: [[f64; 5]; 5] = [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0, 0.0],
        [1.0, 2.0, 1.0, 0.0, 0.0],
        [1.0, 3.0, 3.0, 1.0, 0.0],
        [1.0, 4.0, 6.0, 4.0, 1.0],
    ];
    for axis in 0..3 {
        let mut power = [L::of(1.0); 5];
        for k in 1..5 {
            power[k] = -(power[k - 1] * r[axis]);
        }
        // Highest order first: each needs lower ones as they were.
        for order in (1..=orders).rev() {
            for b in 0..=order {
                for c in 0..=order - b {
                    let e = [order - b - c, b, c];
                    let mut sum = s[place(b, c, order)];
                    for less in 1..=e[axis] {
                        let mut f = e;
                        f[axis] -= less;
                        let lower = s[place(f[1], f[2], order - less)];
                        sum = (power[less] * L::of(BINOMIAL[e[axis]][less])).fma(lower, sum);
                    }
                    s[place(b, c, order)] = sum;
                }
            }
        }
    }
}

/// Adds to `s` what the moments `m` of degree `d` give to the derivatives up to `orders`.
#[inline(always)]
fn products<L: Lanes>(d: usize, degree: usize, m: &[L], q: &[L::T], orders: usize, s: &mut [L; COMPONENTS]) {
    for order in 0..=orders.min(degree - d) {
        let q = &q[start(d + order)..start(d + order + 1)];
        for b in 0..=order {
            for c in 0..=order - b {
                let (at, up) = (place(b, c, order), b + c);
                let mut sum = s[at];
                for k in 0..=d {
                    let (from, to) = (k * (k + 1) / 2, (k + up) * (k + up + 1) / 2 + c);
                    let (m, q) = (&m[from..from + k + 1], &q[to..to + k + 1]);
                    for i in 0..k + 1 {
                        sum = L::splat(q[i]).fma(m[i], sum);
                    }
                }
                s[at] = sum;
            }
        }
    }
}
