//! Trained networks: their files and their engines.

pub mod file;
pub mod mace;
