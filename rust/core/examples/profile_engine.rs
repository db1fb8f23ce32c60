//! Where the time of SchNet and PaiNN goes, stage by stage, on one thread.
//!
//! `cargo run --release -p valence-core --example profile_engine [atoms] [systems]`

mod networks;

use std::time::Instant;

use networks::{CHANNELS, CUTOFF, case, numbers, painn, radials, schnet};
use valence_core::model::graph::dense::plain;
use valence_core::model::graph::filter::Basis;
use valence_core::model::graph::{Blocks, Dense};
use valence_core::pool::set_num_threads;

/// Least of some runs, milliseconds.
fn least(mut job: impl FnMut()) -> f64 {
    let time = |job: &mut dyn FnMut()| {
        let start = Instant::now();
        job();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..7).map(|_| time(&mut job)).fold(f64::INFINITY, f64::min)
}

/// Multiply-adds in the atoms' dense layers, forward, per atom and layer.
const SCHNET: usize = 3 * CHANNELS * CHANNELS;
const PAINN: usize = 15 * CHANNELS * CHANNELS;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    set_num_threads(1)?;
    let mut given = std::env::args().skip(1);
    let mut number = |default: usize| given.next().map_or(Ok(default), |text| text.parse());
    let (atoms, systems) = (number(500)?, number(1)?);
    let edges = least(|| drop(case(systems, atoms, CUTOFF)));
    let case = case(systems, atoms, CUTOFF);
    let (graph, n, e) = (case.graph(), systems * atoms, case.source.len());
    println!("{systems} systems of {atoms} atoms, {e} edges, {CHANNELS} channels, 3 layers, f32, milliseconds");
    println!("edges           {edges:8.2}");
    let lengths: Vec<f32> =
        case.vectors.chunks_exact(3).map(|v| (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt() as f32).collect();
    println!("radial          {:8.2}", least(|| drop(Basis::new(&radials(), &lengths))));

    let blocks = Blocks::one(CHANNELS);
    let dense = Dense::<f32>::new(&numbers(CHANNELS * CHANNELS, 1.0, 1), None, blocks, blocks);
    let (x, mut y) = (vec![1f32; n * CHANNELS], vec![0f32; n * CHANNELS]);
    let groups = blocks.groups();
    let product = least(|| dense.apply(plain(groups).of(&x), n, plain(groups).of_mut(&mut y), false));
    let rate = 2.0 * (n * CHANNELS * CHANNELS) as f64 / product / 1e6;
    println!(
        "dense           {product:8.2}   one product [{n}, {CHANNELS}] x [{CHANNELS}, {CHANNELS}]: {rate:.0} GFLOP/s"
    );

    for (name, work, intervals) in
        [("SchNet", SCHNET, Some(512)), ("SchNet", SCHNET, None), ("PaiNN", PAINN, Some(512)), ("PaiNN", PAINN, None)]
    {
        let (energy, both) = if name == "SchNet" {
            let model = schnet(intervals);
            (least(|| drop(model.compute(&graph, false, false))), least(|| drop(model.compute(&graph, true, false))))
        } else {
            let model = painn(intervals);
            (least(|| drop(model.compute(&graph, false, false))), least(|| drop(model.compute(&graph, true, false))))
        };
        let floor = 2.0 * (3 * work * n) as f64 / rate / 1e6;
        let table = intervals.map_or("exact".into(), |n| format!("{n} intervals"));
        println!("{name}, filters: {table}");
        println!(
            "  forward       {energy:8.2}   of it dense layers of atoms {floor:.2}, messages {:.2}",
            energy - floor
        );
        println!("  reverse       {:8.2}   of it dense layers of atoms {floor:.2}", both - energy);
        println!("  both          {both:8.2}   {:.2} times the dense layers", both / (2.0 * floor));
    }
    Ok(())
}
