//! Descriptors of environments.

pub mod extended;
pub mod loewdin;
