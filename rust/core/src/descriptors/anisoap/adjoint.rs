//! The transpose of the expansion: cotangents of coefficients to pair vectors and shapes.
//!
//! With Q = sum g W T, e = w <Q, M>, v = w <grad Q, M>, H = w <grad grad Q, M> of a pair, in the unit s:
//! dE/dr = G (v - e r), and dE/dSigma = 1/2 d2E/dr2 = 1/2 (G B G - e G) with B = H - r v^T - v r^T + e r r^T (a Gaussian solves the
//! heat equation, so orientations and semiaxes need nothing else). For monomials dE/dr = v, B = H. In scaled monomials the
//! coefficients of a derivative of Q are those of Q at other places.

use std::ops::Range;

use rayon::prelude::*;

use super::basis::{Basis, Radial};
use super::contract::polynomials;
use super::forward::{block_of, pair_ns, rows_of};
use super::moments::{Group, Moments, times};
use super::monomials::start;
use super::shapes::{ROW, Shapes};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::pairs::{Pairs, cut, tasks};
use crate::pool;
use crate::stages::{self, Stage};

/// What pairs send back.
pub struct PairGradients<T> {
    /// dE/dr [P, 3], 1 / Angstrom.
    pub vector: Vec<T>,
    /// e and B [P, 7], in the unit s; empty unless asked for.
    pub shape: Vec<T>,
}

/// Runs `task(task, vectors' rows, shapes' rows)` for all tasks, where `shapes` asks for the latter.
pub(super) fn for_pairs<T: Simd, F>(pairs: &Pairs<T>, shapes: bool, work_ns: usize, task: F) -> PairGradients<T>
where
    F: Fn(&Range<usize>, &mut [T], &mut [T]) + Sync + Send,
{
    let mut out = PairGradients {
        vector: vec![T::ZERO; 3 * pairs.len()],
        shape: vec![T::ZERO; if shapes { 7 * pairs.len() } else { 0 }],
    };
    let tasks = tasks(pairs.centers());
    let ends = |width: usize| tasks.iter().map(move |t| pairs.ptr[t.end * pairs.columns] * width);
    let vectors = cut(&mut out.vector, ends(3));
    let shape = cut(&mut out.shape, ends(if shapes { 7 } else { 0 }));
    pool::run(work_ns, |threads| match threads {
        1 => tasks.iter().zip(vectors).zip(shape).for_each(|((t, v), s)| task(t, v, s)),
        _ => tasks.par_iter().zip(vectors).zip(shape).with_max_len(1).for_each(|((t, v), s)| task(t, v, s)),
    });
    out
}

/// The gradients of E = sum(`grad` * coefficients), `grad` [C, S, F].
pub fn adjoint<T: Simd>(
    basis: &Basis,
    pairs: &Pairs<T>,
    shapes: &Shapes<T>,
    grad: &[T],
    with_shapes: bool,
) -> PairGradients<T> {
    for_pairs(pairs, with_shapes, 2 * pairs.len() * pair_ns(basis), |task, vectors, shape| {
        let width = pairs.columns * basis.width();
        let own = &grad[task.start * width..task.end * width];
        adjoint_task(basis, (pairs, shapes), own, task, vectors, shape);
    })
}

/// Of the centres of one task; `grad` [centres, S, F] is theirs.
pub fn adjoint_task<T: Simd>(
    basis: &Basis,
    (pairs, shapes): (&Pairs<T>, &Shapes<T>),
    grad: &[T],
    task: &Range<usize>,
    vectors: &mut [T],
    shape: &mut [T],
) {
    let _timer = stages::start(Stage::Backward);
    let rows = rows_of(pairs, task);
    let (block, first) = (block_of(basis), task.start * pairs.columns);
    let mut q = vec![T::ZERO; block.min(rows.len()) * basis.monomials()];
    for rows in rows.chunks(block) {
        let q = &mut q[..rows.len() * basis.monomials()];
        polynomials(basis, grad, rows, q);
        dispatch(Adjoint { basis, pairs, shapes, first, rows, q, vectors, shape });
    }
}

struct Adjoint<'a, T: Copy> {
    basis: &'a Basis,
    pairs: &'a Pairs<T>,
    shapes: &'a Shapes<T>,
    first: usize,
    rows: &'a [usize],
    q: &'a [T],
    vectors: &'a mut [T],
    /// Empty: not asked for.
    shape: &'a mut [T],
}

impl<T: Simd> Job<T> for Adjoint<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let size = self.basis.monomials();
        let gto = self.basis.kind == Radial::Gto;
        let unit = L::of(1.0 / self.basis.unit);
        let kappa = L::of(self.basis.scale);
        let with_shapes = !self.shape.is_empty();
        let mut buffer = [T::ZERO; MAX_LANES * ROW];
        let mut moments = Moments::<L>::new(self.basis.degree);
        let base = self.pairs.ptr[self.first];
        let mut values = [T::ZERO; 7 * MAX_LANES];
        for (&row, q) in self.rows.iter().zip(self.q.chunks_exact(size)) {
            let (mut p, end) = (self.pairs.ptr[self.first + row], self.pairs.ptr[self.first + row + 1]);
            while p < end {
                let g = Group::load((self.pairs, self.shapes), &mut buffer, p, end, self.basis);
                let n = (end - p).min(L::N);
                let mut s = [L::zero(); 10];
                moments.begin(&g);
                products(0, self.basis.degree, &moments.now, q, with_shapes, &mut s);
                for d in 1..=self.basis.degree {
                    moments.step::<false>(d, &mut []);
                    products(d, self.basis.degree, &moments.now, q, with_shapes, &mut s);
                }
                for (k, s) in s.iter_mut().enumerate().skip(1) {
                    *s = *s * if k < 4 { kappa } else { kappa * kappa };
                }
                let [e, vx, vy, vz, hxx, hxy, hxz, hyy, hyz, hzz] = s;
                let (r, v) = (g.r, [vx, vy, vz]);
                let mut x = v;
                if gto {
                    x = times(&g.g, &[(-e).fma(r[0], vx), (-e).fma(r[1], vy), (-e).fma(r[2], vz)]);
                }
                L::store3([x[0] * unit, x[1] * unit, x[2] * unit], &mut values);
                self.vectors[3 * (p - base)..3 * (p - base + n)].copy_from_slice(&values[..3 * n]);
                if with_shapes {
                    let mut b = [e, hxx, hxy, hxz, hyy, hyz, hzz];
                    if gto {
                        // B = H - r v^T - v r^T + e r r^T = H - r y^T - y r^T, y = v - e r / 2.
                        let h = e * L::of(-0.5);
                        let y = [h.fma(r[0], vx), h.fma(r[1], vy), h.fma(r[2], vz)];
                        let mut k = 1;
                        for i in 0..3 {
                            for j in i..3 {
                                b[k] = b[k] - r[i].fma(y[j], y[i] * r[j]);
                                k += 1;
                            }
                        }
                    }
                    L::store_rows(&b, &mut values[..7 * L::N]);
                    self.shape[7 * (p - base)..7 * (p - base + n)].copy_from_slice(&values[..7 * n]);
                }
                p += L::N;
            }
        }
    }
}

/// Adds to `s` = (e, v, H) what the moments `m` of degree `d` give.
#[inline(always)]
fn products<L: Lanes>(d: usize, degree: usize, m: &[L], q: &[L::T], second: bool, s: &mut [L; 10]) {
    let size = start(degree + 1);
    assert!(q.len() >= size && m.len() >= super::monomials::shell(d) && d <= degree);
    let (q0, q1, q2) = (start(d), start(d + 1), start(d + 2));
    // SAFETY: a place t of degree d is below shell(d), the length of `m`; t + k + 2 of degree d + 1 and t + 2 k + 5 of degree
    // d + 2 are places of those degrees (the last of row k is c = k), which are looked at only where q has them.
    macro_rules! at {
        ($i:expr) => {
            L::splat(*unsafe { q.get_unchecked($i) })
        };
    }
    let mut t = 0;
    if second && d + 2 <= degree {
        let [mut e, mut x, mut y, mut z, mut xx, mut xy, mut xz, mut yy, mut yz, mut zz] = *s;
        for k in 0..=d {
            for _ in 0..=k {
                // SAFETY: as above.
                let m = *unsafe { m.get_unchecked(t) };
                e = at!(q0 + t).fma(m, e);
                x = at!(q1 + t).fma(m, x);
                y = at!(q1 + t + k + 1).fma(m, y);
                z = at!(q1 + t + k + 2).fma(m, z);
                xx = at!(q2 + t).fma(m, xx);
                xy = at!(q2 + t + k + 1).fma(m, xy);
                xz = at!(q2 + t + k + 2).fma(m, xz);
                yy = at!(q2 + t + 2 * k + 3).fma(m, yy);
                yz = at!(q2 + t + 2 * k + 4).fma(m, yz);
                zz = at!(q2 + t + 2 * k + 5).fma(m, zz);
                t += 1;
            }
        }
        *s = [e, x, y, z, xx, xy, xz, yy, yz, zz];
    } else if d < degree {
        let [mut e, mut x, mut y, mut z, ..] = *s;
        for k in 0..=d {
            for _ in 0..=k {
                // SAFETY: as above.
                let m = *unsafe { m.get_unchecked(t) };
                e = at!(q0 + t).fma(m, e);
                x = at!(q1 + t).fma(m, x);
                y = at!(q1 + t + k + 1).fma(m, y);
                z = at!(q1 + t + k + 2).fma(m, z);
                t += 1;
            }
        }
        (s[0], s[1], s[2], s[3]) = (e, x, y, z);
    } else {
        // Two sums, for the latency of the fused products.
        let mut e = [s[0], L::zero()];
        for t in 0..super::monomials::shell(d) {
            // SAFETY: as above.
            let m = *unsafe { m.get_unchecked(t) };
            e[t % 2] = at!(q0 + t).fma(m, e[t % 2]);
        }
        s[0] = e[0] + e[1];
    }
}

/// The sums over pairs by their targets, [N, 7] in f64, in the order of the pairs.
pub fn to_particles<T: Simd>(pairs: &Pairs<T>, shape: &[T], particles: usize) -> Vec<f64> {
    let mut out = vec![0.0; 7 * particles];
    let fill = |first: usize, out: &mut [f64]| {
        for (p, &t) in pairs.target.iter().enumerate() {
            // A target before the first wraps to a number that no slice has.
            if let Some(o) = out.get_mut(7 * (t as usize).wrapping_sub(first)..).and_then(|o| o.first_chunk_mut::<7>())
            {
                for k in 0..7 {
                    o[k] += shape[7 * p + k].to_f64();
                }
            }
        }
    };
    pool::run(8 * pairs.len(), |threads| {
        if threads == 1 || particles < 2 {
            return fill(0, &mut out);
        }
        let size = particles.div_ceil(threads);
        out.par_chunks_mut(7 * size).enumerate().for_each(|(k, out)| fill(k * size, out));
    });
    out
}
