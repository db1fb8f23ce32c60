//! How the rows of the operands meet: each its own, one for all, or by an index; and who writes which row of a result.

use crate::error::{Error, Result};

#[derive(Clone, Copy)]
pub enum Mode<'a> {
    Own,
    Shared,
    Indexed(&'a [i32]),
}

impl Mode<'_> {
    #[inline(always)]
    pub fn row(&self, e: usize) -> usize {
        match self {
            Mode::Own => e,
            Mode::Shared => 0,
            Mode::Indexed(index) => index[e] as usize,
        }
    }
}

/// The rows of one call: `count` of them, and a mode per operand, the output last.
pub struct Rows<'a> {
    pub count: usize,
    pub modes: Vec<Mode<'a>>,
}

impl Rows<'_> {
    /// `heights`: rows of each operand's array.
    pub fn check(&self, heights: &[usize]) -> Result<()> {
        for (n, (mode, &height)) in self.modes.iter().zip(heights).enumerate() {
            let name = if n + 1 == self.modes.len() { "index_out".into() } else { format!("index_{}", n + 1) };
            match mode {
                Mode::Indexed(index) => {
                    if index.len() != self.count {
                        return Err(Error::value(&name, &format!("of {} rows", self.count), index.len()));
                    }
                    crate::call::check_index(&name, index, height)?;
                }
                Mode::Own if height != self.count => {
                    let name = if n + 1 == self.modes.len() { "size_out".into() } else { format!("x{}", n + 1) };
                    return Err(Error::value(&name, &format!("of {} rows", self.count), height));
                }
                Mode::Shared if height != 1 => {
                    return Err(Error::value(&format!("x{}", n + 1), "of one row", height));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The calls' rows in the order in which results are written: group g has the rows `order[ends[g]..ends[g + 1]]`.
pub struct Groups {
    pub ends: Vec<u32>,
    pub order: Vec<u32>,
}

impl Groups {
    /// Stable by row number, so that sums have one order.
    pub fn new(index: &[i32], count: usize) -> Self {
        let mut ends = vec![0u32; count + 1];
        index.iter().for_each(|&g| ends[g as usize + 1] += 1);
        (0..count).for_each(|g| ends[g + 1] += ends[g]);
        let (mut next, mut order) = (ends.clone(), vec![0u32; index.len()]);
        for (e, &g) in index.iter().enumerate() {
            order[next[g as usize] as usize] = e as u32;
            next[g as usize] += 1;
        }
        Groups { ends, order }
    }

    pub fn rows(&self, group: usize) -> &[u32] {
        &self.order[self.ends[group] as usize..self.ends[group + 1] as usize]
    }
}

/// Partial sums of a result that all rows add to: a fixed number, so that bits do not depend on the threads.
pub const PARTS: usize = 16;

/// 0..count cut into at most [`PARTS`] pieces.
pub fn parts(count: usize) -> Vec<std::ops::Range<usize>> {
    let size = count.div_ceil(PARTS).max(1);
    (0..count).step_by(size).map(|a| a..(a + size).min(count)).collect()
}

/// Runs `job` on every part, in the pool if the work (in nanoseconds) pays for it, results in order.
pub fn for_each_part<P: Send, R: Send>(work: usize, parts: Vec<P>, job: impl Fn(P) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    crate::pool::run(work, |threads| match threads {
        1 => parts.into_iter().map(job).collect(),
        _ => parts.into_par_iter().map(job).collect(),
    })
}
