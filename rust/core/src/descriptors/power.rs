//! Power spectra of density coefficients c [S, F] of a centre, F ordered (l, n, m), with n_l radial functions.
//!
//! p_l(x, y) = f_l f_xy sum_m c_lm(x) c_lm(y), where x and y are (species, n) pairs as a layout orders them:
//! `Featomic` f_l = (-1)^l / sqrt(2l + 1), f = sqrt(2) for two different species; `Dscribe` f_l = pi sqrt(8 / (2l + 1)), f = 1;
//! `Joint` (AniSOAP) as `Featomic`, over columns (n, species) in one list. Of a centre, the coefficients are gathered into a
//! panel, one row [Q] per (l, m), with Q padded to the lanes; all products are tiles of it.

use std::ops::Range;

use super::products::{Apply, Products};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::pool;
use crate::real::Real;

/// What coefficients there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// n_l for l = 0..=lmax; 0 where a degree is left out.
    pub radial: Vec<usize>,
    /// S.
    pub species: usize,
}

impl Shape {
    /// F.
    pub fn width(&self) -> usize {
        self.offset(self.radial.len())
    }

    /// Where degree l begins among the F.
    pub fn offset(&self, l: usize) -> usize {
        self.radial[..l].iter().enumerate().map(|(l, n)| (2 * l + 1) * n).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// Species a <= b, then l, n, n'; both triangles.
    Featomic,
    /// Species a <= b, then l, n, n', with n' >= n where a = b.
    Dscribe,
    /// l, then p = (n, a), then q = (n', a'); `unique`: p <= q, with sqrt(2) off the diagonal.
    Joint { unique: bool },
}

/// Which species meet (`Joint` knows `None` alone).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compression {
    None,
    /// The sum over species with itself.
    Mu2,
    /// Each species with the sum over species.
    Mu1Nu1,
    /// Each species with itself.
    Crossover,
}

/// One group of columns with another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) left: usize,
    pub(super) right: usize,
    /// n' >= n alone.
    pub(super) triangle: bool,
    /// f_xy; of a `unique` list off the diagonal.
    pub(super) factor: f64,
}

/// One degree of the panel.
#[derive(Clone, Debug)]
pub(super) struct Degree {
    pub(super) m: usize,
    /// f_l.
    pub(super) factor: f64,
    /// Where its rows begin in the panel.
    pub(super) start: usize,
    /// Columns of a group, and with padding; of a row.
    pub(super) columns: usize,
    pub(super) padded: usize,
    pub(super) row: usize,
}

/// How a spectrum is laid out.
#[derive(Clone, Debug)]
pub struct Spectrum {
    pub shape: Shape,
    pub layout: Layout,
    degrees: Vec<Degree>,
    /// Groups of columns; the last is the sum of the others if `summed`.
    groups: usize,
    summed: bool,
    blocks: Vec<Block>,
    /// D.
    features: usize,
}

/// Where a feature comes from: (species, n) twice and l. The species of a sum is S.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    pub l: usize,
    pub species: [usize; 2],
    pub n: [usize; 2],
}

impl Spectrum {
    pub fn new<T: Simd>(shape: Shape, layout: Layout, compression: Compression) -> Self {
        let s = shape.species;
        let joint = matches!(layout, Layout::Joint { .. });
        let summed = matches!(compression, Compression::Mu2 | Compression::Mu1Nu1) && !joint;
        let groups = if joint { 1 } else { s + usize::from(summed) };
        let factor = |a: usize, b: usize| if layout == Layout::Featomic && a != b { 2f64.sqrt() } else { 1.0 };
        let equal = matches!(layout, Layout::Dscribe | Layout::Joint { unique: true });
        let block = |a: usize, b: usize| Block { left: a, right: b, triangle: equal && a == b, factor: factor(a, b) };
        let blocks = match compression {
            _ if joint => {
                let factor = if layout == (Layout::Joint { unique: true }) { 2f64.sqrt() } else { 1.0 };
                vec![Block { factor, ..block(0, 0) }]
            }
            Compression::None => (0..s).flat_map(|a| (a..s).map(move |b| (a, b))).map(|(a, b)| block(a, b)).collect(),
            Compression::Mu2 => vec![block(s, s)],
            Compression::Mu1Nu1 => (0..s).map(|a| Block { factor: 1.0, ..block(a, s) }).collect(),
            Compression::Crossover => (0..s).map(|a| block(a, a)).collect(),
        };
        let lanes = T::Wide::N;
        let (mut degrees, mut start) = (Vec::new(), 0);
        for (l, &n) in shape.radial.iter().enumerate() {
            let columns = if joint { n * s } else { n };
            let padded = columns.next_multiple_of(lanes);
            let odd = (2 * l + 1) as f64;
            let factor = match layout {
                Layout::Dscribe => std::f64::consts::PI * (8.0 / odd).sqrt(),
                _ => (if l % 2 == 1 { -1.0 } else { 1.0 }) / odd.sqrt(),
            };
            let row = groups * padded;
            degrees.push(Degree { m: 2 * l + 1, factor, start, columns, padded, row });
            start += (2 * l + 1) * row;
        }
        let mut spectrum = Spectrum { shape, layout, degrees, groups, summed, blocks, features: 0 };
        spectrum.features = spectrum.parts().last().map_or(0, |(.., range)| range.end);
        spectrum
    }

    /// D.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Numbers of a panel.
    pub fn panel_len(&self) -> usize {
        self.degrees.last().map_or(0, |d| d.start + d.m * d.row)
    }

    /// Of degree l: where column group `a` begins in the panel, the step from m to m, columns and columns with padding.
    #[inline(always)]
    pub fn place(&self, l: usize, a: usize) -> (usize, usize, usize, usize) {
        let d = &self.degrees[l];
        (d.start + a * d.padded, d.row, d.columns, d.padded)
    }

    /// Numbers of the largest matrix f (G + G^T) of a degree.
    pub fn matrix_len(&self) -> usize {
        self.degrees.iter().map(|d| d.row * d.row).max().unwrap_or(0)
    }

    fn count(block: &Block, n: usize) -> usize {
        if block.triangle { n * (n + 1) / 2 } else { n * n }
    }

    /// (block, degree, its features), in the order of the features.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Block, &Degree, Range<usize>)> {
        let mut at = 0;
        let both = self.blocks.iter().flat_map(|b| self.degrees.iter().map(move |d| (b, d)));
        both.map(move |(b, d)| {
            let range = at..at + Self::count(b, d.columns);
            at = range.end;
            (b, d, range)
        })
    }

    /// The origin of each feature.
    pub fn labels(&self) -> Vec<Label> {
        let s = self.shape.species;
        let mut labels = Vec::with_capacity(self.features);
        for block in &self.blocks {
            for (l, d) in self.degrees.iter().enumerate() {
                for x in 0..d.columns {
                    for y in if block.triangle { x } else { 0 }..d.columns {
                        labels.push(match self.layout {
                            Layout::Joint { .. } => Label { l, species: [x % s, y % s], n: [x / s, y / s] },
                            _ => Label { l, species: [block.left, block.right], n: [x, y] },
                        });
                    }
                }
            }
        }
        labels
    }

    /// Coefficients [S, F] of a centre into a panel.
    pub fn gather<T: Real>(&self, coefficients: &[T], panel: &mut [T]) {
        panel.fill(T::ZERO);
        self.walk(|at, from| panel[at] = coefficients[from]);
        self.sum_species(panel);
    }

    /// The inverse of [`Spectrum::gather`].
    pub fn scatter<T: Real>(&self, panel: &[T], coefficients: &mut [T]) {
        self.walk(|at, from| coefficients[from] = panel[at]);
    }

    /// (place in the panel, place in [S, F]).
    #[inline(always)]
    fn walk(&self, mut visit: impl FnMut(usize, usize)) {
        let (s, width) = (self.shape.species, self.shape.width());
        let mut offset = 0;
        for (l, d) in self.degrees.iter().enumerate() {
            let n_l = self.shape.radial[l];
            for a in 0..s {
                for n in 0..n_l {
                    let column = match self.layout {
                        Layout::Joint { .. } => n * s + a,
                        _ => a * d.padded + n,
                    };
                    for m in 0..d.m {
                        visit(d.start + m * d.row + column, a * width + offset + n * d.m + m);
                    }
                }
            }
            offset += n_l * d.m;
        }
    }

    /// Fills the group of sums.
    pub fn sum_species<T: Real>(&self, panel: &mut [T]) {
        if !self.summed {
            return;
        }
        for d in &self.degrees {
            for row in panel[d.start..d.start + d.m * d.row].chunks_exact_mut(d.row.max(1)) {
                let (own, sum) = row.split_at_mut((self.groups - 1) * d.padded);
                sum.fill(T::ZERO);
                for group in own.chunks_exact(d.padded) {
                    sum.iter_mut().zip(group).for_each(|(s, x)| *s += *x);
                }
            }
        }
    }

    /// The transpose: each species takes the gradient of the sum.
    fn spread<T: Real>(&self, panel: &mut [T]) {
        if !self.summed {
            return;
        }
        for d in &self.degrees {
            for row in panel[d.start..d.start + d.m * d.row].chunks_exact_mut(d.row.max(1)) {
                let (own, sum) = row.split_at_mut((self.groups - 1) * d.padded);
                for group in own.chunks_exact_mut(d.padded) {
                    group.iter_mut().zip(sum.iter()).for_each(|(x, s)| *x += *s);
                }
            }
        }
    }

    /// p [D] of a panel.
    pub fn forward<T: Simd>(&self, panel: &[T], out: &mut [T]) {
        dispatch(Products { spectrum: self, left: panel, right: panel, both: false, out });
    }

    /// [`Spectrum::forward`] without SIMD.
    pub fn forward_plain<T: Simd>(&self, panel: &[T], out: &mut [T]) {
        Products { spectrum: self, left: panel, right: panel, both: false, out }.run::<T::Plain>();
    }

    /// The change of p under the change `tangent` of the panel: f (dc c + c dc).
    pub fn forward_along<T: Simd>(&self, panel: &[T], tangent: &[T], out: &mut [T]) {
        dispatch(Products { spectrum: self, left: panel, right: tangent, both: true, out });
    }

    /// H_l = f (G + G^T) of one degree, [row, row], from the gradient `grad` [D] of p: dE/dc = c H.
    fn gradient_matrix<T: Real>(&self, degree: &Degree, grad: &[T], h: &mut [T]) {
        let (row, n) = (degree.row, degree.columns);
        h[..row * row].fill(T::ZERO);
        for (block, d, range) in self.parts() {
            if d.start != degree.start || d.m != degree.m {
                continue;
            }
            let (x0, y0) = (block.left * d.padded, block.right * d.padded);
            let scale = T::of(d.factor * block.factor);
            let mut next = range.start;
            for x in 0..n {
                for y in if block.triangle { x } else { 0 }..n {
                    let mut g = grad[next] * scale;
                    next += 1;
                    if block.triangle && x == y {
                        g *= T::of(1.0 / block.factor);
                    }
                    h[(x0 + x) * row + y0 + y] += g;
                    h[(y0 + y) * row + x0 + x] += g;
                }
            }
        }
    }

    /// dE/d panel from dE/dp; with `tangent`, the change of dE/d panel under that change of the panel instead.
    pub fn backward<T: Simd>(&self, panel: &[T], grad: &[T], matrix: &mut [T], out: &mut [T]) {
        for d in &self.degrees {
            self.gradient_matrix(d, grad, matrix);
            dispatch(Apply { degree: d, panel, matrix, out });
        }
        self.spread(out);
    }

    fn cost_ns(&self) -> usize {
        let flops: usize = self.degrees.iter().map(|d| d.m * d.row * d.row).sum();
        100 + self.features + flops / 8
    }

    /// p [N, D] of coefficients [N, S, F].
    pub fn power_spectrum<T: Simd>(&self, coefficients: &[T], out: &mut [T]) {
        let width = self.shape.species * self.shape.width();
        pool::for_each_block(out, self.features, self.cost_ns(), |first, out| {
            let mut panel = vec![T::ZERO; self.panel_len()];
            for (i, out) in out.chunks_exact_mut(self.features).enumerate() {
                self.gather(&coefficients[(first + i) * width..(first + i + 1) * width], &mut panel);
                self.forward(&panel, out);
            }
        });
    }

    /// dE/dc [N, S, F] from dE/dp [N, D].
    pub fn power_spectrum_bwd<T: Simd>(&self, coefficients: &[T], grad: &[T], out: &mut [T]) {
        let width = self.shape.species * self.shape.width();
        pool::for_each_block(out, width, 2 * self.cost_ns(), |first, out| {
            let (mut panel, mut back) = (vec![T::ZERO; self.panel_len()], vec![T::ZERO; self.panel_len()]);
            let mut matrix = vec![T::ZERO; self.matrix_len()];
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let i = first + i;
                self.gather(&coefficients[i * width..(i + 1) * width], &mut panel);
                self.backward(&panel, &grad[i * self.features..(i + 1) * self.features], &mut matrix, &mut back);
                self.scatter(&back, out);
            }
        });
    }

    /// The vjp of [`Spectrum::power_spectrum_bwd`] for the cotangent `grad_grad` [N, S, F] of its result: to c [N, S, F] and
    /// to dE/dp [N, D].
    pub fn power_spectrum_bwd_bwd<T: Simd>(
        &self,
        coefficients: &[T],
        grad: &[T],
        grad_grad: &[T],
        out: &mut [T],
        out_grad: &mut [T],
    ) {
        // The gradient is bilinear in c and dE/dp, and symmetric: d/dc is the vjp at the cotangent in place of c.
        self.power_spectrum_bwd(grad_grad, grad, out);
        let width = self.shape.species * self.shape.width();
        pool::for_each_block(out_grad, self.features, 2 * self.cost_ns(), |first, out| {
            let (mut panel, mut tangent) = (vec![T::ZERO; self.panel_len()], vec![T::ZERO; self.panel_len()]);
            for (i, out) in out.chunks_exact_mut(self.features).enumerate() {
                let rows = (first + i) * width..(first + i + 1) * width;
                self.gather(&coefficients[rows.clone()], &mut panel);
                self.gather(&grad_grad[rows], &mut tangent);
                self.forward_along(&panel, &tangent, out);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| (((i + seed) * 7919 + seed * 31) % 101) as f64 / 50.0 - 1.0).collect()
    }

    fn all() -> Vec<Spectrum> {
        // Fewer functions than lanes, whole lanes, and some of everything between.
        let few = spectra(Shape { radial: vec![3, 0, 5, 2], species: 3 });
        let many = spectra(Shape { radial: vec![13, 8, 9, 6, 11], species: 2 });
        few.into_iter().chain(many).collect()
    }

    fn spectra(shape: Shape) -> Vec<Spectrum> {
        use Compression::*;
        let mut all = Vec::new();
        for layout in [Layout::Featomic, Layout::Dscribe] {
            for compression in [None, Mu2, Mu1Nu1, Crossover] {
                all.push(Spectrum::new::<f64>(shape.clone(), layout, compression));
            }
        }
        for unique in [false, true] {
            all.push(Spectrum::new::<f64>(shape.clone(), Layout::Joint { unique }, None));
        }
        all
    }

    /// The definition, from labels alone.
    fn plain(s: &Spectrum, c: &[f64]) -> Vec<f64> {
        let width = s.shape.width();
        let value = |a: usize, l: usize, n: usize, m: usize| {
            let at = |a: usize| c[a * width + s.shape.offset(l) + n * (2 * l + 1) + m];
            if a == s.shape.species { (0..a).map(at).sum() } else { at(a) }
        };
        let one = |f: Label| {
            let sum: f64 = (0..2 * f.l + 1)
                .map(|m| value(f.species[0], f.l, f.n[0], m) * value(f.species[1], f.l, f.n[1], m))
                .sum();
            let odd = (2 * f.l + 1) as f64;
            let sign = if f.l % 2 == 1 { -1.0 } else { 1.0 };
            let same = f.species[0] == f.species[1];
            let sum_of_two = f.species[1] == s.shape.species;
            sum * match s.layout {
                Layout::Dscribe => std::f64::consts::PI * (8.0 / odd).sqrt(),
                Layout::Featomic => sign / odd.sqrt() * if same || sum_of_two { 1.0 } else { 2f64.sqrt() },
                Layout::Joint { unique } => {
                    sign / odd.sqrt() * if unique && !(same && f.n[0] == f.n[1]) { 2f64.sqrt() } else { 1.0 }
                }
            }
        };
        s.labels().into_iter().map(one).collect()
    }

    #[test]
    fn every_layout_is_its_definition() {
        for s in all() {
            let (w, d) = (s.shape.species * s.shape.width(), s.features());
            let c = numbers(2 * w, 3);
            let mut out = vec![0.0; 2 * d];
            s.power_spectrum(&c, &mut out);
            let expected = [plain(&s, &c[..w]), plain(&s, &c[w..])].concat();
            assert_eq!(expected.len(), out.len());
            assert!(out.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{:?}", s.layout);
        }
    }

    #[test]
    fn derivatives_are_those_of_a_quadratic_form() {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for s in all() {
            let (w, d) = (s.shape.species * s.shape.width(), s.features());
            let (c, h, g) = (numbers(w, 3), numbers(w, 11), numbers(d, 5));
            let value = |c: &[f64]| {
                let mut p = vec![0.0; d];
                s.power_spectrum(c, &mut p);
                p
            };
            let shifted = |t: f64| c.iter().zip(&h).map(|(c, h)| c + t * h).collect::<Vec<_>>();
            // Differences of a quadratic form are exact.
            let change: Vec<f64> =
                value(&shifted(1.0)).iter().zip(value(&shifted(-1.0))).map(|(a, b)| 0.5 * (a - b)).collect();
            let mut back = vec![0.0; w];
            s.power_spectrum_bwd(&c, &g, &mut back);
            assert!((dot(&back, &h) - dot(&g, &change)).abs() < 1e-10);
            let (mut second, mut along) = (vec![0.0; w], vec![0.0; d]);
            s.power_spectrum_bwd_bwd(&c, &g, &h, &mut second, &mut along);
            assert!(along.iter().zip(&change).all(|(a, b)| (a - b).abs() < 1e-12));
            assert!((dot(&second, &c) - dot(&back, &h)).abs() < 1e-10);
        }
    }

    #[test]
    fn portable_lanes_give_the_same_products() {
        for s in all() {
            let c = numbers(s.shape.species * s.shape.width(), 3);
            let mut panel = vec![0.0; s.panel_len()];
            s.gather(&c, &mut panel);
            let mut out = [vec![0.0; s.features()], vec![0.0; s.features()]];
            let [a, b] = &mut out;
            s.forward(&panel, a);
            let job = Products { spectrum: &s, left: &panel, right: &panel, both: false, out: b };
            job.run::<<f64 as Simd>::Plain>();
            assert!(out[0].iter().zip(&out[1]).all(|(a, b)| (a - b).abs() < 1e-14));
        }
    }
}
