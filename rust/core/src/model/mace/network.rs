//! The radial network with its derivative along the distance: R = silu(silu(B W_0) W_1 …) W_last and dR/dr.
//!
//! R depends on one number, so the derivative is carried forward beside the value (rows r of B, then rows of dB/dr) and no
//! way back is needed. Constants (1 / sqrt(width), silu's factor) are in the weights. Bound by the dense products.

use crate::basis::functions::exp;
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::equivariant::matmul::{Matrix, MatrixMut, matmul};

/// One dense layer: x W + b, and before the next one's silu a layer norm. What is empty is not there.
#[derive(Clone, Debug, Default)]
pub struct Dense<T> {
    /// [in, out].
    pub weights: Vec<T>,
    pub bias: Vec<T>,
    /// Of the layer norm.
    pub scale: Vec<T>,
    pub shift: Vec<T>,
}

#[derive(Clone, Debug)]
pub struct Network<T> {
    pub sizes: Vec<usize>,
    pub layers: Vec<Dense<T>>,
}

impl<T: Simd> Network<T> {
    /// Adds R to the first `rows` rows of `out`, `stride` apart, and, if x has as many rows again (dB/dr), dR/dr to the next.
    pub fn forward(&self, x: &[T], rows: usize, out: &mut [T], stride: usize) {
        let all = x.len() / self.sizes[0].max(1);
        let mut held: Vec<T> = Vec::new();
        for (k, layer) in self.layers.iter().enumerate() {
            let (a, b) = (self.sizes[k], self.sizes[k + 1]);
            let left = Matrix::new(if k == 0 { x } else { &held }, [all, a], [a, 1]);
            let right = Matrix::new(&layer.weights, [a, b], [b, 1]);
            if k + 1 == self.layers.len() {
                matmul(T::ONE, left, right, MatrixMut::new(out, [all, b], [stride, 1]));
                return out.chunks_mut(stride).take(rows).for_each(|row| add(row, &layer.bias));
            }
            let mut made = vec![T::ZERO; all * b];
            matmul(T::ONE, left, right, MatrixMut::new(&mut made, [all, b], [b, 1]));
            let (values, slopes) = made.split_at_mut(rows * b);
            values.chunks_exact_mut(b).for_each(|row| add(row, &layer.bias));
            if !layer.scale.is_empty() {
                layer.normalize(values, slopes);
            }
            dispatch(Silu { values, slopes });
            held = made;
        }
    }

    /// The same network with its results, `from` in a group, spread to groups of `to`.
    pub fn padded(&self, from: usize, to: usize) -> Self {
        let spread = |x: &[T]| -> Vec<T> {
            let groups = x.chunks_exact(from.max(1));
            groups.flat_map(|g| g.iter().copied().chain(std::iter::repeat_n(T::ZERO, to - from))).collect()
        };
        let mut found = self.clone();
        if let (Some(size), Some(last)) = (found.sizes.last_mut(), found.layers.last_mut()) {
            *size = *size / from.max(1) * to;
            (last.weights, last.bias) = (spread(&last.weights), spread(&last.bias));
        }
        found
    }

    pub fn cast<U: Simd>(&self) -> Network<U> {
        let of = |x: &[T]| x.iter().map(|x| U::of(x.to_f64())).collect();
        let cast = |l: &Dense<T>| Dense {
            weights: of(&l.weights),
            bias: of(&l.bias),
            scale: of(&l.scale),
            shift: of(&l.shift),
        };
        Network { sizes: self.sizes.clone(), layers: self.layers.iter().map(cast).collect() }
    }
}

fn add<T: Simd>(row: &mut [T], bias: &[T]) {
    row.iter_mut().zip(bias).for_each(|(x, b)| *x += *b);
}

impl<T: Simd> Dense<T> {
    /// Rows y = (x - mean) / sqrt(variance + 1e-5) scale + shift, and their derivatives.
    fn normalize(&self, values: &mut [T], slopes: &mut [T]) {
        let n = self.scale.len();
        let mean = |row: &mut dyn Iterator<Item = f64>| row.sum::<f64>() / n as f64;
        let mut steep = slopes.chunks_exact_mut(n);
        for row in values.chunks_exact_mut(n) {
            let middle = mean(&mut row.iter().map(|x| x.to_f64()));
            let variance = mean(&mut row.iter().map(|x| (x.to_f64() - middle).powi(2)));
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            let unit: Vec<f64> = row.iter().map(|x| (x.to_f64() - middle) * inverse).collect();
            if let Some(slope) = steep.next() {
                let average = mean(&mut slope.iter().map(|d| d.to_f64()));
                let along = mean(&mut slope.iter().zip(&unit).map(|(d, u)| d.to_f64() * u));
                for ((d, u), g) in slope.iter_mut().zip(&unit).zip(&self.scale) {
                    *d = *g * T::of((d.to_f64() - average - u * along) * inverse);
                }
            }
            for (((x, u), g), b) in row.iter_mut().zip(&unit).zip(&self.scale).zip(&self.shift) {
                *x = T::of(*u) * *g + *b;
            }
        }
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
        let wave = |n: i32, w: f64| (0..n).map(|i| (f64::from(i) * w).sin()).collect::<Vec<_>>();
        let first = Dense { weights: wave(15, 0.7), bias: wave(5, 2.0), scale: wave(5, 0.4), shift: wave(5, 1.1) };
        let last = Dense { weights: wave(20, 1.3), bias: wave(4, 0.9), ..Dense::default() };
        let network = Network { sizes, layers: vec![first, last] };
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
        let only = Dense { weights: vec![1.0, 2.0, 3.0, 4.0], ..Dense::default() };
        let padded = Network { sizes: vec![1, 4], layers: vec![only] }.padded(2, 3);
        assert_eq!((padded.sizes, &padded.layers[0].weights), (vec![1, 6], &vec![1.0, 2.0, 0.0, 3.0, 4.0, 0.0]));
    }
}
