//! Basis kernels on 100,000 edges: `cargo bench -p valence-core --bench basis`. `VALENCE_NUM_THREADS=1` for one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use valence_core::basis::Normalization;
use valence_core::basis::harmonics::{Harmonics, spherical_harmonics, spherical_harmonics_bwd};
use valence_core::basis::lanes::Simd;
use valence_core::basis::radial::{Distances, radial_with_derivative};
use valence_core::basis::spec::Radial;

const EDGES: usize = 100_000;

fn harmonics<T: Simd>(c: &mut Criterion) {
    let vector: Vec<T> = (0..3 * EDGES).map(|i| T::of((i as f64 * 0.7).sin() + 0.01)).collect();
    for lmax in [3, 6] {
        let spec = Harmonics { lmax, normalize: true, normalization: Normalization::Component, polar_y: true };
        let mut out = vec![T::ZERO; EDGES * spec.width()];
        c.bench_function(&format!("spherical_harmonics {} lmax {lmax}", T::NAME), |b| {
            b.iter(|| spherical_harmonics(&spec, &vector, &mut out));
        });
        let mut grad = vec![T::ZERO; 3 * EDGES];
        c.bench_function(&format!("spherical_harmonics_bwd {} lmax {lmax}", T::NAME), |b| {
            b.iter(|| spherical_harmonics_bwd(&spec, &vector, &out, &mut grad));
        });
    }
}

fn radial<T: Simd>(c: &mut Criterion) {
    let distance: Vec<T> = (0..EDGES).map(|i| T::of(0.5 + (i as f64 * 0.7).sin().abs() * 5.0)).collect();
    let step = 5.0 / 19.0;
    let mut gaussian = vec![0.0, 20.0, 5.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    gaussian.extend((0..20).map(|k| k as f64 * step));
    gaussian.extend([-0.5 / (step * step); 20]);
    let mut bessel = vec![1.0, 8.0, 5.0, 1.0, 0.0, 1.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    bessel.extend((1..=8).map(|k| k as f64 * std::f64::consts::PI / 5.0));
    for (name, params) in [("gaussian 20 cosine", gaussian), ("bessel 8 polynomial", bessel)] {
        let (Ok(spec), Ok(distances)) = (Radial::decode(&params), Distances::new(&distance, None)) else {
            return;
        };
        let (mut f, mut df) = (vec![T::ZERO; EDGES * spec.count], vec![T::ZERO; EDGES * spec.count]);
        c.bench_function(&format!("radial_with_derivative {} {name}", T::NAME), |b| {
            b.iter(|| radial_with_derivative(&spec, distances, &mut f, &mut df));
        });
    }
}

criterion_group!(benches, harmonics::<f32>, harmonics::<f64>, radial::<f32>, radial::<f64>);
criterion_main!(benches);
