//! Channels of an operand's row to and from SIMD lanes, whatever the layout.

use crate::basis::lanes::Lanes;
use crate::real::Real;

/// Most components that are turned at once: those of an irrep of degree 7.
const WIDEST: usize = 15;

/// Components of which channel u is at offset + u stride + m: an irrep's [mul, 2l+1] block (count = stride), or one alone.
struct Field {
    offset: usize,
    stride: usize,
    first: usize,
    count: usize,
}

pub struct Fields {
    fields: Vec<Field>,
    channels: usize,
    pub count: usize,
}

impl Fields {
    /// From (offset, stride) of each component, in ascending order; None where two components share a number.
    pub fn new(components: &[(usize, usize)], channels: usize, size: usize) -> Option<Self> {
        let mut taken = vec![false; size];
        for &(offset, stride) in components {
            for u in 0..channels {
                if std::mem::replace(taken.get_mut(offset + u * stride)?, true) {
                    return None;
                }
            }
        }
        let (mut fields, mut n) = (Vec::new(), 0);
        while n < components.len() {
            let (offset, stride) = components[n];
            let whole = stride <= WIDEST
                && n + stride <= components.len()
                && (0..stride).all(|m| components[n + m] == (offset + m, stride));
            let count = if whole { stride } else { 1 };
            fields.push(Field { offset, stride, first: n, count });
            n += count;
        }
        Some(Fields { fields, channels, count: components.len() })
    }

    /// Channels from u on of every component n to `lanes[n * step..]`; zeros past the last channel.
    #[inline(always)]
    pub fn load<L: Lanes>(&self, row: &[L::T], u: usize, lanes: &mut [L::T], step: usize) {
        let left = L::N.min(self.channels - u);
        let mut columns = [L::zero(); WIDEST];
        for f in &self.fields {
            let from = &row[f.offset + u * f.stride..];
            if left == L::N && f.count == f.stride {
                let columns = &mut columns[..f.count];
                L::load_rows(&from[..L::N * f.count], columns);
                for (m, c) in columns.iter().enumerate() {
                    c.store(&mut lanes[(f.first + m) * step..]);
                }
                continue;
            }
            for m in 0..f.count {
                let lanes = &mut lanes[(f.first + m) * step..][..L::N];
                for (lane, value) in lanes.iter_mut().enumerate() {
                    *value = if lane < left { from[lane * f.stride + m] } else { Real::ZERO };
                }
            }
        }
    }

    /// The inverse of [`Fields::load`]; lanes past the last channel are left out.
    #[inline(always)]
    pub fn store<L: Lanes>(&self, row: &mut [L::T], u: usize, lanes: &[L::T], step: usize) {
        let left = L::N.min(self.channels - u);
        let mut columns = [L::zero(); WIDEST];
        for f in &self.fields {
            let to = &mut row[f.offset + u * f.stride..];
            if left == L::N && f.count == f.stride {
                let columns = &mut columns[..f.count];
                for (m, c) in columns.iter_mut().enumerate() {
                    *c = L::load(&lanes[(f.first + m) * step..]);
                }
                L::store_rows(columns, &mut to[..L::N * f.count]);
                continue;
            }
            for m in 0..f.count {
                for lane in 0..left {
                    to[lane * f.stride + m] = lanes[(f.first + m) * step + lane];
                }
            }
        }
    }
}
