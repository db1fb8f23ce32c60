//! Glue of the small engine: weights checked in Python, arrays in, arrays out.

use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use valence_core::basis::lanes::Simd;
use valence_core::model::engine::{Engine, Weights};
use valence_core::model::graph::Graph;

use crate::error::to_py;

type Array<'py> = PyReadonlyArray1<'py, f64>;
type Index<'py> = PyReadonlyArray1<'py, i32>;
/// Inputs, outputs, U, V, R, b of a layer.
type LayerText<'py> = (usize, usize, Array<'py>, Array<'py>, Array<'py>, Array<'py>);
/// Offsets of the systems, edge vectors, sources, targets.
type GraphText<'py> = (PyReadonlyArray1<'py, i64>, Array<'py>, Index<'py>, Index<'py>);

/// The layers in one precision. Made by `valence.model.engine`.
#[pyclass(frozen, module = "valence._native")]
pub struct SmallEngine {
    model: Either,
}

enum Either {
    Single(Engine<f32>),
    Double(Engine<f64>),
}

fn slice<'a, T: Element>(array: &'a PyReadonlyArray1<T>) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|e| PyValueError::new_err(e.to_string()))
}

fn engine<T: Simd>(layers: &[LayerText]) -> PyResult<Engine<T>> {
    let mut weights = Vec::new();
    for (inputs, outputs, own, neighbor, radial, bias) in layers {
        let (own, neighbor, radial, bias) = (slice(own)?, slice(neighbor)?, slice(radial)?, slice(bias)?);
        weights.push(Weights { inputs: *inputs, outputs: *outputs, own, neighbor, radial, bias });
    }
    Engine::new(&weights).map_err(to_py)
}

fn run<'py, T: Simd + Element>(
    py: Python<'py>,
    engine: &Engine<T>,
    numbers: &[i32],
    text: &GraphText,
    feats: &Bound<'py, PyAny>,
    cutoff: f64,
    grad: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (offsets, vectors) = (slice(&text.0)?, slice(&text.1)?);
    let graph = Graph { numbers, offsets, vectors, source: slice(&text.2)?, target: slice(&text.3)? };
    let feats: PyReadonlyArray1<T> = feats.extract()?;
    let feats = slice(&feats)?;
    let Some(grad) = grad else {
        let out = py.detach(|| engine.run(&graph, feats, cutoff)).map_err(to_py)?;
        return Ok(PyArray1::from_vec(py, out).into_any());
    };
    let grad: PyReadonlyArray1<T> = grad.extract()?;
    let grad = slice(&grad)?;
    let found = py.detach(|| engine.run_with_grad(&graph, feats, cutoff, grad)).map_err(to_py)?;
    let (out, feats) = (PyArray1::from_vec(py, found.out), PyArray1::from_vec(py, found.feats));
    Ok((out, feats, PyArray1::from_vec(py, found.vectors)).into_pyobject(py)?.into_any())
}

#[pymethods]
impl SmallEngine {
    #[new]
    fn new(layers: Vec<LayerText>, single: bool) -> PyResult<Self> {
        let model = if single { Either::Single(engine(&layers)?) } else { Either::Double(engine(&layers)?) };
        Ok(SmallEngine { model })
    }

    /// h' [N C_out]; with `grad` [N C_out] also the gradients to feats [N C_in] and edge vectors [3 E].
    #[pyo3(signature = (numbers, graph, feats, cutoff, grad=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        numbers: Index<'py>,
        graph: GraphText<'py>,
        feats: Bound<'py, PyAny>,
        cutoff: f64,
        grad: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let numbers = slice(&numbers)?;
        match &self.model {
            Either::Single(engine) => run(py, engine, numbers, &graph, &feats, cutoff, grad.as_ref()),
            Either::Double(engine) => run(py, engine, numbers, &graph, &feats, cutoff, grad.as_ref()),
        }
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<SmallEngine>()
}
