//! Trained networks: their files and their engines.

pub mod engine;
pub mod file;
pub mod graph;
pub mod mace;
pub mod painn;

pub mod schnet;
