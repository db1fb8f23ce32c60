// Edge length r = |v|, its vjp and its second vjp: the text of rust/core/src/edges/length.rs, one thread an edge.
// Bound by memory: 4 values moved an edge forward, 7 and 11 in the derivatives.
#include "common.cuh"

__device__ __forceinline__ real squared(const real* v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }

// vector [n, 3] -> length [n]
extern "C" __global__ void edge_length(const real* vector, real* length, int n) {
    long long e = ROW_INDEX;
    if (e < n) length[e] = sqrt(squared(vector + 3 * e));
}

// grad_vector = g v / r, zero by definition where r = 0
extern "C" __global__ void edge_length_bwd(const real* vector, const real* grad_length, real* grad_vector, int n) {
    long long e = ROW_INDEX;
    if (e >= n) return;
    const real* v = vector + 3 * e;
    real r = sqrt(squared(v));
    real s = r == real(0) ? real(0) : grad_length[e] / r;
    for (int k = 0; k < 3; k++) grad_vector[3 * e + k] = s * v[k];
}

// cotangents of the vjp's operands, for w the cotangent of its result: (g / r) (w - u (w . u)) and w . u
extern "C" __global__ void edge_length_bwd_bwd(const real* vector, const real* grad_length, const real* w, real* out_vector,
                                               real* out_grad, int n) {
    long long e = ROW_INDEX;
    if (e >= n) return;
    const real* v = vector + 3 * e;
    const real* h = w + 3 * e;
    real r2 = squared(v), r = sqrt(r2);
    real along = v[0] * h[0] + v[1] * h[1] + v[2] * h[2];
    bool at_zero = r2 == real(0);
    out_grad[e] = at_zero ? real(0) : along / r;
    for (int k = 0; k < 3; k++)
        out_vector[3 * e + k] = at_zero ? real(0) : grad_length[e] / r * (h[k] - v[k] * (along / r2));
}
