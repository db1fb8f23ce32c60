// Results of a call without rows or channels: every sum is empty.
#include "common.cuh"

extern "C" __global__ void zero(real* out, int n) {
    long long i = ROW_INDEX;
    if (i < n) out[i] = real(0);
}
