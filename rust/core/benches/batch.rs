//! Many small molecules in one call, on one thread and on all; f32.
//!
//! `cargo bench -p valence-core --bench batch`

#[path = "../examples/networks/mod.rs"]
mod networks;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use networks::{CUTOFF, case, numbers, painn, schnet, small};
use valence_core::pool::{num_threads, set_num_threads};

fn bench(c: &mut Criterion) {
    let all = num_threads();
    let (schnet, painn, engine) = (schnet(Some(512)), painn(Some(512)), small());
    let (molecules, near) = (case(200, 20, CUTOFF), case(2000, 20, 3.0));
    let feats: Vec<f32> = numbers(16 * 40_000, 1.0, 9).into_iter().map(|x| x as f32).collect();
    let mut group = c.benchmark_group("molecules of 20 atoms");
    group.sample_size(10);
    for threads in [1, all] {
        set_num_threads(threads).expect("some threads");
        group.throughput(Throughput::Elements(200));
        group.bench_function(BenchmarkId::new("SchNet", threads), |b| {
            b.iter(|| schnet.compute(&molecules.graph(), true, false));
        });
        group.bench_function(BenchmarkId::new("PaiNN", threads), |b| {
            b.iter(|| painn.compute(&molecules.graph(), true, false));
        });
        group.throughput(Throughput::Elements(2000));
        group.bench_function(BenchmarkId::new("small engine", threads), |b| {
            b.iter(|| engine.run(&near.graph(), &feats, 3.0));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
