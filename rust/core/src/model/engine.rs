//! The small message-passing engine: z_i = h_i U + sum_j c(d) (phi(d) R) * (h_j V) + b, h' = silu(z) but after the last layer.
//!
//! phi are K Gaussians exp(-(d - mu)^2 / (2 w^2)), mu from 0 to the cutoff, w = cutoff / (K - 1); c is the cosine cutoff. Edges
//! need no reverse (a list of nearest neighbors has none). An atom's result is the same whatever else is in the call.

use super::graph::activation::times;
use super::graph::dense::plain;
use super::graph::edges::{Piece, each_tile};
use super::graph::layout::{GROUP, groups};
use super::graph::{
    Activation, Blocks, Dense, Envelope, Filter, Graph, Kind, Network, Radials, both, narrow, padded_rows,
};
use super::schnet::messages::Gather;
use crate::basis::lanes::{Simd, dispatch};
use crate::error::{Error, Result, check_cutoff};

/// Weights [U; V] (in, out), R (K, out) and b (out), row by row.
pub struct Weights<'a> {
    pub inputs: usize,
    pub outputs: usize,
    pub own: &'a [f64],
    pub neighbor: &'a [f64],
    pub radial: &'a [f64],
    pub bias: &'a [f64],
}

struct Layer<T> {
    inputs: usize,
    outputs: usize,
    own: [Dense<T>; 2],
    neighbor: [Dense<T>; 2],
    filter: Filter<T>,
}

pub struct Engine<T> {
    layers: Vec<Layer<T>>,
    functions: usize,
}

/// Gradients of sum(grad * out): to the features [N, C_in] and to the edge vectors [E, 3].
pub struct Gradients<T> {
    pub out: Vec<T>,
    pub feats: Vec<T>,
    pub vectors: Vec<f64>,
}

/// Of one layer, for the way back: inputs, y = h V, and slopes of the activation.
struct Kept<T> {
    y: Vec<T>,
    steep: Vec<T>,
}

fn turned(weights: &[f64], inputs: usize) -> Vec<f64> {
    let outputs = weights.len() / inputs.max(1);
    (0..weights.len()).map(|at| weights[at % inputs * outputs + at / inputs]).collect()
}

impl<T: Simd> Engine<T> {
    pub fn new(layers: &[Weights]) -> Result<Self> {
        let Some(first) = layers.first() else { return Err(Error::value("weights", "of at least one layer", 0)) };
        let functions = first.radial.len() / first.outputs.max(1);
        let mut made = Vec::new();
        for (l, w) in layers.iter().enumerate() {
            let (out, into) = (Blocks::one(w.outputs), Blocks::one(w.inputs));
            let fits = w.own.len() == w.inputs * w.outputs
                && w.neighbor.len() == w.own.len()
                && w.radial.len() == functions * w.outputs
                && w.bias.len() == w.outputs
                && (l == 0 || layers[l - 1].outputs == w.inputs)
                && w.inputs > 0
                && w.outputs > 0;
            if !fits {
                return Err(Error::value("weights", "of sizes that fit each other", format!("layer {l}")));
            }
            let radial = Dense::new(&turned(w.radial, functions), None, out, Blocks::one(functions));
            made.push(Layer {
                inputs: w.inputs,
                outputs: w.outputs,
                own: both(&turned(w.own, w.inputs), Some(w.bias), out, into),
                neighbor: both(&turned(w.neighbor, w.inputs), None, out, into),
                filter: Filter::Exact(Network::new(None, radial, out)),
            });
        }
        Ok(Engine { layers: made, functions })
    }

    fn radials(&self, cutoff: f64) -> Result<Radials> {
        check_cutoff(cutoff)?;
        let k = self.functions;
        if k < 2 {
            return Err(Error::value("k", "at least 2", k));
        }
        let width = cutoff / (k - 1) as f64;
        let centers = (0..k).map(|q| cutoff * q as f64 / (k - 1) as f64).collect();
        let kind = Kind::Gaussian { centers, coefficients: vec![-0.5 / (width * width); k] };
        Ok(Radials::new(kind, k, cutoff, Envelope::Cosine { lower: 0.0 }))
    }

    fn check(&self, graph: &Graph, feats: &[T]) -> Result<()> {
        graph.check(i32::MAX as usize, false)?;
        let inputs = self.layers[0].inputs;
        if feats.len() != graph.atoms() * inputs {
            return Err(Error::value("feats", &format!("{} x {inputs} values", graph.atoms()), feats.len()));
        }
        Ok(())
    }

    /// h' [N, C_out] of the last layer for feats [N, C_in].
    pub fn run(&self, graph: &Graph, feats: &[T], cutoff: f64) -> Result<Vec<T>> {
        self.check(graph, feats)?;
        let radials = self.radials(cutoff)?;
        let work = graph.atoms() * 500 + graph.source.len() * 300;
        let parts = graph.each(work, |piece| Ok(self.forward(&piece, &radials, feats, &mut Vec::new())?.0))?;
        Ok(parts.concat())
    }

    /// h', and the gradients of sum(grad * h').
    pub fn run_with_grad(&self, graph: &Graph, feats: &[T], cutoff: f64, grad: &[T]) -> Result<Gradients<T>> {
        self.check(graph, feats)?;
        let outputs = self.layers[self.layers.len() - 1].outputs;
        if grad.len() != graph.atoms() * outputs {
            return Err(Error::value("grad", &format!("{} x {outputs} values", graph.atoms()), grad.len()));
        }
        let radials = self.radials(cutoff)?;
        let work = graph.atoms() * 1500 + graph.source.len() * 900;
        let parts = graph.each(work, |piece| self.backward(&piece, &radials, feats, grad))?;
        let mut all = Gradients { out: Vec::new(), feats: Vec::new(), vectors: Vec::new() };
        for part in parts {
            all.out.extend(part.out);
            all.feats.extend(part.feats);
            all.vectors.extend(part.vectors);
        }
        Ok(all)
    }

    /// The last layer's rows, narrow and padded.
    fn forward(
        &self,
        piece: &Piece,
        radials: &Radials,
        feats: &[T],
        kept: &mut Vec<Kept<T>>,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let (rows, inputs) = (piece.atoms.len(), self.layers[0].inputs);
        let (edges, basis) = piece.edges::<T>(radials, None)?;
        let mut h = padded_rows(&feats[piece.atoms.start * inputs..piece.atoms.end * inputs], inputs);
        for (l, layer) in self.layers.iter().enumerate() {
            let (a, c) = (groups(layer.inputs), groups(layer.outputs));
            let (mut z, mut y) = (vec![T::ZERO; rows * c * GROUP], vec![T::ZERO; rows * c * GROUP]);
            layer.own[0].apply(plain(a).of(&h), rows, plain(c).of_mut(&mut z), false);
            layer.neighbor[0].apply(plain(a).of(&h), rows, plain(c).of_mut(&mut y), false);
            each_tile(&layer.filter, basis.as_ref(), 0..edges.len(), false, |source, range| {
                dispatch(Gather { source, edges: &edges[range], first: 0, groups: c, y: &y, out: &mut z });
            });
            let activation = if l + 1 < self.layers.len() { Activation::Silu } else { Activation::Identity };
            let mut steep = vec![T::ZERO; z.len()];
            activation.apply(&mut z, rows, Some(plain(c).of_mut(&mut steep)));
            kept.push(Kept { y, steep });
            h = z;
        }
        let last = &self.layers[self.layers.len() - 1];
        Ok((narrow(&h, groups(last.outputs) * GROUP, last.outputs), h))
    }

    fn backward(&self, piece: &Piece, radials: &Radials, feats: &[T], grad: &[T]) -> Result<Gradients<T>> {
        let rows = piece.atoms.len();
        let mut kept = Vec::new();
        let (out, _) = self.forward(piece, radials, feats, &mut kept)?;
        let (edges, basis) = piece.edges::<T>(radials, None)?;
        let outputs = self.layers[self.layers.len() - 1].outputs;
        let mut g = padded_rows(&grad[piece.atoms.start * outputs..piece.atoms.end * outputs], outputs);
        let mut along = vec![0.0; edges.len()];
        for (layer, kept) in self.layers.iter().zip(&kept).rev() {
            let (a, c) = (groups(layer.inputs), groups(layer.outputs));
            times(&mut g, rows, plain(c).of(&kept.steep));
            let mut to_y = vec![T::ZERO; g.len()];
            each_tile(&layer.filter, basis.as_ref(), 0..edges.len(), true, |source, range| {
                let super::graph::edges::Source::Rows(filters) = source else { return };
                let rows = filters.chunks_exact(2 * c * GROUP);
                for ((edge, along), filter) in edges[range.clone()].iter().zip(&mut along[range]).zip(rows) {
                    let own = &g[edge.source as usize * c * GROUP..][..c * GROUP];
                    let y = &kept.y[edge.target as usize * c * GROUP..][..c * GROUP];
                    let to = &mut to_y[edge.target as usize * c * GROUP..][..c * GROUP];
                    let mut sum = 0.0;
                    for (k, filter) in filter.chunks_exact(2 * GROUP).enumerate() {
                        for q in 0..GROUP {
                            let at = k * GROUP + q;
                            to[at] += own[at] * filter[q];
                            sum += (own[at] * y[at] * filter[GROUP + q]).to_f64();
                        }
                    }
                    *along += sum;
                }
            });
            let mut below = vec![T::ZERO; rows * a * GROUP];
            layer.own[1].apply(plain(c).of(&g), rows, plain(a).of_mut(&mut below), false);
            layer.neighbor[1].apply(plain(c).of(&to_y), rows, plain(a).of_mut(&mut below), true);
            g = below;
        }
        let inputs = self.layers[0].inputs;
        let unit = |v: &[f64; 3], g: f64| {
            let d = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
            v.map(|x| if d > 0.0 { g * x / d } else { 0.0 })
        };
        let vectors = piece.vectors().iter().zip(along).flat_map(|(v, g)| unit(v, g)).collect();
        Ok(Gradients { out, feats: narrow(&g, groups(inputs) * GROUP, inputs), vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine<f64> {
        let w = |n: usize, s: f64| (0..n).map(|i| (i as f64 * s).sin() * 0.5).collect::<Vec<_>>();
        let (u, v, r, b) = (w(20 * 18, 0.3), w(20 * 18, 0.7), w(5 * 18, 1.1), w(18, 1.3));
        let (u2, v2, r2, b2) = (w(18 * 2, 0.4), w(18 * 2, 0.9), w(5 * 2, 1.7), w(2, 2.3));
        let layers = [
            Weights { inputs: 20, outputs: 18, own: &u, neighbor: &v, radial: &r, bias: &b },
            Weights { inputs: 18, outputs: 2, own: &u2, neighbor: &v2, radial: &r2, bias: &b2 },
        ];
        Engine::new(&layers).unwrap()
    }

    #[test]
    fn gradients_are_difference_quotients_for_a_list_without_reverses() {
        let engine = engine();
        let vectors = [0.0, 0.3, 1.0, 0.5, -0.4, 0.2, 1.1, 0.2, -0.3];
        let numbers = [1, 1, 1];
        let graph = |vectors: &'static [f64]| Graph {
            numbers: &[1, 1, 1],
            offsets: &[0, 3],
            vectors,
            source: &[0, 0, 2],
            target: &[1, 2, 0],
        };
        assert_eq!(numbers.len(), 3);
        let feats: Vec<f64> = (0..60).map(|i| (f64::from(i) * 0.17).cos()).collect();
        let grad: Vec<f64> = (0..6).map(|i| (f64::from(i) * 0.9).sin()).collect();
        let value = |vectors: &[f64], feats: &[f64]| {
            let graph = Graph { vectors, ..graph(&[]) };
            let out = engine.run(&graph, feats, 2.0).unwrap();
            out.iter().zip(&grad).map(|(o, g)| o * g).sum::<f64>()
        };
        let found = engine.run_with_grad(&Graph { vectors: &vectors, ..graph(&[]) }, &feats, 2.0, &grad).unwrap();
        for i in 0..9 {
            let shifted = |h: f64| {
                let mut v = vectors;
                v[i] += h;
                value(&v, &feats)
            };
            assert!((found.vectors[i] - (shifted(1e-6) - shifted(-1e-6)) / 2e-6).abs() < 1e-7);
        }
        for i in [0, 21, 59] {
            let shifted = |h: f64| {
                let mut f = feats.clone();
                f[i] += h;
                value(&vectors, &f)
            };
            assert!((found.feats[i] - (shifted(1e-6) - shifted(-1e-6)) / 2e-6).abs() < 1e-7);
        }
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let graph = Graph { numbers: &[1], offsets: &[0, 1], vectors: &[], source: &[], target: &[] };
        assert!(engine().run(&graph, &[0.0; 19], 2.0).is_err());
        assert!(engine().run(&graph, &[0.0; 20], -2.0).is_err());
        assert!(engine().run_with_grad(&graph, &[0.0; 20], 2.0, &[0.0; 3]).is_err());
        assert!(Engine::<f64>::new(&[]).is_err());
        let w = Weights { inputs: 2, outputs: 1, own: &[0.0; 2], neighbor: &[0.0; 2], radial: &[0.0; 3], bias: &[] };
        assert!(Engine::<f64>::new(&[w]).is_err());
    }
}
