//! The radial network with its derivative along the distance: R = silu(silu(B W_0) W_1 …) W_last and dR/dr.
//!
//! R depends on one number, so the derivative is carried forward beside the value (rows r of B, then rows of dB/dr) and no
//! way back is needed. Constants (1 / sqrt(width), silu's factor) are in the weights. Bound by the dense products.

use crate::basis::functions::exp;
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::equivariant::matmul::{Matrix, MatrixMut, matmul};

/// Dense layers [in, out].
#[derive(Clone, Debug)]
pub struct Network<T> {
    pub sizes: Vec<usize>,
    pub weights: Vec<Vec<T>>,
}

impl<T: Simd> Network<T> {
    /// Adds R to the first `rows` rows of `out`, `stride` apart, and, if x has as many rows again (dB/dr), dR/dr to the next.
    pub fn forward(&self, x: &[T], rows: usize, out: &mut [T], stride: usize) {
        let all = x.len() / self.sizes[0].max(1);
        let mut held: Vec<T> = Vec::new();
        for (k, w) in self.weights.iter().enumerate() {
            let (a, b) = (self.sizes[k], self.sizes[k + 1]);
            let left = Matrix::new(if k == 0 { x } else { &held }, [all, a], [a, 1]);
            let right = Matrix::new(w, [a, b], [b, 1]);
            if k + 1 == self.weights.len() {
                return matmul(T::ONE, left, right, MatrixMut::new(out, [all, b], [stride, 1]));
            }
            let mut made = vec![T::ZERO; all * b];
            matmul(T::ONE, left, right, MatrixMut::new(&mut made, [all, b], [b, 1]));
            let (values, slopes) = made.split_at_mut(rows * b);
            dispatch(Silu { values, slopes });
            held = made;
        }
    }

    /// The same network with its results, `from` in a group, spread to groups of `to`.
    pub fn padded(&self, from: usize, to: usize) -> Self {
        let mut found = self.clone();
        if let (Some(size), Some(weights)) = (found.sizes.last_mut(), found.weights.last_mut()) {
            *size = *size / from * to;
            let mut spread = Vec::with_capacity(weights.len() / from * to);
            for group in weights.chunks_exact(from) {
                spread.extend_from_slice(group);
                spread.resize(spread.len() + to - from, T::ZERO);
            }
            *weights = spread;
        }
        found
    }
}

/// x -> x / (1 + e^-x) in place; slopes, if there are any, times the derivative.
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
        let with_slopes = !self.slopes.is_empty();
        for (n, v) in self.values.chunks_mut(L::N).enumerate() {
            let mut held = [[T::ZERO; MAX_LANES]; 2];
            let count = v.len();
            held[0][..count].copy_from_slice(v);
            let (value, slope) = one(L::load(&held[0]));
            value.store(&mut held[0]);
            v.copy_from_slice(&held[0][..count]);
            if with_slopes {
                let s = &mut self.slopes[n * L::N..n * L::N + count];
                slope.store(&mut held[1]);
                s.iter_mut().zip(&held[1]).for_each(|(s, d)| *s *= *d);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangent_is_the_difference_quotient() {
        let sizes = vec![3, 5, 4];
        let weights = vec![
            (0..15).map(|i| (f64::from(i) * 0.7).sin()).collect(),
            (0..20).map(|i| (f64::from(i) * 1.3).cos()).collect(),
        ];
        let network = Network { sizes, weights };
        let x = |r: f64| [r.sin(), r * r, 1.0 / r, 2.0 * r, r.exp(), r];
        let value = |r: f64| {
            let mut out = vec![0.0; 10];
            network.forward(&x(r), 2, &mut out, 5);
            out
        };
        let slopes = |r: f64| [r.cos(), 2.0 * r, -1.0 / (r * r), 2.0, r.exp(), 1.0];
        let (r, mut found) = (0.8, vec![0.0; 20]);
        network.forward(&[x(r), slopes(r)].concat(), 2, &mut found, 5);
        let (above, below) = (value(r + 1e-6), value(r - 1e-6));
        for i in (0..10).filter(|i| i % 5 < 4) {
            assert!((found[i] - value(r)[i]).abs() < 1e-14);
            assert!((found[10 + i] - (above[i] - below[i]) / 2e-6).abs() < 1e-7);
        }
    }

    #[test]
    fn padding_moves_results_apart() {
        let network = Network { sizes: vec![1, 4], weights: vec![vec![1.0, 2.0, 3.0, 4.0]] };
        let padded = network.padded(2, 3);
        assert_eq!((padded.sizes, padded.weights), (vec![1, 6], vec![vec![1.0, 2.0, 0.0, 3.0, 4.0, 0.0]]));
    }
}
