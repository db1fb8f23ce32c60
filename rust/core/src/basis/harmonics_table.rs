//! Constants of the recursions of `harmonics`, made in f64.

use std::sync::OnceLock;

use super::lanes::Lanes;
use crate::real::Real;

/// The largest degree whose body is unrolled at compile time.
pub const UNROLLED: usize = 6;
/// Pairs (l, m), 0 <= m <= l <= UNROLLED.
pub const PAIRS: usize = (UNROLLED + 1) * (UNROLLED + 2) / 2;

/// What the harmonics of one degree are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// The squares of a degree sum to 2l + 1 on the unit sphere.
    Component,
    /// They sum to 1.
    Norm,
    /// The integral of each square over the sphere is 1.
    Integral,
}

impl Normalization {
    pub fn factor(self, l: usize) -> f64 {
        match self {
            Normalization::Component => 1.0,
            Normalization::Norm => 1.0 / ((2 * l + 1) as f64).sqrt(),
            Normalization::Integral => 1.0 / (4.0 * std::f64::consts::PI).sqrt(),
        }
    }
}

#[inline(always)]
pub fn pair(l: usize, m: usize) -> usize {
    l * (l + 1) / 2 + m
}

/// With N_l^m the normalisation and Q_l^m the polynomial in Z and r^2, q_l^m = N_l^m Q_l^m obeys
/// q_m^m = `start`, q_l^m = `along` Z q_{l-1}^m - `back` r^2 q_{l-2}^m; its derivatives are
/// dq_l^m/dZ = `dz` q_{l-1}^m and dq_l^m/dX = -X `dr` q_{l-1}^{m+1}.
pub struct Table<A> {
    pub start: A,
    pub along: A,
    pub back: A,
    pub dz: A,
    pub dr: A,
}

impl Table<Vec<f64>> {
    pub fn new(lmax: usize, normalization: Normalization) -> Self {
        let zeros = || vec![0.0; pair(lmax + 1, 0)];
        let (mut start, mut along, mut back, mut dz, mut dr) =
            (vec![1.0; lmax + 1], zeros(), zeros(), zeros(), zeros());
        let f = |l: usize| normalization.factor(l);
        for l in 1..=lmax {
            let x = l as f64;
            start[l] = start[l - 1] * if l == 1 { 3f64.sqrt() } else { ((2.0 * x + 1.0) / (2.0 * x)).sqrt() };
            for m in 0..l {
                let (y, i, up) = (m as f64, pair(l, m), (2.0 * x + 1.0) / (2.0 * x - 1.0));
                let (minus, plus) = (x - y, x + y);
                along[i] = f(l) / f(l - 1) * ((2.0 * x + 1.0) * (2.0 * x - 1.0) / (minus * plus)).sqrt();
                dz[i] = f(l) / f(l - 1) * (up * minus * plus).sqrt();
                // The factor sqrt(2) of N_l^m for m > 0 does not cancel between m = 0 and m = 1.
                dr[i] = f(l) / f(l - 1) * (up * minus * (minus - 1.0) * if m == 0 { 0.5 } else { 1.0 }).sqrt();
                if l >= m + 2 {
                    let ratio = (2.0 * x + 1.0) / (2.0 * x - 3.0) / (minus * plus);
                    back[i] = f(l) / f(l - 2) * (ratio * (minus - 1.0) * (plus - 1.0)).sqrt();
                }
            }
        }
        start.iter_mut().enumerate().for_each(|(l, s)| *s *= f(l));
        Table { start, along, back, dz, dr }
    }

    /// The table up to UNROLLED, made once.
    pub fn unrolled(normalization: Normalization) -> &'static Self {
        static TABLES: [OnceLock<Table<Vec<f64>>>; 3] = [const { OnceLock::new() }; 3];
        TABLES[normalization as usize].get_or_init(|| Table::new(UNROLLED, normalization))
    }

    pub fn to_lanes<L: Lanes>(&self) -> Table<Vec<L>> {
        let cast = |x: &Vec<f64>| x.iter().map(|&x| L::splat(L::T::of(x))).collect();
        Table {
            start: cast(&self.start),
            along: cast(&self.along),
            back: cast(&self.back),
            dz: cast(&self.dz),
            dr: cast(&self.dr),
        }
    }

    /// As arrays, whose lengths the compiler knows.
    #[inline(always)]
    pub fn to_arrays<L: Lanes>(&self) -> Table<[L; PAIRS]> {
        #[inline(always)]
        fn cast<L: Lanes>(x: &[f64]) -> [L; PAIRS] {
            std::array::from_fn(|i| L::splat(L::T::of(if i < x.len() { x[i] } else { 0.0 })))
        }
        Table {
            start: cast(&self.start),
            along: cast(&self.along),
            back: cast(&self.back),
            dz: cast(&self.dz),
            dr: cast(&self.dr),
        }
    }
}
