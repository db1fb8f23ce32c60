//! MACE (Batatia et al., NeurIPS 2022) for inference: energies, their gradient to the edge vectors, features.
//!
//! The composition of the room's products with a reverse pass by hand. Edges are sorted by receiver and taken in tiles of
//! whole receivers: the weights of a tile's edges are made, used and dropped, on the way back once more, so that nothing of
//! the size edges x channels is kept. Geometry, radial functions and energies are f64, features of the model's precision.

mod network;
mod radial;
mod readout;
mod run;

use std::sync::Arc;

pub use network::Network;
pub use radial::{Basis, Radial, Repulsion, Transform};
pub use readout::{Gate, Readout};
pub use run::Output;

use crate::basis::lanes::Simd;
use crate::call::check_index;
use crate::equivariant::polynomial::form::Polynomial;
use crate::error::{Error, Result};

/// A product with its weights, one row or one a chemical element.
#[derive(Clone)]
pub struct Weighted<T> {
    pub product: Arc<Polynomial>,
    pub weights: Vec<T>,
}

/// One layer. Features lie "ir_mul".
#[derive(Clone)]
pub struct Layer<T> {
    /// The skip connection starts at the layer's input and ends after the product; else it maps the message.
    pub residual: bool,
    /// Weights [K] of the edges' density, by whose sum messages are divided; None: they are divided by `norm`.
    pub density: Option<Vec<T>>,
    pub norm: f64,
    pub network: Network<T>,
    pub up: Weighted<T>,
    pub messages: Arc<Polynomial>,
    pub down: Weighted<T>,
    pub skip: Weighted<T>,
    pub contraction: Weighted<T>,
    pub out: Weighted<T>,
}

#[derive(Clone)]
pub struct Mace<T> {
    pub elements: usize,
    pub channels: usize,
    pub heads: usize,
    pub lmax: usize,
    pub radial: Radial,
    pub repulsion: Option<Repulsion>,
    /// [elements, C].
    pub embedding: Vec<T>,
    pub layers: Vec<Layer<T>>,
    /// One a layer, or one for the last.
    pub readouts: Vec<Readout<T>>,
    /// [heads, elements], eV.
    pub own_energies: Vec<f64>,
    /// [heads].
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
    /// All elements share the contraction's weights.
    pub agnostic: bool,
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
        Ok(())
    }
}

impl<T: Simd> Mace<T> {
    /// Energies of all atoms and, if asked for, the gradient to the edge vectors and the features of each layer.
    pub fn compute(&self, graph: &Graph, gradient: bool, features: bool) -> Result<Output<T>> {
        graph.check(self.elements, self.heads)?;
        run::run(self, graph, gradient, features)
    }
}
