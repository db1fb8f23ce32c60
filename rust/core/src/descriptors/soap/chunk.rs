//! A few pairs of one (centre, species column) at a time: radial rows, harmonics, and the tiles that join them.
//!
//! With y = r / length, sigma = y^2 and F(sigma) with the weight in it, a pair adds F_nl(sigma) R_lm(y) to c_nlm. The length
//! is `reach`; for a point density it is the pair's own r, so that all powers of it drop out and sigma = 1.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::Soap;
use super::harmonics::{Gradient, Solid, Values};
use super::radial::Radial;
use super::table::{Rows, Table, weights};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd, dispatch};
use crate::descriptors::power::Spectrum;
use crate::descriptors::tiles::{Add, Emit, Store, Tile};
use crate::error::Result;

/// Pairs of a chunk: buffers of lmax 6 with 8 functions then fit the first cache.
pub const CHUNK: usize = 16;

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
    point: Vec<T>,
    tangent: Vec<T>,
    inverse: [T; CHUNK],
    dsigma: [T; CHUNK],
    /// Of F, F' and F'' (or their products with d sigma), [3, 6, CHUNK], with the intervals of the table.
    weights: Vec<T>,
    interval: [usize; CHUNK],
    /// F, F', F'', [3, CHUNK, row].
    radial: Vec<T>,
    /// F and F' turned, [row, CHUNK].
    columns: [Vec<T>; 2],
    /// R and its slope, A and its slope, [M, CHUNK].
    harmonic: [Vec<T>; 2],
    weight: [Vec<T>; 2],
    /// x and its slope [3, CHUNK]; sums over functions [2, CHUNK, lanes].
    gradient: [Vec<T>; 2],
    dots: Vec<T>,
    raw: Vec<[f64; 3]>,
}

impl<T: Simd> Chunk<T> {
    pub fn new(p: &Prepared<T>) -> Self {
        let zeros = |n: usize| vec![T::ZERO; n];
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
        for first in (0..group.count).step_by(CHUNK) {
            let count = CHUNK.min(group.count - first);
            let order = if along.is_some() { 1 } else { 0 };
            self.radial_rows(chunk, group, first, count, order, along.is_some());
            self.harmonics(chunk, count, along.is_some());
            let (value, slope) = chunk.radial.split_at(CHUNK * self.prepared.rows.len());
            let [harmonic, dharmonic] = &chunk.harmonic;
            match &mut along {
                None => self.enter(Join {
                    kernel: *self,
                    left: harmonic,
                    right: value,
                    count,
                    column: group.column,
                    out: &mut *panel,
                }),
                Some(along) => {
                    self.enter(Join {
                        kernel: *self,
                        left: harmonic,
                        right: value,
                        count,
                        column: group.column,
                        out: &mut *panel,
                    });
                    self.enter(Join {
                        kernel: *self,
                        left: harmonic,
                        right: slope,
                        count,
                        column: group.column,
                        out: along,
                    });
                    self.enter(Join {
                        kernel: *self,
                        left: dharmonic,
                        right: value,
                        count,
                        column: group.column,
                        out: along,
                    });
                }
            }
        }
    }

    /// x [n, 3] = dE/dr of each pair from g = dE/dc in a panel.
    pub fn backward(&self, chunk: &mut Chunk<T>, group: &Group<T>, grad: &[T], x: &mut [T]) {
        for first in (0..group.count).step_by(CHUNK) {
            let count = CHUNK.min(group.count - first);
            self.radial_rows(chunk, group, first, count, 1, false);
            self.harmonics(chunk, count, false);
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

    /// The slope of [`Kernel::backward`]'s x under the changes of the vectors and under the change `tangent` of g.
    pub fn second(&self, chunk: &mut Chunk<T>, group: &Group<T>, grad: &[T], tangent: &[T], x: &mut [T]) {
        for first in (0..group.count).step_by(CHUNK) {
            let count = CHUNK.min(group.count - first);
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

/// y, the interval of each pair and the weights of its knots.
struct Locate<'a, 'b, T: Simd> {
    kernel: Kernel<'a, T>,
    table: &'a Table<T>,
    chunk: &'b mut Chunk<T>,
    vector: &'b [T],
    tangent: Option<&'b [T]>,
    /// W and its derivatives in sigma.
    weight: [[T; CHUNK]; 3],
    count: usize,
    order: usize,
    by_slope: bool,
}

impl<T: Simd> Job<T> for Locate<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (chunk, table) = (self.chunk, self.table);
        let inverse = T::of(1.0 / self.kernel.soap.reach);
        chunk.inverse = [inverse; CHUNK];
        let inverse = L::splat(inverse);
        let soft = L::splat(table.soft);
        let mut p = 0;
        while p < self.count {
            let v = L::load3(&self.vector[3 * p..]);
            let y = [v[0] * inverse, v[1] * inverse, v[2] * inverse];
            for k in 0..3 {
                y[k].store(&mut chunk.point[k * CHUNK + p..]);
            }
            let sigma = y[0].fma(y[0], y[1].fma(y[1], y[2] * y[2]));
            let root = (sigma + soft * soft).sqrt();
            // sigma / (root + b) = root - b without the cancellation.
            let t = sigma / (root + soft) * L::splat(table.per_unit);
            let mut place = [T::ZERO; MAX_LANES];
            t.store(&mut place);
            for q in 0..L::N {
                let interval = (place[q].to_f64() as usize).min(table.intervals - 1);
                chunk.interval[p + q] = interval;
                place[q] += -T::of(interval as f64);
            }
            let [value, slope, bend] = weights(L::load(&place));
            let w = L::load(&self.weight[0][p..]);
            let to = &mut chunk.weights;
            for k in 0..6 {
                (w * value[k]).store(&mut to[k * CHUNK + p..]);
            }
            let mut dsigma = L::zero();
            if let Some(tangent) = self.tangent {
                let u = L::load3(&tangent[3 * p..]);
                for k in 0..3 {
                    let u = u[k] * inverse;
                    u.store(&mut chunk.tangent[k * CHUNK + p..]);
                    dsigma = y[k].fma(u + u, dsigma);
                }
                dsigma.store(&mut chunk.dsigma[p..]);
            }
            if self.order > 0 {
                let w1 = L::load(&self.weight[1][p..]);
                let along = L::splat(table.per_unit) * L::of(0.5) / root;
                let times = if self.by_slope { dsigma } else { L::of(1.0) };
                for k in 0..6 {
                    let g = (w * along).fma(slope[k], w1 * value[k]);
                    (g * times).store(&mut to[(6 + k) * CHUNK + p..]);
                }
                if self.order > 1 {
                    let w2 = L::load(&self.weight[2][p..]);
                    let curve = -(L::of(0.5) * along / (root * root));
                    for k in 0..6 {
                        let own = (along * along).fma(bend[k], curve * slope[k]);
                        let mixed = (w1 + w1) * along * slope[k];
                        let sum = w.fma(own, w2.fma(value[k], mixed));
                        (sum * dsigma).store(&mut to[(12 + k) * CHUNK + p..]);
                    }
                }
            }
            p += L::N;
        }
    }
}

/// Rows of the table, weighed.
struct Interpolate<'a, 'b, T> {
    table: &'a Table<T>,
    chunk: &'b mut Chunk<T>,
    row: usize,
    count: usize,
    order: usize,
}

impl<T: Simd> Job<T> for Interpolate<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (chunk, row) = (self.chunk, self.row);
        // By interval: pairs of one shell then find their knots in the first cache.
        let mut order: [usize; CHUNK] = std::array::from_fn(|p| p);
        let order = &mut order[..self.count];
        for i in 1..order.len() {
            let mut k = i;
            while k > 0 && chunk.interval[order[k - 1]] > chunk.interval[order[k]] {
                order.swap(k - 1, k);
                k -= 1;
            }
        }
        for &p in order.iter() {
            let knots = &self.table.knots[3 * chunk.interval[p] * row..][..6 * row];
            let w = &chunk.weights[..];
            match self.order {
                0 => weighed::<L, 1>(knots, w, p, row, &mut chunk.radial),
                1 => weighed::<L, 2>(knots, w, p, row, &mut chunk.radial),
                _ => weighed::<L, 3>(knots, w, p, row, &mut chunk.radial),
            }
        }
    }
}

#[inline(always)]
fn weighed<L: Lanes, const D: usize>(knots: &[L::T], weights: &[L::T], p: usize, row: usize, out: &mut [L::T]) {
    let mut w = [[L::zero(); 6]; D];
    for d in 0..D {
        for k in 0..6 {
            w[d][k] = L::splat(weights[(6 * d + k) * CHUNK + p]);
        }
    }
    assert!(knots.len() >= 6 * row && p < CHUNK && out.len() >= D * CHUNK * row && row.is_multiple_of(L::N));
    let mut c = 0;
    while c < row {
        let mut f = [L::zero(); 6];
        for k in 0..6 {
            // SAFETY: c + N <= row, so that the last value is below 6 row, which was checked.
            f[k] = L::load(unsafe { knots.get_unchecked(k * row + c..k * row + c + L::N) });
        }
        for d in 0..D {
            let mut a = w[d][0] * f[0];
            let mut b = w[d][1] * f[1];
            a = w[d][2].fma(f[2], a);
            b = w[d][3].fma(f[3], b);
            a = w[d][4].fma(f[4], a);
            b = w[d][5].fma(f[5], b);
            let at = (d * CHUNK + p) * row + c;
            // SAFETY: p < CHUNK and c + N <= row, so that the last value is below D CHUNK row, which was checked.
            (a + b).store(unsafe { out.get_unchecked_mut(at..at + L::N) });
        }
        c += L::N;
    }
}

/// panel += R^T F of one column.
struct Join<'a, 'b, T: Simd> {
    kernel: Kernel<'a, T>,
    left: &'b [T],
    right: &'b [T],
    count: usize,
    column: usize,
    out: &'b mut [T],
}

impl<T: Simd> Job<T> for Join<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let rows = &self.kernel.prepared.rows;
        let out = self.out;
        for l in 0..rows.counts.len() {
            let (start, step, columns, padded) = self.kernel.spectrum.place(l, self.column);
            if columns == 0 {
                continue;
            }
            let tile = Tile {
                left: &self.left[l * l * CHUNK..],
                left_steps: [CHUNK, 1],
                right: &self.right[rows.start[l]..],
                right_step: rows.len(),
                depth: self.count,
            };
            tile.for_each::<L>(2 * l + 1, padded, &mut Add { out: &mut out[start..], step });
        }
    }
}

/// A = g F, the sums over functions, and with `tangent` their slopes.
struct Back<'a, 'b, T: Simd> {
    kernel: Kernel<'a, T>,
    chunk: &'b mut Chunk<T>,
    grad: &'b [T],
    tangent: Option<&'b [T]>,
    count: usize,
    column: usize,
}

impl<T: Simd> Job<T> for Back<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (chunk, rows, count) = (self.chunk, &self.kernel.prepared.rows, self.count);
        let row = rows.len();
        let pairs = count.next_multiple_of(L::N);
        turn::<L>(&chunk.radial, row, pairs, &mut chunk.columns[0]);
        if self.tangent.is_some() {
            turn::<L>(&chunk.radial[CHUNK * row..], row, pairs, &mut chunk.columns[1]);
        }
        let (_, slopes) = chunk.radial.split_at(CHUNK * row);
        let (slope, bend) = slopes.split_at(CHUNK * row);
        let [value_columns, slope_columns] = &chunk.columns;
        let [harmonic, dharmonic] = &chunk.harmonic;
        let [weight, dweight] = &mut chunk.weight;
        let dots = &mut chunk.dots[..];
        dots.fill(T::ZERO);
        let (dots, ddots) = dots.split_at_mut(CHUNK * MAX_LANES);
        for l in 0..rows.counts.len() {
            let (start, step, columns, padded) = self.kernel.spectrum.place(l, self.column);
            let from = rows.start[l];
            let out = &mut weight[l * l * CHUNK..];
            if columns == 0 {
                out[..(2 * l + 1) * CHUNK].fill(T::ZERO);
                if self.tangent.is_some() {
                    dweight[l * l * CHUNK..][..(2 * l + 1) * CHUNK].fill(T::ZERO);
                }
                continue;
            }
            let grad = &self.grad[start..];
            let (values, slopes) = (&value_columns[from * CHUNK..], &slope_columns[from * CHUNK..]);
            let (harmonic, dharmonic) = (&harmonic[l * l * CHUNK..], &dharmonic[l * l * CHUNK..]);
            let m = 2 * l + 1;
            by_columns(grad, step, values, columns).for_each::<L>(m, pairs, &mut Store { out, step: CHUNK });
            let slope = &slope[from..];
            let Some(tangent) = self.tangent else {
                by_rows(harmonic, m, grad, step).for_each::<L>(count, padded, &mut Dot { out: dots, with: slope, row });
                continue;
            };
            let tangent = &tangent[start..];
            let out = &mut dweight[l * l * CHUNK..];
            let dsigma = &chunk.dsigma;
            by_columns(grad, step, slopes, columns).for_each::<L>(m, pairs, &mut Scaled { out, by: dsigma });
            by_columns(tangent, step, values, columns).for_each::<L>(m, pairs, &mut Add { out, step: CHUNK });
            let both = by_rows(harmonic, m, grad, step);
            both.for_each::<L>(count, padded, &mut Dot { out: dots, with: slope, row });
            both.for_each::<L>(count, padded, &mut Dot { out: ddots, with: &bend[from..], row });
            for tile in [by_rows(dharmonic, m, grad, step), by_rows(harmonic, m, tangent, step)] {
                tile.for_each::<L>(count, padded, &mut Dot { out: ddots, with: slope, row });
            }
        }
        // One number a pair, in place: the sum's own lanes are read before they are overwritten.
        for which in 0..2 {
            for p in 0..count {
                let base = which * CHUNK * MAX_LANES + p * L::N;
                let sum = chunk.dots[base..base + L::N].iter().fold(T::ZERO, |s, x| s + *x);
                chunk.dots[which * CHUNK + p] = sum;
            }
        }
    }
}

/// g [m, n] times columns [n, CHUNK].
#[inline(always)]
fn by_columns<'a, T>(grad: &'a [T], step: usize, columns: &'a [T], depth: usize) -> Tile<'a, T> {
    Tile { left: grad, left_steps: [step, 1], right: columns, right_step: CHUNK, depth }
}

/// R [m, CHUNK] turned, times g [m, n].
#[inline(always)]
fn by_rows<'a, T>(harmonic: &'a [T], m: usize, grad: &'a [T], step: usize) -> Tile<'a, T> {
    Tile { left: harmonic, left_steps: [1, CHUNK], right: grad, right_step: step, depth: m }
}

/// Adds products with rows of functions, lanes of sums a pair.
struct Dot<'a, T> {
    out: &'a mut [T],
    with: &'a [T],
    row: usize,
}

impl<L: Lanes> Emit<L> for Dot<'_, L::T> {
    #[inline(always)]
    fn put(&mut self, pair: usize, column: usize, sum: L) {
        let to = &mut self.out[pair * L::N..];
        sum.fma(L::load(&self.with[pair * self.row + column..]), L::load(to)).store(to);
    }
}

/// Stores times a number a pair.
struct Scaled<'a, T> {
    out: &'a mut [T],
    by: &'a [T],
}

impl<L: Lanes> Emit<L> for Scaled<'_, L::T> {
    #[inline(always)]
    fn put(&mut self, m: usize, pair: usize, sum: L) {
        (sum * L::load(&self.by[pair..])).store(&mut self.out[m * CHUNK + pair..]);
    }
}

/// [pairs, row] turned into [row, CHUNK].
#[inline(always)]
fn turn<L: Lanes>(rows: &[L::T], row: usize, pairs: usize, columns: &mut [L::T]) {
    let mut block = [<L::T as Default>::default(); MAX_LANES * MAX_LANES];
    let mut turned = [L::zero(); MAX_LANES];
    let mut p = 0;
    while p < pairs {
        let mut c = 0;
        while c + L::N <= row {
            for i in 0..L::N {
                L::load(&rows[(p + i) * row + c..]).store(&mut block[i * L::N..]);
            }
            L::load_rows(&block[..L::N * L::N], &mut turned[..L::N]);
            for i in 0..L::N {
                turned[i].store(&mut columns[(c + i) * CHUNK + p..]);
            }
            c += L::N;
        }
        p += L::N;
    }
}
