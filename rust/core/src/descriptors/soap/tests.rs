//! Laws of a whole call: forms against each other, derivatives against differences.

use super::basis::Basis;
use super::call::{Average, Input, Kind, Run};
use super::weight::{Scaling, Weight};
use super::{Parts, Soap};
use crate::descriptors::power::{Compression, Layout};
use crate::edges::Systems;

const SPECIES: [u8; 2] = [1, 8];

fn soap(accuracy: Option<f64>, width: f64) -> Soap {
    let scaling = Scaling::Willatt { rate: 1.0, scale: 2.0, exponent: 4.0 };
    let weight = Weight { cutoff: 4.0, smoothing: Some(1.0), scaling, at_zero: None };
    let basis = |l: usize| (l != 2).then_some(Basis::FeatomicGto { count: if l == 1 { 5 } else { 3 }, radius: 4.0 });
    let bases = (0..5).map(basis).collect();
    let (reach, normalised) = (4.0, true);
    Soap::new(Parts { bases, weight, reach, inclusive: false, center_weight: 0.7, width, normalised, accuracy })
        .unwrap()
}

fn positions() -> Vec<f64> {
    let mut x: Vec<f64> = (0..21).map(|i| 5.0 * ((i as f64 * 1.7).sin() * 0.5 + 0.5)).collect();
    // Two atoms in one place.
    let first: Vec<f64> = x[..3].to_vec();
    x[3..6].copy_from_slice(&first);
    x
}

fn with<R>(x: &[f64], soap: &Soap, kind: Kind, average: Average, portable: bool, f: impl Fn(&Run<f64>) -> R) -> R {
    attached_or_not(x, soap, (kind, average), true, portable, f)
}

fn attached_or_not<R>(
    x: &[f64],
    soap: &Soap,
    (kind, average): (Kind, Average),
    attached: bool,
    portable: bool,
    f: impl Fn(&Run<f64>) -> R,
) -> R {
    let cell = [5.0, 0.0, 0.0, 0.4, 5.2, 0.0, -0.3, 0.1, 4.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let pbc = [true, true, true, false, false, false];
    let systems = Systems { positions: x, offsets: &[0, 4, 7], cell: &cell, pbc: &pbc };
    let numbers = [1, 8, 8, 1, 8, 1, 1];
    let species_weights = &[1.0, 0.6];
    let (species, centers) = (&SPECIES[..], None);
    let numbers = &numbers[..];
    let input = Input { systems, numbers, species, species_weights, centers, kind, average, attached, portable };
    f(&Run::new(soap, &input, &mut || false).unwrap())
}

fn kinds() -> Vec<(Kind, Average)> {
    let power = |layout, compression| Kind::Power(layout, compression);
    vec![
        (power(Layout::Featomic, Compression::None), Average::None),
        (power(Layout::Dscribe, Compression::Mu1Nu1), Average::Inner),
        (power(Layout::Dscribe, Compression::Mu2), Average::Outer),
        (Kind::Radial, Average::None),
        (Kind::Coefficients, Average::None),
    ]
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest.max(1e-300)
}

#[test]
fn tables_closed_forms_and_portable_lanes_agree() {
    let x = positions();
    let (exact, table) = (soap(None, 0.5), soap(Some(1e-10), 0.5));
    for (kind, average) in kinds() {
        let of = |s: &Soap, portable: bool| with(&x, s, kind, average, portable, |r| r.values().unwrap().to_vec());
        let expected = of(&exact, false);
        assert!(largest_difference(&expected, &of(&table, false)) < 2e-9);
        assert!(largest_difference(&expected, &of(&exact, true)) < 1e-13);
        assert!(largest_difference(&of(&table, true), &of(&table, false)) < 1e-13);
        let back = |s: &Soap, portable: bool| {
            with(&x, s, kind, average, portable, |r| {
                let g: Vec<f64> = (0..r.rows() * r.features()).map(|i| (i as f64).cos()).collect();
                r.vjp(&g)
            })
        };
        assert!(largest_difference(&back(&exact, false), &back(&table, false)) < 1e-7);
        assert!(largest_difference(&back(&table, true), &back(&table, false)) < 1e-12);
    }
}

#[test]
fn derivatives_are_limits_of_differences() {
    // Atoms in one place have no differences of a point density.
    let apart: Vec<f64> = positions().iter().enumerate().map(|(i, x)| x + if i / 3 == 1 { 0.8 } else { 0.0 }).collect();
    for (soap, x) in [(soap(Some(1e-10), 0.5), positions()), (soap(None, 0.5), positions()), (soap(None, 0.0), apart)] {
        for (kind, average) in kinds() {
            let count = with(&x, &soap, kind, average, false, |r| r.rows() * r.features());
            let g: Vec<f64> = (0..count).map(|i| (i as f64 * 0.3).cos()).collect();
            let u: Vec<f64> = (0..x.len()).map(|i| (i as f64 * 0.9).sin()).collect();
            let h = 1e-5;
            let moved = |t: f64| x.iter().zip(&u).map(|(x, u)| x + t * u).collect::<Vec<_>>();
            let value = |t: f64| with(&moved(t), &soap, kind, average, false, |r| r.values().unwrap().to_vec());
            let gradient = |t: f64| with(&moved(t), &soap, kind, average, false, |r| r.to_positions(&r.vjp(&g)));
            let quotient =
                |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| (a - b) / (2.0 * h)).collect::<Vec<f64>>();
            let dvalue = quotient(value(h), value(-h));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (expected, got) = (dot(&dvalue, &g), dot(&gradient(0.0), &u));
            assert!((expected - got).abs() < 1e-7 * expected.abs().max(1.0), "{kind:?} {expected} {got}");
            let (second, along) = with(&x, &soap, kind, average, false, |r| {
                let t = r.pairs.tangents(Some(&u), true, None, None);
                let (x2, along) = r.second(&g, &t);
                (r.to_positions(&x2), along)
            });
            assert!(largest_difference(&along, &dvalue) < 1e-7, "{kind:?}");
            let dgradient = quotient(gradient(h), gradient(-h));
            let off = largest_difference(&second, &dgradient);
            assert!(off < 2e-6, "{kind:?} {average:?} {off}");
        }
    }
}

#[test]
fn jacobians_contract_to_the_vjp() {
    let (x, soap) = (positions(), soap(Some(1e-8), 0.5));
    for (kind, average) in kinds() {
        if average != Average::None {
            continue;
        }
        for attached in [true, false] {
            attached_or_not(&x, &soap, (kind, average), attached, false, |r| {
                let d = r.features();
                let g: Vec<f64> = (0..r.rows() * d).map(|i| (i as f64 * 0.3).cos()).collect();
                let pairs = r.vjp(&g);
                let samples = r.samples();
                let mut sum = vec![0.0; x.len()];
                for (s, rows) in r.position_jacobian(&samples).chunks_exact(3 * d).enumerate() {
                    let g = &g[samples.center[s] as usize * d..][..d];
                    for k in 0..3 {
                        let part: f64 = rows[k * d..(k + 1) * d].iter().zip(g).map(|(a, b)| a * b).sum();
                        sum[3 * samples.atom[s] as usize + k] += part;
                    }
                }
                let size = sum.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                let off = largest_difference(&r.to_positions(&pairs), &sum) / size;
                assert!(off < 1e-12, "{kind:?} {attached} {off}");
                let (cell, strain) = r.pairs.to_cells(&pairs);
                for (expected, is_strain) in [(cell, false), (strain, true)] {
                    let mut sum = vec![0.0; 18];
                    for (c, rows) in r.cell_jacobian(is_strain).chunks_exact(9 * d).enumerate() {
                        let g = &g[c * d..(c + 1) * d];
                        for (k, row) in rows.chunks_exact(d).enumerate() {
                            sum[9 * r.pairs.system[c] as usize + k] +=
                                row.iter().zip(g).map(|(a, b)| a * b).sum::<f64>();
                        }
                    }
                    let size = sum.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                    let off = largest_difference(&expected, &sum) / size;
                    assert!(off < 1e-12, "{kind:?} {is_strain} {off}");
                }
            });
        }
    }
}

#[test]
fn a_centre_that_stays_is_a_point_with_the_same_values() {
    let (x, soap) = (positions(), soap(Some(1e-8), 0.5));
    let both = kinds()[0];
    let of = |attached: bool| attached_or_not(&x, &soap, both, attached, false, |r| r.values().unwrap().to_vec());
    assert!(largest_difference(&of(true), &of(false)) < 1e-8);
}
