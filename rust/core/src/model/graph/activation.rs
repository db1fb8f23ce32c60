//! Activations of graph networks, in place, with their slopes: shifted softplus ln(1 + e^z) - ln 2, silu z / (1 + e^-z), tanh.

use super::layout::{GROUP, RowsMut};
use crate::basis::functions::{exp, log, tanh};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};

/// From here on torch's softplus returns its argument.
const LINEAR_ABOVE: f64 = 20.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    ShiftedSoftplus,
    Silu,
    Tanh,
    Identity,
}

impl Activation {
    /// Of `rows` contiguous rows of `groups` groups; the slopes go to the groups of `slopes`.
    pub fn apply<T: Simd>(self, values: &mut [T], rows: usize, slopes: Option<RowsMut<T>>) {
        if self == Activation::Identity && slopes.is_none() {
            return;
        }
        dispatch(Apply { kind: self, values, rows, slopes });
    }

    /// Value and slope.
    #[inline(always)]
    pub fn of<L: Lanes>(self, z: L) -> (L, L)
    where
        L::T: Simd,
    {
        let one = L::of(1.0);
        match self {
            Activation::Identity => (z, one),
            Activation::Tanh => {
                let t = tanh(z);
                (t, one - t * t)
            }
            Activation::Silu | Activation::ShiftedSoftplus => {
                // e^-|z| does not overflow.
                let e = exp(-z.abs());
                let negative = z.lt(L::zero());
                let sigmoid = L::select(negative, e, one) / (one + e);
                if self == Activation::Silu {
                    return (z * sigmoid, sigmoid * z.fma(one - sigmoid, one));
                }
                let linear = L::of(LINEAR_ABOVE).lt(z);
                let positive = L::select(negative, L::zero(), z);
                let value = L::select(linear, z, positive + log(one + e)) - L::of(std::f64::consts::LN_2);
                (value, L::select(linear, one, sigmoid))
            }
        }
    }
}

struct Apply<'a, T> {
    kind: Activation,
    values: &'a mut [T],
    rows: usize,
    slopes: Option<RowsMut<'a, T>>,
}

impl<T: Simd> Job<T> for Apply<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(mut self) {
        let groups = self.values.len() / GROUP / self.rows.max(1);
        for (at, group) in self.values.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            let mut steep = [T::ZERO; GROUP];
            for c in (0..GROUP).step_by(L::N) {
                let (value, slope) = self.kind.of(L::load(&group[c..]));
                value.store(&mut group[c..]);
                slope.store(&mut steep[c..]);
            }
            if let Some(slopes) = &mut self.slopes {
                let place = slopes.layout.place(at % groups);
                *slopes.group_mut(at / groups, place) = steep;
            }
        }
    }
}

/// values *= slopes, over `rows` contiguous rows.
pub fn times<T: Simd>(values: &mut [T], rows: usize, slopes: super::layout::RowsRef<T>) {
    let groups = values.len() / GROUP / rows.max(1);
    for (at, group) in values.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let slopes = slopes.group(at / groups, slopes.layout.place(at % groups));
        group.iter_mut().zip(slopes).for_each(|(v, s)| *v *= *s);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dense::plain;
    use super::*;

    #[test]
    fn values_and_slopes_are_those_of_the_definitions() {
        for kind in [Activation::ShiftedSoftplus, Activation::Silu, Activation::Tanh, Activation::Identity] {
            let value = |z: f64| match kind {
                Activation::ShiftedSoftplus if z > LINEAR_ABOVE => z - std::f64::consts::LN_2,
                Activation::ShiftedSoftplus => z.max(0.0) + (-z.abs()).exp().ln_1p() - std::f64::consts::LN_2,
                Activation::Silu => z / (1.0 + (-z).exp()),
                Activation::Tanh => z.tanh(),
                Activation::Identity => z,
            };
            let z: Vec<f64> = (0..160).map(|i| (f64::from(i) - 80.0) * 0.5 + 0.1).collect();
            let (mut found, mut slopes) = (z.clone(), vec![0.0; 160]);
            kind.apply(&mut found, 10, Some(plain(1).of_mut(&mut slopes)));
            for (i, &z) in z.iter().enumerate() {
                assert!((found[i] - value(z)).abs() < 1e-14 * z.abs().max(1.0), "{kind:?} {z}");
                let quotient = (value(z + 1e-5) - value(z - 1e-5)) / 2e-5;
                assert!(
                    (slopes[i] - quotient).abs() < 1e-8 || (z - LINEAR_ABOVE).abs() < 0.2,
                    "{kind:?} {z}: {} {quotient}",
                    slopes[i]
                );
            }
        }
    }
}
