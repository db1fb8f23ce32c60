//! Energies and forces of SchNet and PaiNN on a liquid, and the small engine, by number of atoms; f32, one thread.
//!
//! `cargo bench -p valence-core --bench engine`

#[path = "../examples/networks/mod.rs"]
mod networks;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use networks::{CUTOFF, case, numbers, painn, schnet, small};
use valence_core::pool::set_num_threads;

fn bench(c: &mut Criterion) {
    set_num_threads(1).expect("one thread");
    let mut group = c.benchmark_group("energy and forces");
    group.sample_size(10);
    for n in [64, 500, 1000] {
        let case = case(1, n, CUTOFF);
        group.throughput(Throughput::Elements(n as u64));
        for intervals in [Some(512), None] {
            let kind = if intervals.is_some() { "tables" } else { "exact" };
            let (schnet, painn) = (schnet(intervals), painn(intervals));
            group.bench_function(BenchmarkId::new(format!("SchNet, {kind}"), n), |b| {
                b.iter(|| schnet.compute(&case.graph(), true, false));
            });
            group.bench_function(BenchmarkId::new(format!("PaiNN, {kind}"), n), |b| {
                b.iter(|| painn.compute(&case.graph(), true, false));
            });
        }
    }
    group.finish();
    let mut group = c.benchmark_group("small engine, 2 layers of 32");
    group.sample_size(10);
    let engine = small();
    for n in [5, 64, 1000, 100_000] {
        let case = case(1, n, 3.0);
        let feats: Vec<f32> = numbers(16 * n, 1.0, 9).into_iter().map(|x| x as f32).collect();
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| b.iter(|| engine.run(&case.graph(), &feats, 3.0)));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
