//! Launcher of `gather.cu`, `reduce.cu` and `dense.cu`: the product with weights, over parts of the groups, so that what the
//! weights are applied to stays within a budget (and within the second-level cache), whatever the number of edges.

use super::coupling::Coupling;
use crate::plan::{Builder, Memory};
use crate::source::Unit;
use valence_core::Result;

/// Threads of a block, in all texts of this room.
pub const THREADS: usize = 128;
/// The tile of `dense.cu`.
const TILE: [usize; 2] = [128, 32];
/// Partial sums for the weights, added in order.
const SHARES: usize = 16;

pub fn blocks(threads: usize) -> usize {
    threads.div_ceil(THREADS)
}

/// Threads that share an edge: a power of two to 32.
pub fn lanes(channels: usize) -> usize {
    channels.next_power_of_two().min(32)
}

/// Edges by what they are summed into.
pub struct Groups {
    pub count: usize,
    pub order: Memory,
    pub ends: Memory,
    /// Edge -> group, and edge -> row of the gathered operand; null: the edge itself.
    pub into: Memory,
    pub rows: Memory,
}

/// Pairs (gathered operand with channels inside, y), summed, and the weights.
pub struct Term {
    pub pairs: Vec<(Memory, Memory)>,
    pub w: Option<Memory>,
}

/// c: channels of the gathered operand, d: of the result.
pub struct Dense {
    pub coupling: Coupling,
    pub c: usize,
    pub d: usize,
}

impl Dense {
    /// Parts of the groups, (first, count), and room for one of them.
    fn parts(&self, b: &mut Builder, groups: usize) -> (Memory, Vec<(usize, usize)>) {
        let one = self.coupling.height() * self.c;
        let most = (b.budget / (one * b.precision().bytes()).max(1)).clamp(1, groups.max(1));
        let room = b.shared(most * one);
        (room, (0..groups).step_by(most).map(|first| (first, most.min(groups - first))).collect())
    }

    fn gather(
        &self,
        b: &mut Builder,
        groups: &Groups,
        pairs: &[(Memory, Memory)],
        t: Memory,
        [first, count]: [usize; 2],
    ) -> Result<()> {
        let grid = [blocks(count * self.c), self.coupling.degrees(), 1];
        for (n, &(x, y)) in pairs.iter().enumerate() {
            b.launch(Unit::Gather(self.coupling), "gather", grid, THREADS)
                .memory(&[x, y, groups.order, groups.ends, groups.rows, t])
                .sizes(&[first, count, self.c, usize::from(n > 0)])?;
        }
        Ok(())
    }

    /// Tiles over the rows of the largest degree.
    fn tiles(&self, count: usize) -> usize {
        (count * (2 * self.coupling.degrees() - 1)).div_ceil(TILE[0])
    }

    pub fn product(&self, b: &mut Builder, groups: &Groups, terms: &[Term], out: Memory) -> Result<()> {
        let kernel = if self.coupling.back { "mix_back" } else { "mix" };
        let (t, parts) = self.parts(b, groups.count);
        for (first, count) in parts {
            for (n, term) in terms.iter().enumerate() {
                self.gather(b, groups, &term.pairs, t, [first, count])?;
                let grid = [self.tiles(count), self.d.div_ceil(TILE[1]), self.coupling.degrees()];
                b.launch(Unit::Dense(self.coupling), kernel, grid, THREADS)
                    .memory(&[t, term.w.unwrap_or(Memory::Null), out])
                    .sizes(&[first, count, self.c, self.d, usize::from(n > 0)])?;
            }
        }
        Ok(())
    }

    /// `edges` rows of y, of terms (x inside, weights).
    pub fn towards_y(
        &self,
        b: &mut Builder,
        groups: &Groups,
        terms: &[(Memory, Memory)],
        g: Memory,
        out: Memory,
        edges: usize,
    ) -> Result<()> {
        let (u, parts) = self.parts(b, groups.count);
        let lanes = lanes(self.c);
        let columns = self.coupling.most_slots() * self.c;
        for (first, count) in parts {
            for (n, &(x, w)) in terms.iter().enumerate() {
                let grid = [self.tiles(count), columns.div_ceil(TILE[1]), self.coupling.degrees()];
                b.launch(Unit::Dense(self.coupling), "spread", grid, THREADS)
                    .memory(&[g, w, u])
                    .sizes(&[first, count, self.c, self.d])?;
                b.launch(Unit::Reduce(self.coupling), "reduce", [blocks(edges * lanes), 1, 1], THREADS)
                    .memory(&[x, u, groups.order, groups.into, groups.rows, out])
                    .sizes(&[first, count, edges, self.c, lanes, usize::from(n > 0)])?;
            }
        }
        Ok(())
    }

    pub fn towards_w(
        &self,
        b: &mut Builder,
        groups: &Groups,
        pairs: &[(Memory, Memory)],
        g: Memory,
        out: Memory,
    ) -> Result<()> {
        let (t, parts) = self.parts(b, groups.count);
        let (paths, size) = (self.coupling.num_paths(), self.c * self.d);
        let sums = b.scratch(SHARES * paths * size);
        let rows = (self.coupling.most_slots() * self.c).div_ceil(TILE[0]);
        let grid = [rows, self.d.div_ceil(TILE[1]), self.coupling.degrees() * SHARES];
        for (n, (first, count)) in parts.into_iter().enumerate() {
            self.gather(b, groups, pairs, t, [first, count])?;
            b.launch(Unit::Dense(self.coupling), "outer", grid, THREADS).memory(&[t, g, sums]).sizes(&[
                first,
                count,
                self.c,
                self.d,
                SHARES,
                usize::from(n > 0),
            ])?;
        }
        b.launch(Unit::Dense(self.coupling), "add_shares", [blocks(paths * size), 1, 1], THREADS)
            .memory(&[sums, out])
            .sizes(&[SHARES, size])
    }
}
