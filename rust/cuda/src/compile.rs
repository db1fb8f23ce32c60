//! Kernel text to cubin by NVRTC. Needs no GPU and no driver, so every kernel is compiled for every architecture in CI.

use std::ffi::{CStr, CString, c_char};

use cudarc::nvrtc::{result, sys};
use valence_core::{Error, Result};

fn options(arch: &str) -> Vec<String> {
    vec![
        format!("--gpu-architecture={arch}"), // sm_XX gives a cubin; compute_XX would give PTX only
        "--std=c++17".into(),
        "--fmad=true".into(),
        "--ptxas-options=-v".into(), // registers, shared memory and spills, into the log
    ]
}

/// A compiled text.
pub struct Compiled {
    pub image: Vec<u8>,
    /// What the compiler says, with the resources of each kernel.
    pub log: String,
}

/// Compiles one complete kernel text for one architecture such as "sm_90".
pub fn compile(text: &str, name: &str, arch: &str) -> Result<Compiled> {
    // cudarc panics on its first call into a library that is not there: ask first.
    // SAFETY: it only looks for the library.
    if !unsafe { sys::is_culib_present() } {
        let why = "NVRTC must be installed to compile kernels, got no libnvrtc (pip install 'valence[cuda]')";
        return Err(Error::Device(why.into()));
    }
    let c_text =
        |field: &str, s: &str| CString::new(s).map_err(|_| Error::value(field, "without NUL bytes", "a text with one"));
    let (source, name) = (c_text("text", text)?, c_text("name", name)?);
    let program = result::create_program(source.as_c_str(), Some(name.as_c_str()))
        .map_err(|e| Error::Device(format!("NVRTC failed: {e:?}")))?;
    // SAFETY: `program` was just made and is destroyed below, after its last use.
    let compiled = unsafe { result::compile_program(program, &options(arch)) };
    let out = match compiled {
        // SAFETY: the program has compiled.
        Ok(()) => unsafe { read_cubin(program) }.map(|image| Compiled { image, log: log(program) }),
        Err(e) => Err(Error::Device(format!("kernel {name:?} for {arch}: {e:?}\n{}", log(program)))),
    };
    // SAFETY: the program's last use.
    let _ = unsafe { result::destroy_program(program) };
    out
}

fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: the program is alive.
    let raw: Vec<c_char> = unsafe { result::get_program_log(program) }.unwrap_or_default();
    if raw.is_empty() {
        return String::new();
    }
    // SAFETY: NVRTC ends its log with a NUL.
    unsafe { CStr::from_ptr(raw.as_ptr()) }.to_string_lossy().into_owned()
}

/// # Safety
/// `program` must have compiled.
unsafe fn read_cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>> {
    let failed = |e| Error::Device(format!("NVRTC failed: {e:?}"));
    let mut size = 0usize;
    // SAFETY: the program is alive and `size` is a place for its answer.
    unsafe { sys::nvrtcGetCUBINSize(program, &mut size) }.result().map_err(failed)?;
    if size == 0 {
        return Err(Error::value("arch", "a real architecture (sm_XX)", "a virtual one (compute_XX)"));
    }
    let mut bytes = vec![0u8; size];
    // SAFETY: `bytes` has the size that NVRTC asked for.
    unsafe { sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr() as *mut c_char) }.result().map_err(failed)?;
    Ok(bytes)
}
