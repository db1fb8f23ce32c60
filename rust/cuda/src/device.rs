//! Is there a GPU, and if not, why not. Never panics: cudarc does at its first call into a missing library.

use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, sys};
use valence_core::{Error, Result};

/// A driver error as ours.
pub(crate) fn failed(e: impl std::fmt::Debug) -> Error {
    Error::Device(format!("CUDA failed: {e:?}"))
}

fn has_driver() -> bool {
    // SAFETY: it only looks for the library.
    unsafe { sys::is_culib_present() }
}

/// True if a CUDA driver is installed and sees at least one GPU.
pub fn is_available() -> bool {
    why_not().is_none()
}

/// Why `device="cuda"` cannot be served here; None if it can.
pub fn why_not() -> Option<String> {
    if !has_driver() {
        return Some("no CUDA driver (libcuda) on this machine".into());
    }
    match CudaContext::device_count() {
        Err(e) => Some(format!("the CUDA driver does not start: {e:?}")),
        Ok(0) => Some("the CUDA driver sees no GPU".into()),
        Ok(_) => None,
    }
}

/// The primary context of one GPU, or why there is none.
pub fn context(ordinal: usize) -> Result<Arc<CudaContext>> {
    let refused = |why: String| {
        Error::Device(format!("`device` must be one that this machine has, got cuda:{ordinal} and {why}"))
    };
    if let Some(why) = why_not() {
        return Err(refused(why));
    }
    let context = CudaContext::new(ordinal).map_err(|e| refused(format!("{e:?}")))?;
    // SAFETY: other libraries' pointers carry no cudarc events; their owners order the work by their streams.
    unsafe { context.disable_event_tracking() };
    Ok(context)
}

/// Name, architecture ("sm_90") and memory in bytes of each GPU.
pub fn list() -> Result<Vec<(String, String, usize)>> {
    if why_not().is_some() {
        return Ok(vec![]);
    }
    let count = CudaContext::device_count().map_err(failed)?;
    (0..count as usize)
        .map(|ordinal| {
            let context = context(ordinal)?;
            let bytes = context.total_mem().map_err(failed)?;
            Ok((context.name().map_err(failed)?, architecture(&context)?, bytes))
        })
        .collect()
}

pub(crate) fn architecture(context: &CudaContext) -> Result<String> {
    let part = |which| context.attribute(which).map_err(failed);
    let major = part(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = part(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(format!("sm_{major}{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_told_why() {
        if is_available() {
            assert!(!list().unwrap().is_empty());
            return;
        }
        let message = context(0).err().unwrap().to_string();
        assert!(message.starts_with("`device` must be one that this machine has, got cuda:0 and "), "{message}");
        assert!(list().unwrap().is_empty());
    }
}
