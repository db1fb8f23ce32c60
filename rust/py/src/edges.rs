//! Glue of the edges room.

use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use valence_core::call::check_index;
use valence_core::edges::memory;
use valence_core::edges::reverse::reverse;
use valence_core::edges::select::{Exclusion, Pairs, Selection};
use valence_core::edges::skin::{Stored, moves, refilter};
use valence_core::edges::{Keep, List, Method, Options, Systems, search};
use valence_core::{Error, Real};

use crate::arrays::{buffer, values};
use crate::error::to_py;

/// Rules beyond one cutoff, made once and used for many searches of the same atoms.
#[pyclass(frozen, module = "valence._native")]
struct EdgeSelection(Selection);

#[pymethods]
impl EdgeSelection {
    /// `kind` [N] and `table` [kinds, kinds]: pair cutoffs; `radii` [N]: cutoff r_i + r_j; `excluded_ptr` [N + 1] with
    /// `excluded` [X] targets and `excluded_shift` [X] (None: the nearest images); `k` nearest, `ties` with the k-th.
    #[new]
    #[pyo3(signature = (kind=None, table=None, radii=None, excluded_ptr=vec![], excluded=vec![], excluded_shift=vec![], k=None, ties=false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        kind: Option<Vec<u32>>,
        table: Option<Vec<f64>>,
        radii: Option<Vec<f64>>,
        excluded_ptr: Vec<usize>,
        excluded: Vec<u32>,
        excluded_shift: Vec<Option<[i32; 3]>>,
        k: Option<usize>,
        ties: bool,
    ) -> PyResult<Self> {
        let pairs = match (kind, table, radii) {
            (Some(kind), Some(table), _) => {
                let kinds = table.len().isqrt();
                if kinds * kinds != table.len() || kind.iter().any(|&k| k as usize >= kinds) {
                    return Err(to_py(Error::value("kind", &format!("in [0, {kinds})"), "a larger one")));
                }
                Pairs::Kinds { kind, kinds, table }
            }
            (_, _, Some(radii)) => Pairs::Radii(radii),
            _ => Pairs::One,
        };
        let whole = excluded_ptr.windows(2).all(|w| w[0] <= w[1]);
        if excluded.len() != excluded_shift.len() || !whole || excluded_ptr.last().is_some_and(|&e| e != excluded.len())
        {
            return Err(to_py(Error::value("excluded_ptr", "ascending to the number of exclusions", excluded.len())));
        }
        let excluded = excluded.into_iter().zip(excluded_shift).map(|(target, shift)| Exclusion { target, shift });
        let (excluded, with_ties) = (excluded.collect(), ties);
        Ok(EdgeSelection(Selection { pairs, excluded_ptr, excluded, k, with_ties }))
    }
}

impl EdgeSelection {
    /// Atoms that the rules know of, if they name any.
    fn atoms(&self) -> Option<usize> {
        let of_pairs = match &self.0.pairs {
            Pairs::One => None,
            Pairs::Kinds { kind, .. } => Some(kind.len()),
            Pairs::Radii(radii) => Some(radii.len()),
        };
        of_pairs.or(self.0.excluded_ptr.len().checked_sub(1))
    }
}

/// source, target [E], shift [E, 3], vector [E, 3], distance [E], row_ptr [N + 1], truncated.
///
/// `keep` is "full", "half" or "self"; `method` "auto", "brute" or "bins"; `portable` leaves out SIMD.
#[pyfunction]
#[pyo3(signature = (positions, offsets, cell, pbc, cutoff, *, keep="full", method="auto", portable=false, memory_limit=None, wide=false, selection=None))]
#[allow(clippy::too_many_arguments)]
fn search_edges<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    cell: &Bound<'py, PyAny>,
    pbc: &Bound<'py, PyAny>,
    cutoff: f64,
    keep: &str,
    method: &str,
    portable: bool,
    memory_limit: Option<u64>,
    wide: bool,
    selection: Option<&Bound<'py, EdgeSelection>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let offsets = values::<i64>(offsets, "offsets", "int64", "[B + 1]", |s| s.len() == 1 && s[0] > 0)?;
    let b = offsets.len() - 1;
    let cell = values::<f64>(cell, "cell", "float64", &format!("[B, 3, 3] = [{b}, 3, 3]"), |s| s == [b, 3, 3])?;
    let pbc = values::<bool>(pbc, "pbc", "bool", &format!("[B, 3] = [{b}, 3]"), |s| s == [b, 3])?;
    let keep = match keep {
        "full" => Keep::Full,
        "half" => Keep::Half,
        "self" => Keep::WithSelf,
        _ => return Err(to_py(Error::value("keep", "\"full\", \"half\" or \"self\"", keep))),
    };
    let method = match method {
        "auto" => Method::Auto,
        "brute" => Method::Brute,
        "bins" => Method::Bins,
        _ => return Err(to_py(Error::value("method", "\"auto\", \"brute\" or \"bins\"", method))),
    };
    let selection = selection.map(|s| s.get());
    let of = selection.map(|s| &s.0);
    let options = Options { cutoff, keep, selection: of, method, portable, memory_limit, wide };
    let rest = (&offsets[..], &cell[..], &pbc[..], selection.and_then(EdgeSelection::atoms));
    if positions.cast::<PyArrayDyn<f32>>().is_ok() {
        run::<f32>(py, positions, rest, &options)
    } else {
        run::<f64>(py, positions, rest, &options)
    }
}

type Rest<'a> = (&'a [i64], &'a [f64], &'a [bool], Option<usize>);

fn run<'py, T: Real + Element>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    (offsets, cell, pbc, named): Rest<'_>,
    options: &Options<'_>,
) -> PyResult<Bound<'py, PyTuple>> {
    let positions = values::<T>(positions, "positions", "float32 or float64", "[N, 3]", |s| s.len() == 2 && s[1] == 3)?;
    if let Some(atoms) = named.filter(|&a| a != positions.len() / 3) {
        let rule = format!("for the {} atoms of `positions`", positions.len() / 3);
        return Err(to_py(Error::value("selection", &rule, format!("{atoms} atoms"))));
    }
    let systems = Systems { positions: &positions, offsets, cell, pbc };
    // Asking for signals needs the interpreter, so short searches never do.
    let started = std::time::Instant::now();
    let mut raised = None;
    let list = py.detach(|| {
        search(&systems, options, &mut || {
            if started.elapsed().as_millis() < 50 {
                return false;
            }
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        })
    });
    match (raised, list) {
        (Some(signal), _) => Err(signal),
        (None, Err(e)) => Err(to_py(e)),
        (None, Ok(list)) => arrays(py, list),
    }
}

fn arrays<T: Real + Element>(py: Python<'_>, list: List<T>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(
        py,
        [
            buffer(py, list.source, 1)?,
            buffer(py, list.target, 1)?,
            buffer(py, list.shift, 3)?,
            buffer(py, list.vector, 3)?,
            buffer(py, list.distance, 1)?,
            PyArray1::from_vec(py, list.row_ptr).into_any(),
            list.truncated.into_pyobject(py)?.to_owned().into_any(),
        ],
    )
}

/// The reverse of each edge of a sorted list, -1 where it has none: int64 [E].
#[pyfunction]
fn reverse_edges<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    shift: &Bound<'py, PyAny>,
    row_ptr: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = values::<i32>(source, "source", "int32", "[E]", |s| s.len() == 1)?;
    let e = source.len();
    let target = values::<i32>(target, "target", "int32", "[E]", |s| s == [e])?;
    let shift = values::<i32>(shift, "shift", "int32", "[E, 3]", |s| s == [e, 3])?;
    let row_ptr = values::<i64>(row_ptr, "row_ptr", "int64", "[N + 1]", |s| s.len() == 1 && s[0] > 0)?;
    check_rows(&row_ptr, &target)?;
    check_index("source", &source, row_ptr.len() - 1).map_err(to_py)?;
    buffer(py, py.detach(|| reverse(&source, &target, &shift, &row_ptr)).map_err(to_py)?, 1)
}

fn check_rows(row_ptr: &[i64], target: &[i32]) -> PyResult<()> {
    let ends = (row_ptr[0], row_ptr[row_ptr.len() - 1]);
    if ends != (0, target.len() as i64) || !row_ptr.is_sorted() {
        let rule = format!("ascending from 0 to {}", target.len());
        return Err(to_py(Error::value("row_ptr", &rule, format!("{ends:?}"))));
    }
    check_index("target", target, row_ptr.len() - 1).map_err(to_py)
}

/// The edges of a stored list within `cutoff` of the present positions; results as `search_edges`.
#[pyfunction]
#[pyo3(signature = (positions, offsets, cell, pbc, cutoff, target, shift, row_ptr, moved=None, portable=false))]
#[allow(clippy::too_many_arguments)]
fn refilter_edges<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    cell: &Bound<'py, PyAny>,
    pbc: &Bound<'py, PyAny>,
    cutoff: f64,
    target: &Bound<'py, PyAny>,
    shift: &Bound<'py, PyAny>,
    row_ptr: &Bound<'py, PyAny>,
    moved: Option<&Bound<'py, PyAny>>,
    portable: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let offsets = values::<i64>(offsets, "offsets", "int64", "[B + 1]", |s| s.len() == 1 && s[0] > 0)?;
    let b = offsets.len() - 1;
    let cell = values::<f64>(cell, "cell", "float64", &format!("[B, 3, 3] = [{b}, 3, 3]"), |s| s == [b, 3, 3])?;
    let pbc = values::<bool>(pbc, "pbc", "bool", &format!("[B, 3] = [{b}, 3]"), |s| s == [b, 3])?;
    let row_ptr = values::<i64>(row_ptr, "row_ptr", "int64", "[N + 1]", |s| s.len() == 1 && s[0] > 0)?;
    let n = row_ptr.len() - 1;
    let target = values::<i32>(target, "target", "int32", "[E]", |s| s.len() == 1)?;
    let e = target.len();
    let shift = values::<i32>(shift, "shift", "int32", "[E, 3]", |s| s == [e, 3])?;
    let moved = moved.map(|m| values::<i32>(m, "moved", "int32", "[N, 3]", |s| s == [n, 3])).transpose()?;
    check_rows(&row_ptr, &target)?;
    if offsets[0] != 0 || offsets[b] != n as i64 || !offsets.is_sorted() {
        return Err(to_py(Error::value("offsets", &format!("ascending from 0 to {n}"), format!("{:?}", &offsets[..]))));
    }
    let stored = Stored { target: &target, shift: &shift, row_ptr: &row_ptr, moved: moved.as_deref() };
    let rest = (&offsets[..], &cell[..], &pbc[..]);
    if positions.cast::<PyArrayDyn<f32>>().is_ok() {
        again::<f32>(py, positions, rest, stored, (cutoff, portable))
    } else {
        again::<f64>(py, positions, rest, stored, (cutoff, portable))
    }
}

fn again<'py, T: Real + Element>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    (offsets, cell, pbc): (&[i64], &[f64], &[bool]),
    stored: Stored<'_>,
    (cutoff, portable): (f64, bool),
) -> PyResult<Bound<'py, PyTuple>> {
    let n = stored.row_ptr.len() - 1;
    let rule = format!("[N, 3] = [{n}, 3]");
    let positions = values::<T>(positions, "positions", "float32 or float64", &rule, |s| s == [n, 3])?;
    let systems = Systems { positions: &positions, offsets, cell, pbc };
    let list = py.detach(|| refilter(&systems, stored, cutoff, portable)).map_err(to_py)?;
    arrays(py, list)
}

type Displacements<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// (sum of the two largest displacements [B], whole cells int32 [N, 3] or None) since `built`; None if not finite.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn edge_moves<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    pbc: &Bound<'py, PyAny>,
    built: &Bound<'py, PyAny>,
    change: &Bound<'py, PyAny>,
    fractional: &Bound<'py, PyAny>,
    rows: &Bound<'py, PyAny>,
) -> PyResult<Option<Displacements<'py>>> {
    let offsets = values::<i64>(offsets, "offsets", "int64", "[B + 1]", |s| s.len() == 1 && s[0] > 0)?;
    let b = offsets.len() - 1;
    let built = values::<f64>(built, "built", "float64", "[N, 3]", |s| s.len() == 2 && s[1] == 3)?;
    let n = built.len() / 3;
    if offsets[0] != 0 || offsets[b] != n as i64 || !offsets.is_sorted() {
        return Err(to_py(Error::value("offsets", &format!("ascending from 0 to {n}"), format!("{:?}", &offsets[..]))));
    }
    let pbc = values::<bool>(pbc, "pbc", "bool", "[B, 3]", |s| s == [b, 3])?;
    let matrix = |given, name| values::<f64>(given, name, "float64", "[B, 3, 3]", |s| s == [b, 3, 3]);
    let (change, fractional, rows) =
        (matrix(change, "change")?, matrix(fractional, "fractional")?, matrix(rows, "rows")?);
    macro_rules! run {
        ($t:ty) => {{
            let positions = values::<$t>(positions, "positions", "float32 or float64", "[N, 3]", |s| s == [n, 3])?;
            let systems = Systems { positions: &positions, offsets: &offsets, cell: &rows, pbc: &pbc };
            py.detach(|| moves(&systems, &built, &change, &fractional, &rows))
        }};
    }
    let found = if positions.cast::<PyArrayDyn<f32>>().is_ok() { run!(f32) } else { run!(f64) };
    let Some(found) = found else { return Ok(None) };
    let whole = match found.whole.is_empty() {
        true => None,
        false => Some(PyArray1::from_vec(py, found.whole).reshape([n, 3])?.into_any()),
    };
    Ok(Some((PyArray1::from_vec(py, found.largest_two).into_any(), whole)))
}

/// Gives memory of lists that are gone back to the system. It may take it by itself when it runs short.
#[pyfunction]
fn release_edge_memory() {
    memory::release();
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<EdgeSelection>()?;
    m.add_function(wrap_pyfunction!(reverse_edges, m)?)?;
    m.add_function(wrap_pyfunction!(refilter_edges, m)?)?;
    m.add_function(wrap_pyfunction!(edge_moves, m)?)?;
    m.add_function(wrap_pyfunction!(release_edge_memory, m)?)?;
    m.add_function(wrap_pyfunction!(search_edges, m)?)
}
