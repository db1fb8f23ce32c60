//! The radial network of a tile of edges: dense layers with silu between, R = silu(silu(B W_0) W_1 …) W_last, and its transpose.
//!
//! Constants (1 / sqrt(width), silu's factor) are in the weights. Bound by the dense products, two flops a weight and edge;
//! nothing is kept from the way forward, as activations cost less to make again than to store for every edge.

use crate::basis::functions::exp;
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::equivariant::matmul::{Matrix, MatrixMut, matmul};

/// Dense layers [in, out].
#[derive(Clone, Debug)]
pub struct Network<T> {
    pub sizes: Vec<usize>,
    pub weights: Vec<Vec<T>>,
}

/// Results of every layer before (`sums`) and after (`values`) its activation, and how steep that is.
#[derive(Default)]
pub struct Trace<T> {
    values: Vec<Vec<T>>,
    slopes: Vec<Vec<T>>,
}

impl<T: Simd> Network<T> {
    fn last(&self) -> usize {
        self.weights.len() - 1
    }

    /// R [rows, n] of x [rows, K].
    pub fn forward(&self, x: &[T], rows: usize, trace: &mut Trace<T>, out: &mut Vec<T>) {
        trace.values.resize_with(self.last(), Vec::new);
        trace.slopes.resize_with(self.last(), Vec::new);
        for (k, w) in self.weights.iter().enumerate() {
            let (a, b) = (self.sizes[k], self.sizes[k + 1]);
            let mut made = std::mem::take(if k < self.last() { &mut trace.values[k] } else { out });
            made.clear();
            made.resize(rows * b, T::ZERO);
            {
                let from = if k == 0 { x } else { &trace.values[k - 1] };
                let (from, w) = (Matrix::new(from, [rows, a], [a, 1]), Matrix::new(w, [a, b], [b, 1]));
                matmul(T::ONE, from, w, MatrixMut::new(&mut made, [rows, b], [b, 1]));
            }
            if k < self.last() {
                let slopes = &mut trace.slopes[k];
                slopes.clear();
                slopes.resize(rows * b, T::ZERO);
                dispatch(Silu { values: &mut made, slopes });
                trace.values[k] = made;
            } else {
                *out = made;
            }
        }
    }

    /// grad_x [rows, K] += the transpose on grad [rows, n], at what `trace` holds.
    pub fn backward(&self, grad: &[T], rows: usize, trace: &Trace<T>, grad_x: &mut [T]) {
        let mut above = grad.to_vec();
        for k in (0..self.weights.len()).rev() {
            let (a, b) = (self.sizes[k], self.sizes[k + 1]);
            let (from, w) = (Matrix::new(&above, [rows, b], [b, 1]), Matrix::new(&self.weights[k], [b, a], [1, b]));
            if k == 0 {
                return matmul(T::ONE, from, w, MatrixMut::new(grad_x, [rows, a], [a, 1]));
            }
            let mut below = vec![T::ZERO; rows * a];
            matmul(T::ONE, from, w, MatrixMut::new(&mut below, [rows, a], [a, 1]));
            below.iter_mut().zip(&trace.slopes[k - 1]).for_each(|(g, s)| *g *= *s);
            above = below;
        }
    }
}

/// x -> x / (1 + e^-x) in place, and its derivative.
struct Silu<'a, T> {
    values: &'a mut [T],
    slopes: &'a mut [T],
}

impl<T: Simd> Job<T> for Silu<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let one = |x: L| {
            let limit = L::of(-80.0);
            let x_low = L::select(x.lt(limit), limit, x);
            let s = L::of(1.0) / (L::of(1.0) + exp(-x_low));
            (x * s, s * (L::of(1.0) + x * (L::of(1.0) - s)))
        };
        let mut values = self.values.chunks_exact_mut(L::N);
        let mut slopes = self.slopes.chunks_exact_mut(L::N);
        for (v, d) in values.by_ref().zip(slopes.by_ref()) {
            let (value, slope) = one(L::load(v));
            value.store(v);
            slope.store(d);
        }
        for (v, d) in values.into_remainder().iter_mut().zip(slopes.into_remainder()) {
            let mut held = [T::ZERO; crate::basis::lanes::MAX_LANES];
            let (value, slope) = one(L::splat(*v));
            value.store(&mut held);
            *v = held[0];
            slope.store(&mut held);
            *d = held[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transpose_is_the_difference_quotient() {
        let sizes = vec![3, 5, 4];
        let weights = vec![
            (0..15).map(|i| (f64::from(i) * 0.7).sin()).collect(),
            (0..20).map(|i| (f64::from(i) * 1.3).cos()).collect(),
        ];
        let (network, rows) = (Network { sizes, weights }, 3);
        let x: Vec<f64> = (0..9).map(|i| (f64::from(i) * 0.9).sin() * 3.0).collect();
        let grad: Vec<f64> = (0..12).map(|i| (f64::from(i) * 2.1).sin()).collect();
        let value = |x: &[f64]| {
            let mut out = Vec::new();
            network.forward(x, rows, &mut Trace::default(), &mut out);
            out.iter().zip(&grad).map(|(o, g)| o * g).sum::<f64>()
        };
        let (mut trace, mut out, mut found) = (Trace::default(), Vec::new(), vec![0.0; 9]);
        network.forward(&x, rows, &mut trace, &mut out);
        network.backward(&grad, rows, &trace, &mut found);
        for i in 0..9 {
            let shifted = |h: f64| {
                let mut x = x.clone();
                x[i] += h;
                value(&x)
            };
            assert!((found[i] - (shifted(1e-6) - shifted(-1e-6)) / 2e-6).abs() < 1e-7);
        }
    }
}
