//! Carries out plans: on another library's memory and stream, or on arrays of the host by copies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use valence_core::{Error, Result};

use crate::device::{self, failed};
use crate::plan::{Argument, Memory, Plan};
use crate::source::{Precision, Unit};
use crate::{cache, compile};

/// What is loaded on one GPU, for the life of the process: loading costs far more than a launch.
struct Device {
    context: Arc<CudaContext>,
    modules: HashMap<(Unit, Precision), Arc<CudaModule>>,
    functions: HashMap<(Unit, Precision, &'static str), CudaFunction>,
}

impl Device {
    fn function(&mut self, unit: Unit, precision: Precision, kernel: &'static str) -> Result<CudaFunction> {
        if let Some(found) = self.functions.get(&(unit, precision, kernel)) {
            return Ok(found.clone());
        }
        if !self.modules.contains_key(&(unit, precision)) {
            let (source, arch) = (unit.source(precision), device::architecture(&self.context)?);
            let image = cache::cubin(cache::default_folder().as_deref(), &source.text, &arch, || {
                compile::compile(&source.text, &source.name, &arch).map(|c| c.image)
            })?;
            let module = self.context.load_module(Ptx::from_binary(image)).map_err(failed)?;
            self.modules.insert((unit, precision), module);
        }
        let function = self.modules[&(unit, precision)].load_function(kernel).map_err(failed)?;
        self.functions.insert((unit, precision, kernel), function.clone());
        Ok(function)
    }
}

type Devices = HashMap<usize, Arc<Mutex<Device>>>;

fn device(ordinal: usize) -> Result<Arc<Mutex<Device>>> {
    static DEVICES: OnceLock<Mutex<Devices>> = OnceLock::new();
    let mut devices = DEVICES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = devices.get(&ordinal) {
        return Ok(found.clone());
    }
    let context = device::context(ordinal)?;
    let made = Arc::new(Mutex::new(Device { context, modules: HashMap::new(), functions: HashMap::new() }));
    devices.insert(ordinal, made.clone());
    Ok(made)
}

/// Device addresses of the operands of a plan: inputs and outputs in the op's order, (order, ends) of each sort.
pub struct Addresses<'a> {
    pub inputs: &'a [u64],
    pub outputs: &'a [u64],
    pub sorts: &'a [[u64; 2]],
    pub scratch: u64,
}

impl Addresses<'_> {
    fn of(&self, memory: Memory) -> Option<u64> {
        match memory {
            Memory::Input(n) => self.inputs.get(n).copied(),
            Memory::Output(n) => self.outputs.get(n).copied(),
            Memory::Order(n) => self.sorts.get(n).map(|s| s[0]),
            Memory::Ends(n) => self.sorts.get(n).map(|s| s[1]),
            Memory::Scratch(offset) => Some(self.scratch + offset as u64),
            Memory::Null => Some(0),
        }
    }
}

impl Plan {
    /// Queues all launches on `stream`; does not wait for them.
    ///
    /// # Safety
    /// `stream` belongs to the primary context of this GPU and outlives the work; every address is of memory on that GPU,
    /// of the operand's size, contiguous, its indices in range; the scratch memory has the plan's size.
    pub unsafe fn launch(&self, ordinal: usize, stream: u64, addresses: &Addresses) -> Result<()> {
        let device = device(ordinal)?;
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller vouches for the stream.
        let stream = unsafe { device.context.wrap_borrowed_stream(stream as CUstream) };
        // SAFETY: the caller vouches for the addresses.
        unsafe { self.queue(&mut device, &stream, addresses) }
    }

    /// # Safety
    /// As [`Plan::launch`].
    unsafe fn queue(&self, device: &mut Device, stream: &Arc<CudaStream>, addresses: &Addresses) -> Result<()> {
        for step in &self.launches {
            let function = device.function(step.unit, self.precision, step.kernel)?;
            let mut values: Vec<(CUdeviceptr, i32)> = Vec::with_capacity(step.arguments.len());
            for argument in &step.arguments {
                values.push(match *argument {
                    Argument::Size(n) => (0, n),
                    Argument::Memory(m) => {
                        let count = addresses.inputs.len() + addresses.outputs.len() + 2 * addresses.sorts.len();
                        let missing = || Error::value("addresses", "one for each operand of the op", count);
                        (addresses.of(m).ok_or_else(missing)?, 0)
                    }
                });
            }
            let mut launch = stream.launch_builder(&function);
            for (argument, value) in step.arguments.iter().zip(&values) {
                match argument {
                    Argument::Size(_) => launch.arg(&value.1),
                    Argument::Memory(_) => launch.arg(&value.0),
                };
            }
            let [x, y, z] = step.grid;
            let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (step.block, 1, 1), shared_mem_bytes: 0 };
            // SAFETY: the arguments are those of the kernel's signature (the tests run each plan on the CPU), their memory
            // the caller's word.
            unsafe { launch.launch(config) }.map_err(failed)?;
        }
        Ok(())
    }

    /// The op on arrays of the host: copied in, computed, copied out.
    pub fn run_host(
        &self,
        ordinal: usize,
        inputs: &[&[u8]],
        sorts: &[[&[u8]; 2]],
        outputs: &mut [&mut [u8]],
    ) -> Result<()> {
        let device = device(ordinal)?;
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = device.context.default_stream();
        let copied = |bytes: &[u8]| {
            if bytes.is_empty() { stream.alloc_zeros::<u8>(1) } else { stream.clone_htod(bytes) }.map_err(failed)
        };
        let empty = |bytes: usize| stream.alloc_zeros::<u8>(bytes.max(1)).map_err(failed);
        let inputs = inputs.iter().map(|b| copied(b)).collect::<Result<Vec<_>>>()?;
        let sorted = sorts.iter().map(|[o, e]| Ok([copied(o)?, copied(e)?])).collect::<Result<Vec<_>>>()?;
        let results = outputs.iter().map(|b| empty(b.len())).collect::<Result<Vec<_>>>()?;
        let scratch = empty(self.scratch)?;
        let address = |slice: &cudarc::driver::CudaSlice<u8>| slice.device_ptr(&stream).0;
        let addresses = Addresses {
            inputs: &inputs.iter().map(address).collect::<Vec<_>>(),
            outputs: &results.iter().map(address).collect::<Vec<_>>(),
            sorts: &sorted.iter().map(|[o, e]| [address(o), address(e)]).collect::<Vec<_>>(),
            scratch: address(&scratch),
        };
        // SAFETY: the memory was just allocated with the sizes of the operands and lives until the stream is done.
        unsafe { self.queue(&mut device, &stream, &addresses) }?;
        for (result, out) in results.iter().zip(outputs.iter_mut()) {
            if !out.is_empty() {
                stream.memcpy_dtoh(result, *out).map_err(failed)?;
            }
        }
        stream.synchronize().map_err(failed)
    }
}
