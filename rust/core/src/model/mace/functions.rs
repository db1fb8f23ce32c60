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

/// What a layer's functions are made of.
#[derive(Clone, Debug)]
pub struct Networks<T> {
    pub weights: Network<T>,
    /// Of y, where the density is tanh(y^2).
    pub density: Option<Network<T>>,
    /// [elements, S] of the sender and of the receiver, which the networks read after the basis; empty: they do not.
    pub embeddings: [Vec<T>; 2],
}

/// The functions of one layer. A row is R, padded, and then the density in a place of `PAD` where there is one.
#[derive(Debug)]
pub struct Functions<T> {
    networks: Networks<T>,
    double: Networks<f64>,
    elements: usize,
    method: Method,
    /// One for each pair of elements (unordered where no embedding tells sender and receiver apart), or one for all.
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
        networks: &Networks<f64>,
        [channels, padded]: [usize; 2],
        (radial, elements): (&Radial, usize),
        method: Method,
    ) -> Self {
        let double = Networks { weights: networks.weights.padded(channels, padded), ..networks.clone() };
        let pairs = match (method, &radial.transform) {
            (Method::Exact, _) => 0,
            _ if !networks.embeddings[0].is_empty() => elements * elements,
            (_, Transform::None) => 1,
            _ => elements * (elements + 1) / 2,
        };
        Functions {
            networks: double.cast(),
            double,
            elements,
            method,
            tables: (0..pairs).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.double.width()
    }

    /// The place of the density in a row.
    pub fn density(&self) -> Option<usize> {
        self.double.density.as_ref().map(|_| self.double.results())
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
            return self.networks.rows(self.elements, radial, pairs, values, slopes);
        };
        let width = self.width();
        for (e, (&r, &[a, b])) in pairs.distances.iter().zip(pairs.elements).enumerate() {
            let slot = match self.tables.len() {
                1 => 0,
                _ if !self.double.embeddings[0].is_empty() => a * self.elements + b,
                _ => a.max(b) * (a.max(b) + 1) / 2 + a.min(b),
            };
            let table = self.tables[slot].get_or_init(|| Arc::new(self.table(radial, [a, b], tolerance)));
            let value = &mut values[e * width..(e + 1) * width];
            let slope = slopes.get_mut(e * width..(e + 1) * width);
            if table.holds(r) {
                table.row(r, value, slope);
            } else {
                let one = Pairs { distances: &[r], elements: &[[a, b]] };
                self.networks.rows(self.elements, radial, &one, value, slope.unwrap_or(&mut []));
            }
        }
    }

    fn table(&self, radial: &Radial, pair: [usize; 2], tolerance: f64) -> Table<T> {
        let rows = |distances: &[f64], values: &mut [f64], slopes: &mut [f64]| {
            let pairs = Pairs { distances, elements: &vec![pair; distances.len()] };
            self.double.rows(self.elements, radial, &pairs, values, slopes);
        };
        Table::new(&rows, [LOW.min(0.5 * radial.r_max), radial.r_max], self.width(), tolerance)
    }
}

impl<T: Simd> Networks<T> {
    fn cast<U: Simd>(&self) -> Networks<U> {
        let [a, b] = &self.embeddings;
        let of = |x: &[T]| x.iter().map(|x| U::of(x.to_f64())).collect();
        Networks {
            weights: self.weights.cast(),
            density: self.density.as_ref().map(Network::cast),
            embeddings: [of(a), of(b)],
        }
    }

    /// Path weights in a row.
    fn results(&self) -> usize {
        self.weights.sizes.last().copied().unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.results() + if self.density.is_some() { super::coupling::PAD } else { 0 }
    }

    /// Exact rows; `slopes` may be empty.
    fn rows(&self, elements: usize, radial: &Radial, pairs: &Pairs, values: &mut [T], slopes: &mut [T]) {
        let (count, k) = (pairs.distances.len(), radial.basis.count());
        let (results, width) = (self.results(), self.width());
        let each = self.embeddings[0].len() / elements.max(1);
        let inputs = k + 2 * each;
        let mut x = vec![T::ZERO; inputs * count * if slopes.is_empty() { 1 } else { 2 }];
        let (first, second) = x.split_at_mut(inputs * count);
        let (mut basis, mut steep) = (vec![0.0; k], vec![0.0; k]);
        let mut cuts = Vec::with_capacity(count);
        for (e, (&r, &[a, b])) in pairs.distances.iter().zip(pairs.elements).enumerate() {
            cuts.push(radial.edge(r, a, b, &mut basis, &mut steep));
            let row = &mut first[e * inputs..(e + 1) * inputs];
            row.iter_mut().zip(&basis).for_each(|(x, &v)| *x = T::of(v));
            row[k..k + each].copy_from_slice(&self.embeddings[0][b * each..(b + 1) * each]);
            row[k + each..].copy_from_slice(&self.embeddings[1][a * each..(a + 1) * each]);
            if let Some(row) = second.get_mut(e * inputs..(e + 1) * inputs) {
                row.iter_mut().zip(&steep).for_each(|(x, &v)| *x = T::of(v));
            }
        }
        let mut out = vec![T::ZERO; x.len() / inputs.max(1) * width];
        self.weights.forward(&x, count, &mut out, width);
        if let Some(density) = &self.density {
            density.forward(&x, count, &mut out[results..], width);
        }
        values.copy_from_slice(&out[..count * width]);
        if !slopes.is_empty() {
            slopes.copy_from_slice(&out[count * width..]);
        }
        for (e, cut) in cuts.into_iter().enumerate() {
            let value = &mut values[e * width..(e + 1) * width];
            let mut slope = slopes.get_mut(e * width..(e + 1) * width);
            if self.density.is_some() {
                let y = value[results].to_f64();
                let d = (y * y).tanh();
                value[results] = T::of(d);
                if let Some(slope) = &mut slope {
                    slope[results] *= T::of(2.0 * y * (1.0 - d * d));
                }
            }
            if !radial.apply_cutoff {
                let (cut, steep) = (T::of(cut.0), T::of(cut.1));
                if let Some(slope) = slope {
                    slope.iter_mut().zip(&*value).for_each(|(s, v)| *s = *s * cut + *v * steep);
                }
                value.iter_mut().for_each(|v| *v *= cut);
            }
        }
    }
}
