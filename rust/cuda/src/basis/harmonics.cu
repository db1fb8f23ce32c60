// Real spherical harmonics of any degree, their vjp and its vjp: the recursions of rust/core/src/basis/harmonics_body.rs,
// one thread a vector, column by column in m, so that a thread keeps two terms of a column and no array, whatever the
// degree. Second derivatives are the same text over dual numbers.
// Bound by memory to degree 3 (3 values read, M written a row), by arithmetic in the derivatives above.
// LMAX, NORMALIZE, POLAR_Y and the constants START, ALONG, BACK, DZ, DR stand in the generated table.
#include "common.cuh"
#include "harmonics_table.cuh"

constexpr int M = (LMAX + 1) * (LMAX + 1);
// Loops are written out to degree 6: all constants become immediates. Rows then go through shared memory, so that
// neighbouring threads touch neighbouring addresses.
#if LMAX <= 6
#define EACH _Pragma("unroll")
#define STAGED 1
#else
#define EACH _Pragma("unroll 1")
#define STAGED 0
#endif
constexpr int THREADS = STAGED && LMAX > 3 ? 64 : 128;
constexpr int PITCH = M | 1;  // odd: no two lanes of a warp meet in a bank

// A value with its derivative along one direction.
struct Dual {
    real v, d;
};
__device__ __forceinline__ Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
__device__ __forceinline__ Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
__device__ __forceinline__ Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
__device__ __forceinline__ Dual operator*(real a, Dual b) { return {a * b.v, a * b.d}; }

template <class V> __device__ __forceinline__ V constant(real x);
template <> __device__ __forceinline__ real constant<real>(real x) { return x; }
template <> __device__ __forceinline__ Dual constant<Dual>(real x) { return {x, real(0)}; }
// What a kernel returns of a number: the value, or the derivative.
__device__ __forceinline__ real result(real x) { return x; }
__device__ __forceinline__ real result(Dual x) { return x.d; }

// 1 / sqrt(r2), and 0 for a vector without length.
__device__ __forceinline__ real inverse_root(real r2) { return r2 < real(1e-24) ? real(0) : real(1) / sqrt(r2); }
__device__ __forceinline__ Dual inverse_root(Dual r2) {
    real i = inverse_root(r2.v);
    return {i, real(-0.5) * i * i * i * r2.d};
}

__device__ __forceinline__ constexpr int pair_of(int l, int m) { return l * (l + 1) / 2 + m; }

// q_l^m of one m for l = m, m + 1, ...: Y_{l,m} = q_l^m c_m, Y_{l,-m} = q_l^m s_m.
template <class V>
struct Column {
    V last, before;
    __device__ __forceinline__ void start(int m) { last = constant<V>(START[m]), before = constant<V>(0); }
    __device__ __forceinline__ void step(int l, int m, V z, V r2) {
        V next = (ALONG[pair_of(l, m)] * z) * last;
        if (l > m + 1) next = next - BACK[pair_of(l, m)] * (before * r2);
        before = last, last = next;
    }
};

// Textbook frame (X, Y, Z), polar axis Z.
template <class V>
struct Point {
    V x, y, z, r2;
    __device__ __forceinline__ Point(const V* v) {
        x = POLAR_Y ? v[2] : v[0], y = POLAR_Y ? v[0] : v[1], z = POLAR_Y ? v[1] : v[2];
        r2 = NORMALIZE ? constant<V>(1) : x * x + y * y + z * z;
    }
    __device__ __forceinline__ void turn(int m, V& c, V& s) const {
        V next = m == 1 ? x : x * c - y * s;
        s = m == 1 ? y : x * s + y * c;
        c = next;
    }
};

template <class V>
__device__ __forceinline__ void values(const Point<V>& p, real* out) {
    V c = constant<V>(1), s = constant<V>(0);
    EACH for (int m = 0; m <= LMAX; m++) {
        if (m > 0) p.turn(m, c, s);
        Column<V> q;
        q.start(m);
        EACH for (int l = m; l <= LMAX; l++) {
            if (l > m) q.step(l, m, p.z, p.r2);
            int at = l * l + l;
            if (m == 0) {
                out[at] = result(q.last);
            } else {
                out[at + m] = result(q.last * c);
                out[at - m] = result(q.last * s);
            }
        }
    }
}

// sum_lm g_lm dY_lm/dv, in the caller's axes. Column m + 1 runs along one degree behind column m.
template <class V>
__device__ __forceinline__ void gradient(const Point<V>& p, const real* g, V* out) {
    const V zero = constant<V>(0);
    V gx = zero, gy = zero, gz = zero, radial = zero, c = constant<V>(1), s = zero, c0 = zero, s0 = zero;
    EACH for (int m = 0; m <= LMAX; m++) {
        if (m > 0) {
            c0 = c, s0 = s;
            p.turn(m, c, s);
        }
        Column<V> q, up;
        q.start(m);
        up.start(m < LMAX ? m + 1 : m);
        V along_c = zero, along_s = zero;
        EACH for (int l = m; l <= LMAX; l++) {
            int at = l * l + l;
            V below = q.last;
            if (l > m) q.step(l, m, p.z, p.r2);
            if (l > m + 2) up.step(l - 1, m + 1, p.z, p.r2);
            V turned = g[at + m] * c;
            if (m > 0) {
                turned = turned + g[at - m] * s;
                along_c = along_c + g[at + m] * q.last;
                along_s = along_s + g[at - m] * q.last;
            }
            if (l > m) gz = gz + turned * (DZ[pair_of(l, m)] * below);
            if (l > m + 1) radial = radial + turned * (DR[pair_of(l, m)] * up.last);
        }
        if (m > 0) {
            gx = gx + real(m) * (along_c * c0 + along_s * s0);
            gy = gy + real(m) * (along_s * c0 - along_c * s0);
        }
    }
    gx = gx - p.x * radial, gy = gy - p.y * radial;
    out[0] = POLAR_Y ? gy : gx, out[1] = POLAR_Y ? gz : gy, out[2] = POLAR_Y ? gx : gz;
}

// The same behind u = v / r: the gradient is projected on the plane across u.
template <class V>
__device__ __forceinline__ V to_unit(V* v) {
    V inverse = inverse_root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    for (int k = 0; k < 3; k++) v[k] = v[k] * inverse;
    return inverse;
}
template <class V>
__device__ __forceinline__ void full_gradient(V* v, const real* g, V* out) {
    V inverse = constant<V>(1);
    if (NORMALIZE) inverse = to_unit(v);
    gradient(Point<V>(v), g, out);
    if (!NORMALIZE) return;
    V along = out[0] * v[0] + out[1] * v[1] + out[2] * v[2];
    for (int k = 0; k < 3; k++) out[k] = (out[k] - v[k] * along) * inverse;
}

// Rows of M values between memory and the block's tile, all threads together.
__device__ __forceinline__ void store_rows(const real* tile, real* out, long long first, int rows) {
    __syncthreads();
    int n = (int)min((long long)THREADS, rows - first) * M;
    for (int q = threadIdx.x; q < n; q += THREADS) out[first * M + q] = tile[q / M * PITCH + q % M];
}
__device__ __forceinline__ void load_rows(real* tile, const real* in, long long first, int rows) {
    int n = (int)min((long long)THREADS, rows - first) * M;
    for (int q = threadIdx.x; q < n; q += THREADS) tile[q / M * PITCH + q % M] = in[first * M + q];
    __syncthreads();
}

// vector [E, 3] -> out [E, M]
extern "C" __global__ void __launch_bounds__(THREADS) harmonics(const real* vector, real* out, int rows) {
    __shared__ real tile[STAGED ? THREADS * PITCH : 1];
    long long first = (long long)blockIdx.x * THREADS, e = first + threadIdx.x;
    if (e < rows) {
        real v[3] = {vector[3 * e], vector[3 * e + 1], vector[3 * e + 2]};
        real* row = STAGED ? tile + threadIdx.x * PITCH : out + e * M;
        bool no_direction = NORMALIZE && to_unit(v) == real(0);
        values(Point<real>(v), row);
        if (no_direction)
            for (int k = 0; k < M; k++) row[k] = k == 0 ? START[0] : real(0);
    }
    if (STAGED) store_rows(tile, out, first, rows);
}

// vector [E, 3], grad [E, M] -> out [E, 3], added to where add
extern "C" __global__ void __launch_bounds__(THREADS)
    harmonics_bwd(const real* vector, const real* grad, real* out, int rows, int add) {
    __shared__ real tile[STAGED ? THREADS * PITCH : 1];
    long long first = (long long)blockIdx.x * THREADS, e = first + threadIdx.x;
    if (STAGED) load_rows(tile, grad, first, rows);
    if (e >= rows) return;
    real v[3] = {vector[3 * e], vector[3 * e + 1], vector[3 * e + 2]}, g[3];
    full_gradient(v, STAGED ? tile + threadIdx.x * PITCH : grad + e * M, g);
    for (int k = 0; k < 3; k++) out[3 * e + k] = (add ? out[3 * e + k] : real(0)) + g[k];
}

// Along h [E, 3]: the derivatives of the vjp [E, 3] and of the harmonics [E, M].
extern "C" __global__ void __launch_bounds__(THREADS)
    harmonics_bwd_bwd(const real* vector, const real* grad, const real* h, real* out_vector, real* out_grad, int rows) {
    __shared__ real tile[STAGED ? THREADS * PITCH : 1];
    long long first = (long long)blockIdx.x * THREADS, e = first + threadIdx.x;
    if (STAGED) load_rows(tile, grad, first, rows);
    if (e < rows) {
        Dual start[3], v[3], g[3];
        for (int k = 0; k < 3; k++) start[k] = v[k] = {vector[3 * e + k], h[3 * e + k]};
        full_gradient(v, STAGED ? tile + threadIdx.x * PITCH : grad + e * M, g);
        for (int k = 0; k < 3; k++) out_vector[3 * e + k] = result(g[k]);
        if (NORMALIZE) to_unit(start);
        // A thread's row of the tile is its own: it has read the gradient and now holds the result.
        values(Point<Dual>(start), STAGED ? tile + threadIdx.x * PITCH : out_grad + e * M);
    }
    if (STAGED) store_rows(tile, out_grad, first, rows);
}
