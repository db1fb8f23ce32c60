// Runs CUDA kernel texts on a CPU, for tests: every thread of a block is a fiber, barriers and warp shuffles are exact, and a
// thread that misses a barrier is an error, not a hang. Limits: full masks, warps of 32, values up to 8 bytes in a shuffle,
// blocks one after another (a race between blocks does not show).
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __constant__ static
// Blocks run one after another, so a function-local static is one block's shared memory. It keeps the last block's
// values, as real shared memory may: the launcher fills it with nothing, a kernel must not count on zeros.
#define __shared__ static
// `extern __shared__ T name[]` has no C++ spelling: kernels write DYNAMIC_SHARED(T, name), which see in common.cuh.
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(shim::dynamic_shared.data())

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace shim {
enum State { RUNNABLE, AT_BARRIER, AT_SHUFFLE, DONE };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state;
    dim3 thread;
    double slot;  // the value this lane offers to a shuffle
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline int current;
inline dim3 block_index, block_dim, grid_dim;
inline std::function<void()> body;
inline std::vector<double> dynamic_shared;  // of doubles, for their alignment

inline Fiber& self() { return fibers[current]; }
inline void pause(State s) {
    self().state = s;
    swapcontext(&self().context, &scheduler);
}
inline void entry() {
    body();
    self().state = DONE;
    swapcontext(&self().context, &scheduler);
}
inline void fail(const char* what) {
    std::fprintf(stderr, "cuda_shim: block (%u,%u,%u): %s\n", block_index.x, block_index.y, block_index.z, what);
    std::abort();
}

// A group (a warp, or the block) goes on when each of its fibers waits for the same thing.
inline void release(size_t begin, size_t end, State waiting, const char* what) {
    size_t waits = 0, done = 0;
    for (size_t i = begin; i < end; i++) waits += fibers[i].state == waiting, done += fibers[i].state == DONE;
    if (waits == 0) return;
    if (waits + done != end - begin) return;  // someone waits elsewhere: the caller sees no progress and reports it
    if (done != 0) fail(what);
    for (size_t i = begin; i < end; i++) fibers[i].state = RUNNABLE;
}

inline void run_block(size_t n, size_t stack_bytes) {
    if (fibers.size() < n) fibers.resize(n);
    for (size_t t = 0; t < n; t++) {
        Fiber& f = fibers[t];
        if (!f.stack) f.stack.reset(new char[stack_bytes]);
        f.thread = dim3(t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y));
        f.state = RUNNABLE;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = stack_bytes;
        f.context.uc_link = &scheduler;
        makecontext(&f.context, entry, 0);
    }
    for (;;) {
        bool all_done = true;
        for (size_t t = 0; t < n; t++) {
            if (fibers[t].state == RUNNABLE) {
                current = (int)t;
                swapcontext(&scheduler, &fibers[t].context);
            }
            all_done &= fibers[t].state == DONE;
        }
        if (all_done) return;
        for (size_t w = 0; w < n; w += 32) release(w, std::min(w + 32, n), AT_SHUFFLE, "a lane left before a full-mask shuffle");
        release(0, n, AT_BARRIER, "a thread left before __syncthreads");
        bool runnable = false;
        for (size_t t = 0; t < n; t++) runnable |= fibers[t].state == RUNNABLE;
        if (!runnable) fail("threads wait at different barriers");
    }
}

template <class T>
T exchange(T value, int source_lane, bool in_range) {
    static_assert(sizeof(T) <= sizeof(double));
    std::memcpy(&self().slot, &value, sizeof(T));
    int me = current;
    pause(AT_SHUFFLE);  // every lane has now offered its value
    T out = value;
    if (in_range) std::memcpy(&out, &fibers[me / 32 * 32 + source_lane].slot, sizeof(T));
    pause(AT_SHUFFLE);  // every lane has now read, the slots may be used again
    return out;
}

template <class K, class... A>
void launch_shared(dim3 grid, dim3 block, size_t shared_bytes, K kernel, A... args) {
    grid_dim = grid;
    // NaN, not zero: a kernel that reads what it did not write shows it.
    dynamic_shared.assign((shared_bytes + 7) / 8, std::nan(""));
    block_dim = block;
    size_t n = (size_t)block.x * block.y * block.z;
    body = [=] { kernel(args...); };
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block_index = dim3(x, y, z);
                run_block(n, 64 * 1024);
            }
}
template <class K, class... A>
void launch(dim3 grid, dim3 block, K kernel, A... args) { launch_shared(grid, block, 0, kernel, args...); }
}  // namespace shim

#define threadIdx (shim::self().thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_dim)
#define gridDim (shim::grid_dim)
inline constexpr int warpSize = 32;

inline void __syncthreads() { shim::pause(shim::AT_BARRIER); }
inline void __syncwarp(unsigned = 0xffffffffu) { shim::pause(shim::AT_SHUFFLE); }
inline int shim_lane() { return shim::current % 32; }

template <class T> T __shfl_sync(unsigned, T v, int lane) { return shim::exchange(v, lane & 31, true); }
template <class T> T __shfl_down_sync(unsigned, T v, int d) { int l = shim_lane() + d; return shim::exchange(v, l, l < 32); }
template <class T> T __shfl_up_sync(unsigned, T v, int d) { int l = shim_lane() - d; return shim::exchange(v, l, l >= 0); }
template <class T> T __shfl_xor_sync(unsigned, T v, int m) { return shim::exchange(v, shim_lane() ^ m, true); }
inline unsigned __ballot_sync(unsigned, int pred) {
    unsigned out = 0;
    for (int lane = 0; lane < 32; lane++) out |= (unsigned)(shim::exchange(pred != 0, lane, true)) << lane;
    return out;
}
inline int __any_sync(unsigned m, int pred) { return __ballot_sync(m, pred) != 0; }
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p += v; return old; }
inline int atomicCAS(int* p, int expect, int v) { int old = *p; if (old == expect) *p = v; return old; }
template <class T> T __ldg(const T* p) { return *p; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
using std::sqrt; using std::exp; using std::cos; using std::sin; using std::min; using std::max;
