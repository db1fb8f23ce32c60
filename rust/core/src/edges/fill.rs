//! Writing the rows of the list: source, target, shift, vector and distance of each edge, straight into the results.

use super::sites::Sites;
use crate::real::Real;

/// Where the rows go. Rows are written by many threads, each row by one.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    pub source: *mut i32,
    pub target: *mut i32,
    pub shift: *mut i32,
    pub vector: *mut T,
    pub distance: *mut T,
}

// SAFETY: the addresses are those of results that outlive the search; its tasks write disjoint rows.
unsafe impl<T> Send for Rows<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Rows<T> {}

impl<T: Real> Rows<T> {
    /// Writes the edges from atom `i` to the sites of `row`, from edge `at` on. `first` is the number of the system's
    /// first atom.
    ///
    /// # Safety
    /// The results have room for edges `at..at + row.len()`, and no other thread touches these.
    pub unsafe fn portable(self, sites: &Sites, i: usize, row: &[u32], at: usize, first: usize) {
        for (k, &site) in row.iter().enumerate() {
            let (shift, r, d2) = sites.edge(i, site);
            let e = at + k;
            // SAFETY: the caller gives us these edges.
            unsafe {
                *self.source.add(e) = (first + i) as i32;
                *self.target.add(e) = (first + sites.sites[site as usize].atom as usize) as i32;
                for c in 0..3 {
                    *self.shift.add(3 * e + c) = shift[c];
                    *self.vector.add(3 * e + c) = T::of(r[c]);
                }
                *self.distance.add(e) = T::of(d2.sqrt());
            }
        }
    }

    /// [`Rows::portable`] with AVX2: four edges at a time, the same bits.
    ///
    /// # Safety
    /// As [`Rows::portable`]; and the processor must have AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    pub unsafe fn avx2(self, sites: &Sites, i: usize, row: &[u32], at: usize, first: usize) {
        use std::arch::x86_64::*;
        let wrap = sites.wrap[i];
        // A row of fewer than five edges has no group that may spill; a cell that is open somewhere may hold anything
        // in that direction's vector, which only the portable form leaves out.
        if row.len() < 5 || (wrap != [0; 3] && sites.lattice.pbc != [true; 3]) {
            // SAFETY: as our own.
            return unsafe { self.portable(sites, i, row, at, first) };
        }
        let is_double = size_of::<T>() == 8;
        // Vectors and shifts are stored whole, with a fourth value that the next edge overwrites: so a group is stored
        // this way only if an edge of the same row follows it.
        let whole = (row.len() - 1) / 4 * 4;
        let cell = sites.lattice.cell;
        // SAFETY: `row` holds site numbers of `sites`; results as the caller vouches, see also `whole`. A site is 64
        // bytes: position and two shift components, offset with the third and the atom.
        unsafe {
            let load3 = |v: [f64; 3]| _mm256_set_pd(0.0, v[2], v[1], v[0]);
            let from = load3(sites.sites[sites.home[i] as usize].position);
            let a = [load3(cell[0]), load3(cell[1]), load3(cell[2])];
            let w = _mm_set_epi32(first as i32, wrap[2], wrap[1], wrap[0]);
            let moved = wrap != [0; 3];
            let base = sites.sites.as_ptr();
            for k in (0..whole).step_by(4) {
                let e = at + k;
                let mut r = [_mm256_setzero_pd(); 4];
                for (q, r) in r.iter_mut().enumerate() {
                    let site = base.add(*row.get_unchecked(k + q) as usize).cast::<f64>();
                    let (p, o) = (_mm256_load_pd(site), _mm256_load_pd(site.add(4)));
                    let tail = _mm_unpackhi_pd(_mm256_extractf128_pd::<1>(p), _mm256_extractf128_pd::<1>(o));
                    // [S0, S1, S2, atom], to which [w0, w1, w2, first] is added.
                    let s = _mm_add_epi32(_mm_castpd_si128(tail), w);
                    let offset = if moved {
                        let s = _mm256_cvtepi32_pd(s);
                        let t0 = _mm256_mul_pd(_mm256_permute4x64_pd::<0x00>(s), a[0]);
                        let t1 = _mm256_mul_pd(_mm256_permute4x64_pd::<0x55>(s), a[1]);
                        let t2 = _mm256_mul_pd(_mm256_permute4x64_pd::<0xAA>(s), a[2]);
                        _mm256_add_pd(_mm256_add_pd(t0, t1), t2)
                    } else {
                        o
                    };
                    *r = _mm256_add_pd(_mm256_sub_pd(p, from), offset);
                    _mm_storeu_si128(self.shift.add(3 * (e + q)).cast(), s);
                    *self.target.add(e + q) = _mm_extract_epi32::<3>(s);
                    let vector = self.vector.add(3 * (e + q));
                    match is_double {
                        true => _mm256_storeu_pd(vector.cast(), *r),
                        false => _mm_storeu_ps(vector.cast(), _mm256_cvtpd_ps(*r)),
                    }
                }
                _mm_storeu_si128(self.source.add(e).cast(), _mm_set1_epi32((first + i) as i32));
                let q = r.map(|r| _mm256_mul_pd(r, r));
                let (x01, x23) = (_mm256_unpacklo_pd(q[0], q[1]), _mm256_unpacklo_pd(q[2], q[3]));
                let (y01, y23) = (_mm256_unpackhi_pd(q[0], q[1]), _mm256_unpackhi_pd(q[2], q[3]));
                let (s01, s23) = (_mm256_add_pd(x01, y01), _mm256_add_pd(x23, y23));
                let xy = _mm256_permute2f128_pd::<0x20>(s01, s23);
                let zz = _mm256_permute2f128_pd::<0x31>(x01, x23);
                let d = _mm256_sqrt_pd(_mm256_add_pd(xy, zz));
                match is_double {
                    true => _mm256_storeu_pd(self.distance.add(e).cast(), d),
                    false => _mm_storeu_ps(self.distance.add(e).cast(), _mm256_cvtpd_ps(d)),
                }
            }
            self.portable(sites, i, &row[whole..], at + whole, first);
        }
    }
}
