// The product without weights: every path counts once, channels apart (sums over an edge list where one is given).
// One thread a (group, channel): all components of x, of y and of the result in registers, the coefficients immediates
// in the generated straight-line text. Bound by arithmetic (degree 3: 611 + 256 fma an edge and channel) where a node sums
// many edges, by memory where every edge is written.
// Generated: FROM, MY, TO, the stages (t += C y x; one where all components fit the registers, else one for four) and
// add_towards_y (y += C x g).
#include "common.cuh"
#include "coupling.cuh"

constexpr int THREADS = 128;

template <class Stage>
__device__ __forceinline__ void simple_stage(const real* x, const real* y, const int* order, const int* ends, const int* rows,
                                             real* out, int groups, int channels, int add, real* tile) {
    constexpr int ROWS = Stage::ROWS, PITCH = ROWS | 1;  // odd: no two lanes of a warp meet in a bank
    long long first = (long long)blockIdx.x * THREADS, item = first + threadIdx.x, items = (long long)groups * channels;
    if (item < items) {
        int group = (int)(item / channels), c = (int)(item % channels);
        real sum[ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; k++) sum[k] = real(0);
        int begin = ends ? ends[group] : group, end = ends ? ends[group + 1] : group + 1;
        for (int p = begin; p < end; p++) {
            int e = order ? order[p] : p;
            const real* xe = x + (long long)(rows ? rows[e] : e) * FROM * channels + c;
            const real* ye = y + (long long)e * MY;
            int pitch = channels;
            hide(pitch);  // else the addresses of all components are kept through the loop
            real xs[FROM], ys[MY];
#pragma unroll
            for (int i = 0; i < FROM; i++) xs[i] = xe[i * pitch];
#pragma unroll
            for (int j = 0; j < MY; j++) ys[j] = ye[j];
            Stage::add(xs, ys, sum);
        }
#pragma unroll
        for (int k = 0; k < ROWS; k++) tile[threadIdx.x * PITCH + k] = sum[k];
    }
    __syncthreads();
    int n = (int)min((long long)THREADS, items - first) * ROWS;
    for (int q = threadIdx.x; q < n; q += THREADS) {
        real* to = out + (first + q / ROWS) * TO + Stage::START + q % ROWS;
        *to = (add ? *to : real(0)) + tile[q / ROWS * PITCH + q % ROWS];
    }
}

// x [rows, FROM, C] with channels inside, y [E, MY] -> out [groups, C, TO], added to where add. blockIdx.y: the stage.
// order: sorted position -> edge; ends: groups of positions; rows: edge -> row of x; each null for the identity.
extern "C" __global__ void __launch_bounds__(THREADS)
    simple(const real* x, const real* y, const int* order, const int* ends, const int* rows, real* out, int groups,
           int channels, int add) {
    __shared__ real tile[THREADS * MOST_ROWS];
#define RUN(S) simple_stage<S>(x, y, order, ends, rows, out, groups, channels, add, tile);
    EACH_STAGE((int)blockIdx.y, RUN)
}

#ifndef BACK
// x [rows, FROM, C], g [groups, TO, C], both with channels inside -> out [E, MY], added to where add.
// into: edge -> group. `lanes` threads, a power of two to 32, share an edge and its channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    simple_towards_y(const real* x, const real* g, const int* order, const int* into, const int* rows, real* out, int edges,
                     int channels, int lanes, int add) {
    long long p = ROW_INDEX / lanes;
    int lane = (int)(threadIdx.x % lanes);
    bool live = p < edges;
    long long e = !live ? 0 : order ? order[p] : p;
    real sum[MY];
#pragma unroll
    for (int j = 0; j < MY; j++) sum[j] = real(0);
    if (live) {
        const real* xe = x + (rows ? (long long)rows[e] : e) * FROM * channels;
        const real* ge = g + (into ? (long long)into[e] : e) * TO * channels;
        for (int c = lane; c < channels; c += lanes) {
            real xs[FROM];
#pragma unroll
            for (int i = 0; i < FROM; i++) xs[i] = xe[i * channels + c];
            add_towards_y(xs, ge + c, channels, sum);
        }
    }
    for (int width = lanes / 2; width > 0; width /= 2)
#pragma unroll
        for (int j = 0; j < MY; j++) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], width);
#pragma unroll
    for (int j = 0; j < MY; j++)
        if (live && (j & (lanes - 1)) == lane) out[e * MY + j] = (add ? out[e * MY + j] : real(0)) + sum[j];
}
#endif
