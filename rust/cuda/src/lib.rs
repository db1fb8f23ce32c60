//! The same mathematics for a GPU: kernel text (`<room>/<op>.cu`) beside its launcher (`<room>/<op>.rs`).
//!
//! A launcher writes a [`plan::Plan`], a list of launches, from names and shapes alone; [`run`] carries it out. Nothing is
//! linked: driver and NVRTC are found at run time, and a machine without them gets an error that says so. Every kernel
//! compiles to a cubin without a GPU ([`compile`]), and whole plans run on the CPU in the tests through `shim/cuda_shim.h`.

pub mod basis;
pub mod cache;
pub mod compile;
pub mod device;
pub mod edges;
pub mod equivariant;
pub mod plan;
pub mod run;
pub mod source;

use equivariant::coupling::Coupling;
use source::{Precision, Source, Unit};
use valence_core::basis::Normalization::Component;
use valence_core::basis::harmonics::Harmonics;

/// Kernel texts of common sizes, for the check that all compile without spilling a register: harmonics to degree 6 (written
/// out) and 10 (loops), products of degrees 3 and 4, both precisions. Others are made at run time in the same way.
pub fn sources() -> Vec<Source> {
    let harmonics = [(3, false), (3, true), (6, true), (10, true)].map(|(lmax, normalize)| {
        Unit::Harmonics(Harmonics { lmax, normalize, normalization: Component, polar_y: true })
    });
    let products = [3, 4].into_iter().flat_map(|l| {
        let [there, back] = [false, true].map(|back| Coupling { lmax: [l; 3], back });
        let both = [there, back].into_iter().flat_map(|c| [Unit::Simple(c), Unit::Gather(c)]);
        both.chain([Unit::Reduce(there)])
    });
    // Tables apart, the dense products are the same for all degrees.
    let dense = [false, true].map(|back| Unit::Dense(Coupling { lmax: [3; 3], back }));
    let units = [Unit::Zero, Unit::Length, Unit::Inside].into_iter().chain(harmonics).chain(products).chain(dense);
    units.flat_map(|u| [Precision::F32, Precision::F64].map(|p| u.source(p))).collect()
}
