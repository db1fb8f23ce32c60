//! One evaluation: forward through the layers, then back.

use super::messages::{Found, Pass, Tile, harmonics, resize, scale_rows, tiles};
use super::{Graph, Layer, Mace};
use crate::basis::harmonics::Harmonics;
use crate::basis::lanes::Simd;
use crate::equivariant::polynomial::rows::for_each_part as for_each;
use crate::pool;

/// Tiles whose contributions to senders are held at once, before they are added in order.
const WAVE: usize = 32;

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
    message: Vec<T>,
    /// What the contraction reads where that is not the message, and 1 + the density of each atom.
    mapped: Option<Vec<T>>,
    density: Vec<f64>,
}

/// One call.
struct Call<'c, T> {
    model: &'c Mace<T>,
    graph: &'c Graph<'c>,
    harmonics: Harmonics,
    tiles: Vec<Tile>,
}

pub fn run<T: Simd>(model: &Mace<T>, graph: &Graph, gradient: bool, features: bool) -> Output<T> {
    let (head, n) = (&model.head, graph.elements.len());
    let call = Call { model, graph, harmonics: harmonics(head.lmax), tiles: tiles(graph.receiver, n) };
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
            let below = call.backward(t, &kept[t], grad, &mut output.gradient);
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

    fn choice(&self) -> Option<&[i32]> {
        if self.model.head.agnostic { None } else { Some(self.graph.elements) }
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

    /// Features after layer t, of those before it (None: the elements').
    fn forward(&self, t: usize, features: Option<&[T]>) -> (Vec<T>, Kept<T>) {
        let (layer, n) = (&self.model.layers[t], self.graph.elements.len());
        let c = &layer.coupling;
        let x = match features {
            None => self.embedded(|x, count, _| layer.up.of(x, count, None)),
            Some(x) => layer.up.of(x, n, None),
        };
        let x = resize(x, c.channels, c.padded);
        let (mut message, mut density) = (vec![T::ZERO; n * c.target], vec![1.0; n]);
        let mut parts = Vec::with_capacity(self.tiles.len());
        let (mut rest, mut rest_density) = (&mut message[..], &mut density[..]);
        for tile in &self.tiles {
            let (part, after) = rest.split_at_mut(tile.atoms.len() * c.target);
            let (one, others) = rest_density.split_at_mut(tile.atoms.len());
            parts.push((tile, part, one));
            (rest, rest_density) = (after, others);
        }
        let pass = self.pass(t, &x);
        let work = self.work(layer);
        for_each(work, parts, |(tile, message, density)| pass.forward(tile, message, density));
        let mapped = (!layer.residual).then(|| layer.skip.of(&message, n, Some(self.graph.elements)));
        let coupled = layer.contraction.of(mapped.as_ref().unwrap_or(&message), n, self.choice());
        let mut next = layer.out.of(&coupled, n, None);
        if layer.residual {
            match features {
                Some(x) => {
                    let skip = layer.skip.of(x, n, Some(self.graph.elements));
                    next.iter_mut().zip(skip).for_each(|(x, s)| *x += s);
                }
                None => {
                    let skip = self.embedded(|x, count, each| layer.skip.of(x, count, Some(each)));
                    let width = skip.len() / self.model.head.elements.max(1);
                    for (row, &z) in next.chunks_exact_mut(width.max(1)).zip(self.graph.elements) {
                        row.iter_mut().zip(&skip[z as usize * width..]).for_each(|(x, s)| *x += *s);
                    }
                }
            }
        }
        (next, Kept { x, message, mapped, density })
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
    fn backward(&self, t: usize, kept: &Kept<T>, grad: Vec<T>, to_vectors: &mut [f64]) -> Vec<T> {
        let (layer, n) = (&self.model.layers[t], self.graph.elements.len());
        let (c, by_element) = (&layer.coupling, Some(self.graph.elements));
        let coupled = layer.out.back(&[], &grad, n, None);
        let read = kept.mapped.as_ref().unwrap_or(&kept.message);
        let mut to_message = layer.contraction.back(read, &coupled, n, self.choice());
        if !layer.residual {
            to_message = layer.skip.back(&[], &to_message, n, by_element);
        }
        // d message / d density = -message / density.
        let mut to_density = vec![0.0; n];
        if layer.functions.density().is_some() {
            let rows = to_message.chunks_exact(c.target).zip(kept.message.chunks_exact(c.target));
            for ((d, density), (g, m)) in to_density.iter_mut().zip(&kept.density).zip(rows) {
                *d = -g.iter().zip(m).map(|(g, m)| g.to_f64() * m.to_f64()).sum::<f64>() / density;
            }
            scale_rows(&mut to_message, c.target, kept.density.iter().map(|d| 1.0 / d));
        }
        let (to_features, width) = (t > 0, c.components * c.padded);
        let mut to_x = vec![T::ZERO; if to_features { n * width } else { 0 }];
        let pass = self.pass(t, &kept.x);
        let work = 3 * self.work(layer);
        let mut rest = to_vectors;
        for wave in self.tiles.chunks(WAVE) {
            let mut parts = Vec::with_capacity(wave.len());
            for tile in wave {
                let (part, after) = rest.split_at_mut(3 * tile.edges.len());
                parts.push((tile, part));
                rest = after;
            }
            let found = for_each(work, parts, |(tile, part)| {
                let grad = &to_message[tile.atoms.start * c.target..tile.atoms.end * c.target];
                pass.backward(tile, grad, &to_density[tile.atoms.clone()], part, to_features)
            });
            merge(&found, width, &mut to_x);
        }
        if !to_features {
            return Vec::new();
        }
        let mut below = layer.up.back(&[], &resize(to_x, c.padded, c.channels), n, None);
        if layer.residual {
            let skip = layer.skip.back(&[], &grad, n, by_element);
            below.iter_mut().zip(skip).for_each(|(b, s)| *b += s);
        }
        below
    }
}

/// Adds what the tiles of a wave found for their senders, tile by tile in order; each atom's row by one thread.
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
