//! Descriptors of environments.

pub mod anisoap;
pub mod extended;
pub mod loewdin;
pub mod pairs;
pub mod power;
mod products;
pub mod soap;
pub mod tiles;
