//! Glue of SOAP: a description made in Python, arrays in, arrays out.

use numpy::{Element, PyArrayDyn, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use valence_core::Error;
use valence_core::descriptors::power::{Compression, Layout, Shape, Spectrum};
use valence_core::descriptors::soap::basis::Basis;
use valence_core::descriptors::soap::radial::Grid;
use valence_core::descriptors::soap::weight::{Scaling, Weight};
use valence_core::descriptors::soap::{Average, Input, Kind, Parts, Precision, Run, Soap};
use valence_core::edges::Systems;

use crate::arrays::{Values, array, matrix, values};
use crate::error::to_py;

type Array<'py> = PyReadonlyArray1<'py, f64>;
/// Name, number of functions, length, and of a tabulated basis radii, values and derivatives.
type BasisText<'py> = (String, usize, f64, Option<(Array<'py>, Array<'py>, Array<'py>)>);

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Text<'py> {
    bases: Vec<Option<BasisText<'py>>>,
    cutoff: f64,
    smoothing: Option<f64>,
    /// Name, with rate, scale, exponent or c, d, m, r0.
    scaling: (String, Vec<f64>),
    at_zero: Option<f64>,
    reach: f64,
    inclusive: bool,
    center_weight: f64,
    width: f64,
    normalised: bool,
    accuracy: Option<f64>,
}

fn unknown(name: &str, got: &str) -> PyErr {
    to_py(Error::value(name, "known", got))
}

fn list(array: &Array) -> PyResult<Vec<f64>> {
    Ok(array.as_slice()?.to_vec())
}

fn basis((name, count, length, table): &BasisText) -> PyResult<Basis> {
    let (count, length) = (*count, *length);
    Ok(match (name.as_str(), table) {
        ("featomic_gto", _) => Basis::FeatomicGto { count, radius: length },
        ("dscribe_gto", _) => Basis::DscribeGto { count, r_cut: length },
        ("dscribe_polynomial", _) => Basis::DscribePolynomial { count, r_cut: length },
        ("common_gto", _) => Basis::CommonGto { count, width: length },
        ("tabulated", Some((radius, value, slope))) => {
            Basis::Tabulated(Grid { radius: list(radius)?, value: list(value)?, slope: list(slope)?, count })
        }
        _ => return Err(unknown("radial_basis", name)),
    })
}

fn scaling((name, p): &(String, Vec<f64>)) -> PyResult<Scaling> {
    Ok(match (name.as_str(), p.as_slice()) {
        ("none", _) => Scaling::None,
        ("willatt2018", &[rate, scale, exponent]) => Scaling::Willatt { rate, scale, exponent },
        ("poly", &[c, _, m, r0]) => Scaling::Poly { c, m, r0 },
        ("pow", &[c, d, m, r0]) => Scaling::Pow { c, d, m, r0 },
        ("exp", &[c, d, _, r0]) => Scaling::Exp { c, d, r0 },
        _ => return Err(unknown("scaling", name)),
    })
}

/// Expands densities; made once for one set of parameters.
#[pyclass(frozen, module = "valence._native")]
struct SoapKernel(Soap);

/// What is computed: "power", "radial" or "coefficients", a layout, a compression, an average.
fn kind(text: &(String, String, String, String)) -> PyResult<(Kind, Average)> {
    let (kind, layout, compression, average) = text;
    let layout = match layout.as_str() {
        "featomic" => Layout::Featomic,
        "dscribe" => Layout::Dscribe,
        other => return Err(unknown("layout", other)),
    };
    let compression = match compression.as_str() {
        "none" => Compression::None,
        "mu2" => Compression::Mu2,
        "mu1nu1" => Compression::Mu1Nu1,
        "crossover" => Compression::Crossover,
        other => return Err(unknown("compression", other)),
    };
    let kind = match kind.as_str() {
        "power" => Kind::Power(layout, compression),
        "radial" => Kind::Radial,
        "coefficients" => Kind::Coefficients,
        other => return Err(unknown("spectrum", other)),
    };
    let average = match average.as_str() {
        "none" => Average::None,
        "inner" => Average::Inner,
        "outer" => Average::Outer,
        other => return Err(unknown("average", other)),
    };
    Ok((kind, average))
}

/// Arrays of a call.
#[derive(FromPyObject)]
struct Given<'py>(
    /// positions [N, 3]
    Bound<'py, PyAny>,
    /// numbers uint8 [N], 0 for a point
    Bound<'py, PyAny>,
    /// offsets int64 [B + 1], cell [B, 3, 3], pbc [B, 3]
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    /// species uint8 [S], weights [S] or empty
    Vec<u8>,
    Vec<f64>,
    /// rows that are centres, uint32 [C], or None
    Option<Bound<'py, PyAny>>,
    /// see `kind`
    (String, String, String, String),
    /// portable, attached
    bool,
    bool,
);

struct Held<'a, T> {
    positions: Values<'a, T>,
    numbers: Values<'a, u8>,
    offsets: Values<'a, i64>,
    cell: Values<'a, f64>,
    pbc: Values<'a, bool>,
    centers: Option<Values<'a, u32>>,
}

fn held<'a, T: Element + Copy>(g: &'a Given<'_>) -> PyResult<Held<'a, T>> {
    let positions = values::<T>(&g.0, "positions", "float32 or float64", "[N, 3]", |s| s.len() == 2 && s[1] == 3)?;
    let n = positions.len() / 3;
    let numbers = values::<u8>(&g.1, "numbers", "uint8", &format!("[N] = [{n}]"), |s| s == [n])?;
    let offsets = values::<i64>(&g.2, "offsets", "int64", "[B + 1]", |s| s.len() == 1 && s[0] > 0)?;
    let b = offsets.len() - 1;
    let cell = values::<f64>(&g.3, "cell", "float64", &format!("[B, 3, 3] = [{b}, 3, 3]"), |s| s == [b, 3, 3])?;
    let pbc = values::<bool>(&g.4, "pbc", "bool", &format!("[B, 3] = [{b}, 3]"), |s| s == [b, 3])?;
    let centers = g.7.as_ref().map(|c| values::<u32>(c, "centers", "uint32", "[C]", |s| s.len() == 1)).transpose()?;
    Ok(Held { positions, numbers, offsets, cell, pbc, centers })
}

/// Finds the pairs and hands them to `job`, without the interpreter.
fn with<T: Precision + Element, R: Send>(
    py: Python<'_>,
    soap: &Soap,
    given: &Given,
    job: impl FnOnce(&Run<T>) -> R + Send,
) -> PyResult<R> {
    let held = held::<T>(given)?;
    let (kind, average) = kind(&given.8)?;
    let systems = Systems { positions: &held.positions, offsets: &held.offsets, cell: &held.cell, pbc: &held.pbc };
    let input = Input {
        systems,
        numbers: &held.numbers,
        species: &given.5,
        species_weights: &given.6,
        centers: held.centers.as_deref(),
        kind,
        average,
        portable: given.9,
        attached: given.10,
    };
    let started = std::time::Instant::now();
    let mut raised = None;
    let made = py.detach(|| {
        let mut asked = || {
            if started.elapsed().as_millis() < 50 {
                return false;
            }
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        };
        Run::new(soap, &input, &mut asked).map(|run| job(&run))
    });
    match (raised, made) {
        (Some(signal), _) => Err(signal),
        (None, made) => made.map_err(to_py),
    }
}

fn is_single(given: &Given) -> bool {
    given.0.cast::<PyArrayDyn<f32>>().is_ok()
}

/// One call for each precision.
macro_rules! by_precision {
    ($given:expr, $t:ident => $body:expr) => {
        if is_single(&$given) {
            type $t = f32;
            $body
        } else {
            type $t = f64;
            $body
        }
    };
}

fn exactly<'a, T: Element + Copy>(given: &'a Bound<'_, PyAny>, name: &str, shape: &[usize]) -> PyResult<Values<'a, T>> {
    values::<T>(given, name, "the dtype of the positions", &format!("{shape:?}"), |s| s == shape)
}

#[pymethods]
impl SoapKernel {
    #[new]
    fn new(text: Text) -> PyResult<Self> {
        let bases = text.bases.iter().map(|b| b.as_ref().map(basis).transpose()).collect::<PyResult<_>>()?;
        let weight = Weight {
            cutoff: text.cutoff,
            smoothing: text.smoothing,
            scaling: scaling(&text.scaling)?,
            at_zero: text.at_zero,
        };
        let parts = Parts {
            bases,
            weight,
            reach: text.reach,
            inclusive: text.inclusive,
            center_weight: text.center_weight,
            width: text.width,
            normalised: text.normalised,
            accuracy: text.accuracy,
        };
        Soap::new(parts).map(SoapKernel).map_err(to_py)
    }

    /// The factor by which orthonormalisation enlarges rounding errors.
    #[getter]
    fn amplification(&self) -> f64 {
        self.0.amplification
    }

    /// Intervals of the radial table and its largest relative errors, of I and of dI/dr; None for closed forms.
    fn table(&self, single: bool) -> PyResult<Option<(usize, [f64; 2])>> {
        if single {
            let p = self.0.prepared::<f32>().map_err(to_py)?;
            return Ok(p.table.as_ref().map(|t| (t.intervals, t.errors)));
        }
        let p = self.0.prepared::<f64>().map_err(to_py)?;
        Ok(p.table.as_ref().map(|t| (t.intervals, t.errors)))
    }

    /// [rows, D].
    fn compute<'py>(&self, py: Python<'py>, given: Given) -> PyResult<Bound<'py, PyAny>> {
        by_precision!(given, T => {
            let (out, shape) = with::<T, _>(py, &self.0, &given, |r| (r.values(), [r.rows(), r.features()]))?;
            matrix(py, out.map_err(to_py)?, shape)
        })
    }

    /// {"positions": [N, 3], "cell": [B, 3, 3], "strain": ...} of those named, from dE/d values.
    fn vjp<'py>(
        &self,
        py: Python<'py>,
        given: Given,
        grad: &Bound<'py, PyAny>,
        names: Vec<String>,
    ) -> PyResult<Bound<'py, PyDict>> {
        by_precision!(given, T => {
            let grad = values::<T>(grad, "cotangent", "the dtype of the positions", "[rows, D]", |s| s.len() == 2)?;
            let cells = names.iter().any(|n| n != "positions");
            let made = with::<T, _>(py, &self.0, &given, |r| {
                let shape = [r.rows(), r.features()];
                if grad.len() != shape[0] * shape[1] {
                    let rule = format!("of shape [rows, D] = {shape:?}");
                    return Err(Error::value("cotangent", &rule, format!("{} values", grad.len())));
                }
                let x = r.vjp(&grad);
                Ok((r.to_positions(&x), cells.then(|| r.pairs.to_cells(&x))))
            })?;
            let (positions, cells) = made.map_err(to_py)?;
            let out = PyDict::new(py);
            let n = positions.len() / 3;
            if names.iter().any(|n| n == "positions") {
                out.set_item("positions", array(py, positions, &[n, 3])?)?;
            }
            if let Some((cell, strain)) = cells {
                let b = cell.len() / 9;
                for (name, data) in [("cell", cell), ("strain", strain)] {
                    if names.iter().any(|n| n == name) {
                        out.set_item(name, array(py, data, &[b, 3, 3])?)?;
                    }
                }
            }
            Ok(out)
        })
    }

    /// The vjp of the vjp with respect to positions and cell, for cotangents of both (None: zero): to positions [N, 3],
    /// cell [B, 3, 3] and to dE/d values [rows, D].
    #[pyo3(signature = (given, grad, positions=None, cell=None))]
    fn second<'py>(
        &self,
        py: Python<'py>,
        given: Given,
        grad: &Bound<'py, PyAny>,
        positions: Option<&Bound<'py, PyAny>>,
        cell: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        by_precision!(given, T => {
            let grad = values::<T>(grad, "cotangent", "the dtype of the positions", "[rows, D]", |s| s.len() == 2)?;
            let n = held::<T>(&given)?.numbers.len();
            let b = held::<T>(&given)?.offsets.len() - 1;
            let positions = positions.map(|p| exactly::<T>(p, "positions", &[n, 3])).transpose()?;
            let cell = cell.map(|c| exactly::<T>(c, "cell", &[b, 3, 3])).transpose()?;
            let (x, cells, along, shape) = with::<T, _>(py, &self.0, &given, |r| {
                let tangents = r.pairs.tangents(positions.as_deref(), r.attached, cell.as_deref(), None);
                let (x, along) = r.second(&grad, &tangents);
                (r.to_positions(&x), r.pairs.to_cells(&x).0, along, [r.rows(), r.features()])
            })?;
            PyTuple::new(py, [array(py, x, &[n, 3])?, array(py, cells, &[b, 3, 3])?, array(py, along, &shape)?])
        })
    }

    /// Numbers of centres [G], rows of moved atoms [G], d row / d position [G, 3, D].
    fn position_jacobian<'py>(&self, py: Python<'py>, given: Given) -> PyResult<Bound<'py, PyTuple>> {
        by_precision!(given, T => {
            let (samples, data, d) = with::<T, _>(py, &self.0, &given, |r| {
                let samples = r.samples();
                let data = r.position_jacobian(&samples);
                (samples, data, r.features())
            })?;
            let g = samples.atom.len();
            let rows = [array(py, samples.center, &[g])?, array(py, samples.atom, &[g])?, array(py, data, &[g, 3, d])?];
            PyTuple::new(py, rows)
        })
    }

    /// d row / d cell or d strain, [C, 3, 3, D].
    fn cell_jacobian<'py>(&self, py: Python<'py>, given: Given, strain: bool) -> PyResult<Bound<'py, PyAny>> {
        by_precision!(given, T => {
            let (data, rows, d) =
                with::<T, _>(py, &self.0, &given, |r| (r.cell_jacobian(strain), r.pairs.centers(), r.features()))?;
            array(py, data, &[rows, 3, 3, d])
        })
    }
}

/// Degree, columns and functions (l, a, b, n, n') of each feature, uint32 [D, 5]; the column of a sum over species is S.
#[pyfunction]
fn power_labels<'py>(
    py: Python<'py>,
    radial: Vec<usize>,
    species: usize,
    layout: &str,
    compression: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let layout = match layout {
        "joint" => Layout::Joint { unique: false },
        "joint_unique" => Layout::Joint { unique: true },
        _ => {
            let text = ("power".to_owned(), layout.to_owned(), compression.to_owned(), "none".to_owned());
            match kind(&text)?.0 {
                Kind::Power(layout, compression) => {
                    return labels(py, Spectrum::new::<f64>(Shape { radial, species }, layout, compression));
                }
                _ => return Err(unknown("layout", &text.1)),
            }
        }
    };
    labels(py, Spectrum::new::<f64>(Shape { radial, species }, layout, Compression::None))
}

fn labels(py: Python<'_>, spectrum: Spectrum) -> PyResult<Bound<'_, PyAny>> {
    let rows = spectrum.labels();
    let flat = rows.iter().flat_map(|f| [f.l, f.species[0], f.species[1], f.n[0], f.n[1]].map(|x| x as u32)).collect();
    array(py, flat, &[rows.len(), 5])
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<SoapKernel>()?;
    m.add_function(wrap_pyfunction!(power_labels, m)?)
}
