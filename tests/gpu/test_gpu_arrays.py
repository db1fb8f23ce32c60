"""NumPy arrays on a GPU against the core: every op with kernels, forward and both derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import valence
from cuda_cases import graph, operands, products, vectors
from valence._op import REGISTRY


def check(name, given, rng, dtype, **parameters):
    root = REGISTRY[name]
    static = root.encode(**parameters)
    tolerance = 1e-12 if dtype is np.float64 else 5e-5
    for op in root.family():
        arrays = operands(op, static, given, rng, dtype)
        expected = op.kernel(static)(*arrays)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = valence.cuda.run_arrays(op, static, arrays, "cuda")
        again = valence.cuda.run_arrays(op, static, arrays, "cuda:0")
        found, again = (r if isinstance(r, tuple) else (r,) for r in (found, again))
        for f, a, e in zip(found, again, expected):
            gap = np.max(np.abs(f - e), initial=0.0) / (1 + np.max(np.abs(e), initial=0.0))
            assert f.dtype == dtype and gap < tolerance, f"{op.name}: {gap}"
            assert np.array_equal(f, a), f"{op.name}: other bits in a second run"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_harmonics_and_lengths_on_a_gpu_agree_with_the_core(rng, dtype):
    for rows in (0, 1, 1000):
        check("edge_length", vectors(rng, rows), rng, dtype)
        for lmax in (0, 1, 2, 3, 4, 6, 10):
            check("spherical_harmonics", vectors(rng, rows), rng, dtype, lmax=lmax)
    check("spherical_harmonics", vectors(rng, 300), rng, dtype, lmax=3, normalize=False, polar_axis="z")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, c, d", [(0, 3, 2), (7, 1, 1), (500, 32, 32), (300, 33, 40)])
def test_products_on_a_gpu_agree_with_the_core(rng, dtype, rows, c, d):
    for l in (1, 3):
        given = products(rng, rows, [l] * 3, c, d)
        check("tensor_product_simple", given, rng, dtype, lmax=l)
        check("tensor_product", given, rng, dtype, lmax1=l, lmax2=l, lmax_out=l)
    check("tensor_product", products(rng, rows, (1, 2, 3), c, d), rng, dtype, lmax1=1, lmax2=2, lmax_out=3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edges, c, d", [(0, 3, 2), (40, 3, 5), (3000, 64, 32)])
def test_products_over_edges_on_a_gpu_agree_with_the_core(rng, dtype, edges, c, d):
    given = graph(rng, edges, 60, 80, 3, c, d)
    check("fused_sh_tp_simple", given, rng, dtype, lmax=3)
    check("fused_sh_tp_scatter", given, rng, dtype, n_nodes=80, lmax=3)
    check("fused_message_passing", given, rng, dtype, n_nodes=80, lmax=3)


def test_degree_4_on_a_gpu_agrees_with_the_core(rng):
    check("tensor_product", products(rng, 50, (4, 4, 4), 8, 8), rng, np.float64, lmax1=4, lmax2=4, lmax_out=4)


def test_public_functions_take_a_device(rng):
    given = graph(rng, 40, 6, 8, 3, 4, 4)
    here = valence.spherical_harmonics(given["vectors"], 3)
    np.testing.assert_allclose(valence.spherical_harmonics(given["vectors"], 3, device="cuda"), here, rtol=1e-12)
    out = np.empty((40, 16))
    assert valence.spherical_harmonics(given["vectors"], 3, out=out, device="cuda") is out
    arguments = (given["vectors"], given["x"], given["weights"], given["source_idx"], given["target_idx"], 8)
    here = valence.fused_message_passing(*arguments)
    np.testing.assert_allclose(valence.fused_message_passing(*arguments, device="cuda"), here, rtol=1e-11, atol=1e-11)


def test_wrong_arrays_are_named(rng):
    x, v = np.zeros((3, 2, 16)), np.zeros((5, 3))
    wrong = np.array([0, 1, 3, 0, 0])
    with pytest.raises(ValueError, match=r"^`source_idx` must be in \[0, 3\), got 3 in row 2$"):
        valence.fused_sh_tp_simple(v, x, wrong, device="cuda")
    with pytest.raises(TypeError, match=r"^`y` must be float64 as `x` is, got float32$"):
        valence.tensor_product_simple(x, np.zeros((3, 16), np.float32), device="cuda")
    with pytest.raises(RuntimeError, match="`device` must be one that this machine has, got cuda:99"):
        valence.spherical_harmonics(v, 3, device="cuda:99")
