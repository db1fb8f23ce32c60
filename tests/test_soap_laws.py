"""SOAP obeys the symmetries of space, and its derivatives are limits of differences."""

import numpy as np
import pytest
import valence as vl

HYPER = dict(cutoff=4.0, max_radial=4, lmax=4, width=0.45)
FORMS = {
    "featomic": dict(smoothing={"type": "shifted_cosine", "width": 0.7}),
    "scaled": dict(
        scaling={"type": "willatt2018", "rate": 1.0, "scale": 2.0, "exponent": 4},
        center_weight=0.4,
        species_weights={1: 0.5, 8: 2.0, 6: 1.0},
    ),
    "dscribe": dict(
        radial_basis="dscribe_gto",
        convention="dscribe",
        compression="mu1nu1",
        scaling={"type": "exp", "r0": 2.0, "c": 1.0, "d": 0.5},
    ),
    "polynomial": dict(
        radial_basis="dscribe_polynomial", smoothing={"type": "shifted_cosine", "width": 2.0}, average="inner"
    ),
    "common": dict(
        radial_basis="common_gto",
        radial_width=0.8,
        smoothing={"type": "shifted_cosine", "width": 1.0},
        compression="mu2",
        average="outer",
    ),
    "exact": dict(accuracy=None, smoothing={"type": "shifted_cosine", "width": 0.7}, compression="crossover"),
    "radial": dict(spectrum="radial", smoothing={"type": "shifted_cosine", "width": 0.7}),
    "high": dict(lmax=8, smoothing={"type": "shifted_cosine", "width": 0.7}),
}


def form(name):
    return vl.Soap(**{**HYPER, **FORMS[name]})


def batch(seed=0, dtype=np.float64):
    """A periodic frame and a molecule; carbon is in the first alone."""
    rng = np.random.default_rng(seed)
    cell = np.array([[5.0, 0.0, 0.0], [0.7, 5.2, 0.0], [-0.4, 0.6, 4.8]])
    first = rng.random((6, 3)) @ cell
    second = rng.random((4, 3)) * 3.0
    positions = np.concatenate([first, second]).astype(dtype)
    numbers = [1, 8, 1, 6, 8, 1, 8, 1, 1, 8]
    return vl.Systems.from_arrays(
        positions, numbers, counts=[6, 4], cell=[cell, np.zeros((3, 3))], pbc=[[True] * 3, [False] * 3]
    )


def rotation(seed=1):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def off(found, expected):
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", FORMS)
def test_descriptors_do_not_change_with_rotation_and_translation(name):
    soap, systems, turn = form(name), batch(), rotation()
    moved = systems.replace(positions=systems.positions @ turn.T + [0.3, -2.0, 5.0], cell=systems.cell @ turn.T)
    if name == "polynomial":  # a mean of coefficients is no invariant of one atom, but of the frame
        assert off(soap.compute(moved).values, soap.compute(systems).values) < 1e-11
    else:
        assert off(soap.compute(moved).values, soap.compute(systems).values) < 1e-12


def test_coefficients_turn_with_the_harmonics():
    soap, systems, turn = form("featomic"), batch(), rotation()
    a = soap.coefficients(systems).values
    moved = systems.replace(positions=systems.positions @ turn.T, cell=systems.cell @ turn.T)
    b = soap.coefficients(moved).values
    n = 5
    vectors_a = a[:, :, n : 4 * n].reshape(-1, 3)[:, [2, 0, 1]]  # y, z, x -> x, y, z
    vectors_b = b[:, :, n : 4 * n].reshape(-1, 3)[:, [2, 0, 1]]
    assert off(vectors_b, vectors_a @ turn.T) < 1e-12


@pytest.mark.parametrize("name", FORMS)
def test_the_order_of_atoms_is_the_order_of_rows(name):
    soap, systems = form(name), batch()
    order = np.concatenate([np.random.default_rng(2).permutation(6), 6 + np.random.default_rng(3).permutation(4)])
    shuffled = vl.Systems.from_arrays(
        systems.positions[order], systems.numbers[order], counts=[6, 4], cell=systems.cell, pbc=systems.pbc
    )
    a, b = soap.compute(systems).values, soap.compute(shuffled).values
    assert off(b, a if len(a) == 2 else a[order]) < 1e-13


def test_species_columns_are_sorted_and_an_absent_one_gives_zeros():
    soap, systems = form("featomic"), batch()
    together = soap.compute(systems)
    assert together.species == (1, 6, 8)
    assert soap.compute(systems, species=["O", "H", "C"]).species == (1, 6, 8)
    alone = soap.compute(systems[1], species=[8, 6, 1]).values
    assert np.array_equal(alone, together.values[6:])
    with_carbon = np.asarray((together.labels["species_1"] == 6) | (together.labels["species_2"] == 6))
    assert (alone[:, with_carbon] == 0).all() and (together.values[:6, with_carbon] != 0).any()
    # Columns of other species are the same numbers, whatever else is listed.
    narrow = soap.compute(systems[1]).values
    assert np.array_equal(narrow, alone[:, ~with_carbon])


def test_a_repeated_cell_repeats_the_rows():
    soap, systems = form("featomic"), batch()[0]
    shifts = np.array([[0, 0, 0], [1, 0, 0]]) @ systems.cell[0]
    twice = vl.Systems.from_arrays(
        np.concatenate([systems.positions + s for s in shifts]),
        np.tile(systems.numbers, 2),
        cell=systems.cell[0] * [[2.0], [1.0], [1.0]],
    )
    assert off(soap.compute(twice).values, np.tile(soap.compute(systems).values, (2, 1))) < 1e-12


@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_limits_of_differences(name):
    soap, systems = form(name), batch()
    rng = np.random.default_rng(5)
    cotangent = rng.normal(size=soap.compute(systems).values.shape)
    found = soap.vjp(systems, cotangent, wrt=("positions", "cell", "strain"))

    def value(**changes):
        return np.vdot(cotangent, soap.compute(systems.replace(**changes)).values)

    h = 1e-5
    along = rng.normal(size=systems.positions.shape)
    moved = lambda t: value(positions=systems.positions + t * along)  # noqa: E731
    expected = (moved(h) - moved(-h)) / (2 * h)
    scale = np.abs(found["positions"]).max() * np.sqrt(along.size)
    assert abs(np.vdot(found["positions"], along) - expected) < 1e-7 * scale
    d = rng.normal(size=(3, 3))
    for which in ("cell", "strain"):

        def moved(t, which=which):
            cell = systems.cell.copy()
            if which == "cell":
                cell[0] += t * d
                return value(cell=cell)
            eps = np.eye(3) + t * d
            cell[0] = cell[0] @ eps
            x = systems.positions.copy()
            x[:6] = x[:6] @ eps
            return value(positions=x, cell=cell)

        expected = (moved(h) - moved(-h)) / (2 * h)
        assert abs(np.vdot(found[which][0], d) - expected) < 1e-7 * np.abs(found[which]).max() * 9
    assert (found["cell"][1] == 0).all()


@pytest.mark.parametrize("name", ["featomic", "dscribe", "radial"])
def test_dense_gradients_contract_to_the_vjp(name):
    soap, systems = form(name), batch()
    result = soap.compute(systems, gradients=("positions", "cell", "strain"))
    cotangent = np.random.default_rng(5).normal(size=result.values.shape)
    found = soap.vjp(systems, cotangent, wrt=("positions", "cell", "strain"))
    jacobian = result.gradients["positions"]
    assert off(np.einsum("cd,caxd->ax", cotangent, jacobian.to_dense()), found["positions"]) < 1e-11
    for which in ("cell", "strain"):
        rows = np.einsum("cd,cxyd->cxy", cotangent, result.gradients[which])
        assert off(np.stack([rows[:6].sum(0), rows[6:].sum(0)]), found[which]) < 1e-11


@pytest.mark.parametrize("name", FORMS)
def test_single_precision_is_close_and_stays_single(name):
    soap = form(name)
    single = soap.compute(batch(dtype=np.float32))
    double = soap.compute(batch())
    assert single.values.dtype == np.float32 and off(single.values, double.values) < 1e-5
    cotangent = np.random.default_rng(5).normal(size=double.values.shape)
    a = soap.vjp(batch(dtype=np.float32), cotangent.astype(np.float32))["positions"]
    assert a.dtype == np.float32 and off(a, soap.vjp(batch(), cotangent)["positions"]) < 3e-5
    assert vl.Soap(**{**HYPER, **FORMS[name], "dtype": "float32"}).compute(batch()).values.dtype == np.float32


@pytest.mark.parametrize("name", FORMS)
def test_bits_do_not_depend_on_the_number_of_threads(name):
    soap = form(name)
    systems = vl.concat([batch(k) for k in range(20)])
    cotangent = np.ones_like(soap.compute(systems).values)
    before, found = vl.get_num_threads(), []
    try:
        for threads in (1, 3):
            vl.set_num_threads(threads)
            vjp = soap.vjp(systems, cotangent, wrt=("positions", "cell"))
            found.append((soap.compute(systems).values, vjp["positions"], vjp["cell"]))
    finally:
        vl.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("name", FORMS)
def test_portable_code_gives_the_same_numbers(name):
    fast, plain = form(name), form(name)
    plain._portable = True
    systems = batch()
    values = fast.compute(systems).values
    assert off(plain.compute(systems).values, values) < 1e-13
    cotangent = np.random.default_rng(5).normal(size=values.shape)
    assert off(plain.vjp(systems, cotangent)["positions"], fast.vjp(systems, cotangent)["positions"]) < 1e-12


def test_an_isolated_atom_has_its_own_term_alone():
    soap = form("scaled")
    lone = vl.Systems.from_arrays([[1.0, 2.0, 3.0]], [8])
    values = soap.compute(lone, species=[1, 8])
    labels = values.labels
    own = np.asarray((labels["l"] == 0) & (labels["species_1"] == 8) & (labels["species_2"] == 8))
    assert (values.values[:, ~own] == 0).all() and (np.diag(values.values[0, own].reshape(5, 5)) > 0).all()
    assert (soap.vjp(lone, np.ones_like(values.values), species=[1, 8])["positions"] == 0).all()


def test_atoms_in_one_place_are_no_singularity():
    soap = form("featomic")
    two = vl.Systems.from_arrays([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.5, 0.2]], [8, 1, 1])
    values = soap.compute(two).values
    gradient = soap.vjp(two, np.random.default_rng(0).normal(size=values.shape))["positions"]
    assert np.isfinite(values).all() and np.isfinite(gradient).all() and (gradient != 0).any()
    near = two.replace(positions=two.positions + np.array([[0, 0, 0], [1e-9, 0, 0], [0, 0, 0]]))
    assert off(soap.compute(near).values, values) < 1e-7
    # The weight of the centre is not that of another atom there.
    bare = vl.Soap(**HYPER, center_weight=0.0).compute(two, species=[1, 8])
    hydrogen = np.asarray((bare.labels["species_1"] == 1) & (bare.labels["species_2"] == 1))
    assert (bare.values[0, hydrogen] != 0).any()


def test_a_neighbor_at_the_cutoff_counts_for_dscribe_alone():
    pair = lambda d: vl.Systems.from_arrays([[0.0, 0.0, 0.0], [0.0, 0.0, d]], [1, 1])  # noqa: E731
    for convention, counts in (("featomic", False), ("dscribe", True)):
        soap = vl.Soap(**HYPER, convention=convention)
        reach = soap._text["reach"]
        lone = soap.compute(pair(reach + 0.1)).values
        assert bool(np.abs(soap.compute(pair(reach)).values - lone).max() > 1e-12) is counts


def test_nothing_in_gives_nothing_out():
    soap = form("featomic")
    empty = vl.Systems.from_arrays(np.zeros((0, 3)), [], counts=[0, 0])
    assert soap.compute(empty, species=[1, 8]).values.shape == (0, 3 * 5 * 25)
    assert soap.compute([]).values.shape == (0, 0)
    mean = vl.Soap(**HYPER, average="outer").compute(empty, species=[1, 8]).values
    assert mean.shape == (2, 3 * 5 * 25) and (mean == 0).all()


def test_dscribes_features_are_ours_but_for_prefactors():
    systems = batch()
    ours = vl.Soap(**HYPER, radial_basis="dscribe_gto")
    peers = vl.Soap(**HYPER, radial_basis="dscribe_gto", convention="dscribe")
    assert peers.compute(systems).labels.select("l", "n_1", "n_2").columns == ["l", "n_1", "n_2"]
    assert peers.compute(systems).values.shape[1] == 15 * 16 // 2 * 5
    assert ours.compute(systems).values.shape[1] == 6 * 25 * 5


def test_means_are_means():
    systems = batch()
    soap = vl.Soap(**HYPER)
    rows = soap.compute(systems).values
    expected = np.stack([rows[:6].mean(0), rows[6:].mean(0)])
    assert off(vl.Soap(**HYPER, average="outer").compute(systems).values, expected) < 1e-13
    inner = vl.Soap(**HYPER, average="inner").compute(systems[1]).values
    c = soap.coefficients(systems[1]).values.mean(axis=0)
    n, l = 5, 2
    block = c[0, n + 3 * n : n + 3 * n + 5 * n].reshape(n, 5)
    labels = np.asarray(vl.Soap(**HYPER, average="inner").compute(systems[1]).labels["l"])
    assert off(inner[0, labels == l][: n * n].reshape(n, n), block @ block.T / np.sqrt(5)) < 1e-12


def test_isotropic_tables_and_tabulated_bases_agree():
    """A basis given as numbers on a grid is the basis that they are of."""
    r = np.linspace(0.0, 6.0, 400)
    s = 0.8
    norm = np.sqrt(4 / (np.sqrt(np.pi) * s**3))  # int r^2 exp(-r^2/s^2) dr = sqrt(pi) s^3 / 4
    values = norm * np.exp(-(r**2) / (2 * s**2))
    table = {"type": "tabulated", "radius": r, "values": values[:, None], "derivatives": (-r / s**2 * values)[:, None]}
    given = vl.Soap(cutoff=4.0, lmax=0, width=0.45, radial_basis=table)
    known = vl.Soap(cutoff=4.0, lmax=0, width=0.45, max_radial=0, radial_basis="common_gto", radial_width=s)
    assert off(given.compute(batch()).values, known.compute(batch()).values) < 1e-7
    # A density of points: the functions themselves.
    point = vl.Soap(cutoff=4.0, lmax=0, width=0.0, radial_basis=table)
    two = vl.Systems.from_arrays([[0.0, 0.0, 0.0], [0.0, 1.5, 0.0]], [1, 8])
    c = point.coefficients(two).values
    assert abs(c[0, 1, 0] - norm * np.exp(-(1.5**2) / (2 * s**2)) / np.sqrt(4 * np.pi)) < 1e-8
