//! Channel-wise products over rows that are gathered and scattered: t_k = sum_i (sum_j C y_j) x_i, out_k += W t_k, and its
//! transposes grad_W = sum_k g_k t_k, grad_x_i += s_ik W g_k, grad_y_j = sum_ik C <W g_k, x_i>, s_ik = sum_j C y_j.
//!
//! One pass over the rows in the order of the rows they are added to: each result row is written once, by one thread. Bound by
//! loads from the first-level cache, one per multiply-add (two a cycle), as coefficients differ from row to row. Measured on
//! 5,000 edges of 128x0e + 128x1o to degree 3 (f32, one AVX2 core that gives 87 to 104 GFlop/s): 25 GFlop/s forward, 20 towards
//! all three inputs; there the products with a row's own coefficients (76 of 16 registers each) and the first touch of the
//! result, 25 MB of weight gradients, cost most.

use super::channels::{A, B, OUT, Packing, Path, Table, Y};
use super::rows::{Groups, Mode, Rows, for_each_part, parts};
use crate::basis::lanes::{Job, Lanes, Simd, dispatch};
use crate::real::Real;

/// Rows of one operand with their lane vectors packed.
enum Source<'a, T> {
    /// As they lie in memory.
    Plain(&'a [T], usize),
    /// All rows, packed beforehand.
    Packed(Vec<T>, usize),
    /// Packed when read.
    Later(&'a [T], &'a Packing),
    Ones(Vec<T>),
}

impl<'a, T: Real> Source<'a, T> {
    fn new(array: &'a [T], packing: &'a Packing, mode: Mode, rows: usize) -> Self {
        if packing.in_place {
            return Source::Plain(array, packing.size);
        }
        let height = array.len() / packing.size.max(1);
        if matches!(mode, Mode::Own) || height > 2 * rows {
            return Source::Later(array, packing);
        }
        let mut packed = vec![T::ZERO; height * packing.width];
        crate::pool::for_each_row(&mut packed, packing.width, packing.width, |n, row| {
            pack(packing, &array[n * packing.size..][..packing.size], row);
        });
        Source::Packed(packed, packing.width)
    }

    #[inline(always)]
    fn row<'s>(&'s self, n: usize, scratch: &'s mut [T]) -> &'s [T] {
        match self {
            Source::Plain(array, width) => &array[n * width..(n + 1) * width],
            Source::Packed(array, width) => &array[n * width..(n + 1) * width],
            Source::Later(array, packing) => {
                pack(packing, &array[n * packing.size..][..packing.size], scratch);
                scratch
            }
            Source::Ones(array) => array,
        }
    }
}

fn pack<T: Real>(packing: &Packing, row: &[T], packed: &mut [T]) {
    for v in &packing.vectors {
        let to = &mut packed[v.start..v.start + v.extent];
        match v.stride {
            1 => to.copy_from_slice(&row[v.offset..v.offset + v.extent]),
            s => to.iter_mut().zip(row[v.offset..].iter().step_by(s)).for_each(|(t, x)| *t = *x),
        }
    }
}

fn unpack_add<T: Real>(packing: &Packing, packed: &[T], row: &mut [T]) {
    for v in &packing.vectors {
        let from = &packed[v.start..v.start + v.extent];
        row[v.offset..].iter_mut().step_by(v.stride.max(1)).zip(from).for_each(|(r, x)| *r += *x);
    }
}

/// Where a part of the rows writes the result of one role.
enum Sink<'a, T> {
    No,
    /// One row for each row of the call, in the order of the pass.
    Own(std::vec::IntoIter<&'a mut [T]>),
    /// One row for each group.
    Grouped(std::slice::ChunksExactMut<'a, T>),
    /// The sum of this part.
    Sum(Vec<T>),
}

/// Adds to `outs` (by role) what `arrays` (by role) give towards the roles that have an `out`. Towards OUT nothing else is
/// computed in the same call.
pub fn add<T: Simd>(table: &Table, rows: &Rows, arrays: [&[T]; 4], outs: [Option<&mut [T]>; 4]) {
    let mode = |role: usize| table.operands[role].map_or(Mode::Shared, |o| rows.modes[o]);
    let mut outs = outs;
    let grouped: Vec<usize> = (0..4).filter(|&r| outs[r].is_some() && matches!(mode(r), Mode::Indexed(_))).collect();
    let mut first = true;
    for by in grouped.iter().copied().map(Some).chain(grouped.is_empty().then_some(None)) {
        let chosen: [Option<&mut [T]>; 4] = std::array::from_fn(|r| {
            let here = Some(r) == by || (first && !grouped.contains(&r));
            if here { outs[r].take() } else { None }
        });
        pass(table, rows, &arrays, chosen, by);
        first = false;
    }
}

fn pass<'a, T: Simd>(
    table: &Table,
    rows: &Rows,
    arrays: &[&'a [T]; 4],
    mut outs: [Option<&'a mut [T]>; 4],
    by: Option<usize>,
) {
    let mode = |role: usize| table.operands[role].map_or(Mode::Shared, |o| rows.modes[o]);
    let size = |role: usize| table.packings[role].size;
    let source = |role: usize| match table.operands[role] {
        Some(_) => Source::new(arrays[role], &table.packings[role], mode(role), rows.count),
        None => Source::Ones(vec![T::ONE; table.paths.iter().map(|p| p.lanes).max().unwrap_or(0)]),
    };
    let wants_out = outs[OUT].is_some();
    let empty: &[T] = &[];
    let sources = [
        source(A),
        source(B),
        Source::Plain(if table.operands[Y].is_some() { arrays[Y] } else { empty }, size(Y)),
        if wants_out { Source::Plain(empty, 0) } else { source(OUT) },
    ];
    let groups = match by.map(mode) {
        Some(Mode::Indexed(index)) => {
            let height = by.and_then(|r| outs[r].as_ref().map(|o| o.len() / size(r).max(1))).unwrap_or(0);
            Some(Groups::new(index, height))
        }
        _ => None,
    };
    let pieces = parts(groups.as_ref().map_or(rows.count, |g| g.ends.len() - 1));
    // The rows of each piece, as sorted positions.
    let span = |piece: &std::ops::Range<usize>| match &groups {
        Some(g) => g.ends[piece.start] as usize..g.ends[piece.end] as usize,
        None => piece.clone(),
    };
    let mut sinks: Vec<[Sink<T>; 4]> = pieces.iter().map(|_| [const { Sink::No }; 4]).collect();
    let mut sums: [Option<&mut [T]>; 4] = [const { None }; 4];
    for role in 0..4 {
        let Some(out) = outs[role].take() else { continue };
        let width = size(role);
        match mode(role) {
            _ if width == 0 => {}
            Mode::Indexed(_) => {
                let step = pieces.first().map_or(1, |p| p.len());
                for (sinks, out) in sinks.iter_mut().zip(out.chunks_mut(step * width)) {
                    sinks[role] = Sink::Grouped(out.chunks_exact_mut(width));
                }
            }
            Mode::Own => {
                let mut slots: Vec<Option<&mut [T]>> = out.chunks_exact_mut(width).map(Some).collect();
                for (sinks, piece) in sinks.iter_mut().zip(&pieces) {
                    let edges = span(piece).map(|p| groups.as_ref().map_or(p, |g| g.order[p] as usize));
                    let own: Vec<&mut [T]> = edges.filter_map(|e| slots[e].take()).collect();
                    sinks[role] = Sink::Own(own.into_iter());
                }
            }
            Mode::Shared => {
                for sinks in &mut sinks {
                    sinks[role] = Sink::Sum(vec![T::ZERO; table.packings[role].width.max(width)]);
                }
                sums[role] = Some(out);
            }
        }
    }
    let work = rows.count * table.cost / 3;
    let jobs: Vec<_> = pieces.into_iter().zip(sinks).collect();
    let done = for_each_part(work, jobs, |(piece, mut sinks)| {
        let job = Part { table, rows, sources: &sources, groups: groups.as_ref(), piece, sinks: &mut sinks };
        dispatch(job);
        sinks
    });
    for sinks in done {
        for (role, sink) in sinks.into_iter().enumerate() {
            if let (Sink::Sum(sum), Some(out)) = (sink, &mut sums[role]) {
                match role {
                    Y => out.iter_mut().zip(sum).for_each(|(o, s)| *o += s),
                    _ if table.packings[role].in_place => out.iter_mut().zip(sum).for_each(|(o, s)| *o += s),
                    _ => unpack_add(&table.packings[role], &sum, out),
                }
            }
        }
    }
}

/// The rows of one piece, over some lanes.
struct Part<'p, 'a, T> {
    table: &'p Table,
    rows: &'p Rows<'a>,
    sources: &'p [Source<'p, T>; 4],
    groups: Option<&'p Groups>,
    piece: std::ops::Range<usize>,
    sinks: &'p mut [Sink<'a, T>; 4],
}

impl<T: Simd> Job<T> for Part<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<T = T>>(self) {
        let Part { table, rows, sources, groups, piece, sinks } = self;
        let mode = |role: usize| table.operands[role].map_or(Mode::Shared, |o| rows.modes[o]);
        let (modes, mj) = ([mode(A), mode(B), mode(Y), mode(OUT)], table.packings[Y].size);
        let has_y = table.operands[Y].is_some();
        let values: Vec<T> = table.factors.iter().map(|f| T::of(f.value)).collect();
        let mut scratch = table.packings.each_ref().map(|p| vec![T::ZERO; p.width]);
        let mut held = table.packings.each_ref().map(|p| vec![T::ZERO; p.width.max(p.size)]);
        let mut y = vec![T::ONE; mj * L::N];
        let mut s = vec![T::ZERO; table.pairs.len() * L::N];
        let mut own_s = vec![T::ZERO; table.pairs.len()];
        let wants_inputs = sinks[..OUT].iter().any(|s| !matches!(s, Sink::No));
        let mut dots = vec![T::ZERO; if matches!(sinks[Y], Sink::No) { 0 } else { table.pairs.len() * L::N }];
        let mut along = vec![T::ZERO; mj * L::N];
        let identity: Vec<u32>;
        let (first, last, order) = match groups {
            Some(_) => (piece.start, piece.end, None::<&[u32]>),
            None => {
                identity = piece.clone().map(|e| e as u32).collect();
                (0, 1, Some(&identity[..]))
            }
        };
        for g in first..last {
            let edges = order.unwrap_or_else(|| groups.map_or(&[][..], |groups| groups.rows(g)));
            let mut grouped: [Option<&mut [T]>; 4] = [const { None }; 4];
            for role in [A, B, Y, OUT] {
                if let Sink::Grouped(rows) = &mut sinks[role] {
                    grouped[role] = rows.next();
                    held[role].fill(T::ZERO);
                }
            }
            for edges in edges.chunks(L::N) {
                if has_y {
                    let Source::Plain(array, _) = &sources[Y] else { continue };
                    for (lane, &e) in edges.iter().enumerate() {
                        let row = &array[modes[Y].row(e as usize) * mj..][..mj];
                        row.iter().enumerate().for_each(|(j, v)| y[j * L::N + lane] = *v);
                    }
                }
                for (pair, s) in table.pairs.iter().zip(s.chunks_exact_mut(L::N)) {
                    let mut sum = L::zero();
                    for (f, v) in table.factors[pair.first..pair.last].iter().zip(&values[pair.first..pair.last]) {
                        sum = L::splat(*v).fma(L::load(&y[f.j * L::N..]), sum);
                    }
                    sum.store(s);
                }
                for (lane, &e) in edges.iter().enumerate() {
                    let e = e as usize;
                    own_s.iter_mut().zip(s.chunks_exact(L::N)).for_each(|(own, s)| *own = s[lane]);
                    let [scratch_a, scratch_b, _, scratch_out] = &mut scratch;
                    let a = sources[A].row(modes[A].row(e), scratch_a);
                    let b = sources[B].row(modes[B].row(e), scratch_b);
                    // Results of this row alone begin at zero; those of a group or a part go on.
                    let mut own: [Option<&mut [T]>; 4] = [const { None }; 4];
                    let mut targets: [Option<&mut [T]>; 4] = [const { None }; 4];
                    let slots = sinks.iter_mut().zip(&mut held).zip(own.iter_mut().zip(&mut grouped));
                    for (role, (((sink, held), (own, grouped)), target)) in slots.zip(&mut targets).enumerate() {
                        let direct = role != Y && table.packings[role].in_place;
                        *target = match sink {
                            Sink::No => None,
                            Sink::Sum(sum) => Some(sum),
                            Sink::Grouped(_) if direct => grouped.as_deref_mut(),
                            Sink::Grouped(_) => Some(held),
                            Sink::Own(rows) if direct => rows.next(),
                            Sink::Own(rows) => {
                                *own = rows.next();
                                held.fill(T::ZERO);
                                Some(held)
                            }
                        };
                    }
                    let [to_a, to_b, to_y, to_out] = targets;
                    if let Some(out) = to_out {
                        towards_out::<L>(table, &own_s, a, b, out);
                    }
                    if wants_inputs {
                        let g = sources[OUT].row(modes[OUT].row(e), scratch_out);
                        dots.fill(T::ZERO);
                        let row = Row { table, s: &own_s, a, b, g };
                        towards_inputs::<L>(&row, to_a, to_b, to_y.is_some().then_some(&mut dots[..]));
                        if let Some(grad) = to_y {
                            towards_y::<L>(table, &values, &dots, &mut along, grad);
                        }
                    }
                    for (role, row) in own.into_iter().enumerate() {
                        row.into_iter().for_each(|row| write_back(table, role, &held[role], row));
                    }
                }
            }
            for (role, row) in grouped.into_iter().enumerate() {
                row.into_iter().for_each(|row| write_back(table, role, &held[role], row));
            }
        }
    }
}

/// Adds what was summed apart from the row in memory.
fn write_back<T: Real>(table: &Table, role: usize, held: &[T], row: &mut [T]) {
    match role {
        Y => row.iter_mut().zip(held).for_each(|(r, h)| *r += *h),
        _ if table.packings[role].in_place => {}
        _ => unpack_add(&table.packings[role], held, row),
    }
}

/// Calls a body for every block of a path: eight, four, two or one registers wide.
macro_rules! blocks {
    ($path:expr, $wide:literal, $body:ident::<$L:ident>($($arg:expr),*)) => {
        match $path.lanes / $L::N {
            n if n % 8 == 0 && $wide => (0..n / 8).for_each(|k| $body::<$L, 8>($($arg,)* k * 8 * $L::N)),
            n if n % 4 == 0 => (0..n / 4).for_each(|k| $body::<$L, 4>($($arg,)* k * 4 * $L::N)),
            n if n % 2 == 0 => (0..n / 2).for_each(|k| $body::<$L, 2>($($arg,)* k * 2 * $L::N)),
            n => (0..n).for_each(|k| $body::<$L, 1>($($arg,)* k * $L::N)),
        }
    };
}

#[inline(always)]
fn towards_out<L: Lanes>(table: &Table, s: &[L::T], a: &[L::T], b: &[L::T], out: &mut [L::T]) {
    for path in &table.paths {
        blocks!(path, true, out_block::<L>(table, path, s, a, b, out));
    }
}

#[inline(always)]
fn loads<L: Lanes, const U: usize>(x: &[L::T], at: usize) -> [L; U] {
    let x = &x[at..at + U * L::N];
    std::array::from_fn(|u| L::load(&x[u * L::N..]))
}

#[inline(always)]
fn out_block<L: Lanes, const U: usize>(
    table: &Table,
    path: &Path,
    s: &[L::T],
    a: &[L::T],
    b: &[L::T],
    out: &mut [L::T],
    at: usize,
) {
    let w: [L; U] = loads(a, path.a + at);
    for column in &table.columns[path.first..path.last] {
        let mut t = [L::zero(); U];
        let pairs = column.first..column.last;
        for (factor, start) in s[pairs.clone()].iter().zip(&table.starts[pairs]) {
            let (factor, x): (L, [L; U]) = (L::splat(*factor), loads(b, start + at));
            (0..U).for_each(|u| t[u] = factor.fma(x[u], t[u]));
        }
        let out = &mut out[column.out + at..][..U * L::N];
        for u in 0..U {
            w[u].fma(t[u], L::load(&out[u * L::N..])).store(&mut out[u * L::N..]);
        }
    }
}

/// What one row reads: coefficients s of each pair, lane vectors of A, B and the cotangent.
struct Row<'a, T> {
    table: &'a Table,
    s: &'a [T],
    a: &'a [T],
    b: &'a [T],
    g: &'a [T],
}

#[inline(always)]
fn towards_inputs<L: Lanes>(
    row: &Row<L::T>,
    mut to_a: Option<&mut [L::T]>,
    mut to_b: Option<&mut [L::T]>,
    mut dots: Option<&mut [L::T]>,
) {
    for path in &row.table.paths {
        blocks!(path, false, inputs_block::<L>(row, path, &mut to_a, &mut to_b, &mut dots));
    }
}

#[inline(always)]
fn inputs_block<L: Lanes, const U: usize>(
    row: &Row<L::T>,
    path: &Path,
    to_a: &mut Option<&mut [L::T]>,
    to_b: &mut Option<&mut [L::T]>,
    dots: &mut Option<&mut [L::T]>,
    at: usize,
) {
    let Row { table, s, a, b, g } = row;
    let w: [L; U] = loads(a, path.a + at);
    let mut grad_w = [L::zero(); U];
    for column in &table.columns[path.first..path.last] {
        let g: [L; U] = loads(g, column.out + at);
        let weighted: [L; U] = std::array::from_fn(|u| w[u] * g[u]);
        let mut t = [L::zero(); U];
        let pairs = column.first..column.last;
        for (n, (factor, start)) in s[pairs.clone()].iter().zip(&table.starts[pairs]).enumerate() {
            let (factor, from) = (L::splat(*factor), start + at);
            let x: [L; U] = loads(b, from);
            (0..U).for_each(|u| t[u] = factor.fma(x[u], t[u]));
            if let Some(to_b) = to_b {
                let to = &mut to_b[from..from + U * L::N];
                (0..U).for_each(|u| factor.fma(weighted[u], L::load(&to[u * L::N..])).store(&mut to[u * L::N..]));
            }
            if let Some(dots) = dots {
                let dot = &mut dots[(column.first + n) * L::N..][..L::N];
                let mut sum = L::load(dot);
                (0..U).for_each(|u| sum = weighted[u].fma(x[u], sum));
                sum.store(dot);
            }
        }
        (0..U).for_each(|u| grad_w[u] = g[u].fma(t[u], grad_w[u]));
    }
    if let Some(to_a) = to_a {
        let to = &mut to_a[path.a + at..][..U * L::N];
        (0..U).for_each(|u| (L::load(&to[u * L::N..]) + grad_w[u]).store(&mut to[u * L::N..]));
    }
}

/// grad_j += sum over lanes and pairs of C dots: the coefficients before the sum over lanes, so that there are few such sums.
#[inline(always)]
fn towards_y<L: Lanes>(table: &Table, values: &[L::T], dots: &[L::T], along: &mut [L::T], grad: &mut [L::T]) {
    along.fill(L::T::ZERO);
    for (pair, dot) in table.pairs.iter().zip(dots.chunks_exact(L::N)) {
        let dot = L::load(dot);
        for (f, v) in table.factors[pair.first..pair.last].iter().zip(&values[pair.first..pair.last]) {
            let to = &mut along[f.j * L::N..(f.j + 1) * L::N];
            L::splat(*v).fma(dot, L::load(to)).store(to);
        }
    }
    for (grad, lanes) in grad.iter_mut().zip(along.chunks_exact(L::N)) {
        *grad += lanes.iter().fold(L::T::ZERO, |sum, v| sum + *v);
    }
}
