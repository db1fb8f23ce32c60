//! Launcher of `length.cu`.

use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use valence_core::{Error, Result};

use crate::device::failed;

pub const TEXT: &str = include_str!("length.cu");
const THREADS: usize = 256;

/// The kernels of one precision on one GPU: loaded once per context and kept (loading costs far more than a launch).
pub struct EdgeLength {
    context: Arc<CudaContext>,
    /// Forward, vjp, second vjp.
    orders: [CudaFunction; 3],
}

impl EdgeLength {
    /// `precision` is "f32" or "f64".
    pub fn load(ordinal: usize, precision: &str, include_folder: &str) -> Result<Self> {
        let context = crate::device::context(ordinal)?;
        let image = crate::device::image(&context, "edges/length.cu", TEXT, include_folder)?;
        let module = context.load_module(image).map_err(failed)?;
        let load = |order: &str| module.load_function(&format!("edge_length{order}_{precision}")).map_err(failed);
        Ok(EdgeLength { orders: [load("")?, load("_bwd")?, load("_bwd_bwd")?], context })
    }

    /// Launches one order over `edges` rows on a stream and device memory that the caller owns; does not synchronise.
    /// `operands` are the device addresses of the op's inputs, then of its results.
    ///
    /// # Safety
    /// `stream` belongs to the primary context of this GPU and outlives the work; every address is of memory on that GPU
    /// with the op's number of values in this precision.
    pub unsafe fn launch(&self, order: usize, stream: u64, operands: &[CUdeviceptr], edges: usize) -> Result<()> {
        let wanted = [2, 3, 5].get(order).copied();
        if wanted != Some(operands.len()) {
            let got = format!("order {order} with {} addresses", operands.len());
            return Err(Error::value("operands", "2, 3 or 5 addresses for order 0, 1 or 2", got));
        }
        if edges == 0 {
            return Ok(()); // an empty grid is an error to CUDA
        }
        let blocks = u32::try_from(edges.div_ceil(THREADS)).map_err(|_| Error::value("edges", "below 2^40", edges))?;
        // SAFETY: the caller vouches for the stream.
        let stream = unsafe { self.context.wrap_borrowed_stream(stream as CUstream) };
        let mut launch = stream.launch_builder(&self.orders[order]);
        for address in operands {
            launch.arg(address);
        }
        let count = edges as i64;
        launch.arg(&count);
        let config = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of the kernel's signature, their memory the caller's word.
        unsafe { launch.launch(config) }.map_err(failed)?;
        Ok(())
    }
}
