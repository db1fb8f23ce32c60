//! One XLA FFI handler for every op on the CPU: JAX passes the op's name and parameters as attributes.
//!
//! The layouts are those of XLA's FFI C API 0.3 (`xla/ffi/api/c_api.h`). New fields are only ever added at the end of a
//! struct and each struct carries its own size, so reading a prefix is what the interface allows.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;

use pyo3::prelude::*;
use valence_core::Real;
use valence_core::call::{self, Call, Operand};

#[repr(C)]
struct ExtensionBase {
    struct_size: usize,
    kind: c_int,
    next: *mut ExtensionBase,
}

#[repr(C)]
struct ApiVersion {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    major: c_int,
    minor: c_int,
}

#[repr(C)]
struct Metadata {
    struct_size: usize, // this struct, unlike the others, has no extension_start
    api_version: ApiVersion,
    traits: u32,
    state_type_id: i64,
}

#[repr(C)]
struct MetadataExtension {
    base: ExtensionBase,
    metadata: *mut Metadata,
}

#[repr(C)]
struct Buffer {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    dtype: c_int,
    data: *mut c_void,
    rank: i64,
    dims: *mut i64,
}

#[repr(C)]
struct Operands {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    size: i64,
    types: *mut c_int,
    items: *mut *mut Buffer,
}

#[repr(C)]
struct ByteSpan {
    ptr: *const c_char,
    len: usize,
}

#[repr(C)]
struct ArrayAttr {
    dtype: c_int,
    size: usize,
    data: *const c_void,
}

#[repr(C)]
struct Attrs {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    size: i64,
    types: *mut c_int,
    names: *mut *mut ByteSpan,
    items: *mut *mut c_void,
}

#[repr(C)]
struct ErrorCreateArgs {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    message: *const c_char,
    code: c_int,
}

#[repr(C)]
struct Api {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    api_version: ApiVersion,
    internal: *const c_void,
    error_create: unsafe extern "C" fn(*mut ErrorCreateArgs) -> *mut c_void,
}

#[repr(C)]
struct CallFrame {
    struct_size: usize,
    extension_start: *mut ExtensionBase,
    api: *const Api,
    ctx: *mut c_void,
    stage: c_int,
    args: Operands,
    rets: Operands,
    attrs: Attrs,
}

const EXTENSION_METADATA: c_int = 1;
const INVALID_ARGUMENT: c_int = 3;
const INTERNAL: c_int = 13;
const ARRAY_ATTR: c_int = 1;
const STRING_ATTR: c_int = 4;
const S32: c_int = 4;
const F32: c_int = 11;
const F64: c_int = 12;
/// Most operands of an op; they live on the stack.
const MAX: usize = 12;

impl Buffer {
    fn len(&self) -> usize {
        // SAFETY: XLA gives `rank` dimensions.
        let dims = unsafe { std::slice::from_raw_parts(self.dims, self.rank as usize) };
        if self.rank == 0 { 1 } else { dims.iter().product::<i64>() as usize }
    }

    /// # Safety
    /// The buffer's dtype must be that of T.
    unsafe fn values<'a, T>(&self) -> &'a [T] {
        match self.len() {
            0 => &[], // the pointer of an empty buffer may be null
            // SAFETY: XLA keeps the buffer alive and of this length for the call.
            n => unsafe { std::slice::from_raw_parts(self.data as *const T, n) },
        }
    }

    /// # Safety
    /// The buffer's dtype must be that of T, and it must be a result of the call.
    unsafe fn values_mut<'a, T>(&self) -> &'a mut [T] {
        match self.len() {
            0 => &mut [],
            // SAFETY: as above; XLA gives every result memory of its own.
            n => unsafe { std::slice::from_raw_parts_mut(self.data as *mut T, n) },
        }
    }
}

impl Operands {
    /// # Safety
    /// `self` must come from XLA.
    unsafe fn buffers(&self) -> Result<&[&Buffer], String> {
        if self.size as usize > MAX {
            return Err(format!("an op must have at most {MAX} operands, got {}", self.size));
        }
        if self.size == 0 {
            return Ok(&[]);
        }
        // SAFETY: `size` non-null pointers to buffers that live through the call.
        Ok(unsafe { std::slice::from_raw_parts(self.items as *const &Buffer, self.size as usize) })
    }
}

impl Attrs {
    /// # Safety
    /// `self` must come from XLA.
    unsafe fn get(&self, name: &str, kind: c_int) -> Option<*const c_void> {
        (0..self.size as usize).find_map(|i| {
            // SAFETY: XLA gives `size` names, types and items.
            unsafe {
                let span = &**self.names.add(i);
                let key = std::slice::from_raw_parts(span.ptr as *const u8, span.len);
                (key == name.as_bytes() && *self.types.add(i) == kind).then(|| *self.items.add(i) as *const c_void)
            }
        })
    }
}

/// # Safety
/// `frame` must come from XLA.
unsafe fn run(frame: &CallFrame) -> Result<(), String> {
    // SAFETY: all of `frame` is XLA's; attribute kinds are checked by `get`.
    unsafe {
        let name = frame.attrs.get("op", STRING_ATTR).ok_or("`op` must be a string attribute, got none")?;
        let name = &*(name as *const ByteSpan);
        let name = std::slice::from_raw_parts(name.ptr as *const u8, name.len);
        let name = std::str::from_utf8(name).map_err(|e| format!("`op` must be text, got {e}"))?;
        let kernels = call::find(name).ok_or_else(|| format!("`op` must be an op of this version, got {name}"))?;
        let params = match frame.attrs.get("params", ARRAY_ATTR) {
            Some(at) => {
                let array = &*(at as *const ArrayAttr);
                if array.dtype != F64 {
                    return Err(format!("`params` must be float64, got XLA type {}", array.dtype));
                }
                if array.size == 0 { &[] } else { std::slice::from_raw_parts(array.data as *const f64, array.size) }
            }
            None => &[],
        };
        let (inputs, outputs) = (frame.args.buffers()?, frame.rets.buffers()?);
        match outputs.first().map(|b| b.dtype) {
            Some(F32) => typed::<f32>(F32, inputs, outputs, params, kernels.f32),
            Some(F64) => typed::<f64>(F64, inputs, outputs, params, kernels.f64),
            other => Err(format!("{name} must be called with float32 or float64, got XLA type {other:?}")),
        }
    }
}

/// # Safety
/// The buffers must come from XLA.
unsafe fn typed<T: Real>(
    real: c_int,
    inputs: &[&Buffer],
    outputs: &[&Buffer],
    params: &[f64],
    kernel: call::Kernel<T>,
) -> Result<(), String> {
    let mut operands = [Operand::Index(&[]); MAX];
    for (k, b) in inputs.iter().enumerate() {
        operands[k] = match b.dtype {
            // SAFETY: the dtype was just compared.
            d if d == real => Operand::Real(unsafe { b.values() }),
            S32 => Operand::Index(unsafe { b.values() }),
            d => return Err(format!("operand {k} must be {} or int32, got XLA type {d}", T::NAME)),
        };
    }
    if let Some(b) = outputs.iter().find(|b| b.dtype != real) {
        return Err(format!("every result must be {}, got XLA type {}", T::NAME, b.dtype));
    }
    let cells: [Cell<&mut [T]>; MAX] = std::array::from_fn(|k| match outputs.get(k) {
        // SAFETY: dtype checked just above, memory of its own from XLA.
        Some(b) => Cell::new(unsafe { b.values_mut() }),
        None => Cell::new(&mut []),
    });
    let call = Call { inputs: &operands[..inputs.len()], outputs: &cells[..outputs.len()], params };
    kernel(&call).map_err(|e| e.to_string())
}

unsafe fn error(api: *const Api, message: String, code: c_int) -> *mut c_void {
    let message = std::ffi::CString::new(message).unwrap_or_default();
    let mut args = ErrorCreateArgs {
        struct_size: size_of::<ErrorCreateArgs>(),
        extension_start: std::ptr::null_mut(),
        message: message.as_ptr(),
        code,
    };
    // SAFETY: XLA's own function; it copies the message.
    unsafe { ((*api).error_create)(&mut args) }
}

/// The handler. # Safety: only XLA calls this, with a frame that it made.
unsafe extern "C" fn valence_op(frame: *mut CallFrame) -> *mut c_void {
    // SAFETY: see above.
    let frame = unsafe { &*frame };
    // At registration XLA calls once with this extension and no buffers, to ask for the API version.
    // SAFETY: an extension of this kind is a MetadataExtension.
    unsafe {
        if let Some(extension) = frame.extension_start.as_ref()
            && extension.kind == EXTENSION_METADATA
        {
            let metadata = &mut *(*(frame.extension_start as *mut MetadataExtension)).metadata;
            metadata.api_version.major = 0;
            metadata.api_version.minor = 3;
            metadata.traits = 0;
            return std::ptr::null_mut();
        }
    }
    // A panic must not cross into C++.
    // SAFETY: the frame is XLA's.
    match std::panic::catch_unwind(|| unsafe { run(frame) }) {
        Ok(Ok(())) => std::ptr::null_mut(),
        Ok(Err(message)) => unsafe { error(frame.api, message, INVALID_ARGUMENT) },
        Err(_) => unsafe { error(frame.api, "panic inside a kernel, please report it".into(), INTERNAL) },
    }
}

/// The handler's address, for `jax.ffi.register_ffi_target`.
#[pyfunction]
fn xla_handler() -> usize {
    valence_op as *const () as usize
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(xla_handler, m)?)
}
