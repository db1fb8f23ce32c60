//! A few pairs of one (centre, species column) at a time: radial rows, harmonics, and the tiles that join them.
//!
//! With y = r / length, sigma = y^2 and F(sigma) with the weight in it, a pair adds F_nl(sigma) R_lm(y) to c_nlm. The length
//! is `reach`; for a point density it is the pair's own r, so that all powers of it drop out and sigma = 1.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::Soap;
use super::harmonics::{Gradient, Solid, Values};
use super::radial::Radial;
use super::stages::{Back, Interpolate, Join, Locate};
use super::table::{Rows, Table};
use crate::aligned::Aligned;
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::power::Spectrum;
use crate::error::Result;
use crate::stages::{self, Stage};

/// Pairs of a chunk: buffers of lmax 6 with 8 functions then fit the first cache.
pub const CHUNK: usize = 24;

/// (first, how many) of chunks of nearly the same size, in whole lanes but for the last.
fn pieces<T: Simd>(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = count.div_ceil(count.div_ceil(CHUNK).max(1)).next_multiple_of(T::Wide::N).clamp(1, CHUNK);
    (0..count).step_by(size).map(move |first| (first, size.min(count - first)))
}

/// What one precision needs, made once.
pub struct Prepared<T> {
    pub rows: Rows,
    pub solid: Solid<T>,
    /// `None`: closed forms.
    pub table: Option<Table<T>>,
    /// What the centre itself adds to l = 0, before species weights: [n_0].
    pub own: Vec<T>,
}

impl<T: Simd> Prepared<T> {
    pub fn new(soap: &Soap) -> Result<Self> {
        let radial: &Radial = &soap.radial;
        let rows = Rows::new::<T>(radial.counts());
        let table = match soap.accuracy {
            Some(accuracy) if !radial.is_delta() => Some(Table::new(radial, &rows, soap.reach, soap.width, accuracy)?),
            _ => None,
        };
        let mut raw = vec![[0.0; 3]; rows.counts.iter().sum()];
        radial.at(0.0, &mut raw);
        let factor = soap.center_weight * soap.weight.at(0.0)[0] / (4.0 * std::f64::consts::PI).sqrt();
        let own = raw[..rows.counts[0]].iter().map(|f| T::of(f[0] * factor)).collect();
        Ok(Prepared { solid: Solid::new(rows.counts.len() - 1), rows, table, own })
    }
}

/// Buffers of a thread.
pub struct Chunk<T> {
    /// y and its slope [3, CHUNK], 1 / length and d sigma [CHUNK].
    pub(super) point: Aligned<T>,
    pub(super) tangent: Aligned<T>,
    pub(super) inverse: [T; CHUNK],
    pub(super) dsigma: [T; CHUNK],
    /// Of F, F' and F'' (or their products with d sigma), [3, 6, CHUNK], with the intervals of the table.
    pub(super) weights: Aligned<T>,
    pub(super) interval: [usize; CHUNK],
    /// F, F', F'', [3, CHUNK, row].
    pub(super) radial: Aligned<T>,
    /// F and F' turned, [row, CHUNK].
    pub(super) columns: [Aligned<T>; 2],
    /// R and its slope, A and its slope, [M, CHUNK].
    pub(super) harmonic: [Aligned<T>; 2],
    pub(super) weight: [Aligned<T>; 2],
    /// x and its slope [3, CHUNK]; sums over functions [2, CHUNK, lanes].
    pub(super) gradient: [Aligned<T>; 2],
    pub(super) dots: Aligned<T>,
    pub(super) raw: Vec<[f64; 3]>,
}

impl<T: Simd> Chunk<T> {
    pub fn new(p: &Prepared<T>) -> Self {
        let zeros = |n: usize| Aligned::new(T::ZERO, n);
        let (row, m) = (p.rows.len(), p.solid.width());
        Chunk {
            point: zeros(3 * CHUNK),
            tangent: zeros(3 * CHUNK),
            inverse: [T::ZERO; CHUNK],
            dsigma: [T::ZERO; CHUNK],
            weights: zeros(18 * CHUNK),
            interval: [0; CHUNK],
            radial: zeros(3 * CHUNK * row),
            columns: [zeros(row * CHUNK), zeros(row * CHUNK)],
            harmonic: [zeros(m * CHUNK), zeros(m * CHUNK)],
            weight: [zeros(m * CHUNK), zeros(m * CHUNK)],
            gradient: [zeros(3 * CHUNK), zeros(3 * CHUNK)],
            dots: zeros(2 * CHUNK * MAX_LANES),
            raw: vec![[0.0; 3]; p.rows.counts.iter().sum()],
        }
    }
}

/// Bytes of chunks that are kept: half of a second-level cache.
const KEPT_BYTES: usize = 256 << 10;

/// Chunks of a centre, made on the way to its coefficients and read again on the way back.
pub struct Kept<T> {
    chunks: Vec<Chunk<T>>,
    /// How many are made, and the next one.
    made: usize,
    at: usize,
    room: usize,
}

impl<T: Simd> Kept<T> {
    pub fn new(p: &Prepared<T>) -> Self {
        // What the way back touches: values and slopes, columns, harmonics and their weights.
        let touched = size_of::<T>() * CHUNK * (3 * p.rows.len() + 2 * p.solid.width());
        Kept { chunks: vec![Chunk::new(p)], made: 0, at: 0, room: (KEPT_BYTES / touched).max(1) }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        (self.made, self.at) = (0, 0);
    }

    /// From the first again, which is kept.
    pub fn rewind(&mut self) {
        (self.made, self.at) = (self.at.min(self.room), 0);
    }

    /// The next chunk, and whether it is kept from before.
    fn next(&mut self, p: &Prepared<T>) -> (&mut Chunk<T>, bool) {
        let at = self.at;
        self.at += 1;
        // What has no room shares the last chunk, which is made again each time.
        let place = at.min(self.room);
        if place == self.chunks.len() {
            self.chunks.push(Chunk::new(p));
        }
        (&mut self.chunks[place], at < self.made)
    }
}

/// The pairs that a chunk is of.
#[derive(Clone, Copy)]
pub struct Group<'a, T> {
    /// [n, 3] and at least 8 rows more.
    pub vector: &'a [T],
    /// Changes of the vectors, likewise.
    pub tangent: Option<&'a [T]>,
    /// n.
    pub count: usize,
    /// Species column, and its weight.
    pub column: usize,
    pub factor: f64,
    /// The pair that is the centre itself, which the centre's weight multiplies.
    pub own: Option<usize>,
}

/// One kernel with its constants.
#[derive(Clone, Copy)]
pub struct Kernel<'a, T: Simd> {
    pub soap: &'a Soap,
    pub prepared: &'a Prepared<T>,
    pub spectrum: &'a Spectrum,
    pub portable: bool,
}

impl<'a, T: Simd> Kernel<'a, T> {
    fn enter(&self, job: impl Job<T>) {
        if self.portable { plain(job) } else { dispatch(job) }
    }

    /// panel += sum over the group of F R; with `tangent`s, `along` += their slope.
    pub fn expand(&self, chunk: &mut Chunk<T>, group: &Group<T>, panel: &mut [T], along: Option<&mut [T]>) {
        let mut along = along;
        for (first, count) in pieces::<T>(group.count) {
            let order = if along.is_some() { 1 } else { 0 };
            self.make(chunk, group, (first, count), order, along.is_some());
            self.join(chunk, group.column, count, panel);
            let Some(along) = &mut along else { continue };
            let _timer = stages::start(Stage::Moments);
            let (value, slope) = chunk.radial.split_at(CHUNK * self.prepared.rows.len());
            let [harmonic, dharmonic] = &chunk.harmonic;
            for (left, right) in [(harmonic, slope), (dharmonic, value)] {
                self.enter(Join { kernel: *self, left, right, count, column: group.column, out: along });
            }
        }
    }

    /// [`Kernel::expand`], leaving rows and slopes for [`Kernel::backward`].
    pub fn expand_kept(&self, kept: &mut Kept<T>, group: &Group<T>, panel: &mut [T]) {
        for (first, count) in pieces::<T>(group.count) {
            let (chunk, _) = kept.next(self.prepared);
            self.make(chunk, group, (first, count), 1, false);
            self.join(chunk, group.column, count, panel);
        }
    }

    /// x [n, 3] = dE/dr of each pair from g = dE/dc in a panel. Rows that `kept` has are not made again.
    pub fn backward(&self, kept: &mut Kept<T>, group: &Group<T>, grad: &[T], x: &mut [T]) {
        for (first, count) in pieces::<T>(group.count) {
            let (chunk, made) = kept.next(self.prepared);
            if !made {
                self.make(chunk, group, (first, count), 1, false);
            }
            let _timer = stages::start(Stage::Backward);
            self.enter(Back { kernel: *self, chunk: &mut *chunk, grad, tangent: None, count, column: group.column });
            self.enter(Gradient {
                solid: &self.prepared.solid,
                weight: &chunk.weight[0],
                value: &chunk.harmonic[0],
                tangent: None,
                out: &mut chunk.gradient[0],
                stride: CHUNK,
                count: count.next_multiple_of(T::Wide::N),
            });
            let two = T::of(2.0);
            for p in 0..count {
                let dot = two * chunk.dots[p];
                for k in 0..3 {
                    let along = chunk.gradient[0][k * CHUNK + p] + dot * chunk.point[k * CHUNK + p];
                    x[3 * (first + p) + k] = along * chunk.inverse[p];
                }
            }
        }
    }

    /// Radial rows and harmonics of `count` pairs from `first` on.
    fn make(&self, chunk: &mut Chunk<T>, group: &Group<T>, (first, count): (usize, usize), order: usize, along: bool) {
        let _timer = stages::start(Stage::Basis);
        self.radial_rows(chunk, group, first, count, order, along);
        self.harmonics(chunk, count, along);
    }

    /// panel += R^T F.
    fn join(&self, chunk: &Chunk<T>, column: usize, count: usize, panel: &mut [T]) {
        let _timer = stages::start(Stage::Moments);
        let (left, right) = (&chunk.harmonic[0], &chunk.radial);
        self.enter(Join { kernel: *self, left, right, count, column, out: panel });
    }

    /// The slope of [`Kernel::backward`]'s x under the changes of the vectors and under the change `tangent` of g.
    pub fn second(&self, chunk: &mut Chunk<T>, group: &Group<T>, grad: &[T], tangent: &[T], x: &mut [T]) {
        let _timer = stages::start(Stage::Backward);
        for (first, count) in pieces::<T>(group.count) {
            self.radial_rows(chunk, group, first, count, 2, false);
            self.harmonics(chunk, count, true);
            let tangent = Some(tangent);
            self.enter(Back { kernel: *self, chunk: &mut *chunk, grad, tangent, count, column: group.column });
            let ([weight, dweight], [harmonic, dharmonic]) = (&chunk.weight, &chunk.harmonic);
            let [out, slope] = &mut chunk.gradient;
            self.enter(Gradient {
                solid: &self.prepared.solid,
                weight,
                value: harmonic,
                tangent: Some((dweight, dharmonic, slope)),
                out,
                stride: CHUNK,
                count: count.next_multiple_of(T::Wide::N),
            });
            let two = T::of(2.0);
            for p in 0..count {
                let (dot, slope) = (two * chunk.dots[p], two * chunk.dots[CHUNK + p]);
                for k in 0..3 {
                    let at = k * CHUNK + p;
                    let sum = chunk.gradient[1][at] + dot * chunk.tangent[at] + slope * chunk.point[at];
                    x[3 * (first + p) + k] = sum * chunk.inverse[p];
                }
            }
        }
    }

    fn harmonics(&self, chunk: &mut Chunk<T>, count: usize, tangent: bool) {
        let [value, slope] = &mut chunk.harmonic;
        self.enter(Values {
            solid: &self.prepared.solid,
            point: &chunk.point,
            tangent: tangent.then_some((&chunk.tangent[..], &mut slope[..])),
            out: value,
            stride: CHUNK,
            count: count.next_multiple_of(T::Wide::N),
        });
    }

    /// F, and up to `order` derivatives, of pairs first..first + count. With `by_slope`, F' comes times d sigma; F'' always
    /// does.
    fn radial_rows(
        &self,
        chunk: &mut Chunk<T>,
        group: &Group<T>,
        first: usize,
        count: usize,
        order: usize,
        by_slope: bool,
    ) {
        let vector = &group.vector[3 * first..];
        let tangent = group.tangent.map(|t| &t[3 * first..]);
        match &self.prepared.table {
            Some(table) => {
                let soap = self.soap;
                let mut weight = [[T::of(group.factor); CHUNK], [T::ZERO; CHUNK], [T::ZERO; CHUNK]];
                if !soap.weight.is_one() {
                    let flat = soap.weight.flat_square();
                    for p in 0..count {
                        let v = &vector[3 * p..3 * p + 3];
                        let r2 = v.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>();
                        if r2 <= flat {
                            continue;
                        }
                        let w = soap.weight.along_square(r2, soap.reach);
                        for k in 0..3 {
                            weight[k][p] = T::of(w[k] * group.factor);
                        }
                    }
                }
                if let Some(p) = group.own.and_then(|p| p.checked_sub(first)).filter(|&p| p < count) {
                    for w in &mut weight {
                        w[p] *= T::of(soap.center_weight);
                    }
                }
                self.enter(Locate {
                    kernel: *self,
                    table,
                    chunk: &mut *chunk,
                    vector,
                    tangent,
                    weight,
                    count,
                    order,
                    by_slope,
                });
                self.enter(Interpolate { table, chunk, row: self.prepared.rows.len(), count, order });
            }
            None => {
                let own = group.own.and_then(|p| p.checked_sub(first));
                self.closed_rows(chunk, (vector, tangent), (group.factor, own), count, order, by_slope);
            }
        }
    }

    /// The same without a table.
    fn closed_rows(
        &self,
        chunk: &mut Chunk<T>,
        (vector, tangent): (&[T], Option<&[T]>),
        (factor, own): (f64, Option<usize>),
        count: usize,
        order: usize,
        by_slope: bool,
    ) {
        let (soap, rows) = (self.soap, &self.prepared.rows);
        let row = rows.len();
        for p in 0..count {
            let v: [f64; 3] = std::array::from_fn(|k| vector[3 * p + k].to_f64());
            let r2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
            let r = r2.sqrt();
            let delta = soap.radial.is_delta();
            let inverse = if !delta {
                1.0 / soap.reach
            } else if r > 0.0 {
                1.0 / r
            } else {
                0.0
            };
            chunk.inverse[p] = T::of(inverse);
            let mut dsigma = 0.0;
            for k in 0..3 {
                chunk.point[k * CHUNK + p] = T::of(v[k] * inverse);
                let u = tangent.map_or(0.0, |t| t[3 * p + k].to_f64());
                chunk.tangent[k * CHUNK + p] = T::of(u * inverse);
                dsigma += 2.0 * v[k] * u * inverse * inverse;
            }
            chunk.dsigma[p] = T::of(dsigma);
            soap.radial.at(r, &mut chunk.raw);
            let w = if delta { soap.weight.at(r) } else { soap.weight.along_square(r2, soap.reach) };
            let w = w.map(|w| w * if own == Some(p) { factor * soap.center_weight } else { factor });
            let unit = soap.reach * soap.reach;
            for (at, i, l) in rows.places() {
                let f = chunk.raw[i];
                let lf = l as f64;
                let [value, slope, bend] = if delta {
                    let f = [w[0] * f[0], w[1] * f[0] + w[0] * f[1], w[2] * f[0] + 2.0 * w[1] * f[1] + w[0] * f[2]];
                    let value = if r > 0.0 || l == 0 { f[0] } else { 0.0 };
                    let (a, b) = (r * f[1], r * r * f[2]);
                    [value, 0.5 * (a - lf * value), 0.25 * (b - (1.0 + 2.0 * lf) * a + lf * (lf + 2.0) * value)]
                } else {
                    let scale = soap.reach.powi(l as i32);
                    let f = [f[0] * scale, f[1] * scale * unit, f[2] * scale * unit * unit];
                    [w[0] * f[0], w[1] * f[0] + w[0] * f[1], w[2] * f[0] + 2.0 * w[1] * f[1] + w[0] * f[2]]
                };
                chunk.radial[p * row + at] = T::of(value);
                if order > 0 {
                    chunk.radial[(CHUNK + p) * row + at] = T::of(if by_slope { slope * dsigma } else { slope });
                }
                if order > 1 {
                    chunk.radial[(2 * CHUNK + p) * row + at] = T::of(bend * dsigma);
                }
            }
        }
    }
}

#[inline(never)]
fn plain<T: Simd>(job: impl Job<T>) {
    job.run::<T::Plain>();
}
