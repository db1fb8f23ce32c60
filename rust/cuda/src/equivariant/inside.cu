// Channels inside: x [n, C, M] -> out [n, M, C], so that the lanes of a warp, each a channel, read neighbouring addresses.
// One block a row and 32 channels. Bound by memory: each value read and written once.
#include "common.cuh"

constexpr int THREADS = 128, LARGEST = 49;

extern "C" __global__ void __launch_bounds__(THREADS) inside(const real* x, real* out, int channels, int m) {
    __shared__ real tile[32 * LARGEST];
    const int c0 = blockIdx.y * 32, count = min(32, channels - c0), pitch = m | 1;
    const real* from = x + ((long long)blockIdx.x * channels + c0) * m;
    for (int q = threadIdx.x; q < count * m; q += THREADS) tile[q / m * pitch + q % m] = from[q];
    __syncthreads();
    real* to = out + (long long)blockIdx.x * m * channels + c0;
    for (int q = threadIdx.x; q < 32 * m; q += THREADS)
        if (q % 32 < count) to[q / 32 * channels + q % 32] = tile[q % 32 * pitch + q / 32];
}
