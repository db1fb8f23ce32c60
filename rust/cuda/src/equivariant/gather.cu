// What the weights are applied to: t[group, k, slot, c] = sum over the edges of a group of sum_ij C[i,j,k] y[e,j]
// x[row(e),i,c], a slot for each path into a degree. One thread a (group, channel) and degree: the slots of a stage are
// summed in registers over all edges, the coefficients are immediates of the generated text.
// Bound by arithmetic (degree 3: about 1,060 fma an edge and channel; x and y come from the caches).
// Generated: FROM, MY, DEGREES, SLOTS, BEFORE, one struct a stage, EACH_STAGE.
#include "common.cuh"
#include "coupling.cuh"

constexpr int THREADS = 128;

template <class Stage>
__device__ __forceinline__ void gather_stage(const real* x, const real* y, const int* order, int begin, int end,
                                             const int* rows, real* t, int channels, int add) {
    constexpr int SUMS = (2 * Stage::DEGREE + 1) * Stage::SLOTS, WIDTH = Stage::HIGH - Stage::LOW;
    real sum[SUMS];
#pragma unroll
    for (int n = 0; n < SUMS; n++) {
        int at = n / Stage::SLOTS * Stage::ALL_SLOTS + Stage::FIRST + n % Stage::SLOTS;
        sum[n] = add ? t[(long long)at * channels] : real(0);
    }
    for (int p = begin; p < end; p++) {
        int e = order ? order[p] : p;
        const real* xe = x + ((long long)(rows ? rows[e] : e) * FROM + Stage::LOW) * channels;
        const real* ye = y + (long long)e * MY;
        int pitch = channels;
        hide(pitch);  // else the addresses of all components are kept through the loop
        real xs[WIDTH], ys[MY];
#pragma unroll
        for (int i = 0; i < WIDTH; i++) xs[i] = xe[i * pitch];
#pragma unroll
        for (int j = 0; j < MY; j++) ys[j] = ye[j];
        Stage::add(xs, ys, sum);
    }
#pragma unroll
    for (int n = 0; n < SUMS; n++) {
        int at = n / Stage::SLOTS * Stage::ALL_SLOTS + Stage::FIRST + n % Stage::SLOTS;
        t[(long long)at * channels] = sum[n];
    }
}

// Groups first .. first + count; order, ends, rows as in simple.cu. blockIdx.y: the degree, the longest first.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const real* x, const real* y, const int* order, const int* ends, const int* rows, real* t, int first, int count,
           int channels, int add) {
    long long item = ROW_INDEX;
    if (item >= (long long)count * channels) return;
    int local = (int)(item / channels), c = (int)(item % channels), group = first + local;
    int begin = ends ? ends[group] : group, end = ends ? ends[group + 1] : group + 1;
#define RUN(S)                                                                                                       \
    gather_stage<S>(x + c, y, order, begin, end, rows,                                                               \
                    t + ((long long)S::BEFORE * count + (long long)local * (2 * S::DEGREE + 1) * S::ALL_SLOTS) * channels + c, \
                    channels, add);
    EACH_STAGE(DEGREES - 1 - (int)blockIdx.y, RUN)
}
