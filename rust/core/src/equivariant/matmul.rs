//! The dense product of strided matrices, on one thread.

use gemm::Parallelism;

use crate::basis::lanes::Simd;

/// [rows, columns] with a step for each, from the first value of `data` on.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    shape: [usize; 2],
    steps: [usize; 2],
}

pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    shape: [usize; 2],
    steps: [usize; 2],
}

fn check(len: usize, shape: [usize; 2], steps: [usize; 2]) {
    let empty = shape.contains(&0);
    assert!(empty || (shape[0] - 1) * steps[0] + (shape[1] - 1) * steps[1] < len, "a matrix leaves its memory");
}

impl<'a, T> Matrix<'a, T> {
    /// # Panics
    /// If the last value lies outside of `data`.
    pub fn new(data: &'a [T], shape: [usize; 2], steps: [usize; 2]) -> Self {
        check(data.len(), shape, steps);
        Matrix { data, shape, steps }
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// # Panics
    /// If the last value lies outside of `data`, or two values in one place.
    pub fn new(data: &'a mut [T], shape: [usize; 2], steps: [usize; 2]) -> Self {
        check(data.len(), shape, steps);
        let inner = if steps[0] < steps[1] { 0 } else { 1 };
        let [few, step] = [shape[inner], steps[inner]];
        let apart = few <= 1 || (step > 0 && ((few - 1) * step < steps[1 - inner] || shape[1 - inner] <= 1));
        assert!(shape.contains(&0) || apart, "two values of a result in one place");
        MatrixMut { data, shape, steps }
    }
}

/// out += factor left right.
pub fn matmul<T: Simd>(factor: T, left: Matrix<T>, right: Matrix<T>, out: MatrixMut<T>) {
    let ([m, k], [k2, n]) = (left.shape, right.shape);
    assert!(k == k2 && out.shape == [m, n], "shapes of a product do not fit");
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let [lr, lc] = left.steps.map(|s| s as isize);
    let [rr, rc] = right.steps.map(|s| s as isize);
    let [or, oc] = out.steps.map(|s| s as isize);
    // SAFETY: each matrix was checked to lie within its slice, the result's values apart from each other; a `&mut` slice is
    // apart from both inputs.
    unsafe {
        let (dst, lhs, rhs) = (out.data.as_mut_ptr(), left.data.as_ptr(), right.data.as_ptr());
        let par = Parallelism::None;
        gemm::gemm(m, n, k, dst, oc, or, true, lhs, lc, lr, rhs, rc, rr, T::ONE, factor, false, false, false, par);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_products_are_sums() {
        let (a, b): (Vec<f64>, Vec<f64>) =
            ((0..24).map(f64::from).collect(), (0..24).map(|i| f64::from(i) * 0.5).collect());
        let mut out = vec![1.0; 12];
        // a[i, k] at 4 i + 2 k, b[k, j] at k + 3 j, out[i, j] at 3 i + j
        let left = Matrix::new(&a, [3, 2], [4, 2]);
        matmul(2.0, left, Matrix::new(&b, [2, 3], [1, 3]), MatrixMut::new(&mut out, [3, 3], [3, 1]));
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = (0..2).map(|k| a[4 * i + 2 * k] * b[k + 3 * j]).sum();
                assert_eq!(out[3 * i + j], 1.0 + 2.0 * sum);
            }
        }
    }

    #[test]
    fn empty_matrices_are_no_error() {
        let (left, right) = (Matrix::new(&[0.0; 6], [3, 2], [2, 1]), Matrix::new(&[], [2, 0], [0, 1]));
        matmul(1.0, left, right, MatrixMut::new(&mut [], [3, 0], [0, 1]));
    }

    #[test]
    #[should_panic(expected = "two values of a result in one place")]
    fn results_do_not_overlap() {
        MatrixMut::new(&mut [0.0; 9], [2, 2], [1, 1]);
    }
}
