//! Laws of the expansion and its derivatives, on a few particles in a box.

use super::adjoint::{adjoint, to_particles};
use super::basis::{Basis, Parameters, Radial};
use super::forward::expand;
use super::second::second;
use super::shapes::{Orientation, Shapes, Sym, full, grad_axes, grad_covariance, grad_quaternion, rotations};
use super::tangent::{Direction, tangent};
use crate::basis::lanes::Simd;
use crate::descriptors::pairs::{PADDING, Pairs, Request};
use crate::edges::Systems;
use crate::pool;

const N: usize = 6;

fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
        .collect()
}

struct Case {
    kind: Radial,
    basis: Basis,
    positions: Vec<f64>,
    covariance: Vec<f64>,
}

fn covariances(seed: u64) -> Vec<f64> {
    let r = rotations(&numbers(4 * N, seed), Orientation::Quaternion).unwrap();
    let s = numbers(3 * N, seed + 1);
    let one = |i: usize| {
        let m = r[i];
        let mut out = [0.0; 9];
        for a in 0..3 {
            for b in 0..3 {
                out[3 * a + b] = (0..3).map(|k| m[a][k] * (0.7 + s[3 * i + k]).powi(2) * m[b][k]).sum();
            }
        }
        out
    };
    (0..N).flat_map(one).collect()
}

fn case(kind: Radial, radial: Vec<usize>) -> Case {
    let unit = if kind == Radial::Gto { 1.3 } else { 3.5 };
    let p = Parameters { kind, radial, unit, rcond: 0.0, tolerance: 1e-8, normalize: true };
    let positions = numbers(3 * N, 5).into_iter().map(|x| 4.0 * x).collect();
    Case { kind, basis: Basis::new(&p).unwrap(), positions, covariance: covariances(7) }
}

impl Case {
    fn pairs<T: Simd>(&self, positions: &[f64]) -> Pairs<T> {
        let x: Vec<T> = positions.iter().map(|&x| T::of(x)).collect();
        let (offsets, cell) = ([0, N as i64], [4.0, 0.0, 0.3, 0.0, 9.0, 0.0, 0.0, 1.0, 9.0]);
        let systems = Systems { positions: &x, offsets: &offsets, cell: &cell, pbc: &[true, false, false] };
        let column = [0, 1, 1, 0, 2, 1];
        let request =
            Request { column: &column, columns: 4, cutoff: 5.0, inclusive: false, self_pair: true, centers: None };
        Pairs::new(&systems, &request, false, &mut || false).unwrap()
    }

    fn shapes<T: Simd>(&self, covariance: &[f64]) -> Shapes<T> {
        Shapes::of_covariances(self.kind, self.basis.unit, covariance).unwrap()
    }

    fn coefficients(&self, positions: &[f64], covariance: &[f64]) -> Vec<f64> {
        expand(&self.basis, &self.pairs(positions), &self.shapes(covariance))
    }

    /// dE/dpositions and dE/dSigma [N, 6] (each triangle once) of E = g.c.
    fn gradients(&self, positions: &[f64], covariance: &[f64], g: &[f64]) -> (Vec<f64>, Vec<Sym>) {
        let (pairs, shapes) = (self.pairs(positions), self.shapes(covariance));
        let back = adjoint(&self.basis, &pairs, &shapes, g, true);
        let sums = to_particles(&pairs, &back.shape, N);
        (pairs.to_positions(&back.vector, true), grad_covariance(self.kind, self.basis.unit, &shapes, &sums))
    }

    fn phi(&self, positions: &[f64], covariance: &[f64], g: &[f64], u: &[f64], z: &[f64]) -> f64 {
        let (x, y) = self.gradients(positions, covariance, g);
        dot(&x, u) + shape_dot(&y, z)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Y:Z with Z [N, 6].
fn shape_dot(y: &[Sym], z: &[f64]) -> f64 {
    let one = |y: &Sym, z: &[f64]| (0..6).map(|k| y[k] * z[k] * [1.0, 2.0, 2.0, 1.0, 2.0, 1.0][k]).sum::<f64>();
    y.iter().zip(z.chunks_exact(6)).map(|(y, z)| one(y, z)).sum()
}

fn moved(x: &[f64], by: &[f64], h: f64) -> Vec<f64> {
    x.iter().zip(by).map(|(x, b)| x + h * b).collect()
}

/// [N, 6] as [N, 3, 3].
fn matrices(z: &[f64]) -> Vec<f64> {
    z.chunks_exact(6).flat_map(|z| full(&z.try_into().unwrap()).into_iter().flatten()).collect()
}

fn cases() -> Vec<Case> {
    vec![
        case(Radial::Gto, vec![3, 2, 2, 1, 1]),
        case(Radial::Monomial, vec![2, 2, 1]),
        case(Radial::Gto, vec![8, 1]),
        case(Radial::Gto, vec![1]),
    ]
}

#[test]
fn gradients_are_difference_quotients_and_the_transpose_of_tangents() {
    for c in cases() {
        let pairs: Pairs<f64> = c.pairs(&c.positions);
        let shapes = c.shapes(&c.covariance);
        let size = expand(&c.basis, &pairs, &shapes).len();
        let (g, d, z) = (numbers(size, 11), numbers(3 * N, 12), numbers(6 * N, 13));
        let (x, y) = c.gradients(&c.positions, &c.covariance, &g);
        let u = pairs.tangents(Some(&d), true, None, None);
        let along = tangent(&c.basis, &pairs, &shapes, Direction { vector: &u, shape: &z });
        let (forward, back) = (dot(&g, &along), dot(&x, &d) + shape_dot(&y, &z));
        assert!((forward - back).abs() < 1e-12 * (1.0 + back.abs()), "{forward} {back}");
        let h = 1e-5;
        let e = |h: f64| dot(&g, &c.coefficients(&moved(&c.positions, &d, h), &moved(&c.covariance, &matrices(&z), h)));
        let quotient = (8.0 * (e(h) - e(-h)) - (e(2.0 * h) - e(-2.0 * h))) / (12.0 * h);
        assert!((quotient - back).abs() < 2e-9 * (1.0 + back.abs()), "{quotient} {back}");
    }
}

#[test]
fn the_second_vjp_is_the_difference_quotient_of_the_first() {
    for c in cases() {
        let pairs: Pairs<f64> = c.pairs(&c.positions);
        let shapes = c.shapes(&c.covariance);
        let size = expand(&c.basis, &pairs, &shapes).len();
        let g = numbers(size, 11);
        let (d, z) = (numbers(3 * N, 12), numbers(6 * N, 13));
        let (step, turn) = (numbers(3 * N, 14), numbers(6 * N, 15));
        for zero in [false, true] {
            let z = if zero { vec![0.0; 6 * N] } else { z.clone() };
            let u = pairs.tangents(Some(&d), true, None, None);
            let direction = Direction { vector: &u, shape: if zero { &[][..] } else { &z[..] } };
            let back = second(&c.basis, &pairs, &shapes, &g, direction, true);
            let x = pairs.to_positions(&back.vector, true);
            let y = grad_covariance(c.kind, c.basis.unit, &shapes, &to_particles(&pairs, &back.shape, N));
            let wanted = dot(&x, &step) + shape_dot(&y, &turn);
            let h = 1e-5;
            let phi = |h: f64| {
                let at = (moved(&c.positions, &step, h), moved(&c.covariance, &matrices(&turn), h));
                c.phi(&at.0, &at.1, &g, &d, &z)
            };
            let quotient = (8.0 * (phi(h) - phi(-h)) - (phi(2.0 * h) - phi(-2.0 * h))) / (12.0 * h);
            assert!((quotient - wanted).abs() < 5e-9 * (1.0 + wanted.abs()), "{quotient} {wanted}");
            let only = second(&c.basis, &pairs, &shapes, &g, direction, false);
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-13 * (1.0 + b.abs());
            assert!(only.vector.iter().zip(&back.vector).all(close) && only.shape.is_empty());
        }
    }
}

#[test]
fn torques_semiaxes_and_quaternions_follow_from_the_covariance() {
    let c = case(Radial::Gto, vec![2, 2, 1]);
    let (q, s): (Vec<f64>, Vec<f64>) = (numbers(4 * N, 21), numbers(3 * N, 22).iter().map(|x| x + 0.6).collect());
    let pairs: Pairs<f64> = c.pairs(&c.positions);
    let energy = |q: &[f64], s: &[f64], g: &[f64]| {
        let r = rotations(q, Orientation::Quaternion).unwrap();
        dot(g, &expand(&c.basis, &pairs, &Shapes::of_axes(c.kind, c.basis.unit, &r, s)))
    };
    let r = rotations(&q, Orientation::Quaternion).unwrap();
    let shapes = Shapes::of_axes(c.kind, c.basis.unit, &r, &s);
    let g = numbers(expand(&c.basis, &pairs, &shapes).len(), 23);
    let back = adjoint(&c.basis, &pairs, &shapes, &g, true);
    let y = grad_covariance(c.kind, c.basis.unit, &shapes, &to_particles(&pairs, &back.shape, N));
    let (torque, axes) = grad_axes::<f64>(&r, &s, &y);
    let grad_q = grad_quaternion(&q, &torque);
    let h = 1e-5;
    let quotient = |e: &dyn Fn(f64) -> f64| (8.0 * (e(h) - e(-h)) - (e(2.0 * h) - e(-2.0 * h))) / (12.0 * h);
    let (dq, ds) = (numbers(4 * N, 24), numbers(3 * N, 25));
    let turned = quotient(&|h| energy(&moved(&q, &dq, h), &s, &g));
    assert!((turned - dot(&grad_q, &dq)).abs() < 1e-9, "{turned} {}", dot(&grad_q, &dq));
    let stretched = quotient(&|h| energy(&q, &moved(&s, &ds, h), &g));
    assert!((stretched - dot(&axes, &ds)).abs() < 1e-9, "{stretched} {}", dot(&axes, &ds));
}

#[test]
fn spheres_take_the_product_form_and_agree_with_the_recursion() {
    for mut c in cases() {
        for i in 0..N {
            for k in 0..9 {
                c.covariance[9 * i + k] = if k % 4 == 0 { 0.1 * i as f64 } else { 0.0 };
            }
        }
        let pairs: Pairs<f64> = c.pairs(&c.positions);
        let spheres: Shapes<f64> = c.shapes(&c.covariance);
        assert!(spheres.sphere.iter().all(|&s| s));
        let general = Shapes { rows: spheres.rows.clone(), sphere: vec![false; N] };
        let (a, b) = (expand(&c.basis, &pairs, &spheres), expand(&c.basis, &pairs, &general));
        let largest = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let amplification = c.basis.amplification.iter().fold(1.0f64, |m, &x| m.max(x));
        assert!(a.iter().zip(&b).all(|(x, y)| (x - y).abs() < 1e-15 * largest * (10.0 + amplification)));
        let g = numbers(a.len(), 3);
        let (x, y) = (adjoint(&c.basis, &pairs, &spheres, &g, true), adjoint(&c.basis, &pairs, &general, &g, true));
        assert!(x.vector.iter().zip(&y.vector).all(|(x, y)| (x - y).abs() < 1e-10 * (1.0 + y.abs())));
        assert!(x.shape.iter().zip(&y.shape).all(|(x, y)| (x - y).abs() < 1e-9 * (1.0 + y.abs())));
    }
}

#[test]
fn single_precision_agrees_with_double() {
    let c = case(Radial::Gto, vec![4, 3, 3, 2, 2, 1, 1]);
    let double = c.coefficients(&c.positions, &c.covariance);
    let pairs: Pairs<f32> = c.pairs(&c.positions);
    assert_eq!(pairs.vector.len(), 3 * (pairs.len() + PADDING));
    let single = expand(&c.basis, &pairs, &c.shapes::<f32>(&c.covariance));
    let largest = double.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(single.iter().zip(&double).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5 * largest));
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    let c = case(Radial::Gto, vec![4, 3, 3, 2, 2, 1, 1]);
    let pairs: Pairs<f64> = c.pairs(&c.positions);
    let shapes = c.shapes(&c.covariance);
    let run = |threads: usize| {
        pool::set_num_threads(threads).unwrap();
        let out = expand(&c.basis, &pairs, &shapes);
        let back = adjoint(&c.basis, &pairs, &shapes, &out, true);
        let sums = to_particles(&pairs, &back.shape, N);
        (out, back.vector, sums)
    };
    assert_eq!(run(1), run(3));
}
