//! One caller for every op: checks shapes and dtypes against the op's declaration, allocates the results, releases the
//! GIL and calls the kernel. What is specific to an op is its declaration (Python) and its kernel (core), nothing here.

use std::cell::Cell;

use numpy::{Element, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use valence_core::call::{self, Call, Kernels, Operand};
use valence_core::stages::{self, Stage};
use valence_core::{Error, Real};

use crate::error::to_py;

/// Most operands and letters that an op may have: they live on the stack.
const MAX: usize = 12;
const UNBOUND: usize = usize::MAX;
/// Results of at most so many values are allocated without asking whether there is memory.
const ALWAYS_THERE: usize = 1 << 24;

#[derive(Clone, Copy)]
enum Dim {
    Fixed(usize),
    Letter(usize),
}

struct Operands {
    name: String,
    is_index: bool,
    dims: Vec<Dim>,
    /// The dims as declared, for messages: "E, 3".
    text: String,
}

/// A kernel with its signature and static parameters: `op(*arrays, out=None)`.
///
/// Made by `valence._op.Op`; `inputs` and `outputs` are lists of (name, kind, dims) with kind "real" or "index" and dims
/// such as "E 3"; `sizes` gives the letters that follow from parameters, `params` the parameters as numbers.
#[pyclass(frozen, dict, module = "valence._native")]
pub struct Kernel {
    name: String,
    inputs: Vec<Operands>,
    outputs: Vec<Operands>,
    letters: Vec<String>,
    bound: [usize; MAX],
    params: Vec<f64>,
    kernels: Kernels,
    stage: Stage,
}

type Declared = (String, String, String);

#[pymethods]
impl Kernel {
    #[new]
    fn new(
        name: String,
        inputs: Vec<Declared>,
        outputs: Vec<Declared>,
        params: Vec<f64>,
        sizes: Vec<(String, usize)>,
    ) -> PyResult<Self> {
        let kernels = call::find(&name)
            .ok_or_else(|| PyValueError::new_err(format!("`name` must be one of {:?}, got {name}", call::names())))?;
        let (mut letters, mut bound) = (Vec::new(), [UNBOUND; MAX]);
        for (letter, size) in sizes {
            bound[letters.len()] = size;
            letters.push(letter);
        }
        let mut parse = |list: Vec<Declared>| -> Vec<Operands> {
            let parsed = list.into_iter().map(|(name, kind, dims)| {
                let text = dims.split_whitespace().collect::<Vec<_>>().join(", ");
                let dims = dims.split_whitespace().map(|word| match word.parse() {
                    Ok(n) => Dim::Fixed(n),
                    Err(_) => Dim::Letter(letters.iter().position(|l| l == word).unwrap_or_else(|| {
                        letters.push(word.to_string());
                        letters.len() - 1
                    })),
                });
                Operands { name, is_index: kind == "index", dims: dims.collect(), text }
            });
            parsed.collect()
        };
        let (inputs, outputs) = (parse(inputs), parse(outputs));
        if inputs.len().max(outputs.len()).max(letters.len()) > MAX {
            return Err(PyValueError::new_err(format!(
                "`inputs` must be at most {MAX} operands, got {}",
                inputs.len()
            )));
        }
        let stage = call::stage(&name);
        Ok(Kernel { name, inputs, outputs, letters, bound, params, kernels, stage })
    }

    #[getter]
    fn params(&self) -> Vec<f64> {
        self.params.clone()
    }

    #[getter]
    fn output_names(&self) -> Vec<&str> {
        self.outputs.iter().map(|o| o.name.as_str()).collect()
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, op) = (slf.py(), slf.get());
        let mut given: [Option<Bound<'py, PyAny>>; MAX] = Default::default();
        if args.len() > op.inputs.len() {
            return Err(op.usage(format!("{} positional arguments", args.len())));
        }
        for (slot, arg) in given.iter_mut().zip(args.iter()) {
            *slot = Some(arg);
        }
        let mut out = None;
        for (key, value) in kwargs.into_iter().flatten() {
            let key: String = key.extract()?;
            if key == "out" {
                out = (!value.is_none()).then_some(value);
                continue;
            }
            match op.inputs.iter().position(|i| i.name == key) {
                Some(i) if given[i].is_none() => given[i] = Some(value),
                Some(_) => return Err(op.usage(format!("`{key}` twice"))),
                None => return Err(op.usage(format!("`{key}`"))),
            }
        }
        if let Some(missing) = op.inputs.iter().zip(&given).find(|(_, g)| g.is_none()) {
            return Err(op.usage(format!("no `{}`", missing.0.name)));
        }
        let given: [&Bound<'py, PyAny>; MAX] = std::array::from_fn(|i| match &given[i] {
            Some(g) => g,
            None => args.as_any(), // beyond the op's inputs, never read
        });
        let given = &given[..op.inputs.len()];
        // The first real operand decides the precision of all.
        let lead = op.inputs.iter().position(|i| !i.is_index).unwrap_or(0);
        if given[lead].cast::<PyArrayDyn<f64>>().is_ok() {
            op.run(py, given, lead, out, op.kernels.f64)
        } else if given[lead].cast::<PyArrayDyn<f32>>().is_ok() {
            op.run(py, given, lead, out, op.kernels.f32)
        } else if given[lead].cast::<PyUntypedArray>().is_err() {
            columns(slf, given, out)
        } else {
            Err(op.why_not(given[lead], &op.inputs[lead], "float32 or float64"))
        }
    }

    fn __repr__(&self) -> String {
        let list = |o: &[Operands]| o.iter().map(|o| format!("{}[{}]", o.name, o.text)).collect::<Vec<_>>().join(", ");
        format!("{}({}) -> {}", self.name, list(&self.inputs), list(&self.outputs))
    }
}

/// An input as the kernel sees it: the caller's memory, or a copy where the array is strided or of another integer type.
enum Held<'a, T> {
    Borrowed(Operand<'a, T>),
    Real(Vec<T>),
    Index(Vec<i32>),
}

impl<T: Real> Held<'_, T> {
    fn operand(&self) -> Operand<'_, T> {
        match self {
            Held::Borrowed(o) => *o,
            Held::Real(v) => Operand::Real(v),
            Held::Index(v) => Operand::Index(v),
        }
    }
}

impl Kernel {
    fn run<'py, T: Real + Element>(
        &self,
        py: Python<'py>,
        given: &[&Bound<'py, PyAny>],
        lead: usize,
        out: Option<Bound<'py, PyAny>>,
        kernel: call::Kernel<T>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut bound = self.bound;
        let mut held: [Held<T>; MAX] = std::array::from_fn(|_| Held::Borrowed(Operand::Index(&[])));
        for (k, declared) in self.inputs.iter().enumerate() {
            held[k] = if declared.is_index {
                self.take_index(given[k], declared, &mut bound)?
            } else {
                let array = given[k].cast::<PyArrayDyn<T>>().map_err(|_| {
                    let rule = if k == lead {
                        "float32 or float64".to_string()
                    } else {
                        format!("{} as `{}` is", T::NAME, self.inputs[lead].name)
                    };
                    self.why_not(given[k], declared, &rule)
                })?;
                self.bind(array.shape(), declared, &mut bound)?;
                take_real(array)
            };
        }
        let operands: [Operand<T>; MAX] = std::array::from_fn(|i| held[i].operand());
        let mut results: Vec<Bound<'py, PyAny>> = Vec::with_capacity(self.outputs.len());
        let mut addresses = [(0usize, 0usize); MAX];
        for (k, declared) in self.outputs.iter().enumerate() {
            let mut shape = [0usize; MAX];
            for (s, dim) in shape.iter_mut().zip(&declared.dims) {
                *s = size_of_dim(*dim, &bound);
            }
            let shape = &shape[..declared.dims.len()];
            let array = match &out {
                None => allocate::<T>(py, shape)?,
                Some(o) if self.outputs.len() == 1 => check_out(o, shape, &operands[..self.inputs.len()])?,
                Some(_) => return Err(self.usage("`out` for an op of several results".into())),
            };
            addresses[k] = (array.data() as usize, array.len());
            results.push(array.into_any());
        }
        let (count, inputs) = (self.outputs.len(), &operands[..self.inputs.len()]);
        py.detach(|| {
            let cells: [Cell<&mut [T]>; MAX] = std::array::from_fn(|k| {
                let (at, len) = addresses[k];
                // SAFETY: each result was just allocated by numpy with `len` values, or is an `out` that was checked to be
                // contiguous, of that length, writable and apart from every input; `results` keeps it alive.
                Cell::new(if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(at as *mut T, len) } })
            });
            let _timer = stages::start(self.stage);
            kernel(&Call { inputs, outputs: &cells[..count], params: &self.params })
        })
        .map_err(to_py)?;
        match results.len() {
            1 => Ok(results.swap_remove(0)),
            _ => Ok(PyTuple::new(py, results)?.into_any()),
        }
    }

    /// Matches an array's shape with the declared dims, binding letters at their first use.
    fn bind(&self, shape: &[usize], declared: &Operands, bound: &mut [usize; MAX]) -> PyResult<()> {
        let fits = shape.len() == declared.dims.len()
            && shape.iter().zip(&declared.dims).all(|(&n, dim)| match *dim {
                Dim::Fixed(size) => n == size,
                Dim::Letter(l) if bound[l] == UNBOUND => {
                    bound[l] = n;
                    true
                }
                Dim::Letter(l) => n == bound[l],
            });
        if fits { Ok(()) } else { Err(self.wrong_shape(shape, declared, bound)) }
    }

    #[cold]
    fn wrong_shape(&self, shape: &[usize], declared: &Operands, bound: &[usize; MAX]) -> PyErr {
        let sizes = declared.dims.iter().map(|dim| match *dim {
            Dim::Letter(l) if bound[l] == UNBOUND => self.letters[l].clone(),
            dim => size_of_dim(dim, bound).to_string(),
        });
        let sizes = sizes.collect::<Vec<_>>().join(", ");
        let rule = match sizes == declared.text {
            true => format!("of shape [{}]", declared.text),
            false => format!("of shape [{}] = [{sizes}]", declared.text),
        };
        to_py(Error::value(&declared.name, &rule, format!("{shape:?}")))
    }

    fn take_index<'a, T>(
        &self,
        given: &'a Bound<'_, PyAny>,
        declared: &Operands,
        bound: &mut [usize; MAX],
    ) -> PyResult<Held<'a, T>> {
        let rule = "int32, int64 or uint32";
        if let Ok(array) = given.cast::<PyArrayDyn<i32>>() {
            self.bind(array.shape(), declared, bound)?;
            if !array.is_c_contiguous() {
                return Ok(Held::Index(copy_of(array)));
            }
            // SAFETY: contiguous, alive as long as `given`; a writer in another thread is the caller's race, as in numpy.
            return Ok(Held::Borrowed(Operand::Index(unsafe { slice_of(array) })));
        }
        let too_large = |value: i64, row: usize| {
            to_py(Error::value(&declared.name, "within int32", format!("{value} in row {row}")))
        };
        let narrow = |values: &mut dyn Iterator<Item = i64>| -> PyResult<Vec<i32>> {
            values.enumerate().map(|(row, v)| i32::try_from(v).map_err(|_| too_large(v, row))).collect()
        };
        let narrowed = if let Ok(array) = given.cast::<PyArrayDyn<i64>>() {
            self.bind(array.shape(), declared, bound)?;
            narrow(&mut copy_of(array).into_iter())?
        } else if let Ok(array) = given.cast::<PyArrayDyn<u32>>() {
            self.bind(array.shape(), declared, bound)?;
            narrow(&mut copy_of(array).into_iter().map(i64::from))?
        } else {
            return Err(self.why_not(given, declared, rule));
        };
        Ok(Held::Index(narrowed))
    }

    #[cold]
    fn why_not(&self, given: &Bound<'_, PyAny>, declared: &Operands, rule: &str) -> PyErr {
        match given.cast::<PyUntypedArray>() {
            Ok(array) => to_py(Error::kind(&declared.name, rule, array.dtype())),
            Err(_) => to_py(Error::kind(&declared.name, "a numpy array or an Arrow column", given.get_type())),
        }
    }

    #[cold]
    fn usage(&self, got: String) -> PyErr {
        let names: Vec<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
        PyTypeError::new_err(format!("{} takes ({}, out=None), got {got}", self.name, names.join(", ")))
    }
}

fn size_of_dim(dim: Dim, bound: &[usize; MAX]) -> usize {
    match dim {
        Dim::Fixed(n) => n,
        Dim::Letter(l) => bound[l],
    }
}

/// Columns in, columns out: the table layer turns them into arrays and the result back (`valence._columns`).
#[cold]
fn columns<'py>(
    op: &Bound<'py, Kernel>,
    given: &[&Bound<'py, PyAny>],
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static CALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = op.py();
    let call =
        CALL.get_or_try_init(py, || -> PyResult<_> { Ok(py.import("valence._columns")?.getattr("call")?.unbind()) })?;
    let names: Vec<&str> = op.get().inputs.iter().map(|i| i.name.as_str()).collect();
    call.bind(py).call1((op, names, PyTuple::new(py, given)?, out))
}

fn allocate<'py, T: Real + Element>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let values = shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
    if values.is_none_or(|n| n > ALWAYS_THERE) {
        // NumPy itself says what is wrong with a size that memory or an index cannot hold.
        let made = py.import("numpy")?.call_method1("empty", (PyTuple::new(py, shape)?, T::NAME))?;
        return Ok(made.cast_into::<PyArrayDyn<T>>()?);
    }
    // SAFETY: every kernel writes each value of its results (the law tests fill `out` with NaN to see it), and T is a
    // plain number.
    Ok(unsafe { PyArrayDyn::new(py, shape, false) })
}

fn take_real<'a, T: Real + Element>(array: &'a Bound<'_, PyArrayDyn<T>>) -> Held<'a, T> {
    // `as_slice` of the numpy crate is a trap: it also gives a Fortran-ordered array's memory, the transpose.
    if !array.is_c_contiguous() {
        return Held::Real(copy_of(array));
    }
    // SAFETY: contiguous and alive as long as the borrowed array; a writer in another thread is the caller's race.
    Held::Borrowed(Operand::Real(unsafe { slice_of(array) }))
}

/// # Safety
/// The array must be C-contiguous.
unsafe fn slice_of<'a, T: Element>(array: &'a Bound<'_, PyArrayDyn<T>>) -> &'a [T] {
    if array.len() == 0 {
        return &[]; // numpy's address of an empty array may be anything
    }
    // SAFETY: `len` values from `data` on, as the caller vouches.
    unsafe { std::slice::from_raw_parts(array.data(), array.len()) }
}

fn copy_of<T: Element + Copy>(array: &Bound<'_, PyArrayDyn<T>>) -> Vec<T> {
    array.readonly().as_array().iter().copied().collect()
}

fn check_out<'py, T: Real + Element>(
    out: &Bound<'py, PyAny>,
    shape: &[usize],
    inputs: &[Operand<'_, T>],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let rule = format!("a C-contiguous {} array of shape {shape:?}", T::NAME);
    let wrong = |got: String| to_py(Error::value("out", &rule, got));
    let array = match out.cast::<PyArrayDyn<T>>() {
        Ok(array) => array,
        Err(_) => match out.cast::<PyUntypedArray>() {
            Ok(array) => return Err(wrong(format!("{} of shape {:?}", array.dtype(), array.shape()))),
            Err(_) => return Err(wrong(out.get_type().to_string())),
        },
    };
    if array.shape() != shape || !array.is_c_contiguous() {
        return Err(wrong(format!("shape {:?}, strides {:?}", array.shape(), array.strides())));
    }
    if !out.getattr("flags")?.getattr("writeable")?.extract::<bool>()? {
        return Err(wrong("a read-only array".into()));
    }
    let memory = array.data() as usize..array.data() as usize + size_of::<T>() * array.len();
    let overlaps = |start: usize, bytes: usize| start < memory.end && memory.start < start + bytes;
    for input in inputs {
        let overlapping = match input {
            Operand::Real(v) => overlaps(v.as_ptr() as usize, size_of_val(*v)),
            Operand::Index(v) => overlaps(v.as_ptr() as usize, size_of_val(*v)),
        };
        if overlapping {
            return Err(wrong("an array that overlaps an input".into()));
        }
    }
    Ok(array.clone())
}

/// Sets the number of threads of every later call (1 to 4096). Results do not depend on it, bit for bit.
#[pyfunction]
fn set_num_threads(n: i64) -> PyResult<()> {
    let rule = || to_py(Error::value("n", "a number of threads from 1 to 4096", n));
    valence_core::pool::set_num_threads(usize::try_from(n).map_err(|_| rule())?).map_err(|_| rule())
}

/// The number of threads that kernels use.
#[pyfunction]
fn get_num_threads() -> usize {
    valence_core::pool::num_threads()
}

/// The names of all differentiable ops of the core.
#[pyfunction]
fn op_names() -> Vec<&'static str> {
    call::names()
}

/// Turns the timers of stages on, from zero, or off.
#[pyfunction]
fn time_stages(on: bool) {
    stages::switch(on);
}

/// Seconds of each stage since the timers were turned on, summed over threads.
#[pyfunction]
fn stage_seconds() -> Vec<(&'static str, f64)> {
    stages::seconds()
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Kernel>()?;
    m.add_function(wrap_pyfunction!(time_stages, m)?)?;
    m.add_function(wrap_pyfunction!(stage_seconds, m)?)?;
    m.add_function(wrap_pyfunction!(set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(get_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(op_names, m)?)
}
