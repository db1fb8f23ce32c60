//! [`Lanes`] in AVX2+FMA registers: 8 f32 or 4 f64.
//!
//! Every method is `inline(always)` and only reached from a body inside `lanes::run_wide`, which is compiled with both
//! features and entered after they were detected; that is what each SAFETY comment "features" means.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::lanes::Lanes;

#[derive(Clone, Copy)]
pub struct F32x8(__m256);
#[derive(Clone, Copy)]
pub struct F64x4(__m256d);

macro_rules! operator {
    ($lanes:ident, $trait:ident, $name:ident, $intrinsic:ident) => {
        impl $trait for $lanes {
            type Output = Self;
            #[inline(always)]
            fn $name(self, b: Self) -> Self {
                // SAFETY: features, see the head of the file.
                $lanes(unsafe { $intrinsic(self.0, b.0) })
            }
        }
    };
}
operator!(F32x8, Add, add, _mm256_add_ps);
operator!(F32x8, Sub, sub, _mm256_sub_ps);
operator!(F32x8, Mul, mul, _mm256_mul_ps);
operator!(F32x8, Div, div, _mm256_div_ps);
operator!(F64x4, Add, add, _mm256_add_pd);
operator!(F64x4, Sub, sub, _mm256_sub_pd);
operator!(F64x4, Mul, mul, _mm256_mul_pd);
operator!(F64x4, Div, div, _mm256_div_pd);

impl Neg for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: features.
        F32x8(unsafe { _mm256_xor_ps(self.0, _mm256_set1_ps(-0.0)) })
    }
}

impl Neg for F64x4 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: features.
        F64x4(unsafe { _mm256_xor_pd(self.0, _mm256_set1_pd(-0.0)) })
    }
}

/// What both widths share, word for word but for the intrinsics' names.
macro_rules! common {
    ($t:ident, $n:literal, $mask:ident, $set1:ident, $load:ident, $store:ident, $fma:ident, $sqrt:ident, $round:ident,
     $cmp:ident, $movemask:ident, $blend:ident, $transpose:ident) => {
        type T = $t;
        type Mask = $mask;
        const N: usize = $n;
        const UNROLL: bool = true;
        #[inline(always)]
        fn splat(x: $t) -> Self {
            // SAFETY: features.
            Self(unsafe { $set1(x) })
        }
        #[inline(always)]
        fn load(x: &[$t]) -> Self {
            assert!(x.len() >= $n);
            // SAFETY: features; $n values are there.
            Self(unsafe { $load(x.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, out: &mut [$t]) {
            assert!(out.len() >= $n);
            // SAFETY: features; there is room for $n values.
            unsafe { $store(out.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: features.
            Self(unsafe { $fma(self.0, b.0, c.0) })
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            // SAFETY: features.
            Self(unsafe { $sqrt(self.0) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            // SAFETY: features.
            Self(unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn lt(self, b: Self) -> $mask {
            // SAFETY: features.
            unsafe { $cmp::<_CMP_LT_OQ>(self.0, b.0) }
        }
        #[inline(always)]
        fn any(mask: $mask) -> bool {
            // SAFETY: features.
            unsafe { $movemask(mask) != 0 }
        }
        #[inline(always)]
        fn select(mask: $mask, yes: Self, no: Self) -> Self {
            // SAFETY: features.
            Self(unsafe { $blend(no.0, yes.0, mask) })
        }
        #[inline(always)]
        fn store_rows(columns: &[Self], rows: &mut [$t]) {
            let m = columns.len();
            assert!(rows.len() >= $n * m);
            if m == 1 {
                return columns[0].store(rows);
            }
            if m < $n {
                let mut buffer = [0.0; $n];
                for (j, c) in columns.iter().enumerate() {
                    c.store(&mut buffer);
                    for (i, x) in buffer.iter().enumerate() {
                        rows[i * m + j] = *x;
                    }
                }
                return;
            }
            let mut j = 0;
            while j < m {
                // The last block overlaps the one before it; what it writes twice is the same.
                let at = j.min(m - $n);
                let block: [_; $n] = std::array::from_fn(|k| columns[at + k].0);
                // SAFETY: features.
                let block = unsafe { $transpose(block) };
                for (i, row) in block.into_iter().enumerate() {
                    // SAFETY: i * m + at + $n <= $n * m <= rows.len().
                    unsafe { $store(rows.as_mut_ptr().add(i * m + at), row) };
                }
                j += $n;
            }
        }
        #[inline(always)]
        fn load_rows(rows: &[$t], columns: &mut [Self]) {
            let m = columns.len();
            assert!(rows.len() >= $n * m);
            if m == 1 {
                columns[0] = Self::load(rows);
                return;
            }
            if m < $n {
                for (j, c) in columns.iter_mut().enumerate() {
                    let column: [$t; $n] = std::array::from_fn(|i| rows[i * m + j]);
                    *c = Self::load(&column);
                }
                return;
            }
            let mut j = 0;
            while j < m {
                let at = j.min(m - $n);
                // SAFETY: features; i * m + at + $n <= $n * m <= rows.len().
                let block = unsafe { $transpose(std::array::from_fn(|i| $load(rows.as_ptr().add(i * m + at)))) };
                for (k, c) in block.into_iter().enumerate() {
                    columns[at + k] = Self(c);
                }
                j += $n;
            }
        }
    };
}

impl Lanes for F32x8 {
    common!(
        f32,
        8,
        __m256,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_sqrt_ps,
        _mm256_round_ps,
        _mm256_cmp_ps,
        _mm256_movemask_ps,
        _mm256_blendv_ps,
        transpose8
    );
    #[inline(always)]
    fn exp2_whole(self) -> Self {
        // SAFETY: features.
        unsafe {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        }
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // SAFETY: features.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let e = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
            let m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e)));
            (F32x8(m), F32x8(_mm256_cvtepi32_ps(e)))
        }
    }
    #[inline(always)]
    fn load3(rows: &[f32]) -> [Self; 3] {
        assert!(rows.len() >= 24);
        let p = rows.as_ptr();
        // SAFETY: features; 24 values are there.
        unsafe {
            let pair = |k| {
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p.add(k))), _mm_loadu_ps(p.add(k + 12)))
            };
            let (a, b, c) = (pair(0), pair(4), pair(8));
            let xy = _mm256_shuffle_ps::<0b10_01_11_10>(b, c);
            let yz = _mm256_shuffle_ps::<0b01_00_10_01>(a, b);
            let x = _mm256_shuffle_ps::<0b10_00_11_00>(a, xy);
            let y = _mm256_shuffle_ps::<0b11_01_10_00>(yz, xy);
            let z = _mm256_shuffle_ps::<0b11_00_11_01>(yz, c);
            [F32x8(x), F32x8(y), F32x8(z)]
        }
    }
    #[inline(always)]
    fn store3([x, y, z]: [Self; 3], rows: &mut [f32]) {
        assert!(rows.len() >= 24);
        let p = rows.as_mut_ptr();
        // SAFETY: features; there is room for 24 values.
        unsafe {
            let xy = _mm256_shuffle_ps::<0b10_00_10_00>(x.0, y.0);
            let yz = _mm256_shuffle_ps::<0b11_01_11_01>(y.0, z.0);
            let zx = _mm256_shuffle_ps::<0b11_01_10_00>(z.0, x.0);
            let a = _mm256_shuffle_ps::<0b10_00_10_00>(xy, zx);
            let b = _mm256_shuffle_ps::<0b11_01_10_00>(yz, xy);
            let c = _mm256_shuffle_ps::<0b11_01_11_01>(zx, yz);
            for (k, half) in [a, b, c].into_iter().enumerate() {
                _mm_storeu_ps(p.add(4 * k), _mm256_castps256_ps128(half));
                _mm_storeu_ps(p.add(4 * k + 12), _mm256_extractf128_ps::<1>(half));
            }
        }
    }
}

impl Lanes for F64x4 {
    common!(
        f64,
        4,
        __m256d,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        _mm256_sqrt_pd,
        _mm256_round_pd,
        _mm256_cmp_pd,
        _mm256_movemask_pd,
        _mm256_blendv_pd,
        transpose4
    );
    #[inline(always)]
    fn exp2_whole(self) -> Self {
        // SAFETY: features.
        unsafe {
            // The sum's low bits are the whole number plus the bias, in two's complement.
            let shifted = _mm256_add_pd(self.0, _mm256_set1_pd(6_755_399_441_055_744.0 + 1023.0));
            F64x4(_mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(shifted))))
        }
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // SAFETY: features.
        unsafe {
            let bits = _mm256_castpd_si256(self.0);
            let biased = _mm256_srli_epi64::<52>(bits);
            // 2^52 with the exponent in its low bits, less 2^52 and the bias: a conversion without AVX-512.
            let magic = _mm256_set1_pd(4_503_599_627_370_496.0);
            let e = _mm256_castsi256_pd(_mm256_or_si256(biased, _mm256_castpd_si256(magic)));
            let e = _mm256_sub_pd(e, _mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0));
            let shift = _mm256_slli_epi64::<52>(_mm256_sub_epi64(biased, _mm256_set1_epi64x(1023)));
            (F64x4(_mm256_castsi256_pd(_mm256_sub_epi64(bits, shift))), F64x4(e))
        }
    }
    #[inline(always)]
    fn load3(rows: &[f64]) -> [Self; 3] {
        assert!(rows.len() >= 12);
        let p = rows.as_ptr();
        // SAFETY: features; 12 values are there.
        unsafe {
            let (a, b, c) = (_mm256_loadu_pd(p), _mm256_loadu_pd(p.add(4)), _mm256_loadu_pd(p.add(8)));
            let xy = _mm256_blend_pd::<0b1100>(a, b);
            let zx = _mm256_permute2f128_pd::<0x21>(a, c);
            let yz = _mm256_blend_pd::<0b1100>(b, c);
            let x = _mm256_shuffle_pd::<0b1010>(xy, zx);
            let y = _mm256_shuffle_pd::<0b0101>(xy, yz);
            let z = _mm256_shuffle_pd::<0b1010>(zx, yz);
            [F64x4(x), F64x4(y), F64x4(z)]
        }
    }
    #[inline(always)]
    fn store3([x, y, z]: [Self; 3], rows: &mut [f64]) {
        assert!(rows.len() >= 12);
        let p = rows.as_mut_ptr();
        // SAFETY: features; there is room for 12 values.
        unsafe {
            let xy = _mm256_unpacklo_pd(x.0, y.0);
            let zx = _mm256_shuffle_pd::<0b1010>(z.0, x.0);
            let yz = _mm256_unpackhi_pd(y.0, z.0);
            _mm256_storeu_pd(p, _mm256_permute2f128_pd::<0x20>(xy, zx));
            _mm256_storeu_pd(p.add(4), _mm256_blend_pd::<0b1100>(yz, xy));
            _mm256_storeu_pd(p.add(8), _mm256_permute2f128_pd::<0x31>(zx, yz));
        }
    }
}

/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: features, as the caller vouches.
    unsafe {
        let mut t = r;
        for k in 0..4 {
            t[2 * k] = _mm256_unpacklo_ps(r[2 * k], r[2 * k + 1]);
            t[2 * k + 1] = _mm256_unpackhi_ps(r[2 * k], r[2 * k + 1]);
        }
        let mut u = t;
        for h in 0..2 {
            let (a, b, c, d) = (t[4 * h], t[4 * h + 1], t[4 * h + 2], t[4 * h + 3]);
            u[4 * h] = _mm256_shuffle_ps::<0b01_00_01_00>(a, c);
            u[4 * h + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, c);
            u[4 * h + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(b, d);
            u[4 * h + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(b, d);
        }
        let mut v = u;
        for k in 0..4 {
            v[k] = _mm256_permute2f128_ps::<0x20>(u[k], u[k + 4]);
            v[k + 4] = _mm256_permute2f128_ps::<0x31>(u[k], u[k + 4]);
        }
        v
    }
}

/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn transpose4(r: [__m256d; 4]) -> [__m256d; 4] {
    // SAFETY: features, as the caller vouches.
    unsafe {
        let (a, b) = (_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
        let (c, d) = (_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3]));
        [
            _mm256_permute2f128_pd::<0x20>(a, c),
            _mm256_permute2f128_pd::<0x20>(b, d),
            _mm256_permute2f128_pd::<0x31>(a, c),
            _mm256_permute2f128_pd::<0x31>(b, d),
        ]
    }
}
