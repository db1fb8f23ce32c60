//! Numbers of 256 bits, for the few small matrices that are too ill conditioned for f64.
//!
//! x = +-0.m * 2^e with m of four words whose top bit is set, 77 decimal digits. Each operation is exact to a few units
//! of 2^-256. Used when a basis is made, never per atom: a product takes some 30 ns.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

const WORDS: usize = 4;
const BITS: i32 = 64 * WORDS as i32;

/// A number of 256 bits of mantissa. There is no infinity and no NaN: a division by zero gives zero, so test before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    negative: bool,
    exponent: i32,
    /// Least word first; all zero for zero, else the top bit is set.
    words: [u64; WORDS],
}

impl Wide {
    pub const ZERO: Wide = Wide { negative: false, exponent: 0, words: [0; WORDS] };
    pub const ONE: Wide = Wide { negative: false, exponent: 1, words: [0, 0, 0, 1 << 63] };
    pub const PI: Wide = Wide {
        negative: false,
        exponent: 2,
        words: [0x020B_BEA6_3B13_9B22, 0x2902_4E08_8A67_CC74, 0xC4C6_628B_80DC_1CD1, 0xC90F_DAA2_2168_C234],
    };

    /// The exact value of a finite f64.
    pub fn of(x: f64) -> Wide {
        if x == 0.0 || !x.is_finite() {
            return Wide::ZERO;
        }
        let bits = x.to_bits();
        let (biased, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (whole, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let shift = whole.leading_zeros();
        Wide { negative: x < 0.0, exponent: exponent + 64 - shift as i32, words: [0, 0, 0, whole << shift] }
    }

    /// a / b of two whole numbers.
    pub fn ratio(a: u64, b: u64) -> Wide {
        Wide::whole(a) / Wide::whole(b)
    }

    pub fn whole(a: u64) -> Wide {
        if a == 0 {
            return Wide::ZERO;
        }
        let shift = a.leading_zeros();
        Wide { negative: false, exponent: 64 - shift as i32, words: [0, 0, 0, a << shift] }
    }

    /// Gamma(k + 1/2) for k = 0, 1, 2, ...: sqrt(pi) (1/2) (3/2) ... (k - 1/2).
    pub fn gamma_half(k: usize) -> Wide {
        (0..k as u64).fold(Wide::PI.sqrt(), |g, j| g * Wide::ratio(2 * j + 1, 2))
    }

    /// The nearest f64 (from 64 of the bits, so that a tie may go the other way); underflow gives zero.
    pub fn to_f64(self) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        // Two steps, since 2^e itself may be outside the range of f64 where the value is not.
        let half = (self.exponent - 64) / 2;
        let power = |e: i32| 2f64.powi(e.clamp(-1100, 1100));
        let sign = if self.negative { -1.0 } else { 1.0 };
        sign * (self.words[WORDS - 1] as f64) * power(half) * power(self.exponent - 64 - half)
    }

    pub fn is_zero(self) -> bool {
        self.words[WORDS - 1] == 0
    }

    pub fn is_positive(self) -> bool {
        !self.negative && !self.is_zero()
    }

    pub fn abs(self) -> Wide {
        Wide { negative: false, ..self }
    }

    /// self * 2^n.
    pub fn scaled(self, n: i32) -> Wide {
        if self.is_zero() { self } else { Wide { exponent: self.exponent + n, ..self } }
    }

    pub fn powi(self, n: i32) -> Wide {
        let (mut base, mut left, mut out) = (self, n.unsigned_abs(), Wide::ONE);
        while left > 0 {
            if left & 1 == 1 {
                out = out * base;
            }
            base = base * base;
            left >>= 1;
        }
        if n < 0 { Wide::ONE / out } else { out }
    }

    /// 1 / self by Newton's iteration from the f64 value: 53, 106, 212, 424 bits.
    pub fn recip(self) -> Wide {
        if self.is_zero() {
            return Wide::ZERO;
        }
        let mantissa = Wide { exponent: 0, ..self };
        let mut x = Wide::of(1.0 / mantissa.to_f64());
        for _ in 0..3 {
            x = x + x * (Wide::ONE - mantissa * x);
        }
        x.scaled(-self.exponent)
    }

    /// 1 / sqrt(self) of a positive number, likewise; zero for zero and for negative numbers.
    pub fn rsqrt(self) -> Wide {
        if !self.is_positive() {
            return Wide::ZERO;
        }
        let odd = self.exponent.rem_euclid(2);
        let mantissa = Wide { exponent: odd, ..self };
        let mut y = Wide::of(1.0 / mantissa.to_f64().sqrt());
        for _ in 0..3 {
            y = y + (y * (Wide::ONE - mantissa * y * y)).scaled(-1);
        }
        y.scaled(-(self.exponent - odd) / 2)
    }

    /// The square root of a positive number; zero for zero and for negative numbers.
    pub fn sqrt(self) -> Wide {
        self * self.rsqrt()
    }

    fn cmp_magnitude(&self, b: &Wide) -> Ordering {
        match (self.is_zero(), b.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            _ => self.exponent.cmp(&b.exponent).then_with(|| self.words.iter().rev().cmp(b.words.iter().rev())),
        }
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, b: &Wide) -> Option<Ordering> {
        let difference = *self - *b;
        Some(match (difference.is_zero(), difference.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        })
    }
}

/// `words` shifted down by `n` bits.
fn shifted_down(words: [u64; WORDS], n: i32) -> [u64; WORDS] {
    let mut out = [0; WORDS];
    if n >= BITS {
        return out;
    }
    let (skip, bits) = ((n / 64) as usize, n % 64);
    for i in 0..WORDS - skip {
        out[i] = words[i + skip] >> bits;
        if bits > 0 && i + skip + 1 < WORDS {
            out[i] |= words[i + skip + 1] << (64 - bits);
        }
    }
    out
}

impl Add for Wide {
    type Output = Wide;
    fn add(self, b: Wide) -> Wide {
        let (large, small) = if self.cmp_magnitude(&b) == Ordering::Less { (b, self) } else { (self, b) };
        if small.is_zero() {
            return large;
        }
        let lower = shifted_down(small.words, large.exponent - small.exponent);
        let mut words = [0; WORDS];
        let mut exponent = large.exponent;
        if large.negative == small.negative {
            let mut carry = false;
            for i in 0..WORDS {
                let (s, c1) = large.words[i].overflowing_add(lower[i]);
                let (s, c2) = s.overflowing_add(u64::from(carry));
                (words[i], carry) = (s, c1 || c2);
            }
            if carry {
                words = shifted_down(words, 1);
                words[WORDS - 1] |= 1 << 63;
                exponent += 1;
            }
        } else {
            let mut borrow = false;
            for i in 0..WORDS {
                let (s, b1) = large.words[i].overflowing_sub(lower[i]);
                let (s, b2) = s.overflowing_sub(u64::from(borrow));
                (words[i], borrow) = (s, b1 || b2);
            }
            let Some(top) = (0..WORDS).rev().find(|&i| words[i] != 0) else {
                return Wide::ZERO;
            };
            let (skip, bits) = (WORDS - 1 - top, words[top].leading_zeros());
            for i in (0..WORDS).rev() {
                let word = |k: usize| if k < skip { 0 } else { words[k - skip] };
                let below = if i == 0 { 0 } else { word(i - 1) };
                words[i] = if bits == 0 { word(i) } else { word(i) << bits | below >> (64 - bits) };
            }
            exponent -= 64 * skip as i32 + bits as i32;
        }
        Wide { negative: large.negative, exponent, words }
    }
}

impl Neg for Wide {
    type Output = Wide;
    fn neg(self) -> Wide {
        Wide { negative: !self.negative && !self.is_zero(), ..self }
    }
}

impl Sub for Wide {
    type Output = Wide;
    fn sub(self, b: Wide) -> Wide {
        self + -b
    }
}

impl Mul for Wide {
    type Output = Wide;
    fn mul(self, b: Wide) -> Wide {
        if self.is_zero() || b.is_zero() {
            return Wide::ZERO;
        }
        let mut full = [0u64; 2 * WORDS];
        for i in 0..WORDS {
            let mut carry = 0u64;
            for j in 0..WORDS {
                let t =
                    u128::from(self.words[i]) * u128::from(b.words[j]) + u128::from(full[i + j]) + u128::from(carry);
                (full[i + j], carry) = (t as u64, (t >> 64) as u64);
            }
            full[i + WORDS] = carry;
        }
        let mut words = [0; WORDS];
        let mut exponent = self.exponent + b.exponent;
        // The product of two numbers in [1/2, 1) is in [1/4, 1).
        let bits = full[2 * WORDS - 1].leading_zeros();
        for i in 0..WORDS {
            let (high, low) = (full[i + WORDS], full[i + WORDS - 1]);
            words[i] = if bits == 0 { high } else { high << bits | low >> (64 - bits) };
        }
        exponent -= bits as i32;
        Wide { negative: self.negative != b.negative, exponent, words }
    }
}

impl Div for Wide {
    type Output = Wide;
    #[allow(clippy::suspicious_arithmetic_impl)]
    fn div(self, b: Wide) -> Wide {
        let inverse = b.recip();
        let q = self * inverse;
        // One correction of the quotient's last bits.
        q + inverse * (self - q * b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Wide, b: Wide) -> bool {
        let difference = (a - b).abs();
        difference.is_zero() || difference < b.abs().scaled(-250)
    }

    #[test]
    fn f64_goes_there_and_back_exactly() {
        for x in [0.0, 1.0, -1.0, 0.1, -3.25e300, 7e-300, f64::MIN_POSITIVE / 8.0, f64::MAX, 12345.678] {
            assert_eq!(Wide::of(x).to_f64(), x);
            assert_eq!((-Wide::of(x)).to_f64(), -x);
        }
    }

    #[test]
    fn the_laws_of_fields_hold_to_250_bits() {
        let values = [3.7, -0.012, 1.0 / 3.0, 9e11, -2.5e-13];
        for a in values.map(Wide::of) {
            for b in values.map(Wide::of) {
                assert!(close(a + b - b, a) || (a + b - b - a).abs() < b.abs().scaled(-250));
                assert!(close(a * b / b, a));
                assert!(close((a + b) * (a - b), a * a - b * b) || a.abs() == b.abs());
                assert!(close(a * a.recip(), Wide::ONE));
            }
            assert!(close(a.abs().sqrt() * a.abs().sqrt(), a.abs()));
            assert!(close(a.powi(-7) * a.powi(7), Wide::ONE));
        }
        assert!(close(Wide::ratio(1, 3) + Wide::ratio(2, 3), Wide::ONE));
    }

    #[test]
    fn pi_is_machins_series() {
        // pi / 4 = 4 atan(1/5) - atan(1/239).
        let atan = |n: u64| {
            let x = Wide::ratio(1, n);
            (0..200).rev().fold(Wide::ZERO, |s, k| Wide::ratio(1, 2 * k + 1) - s * x * x) * x
        };
        let pi = (atan(5) * Wide::whole(4) - atan(239)) * Wide::whole(4);
        assert!(close(pi, Wide::PI));
        assert!(close(Wide::gamma_half(1), Wide::PI.sqrt().scaled(-1)));
        assert!((Wide::gamma_half(10).to_f64() / 1_133_278.388_948_785_2 - 1.0).abs() < 1e-15);
    }
}
