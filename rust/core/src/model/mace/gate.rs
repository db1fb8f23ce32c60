//! The gate of a non-linear block: silu of the scalars, each channel of a higher degree times the sigmoid of its own scalar.

use super::readout::Gate as Activation;
use crate::basis::lanes::Simd;

/// Rows "ir_mul": scalars, a gate for each channel of a higher degree, then those as (channels, 2 l + 1) blocks.
#[derive(Clone, Debug)]
pub struct Gate {
    pub scalars: usize,
    pub blocks: Vec<[usize; 2]>,
    /// What silu and sigmoid are multiplied with.
    pub factors: [f64; 2],
}

impl Gate {
    fn gates(&self) -> usize {
        self.blocks.iter().map(|b| b[0]).sum()
    }

    fn higher(&self) -> usize {
        self.blocks.iter().map(|b| b[0] * b[1]).sum()
    }

    /// Length of a row of results.
    pub fn width(&self) -> usize {
        self.scalars + self.higher()
    }

    fn input(&self) -> usize {
        self.width() + self.gates()
    }

    pub fn of<T: Simd>(&self, x: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(x.len() / self.input().max(1) * self.width());
        for row in x.chunks_exact(self.input().max(1)) {
            let (scalars, rest) = row.split_at(self.scalars);
            let (gates, higher) = rest.split_at(self.gates());
            out.extend(scalars.iter().map(|x| T::of(self.factors[0] * Activation::Silu.of(x.to_f64()).0)));
            let gates: Vec<T> =
                gates.iter().map(|x| T::of(self.factors[1] * Activation::Sigmoid.of(x.to_f64()).0)).collect();
            let (mut gates, mut higher) = (&gates[..], higher);
            for &[mul, d] in &self.blocks {
                let (gate, block) = (&gates[..mul], &higher[..mul * d]);
                block.chunks_exact(mul).for_each(|part| out.extend(part.iter().zip(gate).map(|(x, g)| *x * *g)));
                (gates, higher) = (&gates[mul..], &higher[mul * d..]);
            }
        }
        out
    }

    /// The vjp of `grad` at x.
    pub fn back<T: Simd>(&self, x: &[T], grad: &[T]) -> Vec<T> {
        let mut out = vec![T::ZERO; x.len()];
        let rows = x.chunks_exact(self.input().max(1)).zip(grad.chunks_exact(self.width().max(1)));
        for ((x, g), out) in rows.zip(out.chunks_exact_mut(self.input().max(1))) {
            for k in 0..self.scalars {
                out[k] = g[k] * T::of(self.factors[0] * Activation::Silu.of(x[k].to_f64()).1);
            }
            let (mut gate, mut from, mut to) = (self.scalars, self.scalars, self.scalars + self.gates());
            for &[mul, d] in &self.blocks {
                for u in 0..mul {
                    let (value, slope) = Activation::Sigmoid.of(x[gate + u].to_f64());
                    let (value, slope) = (T::of(self.factors[1] * value), T::of(self.factors[1] * slope));
                    for m in 0..d {
                        let at = m * mul + u;
                        out[gate + u] += g[from + at] * x[to + at] * slope;
                        out[to + at] = g[from + at] * value;
                    }
                }
                (gate, from, to) = (gate + mul, from + mul * d, to + mul * d);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transpose_is_the_difference_quotient() {
        let gate = Gate { scalars: 2, blocks: vec![[2, 3], [1, 5]], factors: [1.7, 1.8] };
        let x: Vec<f64> = (0..32).map(|i| (f64::from(i) * 0.9).sin()).collect();
        let grad: Vec<f64> = (0..26).map(|i| (f64::from(i) * 2.1).sin()).collect();
        assert_eq!((gate.input(), gate.width()), (16, 13));
        let value = |x: &[f64]| gate.of(x).iter().zip(&grad).map(|(o, g)| o * g).sum::<f64>();
        for (i, found) in gate.back(&x, &grad).into_iter().enumerate() {
            let shifted = |h: f64| {
                let mut x = x.clone();
                x[i] += h;
                value(&x)
            };
            assert!((found - (shifted(1e-6) - shifted(-1e-6)) / 2e-6).abs() < 1e-8);
        }
    }
}
