//! Glue of the device floor: the probe, the compiler, plans and their launch.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use valence_core::Error;
use valence_cuda::plan::{self, Argument, FAMILIES, Memory, Shapes};
use valence_cuda::run::Addresses;
use valence_cuda::source::Precision;
use valence_cuda::{compile, device, sources};

use crate::error::to_py;

/// Why `device="cuda"` cannot be served on this machine; None if it can.
#[pyfunction]
fn cuda_why_not(py: Python<'_>) -> Option<String> {
    py.detach(device::why_not)
}

/// (name, architecture, bytes of memory) of each GPU.
#[pyfunction]
fn cuda_devices(py: Python<'_>) -> PyResult<Vec<(String, String, usize)>> {
    py.detach(device::list).map_err(to_py)
}

/// (name, complete text) of the kernel texts that are checked to compile.
#[pyfunction]
fn cuda_sources() -> Vec<(String, String)> {
    sources().into_iter().map(|s| (s.name, s.text)).collect()
}

/// The families of ops that have GPU kernels.
#[pyfunction]
fn cuda_families() -> Vec<&'static str> {
    FAMILIES.to_vec()
}

/// A complete kernel text compiled for one architecture ("sm_90"): cubin and the compiler's log. Needs NVRTC, no GPU.
#[pyfunction]
fn cuda_compile<'py>(py: Python<'py>, text: &str, name: &str, arch: &str) -> PyResult<(Bound<'py, PyBytes>, String)> {
    let compiled = py.detach(|| compile::compile(text, name, arch)).map_err(to_py)?;
    Ok((PyBytes::new(py, &compiled.image), compiled.log))
}

/// What one call of an op does on a GPU, for these parameters, shapes and precision ("float32" or "float64").
#[pyclass(frozen, module = "valence._native")]
struct CudaPlan(plan::Plan);

/// Kernel text's name, kernel, grid, block, arguments: a whole number, or (whose memory, which).
type Step = (String, &'static str, [u32; 3], u32, Vec<(&'static str, i64)>);

/// An array of the host: address and bytes.
type Host = (usize, usize);

#[pymethods]
impl CudaPlan {
    #[new]
    #[pyo3(signature = (name, params, inputs, outputs, dtype, budget=64 << 20))]
    fn new(
        name: &str,
        params: Vec<f64>,
        inputs: Vec<Vec<usize>>,
        outputs: Vec<Vec<usize>>,
        dtype: &str,
        budget: usize,
    ) -> PyResult<Self> {
        let precision = match dtype {
            "float32" => Precision::F32,
            "float64" => Precision::F64,
            other => return Err(to_py(Error::value("dtype", "float32 or float64", other))),
        };
        let shapes = Shapes { inputs: &inputs, outputs: &outputs };
        plan::plan(name, &params, &shapes, precision, budget).map(CudaPlan).map_err(to_py)
    }

    /// Bytes of scratch memory.
    #[getter]
    fn scratch(&self) -> usize {
        self.0.scratch
    }

    /// (index operand, number of groups) of each sort that the plan reads.
    #[getter]
    fn sorts(&self) -> Vec<(usize, usize)> {
        self.0.sorts.iter().map(|s| (s.input, s.groups)).collect()
    }

    /// The launches, for the tests that carry them out on the CPU.
    #[getter]
    fn steps(&self) -> Vec<Step> {
        let argument = |a: &Argument| match *a {
            Argument::Size(n) => ("size", i64::from(n)),
            Argument::Memory(Memory::Input(n)) => ("input", n as i64),
            Argument::Memory(Memory::Output(n)) => ("output", n as i64),
            Argument::Memory(Memory::Order(n)) => ("order", n as i64),
            Argument::Memory(Memory::Ends(n)) => ("ends", n as i64),
            Argument::Memory(Memory::Scratch(n)) => ("scratch", n as i64),
            Argument::Memory(Memory::Null) => ("null", 0),
        };
        let step = |l: &plan::Launch| {
            let name = l.unit.source(self.0.precision).name;
            (name, l.kernel, l.grid, l.block, l.arguments.iter().map(argument).collect())
        };
        self.0.launches.iter().map(step).collect()
    }

    /// (name, complete text) of the kernel texts that the launches are from.
    #[getter]
    fn sources(&self) -> Vec<(String, String)> {
        let mut units: Vec<_> = self.0.launches.iter().map(|l| l.unit).collect();
        units.dedup();
        units.into_iter().map(|u| u.source(self.0.precision)).map(|s| (s.name, s.text)).collect()
    }

    /// Queues the launches at `place`, (number of the GPU, stream); returns at once.
    ///
    /// All numbers are addresses of contiguous device memory that the caller has checked and keeps until the work is done.
    fn launch(
        &self,
        py: Python<'_>,
        place: (usize, u64),
        inputs: Vec<u64>,
        outputs: Vec<u64>,
        sorts: Vec<[u64; 2]>,
        scratch: u64,
    ) -> PyResult<()> {
        let addresses = Addresses { inputs: &inputs, outputs: &outputs, sorts: &sorts, scratch };
        // SAFETY: `valence.cuda`, the only caller, has checked dtype, shape, contiguity and range of every tensor, and
        // tensors freed later are given back in the order of the stream by their own library.
        py.detach(|| unsafe { self.0.launch(place.0, place.1, &addresses) }).map_err(to_py)
    }

    /// Computes on GPU `ordinal` for arrays of the host, given as (address, bytes); `sorts` as (order, ends).
    fn run_host(
        &self,
        py: Python<'_>,
        ordinal: usize,
        inputs: Vec<Host>,
        outputs: Vec<Host>,
        sorts: Vec<[Host; 2]>,
    ) -> PyResult<()> {
        // SAFETY: `valence.cuda`, the only caller, passes contiguous NumPy arrays that it holds during the call.
        let read = |(at, bytes): Host| unsafe { slice(at, bytes) };
        let inputs: Vec<_> = inputs.into_iter().map(read).collect();
        let sorts: Vec<_> = sorts.into_iter().map(|[o, e]| [read(o), read(e)]).collect();
        let mut outputs: Vec<&mut [u8]> = outputs
            .into_iter()
            .map(|(at, bytes)| match bytes {
                0 => &mut [][..],
                // SAFETY: as above, and each output was just allocated.
                _ => unsafe { std::slice::from_raw_parts_mut(at as *mut u8, bytes) },
            })
            .collect();
        py.detach(|| self.0.run_host(ordinal, &inputs, &sorts, &mut outputs)).map_err(to_py)
    }
}

/// # Safety
/// `at` is the address of `bytes` bytes that live as long as the result is used.
unsafe fn slice<'a>(at: usize, bytes: usize) -> &'a [u8] {
    // SAFETY: the caller's word; an empty array's address may be anything.
    if bytes == 0 { &[] } else { unsafe { std::slice::from_raw_parts(at as *const u8, bytes) } }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<CudaPlan>()?;
    m.add_function(wrap_pyfunction!(cuda_why_not, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_devices, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_sources, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_families, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_compile, m)?)
}
