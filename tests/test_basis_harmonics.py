"""Spherical harmonics against e3nn, sum rules, rotations and difference quotients."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import valence as vl
from laws import difference, random_rotation
from valence.basis import ops
from valence.reference import basis as reference

DATA = pathlib.Path(__file__).parent / "data" / "basis"
OP = ops.SPHERICAL_HARMONICS


@pytest.mark.parametrize("path", sorted(DATA.glob("sh_*.npz")), ids=lambda p: p.stem)
def test_values_and_both_vjps_are_those_of_e3nn(path):
    data = np.load(path)
    _, normalization, kind, l = path.stem.split("_")
    static = OP.static((), {"lmax": int(l[1:]), "normalize": kind == "unit", "normalization": normalization})
    (argument,) = [k[2:] for k in data if k.startswith("g_")]
    v, go, h = data[argument], data["go"], data[f"h_{argument}"]
    norm = np.linalg.norm(v, axis=1)
    keep = norm > 0  # at zero peers differ in the gradient; a test of its own
    assert json.loads(str(data["meta"]))
    bwd = OP.bwd
    found = {
        "out": (OP.kernel(static)(v), 1e-12),
        f"g_{argument}": (bwd.kernel(static)(v, go), 1e-11),
        f"bb_{argument}": (bwd.bwd.kernel(static)(v, go, h)[0], 1e-10),
        "bb_go": (bwd.bwd.kernel(static)(v, go, h)[1], 1e-10),
    }
    for key, (value, tolerance) in found.items():
        expected = data[key]
        scale = np.abs(expected).max(axis=1, keepdims=True) + 1e-300
        assert (np.abs(value - expected) / scale)[keep].max() < tolerance, key


@pytest.mark.parametrize("lmax", range(13))
@pytest.mark.parametrize("normalize", [True, False])
def test_every_degree_is_the_textbook_recursion(rng, lmax, normalize):
    v = rng.normal(size=(37, 3))
    for axis in "yz":
        for normalization in ("component", "norm", "integral"):
            options = {"normalize": normalize, "normalization": normalization, "polar_axis": axis}
            expected = reference.spherical_harmonics(v, lmax, **options)
            scale = np.abs(expected).max(axis=0)
            found = vl.spherical_harmonics(v, lmax, **options)
            assert np.abs((found - expected) / scale).max() < 1e-13
            single = vl.spherical_harmonics(v.astype(np.float32), lmax, **options)
            assert np.abs((single - expected) / scale).max() < 3e-6 * (1 + lmax / 4)


@pytest.mark.parametrize("lmax", range(13))
@pytest.mark.parametrize("options", [{}, {"normalize": False, "polar_axis": "z"}])
def test_both_vjps_are_difference_quotients(rng, lmax, options):
    static = OP.static((), {"lmax": lmax, **options})
    forward, backward, second = (op.kernel(static) for op in OP.family())
    v = rng.normal(size=(5, 3))
    g, h = rng.normal(size=(5, (lmax + 1) ** 2)), rng.normal(size=(5, 3))
    expected = difference(lambda x: (forward(x) * g).sum(), v, 1e-4)
    np.testing.assert_allclose(backward(v, g), expected, atol=1e-8 * (1 + np.abs(expected).max()))
    bent, turned = second(v, g, h)
    expected = difference(lambda x: (backward(x, g) * h).sum(), v, 1e-4)
    np.testing.assert_allclose(bent, expected, atol=1e-8 * (1 + np.abs(expected).max()))
    expected = difference(lambda x: (backward(v, x) * h).sum(), g, 1e-2)
    np.testing.assert_allclose(turned, expected, atol=1e-9 * (1 + np.abs(expected).max()))


def test_squares_of_a_degree_sum_to_2l_plus_1_and_products_do_not_turn(rng):
    a, b = rng.normal(size=(2, 50, 3))
    turn = random_rotation(rng)
    for l in range(13):
        block = slice(l * l, (l + 1) ** 2)
        ya, yb = (vl.spherical_harmonics(v, l)[:, block] for v in (a, b))
        np.testing.assert_allclose((ya**2).sum(axis=1), 2 * l + 1, rtol=1e-13)
        ta, tb = (vl.spherical_harmonics(v @ turn.T, l)[:, block] for v in (a, b))
        np.testing.assert_allclose((ta * tb).sum(axis=1), (ya * yb).sum(axis=1), atol=1e-12 * (2 * l + 1))


def test_degree_one_is_the_vector_in_the_frame_asked_for():
    v = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(vl.spherical_harmonics(v, 1, normalize=False)[0, 1:], np.sqrt(3) * v[0])
    turned = vl.spherical_harmonics(v, 1, normalize=False, polar_axis="z")[0, 1:]
    np.testing.assert_allclose(turned, np.sqrt(3) * np.array([2.0, 3.0, 1.0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmax", [0, 1, 3, 6, 8])
def test_a_vector_without_direction_gives_y00_and_zero_gradients(rng, dtype, lmax):
    v = rng.normal(size=(19, 3)).astype(dtype)
    v[[3, 18]] = 0
    v[5] = [1e-13, 0, 0]
    v[7] = [0, 3e-9, 0]
    v[9, 1] = np.nan
    static = OP.static((), {"lmax": lmax})
    forward, backward, second = (op.kernel(static) for op in OP.family())
    y = forward(v)
    g, h = rng.normal(size=y.shape).astype(dtype), rng.normal(size=v.shape).astype(dtype)
    for row in (3, 5, 18):
        assert y[row, 0] == 1 and not y[row, 1:].any()
        assert not backward(v, g)[row].any()
        assert not second(v, g, h)[0][row].any() and not second(v, g, h)[1][row].any()
    np.testing.assert_allclose(y[7], forward(np.array([[0, 1, 0]], dtype=dtype))[0], atol=1e-6)
    assert np.isnan(y[9, 1:]).all() and np.isfinite(np.delete(y, 9, axis=0)).all()


def test_gradients_are_those_of_torch_through_the_reference_recursion(rng):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    v = torch.from_numpy(rng.normal(size=(4, 3))).requires_grad_()
    u = v / v.norm(dim=1, keepdim=True)
    x, y, z = u[:, 2], u[:, 0], u[:, 1]
    # Y_{3, 2} and Y_{2, -1} in the frame of polar axis y.
    terms = [np.sqrt(105) / 2 * z * (x * x - y * y), np.sqrt(15) * y * z]
    value = torch.stack(terms, dim=1)
    g = torch.from_numpy(rng.normal(size=(4, 2))).requires_grad_()
    (first,) = torch.autograd.grad((value * g).sum(), v, create_graph=True)
    h = torch.from_numpy(rng.normal(size=(4, 3)))
    bent, turned = torch.autograd.grad((first * h).sum(), (v, g))
    full = np.zeros((4, 16))
    full[:, [14, 5]] = g.detach().numpy()
    static = OP.static((), {"lmax": 3})
    arrays = v.detach().numpy(), full
    np.testing.assert_allclose(OP.bwd.kernel(static)(*arrays), first.detach().numpy(), atol=1e-13)
    found = OP.bwd.bwd.kernel(static)(*arrays, h.numpy())
    np.testing.assert_allclose(found[0], bent.numpy(), atol=1e-12)
    np.testing.assert_allclose(found[1][:, [14, 5]], turned.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lmax": -1}, "`lmax` must be a whole number of at least 0, got -1"),
        ({"lmax": 129}, "`lmax` must be a whole number from 0 to 128, got 129"),
        ({"lmax": 1, "normalization": "unit"}, "`normalization` must be one of component, norm, integral, got 'unit'"),
        ({"lmax": 1, "polar_axis": "x"}, "`polar_axis` must be one of y, z, got 'x'"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(ValueError) as error:
        vl.spherical_harmonics(np.ones((1, 3)), **options)
    assert str(error.value) == message
