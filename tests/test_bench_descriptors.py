"""The definitions of SOAP and AniSOAP that the harness checks against: the peers' arrays, and the laws of a gradient."""

import importlib.util
from math import gamma, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
from valence.bench import data_descriptors, data_structures, ellipsoids, oracle_gradients, structures, suite
from valence.bench import oracle_descriptors as definition
from valence.reference.basis import spherical_harmonics

pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]


def turned(inputs, frame, q):
    made = {**inputs, "positions": inputs["positions"] @ frame.T, "cell": inputs["cell"] @ frame.T}
    if "quaternion" in inputs:
        made["quaternion"] = np.array([ellipsoids.product(q, p) for p in inputs["quaternion"]])
    return made


CASES = {
    "featomic": (definition.soap, {"cutoff": 4.0, "nmax": 3, "lmax": 3, "width": 0.5, "smoothing": 0.5}),
    "dscribe gto": (definition.soap, {"cutoff": 3.0, "nmax": 4, "lmax": 3, "width": 0.4, "basis": "dscribe"}),
    "dscribe polynomial": (oracle_gradients.soap_polynomial, {"cutoff": 3.0, "nmax": 4, "lmax": 3, "width": 0.4}),
    "anisoap": (definition.anisoap, {"cutoff": 7.0, "lmax": 4, "width": 1.5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_definition_does_not_turn_with_the_frame(case, rng):
    function, params = CASES[case]
    if case == "anisoap":
        arrays, _ = data_structures.ellipsoid_box(rng, np.float64, particles=8)
    else:
        arrays, _ = data_descriptors.benzenes(rng, np.float64, species=2)
    (q,) = structures.random_quaternions(rng, 1)
    frame = structures.rotations(q[None])[0]
    first, second = (function(a, params)["values"] for a in (arrays, turned(arrays, frame, q)))
    assert np.abs(first).max() > 1e-3
    np.testing.assert_allclose(second, first, atol=1e-11 * np.abs(first).max())


def by_quadrature(inputs, params):
    """Power spectrum of ellipsoids in the basis r^(l + 2n) exp(-r^2 / 2 s^2): l, then n and n', all species alike.

    A neighbour is the normal law of mean r and covariance R diag(semiaxes^2) R^T; its product with the basis' Gaussian is
    w times another, of mean and covariance mu, C below, whose moments of the polynomial are taken by quadrature.
    """
    s, lmax, numbers = (
        params["width"],
        params["lmax"],
        [
            (params["lmax"] - l) // 2 + 1 if params.get("nmax") is None else params["nmax"] + 1
            for l in range(params["lmax"] + 1)
        ],
    )
    source, target, r, _ = definition.pairs(inputs, params["cutoff"], {})
    q = np.asarray(inputs["quaternion"], dtype=np.float64)
    frames = structures.rotations(q / np.sqrt((q * q).sum(1, keepdims=True)))[target]
    squares = np.asarray(inputs["semiaxes"], dtype=np.float64)[target] ** 2
    total = s * s + squares
    body = np.einsum("eab,ea->eb", frames, r)
    mean = np.einsum("eab,eb->ea", frames, body * s * s / total)
    spread = frames * np.sqrt(squares * s * s / total)[:, None]  # columns: the axes of the product
    w = np.prod(s / np.sqrt(total), axis=1) * np.exp(-0.5 * (body * body / total).sum(1))
    degree = max(l + 2 * (n - 1) for l, n in enumerate(numbers))
    x, weights = np.polynomial.hermite_e.hermegauss(degree // 2 + 1)
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.einsum("a,b,c->abc", weights, weights, weights).ravel() / (2 * pi) ** 1.5
    raw = [np.zeros((len(q), n, 2 * l + 1)) for l, n in enumerate(numbers)]
    for start in range(0, len(r), 16):
        part = slice(start, start + 16)
        points = (mean[part, None] + np.einsum("eab,kb->eka", spread[part], grid)) / s
        solid = spherical_harmonics(
            points.reshape(-1, 3), lmax, normalize=False, normalization="integral", polar_axis="z"
        )
        solid = solid.reshape(*points.shape[:2], -1) * weights[:, None]
        powers = (points**2).sum(-1)[:, None] ** np.arange(max(numbers))[:, None]
        moments = w[part, None, None] * (powers @ solid)
        for l, n in enumerate(numbers):
            np.add.at(raw[l], source[part], moments[:, :n, l * l : (l + 1) ** 2])
    columns = []
    for l, n in enumerate(numbers):
        k = l + 2 * np.arange(n)
        half = np.array([gamma(v + 1.5) for v in k])
        overlap = np.array([[gamma((a + b) / 2 + 1.5) for b in k] for a in k]) / np.sqrt(half[:, None] * half)
        norm = np.sqrt(2 / half) / s**1.5  # of functions of r / s
        c = np.einsum("inm,nk->ikm", raw[l], norm[:, None] * definition.inverse_root(overlap))
        p = np.einsum("inm,ikm->ink", c, c) * (-1) ** l / sqrt(2 * l + 1)
        columns.append(p.reshape(len(p), -1))
    return {"values": np.concatenate(columns, axis=1)}


@pytest.mark.parametrize("nmax", [None, 3])
def test_the_moments_of_anisoap_are_those_of_a_quadrature(nmax, rng):
    params = {"cutoff": 7.0, "lmax": 5, "nmax": nmax, "width": 1.5}
    arrays, _ = data_structures.ellipsoid_box(rng, np.float64, particles=6, shape="prolate")
    want = by_quadrature(arrays, params)["values"]
    np.testing.assert_allclose(definition.anisoap(arrays, params)["values"], want, atol=1e-11 * np.abs(want).max())


def test_an_ellipsoid_with_equal_axes_has_no_orientation_and_the_spheres_closed_form(rng):
    params = {"cutoff": 9.0, "lmax": 4, "width": 1.5}
    arrays, n = data_structures.ellipsoid_box(rng, np.float64, particles=6)
    sphere = {**arrays, "semiaxes": np.full((n, 3), 0.8)}
    first = definition.anisoap(sphere, params)["values"]
    other = {**sphere, "quaternion": structures.random_quaternions(rng, n)}
    np.testing.assert_allclose(definition.anisoap(other, params)["values"], first, atol=1e-13)
    # One sphere alone: c_000 = w / sqrt(4 pi) with w = (s / sqrt(s^2 + sigma^2))^3, times the norm of the first function.
    alone = {
        **sphere,
        **{k: sphere[k][:1] for k in ("positions", "numbers", "quaternion", "semiaxes")},
        "offsets": [0, 1],
    }
    alone.update(cell=np.zeros((1, 3, 3)), pbc=np.zeros((1, 3), bool))
    w = (1.5 / np.sqrt(1.5**2 + 0.8**2)) ** 3
    want = (w / np.sqrt(4 * np.pi) * np.sqrt(2 / (1.5**3 * np.sqrt(np.pi) / 2))) ** 2
    found = definition.anisoap(alone, {**params, "lmax": 0})["values"]
    np.testing.assert_allclose(found, [[want]], rtol=1e-13)


def test_both_roots_of_an_overlap_agree_where_it_is_well_conditioned(rng):
    from decimal import Decimal

    a = rng.normal(size=(5, 9))
    overlap = a @ a.T
    made = oracle_gradients.precise_root([[Decimal(float(v)) for v in row] for row in overlap])
    np.testing.assert_allclose(made, definition.inverse_root(overlap), atol=1e-12)
    np.testing.assert_allclose(made @ overlap @ made, np.eye(5), atol=1e-12)


def test_the_scaled_bessel_functions_are_their_closed_forms():
    x = np.array([0.0, 1e-9, 0.3, 4.0, 90.0])
    zero, one, two = oracle_gradients.scaled_bessel(x, 2)
    y = x[2:]
    np.testing.assert_allclose(zero, [1, 1, *(np.sinh(y) / y * np.exp(-y))], rtol=1e-8)
    np.testing.assert_allclose(one[2:], (np.cosh(y) / y - np.sinh(y) / y**2) * np.exp(-y), rtol=1e-10)
    np.testing.assert_allclose(
        two[2:], ((1 / y + 3 / y**3) * np.sinh(y) - 3 / y**2 * np.cosh(y)) * np.exp(-y), rtol=1e-7
    )
    assert one[0] == two[0] == 0


def test_an_orientation_turned_by_a_small_vector_turns_its_axes(rng):
    q = structures.random_quaternions(rng, 5)
    step = 1e-4 * rng.normal(size=(5, 3))
    before = structures.rotations(q)
    after = structures.rotations(oracle_gradients.turned({"quaternion": q}, step)["quaternion"])
    np.testing.assert_allclose(
        after - before, np.cross(step[:, None], before.transpose(0, 2, 1)).transpose(0, 2, 1), atol=1e-7
    )


def test_the_slopes_are_those_of_the_sum_of_cotangent_and_values(rng):
    params = {"cutoff": 7.0, "lmax": 3, "width": 1.5}
    arrays, _ = data_structures.ellipsoid_box(rng, np.float64, particles=6, features=10)
    found = oracle_gradients.anisoap_vjp(arrays, params)
    assert set(found) == {"slope_positions", "slope_rotation_vector", "slope_semiaxes"}
    # A shift and a common turn of an isolated cluster change nothing.
    open_box = {**arrays, "cell": np.zeros((1, 3, 3)), "pbc": np.zeros((1, 3), bool)}
    shift = {**open_box, "direction": np.ones((1, 6, 3))}
    assert abs(oracle_gradients.anisoap_vjp(shift, params)["slope_positions"][0]) < 1e-8


@pytest.mark.parametrize("name", ["soap", "anisoap"])
def test_the_suites_name_backends_that_the_adapters_have(name):
    work = suite.load(ROOT / "benchmarks" / "suites" / f"{name}.yaml")
    known = {"cpu", "numpy"}
    for peer in ("featomic", "dscribe", "anisoap"):
        path = ROOT / "benchmarks" / "peers" / peer / "adapter.py"
        spec = importlib.util.spec_from_file_location(f"adapter_{peer}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for backend, operations in module.BACKENDS.items():
            known.add(backend)
            for w in work.workloads:
                assert backend not in w.backends or w.op in operations
        pins = (path.parent / "requirements.txt").read_text().split()
        assert pins and all("==" in pin for pin in pins)
    for w in work.workloads:
        assert set(w.backends) <= known
