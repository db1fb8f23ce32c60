"""The GPU plans of every op carried out on the CPU, launch by launch, against the core: forward and both derivatives."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys

import numpy as np
import pytest
import valence
from cuda_cases import graph, operands, products, vectors
from shim import SHIM, Shim
from valence import _native
from valence._op import REGISTRY

SMALL = 1 << 13  # bytes of scratch: several parts of the groups


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The kernel texts compiled for the CPU."""
    if shutil.which("g++") is None or not SHIM.is_dir():
        pytest.skip("the kernel texts or g++ are not here (they are in a source checkout)")
    return Shim(tmp_path_factory.mktemp("shim"))


def check(shim, name, given, rng, dtype, budget=64 << 20, **parameters):
    """Every order of the op, on the plan's launches and on the core; the gap in units of the largest value."""
    root = REGISTRY[name]
    static = root.encode(**parameters)
    tolerance = 1e-13 if dtype is np.float64 else 2e-5
    for op in root.family():
        arrays = operands(op, static, given, rng, dtype)
        expected = op.kernel(static)(*arrays)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = shim.run(op, static, arrays, budget)
        assert len(found) == len(expected)
        for place, (f, e) in enumerate(zip(found, expected)):
            assert f.dtype == e.dtype == dtype
            gap = np.max(np.abs(f - e), initial=0.0) / (1 + np.max(np.abs(e), initial=0.0))
            assert gap < tolerance, f"{op.name}, result {place}: {gap}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 70, 300])
def test_edge_lengths_agree(shim, rng, dtype, rows):
    check(shim, "edge_length", vectors(rng, rows), rng, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("lmax", [0, 1, 2, 3, 4, 6, 8])
def test_harmonics_agree(shim, rng, dtype, normalize, lmax):
    check(shim, "spherical_harmonics", vectors(rng, 130), rng, dtype, lmax=lmax, normalize=normalize)


@pytest.mark.parametrize("rows", [0, 1, 128])
def test_harmonics_of_other_axes_and_normalisations_agree(shim, rng, rows):
    for normalization in ("norm", "integral"):
        parameters = {"lmax": 3, "normalization": normalization, "polar_axis": "z"}
        check(shim, "spherical_harmonics", vectors(rng, rows), rng, np.float64, **parameters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmax", [0, 1, 2, 3, 4])
def test_products_without_weights_agree(shim, rng, dtype, lmax):
    for rows, channels in ((9, 1), (5, 33)) if lmax != 2 else ((130, 3),):
        given = products(rng, rows, [lmax] * 3, channels, 1)
        check(shim, "tensor_product_simple", given, rng, dtype, lmax=lmax)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmax, c, d", [((0, 0, 0), 3, 2), ((2, 1, 1), 5, 3), ((1, 2, 3), 1, 40), ((3, 3, 3), 33, 35)])
def test_weighted_products_agree(shim, rng, dtype, lmax, c, d):
    parameters = dict(zip(("lmax1", "lmax2", "lmax_out"), lmax))
    budget = SMALL if lmax == (2, 1, 1) else 64 << 20
    check(shim, "tensor_product", products(rng, 9, lmax, c, d), rng, dtype, budget, **parameters)


def test_degrees_of_the_result_that_no_path_leads_to_are_zero(shim, rng):
    op = REGISTRY["tensor_product"]
    static = op.encode(lmax1=0, lmax2=0, lmax_out=2)
    given = operands(op, static, products(rng, 3, (0, 0, 2), 2, 3), rng, np.float64)
    (found,) = shim.run(op, static, given)
    assert op.reference is not None
    np.testing.assert_allclose(found, op.reference(*given, lmax1=0, lmax2=0, lmax_out=2), rtol=1e-13)
    assert (found[:, :, 1:] == 0).all()


def test_weighted_products_of_degree_4_agree(shim, rng):
    given = products(rng, 5, (4, 4, 4), 3, 2)
    check(shim, "tensor_product", given, rng, np.float64, lmax1=4, lmax2=4, lmax_out=4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmax, c, d", [(1, 3, 5), (3, 34, 2)])
def test_products_over_edges_agree(shim, rng, dtype, lmax, c, d):
    given = graph(rng, 40, 6, 8, lmax, c, d)
    check(shim, "fused_sh_tp_simple", given, rng, dtype, lmax=lmax)
    check(shim, "fused_sh_tp_scatter", given, rng, dtype, n_nodes=8, lmax=lmax)
    check(shim, "fused_message_passing", given, rng, dtype, n_nodes=8, lmax=lmax)
    check(shim, "fused_message_passing", given, rng, dtype, SMALL, n_nodes=8, lmax=lmax)


@pytest.mark.parametrize("edges, channels", [(0, 3), (5, 0)])
def test_products_of_nothing_are_zeros(shim, rng, edges, channels):
    given = graph(rng, edges, 4, 5, 1, channels, 2)
    for name in ("fused_sh_tp_scatter", "fused_message_passing"):
        check(shim, name, given, rng, np.float64, n_nodes=5, lmax=1)
    given = products(rng, 0, (1, 1, 1), channels, 2)
    check(shim, "tensor_product", given, rng, np.float64, lmax1=1, lmax2=1, lmax_out=1)


def test_two_runs_give_the_same_bits(shim, rng):
    op = REGISTRY["fused_message_passing"].bwd
    assert op is not None
    static = op.encode(n_nodes=8, lmax=1)
    arrays = operands(op, static, graph(rng, 40, 6, 8, 1, 3, 5), rng, np.float32)
    first, second = shim.run(op, static, arrays), shim.run(op, static, arrays)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))


def test_every_op_with_kernels_is_compared_here():
    import inspect

    text = inspect.getsource(sys.modules[__name__])
    assert all(f'"{family}"' in text for family in _native.cuda_families())
    assert all(valence.cuda.has_kernels(REGISTRY[family]) for family in _native.cuda_families())


def test_a_thread_that_misses_a_barrier_is_caught(shim):
    text = (
        '#include "cuda_shim.h"\n'
        "__global__ void misses_a_barrier() { if (threadIdx.x < 10) __syncthreads(); }\n"
        'extern "C" void missed_barrier() { shim::launch(dim3(1), dim3(64), misses_a_barrier); }\n'
    )
    library = shim.compile(text)
    assert ctypes.CDLL(str(library)) is not None
    program = f"import ctypes; ctypes.CDLL({str(library)!r}).missed_barrier()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "a thread left before __syncthreads" in done.stderr
