"""SchNet and PaiNN: schnetpack's results, the laws of mechanics, filter tables, files that are wrong."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import valence as vl

DATA = Path(__file__).parent / "data" / "engine"
MODELS = ["schnet_small", "schnet_shared_avg", "painn_small", "painn_shared_bessel"]
SYSTEMS = ["methane", "single_atom", "far_pair", "molecule12", "crystal8", "tiny_cell_left_handed", "slab6_TTF"]
ALL = ("energy", "node_energy", "forces", "invariant_descriptors", "descriptors")


def system(name: str, **options) -> vl.Systems:
    with np.load(DATA / "systems.npz") as data:
        x, z, cell, pbc = (data[f"{name}/{k}"] for k in ("positions", "numbers", "cell", "pbc"))
    return vl.Systems.from_arrays(x, z, cell=cell, pbc=pbc, **options)


def reference(model: str, name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{model}.npz") as data:
        return {k.split("/")[1]: data[k] for k in data if k.startswith(f"{name}/")}


def network(model: str, **options):
    return vl.load(DATA / f"{model}.safetensors", **options)


def close(found: np.ndarray, expected: np.ndarray, relative: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= relative * max(np.abs(expected).max(initial=0), 1e-2)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("model", MODELS)
def test_everything_is_schnetpacks(model, name):
    case = reference(model, name)
    frame = system(name)
    periodic = bool(frame.pbc.all())
    found = network(model).compute(frame, (*ALL, *(["stress"] if periodic else [])))
    close(found.energy, case["energy"], 1e-11)
    close(found.forces, case["forces"], 1e-11)
    close(found.invariant_descriptors, case["scalar_representation"], 1e-11)
    if "vector_representation" in case:
        vectors = case["vector_representation"].transpose(0, 2, 1).reshape(len(case["forces"]), -1)
        close(found.descriptors[:, found.invariant_descriptors.shape[1] :], vectors, 1e-11)
    if periodic:
        close(found.stress, case["stress"], 1e-11)
    np.testing.assert_allclose(found.node_energy.sum(), found.energy[0], rtol=1e-13)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("table", ["auto", None])
def test_single_precision_is_close(model, table):
    engine = network(model, dtype="float32", filter_table=table)
    for name in SYSTEMS:
        case, found = reference(model, name), network(model, dtype="float32", filter_table=table).compute(system(name))
        assert abs(found.energy[0] - case["energy"][0]) < 2e-6 * max(abs(case["energy"][0]), len(case["forces"]))
        # 3e-5 where symmetry makes the vectors vanish: sqrt(V . V + 1e-8) magnifies their rounding.
        assert np.abs(found.forces - case["forces"]).max() < 3e-5 * max(np.abs(case["forces"]).max(), 1.0)
    assert engine.compute(system("methane")).forces.dtype == np.float64


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_is_schnetpacks_and_has_the_bits_of_its_systems(model):
    whole_case = reference(model, "batch")
    for options in ({}, {"filter_table": 64}, {"dtype": "float32"}):
        engine, frames = network(model, **options), [system(name) for name in SYSTEMS]
        whole = engine.compute(vl.concat(frames), ("energy", "forces", "virial"))
        single = [engine.compute(f, ("energy", "forces", "virial")) for f in frames]
        np.testing.assert_array_equal(whole.energy, np.concatenate([s.energy for s in single]))
        np.testing.assert_array_equal(whole.forces, np.concatenate([s.forces for s in single]))
        np.testing.assert_array_equal(whole.virial, np.concatenate([s.virial for s in single]))
        if not options:
            close(whole.energy, whole_case["energy"], 1e-11)
            close(whole.forces, whole_case["forces"], 1e-11)


def test_dipoles_charges_and_polarizabilities_are_schnetpacks():
    engine = network("painn_dipole")
    assert engine.properties == ("dipole", "charges", "polarizability", "descriptors", "invariant_descriptors")
    for name in SYSTEMS:
        case = reference("painn_dipole", name)
        if not case:
            continue
        found = engine.compute(system(name, charge=[1.0]))
        close(found.dipole, case["dipole"].reshape(1, 3), 1e-11)
        close(found.charges, case["charges"].reshape(-1), 1e-11)
        close(found.polarizability, case["polarizability"].reshape(1, 3, 3), 1e-11)
    neutral, zero = (engine.compute(system("molecule12", **o)) for o in ({}, {"charge": [0.0]}))
    np.testing.assert_array_equal(neutral.dipole, zero.dipole)
    assert abs(neutral.charges.sum()) < 1e-12
    with pytest.raises(ValueError, match=r"^`properties` must be among dipole, charges, .* got energy"):
        engine.compute(system("methane"), "energy")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("table", [None, 32])
def test_forces_and_stress_are_difference_quotients(model, table):
    # A coarse table is another energy, of which forces are the exact derivative.
    frame, engine = system("crystal8"), network(model, filter_table=table)
    positions, cell = np.asarray(frame.positions), frame.cell[0]

    def energy(x, h):
        return float(engine.compute(vl.Systems.from_arrays(x, frame.numbers, cell=h, pbc=True), "energy").energy[0])

    found = engine.compute(frame, ("forces", "stress"))
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        step = np.zeros_like(positions)
        step[atom, axis] = 1e-5
        slope = (energy(positions + step, cell) - energy(positions - step, cell)) / 2e-5
        assert -found.forces[atom, axis] == pytest.approx(slope, rel=1e-6, abs=1e-8)
    volume = abs(np.linalg.det(cell))
    for a, b in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += 5e-6
        strain[b, a] += 5e-6
        values = [energy(positions @ (np.eye(3) + s * strain), cell @ (np.eye(3) + s * strain)) for s in (1, -1)]
        slope = (values[0] - values[1]) / 2e-5 / volume
        assert found.stress[0, a, b] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_energies_do_not_change_under_rotation_translation_and_permutation(model, rng):
    frame, engine = system("crystal8"), network(model)
    positions, cell, numbers = np.asarray(frame.positions), frame.cell[0], frame.numbers
    expected = engine.compute(frame)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = engine.compute(vl.Systems.from_arrays(positions @ q.T + 3.7, numbers, cell=cell @ q.T, pbc=True))
    np.testing.assert_allclose(turned.energy, expected.energy, rtol=1e-12)
    np.testing.assert_allclose(turned.forces, expected.forces @ q.T, atol=1e-11)
    order = rng.permutation(8)
    mixed = engine.compute(vl.Systems.from_arrays(positions[order], numbers[order], cell=cell, pbc=True))
    np.testing.assert_allclose(mixed.forces, expected.forces[order], atol=1e-11)


def test_a_finer_table_is_closer_and_states_its_error():
    for model in ("schnet_small", "painn_small"):
        exact, errors = network(model).compute(system("crystal8")), []
        assert network(model).filter_error == (0.0, 0.0)
        for intervals in (64, 256, 512):
            engine = network(model, filter_table=intervals)
            found = engine.compute(system("crystal8"))
            errors.append(np.abs(found.forces - exact.forces).max() / np.abs(exact.forces).max())
            assert errors[-1] < 20 * engine.filter_error[1]  # through three layers
        assert errors[0] > 10 * errors[1] > 20 * errors[2]
        assert network(model, filter_table=512).filter_error[0] < 5e-8


def liquid(n: int, rng) -> vl.Systems:
    side = (n / 0.1) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(int(np.ceil(n ** (1 / 3))))] * 3, indexing="ij"), -1).reshape(-1, 3)[:n]
    positions = (grid + 0.3 * rng.uniform(-1, 1, size=(n, 3))) * side / np.ceil(n ** (1 / 3))
    return vl.Systems.from_arrays(positions, rng.choice([1, 8], n), cell=np.eye(3) * side, pbc=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", ["schnet_small", "painn_small"])
def test_the_bits_do_not_depend_on_the_number_of_threads(model, dtype, rng):
    frames = [liquid(300, rng), *[liquid(int(n), rng) for n in rng.integers(1, 60, 30)]]
    engine, before, found = network(model, dtype=dtype), vl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            vl.set_num_threads(threads)
            both = [engine.compute(s, ("energy", "forces", "virial")) for s in (frames[0], vl.concat(frames))]
            found.append(both)
    finally:
        vl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            for name in ("energy", "forces", "virial"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(found[0][0].forces, found[0][1].forces[:300])


def test_a_model_is_copied_by_reading_its_file_again():
    engine = network("painn_small", dtype="float32", filter_table=128)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(engine)))
    assert repr(twin) == repr(engine) and "128 intervals" in repr(twin)
    np.testing.assert_array_equal(twin.compute(system("methane")).forces, engine.compute(system("methane")).forces)
    assert engine.memory_estimate(2000, 0) == 2 * engine.memory_estimate(1000, 0)


@pytest.mark.parametrize("model", MODELS)
def test_no_atoms_no_edges_and_two_atoms_in_one_place(model):
    engine = network(model)
    empty = engine.compute(vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.int64)), ALL)
    assert empty.forces.shape == (0, 3) and empty.energy.shape == (1,)
    lone = engine.compute(vl.Systems.from_arrays(np.zeros((1, 3)), [14]), ("energy", "forces"))
    np.testing.assert_array_equal(lone.forces, np.zeros((1, 3)))
    same = engine.compute(vl.Systems.from_arrays(np.zeros((2, 3)), [8, 1]), ("energy", "forces"))
    np.testing.assert_array_equal(same.forces, np.zeros((2, 3)))
    assert np.isfinite(same.energy).all()


def test_bad_requests_are_named():
    engine = network("schnet_small")
    with pytest.raises(ValueError, match=r"^`numbers` must be from 1 to 99, got 100 in row 1"):
        engine.compute(vl.Systems.from_arrays(np.eye(3)[:2], [8, 100]))
    with pytest.raises(ValueError, match=r"^`properties` must be among energy, .* got dipole"):
        engine.compute(system("methane"), ("energy", "dipole"))
    with pytest.raises(ValueError, match=r"^`properties` must not name stress for a system that is open, got system 0"):
        engine.compute(system("methane"), "stress")
    for options, message in [
        ({"dtype": "float16"}, r"^`dtype` must be float32, float64 or None"),
        ({"head": "x"}, r"^`head` must be None"),
        ({"filter_table": 3}, r"^`filter_table` must be from 8 to 65536 intervals, got 3"),
        ({"filter_table": 0.5}, r'^`filter_table` must be "auto", a number of intervals or None, got 0.5'),
    ]:
        with pytest.raises(ValueError, match=message):
            network("schnet_small", **options)


def test_the_ase_calculator_gives_the_models_numbers_and_keeps_energy_in_md():
    ase = pytest.importorskip("ase", reason="ase is not installed")
    from ase import units
    from ase.md.verlet import VelocityVerlet

    frame, engine = system("crystal8"), network("schnet_small", filter_table=64)
    atoms = ase.Atoms(frame.numbers, positions=frame.positions, cell=frame.cell[0], pbc=True)
    atoms.calc = engine.calculator()
    found = engine.compute(atoms, ("energy", "forces", "stress"))
    assert atoms.get_potential_energy() == found.energy[0]
    np.testing.assert_array_equal(atoms.get_forces(), found.forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), found.stress[0], atol=1e-15)
    totals = []
    dynamics = VelocityVerlet(atoms, timestep=0.2 * units.fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.run(60)
    assert np.ptp(totals) < 1e-3 * np.abs(np.diff([a for a in totals])).sum() + 1e-3


def parts(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def rewrite(path: Path, header: dict, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    "model, old, new, message",
    [
        ("schnet_small", "model: schnet", "model: so3net", "^`model` must be one of schnet, painn, got 'so3net'"),
        ("schnet_small", "radial_basis: gaussian", "radial_basis: spline", "^`radial_basis` must be one of"),
        ("schnet_small", "cutoff: 5.0", "cutoff: 4.9", "^`cutoff` must be 5.0 as the file's tensor, got 4.9"),
        ("schnet_small", "cutoff: 5.0", "cutoff: -5.0", "^`cutoff` must be positive"),
        ("schnet_small", "n_filters: 12", "n_filters: 13", r"must be of shape \[13, 16\], got \[12, 16\]"),
        (
            "schnet_small",
            "n_interactions: 3",
            "n_interactions: 2",
            "must hold known tensors only, got representation.int",
        ),
        ("painn_small", "n_interactions: 3", "n_interactions: 4", r"^`representation.*` must be"),
        (
            "painn_small",
            "seed: 13",
            "electronic_embeddings: [1]",
            "^`config` must hold known keys only, got electronic_em",
        ),
        ("painn_small", "cutoff_fn: cosine", "cutoff_fn: switch", "^`cutoff_fn` must be one of cosine, mollifier"),
        ("painn_small", "n_rbf: 20", "n_rbf: 1000000", "^`n_rbf` must be from 1 to 4096"),
        ("painn_dipole", "- polarizability", "- hessian", "^`heads` must be one of energy, dipole, polarizability"),
        ("painn_dipole", "- polarizability", "- energy", "^`aggregation_mode`|^`output_modules"),
    ],
)
def test_an_edited_configuration_is_refused_by_name(tmp_path, model, old, new, message):
    header, data = parts(DATA / f"{model}.safetensors")
    config = header["__metadata__"]["config"]
    assert old in config
    header["__metadata__"]["config"] = config.replace(old, new)
    with pytest.raises(ValueError, match=message):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))


def test_unknown_missing_and_misshapen_tensors_are_named(tmp_path):
    source = DATA / "painn_small.safetensors"
    header, data = parts(source)
    header["representation.electronic_embeddings.0.weight"] = header.pop("representation.filter_net.bias")
    with pytest.raises(ValueError, match=r"only, got representation.electronic_embeddings.0.weight$"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))
    header, data = parts(source)
    del header["representation.filter_net.bias"]
    with pytest.raises(ValueError, match=r"safetensors file|^`representation.filter_net.bias` must be a tensor of"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))
    header, data = parts(source)
    header["representation.filter_net.bias"]["shape"] = [12, 12]
    with pytest.raises(ValueError, match=r"^`representation.filter_net.bias` must be of shape \[144\], got \[12, 12\]"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))
    header, data = parts(source)
    start, _ = header["representation.filter_net.bias"]["data_offsets"]
    data = data[:start] + struct.pack("<d", float("nan")) + data[start + 8 :]
    with pytest.raises(ValueError, match=r"^`representation.filter_net.bias` must be finite, got nan"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))


def test_any_flipped_byte_is_an_error_or_another_model(tmp_path, rng):
    raw = (DATA / "schnet_small.safetensors").read_bytes()
    for place in [*rng.integers(0, len(raw), 40), *rng.integers(0, 5000, 40)]:
        changed = bytearray(raw)
        changed[place] ^= int(rng.integers(1, 256))
        path = tmp_path / "flipped.safetensors"
        path.write_bytes(bytes(changed))
        with contextlib.suppress(ValueError, TypeError):
            vl.load(path).compute(system("methane"))
