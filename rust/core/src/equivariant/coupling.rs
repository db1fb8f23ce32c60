//! Clebsch-Gordan coefficients of real harmonics, signs of e3nn since 0.5:
//! C[a,b,c] = Re sum_{m1,m2} q1[m1,a] q2[m2,b] conj(q3[m1+m2,c]) <l1 m1 l2 m2 | l3 m1+m2>.
//! The sum over binomials is exact in i128 to degree 20; the root is f64.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

fn binomial(n: usize, k: i64) -> i128 {
    if k < 0 || k > n as i64 {
        return 0;
    }
    (0..k as usize).fold(1, |c, i| c * (n - i) as i128 / (i + 1) as i128)
}

fn complex(l1: i64, l2: i64, l3: i64, m1: i64, m2: i64) -> f64 {
    let (m3, s) = (m1 + m2, l1 + l2 - l3);
    let [a, b, n] = [2 * l1 - s, 2 * l2 - s, s].map(|x| x as usize);
    let term = |z: i64| binomial(n, z) * binomial(a, l1 - m1 - z) * binomial(b, l2 + m2 - z);
    let total: i128 = (0..=s).map(|z| if z % 2 == 0 { term(z) } else { -term(z) }).sum();
    let of = |n: i64, k: i64| binomial(n as usize, k) as f64;
    let above = of(2 * l1, s) * of(2 * l2, s);
    let below = of(l1 + l2 + l3 + 1, s) * of(2 * l1, l1 - m1) * of(2 * l2, l2 - m2) * of(2 * l3, l3 - m3);
    total as f64 * (above / below).sqrt()
}

/// The real harmonics (index from 0) that the complex one m is made of, with complex factors.
fn real_parts(l: i64, m: i64) -> Vec<(usize, [f64; 2])> {
    let h = std::f64::consts::FRAC_1_SQRT_2;
    let sign = if m % 2 == 0 { h } else { -h };
    let parts = match m {
        0 => vec![(0, [1.0, 0.0])],
        m if m < 0 => vec![(-m, [h, 0.0]), (m, [0.0, -h])],
        m => vec![(m, [sign, 0.0]), (-m, [0.0, sign])],
    };
    let turned = parts.into_iter().map(|(m, [re, im])| {
        let z = match l % 4 {
            0 => [re, im],
            1 => [im, -re],
            2 => [-re, -im],
            _ => [-im, re],
        };
        ((m + l) as usize, z)
    });
    turned.collect()
}

/// [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], row-major; |l1 - l2| <= l3 <= l1 + l2.
pub fn clebsch_gordan(l1: usize, l2: usize, l3: usize) -> Vec<f64> {
    let (d2, d3) = (2 * l2 + 1, 2 * l3 + 1);
    let mut table = vec![0.0; (2 * l1 + 1) * d2 * d3];
    let [l1, l2, l3] = [l1, l2, l3].map(|l| l as i64);
    let times = |a: [f64; 2], b: [f64; 2]| [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
    for m1 in -l1..=l1 {
        for m2 in (-l2).max(-l3 - m1)..=l2.min(l3 - m1) {
            let value = complex(l1, l2, l3, m1, m2);
            for (i, a) in real_parts(l1, m1) {
                for (j, b) in real_parts(l2, m2) {
                    for (k, c) in real_parts(l3, m1 + m2) {
                        table[(i * d2 + j) * d3 + k] += value * times(times(a, b), [c[0], -c[1]])[0];
                    }
                }
            }
        }
    }
    table
}

/// One nonzero coefficient: its path and the harmonics l l + l + m of both factors and of the product.
#[derive(Clone, Copy)]
pub struct Coefficient {
    pub path: usize,
    pub at: [usize; 3],
    pub value: f64,
}

/// All coefficients of the paths up to three degrees, in the order of the paths.
pub struct Coefficients {
    pub num_paths: usize,
    pub list: Vec<Coefficient>,
}

/// Made once for each triple of largest degrees.
pub fn coefficients(lmax: [usize; 3]) -> Arc<Coefficients> {
    static MADE: OnceLock<Mutex<HashMap<[usize; 3], Arc<Coefficients>>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(lmax).or_insert_with(|| Arc::new(couple(lmax))).clone()
}

fn couple(lmax: [usize; 3]) -> Coefficients {
    let (mut num_paths, mut list) = (0, Vec::new());
    for l1 in 0..=lmax[0] {
        for l2 in 0..=lmax[1] {
            for l3 in l1.abs_diff(l2)..=(l1 + l2).min(lmax[2]) {
                let table = clebsch_gordan(l1, l2, l3);
                let (d2, d3) = (2 * l2 + 1, 2 * l3 + 1);
                for (n, &value) in table.iter().enumerate().filter(|(_, v)| v.abs() > 1e-10) {
                    let at = [l1 * l1 + n / (d2 * d3), l2 * l2 + n / d3 % d2, l3 * l3 + n % d3];
                    list.push(Coefficient { path: num_paths, at, value });
                }
                num_paths += 1;
            }
        }
    }
    Coefficients { num_paths, list }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_products_to_degree_3_have_34_paths_and_611_coefficients() {
        let all = coefficients([3; 3]);
        assert_eq!((all.num_paths, all.list.len()), (34, 611));
    }

    #[test]
    fn columns_are_unit_vectors_to_degree_12() {
        let table = clebsch_gordan(12, 11, 12);
        for k in 0..25 {
            let square: f64 = table.iter().skip(k).step_by(25).map(|c| c * c).sum();
            assert!((square - 1.0).abs() < 1e-12);
        }
    }
}
