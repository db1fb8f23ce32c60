//! Filters: what the network makes of a distance for every channel, w(d) = c(d) network(f(d)), and dw/dd.
//!
//! Exactly, by the network's dense layers on a tile of edges, or from a table of cubic Hermite polynomials with exact
//! values and slopes at its nodes. Both give rows of groups, blocks side by side: [values of all blocks, slopes of all].
//! Forces from a table are the exact derivative of the energy from it.

use super::activation::{Activation, times};
use super::dense::{Blocks, Dense, plain};
use super::layout::{GROUP, Layout};
use crate::basis::lanes::Simd;
use crate::basis::radial::{Distances, radial_with_derivative};
use crate::basis::spec::{Envelope, Kind, Radial};
use crate::error::{Error, Result};

/// Radial functions, envelope and the filter's dense layers.
#[derive(Clone, Debug)]
pub struct Radials {
    /// f_k(d), without an envelope.
    pub basis: Radial,
    /// c(d).
    pub envelope: Radial,
}

impl Radials {
    pub fn new(kind: Kind, count: usize, cutoff: f64, envelope: Envelope) -> Self {
        let transform = crate::basis::spec::Transform::None;
        // The basis has no cutoff of its own; edges lie within it anyhow, but for a table's last node.
        let basis = Radial { kind, count, cutoff: 2.0 * cutoff, envelope: Envelope::None, transform };
        let envelope = Radial { kind: Kind::One, count: 1, cutoff, envelope, transform };
        Radials { basis, envelope }
    }

    pub fn cutoff(&self) -> f64 {
        self.envelope.cutoff
    }
}

/// Radial functions of many distances: f, f' in padded rows, c and c'.
pub struct Basis<T> {
    width: usize,
    values: Vec<T>,
    slopes: Vec<T>,
    envelope: Vec<T>,
    steepness: Vec<T>,
}

impl<T: Simd> Basis<T> {
    pub fn new(radials: &Radials, distances: &[T]) -> Result<Self> {
        let (count, k) = (distances.len(), radials.basis.count);
        let width = Blocks::one(k).groups() * GROUP;
        let distances = Distances::new(distances, None)?;
        let (mut values, mut slopes) = (vec![T::ZERO; count * k], vec![T::ZERO; count * k]);
        radial_with_derivative(&radials.basis, distances, &mut values, &mut slopes);
        let (mut envelope, mut steepness) = (vec![T::ZERO; count], vec![T::ZERO; count]);
        radial_with_derivative(&radials.envelope, distances, &mut envelope, &mut steepness);
        let wide = |narrow: Vec<T>| {
            let mut rows = vec![T::ZERO; count * width];
            for (to, from) in rows.chunks_exact_mut(width).zip(narrow.chunks_exact(k)) {
                to[..k].copy_from_slice(from);
            }
            rows
        };
        Ok(Basis { width, values: wide(values), slopes: wide(slopes), envelope, steepness })
    }
}

/// The dense layers from radial functions to filters.
#[derive(Clone, Debug)]
pub struct Network<T> {
    pub blocks: Blocks,
    /// With its activation: SchNet's first layer. Bias and none.
    hidden: Option<(Dense<T>, Dense<T>, Activation)>,
    last: Dense<T>,
    last_slope: Dense<T>,
}

/// Room for one tile.
#[derive(Default)]
pub struct Scratch<T> {
    values: Vec<T>,
    slopes: Vec<T>,
    steep: Vec<T>,
}

impl<T: Simd> Network<T> {
    pub fn new(hidden: Option<(Dense<T>, Activation)>, last: Dense<T>, blocks: Blocks) -> Self {
        let hidden = hidden.map(|(dense, activation)| {
            let slope = dense.without_bias();
            (dense, slope, activation)
        });
        Network { blocks, hidden, last_slope: last.without_bias(), last }
    }

    /// Values in one row: as many for slopes.
    pub fn width(&self) -> usize {
        self.blocks.groups() * GROUP
    }

    /// Rows [values, slopes] of edges `first..first + rows`; slopes only if asked for.
    pub fn rows(&self, basis: &Basis<T>, first: usize, rows: usize, slope: bool, s: &mut Scratch<T>, out: &mut Vec<T>) {
        let (width, k) = (self.width(), basis.width);
        out.resize(rows * 2 * width, T::ZERO);
        let (f, df) = (&basis.values[first * k..(first + rows) * k], &basis.slopes[first * k..(first + rows) * k]);
        let b = self.blocks.count;
        let values = Layout { row: 2 * width, first: 0, blocks: b, group: 2 * b * GROUP };
        let slopes = Layout { first: b * GROUP, ..values };
        match &self.hidden {
            None => {
                self.last.apply(plain(k / GROUP).of(f), rows, values.of_mut(out), false);
                if slope {
                    self.last_slope.apply(plain(k / GROUP).of(df), rows, slopes.of_mut(out), false);
                }
            }
            Some((dense, unbiased, activation)) => {
                let groups = width / GROUP / b;
                let inner = plain(groups);
                for x in [&mut s.values, &mut s.slopes, &mut s.steep] {
                    x.resize(rows * groups * GROUP, T::ZERO);
                }
                dense.apply(plain(k / GROUP).of(f), rows, inner.of_mut(&mut s.values), false);
                activation.apply(&mut s.values, rows, slope.then(|| inner.of_mut(&mut s.steep)));
                self.last.apply(inner.of(&s.values), rows, values.of_mut(out), false);
                if slope {
                    unbiased.apply(plain(k / GROUP).of(df), rows, inner.of_mut(&mut s.slopes), false);
                    times(&mut s.slopes, rows, inner.of(&s.steep));
                    self.last_slope.apply(inner.of(&s.slopes), rows, slopes.of_mut(out), false);
                }
            }
        }
        for (r, row) in out.chunks_exact_mut(2 * width).enumerate() {
            let (c, dc) = (basis.envelope[first + r], basis.steepness[first + r]);
            for groups in row.chunks_exact_mut(2 * b * GROUP) {
                let (values, slopes) = groups.split_at_mut(b * GROUP);
                for (w, dw) in values.iter_mut().zip(slopes) {
                    *dw = *dw * c + *w * dc;
                    *w *= c;
                }
            }
        }
    }
}

/// Where a cubic Hermite polynomial's error is largest: that of the value, and (3 - sqrt 3) / 6, that of the slope.
const VALUE_WORST: f64 = 0.5;
const SLOPE_WORST: f64 = 0.211_324_865_405_187_1;

/// Nodes at d_n = n step from 0 to the cutoff, each a row [values, slopes times step].
#[derive(Clone, Debug)]
pub struct Table<T> {
    pub intervals: usize,
    pub per_length: f64,
    pub width: usize,
    pub rows: Vec<T>,
    /// Largest error of the value (halfway between nodes) and of the slope (where a cubic's is largest), over the largest
    /// value and slope of any channel.
    pub error: [f64; 2],
}

impl<T: Simd> Table<T> {
    /// From the network in f64.
    pub fn new(radials: &Radials, network: &Network<f64>, intervals: usize) -> Result<Self> {
        if !(8..=65_536).contains(&intervals) {
            return Err(Error::value("filter_table", "from 8 to 65536 intervals", intervals));
        }
        let step = radials.cutoff() / intervals as f64;
        let node = |n: usize| n as f64 * step;
        let points: Vec<f64> =
            (0..3 * intervals + 1).map(|n| node(n / 3) + [0.0, SLOPE_WORST, VALUE_WORST][n % 3] * step).collect();
        let basis = Basis::new(radials, &points)?;
        let (width, mut exact, mut scratch) = (network.width(), Vec::new(), Scratch::default());
        network.rows(&basis, 0, points.len(), true, &mut scratch, &mut exact);
        let block = network.blocks.count * GROUP;
        // In a row: groups of [values, slopes] of all blocks.
        let is_slope = |at: usize| at / block % 2 == 1;
        let rows: Vec<T> = exact
            .chunks_exact(2 * width)
            .step_by(3)
            .flat_map(|row| row.iter().enumerate().map(|(at, x)| T::of(if is_slope(at) { x * step } else { *x })))
            .collect();
        let mut table = Table { intervals, per_length: 1.0 / step, width, rows, error: [0.0; 2] };
        let (mut error, mut largest) = ([0.0f64; 2], [f64::MIN_POSITIVE; 2]);
        for n in 0..intervals {
            let (a, b) = (table.row(n), table.row(n + 1));
            for (k, t) in [VALUE_WORST, SLOPE_WORST].into_iter().enumerate() {
                let here = &exact[(3 * n + 2 - k) * 2 * width..][..2 * width];
                let weights = hermite(t)[k];
                for at in (0..2 * width).filter(|at| !is_slope(*at)) {
                    let nodes = [a[at], a[at + block], b[at], b[at + block]].map(|x| x.to_f64());
                    let found = nodes.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() / [1.0, step][k];
                    let exact = here[at + k * block];
                    error[k] = error[k].max((found - exact).abs());
                    largest[k] = largest[k].max(exact.abs());
                }
            }
        }
        table.error = [error[0] / largest[0], error[1] / largest[1]];
        Ok(table)
    }

    pub fn row(&self, node: usize) -> &[T] {
        &self.rows[node * 2 * self.width..(node + 1) * 2 * self.width]
    }

    /// The interval of a distance and the place in it, from 0 to 1.
    pub fn place(&self, d: f64) -> (u32, T) {
        let x = d * self.per_length;
        let node = (x as usize).min(self.intervals - 1);
        (node as u32, T::of(x - node as f64))
    }
}

/// Weights of (value, slope) at the left and the right node: for the value, and for its derivative per step.
#[inline(always)]
pub fn hermite<T: crate::Real>(t: T) -> [[T; 4]; 2] {
    let (two, three, six) = (T::of(2.0), T::of(3.0), T::of(6.0));
    let (s, t2) = (T::ONE - t, t * t);
    let right = t2 * (three - two * t);
    let bend = six * t * s;
    [
        [T::ONE - right, t * s * s, right, -(t2 * s)],
        [-bend, s * (T::ONE - three * t), bend, t * (three * t - two)], //
    ]
}

/// How a layer gets its filters.
#[derive(Clone, Debug)]
pub enum Filter<T> {
    Exact(Network<T>),
    Table(Table<T>),
}

impl<T: Simd> Filter<T> {
    /// `network` makes the dense layers in either precision; `intervals`: of a table, None: exact.
    pub fn new(
        radials: &Radials,
        intervals: Option<usize>,
        exact: impl FnOnce() -> Network<T>,
        double: impl FnOnce() -> Network<f64>,
    ) -> Result<Self> {
        Ok(match intervals {
            None => Filter::Exact(exact()),
            Some(n) => Filter::Table(Table::new(radials, &double(), n)?),
        })
    }

    pub fn table(&self) -> Option<&Table<T>> {
        match self {
            Filter::Exact(_) => None,
            Filter::Table(table) => Some(table),
        }
    }

    /// Largest relative errors of value and slope; 0 without a table.
    pub fn error(&self) -> [f64; 2] {
        match self {
            Filter::Exact(_) => [0.0; 2],
            Filter::Table(table) => table.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schnet(channels: usize) -> (Radials, Network<f64>) {
        let centers: Vec<f64> = (0..7).map(|k| k as f64 * 0.5).collect();
        let kind = Kind::Gaussian { coefficients: vec![-2.0; 7], centers };
        let w = |n: usize| (0..n).map(|i| (i as f64 * 0.77).sin()).collect::<Vec<_>>();
        let (one, two) = (Blocks::one(7), Blocks::one(channels));
        let first = Dense::new(&w(7 * channels), Some(&w(channels)), two, one);
        let last = Dense::new(&w(channels * channels), Some(&w(channels)), two, two);
        let radials = Radials::new(kind, 7, 3.0, Envelope::Cosine { lower: 0.0 });
        (radials, Network::new(Some((first, Activation::ShiftedSoftplus)), last, two))
    }

    fn at(radials: &Radials, network: &Network<f64>, d: f64) -> Vec<f64> {
        let mut out = Vec::new();
        let basis = Basis::new(radials, &[d]).unwrap();
        network.rows(&basis, 0, 1, true, &mut Scratch::default(), &mut out);
        out
    }

    #[test]
    fn slopes_are_difference_quotients_and_the_cutoff_is_zero() {
        let (radials, network) = schnet(19);
        for d in [0.3, 1.1, 2.7] {
            let (low, high, here) =
                (at(&radials, &network, d - 1e-5), at(&radials, &network, d + 1e-5), at(&radials, &network, d));
            for g in 0..2 {
                for c in 0..16 {
                    let quotient = (high[32 * g + c] - low[32 * g + c]) / 2e-5;
                    assert!((here[32 * g + 16 + c] - quotient).abs() < 1e-7);
                }
            }
        }
        assert!(at(&radials, &network, 3.0).iter().all(|x| x.abs() < 1e-12));
    }

    #[test]
    fn a_finer_table_is_closer_by_the_fourth_power() {
        let (radials, network) = schnet(16);
        let errors: Vec<_> = [32, 64, 128].map(|n| Table::<f64>::new(&radials, &network, n).unwrap().error).to_vec();
        for pair in errors.windows(2) {
            assert!((12.0..20.0).contains(&(pair[0][0] / pair[1][0])), "{errors:?}");
            assert!((6.0..20.0).contains(&(pair[0][1] / pair[1][1])), "{errors:?}");
        }
        assert!(errors[2][0] < 1e-6);
        assert!(Table::<f64>::new(&radials, &network, 3).is_err());
    }

    #[test]
    fn the_weights_of_a_node_sum_to_one() {
        for t in [0.0, 0.3, 0.5, 1.0] {
            let [h, dh] = hermite(t);
            assert!((h[0] + h[2] - 1.0f64).abs() < 1e-15 && (dh[0] + dh[2]).abs() < 1e-15);
            let (up, down) = (hermite(t + 1e-6)[0], hermite(t - 1e-6)[0]);
            for k in 0..4 {
                assert!((dh[k] - (up[k] - down[k]) / 2e-6).abs() < 1e-8);
            }
        }
    }
}
