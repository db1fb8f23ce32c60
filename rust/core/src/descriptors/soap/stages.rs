//! The stages of a chunk over lanes: where its pairs lie in the radial table, the rows there, and the products with harmonics
//! and gradients.

// Loops over indices: what closures over lanes do is compiled without the registers.
#![allow(clippy::needless_range_loop)]

use super::chunk::{CHUNK, Chunk, Kernel};
use super::table::{Table, weights};
use crate::basis::lanes::{Job, Lanes, MAX_LANES, Simd};
use crate::descriptors::tiles::{Add, Emit, Store, Tile};

/// y, the interval of each pair and the weights of its knots.
pub(super) struct Locate<'a, 'b, T: Simd> {
    pub kernel: Kernel<'a, T>,
    pub table: &'a Table<T>,
    pub chunk: &'b mut Chunk<T>,
    pub vector: &'b [T],
    pub tangent: Option<&'b [T]>,
    /// W and its derivatives in sigma.
    pub weight: [[T; CHUNK]; 3],
    pub count: usize,
    pub order: usize,
    pub by_slope: bool,
}

impl<T: Simd> Job<T> for Locate<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (chunk, table) = (self.chunk, self.table);
        let inverse = T::of(1.0 / self.kernel.soap.reach);
        chunk.inverse = [inverse; CHUNK];
        let inverse = L::splat(inverse);
        let soft = L::splat(table.soft);
        let (half, last) = (L::of(0.5), L::of((table.intervals - 1) as f64));
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
            // t may be 1 above its interval: the pieces of the spline meet there.
            let below = (t - half).round();
            let below = L::select(last.lt(below), last, below);
            let mut place = [T::ZERO; MAX_LANES];
            below.store(&mut place);
            for q in 0..L::N {
                chunk.interval[p + q] = place[q].to_f64() as usize;
            }
            let [value, slope, bend] = weights(t - below);
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
pub(super) struct Interpolate<'a, 'b, T> {
    pub table: &'a Table<T>,
    pub chunk: &'b mut Chunk<T>,
    pub row: usize,
    pub count: usize,
    pub order: usize,
}

impl<T: Simd> Job<T> for Interpolate<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let (chunk, row) = (self.chunk, self.row);
        for p in 0..self.count {
            let knots = &self.table.knots[chunk.interval[p] * row..][..6 * row];
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
    // Six rows with one index between them: the loop is bound by its instructions.
    let mut rows = [&knots[..row]; 6];
    for k in 0..6 {
        rows[k] = &knots[k * row..(k + 1) * row];
    }
    let (mut c, out) = (0, &mut *out);
    while D == 1 && c + 2 * L::N <= row {
        // SAFETY: c + 2 N <= row.
        unsafe { columns::<L, D, 2>(&rows, &w, (p, c, row), out) };
        c += 2 * L::N;
    }
    while c < row {
        // SAFETY: c + N <= row, for row is a multiple of N.
        unsafe { columns::<L, D, 1>(&rows, &w, (p, c, row), out) };
        c += L::N;
    }
}

/// V lanes from column c on.
///
/// # Safety
/// Each of `rows` has c + V N numbers, and `out` D CHUNK row, with p < CHUNK and c + V N <= row.
#[inline(always)]
unsafe fn columns<L: Lanes, const D: usize, const V: usize>(
    rows: &[&[L::T]; 6],
    w: &[[L; 6]; D],
    (p, c, row): (usize, usize, usize),
    out: &mut [L::T],
) {
    for d in 0..D {
        let mut sum = [L::zero(); V];
        for k in 0..6 {
            for v in 0..V {
                let at = c + v * L::N;
                // SAFETY: c + V N is at most the length of each row.
                let x = L::load(unsafe { rows[k].get_unchecked(at..at + L::N) });
                sum[v] = if k == 0 { w[d][0] * x } else { w[d][k].fma(x, sum[v]) };
            }
        }
        for v in 0..V {
            let at = (d * CHUNK + p) * row + c + v * L::N;
            // SAFETY: p < CHUNK and c + V N <= row, so that the last value is below D CHUNK row.
            sum[v].store(unsafe { out.get_unchecked_mut(at..at + L::N) });
        }
    }
}

/// panel += R^T F of one column.
pub(super) struct Join<'a, 'b, T: Simd> {
    pub kernel: Kernel<'a, T>,
    pub left: &'b [T],
    pub right: &'b [T],
    pub count: usize,
    pub column: usize,
    pub out: &'b mut [T],
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
pub(super) struct Back<'a, 'b, T: Simd> {
    pub kernel: Kernel<'a, T>,
    pub chunk: &'b mut Chunk<T>,
    pub grad: &'b [T],
    pub tangent: Option<&'b [T]>,
    pub count: usize,
    pub column: usize,
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
