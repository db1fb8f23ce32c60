//! Trained networks: their files.

pub mod file;
