//! Cutoff envelopes c(r) and distance transforms T(r) with first and second derivatives, over lanes.
//!
//! Polynomial: Gasteiger, Gross, Guennemann, ICLR 2020 (arXiv:2003.03123), eq. 8. Cosine and tanh^3: Behler, J. Chem.
//! Phys. 134, 074106 (2011), eqs. 4 and 5. Mollifier: Unke et al., Nat. Commun. 12, 7273 (2021).
//! Agnesi: Witt et al., J. Chem. Phys. 159, 164101 (2023), as in mace.

use super::functions::{exp, power, sin_cos, tanh};
use super::lanes::{Lanes, Simd};
use super::spec::{Envelope, Transform};

/// (c, c', c'') at 0 <= r <= cutoff; the caller masks r >= cutoff. D: how many derivatives are wanted.
#[inline(always)]
pub fn envelope<L: Lanes, const D: usize>(kind: Envelope, cutoff: f64, r: L) -> (L, L, L)
where
    L::T: Simd,
{
    let (zero, one, inverse) = (L::zero(), L::of(1.0), 1.0 / cutoff);
    match kind {
        Envelope::None => (one, zero, zero),
        Envelope::Polynomial { p, whole } => {
            let x = r * L::of(inverse);
            let y = one - x;
            let q = p * (p + 1.0) * (p + 2.0) / 2.0;
            // x^(p-2), the lowest power that is needed.
            let (value, low) = match whole {
                Some(p) => {
                    // (1-x)^3 sum_k C(k+2, 2) x^k: every term is positive, so f32 keeps full accuracy near the cutoff.
                    let mut sum = zero;
                    for k in (0..p).rev() {
                        sum = sum.fma(x, L::of(((k + 1) * (k + 2) / 2) as f64));
                    }
                    let mut low = one;
                    if D > 0 {
                        for _ in 2..p {
                            low = low * x;
                        }
                    }
                    (y * y * y * sum, low)
                }
                None => {
                    let low = power(x, p - 2.0);
                    let low = if p == 2.0 { one } else { low };
                    let (a, b, c) = ((p + 1.0) * (p + 2.0) / 2.0, p * (p + 2.0), p * (p + 1.0) / 2.0);
                    let inner = x.fma(L::of(-c), L::of(b)).fma(x, L::of(-a));
                    ((low * x * x).fma(inner, one), low)
                }
            };
            let first = low * x * y * y * L::of(-q * inverse);
            let inner = y * L::of(p - 1.0) - (x + x);
            (value, first, low * y * inner * L::of(-q * inverse * inverse))
        }
        Envelope::Cosine { lower: 0.0 } => {
            let a = std::f64::consts::PI * inverse;
            let (s, c) = sin_cos(r * L::of(a));
            (c.fma(L::of(0.5), L::of(0.5)), s * L::of(-0.5 * a), c * L::of(-0.5 * a * a))
        }
        Envelope::Cosine { lower } => {
            // (cos(pi (2 t + 1)) + 1) / 2 = (1 - cos(2 pi t)) / 2, t = (r - lower) / (cutoff - lower).
            let a = 2.0 * std::f64::consts::PI / (cutoff - lower);
            let (s, c) = sin_cos((r - L::of(lower)) * L::of(a));
            let outside = r.lt(L::of(lower));
            let inside = |x: L| L::select(outside, zero, x);
            (inside(c.fma(L::of(-0.5), L::of(0.5))), inside(s * L::of(0.5 * a)), inside(c * L::of(0.5 * a * a)))
        }
        Envelope::Tanh3 { factor } => {
            let t = tanh(r.fma(L::of(-inverse), one));
            let s = one - t * t;
            let t2 = t * t;
            let second = t * s * (s - t2) * L::of(6.0 * inverse * inverse * factor);
            (t2 * t * L::of(factor), t2 * s * L::of(-3.0 * inverse * factor), second)
        }
        Envelope::Mollifier => {
            let x = r * L::of(inverse);
            let y = one / ((one - x) * (one + x));
            let value = exp(one - y);
            // Where the exponential is 0 its derivatives are, whatever the growing powers of y beside it are.
            let vanishes = value.lt(L::of(if <L::T as Simd>::IS_SINGLE { 1e-37 } else { 1e-300 }));
            let y = L::select(vanishes, one, y);
            let y2 = y * y;
            let g1 = x * y2 * L::of(-2.0);
            let g2 = (x * x * y * L::of(-8.0) - L::of(2.0)) * y2;
            let second = value * g1.fma(g1, g2) * L::of(inverse * inverse);
            (value, value * g1 * L::of(inverse), second)
        }
        Envelope::Switch { on } => {
            let inverse = 1.0 / (cutoff - on);
            let z = (r - L::of(on)) * L::of(inverse);
            let below = z.lt(L::of(1e-12));
            let above = L::of(1.0 - 1e-12).lt(z);
            let outside = |x: L, low: L| L::select(below, low, L::select(above, zero, x));
            let z = outside(z, L::of(0.5));
            let z = L::select(above, L::of(0.5), z);
            let (a, b) = (one / z, one / (one - z));
            let u = a - b;
            let e = exp(-u.abs());
            let positive = zero.lt(u);
            let share = one / (one + e);
            let value = L::select(positive, share, e * share);
            let product = e * share * share;
            let u1 = -(a.fma(a, b * b));
            let u2 = (a * a * a - b * b * b) * L::of(2.0);
            // (1 - 2 S) u1^2 + u2 with 1 - 2 S = -tanh(u / 2), exact where S is close to 1.
            let tilt = (one - e) * share;
            let tilt = L::select(positive, -tilt, tilt);
            let vanishes = product.lt(L::of(if <L::T as Simd>::IS_SINGLE { 1e-30 } else { 1e-290 }));
            let flat = |x: L| outside(L::select(vanishes, zero, x), zero);
            let second = product * (tilt * u1).fma(u1, u2) * L::of(inverse * inverse);
            (outside(value, one), flat(product * u1 * L::of(inverse)), flat(second))
        }
    }
}

/// (T, T', T'') of r for the pair's reference distance r0 > 0.
#[inline(always)]
pub fn transform<L: Lanes>(kind: Transform, r: L, r0: L) -> (L, L, L)
where
    L::T: Simd,
{
    let (zero, one) = (L::zero(), L::of(1.0));
    match kind {
        Transform::None => (r, one, zero),
        Transform::Agnesi { q, p, a } => {
            // t = 1 / (1 + u), u = a rho^p v, v = 1 / (1 + rho^(p-q)): no overflow at r -> 0.
            let rho = r / r0;
            let v = one / (one + power(rho, p - q));
            let u = power(rho, p) * v * L::of(a);
            let t = one / (one + u);
            let m = v.fma(L::of(p - q), L::of(q));
            let z = v * (one - v) * L::of((q - p) * (q - p));
            let near = rho.lt(L::of(if <L::T as Simd>::IS_SINGLE { 1e-6 } else { 1e-30 }));
            let per = L::select(near, zero, one / r);
            let u1 = u * m * per;
            let u2 = u * (m * m - m - z) * per * per;
            let t2 = t * t;
            (t, -u1 * t2, (u1 * u1 * t).fma(L::of(2.0), -u2) * t2)
        }
        Transform::Soft { alpha } => {
            let start = r0 * L::of(0.75);
            let width = r0 * L::of(4.0 / 3.0 - 0.75);
            let middle = r0 * L::of(0.5 * (4.0 / 3.0 + 0.75));
            let k = L::of(alpha) / width;
            let th = tanh(k * (r - middle));
            let s = th.fma(L::of(0.5), L::of(0.5));
            let s1 = k * L::of(0.5) * (one - th * th);
            let s2 = k * th * s1 * L::of(-2.0);
            let d = r - start;
            (d.fma(s, start), d.fma(s1, s), d.fma(s2, s1 + s1))
        }
    }
}
