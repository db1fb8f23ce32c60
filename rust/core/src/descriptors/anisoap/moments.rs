//! Moments of a Gaussian for a group of pairs, one pair a lane.
//!
//! m_abc = M_abc / (a! b! c!) obeys a m_abc = mu_x m_{a-1} + C_xx m_{a-2} + C_xy m_{a-1,b-1} + C_xz m_{a-1,c-1} (along x where
//! a > 0, else along y, else along z), without integer factors; the derivative of a polynomial is then a shift of its
//! coefficients. A degree needs the two below it. For spheres m_abc = h_a h_b h_c, one product a monomial.
//! Bound by the loads and stores of the accumulators: 223 fused products and 84 sums for the 84 moments up to degree 6.

use super::basis::{Basis, Radial};
use super::monomials::{shell, start};
use super::shapes::{ROW, Shapes};
use crate::basis::functions::exp;
use crate::basis::lanes::{Lanes, MAX_LANES, Simd};
use crate::descriptors::pairs::Pairs;

/// Highest degree whose code is written out.
const UNROLLED: usize = 12;

/// A group of pairs: the numbers of its Gaussians, in the unit s.
#[derive(Clone, Copy)]
pub struct Group<L> {
    pub r: [L; 3],
    pub g: [L; 6],
    /// Times kappa^2, and the mean times kappa.
    pub c: [L; 6],
    pub mu: [L; 3],
    /// Zero in lanes beyond the group.
    pub weight: L,
    pub spheres: bool,
}

#[inline(always)]
pub fn times<L: Lanes>(m: &[L; 6], v: &[L; 3]) -> [L; 3] {
    [
        m[0].fma(v[0], m[1].fma(v[1], m[2] * v[2])),
        m[1].fma(v[0], m[3].fma(v[1], m[4] * v[2])),
        m[2].fma(v[0], m[4].fma(v[1], m[5] * v[2])),
    ]
}

#[inline(always)]
pub fn dot<L: Lanes>(a: &[L; 3], b: &[L; 3]) -> L {
    a[0].fma(b[0], a[1].fma(b[1], a[2] * b[2]))
}

impl<L: Lanes> Group<L>
where
    L::T: Simd,
{
    /// The group that begins with pair `p` of a run that ends at `end`; `rows` is memory.
    #[inline(always)]
    pub fn load(
        (pairs, shapes): (&Pairs<L::T>, &Shapes<L::T>),
        rows: &mut [L::T; MAX_LANES * ROW],
        p: usize,
        end: usize,
        basis: &Basis,
    ) -> Self {
        let (inverse, kappa) = (L::of(1.0 / basis.unit), L::of(basis.scale));
        let mut inside = [L::T::default(); MAX_LANES];
        let mut spheres = true;
        for i in 0..L::N {
            let j = pairs.target[(p + i).min(end - 1)] as usize;
            rows[ROW * i..ROW * (i + 1)].copy_from_slice(&shapes.rows[ROW * j..ROW * (j + 1)]);
            spheres &= shapes.sphere[j];
            if p + i < end {
                inside[i] = rows[ROW * i + 12];
            }
        }
        let mut columns = [L::zero(); ROW];
        L::load_rows(&rows[..ROW * L::N], &mut columns);
        let [x, y, z] = L::load3(&pairs.vector[3 * p..3 * (p + L::N)]);
        let r = [x * inverse, y * inverse, z * inverse];
        let g = [columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]];
        let c = [columns[6], columns[7], columns[8], columns[9], columns[10], columns[11]];
        let mut weight = L::load(&inside);
        let mut mu = r;
        if basis.kind == Radial::Gto {
            mu = times(&g, &r);
            weight = weight * exp(dot(&r, &mu) * L::of(-0.5));
        }
        let mu = [mu[0] * kappa, mu[1] * kappa, mu[2] * kappa];
        let kappa = kappa * kappa;
        let c = [c[0] * kappa, c[1] * kappa, c[2] * kappa, c[3] * kappa, c[4] * kappa, c[5] * kappa];
        Group { r, g, c, mu, weight, spheres }
    }
}

/// h_n = M_n / n! of one axis: n h_n = mu h_{n-1} + C h_{n-2}.
#[inline(always)]
fn one_axis<L: Lanes>(h: &mut [L], inverses: &[L], mu: L, c: L, first: L) {
    h[0] = first;
    let mut before = L::zero();
    for k in 1..h.len() {
        let next = mu.fma(h[k - 1], c * before) * inverses[k];
        before = h[k - 1];
        h[k] = next;
    }
}

/// Memory of the recursion.
pub struct Moments<L> {
    degree: usize,
    /// The present degree and the two below it.
    pub now: Vec<L>,
    below: Vec<L>,
    lower: Vec<L>,
    /// (mu_x, C_xx, C_xy, C_xz) / a for a = 0..=D.
    along_x: Vec<[L; 4]>,
    /// mu_y, C_yy, C_yz; mu_z, C_zz.
    rest: [L; 5],
    inverses: Vec<L>,
    /// Spheres: h along each axis, and h_b h_c.
    hx: Vec<L>,
    hy: Vec<L>,
    hz: Vec<L>,
    hyz: Vec<L>,
    spheres: bool,
}

impl<L: Lanes> Moments<L>
where
    L::T: Simd,
{
    pub fn new(degree: usize) -> Self {
        let zeros = || vec![L::zero(); shell(degree)];
        let inverses = (0..=degree).map(|k| L::of(1.0 / k.max(1) as f64)).collect();
        Moments {
            degree,
            now: zeros(),
            below: zeros(),
            lower: zeros(),
            along_x: vec![[L::zero(); 4]; degree + 1],
            rest: [L::zero(); 5],
            inverses,
            hx: vec![L::zero(); degree + 1],
            hy: vec![L::zero(); degree + 1],
            hz: vec![L::zero(); degree + 1],
            hyz: zeros(),
            spheres: false,
        }
    }

    /// Degree 0 of a group's moments, times its weight.
    #[inline(always)]
    pub fn begin(&mut self, g: &Group<L>) {
        self.spheres = g.spheres;
        let d = self.degree;
        if g.spheres {
            one_axis(&mut self.hx[..=d], &self.inverses, g.mu[0], g.c[0], g.weight);
            one_axis(&mut self.hy[..=d], &self.inverses, g.mu[1], g.c[0], L::of(1.0));
            one_axis(&mut self.hz[..=d], &self.inverses, g.mu[2], g.c[0], L::of(1.0));
            let mut t = 0;
            for k in 0..=d {
                for c in 0..=k {
                    self.hyz[t] = self.hy[k - c] * self.hz[c];
                    t += 1;
                }
            }
        } else {
            for a in 1..=d {
                let f = self.inverses[a];
                self.along_x[a] = [g.mu[0] * f, g.c[0] * f, g.c[1] * f, g.c[2] * f];
            }
            self.rest = [g.mu[1], g.c[3], g.c[4], g.mu[2], g.c[5]];
        }
        self.now[0] = g.weight;
    }

    /// Degree `d` from the two before it, which were the last calls; added to `sums` [shell(d)] if `ADD`.
    #[inline(always)]
    pub fn step<const ADD: bool>(&mut self, d: usize, sums: &mut [L]) {
        if self.spheres {
            for k in 0..=d {
                let (h, t) = (self.hx[d - k], k * (k + 1) / 2);
                let hyz = &self.hyz[t..][..k + 1];
                if ADD {
                    let sums = &mut sums[t..][..k + 1];
                    for c in 0..k + 1 {
                        sums[c] = h.fma(hyz[c], sums[c]);
                    }
                } else {
                    let now = &mut self.now[t..][..k + 1];
                    for c in 0..k + 1 {
                        now[c] = h * hyz[c];
                    }
                }
            }
            return;
        }
        std::mem::swap(&mut self.lower, &mut self.below);
        std::mem::swap(&mut self.below, &mut self.now);
        let parts = Parts {
            m: &mut self.now,
            m1: &self.below,
            m2: &self.lower,
            along_x: &self.along_x,
            rest: &self.rest,
            inverses: &self.inverses,
            sums,
        };
        #[cfg(target_arch = "x86_64")]
        if L::UNROLL && d <= UNROLLED {
            // SAFETY: lanes that unroll are those of AVX2 and FMA, which `dispatch` has found.
            return unsafe { written_out::<L, ADD>(d, parts) };
        }
        for k in 0..d {
            row::<L, ADD>(d, k, &parts.along_x[d - k], parts.m, parts.m1, parts.m2, parts.sums);
        }
        last_row::<L, ADD>(d, parts);
    }

    /// All degrees of a group into `sums` [monomials].
    #[inline(always)]
    pub fn add(&mut self, g: &Group<L>, sums: &mut [L]) {
        self.begin(g);
        sums[0] = sums[0] + g.weight;
        for d in 1..=self.degree {
            self.step::<true>(d, &mut sums[start(d)..start(d + 1)]);
        }
    }
}

struct Parts<'a, L> {
    m: &'a mut [L],
    m1: &'a [L],
    m2: &'a [L],
    along_x: &'a [[L; 4]],
    rest: &'a [L; 5],
    inverses: &'a [L],
    sums: &'a mut [L],
}

/// Row k < d of degree d: all of a = d - k.
#[inline(always)]
fn row<L: Lanes, const ADD: bool>(
    d: usize,
    k: usize,
    [x, xx, xy, xz]: &[L; 4],
    m: &mut [L],
    m1: &[L],
    m2: &[L],
    sums: &mut [L],
) {
    let t0 = k * (k + 1) / 2;
    let two = d - k >= 2;
    // The ends of the row lack a term each.
    for c in if k == 0 { [0, 1] } else { [0, k] } {
        if c > k {
            break;
        }
        let t = t0 + c;
        let mut v = *x * m1[t];
        if two {
            v = xx.fma(m2[t], v);
        }
        if c < k {
            v = xy.fma(m2[t - k], v);
        }
        if c > 0 {
            v = xz.fma(m2[t - k - 1], v);
        }
        m[t] = v;
        if ADD {
            sums[t] = sums[t] + v;
        }
    }
    if k < 2 {
        return;
    }
    let n = k - 1;
    let (m, m1) = (&mut m[t0 + 1..][..n], &m1[t0 + 1..][..n]);
    let (by, bz) = (&m2[t0 + 1 - k..][..n], &m2[t0 - k..][..n]);
    let xx2 = if two { &m2[t0 + 1..][..n] } else { &m2[..0] };
    let sums = if ADD { &mut sums[t0 + 1..][..n] } else { &mut sums[..0] };
    for c in 0..n {
        let mut v = *x * m1[c];
        if two {
            v = xx.fma(xx2[c], v);
        }
        v = xz.fma(bz[c], xy.fma(by[c], v));
        m[c] = v;
        if ADD {
            sums[c] = sums[c] + v;
        }
    }
}

/// The row of a = 0: along y, and its last monomial along z.
#[inline(always)]
fn last_row<L: Lanes, const ADD: bool>(d: usize, p: Parts<'_, L>) {
    let [y, yy, yz, z, zz] = *p.rest;
    let t0 = d * (d + 1) / 2;
    for c in 0..=d {
        let t = t0 + c;
        let b = d - c;
        let mut v;
        if b > 0 {
            v = y * p.m1[t - d];
            if b > 1 {
                v = yy.fma(p.m2[t + 1 - 2 * d], v);
            }
            if c > 0 {
                v = yz.fma(p.m2[t - 2 * d], v);
            }
            v = v * p.inverses[b];
        } else {
            v = z * p.m1[t - d - 1];
            if d > 1 {
                v = zz.fma(p.m2[t - 2 * d - 1], v);
            }
            v = v * p.inverses[d];
        }
        p.m[t] = v;
        if ADD {
            p.sums[t] = p.sums[t] + v;
        }
    }
}

/// Rows of a degree that is known to the compiler, so that no loop is left.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn shell_of<L: Lanes, const D: usize, const ADD: bool>(p: Parts<'_, L>) {
    let size = shell(D);
    let below = if D > 1 { shell(D - 2) } else { 0 };
    assert!(p.m.len() >= size && p.m1.len() >= shell(D - 1) && p.m2.len() >= below && p.along_x.len() > D);
    assert!(p.inverses.len() > D && (!ADD || p.sums.len() >= size));
    macro_rules! rows {
        ($($k:literal)*) => {
            $(if $k < D {
                row::<L, ADD>(D, $k, &p.along_x[D - $k], p.m, p.m1, p.m2, p.sums);
            })*
        };
    }
    rows!(0 1 2 3 4 5 6 7 8 9 10 11);
    last_row::<L, ADD>(D, p);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn written_out<L: Lanes, const ADD: bool>(d: usize, p: Parts<'_, L>) {
    match d {
        1 => shell_of::<L, 1, ADD>(p),
        2 => shell_of::<L, 2, ADD>(p),
        3 => shell_of::<L, 3, ADD>(p),
        4 => shell_of::<L, 4, ADD>(p),
        5 => shell_of::<L, 5, ADD>(p),
        6 => shell_of::<L, 6, ADD>(p),
        7 => shell_of::<L, 7, ADD>(p),
        8 => shell_of::<L, 8, ADD>(p),
        9 => shell_of::<L, 9, ADD>(p),
        10 => shell_of::<L, 10, ADD>(p),
        11 => shell_of::<L, 11, ADD>(p),
        _ => shell_of::<L, 12, ADD>(p),
    }
}

/// Sums over lanes of `columns`, in f64; there must be a whole number of lanes of columns.
#[inline(always)]
pub fn sum_lanes<L: Lanes>(columns: &[L], out: &mut [f64])
where
    L::T: Simd,
{
    use crate::real::Real;
    let zero = L::T::default();
    let mut rows = [zero; MAX_LANES * MAX_LANES];
    for (block, out) in columns.chunks_exact(L::N).zip(out.chunks_mut(L::N)) {
        L::store_rows(block, &mut rows[..L::N * L::N]);
        let mut sum = L::load(&rows);
        for i in 1..L::N {
            sum = sum + L::load(&rows[L::N * i..]);
        }
        let mut values = [zero; MAX_LANES];
        sum.store(&mut values);
        for (o, v) in out.iter_mut().zip(values) {
            *o = v.to_f64();
        }
    }
}
