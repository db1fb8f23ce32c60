//! One evaluation: forward through the layers, then back.
//!
//! An atom has its features, their gradient and its messages in memory, the last only while all of them fit in the limit
//! that the caller sets; else they are made again on the way back, for the time of one more pass over the edges.

use std::ops::Range;

use super::messages::{Found, Pass, Tile, harmonics, resize, scale_rows, tiles};
use super::{Graph, Layer, Mace};
use crate::basis::harmonics::Harmonics;
use crate::basis::lanes::Simd;
use crate::equivariant::polynomial::rows::for_each_part as for_each;
use crate::pool;
use crate::stages::{self, Stage};

/// Tiles of a group. Between messages and features the network goes group by group, and contributions to senders are held
/// for a group before they are added in order.
const GROUP: usize = 64;

/// What one evaluation gives.
pub struct Output<T> {
    /// eV, [N]; without the elements' own energies in `interaction`.
    pub energy: Vec<f64>,
    pub interaction: Vec<f64>,
    /// d sum(energy) / d vectors, [E, 3].
    pub gradient: Vec<f64>,
    /// After each layer, [N, D], "ir_mul".
    pub features: Vec<Vec<T>>,
}

/// What a layer keeps for the way back.
struct Kept<T> {
    /// Padded features of senders: a row an element in the first layer, else a row an atom.
    x: Vec<T>,
    /// Of a non-linear block: what is added to messages, rows like those of x.
    beside: Option<Vec<T>>,
    /// Of all atoms, or empty: made again on the way back.
    messages: Vec<Messages<T>>,
}

/// Messages of a group of tiles.
struct Messages<T> {
    message: Vec<T>,
    /// What the gate of a non-linear block reads, and what the contraction reads where that is not the message.
    gated: Vec<T>,
    mapped: Option<Vec<T>>,
    /// By which each atom's message is divided, where it depends on the edges.
    divisor: Vec<f64>,
}

/// One call.
struct Call<'c, T> {
    model: &'c Mace<T>,
    graph: &'c Graph<'c>,
    harmonics: Harmonics,
    tiles: Vec<Tile>,
    /// Whether messages are kept for the way back.
    keep: bool,
}

pub fn run<T: Simd>(model: &Mace<T>, graph: &Graph, gradient: bool, features: bool) -> Output<T> {
    let (head, n) = (&model.head, graph.elements.len());
    let bytes: usize = model.layers.iter().map(|l| n * l.coupling.target * size_of::<T>()).sum();
    let tiles = tiles(graph.receiver, n);
    let call = Call { model, graph, harmonics: harmonics(head.lmax), tiles, keep: gradient && bytes <= head.memory };
    let (mut kept, mut nodes): (Vec<Kept<T>>, Vec<Vec<T>>) = (Vec::new(), Vec::new());
    let mut output = Output { energy: vec![0.0; n], interaction: vec![0.0; n], gradient: Vec::new(), features: vec![] };
    let mut slopes = Vec::new();
    if let Some(zbl) = &head.repulsion {
        slopes = call.repulsion(zbl, gradient, &mut output.interaction);
    }
    let layers = model.layers.len();
    let mut grads = Vec::new();
    for t in 0..layers {
        let (next, held) = call.forward(t, nodes.last().map(|x| &x[..]));
        kept.push(held);
        grads.push(call.readout(t, &next, gradient, &mut output.interaction));
        if !features {
            nodes.clear();
        }
        nodes.push(next);
    }
    for a in 0..n {
        let at = graph.heads[a] as usize;
        output.interaction[a] = output.interaction[a] * head.scale[at] + head.shift[at];
        output.energy[a] = output.interaction[a] + head.own_energies[at * head.elements + graph.elements[a] as usize];
    }
    if gradient {
        output.gradient = vec![0.0; graph.vectors.len()];
        for t in (0..layers).rev() {
            let grad = std::mem::take(&mut grads[t]);
            let below = call.backward(t, &kept[t], &grad, &mut output.gradient);
            kept.pop();
            if t > 0 {
                grads[t - 1].iter_mut().zip(below).for_each(|(g, b)| *g += b);
            }
        }
        for (e, slope) in slopes.into_iter().enumerate() {
            let v = &graph.vectors[3 * e..3 * e + 3];
            let scale = head.scale[graph.heads[graph.receiver[e] as usize] as usize] * slope;
            let r = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
            (0..3).for_each(|k| output.gradient[3 * e + k] += scale * v[k] / r);
        }
    }
    if features {
        output.features = nodes;
    }
    output
}

impl<T: Simd> Call<'_, T> {
    /// Adds the repulsion to the atoms' energies; gives its derivative on each edge.
    fn repulsion(&self, zbl: &super::Repulsion, gradient: bool, energy: &mut [f64]) -> Vec<f64> {
        let graph = self.graph;
        let mut slopes = vec![0.0; if gradient { graph.receiver.len() } else { 0 }];
        for (e, v) in graph.vectors.as_chunks::<3>().0.iter().enumerate() {
            let [a, b] = [graph.receiver[e] as usize, graph.sender[e] as usize];
            let r = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
            let (value, slope) = zbl.edge(r, graph.elements[a] as usize, graph.elements[b] as usize);
            energy[a] += value;
            if let Some(s) = slopes.get_mut(e) {
                *s = slope;
            }
        }
        slopes
    }

    /// Rows of the contraction's weights.
    fn choice(&self, atoms: &Range<usize>) -> Option<&[i32]> {
        if self.model.head.agnostic { None } else { Some(&self.graph.elements[atoms.clone()]) }
    }

    /// Features of the first layer by element: they depend on nothing else.
    fn embedded(&self, of: impl Fn(&[T], usize, &[i32]) -> Vec<T>) -> Vec<T> {
        let count = self.model.head.elements;
        let each: Vec<i32> = (0..count as i32).collect();
        of(&self.model.head.embedding, count, &each)
    }

    fn pass<'p>(&'p self, t: usize, x: &'p [T]) -> Pass<'p, T> {
        let layer = &self.model.layers[t];
        let rows = (t == 0).then_some(self.graph.elements);
        Pass { model: self.model, layer, graph: self.graph, harmonics: &self.harmonics, x, rows }
    }

    /// Messages of the atoms of some tiles.
    fn messages(&self, pass: &Pass<T>, beside: Option<&[T]>, tiles: &[Tile]) -> Messages<T> {
        let (layer, c, atoms) = (pass.layer, &pass.layer.coupling, atoms(tiles));
        let n = atoms.len();
        let (mut message, mut divisor) = (vec![T::ZERO; n * c.target], vec![layer.divisor[0]; n]);
        let mut parts = Vec::with_capacity(tiles.len());
        let (mut rest, mut rest_density) = (&mut message[..], &mut divisor[..]);
        for tile in tiles {
            let (part, after) = rest.split_at_mut(tile.atoms.len() * c.target);
            let (one, others) = rest_density.split_at_mut(tile.atoms.len());
            parts.push((tile, part, one));
            (rest, rest_density) = (after, others);
        }
        for_each(self.work(layer), parts, |(tile, message, density)| pass.forward(tile, message, density));
        let elements = &self.graph.elements[atoms.clone()];
        let (mut gated, mut mapped) = (Vec::new(), None);
        if let (Some(block), Some(beside)) = (&layer.nonlinear, beside) {
            gated = message.clone();
            for (row, atom) in gated.chunks_exact_mut(c.target).zip(atoms) {
                let at = pass.rows.map_or(atom, |rows| rows[atom] as usize);
                row.iter_mut().zip(&beside[at * c.target..]).for_each(|(x, b)| *x += *b);
            }
            mapped = Some(block.after.of(&block.gate.of(&gated), n, None));
        } else if !layer.residual {
            mapped = Some(layer.skip.of(&message, n, Some(elements)));
        }
        Messages { message, gated, mapped, divisor }
    }

    /// Features after layer t, of those before it (None: the elements').
    fn forward(&self, t: usize, features: Option<&[T]>) -> (Vec<T>, Kept<T>) {
        let (layer, n) = (&self.model.layers[t], self.graph.elements.len());
        let c = &layer.coupling;
        let up = match features {
            None => self.embedded(|x, count, _| layer.up.of(x, count, None)),
            Some(x) => layer.up.of(x, n, None),
        };
        let rows = up.len() / (c.components * c.channels).max(1);
        let beside = layer.nonlinear.as_ref().map(|block| block.beside.of(&up, rows, None));
        let x = resize(up, c.channels, c.padded);
        let first_skip = (layer.residual && features.is_none())
            .then(|| self.embedded(|x, count, each| layer.skip.of(x, count, layer.choice(each))));
        let (mut next, mut kept) = (Vec::new(), Vec::new());
        let pass = self.pass(t, &x);
        for tiles in self.tiles.chunks(GROUP) {
            let (atoms, made) = (atoms(tiles), self.messages(&pass, beside.as_deref(), tiles));
            let (count, elements) = (atoms.len(), &self.graph.elements[atoms.clone()]);
            let _timer = stages::start(Stage::Contract);
            let read = made.mapped.as_ref().unwrap_or(&made.message);
            let coupled = layer.contraction.of(read, count, self.choice(&atoms));
            let mut rows = layer.out.of(&coupled, count, None);
            let width = rows.len() / count;
            if let Some(skip) = &first_skip {
                for (row, &z) in rows.chunks_exact_mut(width).zip(elements) {
                    row.iter_mut().zip(&skip[z as usize * width..]).for_each(|(x, s)| *x += *s);
                }
            } else if let (true, Some(x)) = (layer.residual, features) {
                let size = x.len() / n;
                let skip = layer.skip.of(&x[atoms.start * size..atoms.end * size], count, layer.choice(elements));
                rows.iter_mut().zip(skip).for_each(|(x, s)| *x += s);
            }
            next.reserve_exact(if next.is_empty() { n * width } else { 0 });
            next.extend_from_slice(&rows);
            if self.keep {
                kept.push(made);
            }
        }
        (next, Kept { x, beside, messages: kept })
    }

    /// Nanoseconds of one direction, roughly.
    fn work(&self, layer: &Layer<T>) -> usize {
        self.graph.receiver.len() * layer.coupling.weights() + self.graph.elements.len() * layer.coupling.sums * 4
    }

    /// Adds what layer t's readout says to the atoms' energies; gives the gradient to the layer's features.
    fn readout(&self, t: usize, x: &[T], gradient: bool, energy: &mut [f64]) -> Vec<T> {
        let (head, graph) = (&self.model.head, self.graph);
        let mut grad = vec![T::ZERO; if gradient { x.len() } else { 0 }];
        let last = t + 1 == self.model.layers.len();
        let readout = match head.readouts.len() {
            1 if last => &head.readouts[0],
            1 => return grad,
            _ => &head.readouts[t],
        };
        let width = x.len() / graph.elements.len().max(1);
        let rows = x.chunks_exact(width.max(1)).zip(energy.iter_mut()).enumerate();
        let mut grads = grad.chunks_exact_mut(width.max(1));
        let jobs: Vec<_> = rows.map(|(a, (x, e))| (a, x, e, grads.next())).collect();
        let mut jobs = jobs;
        let parts: Vec<_> = jobs.chunks_mut(64).collect();
        for_each(graph.elements.len() * head.channels * 4, parts, |part| {
            for (a, x, energy, grad) in part {
                let at = graph.heads[*a] as usize;
                let grad = grad.as_mut().map(|g| &mut g[..head.channels]);
                **energy += readout.atom(&x[..head.channels], head.heads, at, head.scale[at], grad);
            }
        });
        grad
    }

    /// Gradient to the layer's input (empty for the first), those of the edges added to `to_vectors`.
    fn backward(&self, t: usize, kept: &Kept<T>, grad: &[T], to_vectors: &mut [f64]) -> Vec<T> {
        let (layer, n) = (&self.model.layers[t], self.graph.elements.len());
        let c = &layer.coupling;
        let (to_features, width) = (t > 0, c.components * c.padded);
        let mut to_x = vec![T::ZERO; if to_features { n * width } else { 0 }];
        let pass = self.pass(t, &kept.x);
        let mut rest = to_vectors;
        for (g, tiles) in self.tiles.chunks(GROUP).enumerate() {
            let atoms = atoms(tiles);
            let again = if self.keep { None } else { Some(self.messages(&pass, kept.beside.as_deref(), tiles)) };
            let made = again.as_ref().unwrap_or_else(|| &kept.messages[g]);
            let size = grad.len() / n;
            let (to_message, to_density, to_gated) =
                self.to_messages(layer, made, &atoms, &grad[atoms.start * size..atoms.end * size]);
            drop(again);
            if let (Some(block), true) = (&layer.nonlinear, to_features) {
                let own = resize(block.beside.back(&[], &to_gated, atoms.len(), None), c.channels, c.padded);
                to_x[atoms.start * width..].iter_mut().zip(own).for_each(|(x, g)| *x += g);
            }
            let mut parts = Vec::with_capacity(tiles.len());
            for tile in tiles {
                let (part, after) = rest.split_at_mut(3 * tile.edges.len());
                parts.push((tile, part));
                rest = after;
            }
            let found = for_each(3 * self.work(layer), parts, |(tile, part)| {
                let own = tile.atoms.start - atoms.start..tile.atoms.end - atoms.start;
                let grad = &to_message[own.start * c.target..own.end * c.target];
                pass.backward(tile, grad, &to_density[own], part, to_features)
            });
            merge(&found, width, &mut to_x);
        }
        if !to_features {
            return Vec::new();
        }
        let mut below = layer.up.back(&[], &resize(to_x, c.padded, c.channels), n, None);
        if layer.residual {
            let skip = layer.skip.back(&[], grad, n, layer.choice(self.graph.elements));
            below.iter_mut().zip(skip).for_each(|(b, s)| *b += s);
        }
        below
    }

    /// Gradients to a group's messages, to their divisors, and to what the gate reads.
    fn to_messages(
        &self,
        layer: &Layer<T>,
        made: &Messages<T>,
        atoms: &Range<usize>,
        grad: &[T],
    ) -> (Vec<T>, Vec<f64>, Vec<T>) {
        let _timer = stages::start(Stage::Backward);
        let (n, target) = (atoms.len(), layer.coupling.target);
        let coupled = layer.out.back(&[], grad, n, None);
        let read = made.mapped.as_ref().unwrap_or(&made.message);
        let mut to_message = layer.contraction.back(read, &coupled, n, self.choice(atoms));
        let mut to_gated = Vec::new();
        if let Some(block) = &layer.nonlinear {
            to_message = block.gate.back(&made.gated, &block.after.back(&[], &to_message, n, None));
            to_gated.clone_from(&to_message);
        } else if !layer.residual {
            to_message = layer.skip.back(&[], &to_message, n, Some(&self.graph.elements[atoms.clone()]));
        }
        // d message / d divisor = -message / divisor.
        let mut to_density = vec![0.0; n];
        if layer.functions.density().is_some() {
            let rows = to_message.chunks_exact(target).zip(made.message.chunks_exact(target));
            for ((d, density), (g, m)) in to_density.iter_mut().zip(&made.divisor).zip(rows) {
                *d = -g.iter().zip(m).map(|(g, m)| g.to_f64() * m.to_f64()).sum::<f64>() / density;
            }
            scale_rows(&mut to_message, target, made.divisor.iter().map(|d| 1.0 / d));
        }
        (to_message, to_density, to_gated)
    }
}

impl<T> Layer<T> {
    /// Rows of the skip connection's weights.
    fn choice<'e>(&self, elements: &'e [i32]) -> Option<&'e [i32]> {
        if self.nonlinear.is_some() { None } else { Some(elements) }
    }
}

/// The atoms of tiles that follow each other.
fn atoms(tiles: &[Tile]) -> Range<usize> {
    match (tiles.first(), tiles.last()) {
        (Some(a), Some(b)) => a.atoms.start..b.atoms.end,
        _ => 0..0,
    }
}

/// Adds what the tiles of a group found for their senders, tile by tile in order; each atom's row by one thread.
fn merge<T: Simd>(found: &[Found<T>], width: usize, to_x: &mut [T]) {
    let cost = found.len() * width / 4;
    pool::for_each_block(to_x, width, cost, |first, rows| {
        let last = first + rows.len() / width;
        for tile in found {
            let place = |atom: usize| tile.senders.partition_point(|&s| (s as usize) < atom);
            for at in place(first)..place(last) {
                let row = &mut rows[(tile.senders[at] as usize - first) * width..][..width];
                row.iter_mut().zip(&tile.to_x[at * width..]).for_each(|(r, v)| *r += *v);
            }
        }
    });
}
