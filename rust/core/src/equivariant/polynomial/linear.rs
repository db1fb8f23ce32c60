//! Linear maps of channels, out_o[w,m] += c sum_u W[u,w] x_i[u,m], as dense products over tiles of rows that share W.
//!
//! Rows are sorted by their W (a set per element); a tile of at most [`TILE`] rows is one product [rows, U] [U, V] for each path, on
//! the arrays as they lie where rows follow each other. Bound by the dense product: two flops a U V, row and path. Measured
//! (5,000 rows, 128 channels, f32): as fast as torch's products of dense matrices in layout "ir_mul", 0.84 to 0.97 of them in
//! "mul_ir", whose columns are strided.

use super::form::{Form, MODES, Term};
use super::rows::{Groups, Mode, PARTS, Rows, for_each_part};
use crate::basis::lanes::Simd;
use crate::equivariant::matmul::{Matrix, MatrixMut, matmul};

/// Most rows of one dense product.
const TILE: usize = 256;

/// Rows of a dense product for `count` of them: by a rule that the threads have no part in, so that sums have one order.
fn tile(count: usize) -> usize {
    count.div_ceil(4).next_multiple_of(8).clamp(32, TILE)
}

/// One dense block: rows of x times W[U, V].
#[derive(Debug)]
struct Block {
    /// U and V.
    sides: [usize; 2],
    /// Steps of W along u and v, of x along u, of out along v.
    w: [usize; 2],
    x: usize,
    out: usize,
    /// Offsets in W, x and out, with the coefficient.
    paths: Vec<([usize; 3], f64)>,
}

#[derive(Debug)]
pub struct Table {
    /// Operands W and x; the output is the last.
    w: usize,
    x: usize,
    sizes: [usize; 3],
    blocks: Vec<Block>,
    /// Flops of a row, roughly.
    cost: usize,
}

impl Table {
    /// None where the form is of another kind.
    pub fn recognize(form: &Form) -> Option<Table> {
        let operands = &form.terms.first()?.operands;
        if form.sizes.len() != 3 || operands.len() != 3 || operands[0] == operands[1] {
            return None;
        }
        [[0, 1], [1, 0]].into_iter().find_map(|[w, x]| {
            let blocks = form.terms.iter().map(|t| block(t, operands, w, x)).collect::<Option<Vec<_>>>()?;
            let cost = blocks.iter().map(|b| b.paths.len() * b.sides[0] * b.sides[1]).sum::<usize>() / 8;
            let (w, x) = (operands[w], operands[x]);
            Some(Table { w, x, sizes: [form.sizes[w], form.sizes[x], form.sizes[2]], blocks, cost })
        })
    }

    /// Whether rows share W in a way that this executor takes.
    pub fn fits(&self, rows: &Rows) -> bool {
        !matches!(rows.modes[self.w], Mode::Own)
    }

    /// Adds towards the operands that have an `out`: either the output or inputs. `arrays` and `outs` by operand.
    pub fn add<T: Simd>(&self, rows: &Rows, arrays: &[&[T]; 4], outs: &mut [Option<&mut [T]>; 4]) {
        let groups = match rows.modes[self.w] {
            Mode::Indexed(index) => {
                let height = arrays[self.w].len().max(outs[self.w].as_ref().map_or(0, |o| o.len()));
                Some(Groups::new(index, height / self.sizes[0].max(1)))
            }
            _ => None,
        };
        let tiles = self.tiles(rows.count, groups.as_ref());
        let [x_mode, out_mode] = [rows.modes[self.x], rows.modes[2]];
        if let Some(out) = outs[2].take() {
            let towards = Towards { table: self, transposed: false, arrays, from: (x_mode, 1), to: (out_mode, 2) };
            towards.rows(&tiles, rows.count, out);
        }
        if let Some(out) = outs[self.x].take() {
            let towards = Towards { table: self, transposed: true, arrays, from: (out_mode, 2), to: (x_mode, 1) };
            towards.rows(&tiles, rows.count, out);
        }
        if let Some(out) = outs[self.w].take() {
            self.towards_w(rows, &tiles, arrays, out);
        }
    }

    /// (row of W, rows of the call) in fixed pieces.
    fn tiles<'g>(&self, count: usize, groups: Option<&'g Groups>) -> Vec<Tile<'g>> {
        match groups {
            None => (0..count)
                .step_by(tile(count))
                .map(|a| Tile { w: 0, rows: Which::Run(a, tile(count).min(count - a)) })
                .collect(),
            Some(g) => (0..g.ends.len() - 1)
                .flat_map(|w| g.rows(w).chunks(tile(count)).map(move |rows| Tile { w, rows: Which::List(rows) }))
                .collect(),
        }
    }

    fn towards_w<T: Simd>(&self, rows: &Rows, tiles: &[Tile], arrays: &[&[T]; 4], out: &mut [T]) {
        let [size_w, size_x, size_out] = self.sizes;
        if size_w == 0 {
            return;
        }
        // Tiles of one row of W follow each other; where all share one row they are cut into a fixed number of sums.
        let shared = out.len() == size_w;
        let runs: Vec<&[Tile]> = if shared {
            tiles.chunks(tiles.len().div_ceil(PARTS).max(1)).collect()
        } else {
            tiles.chunk_by(|a, b| a.w == b.w).collect()
        };
        let sums = for_each_part(rows.count * self.cost, runs, |run| {
            let mut sum = vec![T::ZERO; size_w];
            let (mut held_x, mut held_g) = (Vec::new(), Vec::new());
            for tile in run {
                let x = gather(&tile.rows, rows.modes[self.x], arrays[self.x], size_x, &mut held_x);
                let g = gather(&tile.rows, rows.modes[2], arrays[2], size_out, &mut held_g);
                for block in &self.blocks {
                    let [u, v] = block.sides;
                    for ([w_at, x_at, out_at], c) in &block.paths {
                        let left = Matrix::new(&x[*x_at..], [u, tile.rows.len()], [block.x, size_x]);
                        let right = Matrix::new(&g[*out_at..], [tile.rows.len(), v], [size_out, block.out]);
                        matmul(T::of(*c), left, right, MatrixMut::new(&mut sum[*w_at..], [u, v], block.w));
                    }
                }
            }
            (run.first().map_or(0, |t| t.w), sum)
        });
        for (w, sum) in sums {
            let row = &mut out[w * size_w..][..size_w];
            row.iter_mut().zip(sum).for_each(|(o, s)| *o += s);
        }
    }
}

fn block(term: &Term, operands: &[usize], w: usize, x: usize) -> Option<Block> {
    if term.operands != operands {
        return None;
    }
    let mut found = Block { sides: [1, 1], w: [1, 1], x: 1, out: 1, paths: vec![] };
    for n in (0..MODES).filter(|&n| term.extents[n] > 1 || term.strides.iter().any(|s| s[n] != 0)) {
        match [w, x, 2].map(|f| term.strides[f][n]) {
            [su, sx, 0] if su > 0 && sx > 0 && found.sides[0] == 1 => {
                (found.sides[0], found.w[0], found.x) = (term.extents[n], su, sx);
            }
            [sv, 0, so] if sv > 0 && so > 0 && found.sides[1] == 1 => {
                (found.sides[1], found.w[1], found.out) = (term.extents[n], sv, so);
            }
            _ => return None,
        }
    }
    found.paths = term.paths().map(|(o, c)| ([o[w], o[x], o[2]], c)).collect();
    Some(found)
}

#[derive(Clone, Copy)]
enum Which<'g> {
    Run(usize, usize),
    List(&'g [u32]),
}

impl Which<'_> {
    fn len(&self) -> usize {
        match self {
            Which::Run(_, n) => *n,
            Which::List(rows) => rows.len(),
        }
    }

    fn row(&self, n: usize) -> usize {
        match self {
            Which::Run(first, _) => first + n,
            Which::List(rows) => rows[n] as usize,
        }
    }
}

#[derive(Clone, Copy)]
struct Tile<'g> {
    w: usize,
    rows: Which<'g>,
}

/// The tile's rows of an operand side by side: in place where they lie so, else copied.
fn gather<'s, T: Simd>(rows: &Which, mode: Mode, array: &'s [T], size: usize, held: &'s mut Vec<T>) -> &'s [T] {
    if let (Mode::Own, Which::Run(first, n)) = (mode, rows) {
        return &array[first * size..(first + n) * size];
    }
    held.clear();
    (0..rows.len()).for_each(|n| held.extend_from_slice(&array[mode.row(rows.row(n)) * size..][..size]));
    held
}

/// One direction of the map: x to out, or the cotangent of out to that of x with W transposed.
struct Towards<'t, T> {
    table: &'t Table,
    transposed: bool,
    arrays: &'t [&'t [T]; 4],
    /// Mode and number (1: x, 2: out) of what is read and of what is written.
    from: (Mode<'t>, usize),
    to: (Mode<'t>, usize),
}

impl<T: Simd> Towards<'_, T> {
    fn operand(&self, number: usize) -> usize {
        if number == 1 { self.table.x } else { 2 }
    }

    /// result += rows of the tile through W.
    fn tile(&self, tile: &Tile, held: &mut Vec<T>, result: &mut [T]) {
        let sizes = self.table.sizes;
        let [from_size, to_size] = [self.from.1, self.to.1].map(|n| sizes[n]);
        let from = gather(&tile.rows, self.from.0, self.arrays[self.operand(self.from.1)], from_size, held);
        let weights = &self.arrays[self.table.w][tile.w * sizes[0]..][..sizes[0]];
        let n = tile.rows.len();
        for block in &self.table.blocks {
            let ([mut u, mut v], [mut wu, mut wv]) = (block.sides, block.w);
            let (mut step_from, mut step_to) = (block.x, block.out);
            if self.transposed {
                (u, v, wu, wv, step_from, step_to) = (v, u, wv, wu, step_to, step_from);
            }
            for (at, c) in &block.paths {
                let left = Matrix::new(&from[at[self.from.1]..], [n, u], [from_size, step_from]);
                let right = Matrix::new(&weights[at[0]..], [u, v], [wu, wv]);
                let out = MatrixMut::new(&mut result[at[self.to.1]..], [n, v], [to_size, step_to]);
                matmul(T::of(*c), left, right, out);
            }
        }
    }

    fn rows(&self, tiles: &[Tile], count: usize, out: &mut [T]) {
        let size = self.table.sizes[self.to.1];
        if size == 0 || count == 0 {
            return;
        }
        let work = count * self.table.cost;
        if !matches!(self.to.0, Mode::Own) {
            // Several rows may meet in one: tile after tile, so that sums have one order.
            let (mut held, mut sums) = (Vec::new(), Vec::new());
            for tile in tiles {
                sums.clear();
                sums.resize(tile.rows.len() * size, T::ZERO);
                self.tile(tile, &mut held, &mut sums);
                for (n, sum) in sums.chunks_exact(size).enumerate() {
                    let row = &mut out[self.to.0.row(tile.rows.row(n)) * size..][..size];
                    row.iter_mut().zip(sum).for_each(|(o, s)| *o += *s);
                }
            }
            return;
        }
        if tiles.iter().all(|t| matches!(t.rows, Which::Run(..))) {
            let jobs = tiles.iter().zip(out.chunks_mut(tile(count) * size)).collect();
            for_each_part(work, jobs, |(tile, out): (&Tile, &mut [T])| self.tile(tile, &mut Vec::new(), out));
            return;
        }
        let mut slots: Vec<Option<&mut [T]>> = out.chunks_exact_mut(size).map(Some).collect();
        let jobs: Vec<_> = tiles
            .iter()
            .map(|t| (t, (0..t.rows.len()).filter_map(|n| slots[t.rows.row(n)].take()).collect::<Vec<_>>()))
            .collect();
        for_each_part(work, jobs, |(tile, rows)| {
            let mut sums = vec![T::ZERO; rows.len() * size];
            self.tile(tile, &mut Vec::new(), &mut sums);
            for (row, sum) in rows.into_iter().zip(sums.chunks_exact(size)) {
                row.iter_mut().zip(sum).for_each(|(o, s)| *o += *s);
            }
        });
    }
}
