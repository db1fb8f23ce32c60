//! Energies of atoms from their channels: dense layers with an activation between, one number at the end.

use super::activation::{Activation, times};
use super::dense::{Blocks, Dense, plain};
use super::layout::GROUP;
use super::{BLOCK, for_each};
use crate::basis::lanes::Simd;

/// One hidden layer, forward and back.
#[derive(Clone, Debug)]
struct Hidden<T> {
    forward: Dense<T>,
    back: Dense<T>,
    groups: usize,
}

#[derive(Clone, Debug)]
pub struct Head<T> {
    hidden: Vec<Hidden<T>>,
    activation: Activation,
    /// Weights of the last layer, padded, and its bias.
    last: Vec<T>,
    bias: f64,
}

/// Weights [out, in] row by row, bias, and their sizes.
pub struct Linear<'a> {
    pub weights: &'a [f64],
    pub bias: &'a [f64],
    pub inputs: usize,
    pub outputs: usize,
}

impl<T: Simd> Head<T> {
    /// The last of `layers` has one output.
    pub fn new(layers: &[Linear], activation: Activation) -> Self {
        let Some((end, inner)) = layers.split_last() else { panic!("a head of no layer") };
        assert_eq!(end.outputs, 1, "a head with more than one output");
        let hidden = inner.iter().map(|l| {
            let (out, into) = (Blocks::one(l.outputs), Blocks::one(l.inputs));
            Hidden {
                forward: Dense::new(l.weights, Some(l.bias), out, into),
                back: Dense::transposed(l.weights, out, into),
                groups: out.groups(),
            }
        });
        let mut last = vec![T::ZERO; Blocks::one(end.inputs).groups() * GROUP];
        last.iter_mut().zip(end.weights).for_each(|(l, w)| *l = T::of(*w));
        Head { hidden: hidden.collect(), activation, last, bias: end.bias[0] }
    }

    /// Energies of the atoms with channels x (contiguous rows), and the gradient to x if `grad` is not empty.
    pub fn atoms(&self, x: &[T], energy: &mut [f64], grad: &mut [T]) {
        let rows = energy.len();
        if rows == 0 {
            return;
        }
        let first = x.len() / rows / GROUP;
        let (mut values, mut slopes): (Vec<Vec<T>>, Vec<Vec<T>>) = (Vec::new(), Vec::new());
        for (k, layer) in self.hidden.iter().enumerate() {
            let (from, groups) = if k == 0 { (x, first) } else { (&values[k - 1][..], self.hidden[k - 1].groups) };
            let mut made = vec![T::ZERO; rows * layer.groups * GROUP];
            let mut steep = vec![T::ZERO; made.len()];
            layer.forward.apply(plain(groups).of(from), rows, plain(layer.groups).of_mut(&mut made), false);
            self.activation.apply(&mut made, rows, Some(plain(layer.groups).of_mut(&mut steep)));
            values.push(made);
            slopes.push(steep);
        }
        let top = values.last().map_or(x, |v| v);
        for (e, row) in energy.iter_mut().zip(top.chunks_exact(self.last.len())) {
            *e = self.bias + row.iter().zip(&self.last).map(|(x, w)| x.to_f64() * w.to_f64()).sum::<f64>();
        }
        if grad.is_empty() {
            return;
        }
        let mut above = self.last.repeat(rows);
        for (k, layer) in self.hidden.iter().enumerate().rev() {
            times(&mut above, rows, plain(layer.groups).of(&slopes[k]));
            let groups = if k == 0 { first } else { self.hidden[k - 1].groups };
            let mut below = vec![T::ZERO; rows * groups * GROUP];
            layer.back.apply(plain(layer.groups).of(&above), rows, plain(groups).of_mut(&mut below), false);
            above = below;
        }
        grad.copy_from_slice(&above);
    }
}

/// Energies of n atoms with channels x, and their gradient; 0 without a head.
pub(in crate::model) fn energies<T: Simd>(
    head: Option<&Head<T>>,
    x: &[T],
    n: usize,
    gradient: bool,
) -> (Vec<f64>, Vec<T>) {
    let mut energy = vec![0.0; n];
    let mut grad = vec![T::ZERO; if gradient { x.len() } else { 0 }];
    if let (Some(head), true) = (head, n > 0) {
        let width = x.len() / n;
        let mut grads = grad.chunks_mut(BLOCK * width);
        let blocks = x.chunks(BLOCK * width).zip(energy.chunks_mut(BLOCK));
        let parts: Vec<_> = blocks.map(|(x, e)| (x, e, grads.next().unwrap_or_default())).collect();
        for_each(x.len() * width / 20, parts, |(x, energy, grad)| head.atoms(x, energy, grad));
    }
    (energy, grad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_difference_quotient() {
        let w = |n: usize, s: f64| (0..n).map(|i| (i as f64 * s).sin()).collect::<Vec<_>>();
        let (a, b, c, bias) = (w(20 * 9, 0.7), w(9 * 5, 1.1), w(5, 1.9), w(9, 0.3));
        let layers = [
            Linear { weights: &a, bias: &bias, inputs: 20, outputs: 9 },
            Linear { weights: &b, bias: &bias[..5], inputs: 9, outputs: 5 },
            Linear { weights: &c, bias: &bias[2..3], inputs: 5, outputs: 1 },
        ];
        for layers in [&layers[..], &layers[2..]] {
            let head = Head::<f64>::new(layers, Activation::Silu);
            let width = Blocks::one(layers[0].inputs).groups() * GROUP;
            let mut x = vec![0.0; 3 * width];
            for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| i % width < layers[0].inputs) {
                *x = (i as f64).cos();
            }
            let (mut energy, mut grad) = ([0.0; 3], vec![0.0; 3 * width]);
            head.atoms(&x, &mut energy, &mut grad);
            for i in [0, 4, width + 2, 2 * width + 3] {
                let shifted = |h: f64| {
                    let (mut x, mut e) = (x.clone(), [0.0; 3]);
                    x[i] += h;
                    head.atoms(&x, &mut e, &mut []);
                    e.iter().sum::<f64>()
                };
                assert!((grad[i] - (shifted(1e-6) - shifted(-1e-6)) / 2e-6).abs() < 1e-8);
            }
        }
    }
}
