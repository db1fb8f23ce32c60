// Towards y behind the weights: y[e, j] = sum over (slot, k, i, c) of C[i,j,k] x[row(e),i,c] u[group,k,slot,c], with u the
// product of the gradient with the weights. Up to 32 lanes share an edge, each has channels of its own; x and y stay in
// registers, u is read once an edge and served by L1, as the edges of a group follow each other.
// Bound by arithmetic (degree 3: about 1,060 fma an edge and channel).
// Generated: FROM, MY, reduce_all (y += C x u over all paths).
#include "common.cuh"
#include "coupling.cuh"

constexpr int THREADS = 128;

// Arguments as in simple_towards_y; groups first .. first + count are in u.
extern "C" __global__ void __launch_bounds__(THREADS)
    reduce(const real* x, const real* u, const int* order, const int* into, const int* rows, real* out, int first, int count,
           int edges, int channels, int lanes, int add) {
    long long p = ROW_INDEX / lanes;
    int lane = (int)(threadIdx.x % lanes);
    bool live = p < edges;
    long long e = !live ? 0 : order ? order[p] : p;
    long long local = (into ? (long long)into[e] : e) - first;
    live = live && local >= 0 && local < count;
    real sum[MY];
#pragma unroll
    for (int j = 0; j < MY; j++) sum[j] = real(0);
    if (live) {
        const real* xe = x + (rows ? (long long)rows[e] : e) * FROM * channels;
        for (int c = lane; c < channels; c += lanes) {
            real xs[FROM];
#pragma unroll
            for (int i = 0; i < FROM; i++) xs[i] = xe[i * channels + c];
            reduce_all(xs, u + c, local, (long long)count, channels, sum);
        }
    }
    for (int width = lanes / 2; width > 0; width /= 2)
#pragma unroll
        for (int j = 0; j < MY; j++) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], width);
#pragma unroll
    for (int j = 0; j < MY; j++)
        if (live && (j & (lanes - 1)) == lane) out[e * MY + j] = (add ? out[e * MY + j] : real(0)) + sum[j];
}
