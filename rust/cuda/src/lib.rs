//! The same mathematics for a GPU: kernel text (`<room>/<op>.cu`) beside its launcher (`<room>/<op>.rs`).
//!
//! Nothing is linked: driver and NVRTC are found at run time, and a machine without them gets an error that says so.
//! Every kernel compiles to a cubin without a GPU ([`compile`]) and runs on the CPU in the tests through
//! `shim/cuda_shim.h`.

pub mod cache;
pub mod compile;
pub mod device;
pub mod edges;

/// A kernel text of this crate: name, source.
pub struct Source {
    pub name: &'static str,
    pub text: &'static str,
}

/// Every kernel text, for the check that all compile.
pub fn sources() -> Vec<Source> {
    vec![Source { name: "edges/length.cu", text: edges::length::TEXT }]
}

/// What kernel texts include: file name, content.
pub const HEADERS: [(&str, &str); 1] = [("common.cuh", include_str!("common.cuh"))];
