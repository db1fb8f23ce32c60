//! The filter: which slots of the candidate ranges are within the cutoff of a centre.
//!
//! Distances are compared in f32, eight at a time; only candidates within the margin of the cutoff need the exact f64
//! test, and that test alone decides.

use super::bins::Bins;
use super::sites::Sites;

/// What a centre keeps of the sites in reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// All but the atom itself.
    Full,
    /// Sites numbered above the atom's own: one direction of each pair.
    Half,
    /// All, with the atom itself.
    WithSelf,
}

/// One search: a system's sites in bins, and the rule.
pub struct Search<'a> {
    pub sites: &'a Sites,
    pub bins: &'a Bins,
    pub cutoff2: f64,
    pub outer2: f32,
    pub inner2: f32,
    pub keep: Keep,
}

impl<'a> Search<'a> {
    pub fn new(sites: &'a Sites, bins: &'a Bins, cutoff: f64, keep: Keep) -> Self {
        let (outer, inner) = (cutoff + sites.margin, (cutoff - sites.margin).max(0.0));
        let widen = 1.0 + 1e-6;
        Search {
            sites,
            bins,
            cutoff2: cutoff * cutoff,
            outer2: (outer * outer * widen) as f32,
            inner2: (inner * inner / widen) as f32,
            keep,
        }
    }

    #[inline(always)]
    fn decides(&self, i: usize, site: u32) -> bool {
        self.sites.edge(i, site).2 < self.cutoff2
    }

    #[inline(always)]
    fn keeps(&self, own: u32, site: u32) -> bool {
        match self.keep {
            Keep::Full => site != own,
            Keep::Half => site > own,
            Keep::WithSelf => true,
        }
    }

    /// Writes the sites within the cutoff of atom `i` (at `slot`) to `hits`, in slot order; returns how many.
    /// `hits` has room for all candidates and 8 more.
    pub fn portable(&self, i: usize, slot: usize, ranges: &[(u32, u32)], hits: &mut [u32]) -> usize {
        let b = self.bins;
        let (x, y, z, own) = (b.x[slot], b.y[slot], b.z[slot], b.site[slot]);
        let mut n = 0;
        for &(from, to) in ranges {
            for k in from as usize..to as usize {
                let (dx, dy, dz) = (b.x[k] - x, b.y[k] - y, b.z[k] - z);
                let d2 = dx * dx + dy * dy + dz * dz;
                let site = b.site[k];
                if d2 < self.outer2 && self.keeps(own, site) && (d2 < self.inner2 || self.decides(i, site)) {
                    hits[n] = site;
                    n += 1;
                }
            }
        }
        n
    }

    /// [`Search::portable`] with AVX2.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,popcnt")]
    pub unsafe fn avx2(&self, i: usize, slot: usize, ranges: &[(u32, u32)], hits: &mut [u32]) -> usize {
        use std::arch::x86_64::*;
        let b = self.bins;
        let candidates: usize = ranges.iter().map(|r| (r.1 - r.0) as usize).sum();
        assert!(hits.len() >= candidates + 8 && ranges.iter().all(|r| r.1 as usize + 8 <= b.x.len()));
        let own = b.site[slot];
        let (x, y, z) = (_mm256_set1_ps(b.x[slot]), _mm256_set1_ps(b.y[slot]), _mm256_set1_ps(b.z[slot]));
        let (outer, inner) = (_mm256_set1_ps(self.outer2), _mm256_set1_ps(self.inner2));
        let own8 = _mm256_set1_epi32(own as i32);
        let mut n = 0;
        for &(from, to) in ranges {
            let (mut k, to) = (from as usize, to as usize);
            while k < to {
                // SAFETY: k < to and the arrays are padded by 8 values beyond the last slot; `hits` has room for the
                // candidates and 8 more, and n never exceeds the candidates seen.
                unsafe {
                    let dx = _mm256_sub_ps(_mm256_loadu_ps(b.x.as_ptr().add(k)), x);
                    let dy = _mm256_sub_ps(_mm256_loadu_ps(b.y.as_ptr().add(k)), y);
                    let dz = _mm256_sub_ps(_mm256_loadu_ps(b.z.as_ptr().add(k)), z);
                    let d2 = _mm256_fmadd_ps(dz, dz, _mm256_fmadd_ps(dy, dy, _mm256_mul_ps(dx, dx)));
                    let site = _mm256_loadu_si256(b.site.as_ptr().add(k).cast());
                    let near = _mm256_cmp_ps::<_CMP_LT_OQ>(d2, outer);
                    let near = match self.keep {
                        Keep::Full => _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(site, own8)), near),
                        Keep::Half => _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(site, own8)), near),
                        Keep::WithSelf => near,
                    };
                    let mut mask = _mm256_movemask_ps(near) as u32;
                    if to - k < 8 {
                        mask &= (1 << (to - k)) - 1;
                    }
                    let mut unsure = mask & !(_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(d2, inner)) as u32);
                    while unsure != 0 {
                        let lane = unsure.trailing_zeros();
                        unsure &= unsure - 1;
                        if !self.decides(i, b.site[k + lane as usize]) {
                            mask &= !(1 << lane);
                        }
                    }
                    let order = _mm256_cvtepu8_epi32(_mm_loadl_epi64(COMPRESS.as_ptr().add(mask as usize).cast()));
                    let packed = _mm256_permutevar8x32_epi32(site, order);
                    _mm256_storeu_si256(hits.as_mut_ptr().add(n).cast(), packed);
                    n += mask.count_ones() as usize;
                }
                k += 8;
            }
        }
        n
    }
}

/// For each mask of 8 lanes, the numbers of the set lanes first: a permutation that packs them.
static COMPRESS: [[u8; 8]; 256] = {
    let mut table = [[0u8; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut n) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][n] = lane as u8;
                n += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
};
