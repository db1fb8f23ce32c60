//! Glue of the MACE engine: a description made in Python, arrays in, arrays out.

use std::sync::Arc;

use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use valence_core::Real;
use valence_core::basis::lanes::Simd;
use valence_core::equivariant::polynomial::form::{self, Polynomial};
use valence_core::model::mace::{
    Basis, Dense, Gate, Graph, Head, LayerParts, Mace, MessageGate, Method, Network, Networks, NonLinear, Output,
    Radial, Readout, Repulsion, Transform, Weighted,
};

use crate::error::to_py;

type Array<'py> = PyReadonlyArray1<'py, f64>;
type Key = (u64, u64);
/// Numbers and radii of the elements, (exponent, prefactor, power), coefficients.
type RepulsionText = (Vec<f64>, Vec<f64>, [f64; 3], [f64; 4]);

/// Sizes, and the (weights, bias, scale, shift) of each layer.
type NetworkText<'py> = (Vec<usize>, Vec<(Array<'py>, Array<'py>, Array<'py>, Array<'py>)>);
type WeightedText<'py> = (Key, Array<'py>);

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct LayerText<'py> {
    residual: bool,
    network: NetworkText<'py>,
    density: Option<NetworkText<'py>>,
    embeddings: (Array<'py>, Array<'py>),
    divisor: [f64; 2],
    norm: f64,
    messages: Key,
    up: WeightedText<'py>,
    down: WeightedText<'py>,
    skip: WeightedText<'py>,
    contraction: WeightedText<'py>,
    out: WeightedText<'py>,
    nonlinear: Option<NonLinearText<'py>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct NonLinearText<'py> {
    beside: WeightedText<'py>,
    after: WeightedText<'py>,
    scalars: usize,
    blocks: Vec<[usize; 2]>,
    factors: [f64; 2],
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Text<'py> {
    elements: usize,
    channels: usize,
    heads: usize,
    lmax: usize,
    agnostic: bool,
    r_max: f64,
    power: f64,
    apply_cutoff: bool,
    basis: (String, Vec<f64>, f64),
    transform: (String, Vec<f64>, Vec<f64>),
    repulsion: Option<RepulsionText>,
    embedding: Array<'py>,
    layers: Vec<LayerText<'py>>,
    readouts: Vec<(Array<'py>, String, Option<Array<'py>>)>,
    own_energies: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

fn cast<T: Real>(array: &Array) -> PyResult<Vec<T>> {
    Ok(array.as_slice().map_err(|e| PyValueError::new_err(e.to_string()))?.iter().map(|&x| T::of(x)).collect())
}

fn product(key: Key) -> PyResult<Arc<Polynomial>> {
    form::find(key).map_err(to_py)
}

fn weighted<T: Real>((key, weights): &WeightedText) -> PyResult<Weighted<T>> {
    Ok(Weighted { product: product(*key)?, weights: cast(weights)? })
}

fn network((sizes, layers): &NetworkText) -> PyResult<Network<f64>> {
    let dense = |(w, b, s, t): &(Array, Array, Array, Array)| {
        Ok(Dense { weights: cast(w)?, bias: cast(b)?, scale: cast(s)?, shift: cast(t)? })
    };
    Ok(Network { sizes: sizes.clone(), layers: layers.iter().map(dense).collect::<PyResult<_>>()? })
}

fn nonlinear(text: &NonLinearText) -> PyResult<NonLinear<f64>> {
    let gate = MessageGate { scalars: text.scalars, blocks: text.blocks.clone(), factors: text.factors };
    Ok(NonLinear { beside: weighted(&text.beside)?, gate, after: weighted(&text.after)? })
}

fn layer(text: &LayerText) -> PyResult<LayerParts> {
    let networks = Networks {
        weights: network(&text.network)?,
        density: text.density.as_ref().map(network).transpose()?,
        embeddings: [cast(&text.embeddings.0)?, cast(&text.embeddings.1)?],
    };
    Ok(LayerParts {
        residual: text.residual,
        networks,
        divisor: text.divisor,
        norm: text.norm,
        messages: product(text.messages)?,
        up: weighted(&text.up)?,
        down: weighted(&text.down)?,
        skip: weighted(&text.skip)?,
        contraction: weighted(&text.contraction)?,
        out: weighted(&text.out)?,
        nonlinear: text.nonlinear.as_ref().map(nonlinear).transpose()?,
    })
}

fn readout<T: Real>((first, gate, last): &(Array, String, Option<Array>)) -> PyResult<Readout<T>> {
    let gate = match gate.as_str() {
        "silu" => Gate::Silu,
        "tanh" => Gate::Tanh,
        "sigmoid" => Gate::Sigmoid,
        _ => Gate::None,
    };
    Ok(match last {
        None => Readout::Linear(cast(first)?),
        Some(last) => Readout::NonLinear { first: cast(first)?, gate, last: cast(last)? },
    })
}

fn radial(text: &Text) -> Radial {
    let (kind, values, factor) = &text.basis;
    let basis = match kind.as_str() {
        "bessel" => Basis::Bessel { frequencies: values.clone(), factor: *factor },
        "gaussian" => Basis::Gaussian { centers: values.clone(), width: *factor },
        _ => Basis::Chebyshev { count: *factor as usize },
    };
    let (kind, values, radii) = &text.transform;
    let transform = match (kind.as_str(), &values[..]) {
        ("Agnesi", &[a, q, p]) => Transform::Agnesi { a, q, p, radii: radii.clone() },
        ("Soft", &[alpha]) => Transform::Soft { alpha, radii: radii.clone() },
        _ => Transform::None,
    };
    Radial { basis, transform, r_max: text.r_max, power: text.power, apply_cutoff: text.apply_cutoff }
}

fn model<T: Simd>(text: &Text, method: Method, memory: usize) -> PyResult<Mace<T>> {
    let repulsion = text.repulsion.clone().map(|(numbers, radii, [exponent, prefactor, power], c)| Repulsion {
        numbers,
        radii,
        exponent,
        prefactor,
        c,
        power,
    });
    let head = Head {
        elements: text.elements,
        channels: text.channels,
        heads: text.heads,
        lmax: text.lmax,
        radial: radial(text),
        repulsion,
        embedding: cast(&text.embedding)?,
        readouts: text.readouts.iter().map(readout).collect::<PyResult<_>>()?,
        own_energies: text.own_energies.clone(),
        scale: text.scale.clone(),
        shift: text.shift.clone(),
        agnostic: text.agnostic,
        memory,
    };
    let layers = text.layers.iter().map(layer).collect::<PyResult<_>>()?;
    Mace::new(head, layers, method).map_err(to_py)
}

/// A network in one precision. Made by `valence.model.mace`, which checks the file that it comes from.
#[pyclass(frozen, module = "valence._native")]
pub struct MaceEngine {
    model: Either,
}

enum Either {
    Single(Mace<f32>),
    Double(Mace<f64>),
}

type Index<'py> = PyReadonlyArray1<'py, i32>;

#[pymethods]
impl MaceEngine {
    /// `tolerance`: None, or the error of tables of radial functions. `memory`: bytes of messages kept for the way back.
    #[new]
    #[pyo3(signature = (description, single, tolerance, memory))]
    fn new(description: Text, single: bool, tolerance: Option<f64>, memory: usize) -> PyResult<Self> {
        let method = tolerance.map_or(Method::Exact, Method::Spline);
        let model = if single {
            Either::Single(model(&description, method, memory)?)
        } else {
            Either::Double(model(&description, method, memory)?)
        };
        Ok(MaceEngine { model })
    }

    /// Tables of radial functions made so far: (number, bytes, (largest error of values, of derivatives)).
    fn tables(&self) -> (usize, usize, [f64; 2]) {
        match &self.model {
            Either::Single(model) => model.tables(),
            Either::Double(model) => model.tables(),
        }
    }

    /// (energy [N], interaction [N], gradient [3 E], features of each layer [N D]).
    #[pyo3(signature = (elements, heads, vectors, receiver, sender, gradient, features))]
    #[allow(clippy::too_many_arguments)]
    fn compute<'py>(
        &self,
        py: Python<'py>,
        elements: Index<'py>,
        heads: Index<'py>,
        vectors: Array<'py>,
        receiver: Index<'py>,
        sender: Index<'py>,
        gradient: bool,
        features: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bad = |e: numpy::AsSliceError| PyValueError::new_err(e.to_string());
        let graph = Graph {
            elements: elements.as_slice().map_err(bad)?,
            heads: heads.as_slice().map_err(bad)?,
            vectors: vectors.as_slice().map_err(bad)?,
            receiver: receiver.as_slice().map_err(bad)?,
            sender: sender.as_slice().map_err(bad)?,
        };
        match &self.model {
            Either::Single(model) => {
                answer(py, py.detach(|| model.compute(&graph, gradient, features)).map_err(to_py)?)
            }
            Either::Double(model) => {
                answer(py, py.detach(|| model.compute(&graph, gradient, features)).map_err(to_py)?)
            }
        }
    }
}

fn answer<'py, T: Real + Element>(py: Python<'py>, found: Output<T>) -> PyResult<Bound<'py, PyAny>> {
    let features: Vec<_> = found.features.into_iter().map(|x| PyArray1::from_vec(py, x)).collect();
    let vector = |x: Vec<f64>| PyArray1::from_vec(py, x);
    let all = (vector(found.energy), vector(found.interaction), vector(found.gradient), features);
    Ok(all.into_pyobject(py)?.into_any())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<MaceEngine>()
}
