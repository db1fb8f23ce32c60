//! Glue of AniSOAP: a basis made once; a call's pairs and shapes, from which values and all derivatives come.

use numpy::{Element, PyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use valence_core::basis::lanes::Simd;
use valence_core::descriptors::anisoap::adjoint::{PairGradients, adjoint, to_particles};
use valence_core::descriptors::anisoap::basis::{Basis, Parameters, Radial};
use valence_core::descriptors::anisoap::forward::expand;
use valence_core::descriptors::anisoap::second::second;
use valence_core::descriptors::anisoap::shapes::{
    Mat, Orientation, Shapes, Sym, check_semiaxes, full, grad_axes, grad_covariance, grad_quaternion, rotations,
};
use valence_core::descriptors::anisoap::spectrum::{mean, power, power_bwd};
use valence_core::descriptors::anisoap::tangent::{Direction, tangent};
use valence_core::descriptors::pairs::{Pairs, Request, columns_of};
use valence_core::descriptors::power::{Compression, Layout, Shape, Spectrum};
use valence_core::edges::Systems;
use valence_core::{Error, Real};

use crate::arrays::{Values, array, values};
use crate::error::to_py;

/// The radial basis with its tables.
#[pyclass(frozen, module = "valence._native")]
struct AniSoapBasis(Basis);

#[pymethods]
impl AniSoapBasis {
    /// `kind` "gto" or "monomial"; `radial` [L] numbers of functions; `unit` the width or the cutoff.
    #[new]
    #[pyo3(signature = (kind, radial, unit, rcond=0.0, tolerance=1e-8, normalize=true))]
    fn new(kind: &str, radial: Vec<usize>, unit: f64, rcond: f64, tolerance: f64, normalize: bool) -> PyResult<Self> {
        let kind = match kind {
            "gto" => Radial::Gto,
            "monomial" => Radial::Monomial,
            other => return Err(to_py(Error::value("radial_basis", "\"gto\" or \"monomial\"", other))),
        };
        let basis = Basis::new(&Parameters { kind, radial, unit, rcond, tolerance, normalize });
        Ok(AniSoapBasis(basis.map_err(to_py)?))
    }

    /// F.
    #[getter]
    fn width(&self) -> usize {
        self.0.width()
    }

    /// sqrt of the condition of the overlap of each l.
    #[getter]
    fn amplification(&self) -> Vec<f64> {
        self.0.amplification.clone()
    }

    /// W_l [n_l, n_l].
    fn weights<'py>(&self, py: Python<'py>, l: usize) -> PyResult<Bound<'py, PyAny>> {
        let n = self.0.radial[l];
        array(py, self.0.weights[l].clone(), &[n, n])
    }
}

/// What orientations and semiaxes were given as; gradients need them again.
struct Axes {
    rotations: Vec<Mat>,
    quaternions: Option<Vec<f64>>,
    semiaxes: Vec<f64>,
}

struct State<T: Copy> {
    pairs: Pairs<T>,
    shapes: Shapes<T>,
}

enum Both {
    Single(State<f32>),
    Double(State<f64>),
}

/// Pairs and shapes of one call.
#[pyclass(frozen, module = "valence._native")]
struct AniSoapCall {
    basis: Py<AniSoapBasis>,
    state: Both,
    axes: Option<Axes>,
    /// B, N, S.
    sizes: [usize; 3],
}

macro_rules! each {
    ($self:ident, $state:ident => $body:expr) => {
        match &$self.state {
            Both::Single($state) => $body,
            Both::Double($state) => $body,
        }
    };
}

type Any<'py> = Bound<'py, PyAny>;
type Found<'py> = Vec<Option<Any<'py>>>;

#[pymethods]
impl AniSoapCall {
    /// Shapes are `orientation` ([N, 4] or [N, 3, 3]) with `semiaxes` [N, 3], or `covariance` [N, 3, 3]; all float64.
    #[new]
    #[pyo3(signature = (basis, positions, offsets, cell, pbc, numbers, species, cutoff, self_pair, orientation=None, semiaxes=None, covariance=None, portable=false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        basis: Py<AniSoapBasis>,
        positions: &Any<'_>,
        offsets: &Any<'_>,
        cell: &Any<'_>,
        pbc: &Any<'_>,
        numbers: &Any<'_>,
        species: &Any<'_>,
        cutoff: f64,
        self_pair: bool,
        orientation: Option<&Any<'_>>,
        semiaxes: Option<&Any<'_>>,
        covariance: Option<&Any<'_>>,
        portable: bool,
    ) -> PyResult<Self> {
        let offsets = values::<i64>(offsets, "offsets", "int64", "[B + 1]", |s| s.len() == 1 && s[0] > 0)?;
        let b = offsets.len() - 1;
        let cell = values::<f64>(cell, "cell", "float64", &format!("[B, 3, 3] = [{b}, 3, 3]"), |s| s == [b, 3, 3])?;
        let pbc = values::<bool>(pbc, "pbc", "bool", &format!("[B, 3] = [{b}, 3]"), |s| s == [b, 3])?;
        let n = positions.cast::<PyUntypedArray>().ok().and_then(|a| a.shape().first().copied()).unwrap_or(0);
        let numbers = values::<u8>(numbers, "numbers", "uint8", "[N]", |s| s == [n])?;
        let species = values::<u8>(species, "species", "uint8", "[S]", |s| s.len() == 1)?;
        let column = columns_of(&numbers, &species).map_err(to_py)?;
        let of = |given: &Option<&Any<'_>>, name: &str, rule: String, fits: &dyn Fn(&[usize]) -> bool| match given {
            Some(given) => Ok(Some(values::<f64>(given, name, "float64", &rule, fits)?.to_vec())),
            None => PyResult::Ok(None),
        };
        let matrices = orientation.is_some_and(|o| o.cast::<PyUntypedArray>().is_ok_and(|a| a.ndim() == 3));
        let rule = format!("[N, 4] = [{n}, 4] or [N, 3, 3] = [{n}, 3, 3]");
        let orientation = of(&orientation, "orientation", rule, &|s| s == [n, 4] || s == [n, 3, 3])?;
        let semiaxes = of(&semiaxes, "semiaxes", format!("[N, 3] = [{n}, 3]"), &|s| s == [n, 3])?;
        let covariance = of(&covariance, "covariance", format!("[N, 3, 3] = [{n}, 3, 3]"), &|s| s == [n, 3, 3])?;
        let axes = match (orientation, semiaxes, &covariance) {
            (_, _, Some(_)) => None,
            (Some(orientation), Some(semiaxes), None) => {
                check_semiaxes(&semiaxes).map_err(to_py)?;
                let kind = if matrices { Orientation::Matrix } else { Orientation::Quaternion };
                let rotations = rotations(&orientation, kind).map_err(to_py)?;
                Some(Axes { rotations, quaternions: (!matrices).then_some(orientation), semiaxes })
            }
            _ => return Err(to_py(Error::value("orientation", "given with `semiaxes`, or `covariance`", "neither"))),
        };
        let request =
            Request { column: &column, columns: species.len(), cutoff, inclusive: false, self_pair, centers: None };
        let shape_source = (axes.as_ref(), covariance.as_deref());
        let rest = (&offsets[..], &cell[..], &pbc[..]);
        let own = &basis.get().0;
        let state = if positions.cast::<PyArrayDyn<f32>>().is_ok() {
            let x = values::<f32>(positions, "positions", "float32 or float64", "[N, 3]", |s| s == [n, 3])?;
            Both::Single(prepare(py, own, &x, rest, &request, shape_source, portable)?)
        } else {
            let x = values::<f64>(positions, "positions", "float32 or float64", "[N, 3]", |s| s == [n, 3])?;
            Both::Double(prepare(py, own, &x, rest, &request, shape_source, portable)?)
        };
        Ok(AniSoapCall { basis, state, axes, sizes: [b, n, species.len()] })
    }

    /// P.
    #[getter]
    fn pairs(&self) -> usize {
        each!(self, s => s.pairs.len())
    }

    /// Rows of the first two different particles (or images) at one place, or None.
    fn coincident(&self) -> Option<(u32, u32)> {
        each!(self, s => coincident(&s.pairs))
    }

    /// Rows (center, target) of all pairs, int64 [P, 2].
    fn pair_rows<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        let rows: Vec<i64> = each!(self, s => (0..s.pairs.centers())
            .flat_map(|c| s.pairs.pairs_of(c).map(move |p| (c, p)))
            .flat_map(|(c, p)| [i64::from(s.pairs.center[c]), i64::from(s.pairs.target[p])])
            .collect());
        let n = rows.len() / 2;
        array(py, rows, &[n, 2])
    }

    /// c [N, S, F].
    fn coefficients<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        let basis = &self.basis.get().0;
        let shape = [self.sizes[1], self.sizes[2], basis.width()];
        each!(self, s => array(py, py.detach(|| expand(basis, &s.pairs, &s.shapes)), &shape))
    }

    /// p [N, D], or its mean over the particles of each system [B, D].
    fn power<'py>(&self, py: Python<'py>, unique: bool, over_systems: bool) -> PyResult<Any<'py>> {
        let basis = &self.basis.get().0;
        let [b, n, _] = self.sizes;
        each!(self, s => {
            let spectrum = self.spectrum_of(s, unique);
            let d = spectrum.features();
            if over_systems {
                array(py, py.detach(|| mean(basis, &s.pairs, &s.shapes, &spectrum, b)), &[b, d])
            } else {
                array(py, py.detach(|| power(basis, &s.pairs, &s.shapes, &spectrum)), &[n, d])
            }
        })
    }

    /// Gradients of sum(grad * values), where `grad` is [N, S, F] of coefficients (`unique` None) or [N, D] of the power
    /// spectrum: positions, cell, strain, covariance, rotation_vector, semiaxes, quaternion; None where not asked for.
    #[pyo3(signature = (grad, unique, cells, shapes))]
    fn vjp<'py>(
        &self,
        py: Python<'py>,
        grad: &Any<'py>,
        unique: Option<bool>,
        cells: bool,
        shapes: bool,
    ) -> PyResult<Found<'py>> {
        each!(self, s => {
            let basis = &self.basis.get().0;
            let back = match unique {
                None => {
                    let grad = self.of_coefficients(grad, "cotangent", s)?;
                    py.detach(|| adjoint(basis, &s.pairs, &s.shapes, &grad, shapes))
                }
                Some(unique) => {
                    let spectrum = self.spectrum_of(s, unique);
                    let want = [self.sizes[1], spectrum.features()];
                    let grad = typed(grad, "cotangent", &want, s)?;
                    py.detach(|| power_bwd(basis, (&s.pairs, &s.shapes), &spectrum, &grad, shapes))
                }
            };
            self.gathered(py, s, back, cells, shapes)
        })
    }

    /// The change [N, S, F] of the coefficients under changes of positions [N, 3], cells [B, 3, 3], covariances [N, 3, 3].
    fn tangent<'py>(
        &self,
        py: Python<'py>,
        positions: Option<&Any<'py>>,
        cell: Option<&Any<'py>>,
        covariance: Option<&Any<'py>>,
    ) -> PyResult<Any<'py>> {
        let basis = &self.basis.get().0;
        let shape = [self.sizes[1], self.sizes[2], basis.width()];
        each!(self, s => {
            let (vector, z) = self.direction(s, positions, cell, covariance)?;
            let along = Direction { vector: &vector, shape: &z };
            array(py, py.detach(|| tangent(basis, &s.pairs, &s.shapes, along)), &shape)
        })
    }

    /// The gradients of <direction, vjp(grad)> for a cotangent `grad` [N, S, F] of the coefficients: positions, cell, None,
    /// covariance, None, None, None.
    fn second<'py>(
        &self,
        py: Python<'py>,
        grad: &Any<'py>,
        positions: Option<&Any<'py>>,
        cell: Option<&Any<'py>>,
        covariance: Option<&Any<'py>>,
    ) -> PyResult<Found<'py>> {
        each!(self, s => {
            let basis = &self.basis.get().0;
            let grad = self.of_coefficients(grad, "grad", s)?;
            let (vector, z) = self.direction(s, positions, cell, covariance)?;
            let along = Direction { vector: &vector, shape: &z };
            let back = py.detach(|| second(basis, &s.pairs, &s.shapes, &grad, along, true));
            self.gathered(py, s, back, true, true)
        })
    }

    /// dE/dc [N, S, F] from coefficients and dE/dp [N, D].
    fn spectrum_bwd<'py>(
        &self,
        py: Python<'py>,
        coefficients: &Any<'py>,
        grad: &Any<'py>,
        unique: bool,
    ) -> PyResult<Any<'py>> {
        let shape = [self.sizes[1], self.sizes[2], self.basis.get().0.width()];
        each!(self, s => {
            let spectrum = self.spectrum_of(s, unique);
            let c = self.of_coefficients(coefficients, "coefficients", s)?;
            let g = typed(grad, "grad", &[self.sizes[1], spectrum.features()], s)?;
            let mut out = c.to_vec();
            py.detach(|| spectrum.power_spectrum_bwd(&c, &g, &mut out));
            array(py, out, &shape)
        })
    }

    /// p [N, D] of coefficients, or with `tangent` the change of p under that change of them.
    #[pyo3(signature = (coefficients, unique, tangent=None))]
    fn spectrum<'py>(
        &self,
        py: Python<'py>,
        coefficients: &Any<'py>,
        unique: bool,
        tangent: Option<&Any<'py>>,
    ) -> PyResult<Any<'py>> {
        each!(self, s => {
            let spectrum = self.spectrum_of(s, unique);
            let (n, d) = (self.sizes[1], spectrum.features());
            let c = self.of_coefficients(coefficients, "coefficients", s)?;
            let mut out = vec![Default::default(); n * d];
            match tangent {
                None => py.detach(|| spectrum.power_spectrum(&c, &mut out)),
                Some(tangent) => {
                    let t = self.of_coefficients(tangent, "tangent", s)?;
                    let zeros = out.clone();
                    let mut unused = c.to_vec();
                    py.detach(|| spectrum.power_spectrum_bwd_bwd(&c, &zeros, &t, &mut unused, &mut out));
                }
            }
            array(py, out, &[n, d])
        })
    }
}

impl AniSoapCall {
    fn spectrum_of<T: Simd>(&self, _: &State<T>, unique: bool) -> Spectrum {
        let shape = Shape { radial: self.basis.get().0.radial.clone(), species: self.sizes[2] };
        Spectrum::new::<T>(shape, Layout::Joint { unique }, Compression::None)
    }

    fn of_coefficients<'a, T: Simd + Element>(
        &self,
        given: &'a Any<'_>,
        name: &str,
        state: &State<T>,
    ) -> PyResult<Values<'a, T>> {
        typed(given, name, &[self.sizes[1], self.sizes[2], self.basis.get().0.width()], state)
    }

    /// u [P + PADDING, 3] and Z [N, 6].
    fn direction<T: Simd + Element>(
        &self,
        s: &State<T>,
        positions: Option<&Any<'_>>,
        cell: Option<&Any<'_>>,
        covariance: Option<&Any<'_>>,
    ) -> PyResult<(Vec<T>, Vec<T>)> {
        let [b, n, _] = self.sizes;
        let positions = positions.map(|x| typed(x, "positions", &[n, 3], s)).transpose()?;
        let cell = cell.map(|x| typed(x, "cell", &[b, 3, 3], s)).transpose()?;
        let z = covariance.map(|x| typed(x, "covariance", &[n, 3, 3], s)).transpose()?;
        let half = T::of(0.5);
        let z = z.map_or(Vec::new(), |z| {
            let six = |m: &[T]| [m[0], (m[1] + m[3]) * half, (m[2] + m[6]) * half, m[4], (m[5] + m[7]) * half, m[8]];
            z.chunks_exact(9).flat_map(six).collect()
        });
        Ok((s.pairs.tangents(positions.as_deref(), true, cell.as_deref(), None), z))
    }

    fn gathered<'py, T: Simd + Element>(
        &self,
        py: Python<'py>,
        s: &State<T>,
        back: PairGradients<T>,
        cells: bool,
        shapes: bool,
    ) -> PyResult<Found<'py>> {
        let [b, n, _] = self.sizes;
        let mut out: Found<'py> = vec![None; 7];
        let basis = &self.basis.get().0;
        let positions = py.detach(|| s.pairs.to_positions(&back.vector, true));
        out[0] = Some(array(py, positions, &[n, 3])?);
        if cells {
            let (cell, strain) = py.detach(|| s.pairs.to_cells(&back.vector));
            out[1] = Some(array(py, cell, &[b, 3, 3])?);
            out[2] = Some(array(py, strain, &[b, 3, 3])?);
        }
        if shapes {
            let y: Vec<Sym> = py.detach(|| {
                let sums = to_particles(&s.pairs, &back.shape, n);
                grad_covariance(basis.kind, basis.unit, &s.shapes, &sums)
            });
            match &self.axes {
                None => {
                    let flat = y.iter().flat_map(|y| full(y).into_iter().flatten()).map(T::of).collect();
                    out[3] = Some(array(py, flat, &[n, 3, 3])?);
                }
                Some(axes) => {
                    let (torque, grad) = grad_axes::<T>(&axes.rotations, &axes.semiaxes, &y);
                    if let Some(q) = &axes.quaternions {
                        out[6] = Some(array(py, grad_quaternion(q, &torque), &[n, 4])?);
                    }
                    out[4] = Some(array(py, torque, &[n, 3])?);
                    out[5] = Some(array(py, grad, &[n, 3])?);
                }
            }
        }
        Ok(out)
    }
}

fn typed<'a, T: Simd + Element>(
    given: &'a Any<'_>,
    name: &str,
    shape: &[usize],
    _: &State<T>,
) -> PyResult<Values<'a, T>> {
    let rule = format!("{shape:?}");
    values::<T>(given, name, <T as Real>::NAME, &rule, |s| s == shape)
}

#[allow(clippy::type_complexity)]
fn prepare<T: Simd>(
    py: Python<'_>,
    basis: &Basis,
    positions: &[T],
    (offsets, cell, pbc): (&[i64], &[f64], &[bool]),
    request: &Request<'_>,
    (axes, covariance): (Option<&Axes>, Option<&[f64]>),
    portable: bool,
) -> PyResult<State<T>> {
    let systems = Systems { positions, offsets, cell, pbc };
    let started = std::time::Instant::now();
    let mut raised = None;
    let made = py.detach(|| -> valence_core::Result<State<T>> {
        let shapes = match (axes, covariance) {
            (Some(a), _) => Shapes::of_axes(basis.kind, basis.unit, &a.rotations, &a.semiaxes),
            (None, Some(c)) => Shapes::of_covariances(basis.kind, basis.unit, c)?,
            (None, None) => Shapes { rows: Vec::new(), sphere: Vec::new() },
        };
        let mut interrupted = || {
            if started.elapsed().as_millis() < 50 {
                return false;
            }
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        };
        Ok(State { pairs: Pairs::new(&systems, request, portable, &mut interrupted)?, shapes })
    });
    match raised {
        Some(signal) => Err(signal),
        None => made.map_err(to_py),
    }
}

fn coincident<T: Simd>(pairs: &Pairs<T>) -> Option<(u32, u32)> {
    for c in 0..pairs.centers() {
        for p in pairs.pairs_of(c) {
            let r = &pairs.vector[3 * p..3 * p + 3];
            let (i, j) = (pairs.center[c], pairs.target[p]);
            if r.iter().all(|&x| x == T::ZERO) && (i != j || pairs.shift_of(p) != [0; 3]) {
                return Some((i, j));
            }
        }
    }
    None
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<AniSoapBasis>()?;
    m.add_class::<AniSoapCall>()
}
