//! Batches of systems on their way in and out of files.

pub mod elements;
pub mod extxyz;
