"""What Soap refuses, and how it says so; scikit-learn, kernels, torch and JAX."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import valence as vl

HYPER = dict(cutoff=4.0, max_radial=3, lmax=3, width=0.45, smoothing={"type": "shifted_cosine", "width": 1.0})
FEATOMIC = {
    "cutoff": {"radius": 4.0, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
    "density": {"type": "Gaussian", "width": 0.4},
    "basis": {"type": "TensorProduct", "max_angular": 2, "radial": {"type": "Gto", "max_radial": 3}},
}
DSCRIBE = dict(species=["H", "O"], r_cut=4.0, n_max=3, l_max=2)


def water(dtype=np.float64):
    x = np.array([[0.0, 0.0, 0.1], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]], dtype)
    return vl.Systems.from_arrays(x, [8, 1, 1])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(cutoff=0.0), "`cutoff` must be a positive finite length in Angstrom, got 0.0"),
        (dict(cutoff=float("nan")), "`cutoff` must be a positive finite length in Angstrom, got nan"),
        (dict(cutoff="5"), "`cutoff` must be a length in Angstrom, got '5'"),
        (dict(width=-0.1), "`width` must be a positive finite length in Angstrom, or 0 for points, got -0.1"),
        (dict(width=float("inf")), "`width` must be a positive finite length"),
        (dict(width=1e-4), "`width` must be 0 (a point) or at least 0.004 Angstrom for this cutoff, got 0.0001"),
        (dict(lmax=-1), "`lmax` must be from 0 to 24, got -1"),
        (dict(lmax=2.0), "`lmax` must be an integer, got 2.0"),
        (dict(max_radial=-1), "`max_radial` must be from 0 to 63, got -1"),
        (dict(max_radial=True), "`max_radial` must be an integer, got True"),
        (dict(max_radial=[3, 3]), "`max_radial` must be one number or lmax + 1 = 4 of them, got 2"),
        (dict(max_radial=None), "`max_radial` must be given, alone or in `radial_basis[0]`, got None"),
        (dict(max_radial=40), "`max_radial` must be so small that the radial functions are independent, got 41 functions for l = 0"),
        (dict(radial_basis="gto"), "`radial_basis` must be among 'featomic_gto', 'dscribe_gto'"),
        (dict(radial_basis={"type": "featomic_gto", "size": 3}), "`radial_basis` must have max_radial, radius for featomic_gto, got 'size'"),
        (dict(radial_basis={7: "featomic_gto"}), "`radial_basis` must have degrees from 0 to lmax = 3, got 7"),
        (dict(radial_basis={}), "`radial_basis` must have a basis for at least one degree, got {}"),
        (dict(radial_basis="dscribe_gto", cutoff=0.9, width=0.3), "`r_cut` must be above 1 Angstrom for the basis dscribe_gto, got 0.9"),
        (dict(radial_basis={"type": "tabulated", "radius": [0.0, 1.0], "values": [[1.0]], "derivatives": [[1.0]]}), "`radial_basis[0]` must have radius [G], values [G, n] and derivatives [G, n], got [2], [1, 1] and [1, 1]"),
        (dict(smoothing={"type": "shifted_cosine", "width": 0.0}), "`smoothing width` must be a positive finite length in Angstrom, got 0.0"),
        (dict(smoothing={"type": "cosine", "width": 0.5}), "`smoothing` must be of type shifted_cosine, got 'cosine'"),
        (dict(smoothing=0.5), "`smoothing` must be None or a dict with \"type\", got 0.5"),
        (dict(scaling={"type": "pow", "r0": 1.0, "c": 1.0, "d": 1.0}), "`scaling` must have r0, c, d, m for pow, got none of `m`"),
        (dict(scaling={"type": "willatt2018", "rate": 1.0, "scale": -1.0, "exponent": 4}), "`scale` must be a positive finite number, got -1.0"),
        (dict(scaling={"type": "none", "w0": -1.0}), "`scaling w0` must be a finite number that is not negative, got -1.0"),
        (dict(center_weight=float("nan")), "`center_weight` must be finite, got NaN"),
        (dict(species_weights={"Xx": 1.0}), "`species_weights` must be of atomic numbers 1 to 118 or symbols, got 'Xx'"),
        (dict(species_weights={1: float("nan")}), "`species_weights` must be finite, got nan for 1"),
        (dict(species=[0]), "`species` must be of atomic numbers 1 to 118 or symbols, got 0"),
        (dict(spectrum="bispectrum"), "`spectrum` must be among 'power', 'radial', got 'bispectrum'"),
        (dict(spectrum="radial", compression="mu2"), "`compression` must be None for spectrum \"radial\", got 'mu2'"),
        (dict(compression="mu3"), "`compression` must be among None, 'mu2', 'mu1nu1', 'crossover', got 'mu3'"),
        (dict(average="mean"), "`average` must be among None, 'inner', 'outer', got 'mean'"),
        (dict(convention="quip"), "`convention` must be among 'featomic', 'dscribe', got 'quip'"),
        (dict(radial_width=0.4), "`radial_width` must be None for a basis other than common_gto, got 0.4"),
        (dict(accuracy=0.0), "`accuracy` must be between 0 and 1, or None, got 0.0"),
        (dict(dtype="float16"), "`dtype` must be among None, 'float32', 'float64', got 'float16'"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_refused_is_named_with_its_rule(change, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        vl.Soap(**{**HYPER, **change})


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="sigma"):
        vl.Soap(**HYPER, sigma=1.0)
    with pytest.raises(TypeError, match="arguments must be among r_cut, n_max"):
        vl.Soap.from_dscribe(**DSCRIBE, cutoff=3.0)
    for section, key in (("cutoff", "width"), ("density", "sigma"), ("basis", "max_radial")):
        hypers = json.loads(json.dumps(FEATOMIC))
        hypers[section][key] = 1.0
        with pytest.raises(ValueError, match=f"`{section}` must have .*, got '{key}'"):
            vl.Soap.from_featomic(hypers)
    with pytest.raises(
        ValueError, match="`density type` must be among 'Gaussian', 'DiracDelta', got 'SmearedPowerLaw'"
    ):
        vl.Soap.from_featomic({**FEATOMIC, "density": {"type": "SmearedPowerLaw"}})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(r_cut=None), "`r_cut` must be given"),
        (dict(r_cut=1.0), "`r_cut` must be above 1 Angstrom"),
        (dict(l_max=21), "`l_max` must be from 0 to 20, got 21"),
        (dict(n_max=0), "`n_max` must be from 1 to 64, got 0"),
        (dict(sigma=0.0), "`sigma` must be a positive finite length in Angstrom, got 0.0"),
        (dict(rbf="bessel"), "`rbf` must be among 'gto', 'polynomial', got 'bessel'"),
        (dict(species=None), "`species` must be given, got None"),
        (dict(sparse=True), "`sparse` must be False"),
        (dict(weighting={"function": "pow", "r0": 1.0, "c": 1.0, "d": 1.0}), "`weighting` must have r0, c, d, m for pow, got none of `m`"),
        (dict(compression={"mode": "nu2"}), "`compression mode` must be among 'off', 'mu2', 'mu1nu1', 'crossover', got 'nu2'"),
        (dict(compression={"mode": "mu2", "species_weighting": {"H": 1.0}}), "`species_weights` must name each species, got none for 8"),
    ],
)  # fmt: skip
def test_dscribes_wrong_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        vl.Soap.from_dscribe(**{**DSCRIBE, **change}).compute(water())


def test_wrong_calls_name_the_row_or_the_argument():
    soap = vl.Soap(**HYPER)
    systems = water()
    cases = [
        (dict(species=[8]), "`numbers` must be of the species 8, got 1 in row 1"),
        (dict(species=["Q"]), "`species` must be of atomic numbers 1 to 118 or symbols, got 'Q'"),
        (dict(gradients="forces"), "`gradients` must be among positions, cell, strain, got 'forces'"),
        (dict(centers=[3]), "`centers` must be rows in [0, 3) of system 0, got 3"),
        (dict(centers=[-1]), "`centers` must be rows in [0, 3) of system 0, got -1"),
        (dict(centers=[[0.0, float("nan"), 0.0], 1]), "`centers` must be rows of atoms or finite points [3]"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            soap.compute(systems, **arguments)
    with pytest.raises(ValueError, match=re.escape("`cell` must be of independent vectors along periodic directions")):
        soap.compute(systems.replace(cell=np.zeros((1, 3, 3)), pbc=[[True] * 3]))
    bad = systems.positions.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="positions"):
        soap.compute(vl.Systems._trusted(bad, systems.numbers, systems.offsets, systems.cell, systems.pbc))
    with pytest.raises(ValueError, match=re.escape("`cotangent` must be of shape [rows, D]")):
        soap.vjp(systems, np.zeros((2, 5)))
    with pytest.raises(TypeError, match="`cotangent` must be float64, got float32"):
        soap.vjp(systems, np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="`wrt` must be among positions, cell, strain, got 'charges'"):
        soap.vjp(systems, np.zeros((2, 5)), wrt="charges")
    with pytest.raises(ValueError, match="`gradients` must be empty for an average"):
        vl.Soap(**HYPER, average="outer").compute(systems, gradients="positions")
    with pytest.raises(ValueError, match="`centers` must be one list for each of the 2 systems, got 1"):
        soap.compute([systems, systems], centers=[[0]])


def test_cells_may_be_periodic_along_some_directions():
    slab = water().replace(cell=np.diag([3.0, 3.0, 0.0])[None], pbc=[[True, True, False]])
    thick = water().replace(cell=np.diag([3.0, 3.0, 50.0])[None], pbc=[[True] * 3])
    soap = vl.Soap(**HYPER)
    assert np.allclose(soap.compute(slab).values, soap.compute(thick).values, rtol=1e-12, atol=0)


def test_results_have_labels_tables_and_rows_by_centre():
    result = vl.Soap(**HYPER).compute([water(), water()])
    assert result.labels.columns == ["l", "species_1", "species_2", "n_1", "n_2"]
    assert result.labels.height == result.values.shape[1] == 3 * 16 * 4
    assert result.table.columns == ["system", "atom", "number", "descriptor"] and result.table.height == 6
    assert result.table["atom"].to_list() == list(range(6)) and result.table["system"].to_list() == [0] * 3 + [1] * 3
    assert {k: v.shape[0] for k, v in result.per_center().items()} == {1: 4, 8: 2}
    assert result.names[0] == "l=0 species_1=1 species_2=1 n_1=0 n_2=0"
    mean = vl.Soap(**HYPER, average="outer").compute([water(), water()])
    assert mean.table["atom"].to_list() == [None, None] and len(mean) == 2
    c = vl.Soap(**HYPER).coefficients(water())
    assert (
        c.values.shape == (3, 2, 4 * 16)
        and c.labels.height == 2 * 64
        and c.labels.columns == ["species", "l", "n", "m"]
    )


def test_kernels_are_cosines_to_a_power():
    soap, systems = vl.Soap(**HYPER), water()
    values = soap.compute(systems).values
    unit = values / np.linalg.norm(values, axis=1)[:, None]
    assert np.allclose(soap.kernel(systems, zeta=2), (unit @ unit.T) ** 2, atol=1e-14)
    assert np.allclose(soap.kernel(values[:2], values, zeta=1.5), (unit[:2] @ unit.T) ** 1.5, atol=1e-14)
    assert np.allclose(soap.kernel(soap.compute(systems), normalize=False), values @ values.T)
    # Columns of both are those of either, so that a lone oxygen meets water.
    lone = vl.Systems.from_arrays([[0.0, 0.0, 0.0]], [8])
    assert soap.kernel(lone, systems).shape == (1, 3)
    for wrong, message in ((0.0, "`zeta` must be a positive"), ("2", "`zeta` must be a number")):
        with pytest.raises((TypeError, ValueError), match=message):
            soap.kernel(systems, zeta=wrong)
    with pytest.raises(ValueError, match="`b` must have the D = "):
        soap.kernel(values, values[:, :4])


def test_fit_keeps_columns_and_parameters_make_a_twin():
    soap = vl.Soap(**HYPER)
    with pytest.raises(ValueError, match="`fit` must be called before"):
        soap.transform(water())
    rows = soap.fit([water()]).transform(water())
    assert rows.shape[1] == len(soap.get_feature_names_out()) and soap.species_ == (1, 8)
    lone = vl.Systems.from_arrays([[0.0, 0.0, 0.0]], [8])
    assert soap.transform(lone).shape == (1, rows.shape[1])
    with pytest.raises(ValueError, match="got 6 in row 0"):
        soap.transform(vl.Systems.from_arrays([[0.0, 0.0, 0.0]], [6]))
    twin = vl.Soap(**soap.get_params())
    assert np.array_equal(twin.compute(water()).values, rows)
    assert soap.set_params(lmax=2) is soap and soap.compute(water()).values.shape[1] == 3 * 16 * 3
    with pytest.raises(ValueError, match="parameter must be among"):
        soap.set_params(sigma=3)
    peer = vl.Soap.from_dscribe(**DSCRIBE)
    assert np.array_equal(vl.Soap(**peer.get_params()).compute(water()).values, peer.compute(water()).values)
    assert (
        repr(vl.Soap(cutoff=4.0, max_radial=3, lmax=3, width=0.4))
        == "Soap(cutoff=4.0, lmax=3, width=0.4, max_radial=3)"
    )


def test_pipelines_of_scikit_learn_take_it():
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    frames = [water().replace(positions=water().positions + 0.1 * rng.normal(size=(3, 3))) for _ in range(12)]
    energies = np.array([np.linalg.norm(f.positions[1] - f.positions[2]) for f in frames])
    soap = vl.Soap(**HYPER, average="outer")
    copy = clone(soap)
    assert copy is not soap and copy.get_params() == soap.get_params()
    pipe = make_pipeline(soap, Ridge(alpha=1e-6)).fit(frames, energies)
    assert pipe.predict(frames).shape == (12,) and pipe.score(frames, energies) > 0.9
    assert len(pipe[:-1].get_feature_names_out()) == pipe[-1].coef_.shape[0]
    search = GridSearchCV(pipe, {"soap__lmax": [1, 3]}, cv=3).fit(frames, energies)
    assert set(search.best_params_) == {"soap__lmax"}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_out_where_scikit_learn_is_told_so(kind):
    sklearn = pytest.importorskip("sklearn")
    package = pytest.importorskip(kind)
    from sklearn.base import clone

    soap = vl.Soap(**HYPER, average="outer", species=[1, 8]).set_output(transform=kind)
    values = vl.Soap(**HYPER, average="outer", species=[1, 8]).fit_transform([water()])
    for one in (soap, clone(soap), vl.Soap(**{**HYPER, "lmax": 0}, average="outer").set_output(transform=kind)):
        one.set_params(lmax=HYPER["lmax"], species=[1, 8])
        frame = one.fit_transform([water()])
        assert isinstance(frame, package.DataFrame) and list(frame.columns) == list(one.get_feature_names_out())
        assert np.array_equal(frame.to_numpy(), values)
    assert isinstance(soap.set_output(transform="default").transform([water()]), np.ndarray)
    with sklearn.config_context(transform_output=kind):
        assert isinstance(clone(vl.Soap(**HYPER)).fit_transform([water()]), package.DataFrame)
    with pytest.raises(ValueError, match="`transform` must be"):
        soap.set_output(transform="numpy")


def test_importing_takes_numpy_alone():
    code = "import sys, valence as vl; vl.Soap; bad = [m for m in ('polars', 'sklearn', 'torch', 'jax', 'ase', 'scipy') if m in sys.modules]; assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_differentiates_twice():
    torch = pytest.importorskip("torch")
    import valence.torch as vt

    cell = torch.tensor([[4.0, 0.1, 0.0], [0.0, 4.2, 0.3], [0.2, 0.0, 3.9]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor(water().positions, requires_grad=True)
    for change in ({}, {"average": "inner"}, {"spectrum": "radial"}):
        soap = vt.Soap(**{**HYPER, "max_radial": 1, "lmax": 1, **change})

        def values(x, cell, soap=soap):
            return soap(x, [8, 1, 1], cell=cell)

        expected = vl.Soap(**soap.soap.get_params()).compute(
            water().replace(cell=cell.detach().numpy()[None], pbc=[[True] * 3])
        )
        assert np.array_equal(values(x, cell).detach().numpy(), expected.values)
        assert torch.autograd.gradcheck(values, (x, cell), atol=1e-6)
        assert torch.autograd.gradgradcheck(values, (x, cell), atol=1e-5)
    single = vt.Soap(**HYPER)(x.detach().float(), [8, 1, 1])
    assert single.dtype == torch.float32
    with pytest.raises(TypeError, match="`positions` must be a torch tensor, got ndarray"):
        vt.Soap(**HYPER)(x.detach().numpy(), [8, 1, 1])
    point = vt.Soap(**HYPER)(x, [8, 1, 1], centers=[[0.1, 0.2, 0.3], 0])
    gradient = torch.autograd.grad(point.sum(), x, create_graph=True)[0]
    assert torch.autograd.grad((gradient**2).sum(), x)[0].shape == x.shape


def test_jax_differentiates_twice_under_jit():
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp
    import valence.jax as vj

    with jax.enable_x64(True):
        soap = vl.Soap(**{**HYPER, "max_radial": 1, "lmax": 1})
        of = vj.Soap(soap).of([8, 1, 1], pbc=True)
        x, cell = jnp.asarray(water().positions), 4.0 * jnp.eye(3) + 0.1
        expected = soap.compute(water().replace(cell=np.asarray(cell)[None], pbc=[[True] * 3])).values
        assert np.array_equal(jax.jit(of)(x, cell), expected)
        w = jnp.asarray(np.random.default_rng(0).normal(size=expected.shape))
        energy = jax.jit(lambda x, cell: jnp.sum(w * of(x, cell) ** 2))
        force = jax.jit(jax.grad(energy))
        h, u = 1e-5, jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
        quotient = (energy(x + h * u, cell) - energy(x - h * u, cell)) / (2 * h)
        assert abs(jnp.vdot(force(x, cell), u) - quotient) < 1e-6 * abs(quotient)
        loss = lambda x, cell: jnp.sum(force(x, cell) ** 2)  # noqa: E731
        second = jax.grad(loss, argnums=(0, 1))(x, cell)
        quotient = (loss(x + h * u, cell) - loss(x - h * u, cell)) / (2 * h)
        assert abs(jnp.vdot(second[0], u) - quotient) < 1e-5 * abs(quotient)
        d = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)))
        quotient = (loss(x, cell + h * d) - loss(x, cell - h * d)) / (2 * h)
        assert abs(jnp.vdot(second[1], d) - quotient) < 1e-5 * abs(quotient)


def test_accuracy_is_measured_and_refused_where_it_cannot_be_reached():
    table = vl.Soap(**HYPER, accuracy=1e-7).radial_table
    assert table["value"] <= 1e-7 and table["intervals"] > 16
    assert vl.Soap(**HYPER, accuracy=None).radial_table is None
    with pytest.raises(ValueError, match="`accuracy` must be at least"):
        vl.Soap(**HYPER, accuracy=1e-17).compute(water())


def test_examples_of_the_docs_run():
    import doctest

    import valence.descriptors.soap as module

    assert doctest.testmod(module).failed == 0
    assert Path(module.__file__).exists()
