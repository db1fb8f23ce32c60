//! Glue of the graph networks SchNet and PaiNN: a description made in Python, arrays in, arrays out.

use numpy::{Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use valence_core::basis::lanes::Simd;
use valence_core::model::graph::{Activation, Envelope, Filter, Graph, Head, Kind, Linear, Output, Radials, padded};
use valence_core::model::painn::{self, PaiNN};
use valence_core::model::schnet::{self, SchNet};

use crate::error::to_py;

type Array<'py> = PyReadonlyArray1<'py, f64>;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Text<'py> {
    kind: String,
    elements: usize,
    channels: usize,
    filters: usize,
    embedding: Array<'py>,
    /// Name, centers or frequencies, widths.
    basis: (String, Vec<f64>, Vec<f64>),
    cutoff: f64,
    envelope: String,
    activation: String,
    epsilon: f64,
    /// Weights of each layer in the order of `Weights`.
    layers: Vec<Vec<Array<'py>>>,
    /// Weights, bias, inputs, outputs of each layer; empty: no energies.
    head: Vec<(Array<'py>, Array<'py>, usize, usize)>,
    head_activation: String,
    intervals: Option<usize>,
}

fn slice<'a>(array: &'a Array) -> PyResult<&'a [f64]> {
    array.as_slice().map_err(|e| PyValueError::new_err(e.to_string()))
}

fn activation(name: &str) -> PyResult<Activation> {
    Ok(match name {
        "shifted_softplus" => Activation::ShiftedSoftplus,
        "silu" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "identity" => Activation::Identity,
        other => return Err(PyValueError::new_err(format!("`activation` must be known, got {other}"))),
    })
}

fn radials(text: &Text) -> PyResult<Radials> {
    let (kind, first, second) = &text.basis;
    let kind = match kind.as_str() {
        "gaussian" => {
            let coefficients = second.iter().map(|w| -0.5 / (w * w)).collect();
            Kind::Gaussian { centers: first.clone(), coefficients }
        }
        _ => Kind::Bessel { prefactor: 1.0, frequencies: first.clone(), step: None },
    };
    let envelope = match text.envelope.as_str() {
        "cosine" => Envelope::Cosine { lower: 0.0 },
        "mollifier" => Envelope::Mollifier,
        other => return Err(PyValueError::new_err(format!("`cutoff_fn` must be known, got {other}"))),
    };
    Ok(Radials::new(kind, first.len(), text.cutoff, envelope))
}

fn head<T: Simd>(text: &Text) -> PyResult<Option<Head<T>>> {
    let mut layers = Vec::new();
    for (weights, bias, inputs, outputs) in &text.head {
        layers.push(Linear { weights: slice(weights)?, bias: slice(bias)?, inputs: *inputs, outputs: *outputs });
    }
    let activation = activation(&text.head_activation)?;
    Ok((!layers.is_empty()).then(|| Head::new(&layers, activation)))
}

fn schnet<T: Simd>(text: &Text) -> PyResult<SchNet<T>> {
    let (radials, activation) = (radials(text)?, activation(&text.activation)?);
    let mut layers = Vec::new();
    for arrays in &text.layers {
        let w = arrays.iter().map(slice).collect::<PyResult<Vec<_>>>()?;
        let [into, f1, g1, f2, g2, u1, c1, u2, c2] = w[..] else {
            return Err(PyValueError::new_err("a layer of 9 arrays"));
        };
        let w = schnet::Weights { in2f: into, filter_network: [(f1, g1), (f2, g2)], f2out: [(u1, c1), (u2, c2)] };
        let sizes = [text.channels, text.filters];
        layers.push(schnet::Layer::new(&w, sizes, &radials, activation, text.intervals).map_err(to_py)?);
    }
    Ok(SchNet {
        elements: text.elements,
        channels: text.channels,
        filters: text.filters,
        embedding: padded(slice(&text.embedding)?, text.channels),
        radials,
        activation,
        layers,
        head: head(text)?,
    })
}

fn painn<T: Simd>(text: &Text) -> PyResult<PaiNN<T>> {
    let (radials, activation) = (radials(text)?, activation(&text.activation)?);
    let mut layers = Vec::new();
    for arrays in &text.layers {
        let w = arrays.iter().map(slice).collect::<PyResult<Vec<_>>>()?;
        let [a1, o1, a2, o2, f, g, mix, c1, p1, c2, p2] = w[..] else {
            return Err(PyValueError::new_err("a layer of 11 arrays"));
        };
        let w = painn::Weights {
            interatomic_context_net: [(a1, o1), (a2, o2)],
            filter_net: (f, g),
            mu_channel_mix: mix,
            intraatomic_context_net: [(c1, p1), (c2, p2)],
        };
        let layer = painn::Layer::new(&w, text.channels, &radials, text.epsilon, text.intervals);
        layers.push(layer.map_err(to_py)?);
    }
    Ok(PaiNN {
        elements: text.elements,
        channels: text.channels,
        embedding: padded(slice(&text.embedding)?, text.channels),
        radials,
        activation,
        layers,
        head: head(text)?,
    })
}

/// A network in one precision. Made by `valence.model.schnetpack`, which checks the file that it comes from.
#[pyclass(frozen, module = "valence._native")]
pub struct GraphEngine {
    model: Either,
}

enum Either {
    SchNetSingle(SchNet<f32>),
    SchNetDouble(SchNet<f64>),
    PaiNNSingle(PaiNN<f32>),
    PaiNNDouble(PaiNN<f64>),
}

macro_rules! each {
    ($either:expr, $model:ident => $body:expr) => {
        match $either {
            Either::SchNetSingle($model) => $body,
            Either::SchNetDouble($model) => $body,
            Either::PaiNNSingle($model) => $body,
            Either::PaiNNDouble($model) => $body,
        }
    };
}

type Index<'py> = PyReadonlyArray1<'py, i32>;

#[pymethods]
impl GraphEngine {
    #[new]
    fn new(description: Text, single: bool) -> PyResult<Self> {
        let text = &description;
        let model = match (text.kind.as_str(), single) {
            ("schnet", true) => Either::SchNetSingle(schnet(text)?),
            ("schnet", false) => Either::SchNetDouble(schnet(text)?),
            (_, true) => Either::PaiNNSingle(painn(text)?),
            (_, false) => Either::PaiNNDouble(painn(text)?),
        };
        Ok(GraphEngine { model })
    }

    /// Largest relative error of a filter's value and slope between the nodes of its table, over all layers.
    fn filter_error(&self) -> [f64; 2] {
        fn most<'a, T: Simd>(filters: impl Iterator<Item = &'a Filter<T>>) -> [f64; 2] {
            filters.fold([0.0; 2], |most, f| std::array::from_fn(|k| f64::max(most[k], f.error()[k])))
        }
        each!(&self.model, m => most(m.layers.iter().map(|l| &l.filter)))
    }

    /// Bytes that a call on one system needs.
    fn memory(&self, atoms: usize, edges: usize, gradient: bool) -> usize {
        each!(&self.model, m => m.memory(atoms, edges, gradient))
    }

    /// (energy [N], mechanics [N, 12], scalars [N F], vectors [N 3 F]): forces and parts of dE/d strain.
    #[allow(clippy::too_many_arguments)]
    fn compute<'py>(
        &self,
        py: Python<'py>,
        numbers: Index<'py>,
        offsets: PyReadonlyArray1<'py, i64>,
        vectors: Array<'py>,
        source: Index<'py>,
        target: Index<'py>,
        gradient: bool,
        features: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bad = |e: numpy::AsSliceError| PyValueError::new_err(e.to_string());
        let graph = Graph {
            numbers: numbers.as_slice().map_err(bad)?,
            offsets: offsets.as_slice().map_err(bad)?,
            vectors: vectors.as_slice().map_err(bad)?,
            source: source.as_slice().map_err(bad)?,
            target: target.as_slice().map_err(bad)?,
        };
        each!(&self.model, m => answer(py, py.detach(|| m.compute(&graph, gradient, features)).map_err(to_py)?))
    }
}

fn answer<'py, T: Simd + Element>(py: Python<'py>, found: Output<T>) -> PyResult<Bound<'py, PyAny>> {
    let rows = found.mechanics.len();
    let flat: Vec<f64> = found.mechanics.into_flattened();
    let mechanics: Bound<'py, PyArray2<f64>> = PyArray1::from_vec(py, flat).reshape([rows, 12])?;
    let energy = PyArray1::from_vec(py, found.energy);
    let features = (PyArray1::from_vec(py, found.scalars), PyArray1::from_vec(py, found.vectors));
    Ok((energy, mechanics, features.0, features.1).into_pyobject(py)?.into_any())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<GraphEngine>()
}
