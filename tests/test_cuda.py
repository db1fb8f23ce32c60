"""The device floor on a machine without a GPU: the probe, the compiler, and the kernels' mathematics on the CPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import valence
from valence import _native
from valence._op import REGISTRY

CUDA = Path(__file__).parent.parent / "rust" / "cuda"

SHIM_ENTRIES = """
#include "edges/length.cu"
#define RUN(NAME, N, ...) shim::launch(dim3((unsigned)((N) + 31) / 32), dim3(32), NAME, __VA_ARGS__)
extern "C" void edge_length(const double* v, double* r, long long n) { RUN(edge_length_f64, n, v, r, n); }
extern "C" void edge_length_bwd(const double* v, const double* g, double* o, long long n) {
    RUN(edge_length_bwd_f64, n, v, g, o, n);
}
extern "C" void edge_length_bwd_bwd(const double* v, const double* g, const double* w, double* a, double* b, long long n) {
    RUN(edge_length_bwd_bwd_f64, n, v, g, w, a, b, n);
}
static __global__ void misses_a_barrier() { if (threadIdx.x < 10) __syncthreads(); }
extern "C" void missed_barrier() { shim::launch(dim3(1), dim3(64), misses_a_barrier); }
"""


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory):
    """The kernel texts compiled for the CPU through the shim."""
    if shutil.which("g++") is None or not CUDA.is_dir():
        pytest.skip("the kernel texts or g++ are not here (they are in a source checkout)")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "main.cpp").write_text(SHIM_ENTRIES)
    library = folder / "shim.so"
    includes = [f"-I{CUDA / 'shim'}", f"-I{CUDA / 'src'}"]
    command = ["g++", "-O1", "-std=c++17", "-fPIC", "-shared", *includes, str(folder / "main.cpp"), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def test_the_kernels_on_the_cpu_agree_with_the_core(on_cpu, rng):
    library = ctypes.CDLL(str(on_cpu))
    vector = rng.normal(size=(70, 3))
    vector[5] = 0.0
    grad, w = rng.normal(size=70), rng.normal(size=(70, 3))
    operands = {"edge_length": [vector], "edge_length_bwd": [vector, grad], "edge_length_bwd_bwd": [vector, grad, w]}
    for op in REGISTRY["edge_length"].family():
        expected = op.kernel()(*operands[op.name])
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = [np.full(e.shape, np.nan) for e in expected]
        addresses = [ctypes.c_void_p(a.ctypes.data) for a in (*operands[op.name], *found)]
        getattr(library, op.name)(*addresses, ctypes.c_longlong(70))
        for f, e in zip(found, expected):
            np.testing.assert_allclose(f, e, rtol=1e-14, atol=1e-15)


def test_a_thread_that_misses_a_barrier_is_caught(on_cpu):
    program = f"import ctypes; ctypes.CDLL({str(on_cpu)!r}).missed_barrier()"
    done = subprocess.run(["python3", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "a thread left before __syncthreads" in done.stderr


def test_every_kernel_compiles_for_every_architecture():
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed (extra `cuda`)")
    sizes = valence.cuda.compile_all()
    assert len(sizes) == len(_native.cuda_sources()) * len(valence.cuda.ARCHITECTURES)
    assert all(size > 1000 for size in sizes.values())


def test_a_kernel_that_does_not_compile_shows_the_compilers_log():
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed (extra `cuda`)")
    valence.cuda._load_nvrtc()
    with pytest.raises(RuntimeError, match=r'kernel "bad.cu" for sm_90.*\n[^$]*undefined_name'):
        _native.cuda_cubin("__global__ void f() { undefined_name(); }", "bad.cu", "sm_90", [])
    with pytest.raises(ValueError, match=r"^`arch` must be a real architecture"):
        _native.cuda_cubin("__global__ void f() {}", "f.cu", "compute_90", [])


def test_the_probe_says_why_there_is_no_gpu():
    why = valence.cuda.why_not()
    assert valence.cuda.is_available() is (why is None)
    assert (why is None) == (len(valence.cuda.devices()) > 0)
