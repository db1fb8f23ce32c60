//! Symmetric orthonormalisation of an ill-conditioned basis: S^{-1/2} of its overlap matrix (Loewdin, J. Chem. Phys.
//! 18, 365, 1950), in numbers of 256 bits, rounded once.

use super::extended::Wide;
use crate::error::{Error, Result};

/// S^{-1/2} and what is to be known of S.
#[derive(Clone, Debug)]
pub struct Root {
    pub n: usize,
    /// S^{-1/2}, [n, n], symmetric; of the kept eigenvalues alone where some were dropped.
    pub root: Vec<Wide>,
    /// Of S, ascending, dropped ones too.
    pub eigenvalues: Vec<f64>,
    /// Eigenvalues that were dropped.
    pub dropped: usize,
    /// ||S - (X X)^+||_F with X the root: zero but for what was dropped.
    pub residual: f64,
}

impl Root {
    /// Largest by smallest eigenvalue of those kept.
    pub fn condition(&self) -> f64 {
        match &self.eigenvalues[self.dropped.min(self.n)..] {
            [first, .., last] => last / first,
            _ => 1.0,
        }
    }

    /// The root as f64, [n, n], with row i times `scale(i)` before the one rounding.
    pub fn rounded(&self, scale: impl Fn(usize) -> Wide) -> Vec<f64> {
        (0..self.n * self.n).map(|k| (self.root[k] * scale(k / self.n)).to_f64()).collect()
    }
}

/// The inverse square root of the symmetric positive matrix `overlap` [n, n], by Jacobi's rotations.
///
/// Eigenvalues at or below `drop` (0 keeps all) are left out. Raises if one of them is then not positive: the functions
/// are linearly dependent even to 77 digits.
pub fn inverse_sqrt(n: usize, overlap: impl Fn(usize, usize) -> Wide, drop: f64) -> Result<Root> {
    let mut s = vec![Wide::ZERO; n * n];
    let mut v = vec![Wide::ZERO; n * n];
    for i in 0..n {
        v[i * n + i] = Wide::ONE;
        for j in 0..=i {
            s[i * n + j] = overlap(i, j);
            s[j * n + i] = s[i * n + j];
        }
    }
    // Cyclic sweeps; the convergence is quadratic, a dozen of them are enough for any matrix that is used.
    for _ in 0..64 {
        if !sweep(n, &mut s, &mut v) {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| s[a * n + a].partial_cmp(&s[b * n + b]).unwrap_or(std::cmp::Ordering::Equal));
    let eigenvalues: Vec<f64> = order.iter().map(|&k| s[k * n + k].to_f64()).collect();
    let dropped = if drop > 0.0 { eigenvalues.iter().filter(|&&e| e <= drop).count() } else { 0 };
    let mut root = vec![Wide::ZERO; n * n];
    let mut lost = 0.0;
    for (place, &k) in order.iter().enumerate() {
        let eigenvalue = s[k * n + k];
        if place < dropped {
            lost += eigenvalues[place] * eigenvalues[place];
            continue;
        }
        if !eigenvalue.is_positive() || eigenvalues[place] < 1e-60 * eigenvalues[n - 1] {
            let rule = "of linearly independent functions (fewer of them, or eigenvalues dropped by `basis_rcond`)";
            return Err(Error::value("basis", rule, format!("an overlap eigenvalue of {:e}", eigenvalues[place])));
        }
        let weight = eigenvalue.rsqrt();
        for i in 0..n {
            let left = v[i * n + k] * weight;
            for j in 0..n {
                root[i * n + j] = root[i * n + j] + left * v[j * n + k];
            }
        }
    }
    Ok(Root { n, root, eigenvalues, dropped, residual: lost.sqrt() })
}

/// Rotates away every off-diagonal element once; whether any was worth it.
fn sweep(n: usize, s: &mut [Wide], v: &mut [Wide]) -> bool {
    let mut rotated = false;
    for p in 0..n {
        for q in p + 1..n {
            let (pp, qq, pq) = (s[p * n + p], s[q * n + q], s[p * n + q]);
            // Relative to both diagonal elements, so that small eigenvalues come out as exact as large ones.
            if pq.is_zero() || (pq * pq).abs() < (pp * qq).abs().scaled(-440) {
                continue;
            }
            rotated = true;
            let theta = (qq - pp) / pq.scaled(1);
            let root = (theta * theta + Wide::ONE).sqrt();
            let t = if theta < Wide::ZERO { -(root - theta).recip() } else { (root + theta).recip() };
            let c = (t * t + Wide::ONE).rsqrt();
            let sine = t * c;
            for k in 0..n {
                let (a, b) = (s[k * n + p], s[k * n + q]);
                s[k * n + p] = c * a - sine * b;
                s[k * n + q] = sine * a + c * b;
            }
            for k in 0..n {
                let (a, b) = (s[p * n + k], s[q * n + k]);
                s[p * n + k] = c * a - sine * b;
                s[q * n + k] = sine * a + c * b;
                let (a, b) = (v[k * n + p], v[k * n + q]);
                v[k * n + p] = c * a - sine * b;
                v[k * n + q] = sine * a + c * b;
            }
            s[p * n + q] = Wide::ZERO;
            s[q * n + p] = Wide::ZERO;
        }
    }
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Overlap of r^k on [0, 1], as ill conditioned as Hilbert's matrix.
    fn monomial(i: usize, j: usize) -> Wide {
        Wide::whole((4 * i as u64 + 3) * (4 * j as u64 + 3)).sqrt() / Wide::whole(2 * (i + j) as u64 + 3)
    }

    #[test]
    fn the_root_of_a_diagonal_and_of_a_two_by_two_matrix_is_exact() {
        let root = inverse_sqrt(3, |i, j| if i == j { Wide::whole([4, 16, 25][i]) } else { Wide::ZERO }, 0.0).unwrap();
        assert_eq!(root.rounded(|_| Wide::ONE), [0.5, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.2]);
        // Eigenvalues 1 and 4: S = [[5, 3], [3, 5]] / 2.
        let root = inverse_sqrt(2, |i, j| Wide::ratio(if i == j { 5 } else { 3 }, 2), 0.0).unwrap();
        assert_eq!(root.rounded(|_| Wide::ONE), [0.75, -0.25, -0.25, 0.75]);
        assert_eq!(root.condition(), 4.0);
    }

    #[test]
    fn the_root_squared_is_the_inverse_at_condition_1e28() {
        let n = 20;
        let root = inverse_sqrt(n, monomial, 0.0).unwrap();
        assert!(root.condition() > 1e27 && root.condition() < 1e30, "{:e}", root.condition());
        for i in 0..n {
            for j in 0..n {
                // X S X = 1.
                let mut sum = Wide::ZERO;
                for a in 0..n {
                    for b in 0..n {
                        sum = sum + root.root[i * n + a] * monomial(a, b) * root.root[b * n + j];
                    }
                }
                let wanted = if i == j { Wide::ONE } else { Wide::ZERO };
                assert!((sum - wanted).abs().to_f64() < 1e-40);
            }
        }
    }

    #[test]
    fn dropped_eigenvalues_are_the_residual_and_dependent_functions_are_refused() {
        let all = inverse_sqrt(8, monomial, 0.0).unwrap();
        let some = inverse_sqrt(8, monomial, 1e-6).unwrap();
        let lost: f64 = all.eigenvalues.iter().filter(|&&e| e <= 1e-6).map(|e| e * e).sum();
        assert!(some.dropped > 0 && (some.residual - lost.sqrt()).abs() < 1e-20);
        let error = inverse_sqrt(2, |_, _| Wide::ONE, 0.0).unwrap_err().to_string();
        assert!(error.starts_with("`basis` must be of linearly independent functions"), "{error}");
        assert_eq!(inverse_sqrt(0, |_, _| Wide::ONE, 0.0).unwrap().condition(), 1.0);
    }
}
