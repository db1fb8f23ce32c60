"""Radial functions, envelopes and transforms against the peers' closed forms, and at their singular points."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import valence as vl
from valence.basis import COVALENT_RADII, ops, reference_distance
from valence.basis._parameters import radial_static

DATA = np.load(pathlib.Path(__file__).parent / "data" / "basis" / "basis.npz")
RC, K = 5.0, 8


def spec(kind, n=K, envelope=None, transform=None, **given):
    return radial_static(kind, n, RC, envelope, transform, given)


SWITCH = {"type": "switch", "on": 0.6 * RC}
OFF = 0.95 * RC
SPECS = {
    "cutoff_polynomial_p6": spec("one", 1, "polynomial"),
    "cutoff_polynomial_p5": spec("one", 1, {"type": "polynomial", "p": 5}),
    "cutoff_cosine": spec("one", 1, "cosine"),
    "cutoff_tanh3": spec("one", 1, "tanh3"),
    "cutoff_tanh3_normalized": spec("one", 1, {"type": "tanh3", "normalized": True}),
    "cutoff_mollifier": spec("one", 1, "mollifier"),
    "cutoff_switch": radial_static("one", 1, OFF, SWITCH, None, {}),
    "transform_agnesi": spec("identity", 1, transform="agnesi"),
    "transform_soft": spec("identity", 1, transform="soft"),
    "gaussian": spec("gaussian"),
    "gaussian_centered": spec("gaussian_centered"),
    "bessel_mace": spec("bessel"),
    "bessel_schnetpack": spec("bessel", prefactor="schnetpack"),
    "bessel_nequip": spec("bessel", prefactor="nequip"),
    "bessel_dimenet": spec("bessel", prefactor="dimenet", envelope="polynomial"),
    "painn_sinc_cosine": spec("bessel", prefactor="none", envelope="cosine"),
    "mace_bessel_poly5": spec("bessel", envelope={"type": "polynomial", "p": 5}),
    "chebyshev_of_agnesi": spec("chebyshev", transform="agnesi"),
    "bernstein_mollifier": spec("bernstein", envelope="mollifier"),
    "exp_bernstein_mollifier": spec("exp_bernstein", envelope="mollifier"),
    "expnorm_cosine": spec("expnorm", envelope="cosine"),
}


def tables(name, r):
    """f, f', f'' of a named function, by the two calls that give them."""
    static = SPECS[name]
    transformed = static.params[9] != 0
    r0 = np.full_like(r, DATA["r0_soft"] if "soft" in name else DATA["r0_agnesi"])
    arguments = (r, r0) if transformed else (r,)
    both, more = (
        (ops.TRANSFORMED_WITH_DERIVATIVE, ops.TRANSFORMED_DERIVATIVES)
        if transformed
        else (ops.WITH_DERIVATIVE, ops.DERIVATIVES)
    )
    f, df = both.kernel(static)(*arguments)
    again, d2f = more.kernel(static)(*arguments)
    np.testing.assert_array_equal(df, again)
    return f, df, d2f


@pytest.mark.parametrize("name", SPECS)
def test_values_and_derivatives_are_the_peers_closed_forms(name):
    r = DATA["r"]
    below = r < SPECS[name].params[2]
    for key, found, single, tolerance in zip(
        ("f", "df", "d2f"), tables(name, r), tables(name, r.astype(np.float32)), (3e-6, 3e-5, 3e-4)
    ):
        expected = DATA[f"{name}/{key}"].reshape(len(r), -1)
        scale = np.abs(expected[below]).max(axis=0)
        assert np.abs((found - expected)[below] / scale).max() < 1e-12, key
        # float32 rounds r first: compared at distances that both precisions share.
        exact = tables(name, r.astype(np.float32).astype(np.float64))[("f", "df", "d2f").index(key)]
        inside = r.astype(np.float32) < np.float32(SPECS[name].params[2])
        # T_8 near 1 enlarges the rounding of its argument 64 times.
        wide = 3 if name == "chebyshev_of_agnesi" else 1
        assert np.abs((single - exact)[inside] / scale).max() < wide * tolerance, key
        assert not found[~below].any() and found.dtype == np.float64 and single.dtype == np.float32


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_of_zero_are_finite_and_nan_stays_nan(name, dtype):
    for table in tables(name, np.array([0.0, np.nan, 1.0, 1e-30, np.inf], dtype=dtype)):
        assert np.isfinite(table[[0, 2, 3]]).all()
        if name not in ("transform_agnesi", "transform_soft"):
            assert not table[4].any()
    assert np.isnan(tables(name, np.array([np.nan], dtype=dtype))[0]).all() or name == "cutoff_switch"


@pytest.mark.parametrize("name", [n for n in SPECS if n.startswith("cutoff_") or "poly" in n or "mollifier" in n])
def test_a_function_with_envelope_is_continuous_at_the_cutoff(name):
    rc = SPECS[name].params[2]
    f, df, _ = tables(name, np.array([rc - 1e-9, np.nextafter(rc, 0), rc, rc + 1e-9]))
    scale = np.abs(DATA[f"{name}/df"]).max()
    assert np.abs(f).max() < 1e-8 * scale and np.abs(df).max() < 1e-7 * scale
    assert not f[2:].any() and not df[2:].any()


def test_the_classes_and_functions_are_the_ops():
    r = np.linspace(0.3, 5.5, 30)
    basis = vl.RadialBasis("bessel", 8, 5.0, envelope={"type": "polynomial", "p": 5})
    f, df, d2f = tables("mace_bessel_poly5", r)
    np.testing.assert_array_equal(basis(r), f)
    np.testing.assert_array_equal(basis.derivative(r), df)
    np.testing.assert_array_equal(basis.second_derivative(r), d2f)
    np.testing.assert_array_equal(vl.cutoff_envelope(r, 5.0, p=5), tables("cutoff_polynomial_p5", r)[0][:, 0])
    np.testing.assert_array_equal(vl.cutoff_envelope(r, OFF, "switch", on=3.0), tables("cutoff_switch", r)[0][:, 0])


def test_stored_arrays_replace_the_computed_ones():
    r = np.linspace(0.1, 4.9, 20)
    mu = np.linspace(0.0, 5.0, 8)
    plain = vl.RadialBasis("gaussian", 8, 5.0)(r)
    np.testing.assert_allclose(vl.RadialBasis("gaussian", 8, 5.0, offsets=mu, widths=mu[1])(r), plain, rtol=1e-14)
    np.testing.assert_allclose(
        vl.RadialBasis("gaussian", 8, 5.0, offsets=mu, coeff=-0.5 / mu[1] ** 2)(r), plain, rtol=1e-14
    )
    stored = np.arange(1, 9) * np.float32(np.pi / 5)
    other = vl.RadialBasis("bessel", 8, 5.0, frequencies=stored, prefactor="none")(r)
    np.testing.assert_allclose(other, np.sin(stored * r[:, None]) / r[:, None], atol=1e-14)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: vl.RadialBasis("besel", 8, 5.0), ValueError, "`kind` must be one of gaussian, gaussian_centered, bessel"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0, width=1), TypeError, "kind bessel takes (prefactor, frequencies), got `width`"),
        (lambda: vl.RadialBasis("bessel", 8, -1.0), ValueError, "`cutoff` must be a positive finite length"),
        (lambda: vl.RadialBasis("bessel", 0, 5.0), ValueError, "`n` must be a whole number of at least 1, got 0"),
        (lambda: vl.RadialBasis("gaussian", 1, 5.0), ValueError, "`n` must be at least 2"),
        (lambda: vl.RadialBasis("gaussian", 3, 5.0, widths=0.0), ValueError, "`widths` must be non-zero"),
        (lambda: vl.RadialBasis("gaussian", 3, 5.0, offsets=[1.0]), ValueError, "`offsets` must be of shape [K] = [3], got [1]"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0, envelope="cos"), ValueError, "`envelope` must be one of none, polynomial"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0, envelope={"type": "cosine", "p": 5}), TypeError, "takes (lower), got `p`"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0, transform="agnes"), ValueError, "`transform` must be one of none, agnesi, soft"),
        (lambda: vl.cutoff_envelope(np.ones(1), 5.0, p=1), ValueError, "`p` must be a number from 2 to 64, got 1"),
        (lambda: vl.cutoff_envelope(np.ones(1), 5.0, "switch"), TypeError, "`on` must be given"),
        (lambda: vl.cutoff_envelope(np.ones(1), 5.0, "switch", on=5.0), ValueError, "`on` must be from 0 to below the cutoff"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0)(np.array([1.0, -2.0])), ValueError, "`distance` must be zero or positive, got -2 in row 1"),
        (lambda: vl.RadialBasis("bessel", 8, 5.0, transform="soft")(np.ones(2)), TypeError, "takes (distance, reference_distance), got 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)


def test_covalent_radii_are_those_of_cordero():
    ase_data = pytest.importorskip("ase.data", reason="ase is not installed")
    np.testing.assert_array_equal(COVALENT_RADII, ase_data.covalent_radii)
    pairs = reference_distance(np.array([6, 1]), [0, 1], [1, 1], "agnesi")
    np.testing.assert_allclose(pairs, [(0.76 + 0.31) / 2, 0.31])
    with pytest.raises(ValueError, match="`numbers` must be from 1 to 118, got 119 in row 1"):
        reference_distance([1, 119], [0], [1], "soft")


def test_torch_and_jax_take_the_arguments_of_numpy():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jax.config.update("jax_enable_x64", True)
    import valence as vl
    import valence.jax
    import valence.torch

    r = np.linspace(0.5, 5.5, 9)
    bessel = vl.RadialBasis("bessel", 4, 5.0, envelope="cosine")
    for of, back in ((torch.from_numpy, lambda t: t.numpy()), (jax.numpy.asarray, np.asarray)):
        library = vl.torch if of is torch.from_numpy else vl.jax
        np.testing.assert_array_equal(back(library.radial(of(r), bessel)), bessel(r))
        cosine = library.cutoff_envelope(of(r), 5.0, "cosine")
        np.testing.assert_array_equal(back(cosine), vl.cutoff_envelope(r, 5.0, "cosine"))
        np.testing.assert_array_equal(back(library.cutoff_envelope(of(r), 5.0, p=4)), vl.cutoff_envelope(r, 5.0, p=4))
    with pytest.raises(TypeError, match=r"got <class 'torch.Tensor'>: use valence.torch"):
        bessel(torch.ones(3))
