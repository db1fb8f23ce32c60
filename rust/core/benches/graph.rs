//! Time of a neighbor list per edge, by number of atoms; and of many molecules in one call.
//!
//! `cargo bench -p valence-core --bench graph`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use valence_core::edges::{Options, Systems, search};
use valence_core::pool::set_num_threads;

/// A jittered grid of 0.1 atoms per cubic Angstrom, without a random number crate: a linear congruence.
fn liquid(n: usize) -> (Vec<f64>, f64) {
    let side = (n as f64 / 0.1).cbrt();
    let m = (n as f64).cbrt().ceil() as usize;
    let mut state = 1u64;
    let mut jitter = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let place = |k: usize| [k / (m * m), k / m % m, k % m].map(|c| c as f64 * side / m as f64);
    let x = (0..n).flat_map(|k| place(k).map(|c| c + 1.2 * jitter())).collect();
    (x, side)
}

fn bench(c: &mut Criterion) {
    set_num_threads(1).expect("one thread");
    let mut group = c.benchmark_group("neighbor list, 5 A");
    group.sample_size(10);
    for n in [64, 1000, 100_000] {
        let (x, side) = liquid(n);
        let cell = [side, 0.0, 0.0, 0.0, side, 0.0, 0.0, 0.0, side];
        let systems = Systems { positions: &x, offsets: &[0, n as i64], cell: &cell, pbc: &[true; 3] };
        let edges = search(&systems, &Options::new(5.0), &mut || false).expect("a valid system").source.len();
        group.throughput(Throughput::Elements(edges as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| search(&systems, &Options::new(5.0), &mut || false));
        });
    }
    let molecules = 10_000;
    let (x, _) = liquid(20);
    let x = x.repeat(molecules);
    let offsets: Vec<i64> = (0..=molecules as i64).map(|b| 20 * b).collect();
    let (cell, pbc) = (vec![0.0; 9 * molecules], vec![false; 3 * molecules]);
    let systems = Systems { positions: &x, offsets: &offsets, cell: &cell, pbc: &pbc };
    group.throughput(Throughput::Elements(molecules as u64));
    group.bench_function("10000 molecules", |b| b.iter(|| search(&systems, &Options::new(5.0), &mut || false)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
