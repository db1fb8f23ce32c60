//! The recursions of the real spherical harmonics and of their gradient, over any [`Number`].
//!
//! Textbook frame, polar axis Z: c_0 = 1, s_0 = 0, c_{m+1} = X c_m - Y s_m, s_{m+1} = X s_m + Y c_m;
//! Y_{l,m} = q_l^m c_m, Y_{l,-m} = q_l^m s_m, Y_{l,0} = q_l^0, with q_l^m(Z, r^2) by `harmonics_table`.

use super::harmonics_table::{Table, UNROLLED, pair};
use super::lanes::Lanes;
use super::number::Number;

/// In place of a degree: it is known at run time only.
pub const GENERAL: usize = usize::MAX;

/// A loop over `lo..=hi` that is written out where `$unroll` holds, so that all indices and constants fold.
macro_rules! each {
    ($unroll:expr, $i:ident in $lo:expr, $hi:expr, $body:block) => {
        if $unroll {
            each!(@one $i, 0, $lo, $hi, $body);
            each!(@one $i, 1, $lo, $hi, $body);
            each!(@one $i, 2, $lo, $hi, $body);
            each!(@one $i, 3, $lo, $hi, $body);
            each!(@one $i, 4, $lo, $hi, $body);
            each!(@one $i, 5, $lo, $hi, $body);
            each!(@one $i, 6, $lo, $hi, $body);
        } else {
            for $i in $lo..=$hi $body
        }
    };
    // Not `contains`: 49 calls of it in each function are what a compiler spends its time on.
    (@one $i:ident, $n:literal, $lo:expr, $hi:expr, $body:block) => {{
        let $i: usize = $n;
        let (lo, hi): (usize, usize) = ($lo, $hi);
        if lo <= $i && $i <= hi $body
    }};
}

/// q_l^m for l = m..=lmax, one after the other, to `emit(l, q)`. UNIT: r^2 = 1.
macro_rules! column {
    ($unroll:expr, $table:ident, $lmax:ident, $m:ident, $z:ident, $r2:ident, |$l:ident, $q:ident| $emit:block) => {{
        let mut last = V::constant($table.start.as_ref()[$m]);
        let mut before = V::constant(L::zero());
        each!($unroll, $l in $m, $lmax, {
            let k = pair($l, $m);
            let $q = if $l == $m {
                last
            } else if $l == $m + 1 {
                $z.scale($table.along.as_ref()[k]).mul(last)
            } else {
                let back = if UNIT { before } else { before.mul($r2) };
                let along = $z.scale($table.along.as_ref()[k]);
                back.scale(-$table.back.as_ref()[k]).add_mul(along, last)
            };
            before = last;
            last = $q;
            $emit
        });
        let _ = (before, last);
    }};
}

/// Y of one vector (X, Y, Z) per lane: `y[l l + l + m]`.
#[inline(always)]
pub fn values<L, V, A, const LMAX: usize, const UNIT: bool>(
    table: &Table<A>,
    lmax: usize,
    [x, y, z]: [V; 3],
    out: &mut [V],
) where
    L: Lanes,
    V: Number<L>,
    A: AsRef<[L]>,
{
    let unroll = LMAX <= UNROLLED;
    let lmax = if unroll { LMAX } else { lmax };
    let r2 = x.mul(x).add_mul(y, y).add_mul(z, z);
    let (mut c, mut s) = (V::constant(L::of(1.0)), V::constant(L::zero()));
    each!(unroll, m in 0, lmax, {
        if m == 1 {
            (c, s) = (x, y);
        } else if m > 1 {
            (c, s) = (x.mul(c).sub(y.mul(s)), x.mul(s).add_mul(y, c));
        }
        column!(unroll, table, lmax, m, z, r2, |l, q| {
            let at = l * l + l;
            if m == 0 {
                out[at] = q;
            } else {
                out[at + m] = q.mul(c);
                out[at - m] = q.mul(s);
            }
        });
    });
}

/// sum_lm g_lm dY_lm/d(X, Y, Z). `q` has room for the pairs (l, m), `phase` for 2 (lmax + 1) numbers.
#[inline(always)]
pub fn gradient<L, V, A, const LMAX: usize, const UNIT: bool>(
    table: &Table<A>,
    lmax: usize,
    [x, y, z]: [V; 3],
    g: &[L],
    q: &mut [V],
    phase: &mut [[V; 2]],
) -> [V; 3]
where
    L: Lanes,
    V: Number<L>,
    A: AsRef<[L]>,
{
    let unroll = LMAX <= UNROLLED;
    let lmax = if unroll { LMAX } else { lmax };
    let r2 = x.mul(x).add_mul(y, y).add_mul(z, z);
    let zero = V::constant(L::zero());
    phase[0] = [V::constant(L::of(1.0)), zero];
    each!(unroll, m in 0, lmax, {
        if m == 1 {
            phase[1] = [x, y];
        } else if m > 1 {
            let [c, s] = phase[m - 1];
            phase[m] = [x.mul(c).sub(y.mul(s)), x.mul(s).add_mul(y, c)];
        }
        column!(unroll, table, lmax, m, z, r2, |l, value| {
            q[pair(l, m)] = value;
        });
    });
    let (mut gx, mut gy, mut gz, mut radial) = (zero, zero, zero, zero);
    each!(unroll, m in 0, lmax, {
        let [c, s] = phase[m];
        let (mut along_c, mut along_s) = (zero, zero);
        each!(unroll, l in m, lmax, {
            let at = l * l + l;
            let turned = if m == 0 { V::constant(g[at]) } else { c.scale(g[at + m]).add_scaled(s, g[at - m]) };
            if m > 0 {
                let value = q[pair(l, m)];
                along_c = along_c.add_scaled(value, g[at + m]);
                along_s = along_s.add_scaled(value, g[at - m]);
            }
            if l > m {
                gz = gz.add_mul(turned, q[pair(l.wrapping_sub(1), m)].scale(table.dz.as_ref()[pair(l, m)]));
            }
            if l > m + 1 {
                radial = radial.add_mul(turned, q[pair(l.wrapping_sub(1), m + 1)].scale(table.dr.as_ref()[pair(l, m)]));
            }
        });
        if m > 0 {
            let [c, s] = phase[m - 1];
            let factor = L::of(m as f64);
            gx = gx.add_scaled(along_c.mul(c).add_mul(along_s, s), factor);
            gy = gy.add_scaled(along_s.mul(c).sub(along_c.mul(s)), factor);
        }
    });
    [gx.sub(x.mul(radial)), gy.sub(y.mul(radial)), gz]
}
