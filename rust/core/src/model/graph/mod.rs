//! What graph networks over atoms share: channels in padded groups, dense layers, activations, filters of a distance, the
//! atoms and edges of a call, energies of atoms.
//!
//! With a full list of edges the gradient to a neighbor is a sum over the atom's own edges, as filters depend on the
//! distance alone: the way back gathers as the way forward does, no result is added to from two rows, and the force on an
//! atom comes from its own edges. No array of edges x channels is made.

pub mod activation;
pub mod dense;
pub mod edges;
pub mod filter;
pub mod head;
pub mod layout;
pub(super) mod rows;

pub use crate::basis::spec::{Envelope, Kind};
pub use activation::Activation;
pub use dense::{Blocks, Dense};
pub use edges::{Graph, Mechanics};
pub use filter::{Filter, Network, Radials, Table};
pub use head::{Head, Linear};

/// What an evaluation gives, over all N atoms.
#[derive(Default)]
pub struct Output<T> {
    /// Of each atom without offsets, [N].
    pub energy: Vec<f64>,
    /// Forces and parts of dE/d strain, [N]; empty without gradient.
    pub mechanics: Vec<Mechanics>,
    /// Last scalar channels [N, F] and vector channels [N, 3, F], if asked for.
    pub scalars: Vec<T>,
    pub vectors: Vec<T>,
}

impl<T> Output<T> {
    /// Of pieces in their order.
    pub(super) fn of(parts: Vec<Self>) -> Self {
        let mut parts = parts.into_iter();
        let empty = Output { energy: Vec::new(), mechanics: Vec::new(), scalars: Vec::new(), vectors: Vec::new() };
        let mut whole = parts.next().unwrap_or(empty);
        for part in parts {
            whole.energy.extend(part.energy);
            whole.mechanics.extend(part.mechanics);
            whole.scalars.extend(part.scalars);
            whole.vectors.extend(part.vectors);
        }
        whole
    }
}

/// Padded rows of `channels` values each, in the kernels' precision.
pub fn padded<T: crate::Real>(rows: &[f64], channels: usize) -> Vec<T> {
    padded_rows(&rows.iter().map(|&x| T::of(x)).collect::<Vec<_>>(), channels)
}

/// Rows of true channels to padded ones.
pub(super) fn padded_rows<T: crate::Real>(rows: &[T], channels: usize) -> Vec<T> {
    let width = layout::groups(channels) * layout::GROUP;
    let mut out = vec![T::ZERO; rows.len() / channels.max(1) * width];
    for (to, from) in out.chunks_exact_mut(width.max(1)).zip(rows.chunks_exact(channels.max(1))) {
        to[..channels].copy_from_slice(from);
    }
    out
}

/// A dense layer and its transpose.
pub(super) fn both<T: crate::basis::lanes::Simd>(
    weights: &[f64],
    bias: Option<&[f64]>,
    out: Blocks,
    into: Blocks,
) -> [Dense<T>; 2] {
    [Dense::new(weights, bias, out, into), Dense::transposed(weights, out, into)]
}

/// Atoms of a block: what one thread takes at a time, and the dense layers' rows.
pub(super) const BLOCK: usize = 48;

/// `job` on every part; the parts write apart from each other.
pub(super) fn for_each<P: Send>(work_ns: usize, parts: Vec<P>, job: impl Fn(P) + Sync + Send) {
    use rayon::prelude::*;
    crate::pool::run(work_ns, |threads| match threads {
        1 => parts.into_iter().for_each(job),
        _ => parts.into_par_iter().for_each(job),
    });
}

/// Only the true channels of padded rows.
pub(super) fn narrow<T: Copy>(rows: &[T], width: usize, channels: usize) -> Vec<T> {
    rows.chunks_exact(width).flat_map(|row| row[..channels].iter().copied()).collect()
}
