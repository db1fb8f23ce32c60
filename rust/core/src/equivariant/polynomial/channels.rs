//! Which forms are channel-wise, and their table: out_k[u] += W[u] (sum_j C y_j) x_i[u], channels u side by side.
//!
//! Roles: `A` a lane vector that many paths share (weights), `B` a lane vector (features), `Y` scalars (harmonics), `OUT` a lane
//! vector. A or Y may be missing (elementwise products, products without weights). Lane vectors of an operand are packed one
//! after another, each padded to [`LANES`], unless they lie like that in memory already.

use std::collections::HashMap;

use super::form::{Form, MODES, Term};

/// Multiple of channels in the inner loops, for both precisions.
pub const LANES: usize = 8;
/// Most scalar paths that a table may have once the modes beside u are written out.
const MOST: usize = 50_000;

pub const A: usize = 0;
pub const B: usize = 1;
pub const Y: usize = 2;
pub const OUT: usize = 3;

/// Channels of one component: offset + u stride, u < extent; from `start` on in the packed row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Vector {
    pub offset: usize,
    pub stride: usize,
    pub extent: usize,
    pub start: usize,
}

/// The lane vectors of one operand.
#[derive(Default, Debug)]
pub struct Packing {
    pub vectors: Vec<Vector>,
    pub width: usize,
    /// Length of a row in memory.
    pub size: usize,
    /// The row in memory can be read as the packed row.
    pub in_place: bool,
}

/// C y_j.
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    pub j: usize,
    pub value: f64,
}

/// The factors first..last that a lane vector of B is multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub first: usize,
    pub last: usize,
}

/// Lane vector of OUT with the pairs first..last.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub out: usize,
    pub first: usize,
    pub last: usize,
}

/// Lane vector of A with the columns first..last, `lanes` channels each (padded).
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub a: usize,
    pub lanes: usize,
    pub first: usize,
    pub last: usize,
}

#[derive(Debug)]
pub struct Table {
    /// Operand of each role.
    pub operands: [Option<usize>; 4],
    pub packings: [Packing; 4],
    pub paths: Vec<Path>,
    pub columns: Vec<Column>,
    pub pairs: Vec<Pair>,
    /// Where the lane vector of B of each pair starts.
    pub starts: Vec<usize>,
    pub factors: Vec<Factor>,
    /// Multiply-adds of one row, for the pool.
    pub cost: usize,
}

/// One scalar path: lane vectors (offset, stride) of A, OUT and B, the place in Y, the coefficient.
struct Entry {
    lanes: usize,
    vectors: [(usize, usize); 3],
    j: usize,
    value: f64,
}

impl Table {
    /// None where the form is of another kind.
    pub fn recognize(form: &Form) -> Option<Table> {
        let first = form.terms.first()?;
        let inputs = first.factors() - 1;
        let mut sorted = first.operands.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != inputs + 1 || form.terms.iter().any(|t| t.operands != first.operands) {
            return None;
        }
        // The factor that stays the same for all channels: the choice that leaves the fewest modes to write out.
        let choices = (0..inputs).map(Some).chain([None]);
        let best = choices.filter_map(|scalar| Some((written_out(form, scalar)?, scalar))).min_by_key(|c| c.0)?;
        if best.0 > MOST {
            return None;
        }
        let scalar = best.1;
        let lanes: Vec<usize> = (0..inputs).filter(|&f| Some(f) != scalar).collect();
        let (a, b) = match lanes[..] {
            [b] => (None, b),
            [a, b] => (Some(a), b),
            _ => return None,
        };
        Some(build(form, [a, Some(b), scalar, Some(inputs)]))
    }
}

/// The mode in which exactly the factor `scalar` stands still.
fn lane_mode(term: &Term, scalar: Option<usize>) -> Option<usize> {
    let fits = |n: &usize| (0..term.factors()).all(|f| (term.strides[f][*n] == 0) == (Some(f) == scalar));
    (0..MODES).filter(fits).max_by_key(|&n| term.extents[n])
}

fn written_out(form: &Form, scalar: Option<usize>) -> Option<usize> {
    let counts = form.terms.iter().map(|t| {
        let mode = lane_mode(t, scalar)?;
        let others: usize = (0..MODES).filter(|&n| n != mode).map(|n| t.extents[n]).product();
        Some(others * t.coefficients.len())
    });
    counts.sum()
}

fn build(form: &Form, roles: [Option<usize>; 4]) -> Table {
    let mut entries = Vec::new();
    for term in &form.terms {
        let Some(mode) = lane_mode(term, roles[Y]) else { continue };
        let mut extents = term.extents;
        extents[mode] = 1;
        let total: usize = extents.iter().product();
        for n in 0..total {
            let mut rest = n;
            let at: [usize; MODES] = std::array::from_fn(|m| {
                let i = rest % extents[m];
                rest /= extents[m];
                i
            });
            for (offsets, value) in term.paths() {
                let place = |f: usize| offsets[f] + (0..MODES).map(|m| at[m] * term.strides[f][m]).sum::<usize>();
                let vector = |role: usize| roles[role].map_or((0, 0), |f| (place(f), term.strides[f][mode]));
                let vectors = [vector(A), vector(OUT), vector(B)];
                entries.push(Entry { lanes: term.extents[mode], vectors, j: roles[Y].map_or(0, place), value });
            }
        }
    }
    entries.sort_by_key(|e| (e.lanes, e.vectors, e.j));
    let operands = roles.map(|r| r.map(|f| form.terms[0].operands[f]));
    let size = |role: usize| operands[role].map_or(0, |o| form.sizes[o]);
    let packings: [Packing; 4] = [
        pack(size(A), entries.iter().filter(|_| roles[A].is_some()).map(|e| (e.vectors[0], e.lanes))),
        pack(size(B), entries.iter().map(|e| (e.vectors[2], e.lanes))),
        Packing { size: size(Y).max(1), ..Packing::default() },
        pack(size(OUT), entries.iter().map(|e| (e.vectors[1], e.lanes))),
    ];
    let starts = packings
        .each_ref()
        .map(|p| p.vectors.iter().map(|v| ((v.offset, v.stride, v.extent), v.start)).collect::<HashMap<_, _>>());
    let start = |role: usize, (offset, stride): (usize, usize), lanes: usize| {
        starts[role].get(&(offset, stride, lanes)).copied().unwrap_or(0)
    };
    let mut table = Table {
        operands,
        packings,
        paths: vec![],
        columns: vec![],
        pairs: vec![],
        starts: vec![],
        factors: vec![],
        cost: 0,
    };
    let mut last: Option<&Entry> = None;
    for e in &entries {
        let same = last.map_or(0, |l| match () {
            _ if (l.lanes, l.vectors[0]) != (e.lanes, e.vectors[0]) => 0,
            _ if l.vectors[1] != e.vectors[1] => 1,
            _ if l.vectors[2] != e.vectors[2] => 2,
            _ => 3,
        });
        let [a, out, b] = e.vectors;
        let lanes = e.lanes.next_multiple_of(LANES);
        let (columns, pairs, factors) = (table.columns.len(), table.pairs.len(), table.factors.len());
        if same < 1 {
            table.paths.push(Path { a: start(A, a, e.lanes), lanes, first: columns, last: columns });
        }
        if same < 2 {
            table.columns.push(Column { out: start(OUT, out, e.lanes), first: pairs, last: pairs });
        }
        if same < 3 {
            table.pairs.push(Pair { first: factors, last: factors });
            table.starts.push(start(B, b, e.lanes));
            table.cost += lanes;
        }
        table.factors.push(Factor { j: e.j, value: e.value });
        if let (Some(path), Some(column), Some(pair)) =
            (table.paths.last_mut(), table.columns.last_mut(), table.pairs.last_mut())
        {
            pair.last = table.factors.len();
            column.last = table.pairs.len();
            path.last = table.columns.len();
        }
        last = Some(e);
    }
    table
}

fn pack(size: usize, found: impl Iterator<Item = ((usize, usize), usize)>) -> Packing {
    let mut keys: Vec<_> = found.map(|((offset, stride), extent)| (offset, stride, extent)).collect();
    keys.sort_unstable();
    keys.dedup();
    let in_place = keys.iter().all(|&(_, stride, extent)| stride == 1 && extent % LANES == 0);
    let mut width = 0;
    let vectors = keys.into_iter().map(|(offset, stride, extent)| {
        let start = if in_place { offset } else { width };
        width += extent.next_multiple_of(LANES);
        Vector { offset, stride, extent, start }
    });
    let vectors: Vec<_> = vectors.collect();
    Packing { vectors, width: if in_place { size } else { width }, size, in_place }
}
