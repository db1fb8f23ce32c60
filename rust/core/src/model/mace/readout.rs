//! Energies from the scalar channels: e = x W, or gate(x W1) W2, one column a head.

use crate::basis::lanes::Simd;

/// Activation of the readout's hidden layer; its factor is in W2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    None,
    Silu,
    Tanh,
    Sigmoid,
}

#[derive(Clone, Debug)]
pub enum Readout<T> {
    /// [C, heads].
    Linear(Vec<T>),
    /// [C, width], [width, heads]; of `width` every head has its own equal part.
    NonLinear { first: Vec<T>, gate: Gate, last: Vec<T> },
}

impl Gate {
    /// Value and derivative.
    pub fn of(self, x: f64) -> (f64, f64) {
        match self {
            Gate::None => (x, 1.0),
            Gate::Tanh => {
                let t = x.tanh();
                (t, 1.0 - t * t)
            }
            Gate::Sigmoid | Gate::Silu => {
                let s = 1.0 / (1.0 + (-x).exp());
                if self == Gate::Sigmoid { (s, s * (1.0 - s)) } else { (x * s, s * (1.0 + x * (1.0 - s))) }
            }
        }
    }
}

impl<T: Simd> Readout<T> {
    /// The energy of one atom with scalars x [C], and the gradient to them times `factor` added to `grad`. Sums are f64.
    pub fn atom(&self, x: &[T], heads: usize, head: usize, factor: f64, grad: Option<&mut [T]>) -> f64 {
        match self {
            Readout::Linear(w) => {
                let column = w.iter().skip(head).step_by(heads);
                if let Some(grad) = grad {
                    grad.iter_mut().zip(column.clone()).for_each(|(g, w)| *g += T::of(factor * w.to_f64()));
                }
                x.iter().zip(column).map(|(x, w)| x.to_f64() * w.to_f64()).sum()
            }
            Readout::NonLinear { first, gate, last } => {
                let width = first.len() / x.len().max(1);
                let part = width / heads;
                let mut hidden = vec![0.0; part];
                for (x, row) in x.iter().zip(first.chunks_exact(width)) {
                    let row = &row[head * part..(head + 1) * part];
                    hidden.iter_mut().zip(row).for_each(|(h, w)| *h += x.to_f64() * w.to_f64());
                }
                let mut energy = 0.0;
                for (h, k) in hidden.iter_mut().zip(head * part..) {
                    let (value, slope) = gate.of(*h);
                    let w = last[k * heads + head].to_f64();
                    energy += value * w;
                    *h = slope * w;
                }
                if let Some(grad) = grad {
                    for (g, row) in grad.iter_mut().zip(first.chunks_exact(width)) {
                        let row = &row[head * part..(head + 1) * part];
                        let sum: f64 = hidden.iter().zip(row).map(|(h, w)| h * w.to_f64()).sum();
                        *g += T::of(factor * sum);
                    }
                }
                energy
            }
        }
    }
}
