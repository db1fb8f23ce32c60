"""AniSOAP against reference arrays, the laws that it obeys, and its errors."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from valence.descriptors import AniSoap

DATA = Path(__file__).parent / "data" / "anisoap"
CASES = sorted(path.stem for path in DATA.glob("anisoap_*.npz"))


def load(name):
    z = dict(np.load(DATA / f"{name}.npz"))
    spec = json.loads(str(z.pop("spec")))
    systems = vl.Systems.from_arrays(
        z["positions"], z["numbers"], counts=np.diff(z["frame_ptr"]), cell=z["cells"], pbc=z["pbc"]
    )
    shape = {"orientation": z["quaternion"] if "quaternion" in z else z["matrix"], "diameters": z["diameters"]}
    kind = "quaternion" if "quaternion" in z else "matrix"
    return z, spec, systems, shape, AniSoap.from_anisoap(**spec["hypers"], rotation_type=kind)


def close(a, b, tolerance):
    scale = np.abs(b).max(initial=1e-300)
    assert a.shape == b.shape
    assert np.abs(a - b).max(initial=0.0) <= tolerance * scale, np.abs(a - b).max() / scale


def box(n=3, seed=0, species=(6, 8), dtype=np.float64, spacing=2.6):
    rng = np.random.default_rng(seed)
    x = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    x = (x + rng.normal(size=x.shape) * 0.2).astype(dtype)
    cell = np.eye(3) * n * spacing + np.array([[0.0, 0, 0], [0.5, 0, 0], [0, -0.4, 0]])
    systems = vl.Systems.from_arrays(x, np.resize(species, len(x)), cell=cell)
    return systems, {"orientation": rng.normal(size=(len(x), 4)), "semiaxes": rng.uniform(0.2, 1.2, (len(x), 3))}


def spec_is_round(z):
    return bool((z["diameters"] == z["diameters"][:, :1]).all())


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("name", CASES)
def test_coefficients_and_spectra_are_those_of_the_reference(name):
    z, spec, systems, shape, soap = load(name)
    c = soap.coefficients(systems, **shape)
    assert list(c.species) == spec["species"]
    assert list(soap.radial) == spec["num_radial"]
    close(c.values, z["coefficients"], 1e-12)
    close(soap.compute(systems, **shape).values, z["power_spectrum"], 1e-12)
    mean = AniSoap(**{**soap.get_params(), "mean_over_samples": True})
    close(mean.compute(systems, **shape).values, z["power_spectrum_mean"], 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_reference(name):
    z, _, systems, shape, soap = load(name)
    wrt = [key.removeprefix("grad_") for key in z if key.startswith("grad_")]
    assert {"positions", "cell", "strain", "rotation_vector", "semiaxes"} <= set(wrt)
    found = soap.vjp(systems, z["cotangent"], wrt, **shape)
    for key in wrt:
        if spec_is_round(z) and key in ("rotation_vector", "quaternion"):
            # A sphere has no torque; the reference has its rounding.
            assert not found[key].any()
            continue
        close(found[key], z[f"grad_{key}"], 1e-10)
    half = soap.vjp(systems, z["cotangent"], "diameters", **shape)["diameters"]
    assert np.array_equal(2 * half, found["semiaxes"])


@pytest.mark.parametrize("name", CASES)
def test_single_precision_is_within_1e_5_of_the_reference(name):
    z, _, systems, shape, soap = load(name)
    single = systems.replace(positions=systems.positions.astype(np.float32))
    found = soap.compute(single, **shape).values
    assert found.dtype == np.float32
    close(found, z["power_spectrum"], 1e-5)
    grad = soap.vjp(single, z["cotangent"].astype(np.float32), ("positions", "semiaxes"), **shape)
    assert grad["positions"].dtype == np.float32
    close(grad["positions"], z["grad_positions"], 1e-4)


def test_radial_transforms_are_right_to_1e_14_of_their_largest_element():
    reference = np.load(DATA / "radial_transform.npz")
    for name in reference.files:
        if name == "spec":
            continue
        kind, l, n = name.split("_")
        l, n = int(l[1:]), int(n[1:])
        radial = [0] * l + [n - 1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            soap = AniSoap(
                cutoff=1.0,
                lmax=l,
                width=1.0 if kind == "gto" else None,
                max_radial=radial,
                radial_basis=kind,
                allow_ill_conditioned=True,
            )
        close(soap.radial_transform(l), reference[name], 1e-14)


def test_spectra_do_not_change_and_coefficients_turn_with_a_rotation():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=5, width=1.1)
    turn = random_rotation(3)
    matrices = soap_matrices(shape["orientation"])
    turned = systems.replace(positions=systems.positions @ turn.T, cell=systems.cell @ turn.T)
    before = soap.compute(systems, **shape).values
    after = soap.compute(turned, orientation=turn @ matrices, semiaxes=shape["semiaxes"]).values
    close(after, before, 1e-12)
    c = soap.coefficients(systems, **shape).by_l()
    d = soap.coefficients(turned, orientation=turn @ matrices, semiaxes=shape["semiaxes"]).by_l()
    # l = 1 in the order y, z, x is a vector.
    close(d[1][:, [2, 0, 1]], np.einsum("ab,nbk->nak", turn, c[1][:, [2, 0, 1]]), 1e-12)
    mirrored = systems.replace(positions=-systems.positions, cell=-systems.cell)
    close(soap.compute(mirrored, **shape).values, before, 1e-12)


def soap_matrices(q):
    from valence.descriptors._anisoap_dense import rotation_matrices

    return rotation_matrices(np.asarray(q))


def test_equivalent_descriptions_of_an_ellipsoid_give_the_same_spectrum():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=4, width=1.1)
    wanted = soap.compute(systems, **shape).values
    q, s = shape["orientation"], shape["semiaxes"]
    r = soap_matrices(q)
    same = [
        {"orientation": -q, "semiaxes": s},
        {"orientation": 3.7 * q, "semiaxes": s},
        {"orientation": r, "semiaxes": s},
        {"orientation": r, "diameters": 2 * s},
        {"orientation": r * [1, -1, 1], "semiaxes": s},
        {"orientation": r[:, :, [2, 0, 1]], "semiaxes": s[:, [2, 0, 1]]},
        {"orientation": r.reshape(-1, 9), "semiaxes": s.tolist()},
    ]
    for other in same:
        close(soap.compute(systems, **other).values, wanted, 1e-13)


def test_permutations_translations_and_supercells():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=4, width=1.1)
    wanted = soap.compute(systems, **shape).values
    order = np.random.default_rng(1).permutation(len(wanted))
    shuffled = vl.Systems.from_arrays(systems.positions[order], systems.numbers[order], cell=systems.cell[0])
    found = soap.compute(shuffled, **{k: v[order] for k, v in shape.items()}).values
    close(found, wanted[order], 1e-13)
    moved = systems.replace(positions=systems.positions + np.array([3.1, -20.0, 0.7]))
    close(soap.compute(moved, **shape).values, wanted, 1e-12)
    cell = systems.cell[0]
    doubled = vl.Systems.from_arrays(
        np.concatenate([systems.positions, systems.positions + cell[1]]),
        np.tile(systems.numbers, 2),
        cell=cell * [[1], [2], [1]],
    )
    found = soap.compute(doubled, **{k: np.concatenate([v, v]) for k, v in shape.items()}).values
    close(found, np.concatenate([wanted, wanted]), 1e-12)


def test_an_absent_species_gives_zeros_in_the_same_columns():
    systems, shape = box(2, species=(6,))
    soap = AniSoap(cutoff=4.0, lmax=3, width=1.1)
    alone = soap.compute(systems, **shape)
    more = soap.compute(systems, species=["O", "C", 1], **shape)
    assert more.species == (1, 6, 8)
    labels = more.labels
    own = ((labels["species_1"] == 6) & (labels["species_2"] == 6)).to_numpy()
    assert np.array_equal(more.values[:, own], alone.values)
    assert not more.values[:, ~own].any()
    c = soap.coefficients(systems, species=[1, 6, 8], **shape)
    assert not c.values[:, [0, 2]].any()
    assert c.labels.height == c.values[0].size
    batch = vl.concat([box(2, species=(6,))[0], box(2, seed=1, species=(8, 1))[0]])
    both = {k: np.concatenate([box(2)[1][k], box(2, seed=1)[1][k]]) for k in shape}
    joint = soap.compute(batch, **both)
    assert joint.species == (1, 6, 8)
    close(joint.values[:8], more.values, 1e-14)


def test_labels_name_the_features():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1)
    c = soap.coefficients(systems, **shape)
    for unique in (False, True):
        p = AniSoap(cutoff=4.0, lmax=2, width=1.1, unique=unique).compute(systems, **shape)
        labels = p.labels
        assert labels.columns == ["l", "n_1", "species_1", "n_2", "species_2"]
        lnm = c.labels
        flat = c.values.reshape(len(c.values), -1)
        for row, (l, n1, a, n2, b) in enumerate(labels.rows()):
            one, two = (
                flat[:, ((lnm["l"] == l) & (lnm["n"] == n) & (lnm["species"] == s)).to_numpy()]
                for n, s in ((n1, a), (n2, b))
            )
            factor = np.sqrt(2) if unique and (n1, a) != (n2, b) else 1.0
            wanted = factor * (-1) ** l / np.sqrt(2 * l + 1) * (one * two).sum(1)
            np.testing.assert_allclose(p.values[:, row], wanted, rtol=0, atol=1e-13 * np.abs(flat).max() ** 2)
    table = p.table
    assert table.columns == ["system", "atom", "number", "descriptor"]
    assert np.array_equal(np.asarray(table["descriptor"].to_numpy()), p.values)
    assert [b.shape for b in c.by_l()] == [(8, 1, 4), (8, 3, 2), (8, 5, 2)]
    assert np.array_equal(p.per_center()[8], p.values[1::2]) and np.asarray(p).shape == p.values.shape


def test_unique_features_have_the_same_scalar_products():
    systems, shape = box(2)
    full = AniSoap(cutoff=4.0, lmax=3, width=1.1).compute(systems, **shape).values
    unique = AniSoap(cutoff=4.0, lmax=3, width=1.1, unique=True).compute(systems, **shape).values
    assert unique.shape[1] < full.shape[1]
    close(unique @ unique.T, full @ full.T, 1e-13)


def test_the_sphere_limit_is_the_closed_form():
    # c_n00 of one neighbour on the z axis: w R_lm(mu) (2 C)^n n! L_n^{l+1/2}(-mu^2 / 2C), unnormalised functions.
    from math import factorial, pi

    s, sigma, r = 1.3, 0.6, 1.7
    pair = vl.Systems.from_arrays([[0.0, 0, 0], [0, 0, r]], [1, 2])
    soap = AniSoap(cutoff=3.0, lmax=2, width=s, max_radial=2, normalize=False, self_pair=False)
    c = soap.coefficients(pair, orientation=[[1.0, 0, 0, 0]] * 2, semiaxes=np.full((2, 3), sigma))
    q = s**2 + sigma**2
    mu, spread = s**2 / q * r, s**2 * sigma**2 / q
    w = (s / np.sqrt(q)) ** 3 * np.exp(-(r**2) / (2 * q))

    def laguerre(n, a, x):
        before, now = 1.0, 1 + a - x
        if n == 0:
            return before
        for k in range(1, n):
            before, now = now, ((2 * k + 1 + a - x) * now - (k + a) * before) / (k + 1)
        return now

    for l, block in enumerate(c.by_l()):
        for n in range(3):
            radial = (2 * spread) ** n * factorial(n) * laguerre(n, l + 0.5, -(mu**2) / (2 * spread))
            wanted = w * np.sqrt((2 * l + 1) / (4 * pi)) * mu**l * radial
            column = n * 2 + 1
            assert abs(block[0, l, column] - wanted) < 1e-14 * abs(wanted)
            assert np.abs(np.delete(block[0, :, column], l)).max(initial=0) < 1e-16


def test_a_nearly_spherical_particle_is_near_the_sphere():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=4, width=1.1)
    spheres = np.repeat(shape["semiaxes"][:, :1], 3, axis=1)
    exact = soap.compute(systems, orientation=shape["orientation"], semiaxes=spheres).values
    near = soap.compute(systems, orientation=shape["orientation"], semiaxes=spheres * [1, 1, 1 + 1e-12]).values
    close(near, exact, 1e-11)


@pytest.mark.parametrize("kind", ["gto", "monomial"])
def test_gradients_are_difference_quotients(kind):
    systems, shape = box(2)
    shape["semiaxes"][0] = 0.0
    shape["semiaxes"][1, 1] = 0.0
    soap = AniSoap(cutoff=4.5, lmax=3, width=1.1 if kind == "gto" else None, radial_basis=kind, max_radial=1)
    rng = np.random.default_rng(5)
    g = rng.normal(size=soap.compute(systems, **shape).values.shape)
    found = soap.vjp(systems, g, ("positions", "cell", "strain", "quaternion", "semiaxes", "rotation_vector"), **shape)
    h = 1e-5

    def quotient(energy):
        return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)

    def energy(changed=systems, **other):
        return float((soap.compute(changed, **{**shape, **other}).values * g).sum())

    d = rng.normal(size=systems.positions.shape)
    wanted = {"positions": quotient(lambda h: energy(systems.replace(positions=systems.positions + h * d)))}
    strain = rng.normal(size=(3, 3))
    wanted["cell"] = quotient(lambda h: energy(systems.replace(cell=systems.cell + h * strain)))

    def strained(h):
        by = np.eye(3) + h * strain
        return energy(systems.replace(positions=systems.positions @ by, cell=systems.cell @ by))

    wanted["strain"] = quotient(strained)
    dq, ds = rng.normal(size=shape["orientation"].shape), rng.normal(size=shape["semiaxes"].shape)
    ds[shape["semiaxes"] == 0] = 0.0
    wanted["quaternion"] = quotient(lambda h: energy(orientation=shape["orientation"] + h * dq))
    wanted["semiaxes"] = quotient(lambda h: energy(semiaxes=shape["semiaxes"] + h * ds))
    r = soap_matrices(shape["orientation"])
    turn = rng.normal(size=(len(r), 3))

    def turned(h):
        v = h * turn
        angle = np.linalg.norm(v, axis=1)
        q = np.concatenate([np.cos(angle / 2)[:, None], v / angle[:, None] * np.sin(angle / 2)[:, None]], axis=1)
        return energy(orientation=soap_matrices(q) @ r)

    wanted["rotation_vector"] = quotient(turned)
    by = {"positions": d, "cell": strain, "strain": strain, "quaternion": dq, "semiaxes": ds, "rotation_vector": turn}
    for name, value in wanted.items():
        got = float((found[name] * by[name]).sum())
        assert abs(got - value) < 1e-8 * (1 + abs(value)), name
    assert not found["semiaxes"][shape["semiaxes"] == 0].any()
    assert np.abs((found["quaternion"] * shape["orientation"]).sum(1)).max() < 1e-12 * np.abs(found["quaternion"]).max()
    assert np.abs(found["positions"].sum(0)).max() < 1e-11 * np.abs(found["positions"]).max()


def test_a_rotation_of_everything_costs_no_work():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=4, width=1.1)
    g = np.random.default_rng(2).normal(size=soap.compute(systems, **shape).values.shape)
    open_box = systems.replace(pbc=False, cell=np.zeros((1, 3, 3)))
    found = soap.vjp(open_box, g, ("positions", "rotation_vector", "strain"), **shape)
    torque = found["rotation_vector"].sum(0) + np.cross(open_box.positions, found["positions"]).sum(0)
    assert np.abs(torque).max() < 1e-11 * np.abs(found["rotation_vector"]).max()


def test_vjps_of_coefficients_means_and_matrices():
    systems, shape = box(2)
    parameters = {"cutoff": 4.0, "lmax": 3, "width": 1.1}
    soap, mean = AniSoap(**parameters), AniSoap(**parameters, mean_over_samples=True)
    rng = np.random.default_rng(2)
    g = rng.normal(size=soap.coefficients(systems, **shape).values.shape)
    d = rng.normal(size=systems.positions.shape)
    h = 1e-5
    values = [
        (soap.coefficients(systems.replace(positions=systems.positions + k * h * d), **shape).values * g).sum()
        for k in (1, -1)
    ]
    found = soap.vjp(systems, g, **shape)["positions"]
    assert abs((values[0] - values[1]) / (2 * h) - (found * d).sum()) < 1e-6
    g = rng.normal(size=mean.compute(systems, **shape).values.shape)
    each = np.repeat(g, 8, axis=0) / 8
    close(mean.vjp(systems, g, **shape)["positions"], soap.vjp(systems, each, **shape)["positions"], 1e-14)
    r = soap_matrices(shape["orientation"])
    both = soap.vjp(systems, each, ("matrix", "rotation_vector"), orientation=r, semiaxes=shape["semiaxes"])
    # Its Frobenius product with dR = [v]x R is tau.v.
    v = rng.normal(size=(8, 3))
    change = np.cross(v[:, :, None], r, axis=1)
    np.testing.assert_allclose((both["matrix"] * change).sum((1, 2)), (both["rotation_vector"] * v).sum(1), atol=1e-12)
    with pytest.raises(ValueError, match="`wrt` must not be quaternion where orientations are matrices"):
        soap.vjp(systems, each, "quaternion", orientation=r, semiaxes=shape["semiaxes"])


def test_dense_gradients_contract_to_the_vjp():
    systems, shape = box(2)
    pair = vl.Systems.from_arrays([[0.0, 0, 0], [1.5, 0.2, 0.1]], [6, 8])
    batch = vl.concat([systems, pair])
    rng = np.random.default_rng(4)
    shape = {
        "orientation": np.concatenate([shape["orientation"], rng.normal(size=(2, 4))]),
        "semiaxes": np.concatenate([shape["semiaxes"], rng.random((2, 3))]),
    }
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1)
    names = ("positions", "cell", "strain", "rotation_vector", "semiaxes")
    out = soap.compute(batch, gradients=names, **shape)
    g = rng.normal(size=out.values.shape)
    wanted = soap.vjp(batch, g, names, **shape)
    for name in ("positions", "rotation_vector", "semiaxes"):
        dense = out.gradients[name].to_dense()
        assert dense.shape == (10, 10, 3, g.shape[1]) and not dense[:8, 8:].any()
        close(np.einsum("ijkd,id->jk", dense, g), wanted[name], 1e-11)
    for name in ("cell", "strain"):
        each = np.einsum("nabd,nd->nab", out.gradients[name], g)
        close(np.stack([each[:8].sum(0), each[8:].sum(0)]), wanted[name], 1e-11)


def test_results_do_not_depend_on_threads():
    systems, shape = box(5)
    soap = AniSoap(cutoff=4.0, lmax=4, width=1.1)
    g = np.random.default_rng(2).normal(size=soap.compute(systems, **shape).values.shape)
    before = vl.get_num_threads()
    out = []
    try:
        for threads in (1, 2, 3):
            vl.set_num_threads(threads)
            mean = AniSoap(cutoff=4.0, lmax=4, width=1.1, mean_over_samples=True).compute(systems, **shape).values
            grads = soap.vjp(systems, g, ("positions", "strain", "quaternion", "semiaxes"), **shape)
            out.append([soap.compute(systems, **shape).values, mean, *grads.values()])
    finally:
        vl.set_num_threads(before)
    for other in out[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(out[0], other, strict=True))


def test_empty_batches_and_empty_systems_have_the_right_widths():
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1)
    none = vl.Systems.from_arrays(np.zeros((0, 3)), [], counts=[])
    assert soap.compute(none).values.shape == (0, 0)
    assert soap.compute(none, species=[6, 8]).values.shape == (0, 24)
    pair = vl.Systems.from_arrays([[0.0, 0, 0], [1.5, 0.2, 0.1]], [6, 8], counts=[0, 2])
    shape = {"orientation": [[1.0, 0, 0, 0]] * 2, "semiaxes": [[1.0, 1, 0]] * 2}
    mean = AniSoap(cutoff=4.0, lmax=2, width=1.1, mean_over_samples=True).compute(pair, **shape).values
    assert mean.shape == (2, 24) and not mean[0].any() and mean[1].any()
    grad = soap.vjp(none, np.zeros((0, 0)), ("positions", "quaternion", "semiaxes", "cell"))
    assert [g.shape for g in grad.values()] == [(0, 3), (0, 4), (0, 3), (0, 3, 3)]


def test_a_pair_at_the_cutoff_is_none_and_a_lone_particle_keeps_its_row():
    pair = vl.Systems.from_arrays([[0.0, 0, 0], [4.0, 0, 0]], [6, 6])
    shape = {"orientation": [[1.0, 0, 0, 0]] * 2, "semiaxes": [[1.0, 1, 0.5]] * 2}
    alone = AniSoap(cutoff=4.0, lmax=2, width=1.1, self_pair=False).compute(pair, **shape).values
    assert alone.shape == (2, 6) and not alone.any()
    assert AniSoap(cutoff=4.0 + 1e-9, lmax=2, width=1.1, self_pair=False).compute(pair, **shape).values.any()


def test_particles_at_one_place_are_legal_and_warned_of():
    pair = vl.Systems.from_arrays([[0.0, 0, 0], [0.0, 0, 0]], [6, 6])
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1)
    with pytest.warns(UserWarning, match=r"particles in system 0, particle 0 \(row 0\) and in system 0, particle 1"):
        values = soap.compute(pair, orientation=[[1.0, 0, 0, 0]] * 2, semiaxes=[[1.0, 1, 0.5]] * 2).values
    assert np.isfinite(values).all()


def test_shapes_are_read_from_ase_and_from_tables():
    ase = pytest.importorskip("ase")
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=3, width=1.1)
    wanted = soap.compute(systems, **shape).values
    atoms = ase.Atoms(systems.numbers, systems.positions, cell=systems.cell[0], pbc=True)
    for k in range(3):
        atoms.arrays[f"c_diameter[{k + 1}]"] = 2 * shape["semiaxes"][:, k]
    for name in ("c_q", "quaternion"):
        one = atoms.copy()
        one.arrays[name] = shape["orientation"]
        close(soap.compute(one).values, wanted, 1e-14)
    one.arrays["c_q"] = shape["orientation"]
    with pytest.raises(
        ValueError, match="`orientation` must be in one column of the atoms, got both c_q and quaternion"
    ):
        soap.compute(one)
    stored = systems.replace(**shape)
    close(soap.compute(stored).values, wanted, 1e-14)
    table, frame = stored.to_tables()
    close(soap.compute(vl.Systems.from_tables(table, frame)).values, wanted, 1e-14)
    bare = ase.Atoms(systems.numbers, systems.positions, cell=systems.cell[0], pbc=True)
    bare.info.update({f"c_diameter[{k}]": 1.0 for k in (1, 2, 3)})
    with pytest.raises(ValueError, match="`semiaxes` must be given, or be in columns"):
        soap.compute(bare, orientation=shape["orientation"])
    found = soap.compute(bare, orientation=shape["orientation"], diameters_from_info=True).values
    close(found, soap.compute(systems, orientation=shape["orientation"], semiaxes=np.full((8, 3), 0.5)).values, 1e-14)


def test_it_is_a_scikit_learn_transformer_and_pickles():
    systems, shape = box(2)
    stored = systems.replace(**shape)
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1).fit(stored)
    values = soap.transform(stored)
    names = soap.get_feature_names_out()
    assert len(names) == values.shape[1] and names[1] == "l=0 n_1=0 species_1=6 n_2=0 species_2=8"
    again = pickle.loads(pickle.dumps(soap))
    assert again.species_ == soap.species_ == (6, 8)
    assert np.array_equal(again.compute(stored).values, values)
    assert np.array_equal(AniSoap(**soap.get_params()).fit_transform(stored), values)
    base = pytest.importorskip("sklearn.base")
    assert base.clone(AniSoap(cutoff=4, lmax=2, width=1.1, max_radial=[1, 0, 0])).cutoff == 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cutoff": 0.0}, ValueError, "`cutoff` must be a positive finite length in Angstrom, got 0.0"),
        ({"cutoff": "4"}, TypeError, "`cutoff` must be a number, got '4'"),
        ({"width": -1.0}, ValueError, "`width` must be a positive finite length in Angstrom, got -1.0"),
        ({"width": float("nan")}, ValueError, "`width` must be a positive finite length in Angstrom, got nan"),
        ({"width": None}, ValueError, "`width` must be given for Gaussian-type functions, got None"),
        ({"radial_basis": "monomial"}, ValueError, "`width` must be None for monomials, got 1.1"),
        ({"radial_basis": "bessel"}, ValueError, '`radial_basis` must be "gto" or "monomial", got \'bessel\''),
        ({"lmax": -1}, ValueError, "`lmax` must be zero or more, got -1"),
        ({"lmax": 2.0}, TypeError, "`lmax` must be an integer, got 2.0"),
        ({"max_radial": -1}, ValueError, "`max_radial` must be zero or more, got -1"),
        ({"max_radial": True}, TypeError, "`max_radial` must be an integer, got True"),
        ({"max_radial": [1, 2]}, ValueError, "`max_radial` must be of length lmax + 1 = 3, got 2"),
        ({"max_radial": [1, 2, 0.5]}, TypeError, "`max_radial` must be an integer, got 0.5"),
        ({"max_radial": 60}, ValueError, "at most 64 for each l, got 61 functions at l = 0"),
        ({"self_pair": 1}, TypeError, "`self_pair` must be a bool, got 1"),
        ({"orientation": "euler"}, ValueError, '`orientation` must be "quaternion", "matrix" or None, got \'euler\''),
        ({"basis_rcond": -1.0}, ValueError, "`basis_rcond` must be zero or a positive finite number, got -1.0"),
        ({"basis_rcond": 1e-2, "max_radial": 6}, ValueError, "`basis_tol` must be at least the residual of the"),
        ({"max_radial": 30}, ValueError, "`max_radial` must be smaller for a basis that is not numerically singular"),
        ({"sigma": 1.0}, TypeError, "unexpected keyword argument 'sigma'"),
    ],
)
def test_parameters_that_cannot_be_are_named(change, error, message):
    with pytest.raises(error) as caught:
        AniSoap(**{"cutoff": 4.0, "lmax": 2, "width": 1.1, **change})
    assert message in str(caught.value)


def test_an_ill_conditioned_basis_warns_with_its_amplification():
    with pytest.warns(UserWarning, match="20 functions of l = 0, which amplify rounding"):
        soap = AniSoap(cutoff=4.0, lmax=0, width=1.1, max_radial=19)
    assert soap.amplification[0] > 1e8


UNIT = [[1.0, 0, 0, 0]] * 3
ONES = [[1.0, 1, 1]] * 3


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ({}, ValueError, "`semiaxes` must be given, or be in columns semiaxes or c_diameter[1], [2], [3] of the atoms"),
        (
            {"semiaxes": ONES},
            ValueError,
            "`orientation` must be given, or be in a column c_q, quaternion or orientation",
        ),
        ({"orientation": UNIT}, ValueError, "`semiaxes` must be given"),
        ({"orientation": UNIT, "semiaxes": ONES, "diameters": ONES}, ValueError, "`semiaxes` must be None where"),
        ({"orientation": UNIT[:2], "semiaxes": ONES}, ValueError, "`orientation` must be of shape [N, 4] = [3, 4] or"),
        ({"orientation": UNIT, "semiaxes": [[1.0, 1]] * 3}, ValueError, "`semiaxes` must be of shape [N, 3] = [3, 3]"),
        ({"orientation": [["a"] * 4] * 3, "semiaxes": ONES}, TypeError, "`orientation` must be real numbers, got <U1"),
        (
            {"orientation": UNIT, "semiaxes": [[1.0, 1, 1], [1, 1, 1], [1, -0.1, 1]]},
            ValueError,
            "`semiaxes` must be finite lengths in Angstrom, zero or more and at most 1e6, got -0.1 on axis 2 in system 1, particle 1 (row 2)",
        ),
        ({"orientation": UNIT, "semiaxes": [[np.nan, 1, 1], *ONES[1:]]}, ValueError, "got nan on axis 1 in system 0"),
        (
            {"orientation": UNIT, "semiaxes": [*ONES[:2], [1, 1, 1e200]]},
            ValueError,
            "at most 1e6, got 1e+200 on axis 3",
        ),
        (
            {"orientation": [*UNIT[:2], [0.0, 0, 0, 0]], "semiaxes": ONES},
            ValueError,
            "finite and not zero, got [0.0, 0.0, 0.0, 0.0] in system 1, particle 1 (row 2)",
        ),
        (
            {"orientation": [*UNIT[:2], [np.nan, 0, 0, 0]], "semiaxes": ONES},
            ValueError,
            "in system 1, particle 1 (row 2)",
        ),
        (
            {"orientation": [np.eye(3), np.eye(3) * 1.01, np.eye(3)], "semiaxes": ONES},
            ValueError,
            "columns the body axes, got R^T R off by 0.0201 in system 1, particle 0 (row 1)",
        ),
        ({"orientation": UNIT, "semiaxes": ONES, "species": ["O"]}, ValueError, "got 6 in row 0"),
        (
            {"orientation": UNIT, "semiaxes": ONES, "species": ["Q"]},
            ValueError,
            "`species` must be of atomic numbers 1 to 118 or symbols, got 'Q'",
        ),
        (
            {"orientation": UNIT, "semiaxes": ONES, "gradients": "charge"},
            ValueError,
            "`gradients` must be of positions",
        ),
    ],
)
def test_shapes_that_cannot_be_are_named_with_system_and_particle(shape, error, message):
    systems = vl.Systems.from_arrays([[0.0, 0, 0], [0.0, 0, 0], [2.0, 0, 0]], [6, 6, 8], counts=[1, 2])
    with pytest.raises(error) as caught:
        AniSoap(cutoff=4.0, lmax=2, width=1.1).compute(systems, **shape)
    assert message in str(caught.value)


def test_other_wrong_arguments_are_named():
    systems, shape = box(2)
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1, orientation="matrix")
    with pytest.raises(ValueError, match=r"`orientation` must be of shape \[N, 3, 3\] = \[8, 3, 3\], got \[8, 4\]"):
        soap.compute(systems, **shape)
    soap = AniSoap(cutoff=4.0, lmax=2, width=1.1)
    with pytest.raises(ValueError, match="`wrt` must be of positions, cell, strain"):
        soap.vjp(systems, np.zeros((8, 24)), "charge", **shape)
    with pytest.raises(ValueError, match=r"`cotangent` must be of shape \[8, 24\], got \[8, 23\]"):
        soap.vjp(systems, np.zeros((8, 23)), **shape)
    with pytest.raises(TypeError, match="`cotangent` must be an array of float64, got float32"):
        soap.vjp(systems, np.zeros((8, 24), np.float32), **shape)
