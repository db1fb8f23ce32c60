// The dense products with the weights W [P, C, D] (paths in the order of the op), one degree of the result a blockIdx.z:
//   mix     out[g, d, k]        = sum over (slot, c) of t[g, k, slot, c] W[path(slot), c, d]
//   spread  u[g, k, slot, c]    = sum over d of grad[g, d, k] W[path(slot), c, d]
//   outer   part[q][slot, c, d] = sum over a share q of the groups and k of t[g, k, slot, c] grad[g, d, k]
// Tiles of 128 x 32 in shared memory, read ahead by one, 8 x 4 sums a thread, all in the operands' precision (no tf32).
// Bound by arithmetic: 2 flops a (row, slot, C, D). The sum over k runs in one order: the bits do not vary.
// Generated: TO, DEGREES, SLOTS, BEFORE, FIRST_SLOT, PATH.
#include "common.cuh"
#include "coupling.cuh"

constexpr int TM = 128, TN = 32, TK = 8, THREADS = 128, PM = 8, PN = 4;

// C[m, n] = sum over k0 <= k < k1 of a(m, k) b(k, n), to emit(m, n, value). A_ALONG_K, B_ALONG_K: which index of an operand
// is the contiguous one. ROWS_FIRST: whether m is the contiguous index of the result.
template <bool A_ALONG_K, bool B_ALONG_K, bool ROWS_FIRST, class A, class B, class Emit>
__device__ __forceinline__ void multiply(int m0, int n0, int k0, int k1, const A& a, const B& b, const Emit& emit) {
    alignas(16) __shared__ real as[2][TK][TM + 4];
    alignas(16) __shared__ real bs[2][TK][TN + 4];
    const int tid = threadIdx.x, tx = tid % (TN / PN), ty = tid / (TN / PN);
    real sum[PM][PN], next_a[TM * TK / THREADS], next_b[TN * TK / THREADS];
#pragma unroll
    for (int i = 0; i < PM; i++)
#pragma unroll
        for (int j = 0; j < PN; j++) sum[i][j] = real(0);
    auto fetch = [&](int k) {
#pragma unroll
        for (int i = 0; i < TM * TK / THREADS; i++) {
            int q = tid + i * THREADS, kk = k + (A_ALONG_K ? q % TK : q / TM);
            next_a[i] = kk < k1 ? a(m0 + (A_ALONG_K ? q / TK : q % TM), kk) : real(0);
        }
#pragma unroll
        for (int i = 0; i < TN * TK / THREADS; i++) {
            int q = tid + i * THREADS, kk = k + (B_ALONG_K ? q % TK : q / TN);
            next_b[i] = kk < k1 ? b(kk, n0 + (B_ALONG_K ? q / TK : q % TN)) : real(0);
        }
    };
    auto keep = [&](int side) {
#pragma unroll
        for (int i = 0; i < TM * TK / THREADS; i++) {
            int q = tid + i * THREADS;
            as[side][A_ALONG_K ? q % TK : q / TM][A_ALONG_K ? q / TK : q % TM] = next_a[i];
        }
#pragma unroll
        for (int i = 0; i < TN * TK / THREADS; i++) {
            int q = tid + i * THREADS;
            bs[side][B_ALONG_K ? q % TK : q / TN][B_ALONG_K ? q / TK : q % TN] = next_b[i];
        }
    };
    fetch(k0);
    keep(0);
    __syncthreads();
    int side = 0;
    for (int k = k0; k < k1; k += TK) {
        bool more = k + TK < k1;
        if (more) fetch(k + TK);
#pragma unroll
        for (int kk = 0; kk < TK; kk++) {
            real va[PM], vb[PN];
#pragma unroll
            for (int i = 0; i < PM; i++) va[i] = as[side][kk][ty * PM + i];
#pragma unroll
            for (int j = 0; j < PN; j++) vb[j] = bs[side][kk][tx * PN + j];
#pragma unroll
            for (int i = 0; i < PM; i++)
#pragma unroll
                for (int j = 0; j < PN; j++) sum[i][j] += va[i] * vb[j];
        }
        side ^= 1;
        if (more) keep(side);
        __syncthreads();
    }
    if (!ROWS_FIRST) {
#pragma unroll
        for (int i = 0; i < PM; i++)
#pragma unroll
            for (int j = 0; j < PN; j++) emit(m0 + ty * PM + i, n0 + tx * PN + j, sum[i][j]);
        return;
    }
    // Turned in shared memory, a column of each thread at a time, so that lanes write along m.
    real* turned = &as[0][0][0];
    constexpr int PITCH = TM + 1, COLUMNS = TN / PN;
    static_assert(COLUMNS * PITCH <= 2 * TK * (TM + 4), "the tile holds the turned columns");
#pragma unroll
    for (int j = 0; j < PN; j++) {
#pragma unroll
        for (int i = 0; i < PM; i++) turned[tx * PITCH + ty * PM + i] = sum[i][j];
        __syncthreads();
        for (int q = tid; q < TM * COLUMNS; q += THREADS)
            emit(m0 + q % TM, n0 + q / TM * PN + j, turned[q / TM * PITCH + q % TM]);
        __syncthreads();
    }
}

// One degree: rows of a group, slots, and where its part of t (u) begins.
struct Degree {
    int l, rows, slots, start, first_slot;
    long long before;
    __device__ __forceinline__ Degree(int l) : l(l) {
        rows = 2 * l + 1, slots = SLOTS[l], start = l * l, first_slot = FIRST_SLOT[l], before = BEFORE[l];
    }
};

// t [count, k, slot, C] -> out [groups, D, TO], added to where add. w_c, w_d: strides of a path's weights over t's channels
// and over the result's.
template <bool W_ALONG_C>
__device__ __forceinline__ void mix_degree(const real* t, const real* w, real* out, int first, int count, int c, int d, int add) {
    const Degree of(DEGREES - 1 - (int)blockIdx.z);
    const int rows = count * of.rows, depth = of.slots * c, m0 = blockIdx.x * TM, n0 = blockIdx.y * TN;
    if (m0 >= rows) return;
    const real* tb = t + of.before * count * c;
    const int w_c = W_ALONG_C ? 1 : d, w_d = W_ALONG_C ? c : 1;
    multiply<true, W_ALONG_C, true>(
        m0, n0, 0, depth, [&](int m, int k) { return m < rows ? tb[(long long)m * depth + k] : real(0); },
        [&](int k, int n) {
            int slot = k / c;
            return n < d ? w[(long long)PATH[of.first_slot + slot] * c * d + (k - slot * c) * w_c + n * w_d] : real(0);
        },
        [&](int m, int n, real value) {
            if (m >= rows || n >= d) return;
            int g = m / of.rows;
            real* to = out + ((long long)(first + g) * d + n) * TO + of.start + m - g * of.rows;
            *to = (add ? *to : real(0)) + value;
        });
}
#ifndef BACK
extern "C" __global__ void __launch_bounds__(THREADS)
    mix(const real* t, const real* w, real* out, int first, int count, int c, int d, int add) {
    mix_degree<false>(t, w, out, first, count, c, d, add);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    spread(const real* grad, const real* w, real* u, int first, int count, int c, int d) {
    const Degree of(DEGREES - 1 - (int)blockIdx.z);
    const int rows = count * of.rows, width = of.slots * c, m0 = blockIdx.x * TM, n0 = blockIdx.y * TN;
    if (m0 >= rows || n0 >= width) return;
    real* ub = u + of.before * count * c;
    multiply<false, true, false>(
        m0, n0, 0, d,
        [&](int m, int k) {
            int g = m / of.rows;
            return m < rows ? grad[((long long)(first + g) * d + k) * TO + of.start + m - g * of.rows] : real(0);
        },
        [&](int k, int n) {
            int slot = n / c;
            if (n >= width) return real(0);
            return w[((long long)PATH[of.first_slot + slot] * c + n - slot * c) * d + k];
        },
        [&](int m, int n, real value) {
            if (m < rows && n < width) ub[(long long)m * width + n] = value;
        });
}

// blockIdx.z: degree and share q of `shares`; part [shares, P, C, D], the slots of a degree together.
extern "C" __global__ void __launch_bounds__(THREADS)
    outer(const real* t, const real* grad, real* part, int first, int count, int c, int d, int shares, int add) {
    const Degree of(DEGREES - 1 - (int)blockIdx.z / shares);
    const int q = blockIdx.z % shares, size = (count + shares - 1) / shares;
    const int width = of.slots * c, m0 = blockIdx.x * TM, n0 = blockIdx.y * TN;
    if (m0 >= width) return;
    const real* tb = t + of.before * count * c;
    real* to = part + ((long long)q * PATHS + of.first_slot) * c * d;
    multiply<false, true, false>(
        m0, n0, min(q * size, count) * of.rows, min((q + 1) * size, count) * of.rows,
        [&](int m, int k) { return m < width ? tb[(long long)k * width + m] : real(0); },
        [&](int k, int n) {
            int g = k / of.rows;
            return n < d ? grad[((long long)(first + g) * d + n) * TO + of.start + k - g * of.rows] : real(0);
        },
        [&](int m, int n, real value) {
            if (m >= width || n >= d) return;
            real* at = to + (long long)m * d + n;
            *at = (add ? *at : real(0)) + value;
        });
}

// out [P, C, D]: the shares added in order, slots back in the order of the paths. size = C D.
extern "C" __global__ void __launch_bounds__(THREADS) add_shares(const real* part, real* out, int shares, int size) {
    long long n = ROW_INDEX;
    if (n >= (long long)PATHS * size) return;
    real sum = real(0);
    for (int q = 0; q < shares; q++) sum += part[(long long)q * PATHS * size + n];
    out[(long long)PATH[n / size] * size + n % size] = sum;
}
#else
// The same with t's channels the last axis of W: towards x.
extern "C" __global__ void __launch_bounds__(THREADS)
    mix_back(const real* t, const real* w, real* out, int first, int count, int c, int d, int add) {
    mix_degree<true>(t, w, out, first, count, c, d, add);
}
#endif
