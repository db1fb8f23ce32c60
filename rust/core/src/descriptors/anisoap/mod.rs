//! AniSOAP: densities of ellipsoids expanded about each particle (Lin et al., J. Chem. Phys. 161, 074112, 2024).

#![allow(clippy::needless_range_loop)] // indices count axes, lanes and components of tensors

pub mod adjoint;
pub mod basis;
pub mod contract;
pub mod forward;
pub mod moments;
pub mod monomials;
pub mod second;
pub mod shapes;
pub mod spectrum;
pub mod tangent;

#[cfg(test)]
mod tests;
