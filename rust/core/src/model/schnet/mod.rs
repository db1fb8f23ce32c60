//! SchNet (Schütt et al., J. Chem. Phys. 148, 241722 (2018)), as schnetpack 2.1 has it: energies, forces, strain derivatives.
//!
//! x = embedding[Z]; for each layer y = x Win^T, m_i = sum_e y_j w(d_e), x += act(m U1^T + c1) U2^T + c2; an energy of each
//! atom from the last x. The way back is written by hand: with g = dE/dx it needs m's gradient gm = ((g U2) act') U1,
//! gathers gm as the way forward gathers y, and adds gy Win to g.

pub(super) mod messages;

use messages::{Gather, Return};

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

/// Dense layers with their transposes, and the filters.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    pub into: [Dense<T>; 2],
    pub first: [Dense<T>; 2],
    pub second: [Dense<T>; 2],
    pub filter: Filter<T>,
}

#[derive(Clone, Debug)]
pub struct SchNet<T> {
    pub elements: usize,
    pub channels: usize,
    /// Channels of the filters.
    pub filters: usize,
    /// [elements, F] in padded rows.
    pub embedding: Vec<T>,
    pub radials: Radials,
    pub activation: Activation,
    pub layers: Vec<Layer<T>>,
    pub head: Option<Head<T>>,
}

/// Weights [out, in] and biases of a layer under schnetpack's names.
pub struct Weights<'a> {
    pub in2f: &'a [f64],
    pub filter_network: [(&'a [f64], &'a [f64]); 2],
    pub f2out: [(&'a [f64], &'a [f64]); 2],
}

impl<T: Simd> Layer<T> {
    /// For F channels, `filters` of the messages, K radial functions; `intervals` of the filter table, None: exact.
    pub fn new(
        w: &Weights,
        [channels, filters]: [usize; 2],
        radials: &Radials,
        activation: Activation,
        intervals: Option<usize>,
    ) -> Result<Self> {
        let (f, c, k) = (Blocks::one(channels), Blocks::one(filters), Blocks::one(radials.basis.count));
        let filter = Filter::new(radials, intervals, || network(w, c, k, activation), || network(w, c, k, activation))?;
        Ok(Layer {
            into: both(w.in2f, None, c, f),
            first: both(w.f2out[0].0, Some(w.f2out[0].1), f, c),
            second: both(w.f2out[1].0, Some(w.f2out[1].1), f, f),
            filter,
        })
    }
}

fn network<T: Simd>(w: &Weights, c: Blocks, k: Blocks, activation: Activation) -> Network<T> {
    let [(first, offset), (last, bias)] = w.filter_network;
    Network::new(Some((Dense::new(first, Some(offset), c, k), activation)), Dense::new(last, Some(bias), c, c), c)
}

/// What the way back reads of the way forward, a layer.
struct Kept<T> {
    y: Vec<T>,
    steep: Vec<T>,
}

impl<T: Simd> SchNet<T> {
    /// Energies of all atoms, forces and strain derivatives if `gradient`, the last channels if `features`.
    pub fn compute(&self, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
        graph.check(self.elements, true)?;
        let work = graph.atoms() * 3000 + graph.source.len() * 200;
        Ok(Output::of(graph.each(work, |piece| self.piece(&piece, gradient, features))?))
    }

    /// Bytes that a call on one system needs at its peak.
    pub fn memory(&self, atoms: usize, edges: usize, gradient: bool) -> usize {
        let (f, c) = (groups(self.channels) * GROUP, groups(self.filters) * GROUP);
        let kept = if gradient { self.layers.len() * (f + c) + f + 2 * c } else { 2 * f + 2 * c };
        let exact = self.layers.first().is_some_and(|l| matches!(l.filter, Filter::Exact(_)));
        let basis = if exact { 3 * groups(self.radials.basis.count) * GROUP } else { 0 };
        size_of::<T>() * (atoms * (f + kept) + edges * (8 + basis)) + atoms * size_of::<Mechanics>()
    }

    fn piece(&self, piece: &Piece, gradient: bool, features: bool) -> Result<Output<T>> {
        let (n, e) = (piece.atoms.len(), piece.edge_count());
        let (f, c) = (groups(self.channels) * GROUP, groups(self.filters) * GROUP);
        let mut x: Vec<T> = piece
            .numbers()
            .iter()
            .flat_map(|&z| &self.embedding[z as usize * f..(z as usize + 1) * f])
            .copied()
            .collect();
        let Some(first) = self.layers.first() else {
            return Err(Error::value("n_interactions", "positive", 0));
        };
        let (edges, basis) = piece.edges(&self.radials, first.filter.table())?;
        let (node_work, edge_work) = (n * (f * c + f * f) / 20, e * c / 2);

        let mut kept: Vec<Kept<T>> = Vec::with_capacity(self.layers.len());
        let mut y = vec![T::ZERO; n * c];
        let parts = x.chunks_mut(BLOCK * f).zip(y.chunks_mut(BLOCK * c)).collect();
        for_each(node_work, parts, |(x, y): (&mut [T], &mut [T])| {
            first.into[0].apply(plain(f / GROUP).of(x), x.len() / f, plain(c / GROUP).of_mut(y), false);
        });
        for (l, layer) in self.layers.iter().enumerate() {
            let after = self.layers.get(l + 1);
            let mut next = vec![T::ZERO; if after.is_some() { n * c } else { 0 }];
            let mut steep = vec![T::ZERO; if gradient { n * f } else { 0 }];
            let mut nexts = next.chunks_mut(BLOCK * c);
            let mut steeps = steep.chunks_mut(BLOCK * f);
            let parts: Vec<_> = x
                .chunks_mut(BLOCK * f)
                .enumerate()
                .map(|(b, x)| (b * BLOCK, x, nexts.next().unwrap_or_default(), steeps.next().unwrap_or_default()))
                .collect();
            for_each(node_work + edge_work, parts, |(start, x, next, steep)| {
                let rows = x.len() / f;
                let mut m = vec![T::ZERO; rows * c];
                let range = piece.rows[start]..piece.rows[start + rows];
                each_tile(&layer.filter, basis.as_ref(), range, false, |source, range| {
                    let edges = &edges[range];
                    dispatch(Gather { source, edges, first: start, groups: c / GROUP, y: &y, out: &mut m });
                });
                let mut z = vec![T::ZERO; rows * f];
                layer.first[0].apply(plain(c / GROUP).of(&m), rows, plain(f / GROUP).of_mut(&mut z), false);
                self.activation.apply(&mut z, rows, gradient.then(|| plain(f / GROUP).of_mut(steep)));
                layer.second[0].apply(plain(f / GROUP).of(&z), rows, plain(f / GROUP).of_mut(x), true);
                if let Some(after) = after {
                    after.into[0].apply(plain(f / GROUP).of(x), rows, plain(c / GROUP).of_mut(next), false);
                }
            });
            let y = std::mem::replace(&mut y, next);
            if gradient {
                kept.push(Kept { y, steep });
            }
        }
        let (energy, mut g) = head::energies(self.head.as_ref(), &x, n, gradient);
        let scalars = if features { narrow(&x, f, self.channels) } else { Vec::new() };
        let mut output = Output { energy, scalars, ..Output::default() };
        if !gradient {
            return Ok(output);
        }
        let mut mechanics: Vec<Mechanics> = vec![[0.0; 12]; n];
        let mut grad = vec![T::ZERO; n * c];
        let top = kept.len() - 1;
        let parts = g.chunks_mut(BLOCK * f).zip(grad.chunks_mut(BLOCK * c)).enumerate().collect();
        for_each(node_work, parts, |(b, (g, grad)): (usize, (&mut [T], &mut [T]))| {
            self.to_messages(top, g, &kept[top].steep[b * BLOCK * f..], grad);
        });
        for l in (0..kept.len()).rev() {
            let (layer, now) = (&self.layers[l], &kept[l]);
            let mut next = vec![T::ZERO; if l > 0 { n * c } else { 0 }];
            let mut nexts = next.chunks_mut(BLOCK * c);
            let blocks = g.chunks_mut(BLOCK * f).zip(mechanics.chunks_mut(BLOCK));
            let parts: Vec<_> = blocks
                .enumerate()
                .map(|(b, (g, mechanics))| (b * BLOCK, g, mechanics, nexts.next().unwrap_or_default()))
                .collect();
            for_each(node_work + 2 * edge_work, parts, |(start, g, mechanics, next)| {
                let rows = mechanics.len();
                let mut grad_y = vec![T::ZERO; if l > 0 { rows * c } else { 0 }];
                let range = piece.rows[start]..piece.rows[start + rows];
                each_tile(&layer.filter, basis.as_ref(), range, true, |source, range| {
                    dispatch(Return {
                        source,
                        edges: &edges[range.clone()],
                        vectors: &piece.vectors()[range],
                        first: start,
                        groups: c / GROUP,
                        y: &now.y,
                        grad: &grad,
                        grad_y: &mut grad_y,
                        mechanics,
                    });
                });
                if l > 0 {
                    layer.into[1].apply(plain(c / GROUP).of(&grad_y), rows, plain(f / GROUP).of_mut(g), true);
                    self.to_messages(l - 1, g, &kept[l - 1].steep[start * f..], next);
                }
            });
            grad = next;
        }
        output.mechanics = mechanics;
        Ok(output)
    }

    /// gm = ((g U2) act') U1 of a block.
    fn to_messages(&self, layer: usize, g: &[T], steep: &[T], out: &mut [T]) {
        let (f, c) = (groups(self.channels) * GROUP, groups(self.filters) * GROUP);
        let (layer, rows) = (&self.layers[layer], g.len() / f);
        let mut hidden = vec![T::ZERO; rows * f];
        layer.second[1].apply(plain(f / GROUP).of(g), rows, plain(f / GROUP).of_mut(&mut hidden), false);
        times(&mut hidden, rows, plain(f / GROUP).of(steep));
        layer.first[1].apply(plain(f / GROUP).of(&hidden), rows, plain(c / GROUP).of_mut(out), false);
    }
}
