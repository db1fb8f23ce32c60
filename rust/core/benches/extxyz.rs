//! Reading and writing extended XYZ: 100 frames of 108 atoms with forces, 1 thread.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use valence_core::atoms::extxyz::{Selection, parse, to_text};

fn text() -> Vec<u8> {
    let mut text = String::new();
    for frame in 0..100 {
        text.push_str(
            "108\nLattice=\"10.8 0 0 0 10.8 0 0 0 10.8\" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\n",
        );
        for atom in 0..108 {
            let x = f64::from(atom * 7 + frame) * 0.012_345_67;
            text.push_str(&format!(
                "Cu {x:16.8} {:16.8} {:16.8} {:16.8} {:16.8} {:16.8}\n",
                x * 1.1,
                -x,
                x * 0.1,
                x * 0.3,
                -x * 2.0
            ));
        }
    }
    text.into_bytes()
}

fn bench(c: &mut Criterion) {
    valence_core::pool::set_num_threads(1).expect("1 is a number of threads");
    let text = text();
    let frames = parse(&text, Selection::ALL).expect("the text is well formed");
    let mut group = c.benchmark_group("extxyz");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("read", |b| b.iter(|| parse(&text, Selection::ALL)));
    group.bench_function("write", |b| b.iter(|| to_text(&frames.view())));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
