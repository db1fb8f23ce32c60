//! Shapes of particles: what the kernels need of each orientation and its semiaxes, and the way back.
//!
//! Sigma = R diag(sigma^2) R^T, in the unit s. For Gaussian-type functions G = (1 + Sigma)^{-1} (it is both the map from r to
//! the mean and the matrix of the exponent), C = G Sigma, prefactor det(G)^{1/2}; for monomials G = 1, C = Sigma. Nothing is
//! divided by a semiaxis, so a disc, a needle and a point are shapes like any other.

use super::basis::Radial;
use crate::error::{Error, Result};
use crate::real::Real;

/// Symmetric, xx xy xz yy yz zz.
pub type Sym = [f64; 6];
pub type Mat = [[f64; 3]; 3];

/// Values of a row of [`Shapes::rows`]: G, C, prefactor, and zeros up to a whole cache line of f32.
pub const ROW: usize = 16;

/// Shapes of N particles.
#[derive(Clone, Debug)]
pub struct Shapes<T> {
    /// [N, ROW].
    pub rows: Vec<T>,
    /// [N]: whether C is a multiple of the unit matrix.
    pub sphere: Vec<bool>,
}

/// What orientations are given as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Orientation {
    /// [N, 4], w x y z, of any norm.
    Quaternion,
    /// [N, 3, 3], columns are the body axes.
    Matrix,
}

pub fn full(s: &Sym) -> Mat {
    [[s[0], s[1], s[2]], [s[1], s[3], s[4]], [s[2], s[4], s[5]]]
}

fn sym(m: &Mat) -> Sym {
    [m[0][0], 0.5 * (m[0][1] + m[1][0]), 0.5 * (m[0][2] + m[2][0]), m[1][1], 0.5 * (m[1][2] + m[2][1]), m[2][2]]
}

pub fn product(a: &Mat, b: &Mat) -> Mat {
    let mut out = [[0.0; 3]; 3];
    for i in 0..3 {
        for j in 0..3 {
            out[i][j] = a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j];
        }
    }
    out
}

/// R diag(v) R^T.
fn rotated(r: &Mat, v: [f64; 3]) -> Sym {
    let at = |i: usize, j: usize| r[i][0] * v[0] * r[j][0] + r[i][1] * v[1] * r[j][1] + r[i][2] * v[2] * r[j][2];
    [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)]
}

/// The rotation matrix of a quaternion w x y z that is not zero; its columns are the body axes.
pub fn rotation(q: [f64; 4]) -> Mat {
    // Scaled first, so that the square of no number in range over- or underflows.
    let largest = q.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let q = [q[0] / largest, q[1] / largest, q[2] / largest, q[3] / largest];
    let f = 2.0 / (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    let [w, x, y, z] = q;
    [
        [1.0 - f * (y * y + z * z), f * (x * y - w * z), f * (x * z + w * y)],
        [f * (x * y + w * z), 1.0 - f * (x * x + z * z), f * (y * z - w * x)],
        [f * (x * z - w * y), f * (y * z + w * x), 1.0 - f * (x * x + y * y)],
    ]
}

/// The rotation matrices of N orientations, checked; errors name the row.
pub fn rotations(given: &[f64], kind: Orientation) -> Result<Vec<Mat>> {
    let at = |k: usize| given[k];
    match kind {
        Orientation::Quaternion => (0..given.len() / 4)
            .map(|i| {
                let q = [at(4 * i), at(4 * i + 1), at(4 * i + 2), at(4 * i + 3)];
                let norm = q[0].abs() + q[1].abs() + q[2].abs() + q[3].abs();
                match norm > 0.0 && norm.is_finite() {
                    true => Ok(rotation(q)),
                    false => {
                        let rule = "quaternions (w, x, y, z) that are finite and not zero";
                        Err(Error::value("orientation", rule, format!("{q:?} in row {i}")))
                    }
                }
            })
            .collect(),
        Orientation::Matrix => (0..given.len() / 9)
            .map(|i| {
                let mut r = [[0.0; 3]; 3];
                for k in 0..9 {
                    r[k / 3][k % 3] = at(9 * i + k);
                }
                let mut off = 0.0f64;
                for a in 0..3 {
                    for b in 0..3 {
                        let dot = r[0][a] * r[0][b] + r[1][a] * r[1][b] + r[2][a] * r[2][b];
                        let e = (dot - if a == b { 1.0 } else { 0.0 }).abs();
                        off = if e.is_nan() { f64::NAN } else { off.max(e) };
                        if off.is_nan() {
                            break;
                        }
                    }
                }
                match off <= 1e-6 {
                    true => Ok(r),
                    false => Err(Error::value(
                        "orientation",
                        "orthogonal matrices (columns are the body axes)",
                        format!("R^T R off by {off:.3e} in row {i}"),
                    )),
                }
            })
            .collect(),
    }
}

/// Semiaxes above this are a mistake, and their powers would leave the range of f32.
const LARGEST_SEMIAXIS: f64 = 1e6;

/// Refuses semiaxes [N, 3] that are negative, not finite or too large.
pub fn check_semiaxes(semiaxes: &[f64]) -> Result<()> {
    match semiaxes.iter().position(|&s| !(0.0..=LARGEST_SEMIAXIS).contains(&s)) {
        None => Ok(()),
        Some(k) => {
            let got = format!("{:?} in row {}, axis {}", semiaxes[k], k / 3, k % 3 + 1);
            Err(Error::value("semiaxes", "finite lengths in Angstrom, zero or more and at most 1e6", got))
        }
    }
}

impl<T: Real> Shapes<T> {
    fn of_parts(parts: impl Iterator<Item = (Sym, Sym, f64, bool)>) -> Self {
        let mut shapes = Shapes { rows: Vec::new(), sphere: Vec::new() };
        for (g, c, prefactor, sphere) in parts {
            let mut row = [T::ZERO; ROW];
            for k in 0..6 {
                row[k] = T::of(g[k]);
                row[6 + k] = T::of(c[k]);
            }
            row[12] = T::of(prefactor);
            shapes.rows.extend_from_slice(&row);
            shapes.sphere.push(sphere);
        }
        shapes
    }

    /// From rotations [N] and semiaxes [N, 3] in Angstrom.
    pub fn of_axes(kind: Radial, unit: f64, rotations: &[Mat], semiaxes: &[f64]) -> Self {
        Self::of_parts(rotations.iter().zip(semiaxes.chunks_exact(3)).map(|(r, s)| {
            let [a, b, c] = [s[0] / unit, s[1] / unit, s[2] / unit];
            let squares = [a * a, b * b, c * c];
            let sphere = s[0] == s[1] && s[1] == s[2];
            let turned = |v: [f64; 3]| if sphere { [v[0], 0.0, 0.0, v[0], 0.0, v[0]] } else { rotated(r, v) };
            match kind {
                Radial::Monomial => ([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], turned(squares), 1.0, sphere),
                Radial::Gto => {
                    let q = squares.map(|x| 1.0 + x);
                    let g = turned([1.0 / q[0], 1.0 / q[1], 1.0 / q[2]]);
                    let c = turned([squares[0] / q[0], squares[1] / q[1], squares[2] / q[2]]);
                    (g, c, 1.0 / (q[0] * q[1] * q[2]).sqrt(), sphere)
                }
            }
        }))
    }

    /// From matrices Sigma [N, 3, 3] in square Angstrom, of which the symmetric part counts.
    pub fn of_covariances(kind: Radial, unit: f64, covariance: &[f64]) -> Result<Self> {
        let scale = 1.0 / (unit * unit);
        let mut parts = Vec::with_capacity(covariance.len() / 9);
        for (i, m) in covariance.chunks_exact(9).enumerate() {
            let at = |a: usize, b: usize| m[3 * a + b] * scale;
            let matrix =
                [[at(0, 0), at(0, 1), at(0, 2)], [at(1, 0), at(1, 1), at(1, 2)], [at(2, 0), at(2, 1), at(2, 2)]];
            let c = sym(&matrix);
            let sphere = c[0] == c[3] && c[3] == c[5] && c[1] == 0.0 && c[2] == 0.0 && c[4] == 0.0;
            if kind == Radial::Monomial {
                parts.push(([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], c, 1.0, sphere));
                continue;
            }
            let q = [1.0 + c[0], c[1], c[2], 1.0 + c[3], c[4], 1.0 + c[5]];
            let minors = [
                q[3] * q[5] - q[4] * q[4],
                q[2] * q[4] - q[1] * q[5],
                q[1] * q[4] - q[2] * q[3],
                q[0] * q[5] - q[2] * q[2],
                q[1] * q[2] - q[0] * q[4],
                q[0] * q[3] - q[1] * q[1],
            ];
            let determinant = q[0] * minors[0] + q[1] * minors[1] + q[2] * minors[2];
            if !(determinant > 0.0 && determinant.is_finite()) {
                let rule = "such that width^2 + covariance is positive definite";
                return Err(Error::value("covariance", rule, format!("a determinant of {determinant:e} in row {i}")));
            }
            let g = minors.map(|x| x / determinant);
            let covariance = sym(&product(&full(&g), &full(&c)));
            parts.push((g, covariance, 1.0 / determinant.sqrt(), sphere));
        }
        Ok(Self::of_parts(parts.into_iter()))
    }

    pub fn len(&self) -> usize {
        self.sphere.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sphere.is_empty()
    }
}

/// dE/dSigma [N, 3, 3] in 1 / square Angstrom, symmetric, from the sums over pairs that the adjoint kernel leaves for
/// each particle, [N, 7]: e and B. For Gaussian-type functions 1/2 (G B G - e G), for monomials 1/2 B.
pub fn grad_covariance<T: Real>(kind: Radial, unit: f64, shapes: &Shapes<T>, sums: &[f64]) -> Vec<Sym> {
    let scale = 0.5 / (unit * unit);
    let of = |(row, sum): (&[T], &[f64])| -> Sym {
        let b = [sum[1], sum[2], sum[3], sum[4], sum[5], sum[6]];
        if kind == Radial::Monomial {
            return b.map(|x| scale * x);
        }
        let mut g = [0.0; 6];
        for k in 0..6 {
            g[k] = row[k].to_f64();
        }
        let m = full(&g);
        let turned = sym(&product(&product(&m, &full(&b)), &m));
        let mut y = [0.0; 6];
        for k in 0..6 {
            y[k] = scale * (turned[k] - sum[0] * g[k]);
        }
        y
    };
    shapes.rows.chunks_exact(ROW).zip(sums.chunks_exact(7)).map(of).collect()
}

/// (torque [N, 3], dE/dsigma [N, 3]) of rotations and semiaxes from dE/dSigma = Y:
/// tau_k = 2 eps_kpq (Sigma Y)_pq, dE/dsigma_k = 2 sigma_k (R^T Y R)_kk.
pub fn grad_axes<T: Real>(rotations: &[Mat], semiaxes: &[f64], grad: &[Sym]) -> (Vec<T>, Vec<T>) {
    let (mut torque, mut axes) = (Vec::with_capacity(3 * grad.len()), Vec::with_capacity(3 * grad.len()));
    for ((r, s), y) in rotations.iter().zip(semiaxes.chunks_exact(3)).zip(grad) {
        let y = full(y);
        // In the body frame, where a sphere has no torque to the last bit.
        let yr = product(&y, r);
        let mut body = [[0.0; 3]; 3];
        for a in 0..3 {
            for b in 0..3 {
                body[a][b] = r[0][a] * yr[0][b] + r[1][a] * yr[1][b] + r[2][a] * yr[2][b];
            }
        }
        let turn = |p: usize, q: usize| (s[p] * s[p] - s[q] * s[q]) * (body[p][q] + body[q][p]);
        let local = [turn(1, 2), turn(2, 0), turn(0, 1)];
        // An axial vector: an improper R turns it with the other sign.
        let det = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
            + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
        let sign = if det < 0.0 { -1.0 } else { 1.0 };
        for k in 0..3 {
            torque.push(T::of(sign * (r[k][0] * local[0] + r[k][1] * local[1] + r[k][2] * local[2])));
            axes.push(T::of(2.0 * s[k] * body[k][k]));
        }
    }
    (torque, axes)
}

/// dE/dq [N, 4] of quaternions as given from the torque: (2 / |q|^2) (-tau.u, w tau + tau x u), q = (w, u).
pub fn grad_quaternion<T: Real>(quaternions: &[f64], torque: &[T]) -> Vec<T> {
    let rows = quaternions.chunks_exact(4).zip(torque.chunks_exact(3));
    rows.flat_map(|(q, t)| {
        let [w, x, y, z] = [q[0], q[1], q[2], q[3]];
        let t = [t[0].to_f64(), t[1].to_f64(), t[2].to_f64()];
        let f = 2.0 / (w * w + x * x + y * y + z * z);
        [
            -f * (t[0] * x + t[1] * y + t[2] * z),
            f * (w * t[0] + t[1] * z - t[2] * y),
            f * (w * t[1] + t[2] * x - t[0] * z),
            f * (w * t[2] + t[0] * y - t[1] * x),
        ]
    })
    .map(T::of)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_and_covariances_give_the_same_shape() {
        let rotations = rotations(&[0.3, -1.2, 0.4, 2.0], Orientation::Quaternion).unwrap();
        let semiaxes = [0.4, 0.0, 1.1];
        let sigma = rotated(&rotations[0], semiaxes.map(|s| s * s));
        let flat: Vec<f64> = full(&sigma).into_iter().flatten().collect();
        for kind in [Radial::Gto, Radial::Monomial] {
            let a = Shapes::<f64>::of_axes(kind, 1.3, &rotations, &semiaxes);
            let b = Shapes::<f64>::of_covariances(kind, 1.3, &flat).unwrap();
            assert!(a.rows.iter().zip(&b.rows).all(|(x, y)| (x - y).abs() < 1e-14), "{a:?} {b:?}");
        }
    }

    #[test]
    fn bad_shapes_are_named_by_their_row() {
        let text = |r: Result<Vec<Mat>>| r.unwrap_err().to_string();
        let zero = text(rotations(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], Orientation::Quaternion));
        assert!(zero.ends_with("got [0.0, 0.0, 0.0, 0.0] in row 1"), "{zero}");
        let skew = text(rotations(&[1.0, 0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], Orientation::Matrix));
        assert!(skew.contains("R^T R off by 1.000e-1 in row 0"), "{skew}");
        assert!(rotations(&[f64::NAN; 9], Orientation::Matrix).is_err());
        let negative = check_semiaxes(&[1.0, 1.0, 1.0, 1.0, -0.5, 1.0]).unwrap_err().to_string();
        assert_eq!(
            negative,
            "`semiaxes` must be finite lengths in Angstrom, zero or more and at most 1e6, got -0.5 in row 1, axis 2"
        );
        assert!(check_semiaxes(&[f64::NAN; 3]).is_err() && check_semiaxes(&[0.0; 3]).is_ok());
    }
}
