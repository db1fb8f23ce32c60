//! Dense derivatives of rows, on request: one row a (centre, moved atom), as featomic lays them out.

use super::Precision;
use super::call::{Run, each};
use super::chunk::Group;
use crate::descriptors::pairs::PADDING;

/// Which atoms move which centres.
pub struct Samples {
    /// [G], number of the centre and row of the moved atom, ascending.
    pub center: Vec<u32>,
    pub atom: Vec<u32>,
    /// [C + 1].
    ptr: Vec<usize>,
}

impl<T: Precision> Run<'_, T> {
    /// The moved atoms of each centre: its neighbours, and itself if it is `attached` to an atom.
    pub fn samples(&self) -> Samples {
        let (mut center, mut atom, mut ptr) = (Vec::new(), Vec::new(), vec![0]);
        for c in 0..self.pairs.centers() {
            let own = self.pairs.center[c];
            let mut moved: Vec<u32> = self.pairs.target[self.pairs.pairs_of(c)].to_vec();
            if self.attached {
                moved.push(own);
            }
            moved.sort_unstable();
            moved.dedup();
            center.extend(std::iter::repeat_n(c as u32, moved.len()));
            atom.extend(moved);
            ptr.push(atom.len());
        }
        Samples { center, atom, ptr }
    }

    /// d row / d position of the moved atom, [G, 3, D]. Only without a mean.
    pub fn position_jacobian(&self, samples: &Samples) -> Vec<T> {
        let attached = self.attached;
        let d = self.features();
        let mut out = vec![T::ZERO; samples.atom.len() * 3 * d];
        let mut rest = &mut out[..];
        let mut items = Vec::new();
        for c in 0..self.pairs.centers() {
            let (head, tail) = rest.split_at_mut((samples.ptr[c + 1] - samples.ptr[c]) * 3 * d);
            items.push((c, head));
            rest = tail;
        }
        each(
            usize::MAX / 2,
            items,
            || self.scratch(),
            |s, (c, out): (usize, &mut [T])| {
                if d == 0 {
                    return;
                }
                let own = self.pairs.center[c];
                self.panel(&mut s.chunk, c, &mut s.panel, None);
                let width = s.along.len();
                let mut center = vec![T::ZERO; 3 * width];
                let atoms = &samples.atom[samples.ptr[c]..samples.ptr[c + 1]];
                let (mut vector, mut tangent) = (Vec::new(), Vec::new());
                for (&atom, out) in atoms.iter().zip(out.chunks_exact_mut(3 * d)) {
                    if attached && atom == own {
                        continue;
                    }
                    for (k, out) in out.chunks_exact_mut(d).enumerate() {
                        s.along.fill(T::ZERO);
                        for a in 0..self.pairs.columns {
                            vector.clear();
                            let of = self.group(c, a, None);
                            let range = self.pairs.group_of(c, a);
                            let own_pair = of.own.map(|q| range.start + q);
                            let mut own = None;
                            for p in range.filter(|&p| self.pairs.target[p] == atom) {
                                if own_pair == Some(p) {
                                    own = Some(vector.len() / 3);
                                }
                                vector.extend_from_slice(&self.pairs.vector[3 * p..3 * p + 3]);
                            }
                            let count = vector.len() / 3;
                            if count == 0 {
                                continue;
                            }
                            vector.resize(3 * (count + PADDING), T::ZERO);
                            tangent.clear();
                            tangent.resize(vector.len(), T::ZERO);
                            tangent[..3 * count].chunks_exact_mut(3).for_each(|t| t[k] = T::ONE);
                            let group = Group { vector: &vector, tangent: Some(&tangent), count, own, ..of };
                            self.kernel().expand(&mut s.chunk, &group, &mut s.grad, Some(&mut s.along));
                        }
                        self.spectrum.sum_species(&mut s.along);
                        self.emit_along(&s.panel, &s.along, out);
                        center[k * width..(k + 1) * width].iter_mut().zip(s.along.iter()).for_each(|(x, y)| *x += -*y);
                    }
                }
                if let Some(at) = atoms.iter().position(|&a| attached && a == own) {
                    for k in 0..3 {
                        let out = &mut out[(3 * at + k) * d..(3 * at + k + 1) * d];
                        self.emit_along(&s.panel, &center[k * width..(k + 1) * width], out);
                    }
                }
            },
        );
        out
    }

    /// d row / d cell (with `strain`: d row / d strain) of the centre's frame, [C, 3, 3, D].
    pub fn cell_jacobian(&self, strain: bool) -> Vec<T> {
        let d = self.features();
        let mut out = vec![T::ZERO; self.pairs.centers() * 9 * d];
        let items = out.chunks_mut((9 * d).max(1)).enumerate().collect();
        each(
            usize::MAX / 2,
            items,
            || self.scratch(),
            |s, (c, out): (usize, &mut [T])| {
                let mut tangent = Vec::new();
                for (jk, out) in out.chunks_exact_mut(d).enumerate() {
                    let (j, k) = (jk / 3, jk % 3);
                    s.panel.fill(T::ZERO);
                    s.along.fill(T::ZERO);
                    for a in 0..self.pairs.columns {
                        let range = self.pairs.group_of(c, a);
                        tangent.clear();
                        tangent.resize(3 * (range.len() + PADDING), T::ZERO);
                        for (q, p) in range.clone().enumerate() {
                            tangent[3 * q + k] = match strain {
                                true => self.pairs.vector[3 * p + j],
                                false => T::of(f64::from(self.pairs.shift_of(p)[j])),
                            };
                        }
                        let group = Group { tangent: Some(&tangent), ..self.group(c, a, None) };
                        self.kernel().expand(&mut s.chunk, &group, &mut s.panel, Some(&mut s.along));
                    }
                    self.spectrum.sum_species(&mut s.along);
                    self.panel(&mut s.chunk, c, &mut s.panel, None);
                    self.emit_along(&s.panel, &s.along, out);
                }
            },
        );
        out
    }
}
