//! One evaluation: forward through the layers, then back, tile by tile of edges.

use std::ops::Range;

use super::network::Trace;
use super::{Graph, Layer, Mace, Weighted};
use crate::basis::Normalization;
use crate::basis::harmonics::{Harmonics, spherical_harmonics, spherical_harmonics_bwd};
use crate::basis::lanes::Simd;
use crate::equivariant::polynomial::rows::{Mode, Rows};
use crate::error::{Error, Result};
use crate::pool;
use crate::real::Real;

/// Edges of a tile: their weights and activations stay in the second-level cache at 64 hidden units.
const TILE: usize = 128;
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

/// Receivers and their edges.
#[derive(Clone)]
struct Tile {
    atoms: Range<usize>,
    edges: Range<usize>,
}

/// What the layers read of the edges.
struct Edges<T> {
    harmonics: Vec<T>,
    /// [E, K], values and derivatives.
    basis: Vec<T>,
    slopes: Vec<f64>,
    /// (f_c, its derivative) where the network's result is multiplied with it.
    envelope: Vec<(f64, f64)>,
    repulsion: Vec<(f64, f64)>,
}

/// What a layer keeps for the way back.
struct Kept<T> {
    up: Vec<T>,
    message: Vec<T>,
    /// What the contraction reads, and 1 + the density of each atom.
    product_input: Vec<T>,
    density: Vec<f64>,
}

/// Gradients to what the layers read of the edges, [E, M] and [E, K].
struct Slopes<T> {
    harmonics: Vec<T>,
    basis: Vec<T>,
    envelope: Vec<f64>,
}

pub fn run<T: Simd>(model: &Mace<T>, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
    let n = graph.elements.len();
    let tiles = tiles(graph.receiver, n);
    let harmonics =
        Harmonics { lmax: model.lmax, normalize: true, normalization: Normalization::Component, polar_y: true };
    // The network's edge vector points from sender to receiver.
    let turned: Vec<T> = graph.vectors.iter().map(|v| T::of(-v)).collect();
    let edges = edges(model, graph, &harmonics, &turned)?;

    let mut kept: Vec<Kept<T>> = Vec::new();
    let mut nodes: Vec<Vec<T>> = vec![embed(model, graph.elements)];
    for (t, layer) in model.layers.iter().enumerate() {
        let (next, held) = forward(model, layer, graph, &edges, &tiles, &nodes[t]);
        nodes.push(next);
        kept.push(held);
    }

    let (mut interaction, mut grads) =
        (vec![0.0; n], nodes[1..].iter().map(|x| vec![T::ZERO; x.len()]).collect::<Vec<_>>());
    for (e, (value, _)) in edges.repulsion.iter().enumerate() {
        interaction[graph.receiver[e] as usize] += value;
    }
    let layers = model.layers.len();
    for (i, readout) in model.readouts.iter().enumerate() {
        let t = if model.readouts.len() == 1 { layers - 1 } else { i };
        let (x, grad) = (&nodes[t + 1], &mut grads[t]);
        let width = x.len() / n.max(1);
        for a in 0..n {
            let head = graph.heads[a] as usize;
            let grad = gradient.then(|| &mut grad[a * width..a * width + model.channels]);
            let scalars = &x[a * width..a * width + model.channels];
            interaction[a] += readout.atom(scalars, model.heads, head, model.scale[head], grad);
        }
    }
    let mut energy = vec![0.0; n];
    for a in 0..n {
        let head = graph.heads[a] as usize;
        interaction[a] = interaction[a] * model.scale[head] + model.shift[head];
        energy[a] = interaction[a] + model.own_energies[head * model.elements + graph.elements[a] as usize];
    }
    let mut output = Output { energy, interaction, gradient: Vec::new(), features: Vec::new() };
    if gradient {
        let mut slopes = Slopes {
            harmonics: vec![T::ZERO; edges.harmonics.len()],
            basis: vec![T::ZERO; edges.basis.len()],
            envelope: vec![0.0; edges.envelope.len()],
        };
        for t in (0..layers).rev() {
            let grad = std::mem::take(&mut grads[t]);
            let below = backward(model, &model.layers[t], graph, (&edges, &mut slopes), &tiles, &kept[t], &grad, t > 0);
            kept.pop();
            if let (Some(below), true) = (below, t > 0) {
                grads[t - 1].iter_mut().zip(below).for_each(|(g, b)| *g += b);
            }
        }
        output.gradient = to_vectors(model, graph, &harmonics, &turned, &edges, &slopes);
    }
    if features {
        output.features = nodes.split_off(1);
    }
    Ok(output)
}

/// Runs of receivers with at most [`TILE`] edges, or one receiver with more.
fn tiles(receiver: &[i32], n: usize) -> Vec<Tile> {
    let mut found: Vec<Tile> = Vec::new();
    let mut e = 0;
    for atom in 0..n {
        let first = e;
        while e < receiver.len() && receiver[e] as usize == atom {
            e += 1;
        }
        match found.last_mut() {
            Some(tile) if e - tile.edges.start <= TILE => (tile.atoms.end, tile.edges.end) = (atom + 1, e),
            _ => found.push(Tile { atoms: atom..atom + 1, edges: first..e }),
        }
    }
    found
}

fn embed<T: Simd>(model: &Mace<T>, elements: &[i32]) -> Vec<T> {
    let c = model.channels;
    elements.iter().flat_map(|&z| model.embedding[z as usize * c..(z as usize + 1) * c].iter().copied()).collect()
}

fn edges<T: Simd>(model: &Mace<T>, graph: &Graph, harmonics: &Harmonics, turned: &[T]) -> Result<Edges<T>> {
    let (count, k) = (graph.receiver.len(), model.radial.basis.count());
    let mut found = Edges {
        harmonics: vec![T::ZERO; count * harmonics.width()],
        basis: Vec::with_capacity(count * k),
        slopes: vec![0.0; count * k],
        envelope: Vec::with_capacity(if model.radial.apply_cutoff { 0 } else { count }),
        repulsion: Vec::with_capacity(if model.repulsion.is_some() { count } else { 0 }),
    };
    spherical_harmonics(harmonics, turned, &mut found.harmonics);
    let mut values = vec![0.0; k];
    for (e, v) in graph.vectors.as_chunks::<3>().0.iter().enumerate() {
        let r = length(v);
        if r == 0.0 {
            return Err(Error::value(
                "positions",
                "apart from each other",
                format!("two atoms in one place at edge {e}"),
            ));
        }
        let [a, b] = [graph.receiver[e], graph.sender[e]].map(|atom| graph.elements[atom as usize] as usize);
        let cut = model.radial.edge(r, a, b, &mut values, &mut found.slopes[e * k..(e + 1) * k]);
        found.basis.extend(values.iter().map(|&v| T::of(v)));
        if !model.radial.apply_cutoff {
            found.envelope.push(cut);
        }
        if let Some(zbl) = &model.repulsion {
            found.repulsion.push(zbl.edge(r, a, b));
        }
    }
    Ok(found)
}

fn length(v: &[f64; 3]) -> f64 {
    (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt()
}

impl<T: Simd> Weighted<T> {
    fn rows<'r>(&self, count: usize, choice: Option<&'r [i32]>) -> Rows<'r> {
        Rows { count, modes: vec![choice.map_or(Mode::Shared, Mode::Indexed), Mode::Own, Mode::Own] }
    }

    /// The product of `count` rows x; `choice`: each row's weights.
    fn of(&self, x: &[T], count: usize, choice: Option<&[i32]>) -> Vec<T> {
        let mut out = vec![T::ZERO; count * self.product.form.sizes[2]];
        self.product.forward(&self.rows(count, choice), &[&self.weights, x], &mut out);
        out
    }

    /// Its transpose on grad, at x (which linear maps do not read).
    fn back(&self, x: &[T], grad: &[T], count: usize, choice: Option<&[i32]>) -> Vec<T> {
        let mut out = vec![T::ZERO; count * self.product.form.sizes[1]];
        self.product.towards(&self.rows(count, choice), &[&self.weights, x], grad, [None, Some(&mut out), None]);
        out
    }
}

/// Weights of a tile's edges, [edges, n].
fn edge_weights<T: Simd>(layer: &Layer<T>, edges: &Edges<T>, tile: &Tile, trace: &mut Trace<T>, out: &mut Vec<T>) {
    let (count, k) = (tile.edges.len(), layer.network.sizes[0]);
    layer.network.forward(&edges.basis[tile.edges.start * k..tile.edges.end * k], count, trace, out);
}

fn scale_rows<T: Real>(rows: &mut [T], width: usize, factors: impl Iterator<Item = f64>) {
    for (row, factor) in rows.chunks_exact_mut(width.max(1)).zip(factors) {
        row.iter_mut().for_each(|x| *x *= T::of(factor));
    }
}

/// d_e = tanh((B W)^2), and its derivative to B W, of the edges of a tile.
fn densities<T: Simd>(weights: &[T], basis: &[T]) -> Vec<(f64, f64)> {
    let rows = basis.chunks_exact(weights.len());
    let value = |row: &[T]| {
        let x: f64 = row.iter().zip(weights).map(|(b, w)| b.to_f64() * w.to_f64()).sum();
        let d = (x * x).tanh();
        (d, 2.0 * x * (1.0 - d * d))
    };
    rows.map(value).collect()
}

/// Rows of a tile's messages: weights, senders' features and harmonics to receivers, counted from the tile's first.
fn message_rows<'r>(sender: &'r [i32], local: &'r [i32]) -> Rows<'r> {
    Rows { count: sender.len(), modes: vec![Mode::Own, Mode::Indexed(sender), Mode::Own, Mode::Indexed(local)] }
}

fn forward<T: Simd>(
    model: &Mace<T>,
    layer: &Layer<T>,
    graph: &Graph,
    edges: &Edges<T>,
    tiles: &[Tile],
    features: &[T],
) -> (Vec<T>, Kept<T>) {
    let n = graph.elements.len();
    let up = layer.up.of(features, n, None);
    let sizes = &layer.messages.form.sizes;
    let (summed, target, m) = (sizes[3], layer.down.product.form.sizes[2], sizes[2]);
    let mut message = vec![T::ZERO; n * target];
    let mut density = vec![1.0; n];
    let mut parts = Vec::with_capacity(tiles.len());
    let (mut rest, mut rest_density) = (&mut message[..], &mut density[..]);
    for tile in tiles {
        let (part, after) = rest.split_at_mut(tile.atoms.len() * target);
        let (one, others) = rest_density.split_at_mut(tile.atoms.len());
        parts.push((tile, part, one));
        (rest, rest_density) = (after, others);
    }
    let work = graph.receiver.len() * sizes[0] * 40;
    for_each(work, parts, |(tile, message, density)| {
        let (mut trace, mut weights) = (Trace::default(), Vec::new());
        edge_weights(layer, edges, tile, &mut trace, &mut weights);
        if !edges.envelope.is_empty() {
            scale_rows(&mut weights, sizes[0], edges.envelope[tile.edges.clone()].iter().map(|c| c.0));
        }
        let local: Vec<i32> = graph.receiver[tile.edges.clone()].iter().map(|r| r - tile.atoms.start as i32).collect();
        let mut sums = vec![T::ZERO; tile.atoms.len() * summed];
        let y = &edges.harmonics[tile.edges.start * m..tile.edges.end * m];
        let rows = message_rows(&graph.sender[tile.edges.clone()], &local);
        layer.messages.forward(&rows, &[&weights, &up, y], &mut sums);
        let down = layer.down.of(&sums, tile.atoms.len(), None);
        message.copy_from_slice(&down);
        if let Some(w) = &layer.density {
            let k = w.len();
            let found = densities(w, &edges.basis[tile.edges.start * k..tile.edges.end * k]);
            for ((d, _), (e, r)) in found.iter().zip(tile.edges.clone().zip(&local)) {
                density[*r as usize] += d * edges.envelope.get(e).map_or(1.0, |c| c.0);
            }
            scale_rows(message, target, density.iter().map(|d| 1.0 / d));
        } else {
            scale_rows(message, target, std::iter::repeat(1.0 / layer.norm));
        }
    });
    let choice = Some(graph.elements);
    let skip = layer.skip.of(if layer.residual { features } else { &message }, n, choice);
    let (product_input, added) = if layer.residual { (message.clone(), Some(skip)) } else { (skip, None) };
    let coupled = layer.contraction.of(&product_input, n, if model.agnostic { None } else { choice });
    let mut next = layer.out.of(&coupled, n, None);
    if let Some(skip) = added {
        next.iter_mut().zip(skip).for_each(|(x, s)| *x += s);
    }
    (next, Kept { up, message, product_input, density })
}

/// Gradient to the layer's input (None where nobody asks), and to what it reads of the edges.
#[allow(clippy::too_many_arguments)]
fn backward<T: Simd>(
    model: &Mace<T>,
    layer: &Layer<T>,
    graph: &Graph,
    (edges, slopes): (&Edges<T>, &mut Slopes<T>),
    tiles: &[Tile],
    kept: &Kept<T>,
    grad: &[T],
    to_input: bool,
) -> Option<Vec<T>> {
    let (n, choice) = (graph.elements.len(), Some(graph.elements));
    let coupled = layer.out.back(&[], grad, n, None);
    let mut to_message =
        layer.contraction.back(&kept.product_input, &coupled, n, if model.agnostic { None } else { choice });
    if !layer.residual {
        to_message = layer.skip.back(&[], &to_message, n, choice);
    }
    let target = layer.down.product.form.sizes[2];
    // d message / d density = -message / density.
    let mut to_density = vec![0.0; if layer.density.is_some() { n } else { 0 }];
    for (a, d) in to_density.iter_mut().enumerate() {
        let (g, m) = (&to_message[a * target..(a + 1) * target], &kept.message[a * target..(a + 1) * target]);
        *d = -g.iter().zip(m).map(|(g, m)| g.to_f64() * m.to_f64()).sum::<f64>() / kept.density[a];
    }
    match layer.density {
        Some(_) => scale_rows(&mut to_message, target, kept.density.iter().map(|d| 1.0 / d)),
        None => scale_rows(&mut to_message, target, std::iter::repeat(1.0 / layer.norm)),
    }

    let sizes = &layer.messages.form.sizes;
    let mut to_up = vec![T::ZERO; if to_input { n * sizes[1] } else { 0 }];
    let pass = Pass { layer, graph, edges, kept, to_message: &to_message, to_density: &to_density, to_input };
    for wave in tiles.chunks(WAVE) {
        let span = wave[0].edges.start..wave[wave.len() - 1].edges.end;
        let (m, k) = (sizes[2], layer.network.sizes[0]);
        let mut harmonics = &mut slopes.harmonics[span.start * m..span.end * m];
        let mut basis = &mut slopes.basis[span.start * k..span.end * k];
        let enveloped = !slopes.envelope.is_empty();
        let mut envelope = if enveloped { &mut slopes.envelope[span.clone()] } else { &mut [][..] };
        let mut parts = Vec::with_capacity(wave.len());
        for tile in wave {
            let count = tile.edges.len();
            let (a, rest_a) = harmonics.split_at_mut(count * m);
            let (b, rest_b) = basis.split_at_mut(count * k);
            let (c, rest_c) = envelope.split_at_mut(if enveloped { count } else { 0 });
            parts.push((tile, a, b, c));
            (harmonics, basis, envelope) = (rest_a, rest_b, rest_c);
        }
        let work = span.len() * sizes[0] * 120;
        let found = for_each(work, parts, |(tile, a, b, c)| pass.tile(tile, a, b, c));
        for (senders, values) in found {
            for (sender, value) in senders.iter().zip(values.chunks_exact(sizes[1].max(1))) {
                let row = &mut to_up[*sender as usize * sizes[1]..][..sizes[1]];
                row.iter_mut().zip(value).for_each(|(r, v)| *r += *v);
            }
        }
    }
    to_input.then(|| {
        let mut below = layer.up.back(&[], &to_up, n, None);
        if layer.residual {
            let skip = layer.skip.back(&[], grad, n, choice);
            below.iter_mut().zip(skip).for_each(|(b, s)| *b += s);
        }
        below
    })
}

/// The way back through the messages of one layer.
struct Pass<'p, 'g, T> {
    layer: &'p Layer<T>,
    graph: &'p Graph<'g>,
    edges: &'p Edges<T>,
    kept: &'p Kept<T>,
    to_message: &'p [T],
    to_density: &'p [f64],
    to_input: bool,
}

impl<T: Simd> Pass<'_, '_, T> {
    /// Adds to the gradients of the tile's edges; gives the senders and the gradients to their features.
    fn tile(&self, tile: &Tile, to_y: &mut [T], to_basis: &mut [T], to_envelope: &mut [f64]) -> (Vec<i32>, Vec<T>) {
        let (layer, edges, graph) = (self.layer, self.edges, self.graph);
        let sizes = &layer.messages.form.sizes;
        let (width, m, k) = (sizes[0], sizes[2], layer.network.sizes[0]);
        let (count, atoms) = (tile.edges.len(), tile.atoms.len());
        let target = layer.down.product.form.sizes[2];
        let sums =
            layer.down.back(&[], &self.to_message[tile.atoms.start * target..tile.atoms.end * target], atoms, None);
        let (mut trace, mut weights) = (Trace::default(), Vec::new());
        edge_weights(layer, edges, tile, &mut trace, &mut weights);
        let plain = (!edges.envelope.is_empty()).then(|| weights.clone());
        if plain.is_some() {
            scale_rows(&mut weights, width, edges.envelope[tile.edges.clone()].iter().map(|c| c.0));
        }
        let receivers: Vec<i32> =
            graph.receiver[tile.edges.clone()].iter().map(|r| r - tile.atoms.start as i32).collect();
        // The senders of this tile, each once, and their features side by side.
        let mut senders: Vec<i32> = graph.sender[tile.edges.clone()].to_vec();
        senders.sort_unstable();
        senders.dedup();
        let local: Vec<i32> =
            graph.sender[tile.edges.clone()].iter().map(|s| senders.binary_search(s).unwrap_or(0) as i32).collect();
        let up: Vec<T> = senders
            .iter()
            .flat_map(|&s| self.kept.up[s as usize * sizes[1]..(s as usize + 1) * sizes[1]].iter().copied())
            .collect();
        let mut to_weights = vec![T::ZERO; count * width];
        let mut to_up = vec![T::ZERO; if self.to_input { up.len() } else { 0 }];
        let y = &edges.harmonics[tile.edges.start * m..tile.edges.end * m];
        let rows = message_rows(&local, &receivers);
        let to_x = self.to_input.then_some(&mut to_up[..]);
        layer.messages.towards(&rows, &[&weights, &up, y], &sums, [Some(&mut to_weights), to_x, Some(to_y)]);
        if let Some(plain) = plain {
            let rows = to_weights.chunks_exact(width).zip(plain.chunks_exact(width));
            for (slope, (g, w)) in to_envelope.iter_mut().zip(rows) {
                *slope += g.iter().zip(w).map(|(g, w)| g.to_f64() * w.to_f64()).sum::<f64>();
            }
            scale_rows(&mut to_weights, width, edges.envelope[tile.edges.clone()].iter().map(|c| c.0));
        }
        layer.network.backward(&to_weights, count, &trace, to_basis);
        if let Some(w) = &layer.density {
            let found = densities(w, &edges.basis[tile.edges.start * k..tile.edges.end * k]);
            for (e, (d, slope)) in found.into_iter().enumerate() {
                let grad = self.to_density[tile.atoms.start + receivers[e] as usize];
                let cut = edges.envelope.get(tile.edges.start + e).map_or(1.0, |c| c.0);
                if let Some(to) = to_envelope.get_mut(e) {
                    *to += grad * d;
                }
                let row = &mut to_basis[e * k..(e + 1) * k];
                row.iter_mut().zip(w).for_each(|(b, w)| *b += T::of(grad * cut * slope * w.to_f64()));
            }
        }
        (if self.to_input { senders } else { Vec::new() }, to_up)
    }
}

/// From harmonics, basis, envelope and repulsion to the edge vectors.
fn to_vectors<T: Simd>(
    model: &Mace<T>,
    graph: &Graph,
    harmonics: &Harmonics,
    turned: &[T],
    edges: &Edges<T>,
    slopes: &Slopes<T>,
) -> Vec<f64> {
    let mut along = vec![T::ZERO; turned.len()];
    spherical_harmonics_bwd(harmonics, turned, &slopes.harmonics, &mut along);
    let k = model.radial.basis.count();
    let mut out = vec![0.0; graph.vectors.len()];
    for (e, (v, out)) in graph.vectors.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0).enumerate() {
        let rows = slopes.basis[e * k..(e + 1) * k].iter().zip(&edges.slopes[e * k..(e + 1) * k]);
        let mut radial: f64 = rows.map(|(g, s)| g.to_f64() * s).sum();
        if let (Some(g), Some(c)) = (slopes.envelope.get(e), edges.envelope.get(e)) {
            radial += g * c.1;
        }
        if let Some((_, slope)) = edges.repulsion.get(e) {
            radial += slope * model.scale[graph.heads[graph.receiver[e] as usize] as usize];
        }
        let r = length(v);
        for a in 0..3 {
            out[a] = radial * v[a] / r - along[3 * e + a].to_f64();
        }
    }
    out
}

/// Runs `job` on every part, results in order.
fn for_each<P: Send, R: Send>(work: usize, parts: Vec<P>, job: impl Fn(P) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    pool::run(work / 8, |threads| match threads {
        1 => parts.into_iter().map(job).collect(),
        _ => parts.into_par_iter().map(job).collect(),
    })
}
