//! Numbers that a polynomial can be evaluated in: lanes, or dual numbers over lanes. A dual evaluation of an op is its
//! directional derivative, so a second vjp is the first one's body run once more, and the two cannot drift apart.

use super::lanes::Lanes;

pub trait Number<L: Lanes>: Copy {
    fn constant(x: L) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn scale(self, b: L) -> Self;
    /// self + a b.
    fn add_mul(self, a: Self, b: Self) -> Self;
    /// self + a b for a constant b.
    fn add_scaled(self, a: Self, b: L) -> Self;
    /// 1 / sqrt(self), and 0 with derivative 0 where `zero` is set.
    fn inverse_sqrt(self, zero: L::Mask) -> Self;
}

impl<L: Lanes> Number<L> for L {
    #[inline(always)]
    fn constant(x: L) -> L {
        x
    }
    #[inline(always)]
    fn sub(self, b: L) -> L {
        self - b
    }
    #[inline(always)]
    fn mul(self, b: L) -> L {
        self * b
    }
    #[inline(always)]
    fn scale(self, b: L) -> L {
        self * b
    }
    #[inline(always)]
    fn add_mul(self, a: L, b: L) -> L {
        a.fma(b, self)
    }
    #[inline(always)]
    fn add_scaled(self, a: L, b: L) -> L {
        a.fma(b, self)
    }
    #[inline(always)]
    fn inverse_sqrt(self, zero: L::Mask) -> L {
        L::select(zero, L::zero(), L::of(1.0) / self.sqrt())
    }
}

/// value + epsilon slope, epsilon^2 = 0.
#[derive(Clone, Copy)]
pub struct Dual<L> {
    pub value: L,
    pub slope: L,
}

impl<L: Lanes> Number<L> for Dual<L> {
    #[inline(always)]
    fn constant(x: L) -> Self {
        Dual { value: x, slope: L::zero() }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Dual { value: self.value - b.value, slope: self.slope - b.slope }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Dual { value: self.value * b.value, slope: self.value.fma(b.slope, self.slope * b.value) }
    }
    #[inline(always)]
    fn scale(self, b: L) -> Self {
        Dual { value: self.value * b, slope: self.slope * b }
    }
    #[inline(always)]
    fn add_mul(self, a: Self, b: Self) -> Self {
        let slope = a.value.fma(b.slope, a.slope.fma(b.value, self.slope));
        Dual { value: a.value.fma(b.value, self.value), slope }
    }
    #[inline(always)]
    fn add_scaled(self, a: Self, b: L) -> Self {
        Dual { value: a.value.fma(b, self.value), slope: a.slope.fma(b, self.slope) }
    }
    #[inline(always)]
    fn inverse_sqrt(self, zero: L::Mask) -> Self {
        let value = self.value.inverse_sqrt(zero);
        let slope = value * value * value * self.slope * L::of(-0.5);
        Dual { value, slope: L::select(zero, L::zero(), slope) }
    }
}
