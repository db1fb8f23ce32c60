//! Time of SOAP on 216 atoms of silicon, part by part: `cargo run --release --example profile_soap`.

use std::time::Instant;

use valence_core::descriptors::power::{Compression, Layout};
use valence_core::descriptors::soap::basis::Basis;
use valence_core::descriptors::soap::weight::{Scaling, Weight};
use valence_core::descriptors::soap::{Average, Input, Kind, Parts, Precision, Run, Soap};
use valence_core::edges::Systems;

fn silicon() -> Vec<f64> {
    let basis = [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
    let mut x = Vec::new();
    for cell in 0..27 {
        for shift in [0.0, 0.25] {
            for b in basis {
                for (k, c) in [cell % 3, cell / 3 % 3, cell / 9].into_iter().enumerate() {
                    let noise = 0.05 * ((x.len() * 7919 + 13) as f64).sin();
                    x.push(5.43 * (c as f64 + b[k] + shift) + noise);
                }
            }
        }
    }
    x
}

fn best(repeats: usize, mut f: impl FnMut()) -> f64 {
    let one = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..repeats).map(|_| one(&mut f)).fold(f64::INFINITY, f64::min)
}

fn measure<T: Precision>(name: &str, soap: &Soap) -> valence_core::Result<()> {
    let x: Vec<T> = silicon().into_iter().map(T::of).collect();
    let n = x.len() / 3;
    let cell: Vec<f64> = (0..9).map(|k| if k % 4 == 0 { 3.0 * 5.43 } else { 0.0 }).collect();
    let offsets = [0, n as i64];
    let systems = Systems { positions: &x, offsets: &offsets, cell: &cell, pbc: &[true; 3] };
    let input = |kind| Input {
        systems,
        numbers: &[14; 216],
        species: &[14],
        species_weights: &[],
        centers: None,
        kind,
        average: Average::None,
        attached: true,
        portable: false,
    };
    let power = Kind::Power(Layout::Featomic, Compression::None);
    let list = best(200, || drop(Run::<T>::new(soap, &input(power), &mut || false)));
    let run = Run::<T>::new(soap, &input(power), &mut || false)?;
    let expansion = Run::<T>::new(soap, &input(Kind::Coefficients), &mut || false)?;
    let grad = run.values()?;
    let values = best(200, || drop(run.values()));
    let coefficients = best(200, || drop(expansion.values()));
    let vjp = best(200, || drop(run.vjp(&grad)));
    let pairs = run.pairs.len();
    println!(
        "{name}: {pairs} pairs; list {list:.0}, coefficients {coefficients:.0}, power {values:.0}, vjp {vjp:.0} us"
    );
    Ok(())
}

fn main() -> valence_core::Result<()> {
    valence_core::pool::set_num_threads(1)?;
    let basis = Basis::FeatomicGto { count: 8, radius: 5.0 };
    for smoothing in [None, Some(0.5)] {
        let weight = Weight { cutoff: 5.0, smoothing, scaling: Scaling::None, at_zero: None };
        let soap = Soap::new(Parts {
            bases: vec![Some(basis.clone()); 7],
            weight,
            reach: 5.0,
            inclusive: false,
            center_weight: 1.0,
            width: 0.3,
            normalised: true,
            accuracy: Some(1e-10),
        })?;
        measure::<f64>(&format!("f64, smoothing {smoothing:?}"), &soap)?;
        measure::<f32>(&format!("f32, smoothing {smoothing:?}"), &soap)?;
    }
    Ok(())
}
