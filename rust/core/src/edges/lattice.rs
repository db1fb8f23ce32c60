//! The cell of one system: completed along open directions, inverted, and reduced where it is badly skewed.

use crate::error::{Error, Result};

pub type Mat3 = [[f64; 3]; 3];

const IDENTITY: [[i64; 3]; 3] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
/// A reduced cell is used where it cuts the number of images by more than this factor.
const REDUCE_BELOW: f64 = 0.8;

pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn norm(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

fn scaled(a: [f64; 3], s: f64) -> [f64; 3] {
    a.map(|x| x * s)
}

/// det of the matrix with these rows.
pub fn det(m: &Mat3) -> f64 {
    dot(m[0], cross(m[1], m[2]))
}

/// x @ m, for a row vector x.
#[inline(always)]
pub fn row_times(x: [f64; 3], m: &Mat3) -> [f64; 3] {
    std::array::from_fn(|c| x[0] * m[0][c] + x[1] * m[1][c] + x[2] * m[2][c])
}

/// Inverse by cofactors; the columns are the reciprocal vectors.
fn inverse(m: &Mat3) -> Mat3 {
    let inv = 1.0 / det(m);
    let columns = [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])];
    std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r] * inv))
}

/// One system's lattice, as the search needs it.
#[derive(Clone, Debug)]
pub struct Lattice {
    /// The caller's cell: every shift that leaves the search refers to it.
    pub cell: Mat3,
    pub pbc: [bool; 3],
    /// Rows that span the same lattice, completed by unit vectors orthogonal to the periodic ones.
    pub completed: Mat3,
    pub inverse: Mat3,
    /// Distance of the lattice planes along each direction, 1 / |column of the inverse|.
    pub spacing: [f64; 3],
    /// Shifts of the caller's cell = shifts of the completed cell @ this matrix. `None` is the identity.
    pub unimodular: Option<[[i64; 3]; 3]>,
}

impl Default for Lattice {
    fn default() -> Self {
        let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Lattice { cell: unit, pbc: [false; 3], completed: unit, inverse: unit, spacing: [1.0; 3], unimodular: None }
    }
}

impl Lattice {
    /// Completes and inverts `cell` (rows are vectors), and reduces it if that saves images within `cutoff`.
    /// `system` is named in the error for a singular cell.
    pub fn new(cell: &Mat3, pbc: [bool; 3], cutoff: f64, system: usize) -> Result<Self> {
        if pbc == [false; 3] {
            return Ok(Lattice { cell: *cell, ..Lattice::default() });
        }
        for a in 0..3 {
            if pbc[a] && !cell[a].iter().all(|x| x.is_finite()) {
                return Err(Error::value(
                    "cell",
                    "finite",
                    format!("{:?} in direction {a} of system {system}", cell[a]),
                ));
            }
        }
        let completed = complete(cell, pbc);
        let length: f64 = (0..3).filter(|&a| pbc[a]).map(|a| norm(cell[a])).product();
        let volume = det(&completed).abs();
        if !(length > 0.0 && volume > 1e-10 * length) {
            return Err(singular(cell, pbc, system));
        }
        let given = Lattice { cell: *cell, pbc, ..Lattice::default() }.with_rows(completed, None);
        // Two plane spacings that differ much from the vector lengths are the sign of a skewed cell.
        let images =
            |l: &Lattice| (0..3).filter(|&a| pbc[a]).map(|a| 1.0 + 2.0 * cutoff / l.spacing[a]).product::<f64>();
        let Some(matrix) = reduction(cell, pbc) else { return Ok(given) };
        let mut rows = completed;
        for a in (0..3).filter(|&a| pbc[a]) {
            rows[a] = row_times(matrix[a].map(|m| m as f64), cell);
        }
        let reduced = given.clone().with_rows(rows, Some(matrix));
        Ok(if images(&reduced) < REDUCE_BELOW * images(&given) { reduced } else { given })
    }

    fn with_rows(mut self, rows: Mat3, unimodular: Option<[[i64; 3]; 3]>) -> Self {
        let inv = inverse(&rows);
        self.spacing = std::array::from_fn(|a| 1.0 / norm([inv[0][a], inv[1][a], inv[2][a]]));
        (self.completed, self.inverse, self.unimodular) = (rows, inv, unimodular);
        self
    }

    pub fn is_open(&self) -> bool {
        self.pbc == [false; 3]
    }

    /// |det| of the completed cell: the volume per lattice point where all three directions are periodic.
    pub fn volume(&self) -> f64 {
        det(&self.completed).abs()
    }

    /// A shift of the completed cell as a shift of the caller's cell.
    #[inline(always)]
    pub fn to_user(&self, s: [i64; 3]) -> [i64; 3] {
        match &self.unimodular {
            None => s,
            Some(u) => std::array::from_fn(|c| s[0] * u[0][c] + s[1] * u[1][c] + s[2] * u[2][c]),
        }
    }

    /// (S0 a0 + S1 a1) + S2 a2, in this order and without contraction: part of the rule that decides what an edge is.
    /// A direction that is not periodic takes no part, whatever its vector holds.
    #[inline(always)]
    pub fn offset(&self, s: [i32; 3]) -> [f64; 3] {
        let term = |a: usize, c: usize| if self.pbc[a] { f64::from(s[a]) * self.cell[a][c] } else { 0.0 };
        std::array::from_fn(|c| (term(0, c) + term(1, c)) + term(2, c))
    }
}

/// Rows of open directions become unit vectors orthogonal to the periodic rows and to each other. The caller's own
/// vectors there are never looked at: a zero or parallel one would make the cell singular.
fn complete(cell: &Mat3, pbc: [bool; 3]) -> Mat3 {
    let mut rows = *cell;
    let periodic: Vec<usize> = (0..3).filter(|&a| pbc[a]).collect();
    match periodic[..] {
        [a] => {
            let u = scaled(cell[a], 1.0 / norm(cell[a]));
            let k = (0..3).min_by(|&p, &q| u[p].abs().total_cmp(&u[q].abs())).unwrap_or(0);
            let mut e = [0.0; 3];
            e[k] = 1.0;
            let v = std::array::from_fn(|c| e[c] - dot(e, u) * u[c]);
            let v = scaled(v, 1.0 / norm(v));
            (rows[(a + 1) % 3], rows[(a + 2) % 3]) = (v, cross(u, v));
        }
        [a, b] => {
            let n = cross(cell[a], cell[b]);
            rows[3 - a - b] = scaled(n, 1.0 / norm(n));
        }
        _ => {}
    }
    rows
}

/// Integer matrix that makes the periodic rows short, by subtracting rows from each other while that shortens one.
fn reduction(cell: &Mat3, pbc: [bool; 3]) -> Option<[[i64; 3]; 3]> {
    let (mut rows, mut u, mut changed) = (*cell, IDENTITY, false);
    for _ in 0..200 {
        let mut step = false;
        for (a, b) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            if !(pbc[a] && pbc[b]) {
                continue;
            }
            let m = (dot(rows[a], rows[b]) / dot(rows[b], rows[b])).round();
            let shorter: [f64; 3] = std::array::from_fn(|c| rows[a][c] - m * rows[b][c]);
            if m.abs() < 1.0 || m.abs() > 1e6 || dot(shorter, shorter) > (1.0 - 1e-6) * dot(rows[a], rows[a]) {
                continue;
            }
            rows[a] = shorter;
            let subtracted = u[b].map(|x| m as i64 * x);
            u[a].iter_mut().zip(subtracted).for_each(|(x, y)| *x -= y);
            if u[a].iter().any(|x| x.abs() > 1 << 20) {
                return None;
            }
            (step, changed) = (true, true);
        }
        if !step {
            break;
        }
    }
    changed.then_some(u)
}

#[cold]
fn singular(cell: &Mat3, pbc: [bool; 3], system: usize) -> Error {
    let periodic: Vec<usize> = (0..3).filter(|&a| pbc[a]).collect();
    let zero = periodic.iter().find(|&&a| cell[a] == [0.0; 3]);
    let what = match zero {
        Some(a) => format!("a zero vector in direction {a}"),
        None => format!("linearly dependent vectors in directions {periodic:?}"),
    };
    let rule = "of independent vectors along periodic directions";
    Error::value("cell", rule, format!("{what} of system {system}: cell is singular along periodic directions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacings_are_distances_of_planes_and_not_lengths_of_vectors() {
        let l = Lattice::new(&[[6.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 8.0, 6.0]], [true; 3], 1e-3, 0).unwrap();
        assert!((l.spacing[2] - 6.0).abs() < 1e-12 && (l.volume() - 216.0).abs() < 1e-9);
    }

    #[test]
    fn a_skewed_cell_is_reduced_and_its_shifts_transform_back() {
        let cell = [[4.0, 0.0, 0.0], [11.3, 4.2, 0.0], [-9.1, 7.7, 3.9]];
        let l = Lattice::new(&cell, [true; 3], 4.0, 0).unwrap();
        assert!(l.unimodular.is_some() && (l.volume() - det(&cell).abs()).abs() < 1e-9);
        let s = [2, -1, 3];
        let there = row_times(s.map(|x| x as f64), &l.completed);
        let user = l.to_user(s).map(|x| x as i32);
        let back = l.offset(user);
        assert!((0..3).all(|c| (there[c] - back[c]).abs() < 1e-9));
    }

    #[test]
    fn vectors_of_open_directions_do_not_matter() {
        let with =
            |c: [f64; 3]| Lattice::new(&[[5.0, 0.0, 0.0], [1.0, 5.0, 0.0], c], [true, true, false], 3.0, 0).unwrap();
        let (a, b) = (with([0.0; 3]), with([5.0, 1e-9, 0.0]));
        assert_eq!((a.completed, a.spacing), (b.completed, b.spacing));
    }

    #[test]
    fn a_singular_cell_names_its_direction() {
        let e = Lattice::new(&[[5.0, 0.0, 0.0], [0.0; 3], [0.0, 0.0, 5.0]], [true; 3], 3.0, 7).unwrap_err().to_string();
        assert!(e.contains("direction 1 of system 7") && e.contains("singular along periodic directions"), "{e}");
    }
}
