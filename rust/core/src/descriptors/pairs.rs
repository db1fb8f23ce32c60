//! Directed pairs of a call, grouped by (centre, species column), and the sums of what pairs send back to atoms.
//!
//! A pair p of centre i has the vector r = x_target - x_i + shift @ cell. Pairs stand in the order (centre, column, target,
//! shift), so every sum over them has one order, whatever the number of threads.

use rayon::prelude::*;

use crate::basis::lanes::Simd;
use crate::edges::memory::Buffer;
use crate::edges::{Keep, List, Options, Systems, search};
use crate::error::{Error, Result};
use crate::pool;
use crate::real::Real;

/// Rows after the last vector, so that a whole group of lanes may be read from any pair on.
pub const PADDING: usize = 8;
/// Centres of one task. Fixed: sums over a task do not depend on the number of threads.
pub const TASK: usize = 32;
const PAIR_NS: usize = 6;

/// Which pairs.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// [N]: species column of each row, or -1 for a row that is a centre only (a point in space).
    pub column: &'a [i32],
    /// S.
    pub columns: usize,
    /// Angstrom.
    pub cutoff: f64,
    /// Whether a pair at the cutoff counts (to the last bit of its distance as rounded).
    pub inclusive: bool,
    /// With the pair (i, i, shift 0) of each centre.
    pub self_pair: bool,
    /// Rows that are centres; `None`: all of them.
    pub centers: Option<&'a [u32]>,
}

/// P pairs of C centres.
pub struct Pairs<T: Copy> {
    /// S.
    pub columns: usize,
    /// [C], rows of the positions.
    pub center: Vec<u32>,
    /// [C].
    pub system: Vec<u32>,
    /// [C S + 1]: centre c has with column a the pairs ptr[c S + a]..ptr[c S + a + 1].
    pub ptr: Vec<usize>,
    /// [P], rows of the positions.
    pub target: Vec<u32>,
    /// [P + PADDING, 3], Angstrom.
    pub vector: Buffer<T>,
    /// [P], the edge that a pair is; empty where they are the same.
    edge: Vec<u32>,
    shift: Buffer<i32>,
    /// B.
    systems: usize,
    /// N.
    rows: usize,
}

/// The species column of each atom; the number 0 is a row that is a centre only and has none.
pub fn columns_of(numbers: &[u8], species: &[u8]) -> Result<Vec<i32>> {
    let mut table = [-2i32; 256];
    table[0] = -1;
    for (a, &z) in species.iter().enumerate() {
        table[z as usize] = a as i32;
    }
    let columns: Vec<i32> = numbers.iter().map(|&z| table[z as usize]).collect();
    match columns.iter().position(|&c| c == -2) {
        None => Ok(columns),
        Some(row) => {
            let listed: Vec<String> = species.iter().map(u8::to_string).collect();
            let rule = format!("of the species {}", listed.join(", "));
            Err(Error::value("numbers", &rule, format!("{} in row {row}", numbers[row])))
        }
    }
}

/// Consecutive centres.
type Centers = std::ops::Range<usize>;
/// A task with its part of `ptr`, targets, edges and vectors.
type Part<'a, T> = ((&'a Centers, &'a mut [usize]), (&'a mut [u32], (&'a mut [u32], &'a mut [T])));

/// Centres in tasks: consecutive ranges of `TASK`.
pub fn tasks(centers: usize) -> Vec<std::ops::Range<usize>> {
    (0..centers).step_by(TASK).map(|c| c..(c + TASK).min(centers)).collect()
}

/// `data` cut at `ends`, which ascend to its length.
pub fn cut<T>(mut data: &mut [T], ends: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut from = 0;
    ends.map(|end| {
        let (head, tail) = std::mem::take(&mut data).split_at_mut(end - from);
        (data, from) = (tail, end);
        head
    })
    .collect()
}

impl<T: Real> Pairs<T> {
    /// Finds the neighbours and groups them. `interrupted` is asked between parts of the search.
    pub fn new(
        systems: &Systems<T>,
        request: &Request,
        portable: bool,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        let rows = systems.positions.len() / 3;
        let keep = if request.self_pair { Keep::WithSelf } else { Keep::Full };
        let mut options = Options { keep, portable, ..Options::new(request.cutoff) };
        if request.inclusive {
            options.cutoff = request.cutoff * (1.0 + 1e-6);
        }
        let list = search(systems, &options, interrupted)?;
        let center = match request.centers {
            Some(rows) => rows.to_vec(),
            None => (0..rows as u32).collect::<Vec<_>>(),
        };
        let mut of_row = vec![0u32; rows];
        for (b, w) in systems.offsets.windows(2).enumerate() {
            of_row[w[0] as usize..w[1] as usize].fill(b as u32);
        }
        let system = center.iter().map(|&i| of_row[i as usize]).collect();
        let mut pairs = Pairs {
            columns: request.columns,
            center,
            system,
            ptr: Vec::new(),
            target: Vec::new(),
            vector: Buffer::default(),
            edge: Vec::new(),
            shift: Buffer::default(),
            systems: systems.offsets.len() - 1,
            rows,
        };
        pairs.group(list, request)?;
        Ok(pairs)
    }

    fn group(&mut self, mut list: List<T>, request: &Request) -> Result<()> {
        let s = self.columns;
        // One comparison of the distance as the list has it: in f64 the sum of squares decides first.
        let limit = if request.inclusive { T::of(request.cutoff) } else { T::of(f64::INFINITY) };
        let column = request.column;
        let whole = column.iter().all(|&c| c >= 0) && list.distance.iter().all(|d| *d <= limit);
        if s == 1 && request.centers.is_none() && whole {
            // The list is already what is wanted.
            self.ptr = list.row_ptr.iter().map(|&p| p as usize).collect();
            self.target = list.target.iter().map(|&t| t as u32).collect();
            self.vector = std::mem::take(&mut list.vector);
            self.vector.extend_zeros(3 * PADDING)?;
            self.shift = list.shift;
            return Ok(());
        }
        let kept = |e: usize, target: usize| match whole || list.distance[e] <= limit {
            true => usize::try_from(column[target]).ok(),
            false => None,
        };
        let (targets, edges) = (&list.target[..], &list.row_ptr[..]);
        let edges = |c: u32| edges[c as usize] as usize..edges[c as usize + 1] as usize;
        let work = list.target.len() * PAIR_NS;
        let tasks = tasks(self.center.len());
        // Where the pairs of each centre begin.
        let mut first = vec![0; self.center.len() + 1];
        let counts = cut(&mut first[1..], tasks.iter().map(|t| t.end));
        let count = |(task, counts): (&Centers, &mut [usize])| {
            for (&c, count) in self.center[task.clone()].iter().zip(counts) {
                let own = edges(c);
                *count = match whole {
                    true => own.len(),
                    false => own.filter(|&e| kept(e, targets[e] as usize).is_some()).count(),
                };
            }
        };
        pool::run(work, |threads| match threads {
            1 => tasks.iter().zip(counts).for_each(count),
            _ => tasks.par_iter().zip(counts).for_each(count),
        });
        for k in 1..first.len() {
            first[k] += first[k - 1];
        }
        let total = first[first.len() - 1];
        self.ptr = vec![0; self.center.len() * s + 1];
        self.target = vec![0; total];
        self.edge = vec![0; total];
        self.vector = Buffer::numbers(3 * (total + PADDING))?;
        self.vector[3 * total..].fill(T::ZERO);
        let at = |width: usize| tasks.iter().map(|t| first[t.end] * width).collect::<Vec<_>>().into_iter();
        let places = cut(&mut self.ptr[1..], tasks.iter().map(|t| t.end * s));
        let (parts, numbers) = (cut(&mut self.target, at(1)), cut(&mut self.edge, at(1)));
        let vectors = cut(&mut self.vector, at(3));
        let center = &self.center[..];
        let fill = |((task, places), (to, (numbers, vectors))): Part<'_, T>| {
            let base = first[task.start];
            for (c, next) in task.clone().zip(places.chunks_exact_mut(s.max(1))) {
                let own = edges(center[c]);
                let (targets, vector) = (&targets[own.clone()], &list.vector[3 * own.start..3 * own.end]);
                for (e, &target) in own.clone().zip(targets) {
                    if let Some(a) = kept(e, target as usize) {
                        next[a] += 1;
                    }
                }
                let mut start = first[c] - base;
                for next in &mut *next {
                    start += std::mem::replace(next, start);
                }
                for ((e, &target), vector) in own.zip(targets).zip(vector.chunks_exact(3)) {
                    let Some(a) = kept(e, target as usize) else { continue };
                    let k = next[a];
                    next[a] += 1;
                    (to[k], numbers[k]) = (target as u32, e as u32);
                    let row = &mut vectors[3 * k..3 * k + 3];
                    (row[0], row[1], row[2]) = (vector[0], vector[1], vector[2]);
                }
                // Each place has come to the end of its group.
                next.iter_mut().for_each(|next| *next += base);
            }
        };
        let parts = parts.into_iter().zip(numbers.into_iter().zip(vectors));
        pool::run(work, |threads| match threads {
            1 => tasks.iter().zip(places).zip(parts).for_each(fill),
            _ => {
                let items: Vec<_> = tasks.iter().zip(places).zip(parts).collect();
                items.into_par_iter().for_each(fill);
            }
        });
        self.shift = list.shift;
        Ok(())
    }

    /// P.
    pub fn len(&self) -> usize {
        self.target.len()
    }

    pub fn is_empty(&self) -> bool {
        self.target.is_empty()
    }

    /// C.
    pub fn centers(&self) -> usize {
        self.center.len()
    }

    /// Pairs of centre c with column a.
    #[inline(always)]
    pub fn group_of(&self, c: usize, a: usize) -> std::ops::Range<usize> {
        self.ptr[c * self.columns + a]..self.ptr[c * self.columns + a + 1]
    }

    /// All pairs of centre c.
    #[inline(always)]
    pub fn pairs_of(&self, c: usize) -> std::ops::Range<usize> {
        self.ptr[c * self.columns]..self.ptr[(c + 1) * self.columns]
    }

    /// Whether the pair's shift is 0.
    pub fn is_home(&self, pair: usize) -> bool {
        self.shift_of(pair) == [0; 3]
    }

    pub fn shift_of(&self, pair: usize) -> [i32; 3] {
        let e = self.edge.get(pair).map_or(pair, |&e| e as usize);
        [self.shift[3 * e], self.shift[3 * e + 1], self.shift[3 * e + 2]]
    }

    /// grad_x [N, 3] of what each pair sends: `x` [P, 3] is dE/dr, and r = x_target - x_center. Without `attached` a
    /// centre is a point that stays where it is.
    pub fn to_positions(&self, x: &[T], attached: bool) -> Vec<T> {
        let mut own = vec![[T::ZERO; 3]; self.rows];
        if attached {
            for c in 0..self.centers() {
                let o = &mut own[self.center[c] as usize];
                for p in self.pairs_of(c) {
                    for k in 0..3 {
                        o[k] += -x[3 * p + k];
                    }
                }
            }
        }
        // Pairs by target, in the order of pairs.
        let mut start = vec![0u32; self.rows + 1];
        for &t in &self.target {
            start[t as usize + 1] += 1;
        }
        for i in 0..self.rows {
            start[i + 1] += start[i];
        }
        let mut next = start.clone();
        let mut by_target = vec![0u32; self.len()];
        for (p, &t) in self.target.iter().enumerate() {
            by_target[next[t as usize] as usize] = p as u32;
            next[t as usize] += 1;
        }
        let mut out = vec![T::ZERO; 3 * self.rows];
        pool::for_each_row(&mut out, 3, 60, |i, out| {
            out.copy_from_slice(&own[i]);
            for &p in &by_target[start[i] as usize..start[i + 1] as usize] {
                for k in 0..3 {
                    out[k] += x[3 * p as usize + k];
                }
            }
        });
        out
    }

    /// grad_cell [B, 3, 3] with Cartesian positions fixed, sum of shift_k x, and grad_strain [B, 3, 3], sum of r_a x_b, in
    /// f64: centres are added in their order.
    pub fn to_cells(&self, x: &[T]) -> (Vec<T>, Vec<T>) {
        let (mut cell, mut strain) = (vec![0.0f64; 9 * self.systems], vec![0.0f64; 9 * self.systems]);
        for c in 0..self.centers() {
            let b = self.system[c] as usize;
            let (cell, strain) = (&mut cell[9 * b..9 * b + 9], &mut strain[9 * b..9 * b + 9]);
            for p in self.pairs_of(c) {
                let shift = self.shift_of(p);
                for k in 0..3 {
                    let r = self.vector[3 * p + k].to_f64();
                    for j in 0..3 {
                        let x = x[3 * p + j].to_f64();
                        cell[3 * k + j] += f64::from(shift[k]) * x;
                        strain[3 * k + j] += r * x;
                    }
                }
            }
        }
        let cast = |v: Vec<f64>| v.into_iter().map(T::of).collect();
        (cast(cell), cast(strain))
    }

    /// The change of each pair's vector, [P + PADDING, 3], under changes of positions [N, 3], cells and strains [B, 3, 3]:
    /// the transpose of [`Pairs::to_positions`] and [`Pairs::to_cells`].
    pub fn tangents(&self, position: Option<&[T]>, attached: bool, cell: Option<&[T]>, strain: Option<&[T]>) -> Vec<T> {
        let mut out = vec![T::ZERO; 3 * (self.len() + PADDING)];
        for c in 0..self.centers() {
            let (i, b) = (self.center[c] as usize, self.system[c] as usize);
            for p in self.pairs_of(c) {
                let u = &mut out[3 * p..3 * p + 3];
                if let Some(d) = position {
                    let t = self.target[p] as usize;
                    for k in 0..3 {
                        u[k] = d[3 * t + k] - if attached { d[3 * i + k] } else { T::ZERO };
                    }
                }
                let shift = self.shift_of(p);
                for j in 0..3 {
                    for k in 0..3 {
                        if let Some(d) = cell {
                            u[k] += T::of(f64::from(shift[j])) * d[9 * b + 3 * j + k];
                        }
                        if let Some(d) = strain {
                            u[k] += self.vector[3 * p + j] * d[9 * b + 3 * j + k];
                        }
                    }
                }
            }
        }
        out
    }
}

/// Runs `task(range of centres, its pairs' rows of x)` for all tasks, in parallel where it pays; `x` is [P, width].
pub fn for_each_task<T: Simd, F>(pairs: &Pairs<T>, x: &mut [T], width: usize, work_ns: usize, task: F)
where
    F: Fn(std::ops::Range<usize>, &mut [T]) + Sync + Send,
{
    let (tasks, s) = (tasks(pairs.centers()), pairs.columns);
    let rows = cut(x, tasks.iter().map(|t| pairs.ptr[t.end * s] * width));
    pool::run(work_ns, |threads| match threads {
        1 => tasks.into_iter().zip(rows).for_each(|(t, x)| task(t, x)),
        _ => tasks.into_par_iter().zip(rows).for_each(|(t, x)| task(t, x)),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(self_pair: bool, inclusive: bool, centers: Option<&[u32]>) -> Pairs<f64> {
        let positions = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0];
        let (offsets, cell) = ([0, 3], [3.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 9.0]);
        let systems = Systems { positions: &positions, offsets: &offsets, cell: &cell, pbc: &[true, false, false] };
        let column = columns_of(&[8, 1, 1], &[1, 8]).unwrap();
        let request = Request { column: &column, columns: 2, cutoff: 2.0, inclusive, self_pair, centers };
        Pairs::new(&systems, &request, false, &mut || false).unwrap()
    }

    #[test]
    fn pairs_are_grouped_by_centre_and_species() {
        let p = pairs(false, false, None);
        assert_eq!((p.ptr.clone(), p.target.clone()), (vec![0, 1, 1, 1, 2, 2, 2], vec![1, 0]));
        let p = pairs(true, true, None);
        // Hydrogen at 1 and at 2 Angstrom (both images), then the oxygen itself.
        assert_eq!((p.group_of(0, 0), p.group_of(0, 1)), (0..3, 3..4));
        assert_eq!((p.target[..4].to_vec(), p.vector[..3].to_vec()), (vec![1, 1, 2, 0], vec![-2.0, 0.0, 0.0]));
        let p = pairs(true, true, Some(&[2]));
        assert_eq!((p.ptr.clone(), p.target.clone(), p.system), (vec![0, 1, 2], vec![2, 0], vec![0]));
    }

    #[test]
    fn sums_to_atoms_are_the_transpose_of_tangents() {
        let p = pairs(true, true, None);
        let value = |i: usize| ((i * i + 3 * i) % 11) as f64 - 5.0;
        let x: Vec<f64> = (0..3 * p.len()).map(value).collect();
        let (d, h, e): (Vec<f64>, Vec<f64>, Vec<f64>) = (
            (0..9).map(|i| value(i + 1)).collect(),
            (0..9).map(|i| value(i + 5)).collect(),
            (0..9).map(value).collect(),
        );
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for attached in [true, false] {
            let u = p.tangents(Some(&d), attached, Some(&h), Some(&e));
            let (cell, strain) = p.to_cells(&x);
            let back = dot(&p.to_positions(&x, attached), &d) + dot(&cell, &h) + dot(&strain, &e);
            assert!((dot(&u, &x) - back).abs() < 1e-9);
        }
    }

    #[test]
    fn an_atom_of_another_species_is_named_by_its_row() {
        let message = columns_of(&[1, 6], &[1, 8]).unwrap_err().to_string();
        assert_eq!(message, "`numbers` must be of the species 1, 8, got 6 in row 1");
    }
}
