//! Monomials x^a y^b z^c and the functions r^{2n} R_lm, R_lm = r^l Y_lm, as polynomials of them.
//!
//! Of degree d the monomials stand at t = k (k + 1) / 2 + c with k = b + c, so that the place of (a + 1, b, c) in degree
//! d + 1 is the same t, that of (a, b + 1, c) is t + k + 1 and that of (a, b, c + 1) is t + k + 2, whatever d is.

use crate::descriptors::extended::Wide;

/// Number of monomials of degree d.
pub const fn shell(d: usize) -> usize {
    (d + 1) * (d + 2) / 2
}

/// Number of monomials of all degrees below d: where degree d begins.
pub const fn start(d: usize) -> usize {
    d * (d + 1) * (d + 2) / 6
}

/// (a, b, c) of each monomial of degree d.
pub fn exponents(d: usize) -> impl Iterator<Item = [usize; 3]> {
    (0..=d).flat_map(move |k| (0..=k).map(move |c| [d - k, k - c, c]))
}

/// A homogeneous polynomial.
#[derive(Clone)]
struct Polynomial {
    degree: usize,
    values: Vec<Wide>,
}

impl Polynomial {
    fn zero(degree: usize) -> Self {
        Polynomial { degree, values: vec![Wide::ZERO; shell(degree)] }
    }

    fn one() -> Self {
        Polynomial { degree: 0, values: vec![Wide::ONE] }
    }

    /// self + factor x^a y^b z^c p.
    fn add(mut self, p: &Polynomial, factor: Wide, by: [usize; 3]) -> Self {
        for ([_, b, c], &v) in exponents(p.degree).zip(&p.values) {
            if !v.is_zero() {
                let (k, c) = (b + c + by[1] + by[2], c + by[2]);
                let t = k * (k + 1) / 2 + c;
                self.values[t] = self.values[t] + v * factor;
            }
        }
        self
    }

    fn times(&self, p: &Polynomial) -> Self {
        let terms = exponents(self.degree).zip(&self.values).filter(|(_, v)| !v.is_zero());
        terms.fold(Polynomial::zero(self.degree + p.degree), |sum, (by, &v)| sum.add(p, v, by))
    }

    /// factor (x^2 + y^2 + z^2) self.
    fn times_square(&self, factor: Wide) -> Self {
        let zero = Polynomial::zero(self.degree + 2);
        zero.add(self, factor, [2, 0, 0]).add(self, factor, [0, 2, 0]).add(self, factor, [0, 0, 2])
    }
}

/// One function r^{2n} R_lm: (monomial among all, coefficient) with the coefficient of x^a y^b z^c / (a! b! c!).
pub type Terms = Vec<(u32, f64)>;

/// The functions for l = 0..radial.len(), n = 0..radial\[l\], m = -l..=l, in this order.
///
/// Real harmonics, orthonormal on the sphere, polar axis z, without the Condon-Shortley sign. The coefficients are made in
/// 256 bits and rounded once.
pub fn functions(radial: &[usize]) -> Vec<Terms> {
    let lmax = radial.len().saturating_sub(1);
    // A_m + i B_m = (x + i y)^m.
    let (mut cosine, mut sine) = (vec![Polynomial::one()], vec![Polynomial::zero(0)]);
    for m in 1..=lmax {
        let (a, b) = (&cosine[m - 1], &sine[m - 1]);
        let next_a = Polynomial::zero(m).add(a, Wide::ONE, [1, 0, 0]).add(b, -Wide::ONE, [0, 1, 0]);
        let next_b = Polynomial::zero(m).add(b, Wide::ONE, [1, 0, 0]).add(a, Wide::ONE, [0, 1, 0]);
        cosine.push(next_a);
        sine.push(next_b);
    }
    let degree = radial.iter().enumerate().map(|(l, n)| l + 2 * n).max().unwrap_or(0);
    let mut factorial = vec![Wide::ONE];
    for k in 1..=degree.max(2 * lmax) as u64 {
        factorial.push(factorial[k as usize - 1] * Wide::whole(k));
    }
    let legendre: Vec<Vec<Polynomial>> = (0..=lmax).map(|m| legendre(m, lmax)).collect();
    let mut out = Vec::new();
    for (l, &count) in radial.iter().enumerate() {
        let mut of_l: Vec<Polynomial> = Vec::with_capacity(2 * l + 1);
        for signed in -(l as i64)..=l as i64 {
            let m = signed.unsigned_abs() as usize;
            let norm = Wide::whole(2 * l as u64 + 1) * factorial[l - m] / (factorial[l + m] * Wide::PI.scaled(2));
            let factor = if m == 0 { norm } else { norm.scaled(1) }.sqrt();
            let azimuth = if signed < 0 { &sine[m] } else { &cosine[m] };
            let p = legendre[m][l - m].times(azimuth);
            of_l.push(Polynomial::zero(l).add(&p, factor, [0; 3]));
        }
        for n in 0..count {
            if n > 0 {
                of_l = of_l.iter().map(|p| p.times_square(Wide::ONE)).collect();
            }
            for p in &of_l {
                // What should cancel does so to 77 digits, of coefficients of order one.
                let is_term = |v: &Wide| v.to_f64().abs() > 1e-50;
                let terms = exponents(p.degree).zip(&p.values).enumerate().filter(|(_, (_, v))| is_term(v));
                let scaled = terms.map(|(t, ([a, b, c], &v))| {
                    let value = v * factorial[a] * factorial[b] * factorial[c];
                    ((start(p.degree) + t) as u32, value.to_f64())
                });
                out.push(scaled.collect());
            }
        }
    }
    out
}

/// Q_lm for l = m..=lmax: the associated Legendre functions as polynomials of z and r^2.
fn legendre(m: usize, lmax: usize) -> Vec<Polynomial> {
    let mut diagonal = Polynomial::one();
    diagonal.values[0] = (1..=m as u64).fold(Wide::ONE, |p, k| p * Wide::whole(2 * k - 1));
    let mut q = vec![diagonal];
    for l in m + 1..=lmax {
        let divide = Wide::whole((l - m) as u64).recip();
        let first = Wide::whole(2 * l as u64 - 1) * divide;
        let mut next = Polynomial::zero(l - m).add(&q[l - m - 1], first, [0, 0, 1]);
        if l >= m + 2 {
            let second = q[l - m - 2].times_square(-Wide::whole((l + m - 1) as u64) * divide);
            next = next.add(&second, Wide::ONE, [0; 3]);
        }
        q.push(next);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_neighbouring_monomials_do_not_depend_on_the_degree() {
        for d in 0..6 {
            for (t, [a, b, c]) in exponents(d).enumerate() {
                let k = b + c;
                let find = |e: [usize; 3]| exponents(d + 1).position(|x| x == e);
                assert_eq!(find([a + 1, b, c]), Some(t));
                assert_eq!(find([a, b + 1, c]), Some(t + k + 1));
                assert_eq!(find([a, b, c + 1]), Some(t + k + 2));
            }
            assert_eq!(exponents(d).count(), shell(d));
            assert_eq!(start(d + 1), start(d) + shell(d));
        }
    }

    #[test]
    fn functions_of_low_degree_are_the_textbook_harmonics() {
        let all = functions(&[2, 1, 1]);
        let pi = std::f64::consts::PI;
        let value = |f: &Terms, x: [f64; 3]| -> f64 {
            let place = |index: usize| (0..9).flat_map(exponents).nth(index).unwrap();
            let factorial = |n: usize| (1..=n).product::<usize>() as f64;
            f.iter()
                .map(|&(i, v)| {
                    let e = place(i as usize);
                    (0..3).map(|k| x[k].powi(e[k] as i32) / factorial(e[k])).product::<f64>() * v
                })
                .sum()
        };
        let x = [0.3, -0.7, 0.4];
        let r2 = 0.09 + 0.49 + 0.16;
        let (y0, y1, y2) = (0.5 / pi.sqrt(), (3.0 / (4.0 * pi)).sqrt(), 0.5 * (15.0 / pi).sqrt());
        let wanted = [
            y0,
            y0 * r2,
            y1 * x[1],
            y1 * x[2],
            y1 * x[0],
            y2 * x[0] * x[1],
            y2 * x[1] * x[2],
            0.25 * (5.0 / pi).sqrt() * (3.0 * x[2] * x[2] - r2),
            y2 * x[0] * x[2],
            0.5 * y2 * (x[0] * x[0] - x[1] * x[1]),
        ];
        assert_eq!(all.len(), wanted.len());
        for (f, w) in all.iter().zip(wanted) {
            assert!((value(f, x) - w).abs() < 1e-15);
        }
    }

    #[test]
    fn the_table_has_the_size_of_the_formulas() {
        for (lmax, terms) in [(4, 93), (6, 362), (8, 1071)] {
            let radial: Vec<usize> = (0..=lmax).map(|l| (lmax - l) / 2 + 1).collect();
            let all = functions(&radial);
            assert_eq!((all.len(), all.iter().map(Vec::len).sum::<usize>()), (start(lmax + 1), terms));
        }
    }
}
