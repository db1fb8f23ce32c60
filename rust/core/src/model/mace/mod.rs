//! MACE (Batatia et al., NeurIPS 2022) for inference: energies, their gradient to the edge vectors, features.
//!
//! Edges are sorted by receiver. A tile of receivers takes its edges in batches: weights, harmonics and the small matrices of
//! a batch are made, used and dropped, on the way back once more, so that nothing of the size edges x channels is kept, and an
//! edge has its vector and two numbers of atoms in memory. Radial functions carry their derivative along, so that the way back
//! has no network in it. Geometry and energies are f64, features of the model's precision. Sums have one order for any number
//! of threads.
//!
//! Measured on 64 atoms with 2,868 edges (128x0e + 128x1o, degree 3; energy, forces, stress; one Zen 3 core of 104 GFlop/s in
//! f32): 25 ms in f32, 52 ms in f64, for about 0.8 GFlop (a third of them on the way back along edges, a third in dense
//! products of atoms, a fifth in tables), so a third of the peak in both. Where time goes in f32: tables 15 % (in f64 20 %,
//! bound by the third-level cache), edges back 14 % and forward 6 %, dense products 14 %, symmetric contraction 11 %.

mod coupling;
mod functions;
mod gate;
mod kernels;
mod messages;
mod network;
mod order;
mod radial;
mod readout;
mod run;
mod table;

use std::sync::Arc;

pub use functions::{Method, Networks};
pub use gate::Gate as MessageGate;
pub use network::{Dense, Network};
pub use radial::{Basis, Radial, Repulsion, Transform};
pub use readout::{Gate, Readout};
pub use run::Output;

use self::coupling::Coupling;
use self::functions::Functions;
use self::order::Ordered;
use crate::basis::lanes::Simd;
use crate::call::check_index;
use crate::equivariant::polynomial::form::Polynomial;
use crate::equivariant::polynomial::rows::{Mode, Rows};
use crate::error::{Error, Result};

/// A product with its weights, one row or one a chemical element.
#[derive(Clone)]
pub struct Weighted<T> {
    pub product: Arc<Polynomial>,
    pub weights: Vec<T>,
}

impl<T: Simd> Weighted<T> {
    pub fn cast<U: Simd>(&self) -> Weighted<U> {
        let weights = self.weights.iter().map(|w| U::of(w.to_f64())).collect();
        Weighted { product: self.product.clone(), weights }
    }

    fn rows<'r>(&self, count: usize, choice: Option<&'r [i32]>) -> Rows<'r> {
        Rows { count, modes: vec![choice.map_or(Mode::Shared, Mode::Indexed), Mode::Own, Mode::Own] }
    }

    /// The product of `count` rows x; `choice`: each row's weights.
    pub fn of(&self, x: &[T], count: usize, choice: Option<&[i32]>) -> Vec<T> {
        let mut out = vec![T::ZERO; count * self.product.form.sizes[2]];
        self.product.forward(&self.rows(count, choice), &[&self.weights, x], &mut out);
        out
    }

    /// Its transpose on grad, at x (which linear maps do not read).
    pub fn back(&self, x: &[T], grad: &[T], count: usize, choice: Option<&[i32]>) -> Vec<T> {
        let mut out = vec![T::ZERO; count * self.product.form.sizes[1]];
        self.product.towards(&self.rows(count, choice), &[&self.weights, x], grad, [None, Some(&mut out), None]);
        out
    }
}

/// One layer as a file describes it. Features lie "ir_mul".
pub struct LayerParts {
    /// The skip connection starts at the layer's input and ends after the product; else it maps the message.
    pub residual: bool,
    /// Messages are divided by alpha + beta sum of the edges' densities, or, without a density, by `norm`.
    pub networks: Networks<f64>,
    pub divisor: [f64; 2],
    pub norm: f64,
    pub messages: Arc<Polynomial>,
    pub up: Weighted<f64>,
    pub down: Weighted<f64>,
    pub skip: Weighted<f64>,
    pub contraction: Weighted<f64>,
    pub out: Weighted<f64>,
    pub nonlinear: Option<NonLinear<f64>>,
}

/// What a non-linear residual block does to messages before the contraction: after(gate(message + beside(up))). Its skip
/// connection is the same for all elements.
#[derive(Clone)]
pub struct NonLinear<T> {
    pub beside: Weighted<T>,
    pub gate: MessageGate,
    pub after: Weighted<T>,
}

impl<T: Simd> NonLinear<T> {
    fn cast<U: Simd>(&self) -> NonLinear<U> {
        NonLinear { beside: self.beside.cast(), gate: self.gate.clone(), after: self.after.cast() }
    }
}

struct Layer<T> {
    residual: bool,
    divisor: [f64; 2],
    nonlinear: Option<NonLinear<T>>,
    functions: Functions<T>,
    coupling: Coupling<T>,
    up: Weighted<T>,
    skip: Weighted<T>,
    contraction: Weighted<T>,
    out: Weighted<T>,
}

/// What layers share.
pub struct Head<T> {
    pub elements: usize,
    pub channels: usize,
    pub heads: usize,
    pub lmax: usize,
    pub radial: Radial,
    pub repulsion: Option<Repulsion>,
    /// [elements, C].
    pub embedding: Vec<T>,
    /// One a layer, or one for the last.
    pub readouts: Vec<Readout<T>>,
    /// [heads, elements], eV.
    pub own_energies: Vec<f64>,
    /// [heads].
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
    /// All elements share the contraction's weights.
    pub agnostic: bool,
    /// Bytes of messages that are kept for the way back.
    pub memory: usize,
}

pub struct Mace<T> {
    head: Head<T>,
    layers: Vec<Layer<T>>,
}

/// Atoms of one or more systems and the edges between them, sorted by receiver.
pub struct Graph<'a> {
    /// Row on the element axis of each atom, and its head.
    pub elements: &'a [i32],
    pub heads: &'a [i32],
    /// From receiver to sender, Angstrom, [E, 3].
    pub vectors: &'a [f64],
    pub receiver: &'a [i32],
    pub sender: &'a [i32],
}

impl Graph<'_> {
    fn check(&self, elements: usize, heads: usize) -> Result<()> {
        let (n, e) = (self.elements.len(), self.receiver.len());
        if self.vectors.len() != 3 * e || self.sender.len() != e || self.heads.len() != n {
            return Err(Error::value("vectors", "of a row for each edge", format!("{}", self.vectors.len() / 3)));
        }
        check_index("elements", self.elements, elements)?;
        check_index("head", self.heads, heads)?;
        check_index("receiver", self.receiver, n)?;
        check_index("sender", self.sender, n)?;
        if let Some(row) = self.receiver.windows(2).position(|w| w[0] > w[1]) {
            return Err(Error::value("receiver", "sorted", format!("a smaller one in row {}", row + 1)));
        }
        if let Some(edge) = self.vectors.as_chunks::<3>().0.iter().position(|v| *v == [0.0; 3]) {
            let got = format!("two atoms in one place at edge {edge}");
            return Err(Error::value("positions", "apart from each other", got));
        }
        Ok(())
    }
}

impl<T: Simd> Mace<T> {
    /// Errors if the layers' products are not what the engine takes.
    pub fn new(head: Head<T>, layers: Vec<LayerParts>, method: Method) -> Result<Self> {
        head.radial.check(head.elements)?;
        let build = |parts: LayerParts| {
            let factor = if parts.networks.density.is_some() { 1.0 } else { 1.0 / parts.norm };
            let coupling = Coupling::new(&parts.messages, &parts.down, factor)?;
            let sizes = [coupling.channels, coupling.padded];
            let of = (&head.radial, head.elements);
            Ok(Layer {
                residual: parts.residual,
                divisor: parts.divisor,
                nonlinear: parts.nonlinear.as_ref().map(NonLinear::cast),
                functions: Functions::new(&parts.networks, sizes, of, method),
                coupling,
                up: parts.up.cast(),
                skip: parts.skip.cast(),
                contraction: parts.contraction.cast(),
                out: parts.out.cast(),
            })
        };
        let layers = layers.into_iter().map(build).collect::<Result<_>>()?;
        Ok(Mace { head, layers })
    }

    /// Energies of all atoms and, if asked for, the gradient to the edge vectors and the features of each layer.
    pub fn compute(&self, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
        graph.check(self.head.elements, self.head.heads)?;
        // Into the pool once: its threads would fall asleep between the many short regions of a call from outside.
        let work = graph.receiver.len() * self.layers.first().map_or(0, |l| l.coupling.weights());
        crate::pool::run(work, |_| self.inside(graph, gradient, features))
    }

    fn inside(&self, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
        let Some(ordered) = Ordered::new(graph, messages::tile_size(graph.elements.len())) else {
            return Ok(run::run(self, graph, gradient, features));
        };
        let found = run::run(self, &ordered.graph(), gradient, features);
        Ok(Output {
            energy: ordered.atoms(&found.energy),
            interaction: ordered.atoms(&found.interaction),
            gradient: ordered.edges(&found.gradient),
            features: found.features.iter().map(|x| ordered.atoms(x)).collect(),
        })
    }

    /// Tables of radial functions made so far: (number, bytes, largest errors of value and derivative).
    pub fn tables(&self) -> (usize, usize, [f64; 2]) {
        self.layers.iter().map(|l| l.functions.tables()).fold((0, 0, [0.0; 2]), |(n, bytes, e), (m, more, f)| {
            (n + m, bytes + more, [e[0].max(f[0]), e[1].max(f[1])])
        })
    }
}
