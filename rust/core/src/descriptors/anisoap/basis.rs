//! The radial basis of AniSOAP and the tables that turn moments into coefficients.
//!
//! c_{l n' m} = sum_n W_l\[n, n'\] sum_t T_{l n m}\[t\] M_t, with W_l = diag(N) S^{-1/2} (formulas of the room, section 3). All
//! in the unit s (the width, or the cutoff of monomials); W carries the unit's power.

use super::monomials::{functions, shell, start};
use crate::basis::lanes::Lanes;
use crate::descriptors::extended::Wide;
use crate::descriptors::loewdin::inverse_sqrt;
use crate::error::{Error, Result};

/// Highest degree of a polynomial that tables are made for.
pub const MAX_DEGREE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Radial {
    /// r^{l + 2n} exp(-r^2 / (2 s^2)); s is the unit.
    Gto,
    /// r^{l + 2n}, orthonormal within the cutoff, which is the unit.
    Monomial,
}

/// What a basis is made of.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub kind: Radial,
    /// n_l for l = 0..=lmax, each at least 1.
    pub radial: Vec<usize>,
    /// s or the cutoff, Angstrom.
    pub unit: f64,
    /// Overlap eigenvalues at or below it are dropped; 0 keeps all.
    pub rcond: f64,
    /// Largest ||S - (X X)^+||_F.
    pub tolerance: f64,
    /// Without it W is diag(unit^{l + 2n}).
    pub normalize: bool,
}

/// A sparse matrix by rows.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    columns: usize,
    ptr: Vec<u32>,
    index: Vec<u32>,
    value: Vec<f64>,
}

impl Sparse {
    fn of(columns: usize, rows: &[Vec<(u32, f64)>]) -> Self {
        let mut s = Sparse { columns, ptr: vec![0], ..Sparse::default() };
        assert!(rows.iter().flatten().all(|&(i, _)| (i as usize) < columns));
        for row in rows {
            for &(i, v) in row {
                s.index.push(i);
                s.value.push(v);
            }
            s.ptr.push(s.index.len() as u32);
        }
        s
    }

    /// Row `i` times `x` [columns].
    #[inline(always)]
    pub fn row<L: Lanes<T = f64>>(&self, i: usize, x: &[L]) -> L {
        assert!(x.len() >= self.columns);
        let terms = self.ptr[i] as usize..self.ptr[i + 1] as usize;
        let (index, value) = (&self.index[terms.clone()], &self.value[terms]);
        // Four sums, for the latency of the fused products.
        let mut sum = [L::zero(); 4];
        for e in 0..value.len() {
            // SAFETY: `index` is as long as `value`, and `of` has checked that its numbers are below `columns`.
            let (v, x) = unsafe { (*value.get_unchecked(e), *x.get_unchecked(*index.get_unchecked(e) as usize)) };
            sum[0] = L::splat(v).fma(x, sum[0]);
            sum = [sum[1], sum[2], sum[3], sum[0]];
        }
        (sum[0] + sum[1]) + (sum[2] + sum[3])
    }
}

/// The basis, ready for use.
#[derive(Clone, Debug)]
pub struct Basis {
    pub kind: Radial,
    pub radial: Vec<usize>,
    pub unit: f64,
    /// D, the highest degree of the moments.
    pub degree: usize,
    /// kappa: the moments of degree d are times kappa^d, T has the inverse.
    pub scale: f64,
    /// T, [F, monomials], and its transpose.
    pub table: Sparse,
    pub transposed: Sparse,
    /// W_l, [n_l, n_l].
    pub weights: Vec<Vec<f64>>,
    /// sqrt of the condition of each S_l: what rounding is multiplied by.
    pub amplification: Vec<f64>,
}

impl Basis {
    pub fn new(p: &Parameters) -> Result<Self> {
        if p.radial.is_empty() || p.radial.contains(&0) {
            return Err(Error::value("max_radial", "at least one function of each l", format!("{:?}", p.radial)));
        }
        if !(p.unit > 0.0 && p.unit.is_finite()) {
            let name = if p.kind == Radial::Gto { "width" } else { "cutoff" };
            return Err(Error::value(name, "a positive finite length in Angstrom", format!("{:?}", p.unit)));
        }
        let of = |l: usize| l + 2 * (p.radial[l] - 1);
        if let Some(l) = (0..p.radial.len()).find(|&l| of(l) > MAX_DEGREE) {
            let rule = format!("such that l + 2 (number of functions - 1) is at most {MAX_DEGREE} for each l");
            return Err(Error::value("max_radial", &rule, format!("{} functions at l = {l}", p.radial[l])));
        }
        let degree = (0..p.radial.len()).map(of).max().unwrap_or(0);
        // Moments are m kappa^degree: m of high degrees would leave the range of f32 else. A power of two, so exact.
        let third = (1..=degree / 3).map(|k| (k as f64).log2()).sum::<f64>();
        let scale = if degree < 9 { 1.0 } else { 2f64.powi((third * 3.0 / degree as f64).round() as i32) };
        let mut rows = functions(&p.radial);
        let of_monomial: Vec<f64> = (0..=degree).flat_map(|d| vec![scale.powi(-(d as i32)); shell(d)]).collect();
        for (t, v) in rows.iter_mut().flatten() {
            *v *= of_monomial[*t as usize];
        }
        let mut columns = vec![Vec::new(); start(degree + 1)];
        for (o, row) in rows.iter().enumerate() {
            row.iter().for_each(|&(t, v)| columns[t as usize].push((o as u32, v)));
        }
        let mut basis = Basis {
            kind: p.kind,
            radial: p.radial.clone(),
            unit: p.unit,
            degree,
            scale,
            table: Sparse::of(start(degree + 1), &rows),
            transposed: Sparse::of(rows.len(), &columns),
            weights: Vec::new(),
            amplification: Vec::new(),
        };
        for l in 0..p.radial.len() {
            let (weights, amplification) = weights(p, l)?;
            basis.weights.push(weights);
            basis.amplification.push(amplification);
        }
        Ok(basis)
    }

    /// F.
    pub fn width(&self) -> usize {
        self.radial.iter().enumerate().map(|(l, n)| (2 * l + 1) * n).sum()
    }

    /// Number of moments.
    pub fn monomials(&self) -> usize {
        start(self.degree + 1)
    }
}

/// W_l and the square root of the condition of S_l.
fn weights(p: &Parameters, l: usize) -> Result<(Vec<f64>, f64)> {
    let n = p.radial[l];
    let unit = Wide::of(p.unit);
    if !p.normalize {
        let diagonal = |k: usize| unit.powi((l + 2 * (k / n)) as i32).to_f64();
        return Ok(((0..n * n).map(|k| if k / n == k % n { diagonal(k) } else { 0.0 }).collect(), 1.0));
    }
    let gamma: Vec<Wide> = (0..=2 * n).map(|k| Wide::gamma_half(l + k + 1)).collect();
    let overlap = |i: usize, j: usize| match p.kind {
        Radial::Gto => gamma[i + j] / (gamma[2 * i] * gamma[2 * j]).sqrt(),
        Radial::Monomial => {
            let odd = |i: usize| (2 * (l + 2 * i) + 3) as u64;
            Wide::whole(odd(i) * odd(j)).sqrt() / Wide::whole((2 * (l + i + j) + 3) as u64)
        }
    };
    let named = |e: Error| match e {
        Error::Value(text) => Error::Value(format!("{text} at l = {l} with {n} functions")),
        other => other,
    };
    let root = inverse_sqrt(n, overlap, p.rcond).map_err(named)?;
    // NaN fails too.
    if root.residual.partial_cmp(&p.tolerance).is_none_or(|o| o.is_gt()) {
        let rule = format!("at least the residual of the {} dropped functions of l = {l}", root.dropped);
        return Err(Error::value("basis_tol", &rule, format!("{:e} for {:e}", p.tolerance, root.residual)));
    }
    // N_k r^k = s^{-3/2} N_k(1) (r / s)^k.
    let volume = (unit * unit * unit).rsqrt();
    let norm = |i: usize| match p.kind {
        Radial::Gto => (Wide::whole(2) / gamma[2 * i]).sqrt() * volume,
        Radial::Monomial => Wide::whole((2 * (l + 2 * i) + 3) as u64).sqrt() * volume,
    };
    Ok((root.rounded(norm), root.condition().sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis(kind: Radial, radial: Vec<usize>) -> Basis {
        Basis::new(&Parameters { kind, radial, unit: 1.0, rcond: 0.0, tolerance: 1e-8, normalize: true }).unwrap()
    }

    #[test]
    fn one_function_is_its_norm() {
        // Integral of r^2 exp(-r^2) is sqrt(pi) / 4, of r^2 up to 1 is 1/3.
        let gto = basis(Radial::Gto, vec![1]);
        assert!((gto.weights[0][0] - (4.0 / std::f64::consts::PI.sqrt()).sqrt()).abs() < 1e-15);
        assert_eq!(basis(Radial::Monomial, vec![1]).weights[0][0], 3f64.sqrt());
    }

    #[test]
    fn functions_are_orthonormal_under_the_overlap() {
        // W^T (integrals of r^{i + j + 2} exp(-r^2)) W = 1, in f64 for a basis that is well enough conditioned.
        let (l, n) = (2, 4);
        let b = basis(Radial::Gto, vec![1, 1, n]);
        let w = &b.weights[l];
        let gamma = |i: usize, j: usize| Wide::gamma_half(l + i + j + 1).to_f64() / 2.0;
        for p in 0..n {
            for q in 0..n {
                let mut sum = 0.0;
                for i in 0..n {
                    for j in 0..n {
                        sum += w[i * n + p] * gamma(i, j) * w[j * n + q];
                    }
                }
                let wanted = if p == q { 1.0 } else { 0.0 };
                assert!((sum - wanted).abs() < 1e-11, "{p} {q} {sum}");
            }
        }
    }

    #[test]
    fn a_basis_that_cannot_be_is_refused_with_its_l() {
        let p =
            Parameters { kind: Radial::Gto, radial: vec![40], unit: 1.0, rcond: 0.0, tolerance: 1e-8, normalize: true };
        let message = Basis::new(&p).unwrap_err().to_string();
        assert!(message.ends_with("got 40 functions at l = 0"), "{message}");
        let dropped = Parameters { radial: vec![9], rcond: 1e-3, ..p };
        let message = Basis::new(&dropped).unwrap_err().to_string();
        assert!(message.starts_with("`basis_tol` must be at least the residual of the"), "{message}");
    }
}
