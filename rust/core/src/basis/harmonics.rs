//! Real spherical harmonics Y_lm(v), l <= lmax, their vjp and its vjp. `vector` [E, 3] -> [E, M], M = (lmax + 1)^2, column
//! l l + l + m. Polar axis y: e3nn's frame, degree 1 is (x, y, z); polar axis z: degree 1 is (y, z, x). No Condon-Shortley
//! phase. With `normalize` of the unit vector u = v / r, else homogeneous polynomials of degree l.
//!
//! Where r < 1e-12 and `normalize`: Y_00 and zeros, with gradient zero.
//! Recursion: e.g. Bigi, Fraux, Browning, Ceriotti, J. Chem. Phys. 159, 064802 (2023), section II; here with the
//! normalisation inside the recursion, so that f32 keeps its accuracy at large l.

use super::blocks::{for_each_block2, padded};
use super::harmonics_body::{GENERAL, gradient, values};
use super::harmonics_table::{Normalization, PAIRS, Table, UNROLLED, pair};
use super::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use super::number::{Dual, Number};
use crate::error::{Error, Result};
use crate::pool::for_each_block;
use crate::real::Real;

/// Below this length (as a square) a vector has no direction.
const TINY_SQUARED: f64 = 1e-24;
/// Largest degree: a row of 16641 values.
const LARGEST: usize = 128;

/// What to compute: the static parameters of the op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Harmonics {
    pub lmax: usize,
    pub normalize: bool,
    pub normalization: Normalization,
    /// y (e3nn) instead of z.
    pub polar_y: bool,
}

impl Harmonics {
    /// From (lmax, normalize, normalization 0 component | 1 norm | 2 integral, polar axis 0 y | 1 z).
    pub fn decode(params: &[f64]) -> Result<Self> {
        let &[lmax, normalize, normalization, polar] = params else {
            return Err(Error::value("params", "4 numbers for spherical_harmonics", params.len()));
        };
        if !(lmax >= 0.0 && lmax <= LARGEST as f64 && lmax.fract() == 0.0) {
            return Err(Error::value("lmax", &format!("a whole number from 0 to {LARGEST}"), lmax));
        }
        let normalization = match normalization {
            0.0 => Normalization::Component,
            1.0 => Normalization::Norm,
            2.0 => Normalization::Integral,
            other => return Err(Error::value("normalization", "0, 1 or 2", other)),
        };
        Ok(Harmonics { lmax: lmax as usize, normalize: normalize != 0.0, normalization, polar_y: polar == 0.0 })
    }

    /// M, the length of a row.
    pub fn width(&self) -> usize {
        (self.lmax + 1) * (self.lmax + 1)
    }

    fn cost_ns(&self, factor: usize) -> usize {
        1 + self.width() * factor / 3
    }

    /// Cartesian to the textbook frame (X, Y, Z).
    #[inline(always)]
    fn turn<V: Copy>(&self, [x, y, z]: [V; 3]) -> [V; 3] {
        if self.polar_y { [z, x, y] } else { [x, y, z] }
    }

    #[inline(always)]
    fn turn_back<V: Copy>(&self, [x, y, z]: [V; 3]) -> [V; 3] {
        if self.polar_y { [y, z, x] } else { [x, y, z] }
    }
}

/// Y [E, M].
pub fn spherical_harmonics<T: Simd>(spec: &Harmonics, vector: &[T], out: &mut [T]) {
    let m = spec.width();
    for_each_block(out, m, spec.cost_ns(1), |first, out| {
        let rows = out.len() / m;
        Forward { spec, vector: &vector[3 * first..3 * (first + rows)], out, tangent: None }.run();
    });
}

/// grad_v [E, 3] for `grad_harmonics` [E, M].
pub fn spherical_harmonics_bwd<T: Simd>(spec: &Harmonics, vector: &[T], grad_harmonics: &[T], out: &mut [T]) {
    let m = spec.width();
    for_each_block(out, 3, spec.cost_ns(2), |first, out| {
        let rows = out.len() / 3;
        let (vector, grad) = (&vector[3 * first..3 * (first + rows)], &grad_harmonics[m * first..m * (first + rows)]);
        Backward { spec, vector, grad, out, tangent: None }.run();
    });
}

/// Vjp of the vjp, for `grad_grad_vector` h [E, 3]: the derivatives along h of grad_v (the second derivative is symmetric)
/// and of Y.
pub fn spherical_harmonics_bwd_bwd<T: Simd>(
    spec: &Harmonics,
    vector: &[T],
    grad_harmonics: &[T],
    grad_grad_vector: &[T],
    out_vector: &mut [T],
    out_grad: &mut [T],
) {
    let m = spec.width();
    for_each_block2((out_vector, 3), (out_grad, m), spec.cost_ns(8), |first, out, out_grad| {
        let rows = out.len() / 3;
        let vector = &vector[3 * first..3 * (first + rows)];
        let tangent = Some(&grad_grad_vector[3 * first..3 * (first + rows)]);
        let grad = &grad_harmonics[m * first..m * (first + rows)];
        Backward { spec, vector, grad, out, tangent }.run();
        Forward { spec, vector, out: out_grad, tangent }.run();
    });
}

/// u = v / r with 1 / r, both 0 for a vector without length; the mask of those.
#[inline(always)]
fn unit<L: Lanes, V: Number<L>>(v: [V; 3], squared: L) -> ([V; 3], V, L::Mask) {
    let zero = squared.lt(L::of(TINY_SQUARED));
    let inverse = v[0].mul(v[0]).add_mul(v[1], v[1]).add_mul(v[2], v[2]).inverse_sqrt(zero);
    (v.map(|x| x.mul(inverse)), inverse, zero)
}

#[inline(always)]
fn squared<L: Lanes>(v: [L; 3]) -> L {
    v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
}

/// A job for one degree (`GENERAL`: any), of numbers or of dual numbers.
struct Fixed<J, const LMAX: usize, const DUAL: bool>(J);

impl<T: Simd, B: Body<T>, const LMAX: usize, const DUAL: bool> Job<T> for Fixed<B, LMAX, DUAL> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        // Plain `if`s on constants: the compiler drops the other branches before it makes code of them.
        if !L::UNROLL {
            if DUAL { self.0.portable::<L, Dual<L>>() } else { self.0.portable::<L, L>() }
        } else if LMAX > UNROLLED {
            if DUAL { self.0.general::<L, Dual<L>>() } else { self.0.general::<L, L>() }
        } else if DUAL {
            self.0.unrolled::<L, Dual<L>, LMAX>()
        } else {
            self.0.unrolled::<L, L, LMAX>()
        }
    }
}

/// What values and gradients have in common: how the body is chosen.
trait Body<T: Simd>: Sized {
    /// Whether dual numbers are asked for, and lmax.
    fn form(&self) -> (bool, usize);
    fn unrolled<L: Lanes<T = T>, V: Along<L>, const LMAX: usize>(self);
    fn general<L: Lanes<T = T>, V: Along<L>>(self);

    /// The body over portable lanes: one function for every degree.
    #[inline(never)]
    fn portable<L: Lanes<T = T>, V: Along<L>>(self) {
        self.general::<L, V>();
    }

    /// One machine function a degree: a function of all of them together took minutes to compile.
    fn run(self) {
        match self.form() {
            (false, 0) => dispatch(Fixed::<_, 0, false>(self)),
            (false, 1) => dispatch(Fixed::<_, 1, false>(self)),
            (false, 2) => dispatch(Fixed::<_, 2, false>(self)),
            (false, 3) => dispatch(Fixed::<_, 3, false>(self)),
            (false, 4) => dispatch(Fixed::<_, 4, false>(self)),
            (false, 5) => dispatch(Fixed::<_, 5, false>(self)),
            (false, 6) => dispatch(Fixed::<_, 6, false>(self)),
            (false, _) => dispatch(Fixed::<_, GENERAL, false>(self)),
            (true, 1) => dispatch(Fixed::<_, 1, true>(self)),
            (true, 2) => dispatch(Fixed::<_, 2, true>(self)),
            (true, 3) => dispatch(Fixed::<_, 3, true>(self)),
            (true, _) => dispatch(Fixed::<_, GENERAL, true>(self)),
        }
    }
}

struct Forward<'a, T> {
    spec: &'a Harmonics,
    vector: &'a [T],
    /// Along this, the derivative; else the value.
    tangent: Option<&'a [T]>,
    out: &'a mut [T],
}

/// A number made from a value and a slope; lanes ignore the slope.
trait Along<L: Lanes>: Number<L> {
    fn along(value: [L; 3], slope: impl FnOnce() -> [L; 3]) -> [Self; 3];
    /// What the op returns of it.
    fn result(self) -> L;
}

impl<L: Lanes> Along<L> for L {
    #[inline(always)]
    fn along(value: [L; 3], _: impl FnOnce() -> [L; 3]) -> [L; 3] {
        value
    }
    #[inline(always)]
    fn result(self) -> L {
        self
    }
}

impl<L: Lanes> Along<L> for Dual<L> {
    #[inline(always)]
    fn along(value: [L; 3], slope: impl FnOnce() -> [L; 3]) -> [Self; 3] {
        let slope = slope();
        std::array::from_fn(|k| Dual { value: value[k], slope: slope[k] })
    }
    #[inline(always)]
    fn result(self) -> L {
        self.slope
    }
}

/// The vectors of one tile as numbers.
#[inline(always)]
fn take<L: Lanes, V: Along<L>>(vector: &[L::T], tangent: Option<&[L::T]>, first: usize, count: usize) -> [V; 3]
where
    L::T: Simd,
{
    let (mut a, mut b) = ([L::T::of(1.0); 3 * MAX_LANES], [L::T::of(0.0); 3 * MAX_LANES]);
    let value = L::load3(padded(vector, first, count, L::N, 3, &mut a));
    V::along(value, || L::load3(padded(tangent.unwrap_or(&[]), first, count, L::N, 3, &mut b)))
}

impl<T: Simd> Body<T> for Forward<'_, T> {
    fn form(&self) -> (bool, usize) {
        (self.tangent.is_some(), self.spec.lmax)
    }

    #[inline(always)]
    fn unrolled<L: Lanes<T = T>, V: Along<L>, const LMAX: usize>(self) {
        let table = Table::unrolled(self.spec.normalization).to_arrays::<L>();
        let width = (LMAX + 1) * (LMAX + 1);
        let mut values = [V::constant(L::zero()); 49];
        let mut columns = [L::zero(); 49];
        self.tiles::<L, V, [L; PAIRS], LMAX>(&table, &mut values[..width], &mut columns[..width]);
    }

    #[inline(always)]
    fn general<L: Lanes<T = T>, V: Along<L>>(self) {
        let table = Table::new(self.spec.lmax, self.spec.normalization).to_lanes::<L>();
        let mut values = vec![V::constant(L::zero()); self.spec.width()];
        let mut columns = vec![L::zero(); self.spec.width()];
        self.tiles::<L, V, Vec<L>, GENERAL>(&table, &mut values, &mut columns);
    }
}

impl<T: Simd> Forward<'_, T> {
    #[inline(always)]
    fn tiles<L: Lanes<T = T>, V: Along<L>, A: AsRef<[L]>, const LMAX: usize>(
        self,
        table: &Table<A>,
        y: &mut [V],
        columns: &mut [L],
    ) {
        let (spec, width, rows) = (self.spec, y.len(), self.vector.len() / 3);
        for first in (0..rows).step_by(L::N) {
            let count = L::N.min(rows - first);
            let v = take::<L, V>(self.vector, self.tangent, first, count);
            let mut no_direction = None;
            if spec.normalize {
                let plain = L::load3(padded(self.vector, first, count, L::N, 3, &mut [T::of(1.0); 3 * MAX_LANES]));
                let (u, _, zero) = unit(v, squared(plain));
                values::<L, V, A, LMAX, true>(table, spec.lmax, spec.turn(u), y);
                no_direction = L::any(zero).then_some(());
            } else {
                values::<L, V, A, LMAX, false>(table, spec.lmax, spec.turn(v), y);
            }
            for (c, y) in columns.iter_mut().zip(y.iter()) {
                *c = y.result();
            }
            let out = &mut self.out[first * width..(first + count) * width];
            if count == L::N {
                L::store_rows(columns, out);
            } else {
                let mut last = vec![T::ZERO; L::N * width];
                L::store_rows(columns, &mut last);
                out.copy_from_slice(&last[..count * width]);
            }
            if no_direction.is_some() && self.tangent.is_none() {
                let start = T::of(spec.normalization.factor(0));
                for (row, v) in out.chunks_exact_mut(width).zip(self.vector[3 * first..].chunks_exact(3)) {
                    if v[0] * v[0] + v[1] * v[1] + v[2] * v[2] < T::of(TINY_SQUARED) {
                        row.fill(T::ZERO);
                        row[0] = start;
                    }
                }
            }
        }
    }
}

struct Backward<'a, T> {
    spec: &'a Harmonics,
    vector: &'a [T],
    grad: &'a [T],
    tangent: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Simd> Body<T> for Backward<'_, T> {
    fn form(&self) -> (bool, usize) {
        (self.tangent.is_some(), self.spec.lmax)
    }

    #[inline(always)]
    fn unrolled<L: Lanes<T = T>, V: Along<L>, const LMAX: usize>(self) {
        let table = Table::unrolled(self.spec.normalization).to_arrays::<L>();
        let zero = V::constant(L::zero());
        let mut g = [L::zero(); 49];
        let width = (LMAX + 1) * (LMAX + 1);
        let (mut q, mut phase) = ([zero; PAIRS], [[zero; 2]; UNROLLED + 1]);
        self.tiles::<L, V, [L; PAIRS], LMAX>(&table, &mut g[..width], &mut q, &mut phase);
    }

    #[inline(always)]
    fn general<L: Lanes<T = T>, V: Along<L>>(self) {
        let lmax = self.spec.lmax;
        let table = Table::new(lmax, self.spec.normalization).to_lanes::<L>();
        let zero = V::constant(L::zero());
        let mut g = vec![L::zero(); self.spec.width()];
        let (mut q, mut phase) = (vec![zero; pair(lmax + 1, 0)], vec![[zero; 2]; lmax + 1]);
        self.tiles::<L, V, Vec<L>, GENERAL>(&table, &mut g, &mut q, &mut phase);
    }
}

impl<T: Simd> Backward<'_, T> {
    #[inline(always)]
    fn tiles<L: Lanes<T = T>, V: Along<L>, A: AsRef<[L]>, const LMAX: usize>(
        self,
        table: &Table<A>,
        g: &mut [L],
        q: &mut [V],
        phase: &mut [[V; 2]],
    ) {
        let (spec, width, rows) = (self.spec, g.len(), self.vector.len() / 3);
        for first in (0..rows).step_by(L::N) {
            let count = L::N.min(rows - first);
            let v = take::<L, V>(self.vector, self.tangent, first, count);
            if count == L::N {
                L::load_rows(&self.grad[first * width..(first + count) * width], g);
            } else {
                let mut last = vec![T::ZERO; L::N * width];
                L::load_rows(padded(self.grad, first, count, L::N, width, &mut last), g);
            }
            let result = if spec.normalize {
                let plain = L::load3(padded(self.vector, first, count, L::N, 3, &mut [T::of(1.0); 3 * MAX_LANES]));
                let (u, inverse, _) = unit(v, squared(plain));
                let gu = gradient::<L, V, A, LMAX, true>(table, spec.lmax, spec.turn(u), g, q, phase);
                let gu = spec.turn_back(gu);
                // d(v / r)/dv projects on the plane across u.
                let along = gu[0].mul(u[0]).add_mul(gu[1], u[1]).add_mul(gu[2], u[2]);
                std::array::from_fn(|k| gu[k].sub(u[k].mul(along)).mul(inverse))
            } else {
                spec.turn_back(gradient::<L, V, A, LMAX, false>(table, spec.lmax, spec.turn(v), g, q, phase))
            };
            let result = result.map(V::result);
            if count == L::N {
                L::store3(result, &mut self.out[3 * first..3 * (first + count)]);
            } else {
                let mut last = [T::ZERO; 3 * MAX_LANES];
                L::store3(result, &mut last);
                self.out[3 * first..3 * (first + count)].copy_from_slice(&last[..3 * count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest_gap<T: Simd>(a: &[T], b: &[T]) -> f64 {
        a.iter().zip(b).fold(0.0, |gap, (a, b)| gap.max((*a - *b).to_f64().abs() / (1.0 + a.to_f64().abs())))
    }

    fn portable_gap<T: Simd>() -> f64 {
        let rows = 11;
        let vector: Vec<T> = (0..3 * rows).map(|i| T::of((i as f64 * 1.7).sin())).collect();
        let mut gap = 0.0f64;
        for (lmax, normalize) in [(0, true), (1, false), (3, true), (6, false), (9, true)] {
            let spec = Harmonics { lmax, normalize, normalization: Normalization::Component, polar_y: true };
            let size = rows * spec.width();
            for tangent in [None, Some(vector.as_slice())] {
                let (mut a, mut b) = (vec![T::ZERO; size], vec![T::ZERO; size]);
                Forward { spec: &spec, vector: &vector, out: &mut a, tangent }.run();
                let job = Forward { spec: &spec, vector: &vector, out: &mut b, tangent };
                if tangent.is_some() {
                    job.portable::<T::Plain, Dual<T::Plain>>()
                } else {
                    job.portable::<T::Plain, T::Plain>()
                }
                gap = gap.max(largest_gap(&a, &b));
                let (mut c, mut d) = (vec![T::ZERO; 3 * rows], vec![T::ZERO; 3 * rows]);
                let grad = vec![T::of(0.1); size];
                Backward { spec: &spec, vector: &vector, grad: &grad, out: &mut c, tangent }.run();
                let job = Backward { spec: &spec, vector: &vector, grad: &grad, out: &mut d, tangent };
                if tangent.is_some() {
                    job.portable::<T::Plain, Dual<T::Plain>>()
                } else {
                    job.portable::<T::Plain, T::Plain>()
                }
                gap = gap.max(largest_gap(&c, &d));
            }
        }
        gap
    }

    #[test]
    fn the_portable_form_agrees_with_the_registers_to_rounding() {
        assert!(portable_gap::<f64>() < 1e-13, "{}", portable_gap::<f64>());
        assert!(portable_gap::<f32>() < 5e-5, "{}", portable_gap::<f32>());
    }
}
