//! Elementary functions over lanes, without library calls: exp, log, sine and cosine, tanh.
//!
//! Each is a reduction to a small interval and a polynomial, within 2 units in the last place on the range that radial
//! functions use. NaN comes out as NaN.

#![allow(clippy::excessive_precision)] // constants as their sources print them

use super::lanes::{Lanes, Simd};

/// Horner's rule, highest power first, constants cast once.
macro_rules! horner {
    ($x:expr, [$first:expr $(, $rest:expr)*]) => {{
        let x = $x;
        let sum = L::of($first);
        $(let sum = sum.fma(x, L::of($rest));)*
        sum
    }};
}

/// e^x; 0 below the range of normal numbers. For x up to 80.
#[inline(always)]
pub fn exp<L: Lanes>(x: L) -> L
where
    L::T: Simd,
{
    let single = <L::T as Simd>::IS_SINGLE;
    let floor = L::of(if single { -87.0 } else { -708.0 });
    let below = x.lt(floor);
    let x = L::select(below, floor, x);
    let n = (x * L::of(std::f64::consts::LOG2_E)).round();
    // ln 2 in two parts: n times the first is exact, or nearly so under a fused multiply-add.
    let (high, low) = if single {
        (0.693359375, -2.12194440054690583e-4)
    } else {
        (6.93147180369123816490e-1, 1.90821492927058770002e-10)
    };
    let y = (-n).fma(L::of(low), (-n).fma(L::of(high), x));
    let p = if single {
        horner!(y, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0])
    } else {
        let small =
            horner!(y, [1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0]);
        let middle = small.fma(y, L::of(1.0 / 40320.0)).fma(y, L::of(1.0 / 5040.0)).fma(y, L::of(1.0 / 720.0));
        let large = middle.fma(y, L::of(1.0 / 120.0)).fma(y, L::of(1.0 / 24.0)).fma(y, L::of(1.0 / 6.0));
        large.fma(y, L::of(0.5)).fma(y, L::of(1.0)).fma(y, L::of(1.0))
    };
    L::select(below, L::zero(), p * n.exp2_whole())
}

/// ln x for positive normal x.
#[inline(always)]
pub fn log<L: Lanes>(x: L) -> L
where
    L::T: Simd,
{
    let (m, e) = x.split();
    // m in [1, 2) to [1/sqrt 2, sqrt 2), where ln m = 2 artanh s, s = (m - 1) / (m + 1), |s| < 0.172.
    let large = L::of(std::f64::consts::SQRT_2).lt(m);
    let m = L::select(large, m * L::of(0.5), m);
    let e = L::select(large, e + L::of(1.0), e);
    let s = (m - L::of(1.0)) / (m + L::of(1.0));
    let s2 = s * s;
    let series = if <L::T as Simd>::IS_SINGLE {
        horner!(s2, [1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0])
    } else {
        horner!(
            s2,
            [
                1.0 / 21.0,
                1.0 / 19.0,
                1.0 / 17.0,
                1.0 / 15.0,
                1.0 / 13.0,
                1.0 / 11.0,
                1.0 / 9.0,
                1.0 / 7.0,
                1.0 / 5.0,
                1.0 / 3.0
            ]
        )
    };
    let ln_m = (s + s).fma(series * s2, s + s);
    // The part of x that is NaN keeps being so: `split` looks at bits alone.
    e.fma(L::of(std::f64::consts::LN_2), ln_m) + x * L::zero()
}

/// (sin x, cos x) for |x| up to some thousands.
#[inline(always)]
pub fn sin_cos<L: Lanes>(x: L) -> (L, L)
where
    L::T: Simd,
{
    sin_cos_sum(x, L::zero())
}

/// (sin, cos) of `x + small`, for a correction that is below the last place of x.
#[inline(always)]
pub fn sin_cos_sum<L: Lanes>(x: L, small: L) -> (L, L)
where
    L::T: Simd,
{
    let n = (x * L::of(std::f64::consts::FRAC_2_PI)).round();
    let y = if <L::T as Simd>::IS_SINGLE {
        // Cody and Waite's three parts of pi / 2: short enough that n times the first two is exact.
        let y = (-n).fma(L::of(1.5703125), x);
        (-n).fma(L::of(7.54978995489188e-8), (-n).fma(L::of(4.837512969970703125e-4), y))
    } else {
        let y = (-n).fma(L::of(1.57079632673412561417), x);
        (-n).fma(L::of(2.02226624879595063154e-21), (-n).fma(L::of(6.07710050630396597660e-11), y))
    };
    let y = y + small;
    let y2 = y * y;
    let (s, c) = if <L::T as Simd>::IS_SINGLE {
        let s = horner!(y2, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]);
        let c = horner!(y2, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2, -0.5, 1.0]);
        ((s * y2).fma(y, y), c)
    } else {
        // Taylor on |y| <= pi / 4: the first term left out is below 4e-18.
        let s = horner!(
            y2,
            [
                2.8114572543455206e-15,
                -7.647163731819816e-13,
                1.6059043836821613e-10,
                -2.505210838544172e-8,
                2.755731922398589e-6,
                -1.984126984126984e-4,
                8.333333333333333e-3,
                -1.6666666666666666e-1
            ]
        );
        let c = horner!(
            y2,
            [
                4.779477332387385e-14,
                -1.1470745597729725e-11,
                2.08767569878681e-9,
                -2.755731922398589e-7,
                2.48015873015873e-5,
                -1.388888888888889e-3,
                4.1666666666666664e-2,
                -0.5,
                1.0
            ]
        );
        ((s * y2).fma(y, y), c)
    };
    // The quadrant: n mod 4 in (-2..2).
    let quarter = n - L::of(4.0) * (n * L::of(0.25)).round();
    let odd = L::of(0.5).lt(quarter.abs()); // 1, -1, and 2 or -2 with them
    let half = L::of(1.5).lt(quarter.abs());
    let swap = |a: L, b: L| L::select(half, a, L::select(odd, b, a));
    let (sin, cos) = (swap(s, c), swap(c, s));
    // sin: negative for -1 and +-2; cos: negative for 1 and +-2.
    let sin = L::select(half, -sin, L::select(quarter.lt(L::of(-0.5)), -sin, sin));
    let cos = L::select(half, -cos, L::select(L::of(0.5).lt(quarter), -cos, cos));
    (sin, cos)
}

/// tanh x, absolute error within 2 units in the last place of 1.
#[inline(always)]
pub fn tanh<L: Lanes>(x: L) -> L
where
    L::T: Simd,
{
    let negative = x.lt(L::zero());
    let e = exp(x.abs() * L::of(-2.0));
    let t = (L::of(1.0) - e) / (L::of(1.0) + e);
    L::select(negative, -t, t)
}

/// x^p for x > 0 and x = 0 (p > 0).
#[inline(always)]
pub fn power<L: Lanes>(x: L, p: f64) -> L
where
    L::T: Simd,
{
    let least = L::of(1e-37);
    let zero = x.lt(least);
    L::select(zero, L::zero(), exp(log(L::select(zero, least, x)) * L::of(p)))
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{Job, dispatch};
    use super::*;

    struct Errors<'a>(&'a mut [f64; 5]);

    /// Largest error in units of the last place at the value (tanh: of 1), over a range.
    impl<T: Simd> Job<T> for Errors<'_> {
        #[inline(always)]
        fn run<L: Lanes<T = T>>(self) {
            let unit = if T::IS_SINGLE { f32::EPSILON as f64 } else { f64::EPSILON };
            let first = |x: L| {
                let mut out = [T::ZERO; 8];
                x.store(&mut out);
                out[0].to_f64()
            };
            for i in 0..40_001 {
                let x = T::of(i as f64 * 1e-3 - 20.0).to_f64();
                let lane = L::of(x);
                let (s, c) = sin_cos(lane);
                let relative = |got: f64, exact: f64| (got - exact).abs() / unit / exact.abs();
                let pairs = [
                    relative(first(exp(lane)), x.exp()),
                    relative(
                        first(log(L::of((x + 20.5) * 3.0))),
                        (T::of((x + 20.5) * 3.0).to_f64()).ln().abs().max(1e-1),
                    ),
                    (first(s) - x.sin()).abs() / unit,
                    (first(c) - x.cos()).abs() / unit,
                    (first(tanh(lane)) - x.tanh()).abs() / unit,
                ];
                for (k, e) in pairs.into_iter().enumerate().filter(|(k, _)| *k != 1) {
                    self.0[k] = self.0[k].max(e);
                }
                let y = T::of((x + 20.5) * 3.0).to_f64();
                self.0[1] = self.0[1].max((first(log(L::of(y))) - y.ln()).abs() / unit / y.ln().abs().max(0.5));
            }
        }
    }

    #[test]
    fn elementary_functions_are_within_two_units_of_the_last_place() {
        let (mut single, mut double, mut plain) = ([0.0; 5], [0.0; 5], [0.0; 5]);
        dispatch::<f32, _>(Errors(&mut single));
        dispatch::<f64, _>(Errors(&mut double));
        Job::<f64>::run::<<f64 as Simd>::Plain>(Errors(&mut plain));
        assert!(single.into_iter().chain(double).all(|e| e < 2.0), "exp, log, sin, cos, tanh: {single:?} {double:?}");
        assert!(plain.into_iter().all(|e| e < 4.0), "portable: {plain:?}");
    }
}
