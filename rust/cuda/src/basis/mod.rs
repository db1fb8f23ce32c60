//! Functions of edge vectors on a GPU.

pub mod harmonics;
