"""The Batteries package's names: its shapes and defaults, NumPy or torch, its gradients those of the reference data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import valence as vl
from valence.compat import batteries

DATA = Path(__file__).parent / "data" / "equivariant"


@pytest.fixture(params=["numpy", "torch"])
def of(request):
    """Makes the library's arrays; the same call with their results gives NumPy's back."""
    if request.param == "numpy":
        return np.asarray
    return pytest.importorskip("torch").from_numpy


def same(found, expected, tolerance=1e-11):
    found = np.asarray(found)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_paths_are_34_and_their_degrees_an_int32_table():
    info = batteries.get_tp_path_info()
    assert batteries.get_tp_num_paths() == 34
    assert (info.shape, info.dtype) == ((34, 3), np.int32)
    assert info[:4].tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 2], [0, 3, 3]]


def test_harmonics_are_of_the_vectors_as_they_are_to_degree_3_unless_said(rng, of):
    v = rng.normal(size=(7, 3))
    same(batteries.spherical_harmonics(of(v)), vl.spherical_harmonics(v, 3, normalize=False))
    assert batteries.spherical_harmonics(of(v), L_max=5).shape == (7, 36)
    assert batteries.autograd.SphericalHarmonics.apply(of(v), 2).shape == (7, 9)


def test_products_and_their_gradients_are_those_of_the_reference_data(of):
    data = np.load(DATA / "tp_333.npz")
    x, y, w, g = (of(data[n]) for n in ("x", "y", "W", "go"))
    same(batteries.tensor_product(x, y, w), data["out"])
    for found, name in zip(batteries.tensor_product_backward(x, y, w, g), ("g_x", "g_y", "g_W")):
        same(found, data[name])
    assert batteries.tensor_product_backward(x, y, w, g, True, False, False)[1:] == (None, None)
    data = np.load(DATA / "tp_simple_333.npz")
    x, y, g = (of(data[n]) for n in ("x", "y", "go"))
    same(batteries.tensor_product_simple(x, y), data["out"])
    for found, name in zip(batteries.tensor_product_simple_backward(x, y, g), ("g_x", "g_y")):
        same(found, data[name])
    data = np.load(DATA / "fused_sh_tp_simple.npz")
    v, x, source = (of(data[n]) for n in ("v", "x", "source_idx"))
    same(batteries.fused_sh_tp_simple(v, x, source), data["out"])
    same(batteries.fused_sh_tp_simple(v, x[:, 0], source), data["out"][:, 0])


def test_the_backward_of_harmonics_is_their_gradient(rng, of):
    v, g, h = rng.normal(size=(5, 3)), rng.normal(size=(5, 16)), 1e-6
    found = np.asarray(batteries.spherical_harmonics_backward(of(v), of(g)))
    for axis, step in enumerate(h * np.eye(3)):
        ends = [(batteries.spherical_harmonics(v + s) * g).sum(1) for s in (step, -step)]
        np.testing.assert_allclose(found[:, axis], (ends[0] - ends[1]) / (2 * h), rtol=1e-7, atol=1e-7)


def test_torch_tensors_keep_their_graph_to_the_second_derivative(rng):
    torch = pytest.importorskip("torch")
    from valence.compat.batteries.autograd import SphericalHarmonics, TensorProduct

    v = torch.from_numpy(rng.normal(size=(3, 3))).requires_grad_()
    x = torch.from_numpy(rng.normal(size=(3, 2, 16))).requires_grad_()
    w = torch.from_numpy(rng.normal(size=(34, 2, 2))).requires_grad_()

    def layer(v, x, w):
        return TensorProduct.apply(x, SphericalHarmonics.apply(v, 3), w)

    assert isinstance(layer(v, x, w), torch.Tensor)
    assert torch.autograd.gradcheck(layer, (v, x, w), fast_mode=True)
    assert torch.autograd.gradgradcheck(layer, (v, x, w), fast_mode=True)
    assert batteries.spherical_harmonics_backward(v, torch.ones(3, 16, dtype=v.dtype)).requires_grad is False


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_that_of_the_inputs(rng, of, dtype):
    x, y = (of(rng.normal(size=(4, 16)).astype(dtype)) for _ in range(2))
    assert np.asarray(batteries.tensor_product_simple(x, y)).dtype == dtype
    assert np.asarray(batteries.spherical_harmonics(of(rng.normal(size=(4, 3)).astype(dtype)))).dtype == dtype


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'edge_index'"):
        batteries.edge_index  # noqa: B018
