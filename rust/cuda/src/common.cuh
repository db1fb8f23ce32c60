// What every kernel text starts with. The same text compiles with NVRTC for a GPU and with g++ and shim/cuda_shim.h.
#pragma once
#ifdef __CUDACC__  // NVRTC defines it too
#define DYNAMIC_SHARED(T, name) extern __shared__ T name[]
#else
#include "cuda_shim.h"
#endif

// The row of this thread, in a one-dimensional grid.
#define ROW_INDEX ((long long)blockIdx.x * blockDim.x + threadIdx.x)
