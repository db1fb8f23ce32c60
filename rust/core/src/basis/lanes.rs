//! A few numbers side by side: one trait, a portable form and (in `lanes_avx2`) the AVX2+FMA registers.
//!
//! A kernel is one body over [`Lanes`], marked `inline(always)`, and is entered through [`dispatch`], which picks the form
//! once a call. The portable form has the same number of lanes; it differs by the rounding of the fused multiply-add.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::real::Real;

/// Most lanes of any form: the size of stack buffers for a row tail.
pub const MAX_LANES: usize = 8;

/// N numbers side by side. Comparisons give a mask that only [`Lanes::select`] and [`Lanes::any`] read.
pub trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    type T: Real;
    type Mask: Copy;
    const N: usize;
    /// Whether bodies for small degrees are written out at compile time (the portable form keeps one loop).
    const UNROLL: bool;
    fn splat(x: Self::T) -> Self;
    /// The first N values of `x`.
    fn load(x: &[Self::T]) -> Self;
    /// Into the first N values of `out`.
    fn store(self, out: &mut [Self::T]);
    /// self * b + c.
    fn fma(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    fn round(self) -> Self;
    /// self < b; false where either is NaN.
    fn lt(self, b: Self) -> Self::Mask;
    fn any(mask: Self::Mask) -> bool;
    /// `yes` where the mask is set, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// 2^self for whole numbers in the exponent's range.
    fn exp2_whole(self) -> Self;
    /// (m, e) with self = m 2^e, m in [1, 2), for positive normal numbers.
    fn split(self) -> (Self, Self);
    /// N rows (x, y, z) as three lanes.
    fn load3(rows: &[Self::T]) -> [Self; 3];
    /// The inverse of [`Lanes::load3`].
    fn store3(xyz: [Self; 3], rows: &mut [Self::T]);
    /// N rows of `columns.len()` values, transposed: `rows[i * M + j] = columns[j][i]`.
    fn store_rows(columns: &[Self], rows: &mut [Self::T]);
    /// The inverse of [`Lanes::store_rows`].
    fn load_rows(rows: &[Self::T], columns: &mut [Self]);

    #[inline(always)]
    fn of(x: f64) -> Self {
        Self::splat(Self::T::of(x))
    }
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::T::ZERO)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self::select(self.lt(Self::zero()), -self, self)
    }
}

/// A number type with its two forms.
pub trait Simd: Real {
    type Wide: Lanes<T = Self>;
    type Plain: Lanes<T = Self>;
    const IS_SINGLE: bool;
}

/// A body that can run over any lanes.
pub trait Job<T: Simd> {
    fn run<L: Lanes<T = T>>(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_wide<T: Simd, J: Job<T>>(job: J) {
    job.run::<T::Wide>();
}

/// Apart from `dispatch`, so that its code is made once.
#[inline(never)]
fn run_plain<T: Simd, J: Job<T>>(job: J) {
    job.run::<T::Plain>();
}

/// Runs the job over the widest lanes of this machine.
pub fn dispatch<T: Simd, J: Job<T>>(job: J) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the two features were just detected.
        return unsafe { run_wide(job) };
    }
    run_plain(job);
}

/// The portable form: N numbers in an array.
#[derive(Clone, Copy)]
pub struct Portable<T, const N: usize>([T; N]);

macro_rules! portable_operator {
    ($trait:ident, $name:ident, $sign:tt) => {
        impl<T: Real, const N: usize> $trait for Portable<T, N> {
            type Output = Self;
            #[inline(always)]
            fn $name(self, b: Self) -> Self {
                Portable(std::array::from_fn(|i| self.0[i] $sign b.0[i]))
            }
        }
    };
}
portable_operator!(Add, add, +);
portable_operator!(Sub, sub, -);
portable_operator!(Mul, mul, *);
portable_operator!(Div, div, /);

impl<T: Real, const N: usize> Neg for Portable<T, N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Portable(self.0.map(|x| -x))
    }
}

macro_rules! portable {
    ($t:ident, $bits:ident, $n:literal, $mantissa:literal, $bias:literal) => {
        impl Lanes for Portable<$t, $n> {
            type T = $t;
            type Mask = [bool; $n];
            const N: usize = $n;
            const UNROLL: bool = false;
            #[inline(always)]
            fn splat(x: $t) -> Self {
                Portable([x; $n])
            }
            #[inline(always)]
            fn load(x: &[$t]) -> Self {
                Portable(std::array::from_fn(|i| x[i]))
            }
            #[inline(always)]
            fn store(self, out: &mut [$t]) {
                out[..$n].copy_from_slice(&self.0);
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self * b + c
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Portable(self.0.map(|x| x.sqrt()))
            }
            #[inline(always)]
            fn round(self) -> Self {
                // Adding and taking away 1.5 * 2^mantissa rounds to the nearest whole number, without a library call.
                const SHIFT: $t = 1.5 * (1u64 << $mantissa) as $t;
                Portable(self.0.map(|x| (x + SHIFT) - SHIFT))
            }
            #[inline(always)]
            fn lt(self, b: Self) -> [bool; $n] {
                std::array::from_fn(|i| self.0[i] < b.0[i])
            }
            #[inline(always)]
            fn any(mask: [bool; $n]) -> bool {
                mask.into_iter().any(|m| m)
            }
            #[inline(always)]
            fn select(mask: [bool; $n], yes: Self, no: Self) -> Self {
                Portable(std::array::from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
            }
            #[inline(always)]
            fn exp2_whole(self) -> Self {
                Portable(self.0.map(|x| $t::from_bits(((x as i64 + $bias) as $bits) << $mantissa)))
            }
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                let exponent = |x: $t| (x.to_bits() >> $mantissa) as i64 - $bias;
                let m = self.0.map(|x| $t::from_bits(x.to_bits() - ((exponent(x) as $bits) << $mantissa)));
                (Portable(m), Portable(self.0.map(|x| exponent(x) as $t)))
            }
            #[inline(always)]
            fn load3(rows: &[$t]) -> [Self; 3] {
                std::array::from_fn(|k| Portable(std::array::from_fn(|i| rows[3 * i + k])))
            }
            #[inline(always)]
            fn store3(xyz: [Self; 3], rows: &mut [$t]) {
                for (i, row) in rows[..3 * $n].chunks_exact_mut(3).enumerate() {
                    for k in 0..3 {
                        row[k] = xyz[k].0[i];
                    }
                }
            }
            #[inline(always)]
            fn store_rows(columns: &[Self], rows: &mut [$t]) {
                for (i, row) in rows.chunks_exact_mut(columns.len()).take($n).enumerate() {
                    for (o, c) in row.iter_mut().zip(columns) {
                        *o = c.0[i];
                    }
                }
            }
            #[inline(always)]
            fn load_rows(rows: &[$t], columns: &mut [Self]) {
                for (i, row) in rows.chunks_exact(columns.len()).take($n).enumerate() {
                    for (c, x) in columns.iter_mut().zip(row) {
                        c.0[i] = *x;
                    }
                }
            }
        }
    };
}
// One number a lane group: wider ones are no faster without registers to hold them and take minutes to compile.
portable!(f32, u32, 1, 23, 127);
portable!(f64, u64, 1, 52, 1023);

macro_rules! simd {
    ($t:ident, $wide:ident) => {
        impl Simd for $t {
            #[cfg(target_arch = "x86_64")]
            type Wide = super::lanes_avx2::$wide;
            #[cfg(not(target_arch = "x86_64"))]
            type Wide = Portable<$t, 1>;
            type Plain = Portable<$t, 1>;
            const IS_SINGLE: bool = size_of::<$t>() == 4;
        }
    };
}
simd!(f32, F32x8);
simd!(f64, F64x4);
