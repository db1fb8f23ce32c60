// Edge length r = |v|, its vjp and its second vjp: the text of rust/core/src/edges/length.rs, one thread an edge.
// Bound by memory: 4 values moved an edge forward, 7 and 11 in the derivatives.
#include "common.cuh"

template <typename T>
__device__ __forceinline__ T norm3(const T* v) {
    return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

// vector [n, 3] -> length [n]
template <typename T>
__device__ void edge_length_body(const T* vector, T* length, long long n) {
    long long e = ROW_INDEX;
    if (e < n) length[e] = norm3(vector + 3 * e);
}

// grad_vector = g v / r, zero by definition where r = 0
template <typename T>
__device__ void edge_length_bwd_body(const T* vector, const T* grad_length, T* grad_vector, long long n) {
    long long e = ROW_INDEX;
    if (e >= n) return;
    const T* v = vector + 3 * e;
    T r = norm3(v);
    T s = r == T(0) ? T(0) : grad_length[e] / r;
    for (int k = 0; k < 3; k++) grad_vector[3 * e + k] = s * v[k];
}

// cotangents of the vjp's operands, for w the cotangent of its result: (g / r) (w - u (w . u)) and w . u
template <typename T>
__device__ void edge_length_bwd_bwd_body(const T* vector, const T* grad_length, const T* w, T* out_vector, T* out_grad,
                                         long long n) {
    long long e = ROW_INDEX;
    if (e >= n) return;
    const T* v = vector + 3 * e;
    const T* h = w + 3 * e;
    T r2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2], r = sqrt(r2);
    T along = v[0] * h[0] + v[1] * h[1] + v[2] * h[2];
    bool at_zero = r2 == T(0);
    out_grad[e] = at_zero ? T(0) : along / r;
    for (int k = 0; k < 3; k++)
        out_vector[3 * e + k] = at_zero ? T(0) : grad_length[e] / r * (h[k] - v[k] * (along / r2));
}

#define ENTRIES(T, SUFFIX)                                                                                        \
    extern "C" __global__ void edge_length_##SUFFIX(const T* v, T* r, long long n) { edge_length_body(v, r, n); } \
    extern "C" __global__ void edge_length_bwd_##SUFFIX(const T* v, const T* g, T* gv, long long n) {             \
        edge_length_bwd_body(v, g, gv, n);                                                                        \
    }                                                                                                             \
    extern "C" __global__ void edge_length_bwd_bwd_##SUFFIX(const T* v, const T* g, const T* w, T* ov, T* og,     \
                                                            long long n) {                                        \
        edge_length_bwd_bwd_body(v, g, w, ov, og, n);                                                             \
    }
ENTRIES(float, f32)
ENTRIES(double, f64)
