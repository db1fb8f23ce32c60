//! Special functions of the radial integrals, in f64, for positive arguments of any size.

use std::f64::consts::PI;

/// Gamma(k / 2) for k >= 1.
pub fn gamma_of_half(k: usize) -> f64 {
    let (mut value, mut at) = if k.is_multiple_of(2) { (1.0, 2) } else { (PI.sqrt(), 1) };
    while at < k {
        value *= at as f64 / 2.0;
        at += 2;
    }
    value
}

/// Kummer's 1F1(p; b; -x) for x >= 0 and b - p > 0 (DLMF 13.2.2, 13.2.39, 13.7.2).
pub fn kummer(p: f64, b: f64, x: f64) -> f64 {
    if p <= 0.0 && p.fract() == 0.0 {
        // A polynomial of positive terms.
        let (mut term, mut sum) = (1.0, 1.0);
        for j in 0..(-p) as usize {
            let j = j as f64;
            term *= (p + j) / (b + j) * -x / (j + 1.0);
            sum += term;
        }
        return sum;
    }
    let a = b - p;
    if x < 60f64.max(4.0 * (p.abs() + 1.0) * (a + 1.0)).min(650.0) {
        // e^-x 1F1(a; b; x): positive terms, no cancellation.
        let (mut term, mut sum, mut j) = (1.0f64, 1.0f64, 0.0f64);
        while term > 1e-18 * sum || j < x {
            term *= (a + j) / (b + j) * x / (j + 1.0);
            sum += term;
            j += 1.0;
        }
        return (-x).exp() * sum;
    }
    let (mut term, mut sum, mut j) = (1.0f64, 1.0f64, 0.0f64);
    while j < 60.0 {
        let next = term * (p + j) * (1.0 - a + j) / ((j + 1.0) * x);
        if next.abs() < 1e-18 * sum.abs() || (next.abs() > term.abs() && j > p.abs() + a) {
            break;
        }
        term = next;
        sum += term;
        j += 1.0;
    }
    (ln_gamma(b) - ln_gamma(a) - p * x.ln()).exp() * sum
}

/// ln Gamma(x) of a positive multiple of 1/2.
fn ln_gamma(x: f64) -> f64 {
    gamma_of_half((2.0 * x).round() as usize).ln()
}

/// e^-z i_l(z) / z^l for l = 0..out.len(), with i_l the modified spherical Bessel function; z >= 0.
///
/// Ratios of neighbours downward, which is stable (DLMF 10.51.4): t_{l-1} = 1 / (2l + 1 + z^2 t_l), t_l = k_{l+1} / k_l.
pub fn bessel(z: f64, out: &mut [f64]) {
    let top = out.len() + 10 + (40.0 * z).sqrt() as usize;
    let half = top as f64 + 1.5;
    let mut t = 1.0 / (half + (half * half + z * z).sqrt());
    for l in (1..=top).rev() {
        t = 1.0 / ((2 * l + 1) as f64 + z * z * t);
        // `t` is t_{l-1} here, kept in the place of k_l.
        if l < out.len() {
            out[l] = t;
        }
    }
    if let Some(first) = out.first_mut() {
        *first = if z < 1e-9 { 1.0 - z } else { -(-2.0 * z).exp_m1() / (2.0 * z) };
    }
    for l in 1..out.len() {
        out[l] *= out[l - 1];
    }
}

/// Nodes and weights of Gauss and Legendre's rule on [-1, 1], by Newton's iteration.
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let one = |k: usize| {
        let mut x = (PI * (k as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p, mut before) = (1.0, 0.0);
            for j in 0..n {
                let j = j as f64;
                (p, before) = (((2.0 * j + 1.0) * x * p - j * before) / (j + 1.0), p);
            }
            slope = n as f64 * (x * p - before) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kummers_function_meets_its_closed_forms() {
        // 1F1(1/2; 3/2; -x^2) = sqrt(pi) erf(x) / (2 x); at x = 1 erf = 0.842700792949714869341...
        assert!((kummer(0.5, 1.5, 1.0) - PI.sqrt() / 2.0 * 0.842_700_792_949_714_9).abs() < 1e-15);
        // For large x erf is 1: also across the change of method.
        for x in [50.0, 59.0, 61.0, 400.0, 3000.0f64] {
            let expected = PI.sqrt() / 2.0 / x.sqrt();
            assert!((kummer(0.5, 1.5, x) / expected - 1.0).abs() < 2e-14, "{x}");
        }
        assert!((kummer(-2.0, 2.5, 3.0) - (1.0 + 2.0 * 3.0 / 2.5 + 9.0 / (2.5 * 3.5))).abs() < 1e-14);
        // Contiguous functions (DLMF 13.3.1) tie half-integer cases of both methods together.
        for x in [0.3, 20.0, 70.0, 500.0] {
            for (p, b) in [(-0.5, 3.5), (-2.5, 1.5), (1.5, 6.5), (3.0, 9.5)] {
                let at = |q: f64| kummer(q, b, x);
                let rest = (b - p) * at(p - 1.0) + (2.0 * p - b - x) * at(p) - p * at(p + 1.0);
                assert!(rest.abs() < 1e-11 * ((b - p) * at(p - 1.0)).abs().max(x * at(p).abs()), "{p} {b} {x} {rest}");
            }
        }
    }

    #[test]
    fn bessel_functions_meet_their_closed_forms() {
        for z in [1e-12, 0.3, 2.0, 40.0, 900.0] {
            let mut k = [0.0; 4];
            bessel(z, &mut k);
            let e = (-2.0 * z).exp();
            if z > 1.0 {
                let i1 = ((1.0 + e) / 2.0 - (1.0 - e) / (2.0 * z)) / z;
                assert!((k[1] * z / i1 - 1.0).abs() < 1e-13);
            } else {
                assert!((k[2] * 15.0 / (-z).exp() - 1.0).abs() < z * z / 10.0 + 1e-14);
            }
        }
    }

    #[test]
    fn sixteen_nodes_integrate_a_gaussian() {
        let sum: f64 = gauss_legendre(16).iter().map(|(x, w)| w * (-x * x).exp()).sum();
        // sqrt(pi) erf(1)
        assert!((sum - PI.sqrt() * 0.842_700_792_949_714_9).abs() < 1e-15);
    }
}
