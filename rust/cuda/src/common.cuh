// What every kernel text starts with. The same text compiles with NVRTC for a GPU and with g++ and shim/cuda_shim.h.
// REAL, the precision, is defined in front of the text.
#pragma once
#ifdef __CUDACC__  // NVRTC defines it too
#define DYNAMIC_SHARED(T, name) extern __shared__ T name[]
// Hides a value from the compiler, which else keeps every product of it that occurs twice in a register of its own.
__device__ __forceinline__ void hide(int& x) { asm volatile("" : "+r"(x)); }
__device__ __forceinline__ void hide(float& x) { asm volatile("" : "+f"(x)); }
__device__ __forceinline__ void hide(double& x) { asm volatile("" : "+d"(x)); }
// Loads below stay below: not all of a long text at its beginning.
__device__ __forceinline__ void hold_loads() { asm volatile("" ::: "memory"); }
#else
#include "cuda_shim.h"
inline void hide(int&) {}
inline void hide(float&) {}
inline void hide(double&) {}
inline void hold_loads() {}
#endif

typedef REAL real;

// The row of this thread, in a one-dimensional grid.
#define ROW_INDEX ((long long)blockIdx.x * blockDim.x + threadIdx.x)
