//! PaiNN (Schütt, Unke, Gastegger, ICML 2021), as schnetpack 2.1 has it: energies, forces, strain derivatives.
//!
//! Scalars q = embedding[Z] and vectors mu = 0; for each layer t = act(q A1^T + a1) A2^T + a2 in three blocks (q, R, M), the
//! messages q_i += sum w_q t_q, mu_i += sum w_R t_R u + w_M t_M mu_j, then the atomwise mixing. The way back is written by
//! hand; it reads of the way forward t, mu and act' (the states) and the mixing's tape.

mod messages;
mod mixing;

pub use mixing::Mixing;

use messages::{GRADIENT, Gather, Return, STATE, SUMS};
use mixing::{TAPE, inside};

use super::graph::activation::times;
use super::graph::dense::plain;
use super::graph::edges::{Piece, each_tile};
use super::graph::layout::{GROUP, groups};
use super::graph::{
    Activation, BLOCK, Blocks, Dense, Filter, Graph, Head, Mechanics, Network, Output, Radials, both, for_each, head,
    narrow,
};
use crate::basis::lanes::{Simd, dispatch};
use crate::error::{Error, Result};

/// Dense layers with their transposes, and the filters in three blocks.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    pub first: [Dense<T>; 2],
    pub second: [Dense<T>; 2],
    pub filter: Filter<T>,
    pub mixing: Mixing<T>,
}

#[derive(Clone, Debug)]
pub struct PaiNN<T> {
    pub elements: usize,
    pub channels: usize,
    /// [elements, F] in padded rows.
    pub embedding: Vec<T>,
    pub radials: Radials,
    pub activation: Activation,
    pub layers: Vec<Layer<T>>,
    pub head: Option<Head<T>>,
}

/// Weights [out, in] and biases of a layer under schnetpack's names; of the filters' only the layer's own three blocks.
pub struct Weights<'a> {
    pub interatomic_context_net: [(&'a [f64], &'a [f64]); 2],
    pub filter_net: (&'a [f64], &'a [f64]),
    pub mu_channel_mix: &'a [f64],
    pub intraatomic_context_net: [(&'a [f64], &'a [f64]); 2],
}

impl<T: Simd> Layer<T> {
    /// For F channels and K radial functions; `intervals` of the filter table, None: exact.
    pub fn new(
        w: &Weights,
        channels: usize,
        radials: &Radials,
        epsilon: f64,
        intervals: Option<usize>,
    ) -> Result<Self> {
        let blocks = |count: usize| Blocks { count, channels };
        let k = Blocks::one(radials.basis.count);
        let filter = Filter::new(radials, intervals, || network(w, blocks(3), k), || network(w, blocks(3), k))?;
        let [first, second] = w.interatomic_context_net;
        let [inner, outer] = w.intraatomic_context_net;
        Ok(Layer {
            first: both(first.0, Some(first.1), blocks(1), blocks(1)),
            second: both(second.0, Some(second.1), blocks(3), blocks(1)),
            filter,
            mixing: Mixing {
                vectors: both(w.mu_channel_mix, None, blocks(2), blocks(1)),
                first: both(inner.0, Some(inner.1), blocks(1), blocks(2)),
                second: both(outer.0, Some(outer.1), blocks(3), blocks(1)),
                epsilon,
            },
        })
    }
}

fn network<T: Simd>(w: &Weights, blocks: Blocks, k: Blocks) -> Network<T> {
    Network::new(None, Dense::new(w.filter_net.0, Some(w.filter_net.1), blocks, k), blocks)
}

/// What messages of a layer read: t and mu, and the slopes of the activation inside of t.
struct State<T> {
    rows: Vec<T>,
    steep: Vec<T>,
}

/// A block of atoms on the way forward.
struct Forward<'a, T> {
    first: usize,
    q: &'a mut [T],
    state: &'a mut [T],
    steep: &'a mut [T],
    tape: &'a mut [T],
}

/// A block of atoms on the way back.
struct Backward<'a, T> {
    first: usize,
    grad: &'a mut [T],
    mechanics: &'a mut [Mechanics],
}

impl<T: Simd> PaiNN<T> {
    /// Energies of all atoms, forces and strain derivatives if `gradient`, the last channels if `features`.
    pub fn compute(&self, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
        graph.check(self.elements, true)?;
        let work = graph.atoms() * 20_000 + graph.source.len() * 1000;
        Ok(Output::of(graph.each(work, |piece| self.piece(&piece, gradient, features))?))
    }

    /// Bytes that a call on one system needs at its peak.
    pub fn memory(&self, atoms: usize, edges: usize, gradient: bool) -> usize {
        let f = groups(self.channels) * GROUP;
        let kept = if gradient { self.layers.len() * (7 + 11) * f + 9 * f } else { 15 * f };
        let exact = self.layers.first().is_some_and(|l| matches!(l.filter, Filter::Exact(_)));
        let basis = if exact { 3 * groups(self.radials.basis.count) * GROUP } else { 0 };
        size_of::<T>() * (atoms * (f + kept) + edges * (8 + basis)) + atoms * size_of::<Mechanics>()
    }

    fn groups(&self) -> usize {
        groups(self.channels)
    }

    fn piece(&self, piece: &Piece, gradient: bool, features: bool) -> Result<Output<T>> {
        let (n, g) = (piece.atoms.len(), self.groups());
        let f = g * GROUP;
        let Some(first) = self.layers.first() else {
            return Err(Error::value("n_interactions", "positive", 0));
        };
        let (edges, basis) = piece.edges(&self.radials, first.filter.table())?;
        let (node_work, edge_work) = (n * 15 * f * f / 20, piece.edge_count() * f);

        let embedding = piece.numbers().iter().map(|&z| &self.embedding[z as usize * f..(z as usize + 1) * f]);
        let mut q: Vec<T> = embedding.flatten().copied().collect();
        let mut mu = vec![T::ZERO; if features { 3 * n * f } else { 0 }];
        let mut now = State { rows: vec![T::ZERO; n * g * STATE], steep: vec![T::ZERO; n * f] };
        let blocks = q.chunks_mut(BLOCK * f).zip(now.rows.chunks_mut(BLOCK * g * STATE));
        let parts = blocks.zip(now.steep.chunks_mut(BLOCK * f)).collect();
        for_each(node_work, parts, |((q, state), steep)| self.shares(first, q, state, steep));

        let (mut states, mut tapes) = (Vec::new(), Vec::new());
        for (l, layer) in self.layers.iter().enumerate() {
            let after = self.layers.get(l + 1);
            let size = if after.is_some() { n } else { 0 };
            let mut next = State { rows: vec![T::ZERO; size * g * STATE], steep: vec![T::ZERO; size * f] };
            let mut tape = vec![T::ZERO; if gradient { n * g * TAPE } else { 0 }];
            let mut parts = Vec::with_capacity(n.div_ceil(BLOCK));
            {
                let mut rows = next.rows.chunks_mut(BLOCK * g * STATE);
                let mut steeps = next.steep.chunks_mut(BLOCK * f);
                let mut tapes = tape.chunks_mut(BLOCK * g * TAPE);
                let mut mus = mu.chunks_mut(BLOCK * 3 * f);
                for (b, q) in q.chunks_mut(BLOCK * f).enumerate() {
                    let part = Forward {
                        first: b * BLOCK,
                        q,
                        state: rows.next().unwrap_or_default(),
                        steep: steeps.next().unwrap_or_default(),
                        tape: tapes.next().unwrap_or_default(),
                    };
                    parts.push((part, mus.next().unwrap_or_default()));
                }
            }
            for_each(node_work + edge_work, parts, |(part, mu)| {
                let rows = part.q.len() / f;
                let mut sums = vec![T::ZERO; rows * g * GRADIENT];
                for r in 0..rows {
                    for k in 0..g {
                        let to = &mut sums[(r * g + k) * GRADIENT..][..GRADIENT];
                        let from = &now.rows[((part.first + r) * g + k) * STATE..][..STATE];
                        to[..GROUP].copy_from_slice(&part.q[(r * g + k) * GROUP..][..GROUP]);
                        to[GROUP..].copy_from_slice(&from[3 * GROUP..]);
                    }
                }
                let range = piece.rows[part.first]..piece.rows[part.first + rows];
                each_tile(&layer.filter, basis.as_ref(), range, false, |source, range| {
                    let (edges, state) = (&edges[range], &now.rows[..]);
                    let vectors = l > 0;
                    dispatch(Gather { source, edges, first: part.first, groups: g, vectors, state, out: &mut sums });
                });
                let mut own = vec![T::ZERO; if gradient { 0 } else { rows * g * TAPE }];
                let tape = if gradient { part.tape } else { &mut own };
                layer.mixing.forward(self.activation, g, &mut sums, tape);
                for at in 0..rows * g {
                    let from = &sums[at * GRADIENT..][..GRADIENT];
                    part.q[at * GROUP..][..GROUP].copy_from_slice(&from[..GROUP]);
                    if after.is_some() {
                        part.state[at * STATE + 3 * GROUP..][..3 * GROUP].copy_from_slice(&from[GROUP..]);
                    } else if features {
                        for a in 0..3 {
                            let to = &mut mu[(at / g * 3 + a) * f + at % g * GROUP..][..GROUP];
                            to.copy_from_slice(&from[(1 + a) * GROUP..][..GROUP]);
                        }
                    }
                }
                if let Some(after) = after {
                    self.shares(after, part.q, part.state, part.steep);
                }
            });
            let before = std::mem::replace(&mut now, next);
            if gradient {
                states.push(before);
                tapes.push(tape);
            }
        }
        let (energy, slope) = head::energies(self.head.as_ref(), &q, n, gradient);
        let mut output = Output { energy, ..Output::default() };
        if features {
            (output.scalars, output.vectors) = (narrow(&q, f, self.channels), narrow(&mu, f, self.channels));
        }
        if !gradient {
            return Ok(output);
        }

        let mut mechanics: Vec<Mechanics> = vec![[0.0; 12]; n];
        let mut grad = vec![T::ZERO; n * g * GRADIENT];
        for (to, from) in grad.chunks_exact_mut(GRADIENT).zip(slope.chunks_exact(GROUP)) {
            to[..GROUP].copy_from_slice(from);
        }
        let top = self.layers.len() - 1;
        let parts = grad.chunks_mut(BLOCK * g * GRADIENT).zip(tapes[top].chunks(BLOCK * g * TAPE)).collect();
        for_each(node_work, parts, |(grad, tape): (&mut [T], &[T])| self.layers[top].mixing.backward(g, tape, grad));
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let state = &states[l];
            let mut next = if l > 0 { grad.clone() } else { Vec::new() };
            let mut parts = Vec::with_capacity(n.div_ceil(BLOCK));
            {
                let mut nexts = next.chunks_mut(BLOCK * g * GRADIENT);
                for (b, mechanics) in mechanics.chunks_mut(BLOCK).enumerate() {
                    parts.push(Backward { first: b * BLOCK, grad: nexts.next().unwrap_or_default(), mechanics });
                }
            }
            for_each(node_work + 2 * edge_work, parts, |part| {
                let rows = part.mechanics.len();
                let mut sums = vec![T::ZERO; if l > 0 { rows * g * SUMS } else { 0 }];
                let range = piece.rows[part.first]..piece.rows[part.first + rows];
                each_tile(&layer.filter, basis.as_ref(), range, true, |source, range| {
                    dispatch(Return {
                        source,
                        edges: &edges[range.clone()],
                        vectors: &piece.vectors()[range],
                        first: part.first,
                        groups: g,
                        state: &state.rows,
                        grad: &grad,
                        sums: &mut sums,
                        mechanics: part.mechanics,
                    });
                });
                if l > 0 {
                    let own = &state.rows[part.first * g * STATE..(part.first + rows) * g * STATE];
                    let mut shares = vec![T::ZERO; rows * g * 3 * GROUP];
                    to_shares(own, &sums, &mut shares, part.grad);
                    let mut hidden = vec![T::ZERO; rows * f];
                    layer.second[1].apply(plain(3 * g).of(&shares), rows, plain(g).of_mut(&mut hidden), false);
                    times(&mut hidden, rows, plain(g).of(&state.steep[part.first * f..]));
                    let out = inside(g, GRADIENT, 0, 1).of_mut(part.grad);
                    layer.first[1].apply(plain(g).of(&hidden), rows, out, true);
                    let tape = &tapes[l - 1][part.first * g * TAPE..(part.first + rows) * g * TAPE];
                    self.layers[l - 1].mixing.backward(g, tape, part.grad);
                }
            });
            grad = next;
        }
        output.mechanics = mechanics;
        Ok(output)
    }

    /// t of a block's q, into its states.
    fn shares(&self, layer: &Layer<T>, q: &[T], state: &mut [T], steep: &mut [T]) {
        let g = self.groups();
        let rows = q.len() / g / GROUP;
        let mut hidden = vec![T::ZERO; q.len()];
        layer.first[0].apply(plain(g).of(q), rows, plain(g).of_mut(&mut hidden), false);
        self.activation.apply(&mut hidden, rows, Some(plain(g).of_mut(steep)));
        layer.second[0].apply(plain(g).of(&hidden), rows, inside(g, STATE, 0, 3).of_mut(state), false);
    }
}

/// From the sums of a block's messages to the gradients of t and mu (added to `grad`).
fn to_shares<T: Simd>(state: &[T], sums: &[T], shares: &mut [T], grad: &mut [T]) {
    let rows = state.chunks_exact(STATE).zip(sums.chunks_exact(SUMS));
    let out = shares.chunks_exact_mut(3 * GROUP).zip(grad.chunks_exact_mut(GRADIENT));
    for ((state, sums), (shares, grad)) in rows.zip(out) {
        shares[..2 * GROUP].copy_from_slice(&sums[..2 * GROUP]);
        for c in 0..GROUP {
            let t = state[2 * GROUP + c];
            let mut sum = T::ZERO;
            for a in 0..3 {
                let m = sums[(2 + a) * GROUP + c];
                sum += state[(3 + a) * GROUP + c] * m;
                grad[(1 + a) * GROUP + c] += t * m;
            }
            shares[2 * GROUP + c] = sum;
        }
    }
}
