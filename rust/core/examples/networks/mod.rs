//! Untrained networks and made-up systems for benches and the profile: sizes of published models.

#![allow(dead_code, clippy::unwrap_used)] // each user takes a part of it

use valence_core::edges::{Options, Systems, search};
use valence_core::model::engine::{Engine, Weights};
use valence_core::model::graph::{Activation, Envelope, Graph, Head, Kind, Linear, Radials, padded};
use valence_core::model::painn::{self, PaiNN};
use valence_core::model::schnet::{self, SchNet};

pub const CHANNELS: usize = 128;
pub const FUNCTIONS: usize = 20;
pub const CUTOFF: f64 = 5.0;

/// Numbers from -1 to 1 times `scale`, the same on every machine.
pub fn numbers(count: usize, scale: f64, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0) * scale
    };
    (0..count).map(|_| next()).collect()
}

/// Atoms, their edges and which system they are of.
pub struct Case {
    pub positions: Vec<f64>,
    pub offsets: Vec<i64>,
    pub elements: Vec<i32>,
    pub vectors: Vec<f64>,
    pub source: Vec<i32>,
    pub target: Vec<i32>,
}

impl Case {
    pub fn graph(&self) -> Graph<'_> {
        Graph {
            numbers: &self.elements,
            offsets: &self.offsets,
            vectors: &self.vectors,
            source: &self.source,
            target: &self.target,
        }
    }
}

/// Jittered grids of n atoms at 0.1 atoms per cubic Angstrom; one of them is periodic.
pub fn case(systems: usize, n: usize, cutoff: f64) -> Case {
    let side = (n as f64 / 0.1).cbrt();
    let m = (n as f64).cbrt().ceil() as usize;
    let mut positions = Vec::new();
    for s in 0..systems {
        let jitter = numbers(3 * n, 0.5, s as u64 + 1);
        for k in 0..n {
            let place = [k / (m * m), k / m % m, k % m];
            positions.extend((0..3).map(|a| place[a] as f64 * side / m as f64 + jitter[3 * k + a]));
        }
    }
    let offsets: Vec<i64> = (0..=systems).map(|b| (b * n) as i64).collect();
    let periodic = systems == 1;
    let cell = [side, 0.0, 0.0, 0.0, side, 0.0, 0.0, 0.0, side].repeat(systems);
    let pbc = vec![periodic; 3 * systems];
    let given = Systems { positions: &positions, offsets: &offsets, cell: &cell, pbc: &pbc };
    let found = search(&given, &Options::new(cutoff), &mut || false).unwrap();
    let (source, target) = (found.source.to_vec(), found.target.to_vec());
    let elements = (0..systems * n).map(|k| [1, 8, 6][k % 3]).collect();
    Case { vectors: found.vector.to_vec(), source, target, positions, offsets, elements }
}

pub fn radials() -> Radials {
    let step = CUTOFF / (FUNCTIONS - 1) as f64;
    let centers = (0..FUNCTIONS).map(|k| k as f64 * step).collect();
    let kind = Kind::Gaussian { centers, coefficients: vec![-0.5 / (step * step); FUNCTIONS] };
    Radials::new(kind, FUNCTIONS, CUTOFF, Envelope::Cosine { lower: 0.0 })
}

fn layer(out: usize, into: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    (numbers(out * into, (3.0 / into as f64).sqrt(), seed), numbers(out, 0.1, seed + 1))
}

fn head() -> Head<f32> {
    let (first, last) = (layer(CHANNELS / 2, CHANNELS, 91), layer(1, CHANNELS / 2, 93));
    let linear = |w: &'_ (Vec<f64>, Vec<f64>)| (w.0.clone(), w.1.clone());
    let (a, b) = (linear(&first), linear(&last));
    let layers = [
        Linear { weights: &a.0, bias: &a.1, inputs: CHANNELS, outputs: CHANNELS / 2 },
        Linear { weights: &b.0, bias: &b.1, inputs: CHANNELS / 2, outputs: 1 },
    ];
    Head::new(&layers, Activation::Silu)
}

pub fn schnet(intervals: Option<usize>) -> SchNet<f32> {
    let (c, radials) = (CHANNELS, radials());
    let activation = Activation::ShiftedSoftplus;
    let layers = (0..3).map(|l| {
        let s = 10 * l;
        let (into, f1, f2) = (layer(c, c, s), layer(c, FUNCTIONS, s + 2), layer(c, c, s + 4));
        let (u1, u2) = (layer(c, c, s + 6), layer(c, c, s + 8));
        let w = schnet::Weights {
            in2f: &into.0,
            filter_network: [(&f1.0, &f1.1), (&f2.0, &f2.1)],
            f2out: [(&u1.0, &u1.1), (&u2.0, &u2.1)],
        };
        schnet::Layer::new(&w, [c, c], &radials, activation, intervals).unwrap()
    });
    let layers = layers.collect();
    let embedding = padded(&numbers(100 * c, 1.0, 5), c);
    SchNet { elements: 100, channels: c, filters: c, embedding, radials, activation, layers, head: Some(head()) }
}

pub fn painn(intervals: Option<usize>) -> PaiNN<f32> {
    let (c, radials) = (CHANNELS, radials());
    let layers = (0..3).map(|l| {
        let s = 20 * l;
        let (a1, a2, f) = (layer(c, c, s), layer(3 * c, c, s + 2), layer(3 * c, FUNCTIONS, s + 4));
        let (mix, c1, c2) = (layer(2 * c, c, s + 6), layer(c, 2 * c, s + 8), layer(3 * c, c, s + 10));
        let w = painn::Weights {
            interatomic_context_net: [(&a1.0, &a1.1), (&a2.0, &a2.1)],
            filter_net: (&f.0, &f.1),
            mu_channel_mix: &mix.0,
            intraatomic_context_net: [(&c1.0, &c1.1), (&c2.0, &c2.1)],
        };
        painn::Layer::new(&w, c, &radials, 1e-8, intervals).unwrap()
    });
    let layers = layers.collect();
    let embedding = padded(&numbers(100 * c, 1.0, 5), c);
    PaiNN { elements: 100, channels: c, embedding, radials, activation: Activation::Silu, layers, head: Some(head()) }
}

/// The small engine with layers 16, 32, 32 and K = 16.
pub fn small() -> Engine<f32> {
    let sizes = [16, 32, 32];
    let parts: Vec<_> = sizes
        .windows(2)
        .map(|w| {
            let (a, b) = (w[0], w[1]);
            (numbers(a * b, 0.3, 1), numbers(a * b, 0.3, 2), numbers(16 * b, 0.3, 3), numbers(b, 0.3, 4))
        })
        .collect();
    let weights = parts.iter().zip(sizes.windows(2)).map(|((own, neighbor, radial, bias), w)| Weights {
        inputs: w[0],
        outputs: w[1],
        own,
        neighbor,
        radial,
        bias,
    });
    Engine::new(&weights.collect::<Vec<_>>()).unwrap()
}
