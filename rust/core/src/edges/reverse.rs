//! The reverse of each edge: the number of (j, i, -S) for edge (i, j, S).

use crate::error::Result;

use super::memory::Buffer;

/// `reverse[e]`, or -1 where the list does not have the reverse (a half list, a k-nearest list). Edges are sorted by
/// (source, target, shift).
///
/// A stable counting sort by target lists the incoming edges of each atom by (source, shift ascending); the atom's own
/// row has the same pairs by (target, shift), where the shifts are the negatives and so run the other way: the two are
/// merged from opposite ends of each group.
pub fn reverse(source: &[i32], target: &[i32], shift: &[i32], row_ptr: &[i64]) -> Result<Buffer<i64>> {
    let (n, e) = (row_ptr.len() - 1, source.len());
    let mut start = vec![0usize; n + 1];
    for &t in target {
        start[t as usize + 1] += 1;
    }
    for i in 0..n {
        start[i + 1] += start[i];
    }
    let (mut next, mut incoming) = (start.clone(), vec![0u32; e]);
    for (k, &t) in target.iter().enumerate() {
        incoming[next[t as usize]] = k as u32;
        next[t as usize] += 1;
    }
    let shift = |k: usize| [shift[3 * k], shift[3 * k + 1], shift[3 * k + 2]];
    let mut out = Buffer::with_room(e)?;
    let at: *mut i64 = out.as_mut_ptr();
    // SAFETY: room for e values, all written here before the slice is made.
    let rev = unsafe {
        for k in 0..e {
            at.add(k).write(-1);
        }
        out.set_len(e);
        &mut out[..]
    };
    for j in 0..n {
        let (mut k, end) = (row_ptr[j] as usize, row_ptr[j + 1] as usize);
        let mut q = start[j];
        while k < end && q < start[j + 1] {
            let (row, column) = (target[k], source[incoming[q] as usize]);
            if row != column {
                if row < column {
                    k += 1
                } else {
                    q += 1
                }
                continue;
            }
            let last = k + target[k..end].iter().take_while(|&&t| t == row).count();
            let group = incoming[q..start[j + 1]].iter().take_while(|&&p| source[p as usize] == row).count();
            // Own shifts from the last down, incoming ones from the first up: both ascend in -S.
            let (mut own, mut other) = (last, q);
            while own > k && other < q + group {
                let p = incoming[other] as usize;
                match shift(own - 1).map(|s| -s).cmp(&shift(p)) {
                    std::cmp::Ordering::Equal => {
                        rev[own - 1] = p as i64;
                        own -= 1;
                        other += 1;
                    }
                    std::cmp::Ordering::Less => own -= 1,
                    std::cmp::Ordering::Greater => other += 1,
                }
            }
            (k, q) = (last, q + group);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_atom_reverse_each_other() {
        let shift = [-1, 0, 0, 0, 0, -2, 0, 0, 2, 1, 0, 0];
        let rev = reverse(&[0; 4], &[0; 4], &shift, &[0, 4]).unwrap();
        assert_eq!(rev[..], [3, 2, 1, 0]);
    }

    #[test]
    fn a_missing_reverse_is_minus_one() {
        let rev = reverse(&[0, 0, 1], &[1, 2, 0], &[0; 9], &[0, 2, 3, 3]).unwrap();
        assert_eq!(rev[..], [2, -1, 0]);
    }
}
