//! Lengths of edge vectors and the gradient of their sum of squares, from Rust.
//!
//! `cargo run --release -p valence-core --example edges`

use valence_core::edges::length::{edge_length, edge_length_bwd};

fn main() {
    let vector = [3.0, 4.0, 0.0, 1.0, 2.0, 2.0];
    let mut length = [0.0; 2];
    edge_length(&vector, &mut length);
    let gradient_of_length: Vec<f64> = length.iter().map(|r| 2.0 * r).collect();
    let mut gradient = [0.0; 6];
    edge_length_bwd(&vector, &gradient_of_length, &mut gradient);
    println!("lengths {length:?} Å, gradient of the sum of squares {gradient:?} Å");
}
