//! All functions of the distance of an edge that a layer reads: its path weights R, with the envelope where the file has it
//! outside of the network, and the edge's density. Either exact, or from tables made at the first use of a pair.

use std::sync::{Arc, OnceLock};

use super::network::Network;
use super::radial::{Radial, Transform};
use super::table::Table;
use crate::basis::lanes::Simd;

/// Tables begin at this distance; closer pairs are computed exactly.
const LOW: f64 = 0.5;

/// How R is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Exact,
    /// Tables of this largest error of a derivative, as a part of the largest derivative.
    Spline(f64),
}

/// The functions of one layer. A row is R, padded, and then the density in a place of `PAD` where there is one.
#[derive(Debug)]
pub struct Functions<T> {
    network: Network<T>,
    double: Network<f64>,
    /// Weights [K] of the density.
    density: Option<Vec<f64>>,
    method: Method,
    /// One for each unordered pair of elements, or one for all.
    tables: Vec<OnceLock<Arc<Table<T>>>>,
}

/// Distances and elements of some edges.
pub struct Pairs<'a> {
    pub distances: &'a [f64],
    /// (receiver, sender).
    pub elements: &'a [[usize; 2]],
}

impl<T: Simd> Functions<T> {
    /// `channels` and `padded`: of a path, in the network's results and in the rows.
    pub fn new(
        network: &Network<f64>,
        [channels, padded]: [usize; 2],
        density: Option<Vec<f64>>,
        (radial, elements): (&Radial, usize),
        method: Method,
    ) -> Self {
        let double = network.padded(channels, padded);
        let weights = double.weights.iter().map(|w| w.iter().map(|&x| T::of(x)).collect()).collect();
        let pairs = match (method, &radial.transform) {
            (Method::Exact, _) => 0,
            (_, Transform::None) => 1,
            _ => elements * (elements + 1) / 2,
        };
        Functions {
            network: Network { sizes: double.sizes.clone(), weights },
            double,
            density,
            method,
            tables: (0..pairs).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Path weights in a row.
    fn weights(&self) -> usize {
        self.double.sizes.last().copied().unwrap_or(0)
    }

    /// Length of a row, and the place of the density in it.
    pub fn width(&self) -> usize {
        self.weights() + if self.density.is_some() { super::coupling::PAD } else { 0 }
    }

    pub fn density(&self) -> Option<usize> {
        self.density.as_ref().map(|_| self.weights())
    }

    /// Steps of all tables made so far: (number, bytes, largest errors of value and derivative).
    pub fn tables(&self) -> (usize, usize, [f64; 2]) {
        let made = self.tables.iter().filter_map(OnceLock::get);
        made.fold((0, 0, [0.0; 2]), |(n, bytes, e), t| {
            (n + 1, bytes + t.bytes(), [e[0].max(t.error[0]), e[1].max(t.error[1])])
        })
    }

    /// Rows of values and, if `slopes` is not empty, of derivatives.
    pub fn rows(&self, radial: &Radial, pairs: &Pairs, values: &mut [T], slopes: &mut [T]) {
        let Method::Spline(tolerance) = self.method else {
            return exact(&self.network, self.density.as_deref(), radial, pairs, values, slopes);
        };
        let width = self.width();
        for (e, (&r, &[a, b])) in pairs.distances.iter().zip(pairs.elements).enumerate() {
            let slot = match self.tables.len() {
                1 => 0,
                _ => a.max(b) * (a.max(b) + 1) / 2 + a.min(b),
            };
            let table = self.tables[slot].get_or_init(|| Arc::new(self.table(radial, [a, b], tolerance)));
            let value = &mut values[e * width..(e + 1) * width];
            let slope = slopes.get_mut(e * width..(e + 1) * width);
            if table.holds(r) {
                table.row(r, value, slope);
            } else {
                let one = Pairs { distances: &[r], elements: &[[a, b]] };
                exact(&self.network, self.density.as_deref(), radial, &one, value, slope.unwrap_or(&mut []));
            }
        }
    }

    fn table(&self, radial: &Radial, pair: [usize; 2], tolerance: f64) -> Table<T> {
        let density = self.density.as_deref();
        let width = self.width();
        let rows = |distances: &[f64], values: &mut [f64], slopes: &mut [f64]| {
            let pairs = Pairs { distances, elements: &vec![pair; distances.len()] };
            exact(&self.double, density, radial, &pairs, values, slopes);
        };
        Table::new(&rows, [LOW.min(0.5 * radial.r_max), radial.r_max], width, tolerance)
    }
}

/// The functions themselves; `slopes` may be empty.
fn exact<T: Simd>(
    network: &Network<T>,
    density: Option<&[f64]>,
    radial: &Radial,
    pairs: &Pairs,
    values: &mut [T],
    slopes: &mut [T],
) {
    let (count, k) = (pairs.distances.len(), radial.basis.count());
    let weights = network.sizes.last().copied().unwrap_or(0);
    let width = weights + if density.is_some() { super::coupling::PAD } else { 0 };
    let (mut basis, mut steep) = (vec![0.0; count * k], vec![0.0; count * k]);
    let rows = basis.chunks_exact_mut(k).zip(steep.chunks_exact_mut(k));
    let pair = |e: usize| (pairs.distances[e], pairs.elements[e]);
    let cuts: Vec<(f64, f64)> =
        rows.enumerate().map(|(e, (b, s))| radial.edge(pair(e).0, pair(e).1[0], pair(e).1[1], b, s)).collect();
    let mut x: Vec<T> = basis.iter().map(|&b| T::of(b)).collect();
    if !slopes.is_empty() {
        x.extend(steep.iter().map(|&s| T::of(s)));
    }
    let mut out = vec![T::ZERO; x.len() / k.max(1) * width];
    network.forward(&x, count, &mut out, width);
    values.copy_from_slice(&out[..count * width]);
    if !slopes.is_empty() {
        slopes.copy_from_slice(&out[count * width..]);
    }
    for e in 0..count {
        let value = &mut values[e * width..(e + 1) * width];
        let mut slope = slopes.get_mut(e * width..(e + 1) * width);
        if let Some(w) = density {
            let dot = |row: &[f64]| row.iter().zip(w).map(|(b, w)| b * w).sum::<f64>();
            let (y, dy) = (dot(&basis[e * k..(e + 1) * k]), dot(&steep[e * k..(e + 1) * k]));
            let d = (y * y).tanh();
            value[weights] = T::of(d);
            if let Some(slope) = &mut slope {
                slope[weights] = T::of(2.0 * y * dy * (1.0 - d * d));
            }
        }
        if !radial.apply_cutoff {
            let (cut, steep) = (T::of(cuts[e].0), T::of(cuts[e].1));
            if let Some(slope) = slope {
                slope.iter_mut().zip(&*value).for_each(|(s, v)| *s = *s * cut + *v * steep);
            }
            value.iter_mut().for_each(|v| *v *= cut);
        }
    }
}
