//! The coefficients C_p[i,j,k] in the order in which a contraction reads them: by degree of its result (a block), by its
//! component and path (a column), by the component of the gathered operand (a pair), then by that of y (a factor).
//!
//! Made once a call, in some tens of microseconds to degree 3.

use super::coupling::Coefficients;
use crate::real::Real;

/// y component `j` times `value`.
#[derive(Clone, Copy)]
pub struct Factor<T> {
    pub j: usize,
    pub value: T,
}

/// Component `i` of the gathered operand, with the factors first..last of y.
#[derive(Clone, Copy)]
pub struct Pair {
    pub i: usize,
    pub first: usize,
    pub last: usize,
}

/// Row k of a block and one of its slots (paths), with the pairs first..last.
#[derive(Clone, Copy)]
pub struct Column {
    pub k: usize,
    pub slot: usize,
    pub first: usize,
    pub last: usize,
}

/// All that goes into the components of one degree of the result.
pub struct Block<T> {
    /// First component and their number.
    pub start: usize,
    pub rows: usize,
    /// The path of each slot.
    pub paths: Vec<usize>,
    pub columns: Vec<Column>,
    pub pairs: Vec<Pair>,
    pub factors: Vec<Factor<T>>,
}

pub struct Table<T> {
    /// Components of the gathered operand, of y and of the result.
    pub sizes: [usize; 3],
    pub blocks: Vec<Block<T>>,
}

impl<T: Real> Table<T> {
    /// From the operands `from` and `by` to the operand `to`, each a number of (x, y, product): `from` takes the place of x
    /// and `by` that of y. Without weights all paths share one slot.
    pub fn new(all: &Coefficients, lmax: [usize; 3], [from, by, to]: [usize; 3], weighted: bool) -> Self {
        let sizes = [from, by, to].map(|n| (lmax[n] + 1) * (lmax[n] + 1));
        let blocks = (0..=lmax[to]).map(|l| {
            let (start, rows) = (l * l, 2 * l + 1);
            let mut list: Vec<_> = all.list.iter().filter(|c| (start..start + rows).contains(&c.at[to])).collect();
            let mut paths: Vec<usize> = list.iter().map(|c| c.path).collect();
            paths.sort_unstable();
            paths.dedup();
            let slot = |path: usize| if weighted { paths.binary_search(&path).unwrap_or(0) } else { 0 };
            list.sort_by_key(|c| (c.at[to], slot(c.path), c.at[from], c.at[by]));
            let mut block = Block {
                start,
                rows,
                paths: vec![],
                columns: vec![],
                pairs: vec![],
                factors: Vec::with_capacity(list.len()),
            };
            for c in list {
                let (k, slot, i) = (c.at[to] - start, slot(c.path), c.at[from]);
                let (pairs, factors) = (block.pairs.len(), block.factors.len());
                let opens = block.columns.last().is_none_or(|last: &Column| last.k != k || last.slot != slot);
                if opens {
                    block.columns.push(Column { k, slot, first: pairs, last: pairs });
                }
                if opens || block.pairs.last().is_none_or(|last: &Pair| last.i != i) {
                    block.pairs.push(Pair { i, first: factors, last: factors });
                }
                block.factors.push(Factor { j: c.at[by], value: T::of(c.value) });
                if let Some(pair) = block.pairs.last_mut() {
                    pair.last = factors + 1;
                }
                if let Some(column) = block.columns.last_mut() {
                    column.last = block.pairs.len();
                }
            }
            block.paths = if weighted { paths } else { vec![0] };
            block
        });
        Table { sizes, blocks: blocks.collect() }
    }
}
