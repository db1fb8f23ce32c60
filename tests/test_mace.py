"""The MACE engine: mace-torch's results, the laws of mechanics, files that are wrong."""

from __future__ import annotations

import copy
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import valence as vl

DATA = Path(__file__).parent / "data" / "mace"
MODELS = ["residual_16_L1", "density_16_L1_heads2", "plain_8_L2", "options_4_three_layers"]
ALL = ("energy", "node_energy", "forces", "virial", "descriptors", "invariant_descriptors")


def cases() -> list[tuple[str, str]]:
    found = []
    for model in MODELS:
        with np.load(DATA / model / "reference.npz") as reference:
            found += [(model, name) for name in sorted({k.split("/")[0] for k in reference} - {"_batch"})]
    return found


def read(model: str, name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / model / "reference.npz") as reference:
        return {k.split("/")[1]: reference[k] for k in reference if k.startswith(f"{name}/")}


def systems_of(case) -> vl.Systems:
    return vl.Systems.from_arrays(case["positions"], case["numbers"], cell=case["cell"], pbc=case["pbc"])


def network(model: str, **options) -> vl.model.MaceModel:
    options.setdefault("radial", "exact")
    options.setdefault("head", 0)
    return vl.load(DATA / model / "model.safetensors", **options)


@pytest.mark.parametrize("model, name", cases())
def test_everything_is_mace_torchs(model, name):
    case = read(model, name)
    engine = network(model, head=int(case["head"]))
    periodic = bool(case["pbc"].all())
    found = engine.compute(systems_of(case), (*ALL, *(["stress"] if periodic else [])))
    np.testing.assert_allclose(found.energy, case["energy"][None], rtol=1e-11)
    np.testing.assert_allclose(found.node_energy, case["node_energy"], rtol=1e-10, atol=1e-10)
    scale = max(np.abs(case["forces"]).max(), 1e-3)
    np.testing.assert_allclose(found.forces, case["forces"], atol=1e-9 * scale)
    np.testing.assert_allclose(found.virial[0], case["virial"], atol=1e-9 * max(np.abs(case["virial"]).max(), 1e-3))
    np.testing.assert_allclose(found.descriptors, case["node_feats"], rtol=1e-10, atol=1e-10)
    channels = found.invariant_descriptors.shape[1] // len(engine._parts.layers)
    np.testing.assert_array_equal(found.invariant_descriptors[:, :channels], found.descriptors[:, :channels])
    if periodic:
        np.testing.assert_allclose(found.stress[0], case["stress"], atol=1e-10)


@pytest.mark.parametrize("model, name", cases())
def test_single_precision_is_close(model, name):
    case = read(model, name)
    systems = systems_of(case)
    found = network(model, head=int(case["head"]), dtype="float32").compute(systems)
    assert abs(found.energy[0] - case["energy"]) < 2e-5 * len(case["numbers"])
    assert np.abs(found.forces - case["forces"]).max() < 1e-5 * max(np.abs(case["forces"]).max(), 1e-2)


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_is_its_systems(model):
    names = [name for m, name in cases() if m == model]
    frames = [systems_of(read(model, name)) for name in names]
    engine = network(model)
    whole = engine.compute(vl.concat(frames), ("energy", "forces", "virial"))
    single = [engine.compute(f, ("energy", "forces", "virial")) for f in frames]
    np.testing.assert_allclose(whole.energy, np.concatenate([s.energy for s in single]), rtol=1e-13)
    np.testing.assert_allclose(whole.forces, np.concatenate([s.forces for s in single]), atol=1e-12)
    np.testing.assert_allclose(whole.virial, np.concatenate([s.virial for s in single]), atol=1e-11)


def crystal(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cell = np.diag([5.1, 4.8, 5.3]) + 0.3 * rng.normal(size=(3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) / 2.0
    return (grid + 0.05 * rng.normal(size=(8, 3))) @ cell, rng.choice([8, 14], 8), cell


@pytest.mark.parametrize("model", ["residual_16_L1", "plain_8_L2", "options_4_three_layers", "density_16_L1_heads2"])
def test_forces_and_stress_are_difference_quotients(model):
    positions, numbers, cell = crystal()
    engine = network(model)
    numbers = np.array(engine.elements)[numbers % len(engine.elements)]

    def energy(x, h):
        return float(engine.compute(vl.Systems.from_arrays(x, numbers, cell=h, pbc=True), "energy").energy[0])

    found = engine.compute(vl.Systems.from_arrays(positions, numbers, cell=cell, pbc=True), ("forces", "stress"))
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        step = np.zeros_like(positions)
        step[atom, axis] = 1e-4
        slope = (energy(positions + step, cell) - energy(positions - step, cell)) / 2e-4
        assert -found.forces[atom, axis] == pytest.approx(slope, rel=1e-5, abs=1e-7)
    volume = abs(np.linalg.det(cell))
    for a, b in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += 5e-6
        strain[b, a] += 5e-6
        values = [energy(positions @ (np.eye(3) + s * strain), cell @ (np.eye(3) + s * strain)) for s in (1, -1)]
        slope = (values[0] - values[1]) / 2e-5 / volume
        assert found.stress[0, a, b] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_energies_do_not_change_under_rotation_translation_and_permutation(rng):
    positions, numbers, cell = crystal()
    engine = network("residual_16_L1")
    reference = engine.compute(vl.Systems.from_arrays(positions, numbers, cell=cell, pbc=True), ("energy", "forces"))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = vl.Systems.from_arrays(positions @ q.T + 3.7, numbers, cell=cell @ q.T, pbc=True)
    found = engine.compute(turned, ("energy", "forces"))
    np.testing.assert_allclose(found.energy, reference.energy, rtol=1e-12)
    np.testing.assert_allclose(found.forces, reference.forces @ q.T, atol=1e-12)
    order = rng.permutation(8)
    shuffled = engine.compute(vl.Systems.from_arrays(positions[order], numbers[order], cell=cell, pbc=True))
    np.testing.assert_allclose(shuffled.energy, reference.energy, rtol=1e-12)
    np.testing.assert_allclose(shuffled.forces, reference.forces[order], atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_the_number_of_threads(dtype):
    positions, numbers, cell = crystal()
    repeated = np.concatenate([positions + np.array([i, j, 0]) @ cell for i in range(3) for j in range(2)])
    systems = vl.Systems.from_arrays(repeated, np.tile(numbers, 6), cell=cell * [[3], [2], [1]], pbc=True)
    engine, before, found = network("residual_16_L1", dtype=dtype), vl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            vl.set_num_threads(threads)
            found.append(engine.compute(systems, ("energy", "forces", "virial")))
    finally:
        vl.set_num_threads(before)
    for other in found[1:]:
        for name in ("energy", "forces", "virial"):
            np.testing.assert_array_equal(getattr(found[0], name), getattr(other, name))


def test_a_model_is_copied_by_reading_its_file_again():
    engine, case = network("density_16_L1_heads2", head="r2scan"), read("density_16_L1_heads2", "CO2")
    twin = pickle.loads(pickle.dumps(copy.deepcopy(engine)))
    assert "r2scan" in repr(twin) and repr(twin) == repr(engine)
    np.testing.assert_array_equal(twin.compute(systems_of(case)).forces, engine.compute(systems_of(case)).forces)


def test_no_atoms_and_no_edges():
    engine = network("residual_16_L1")
    nothing = vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.int64))
    assert engine.compute(nothing, "descriptors").descriptors.shape == (0, 80)
    empty = engine.compute(vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.int64)), ("energy", "forces"))
    assert empty.forces.shape == (0, 3)
    lone = engine.compute(vl.Systems.from_arrays(np.zeros((1, 3)), [14]), ("energy", "forces"))
    assert lone.forces.dtype == np.float64
    np.testing.assert_array_equal(lone.forces, np.zeros((1, 3)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([[0, 0, 0], [0, 0, 1.5]], [8, 6]), r"^`numbers` must be of the elements 8, 14, got 6 in row 1"),
        (([[0, 0, 0], [0, 0, 0]], [8, 14]), "^`positions` must be apart from each other"),
    ],
)
def test_bad_systems_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        network("residual_16_L1").compute(vl.Systems.from_arrays(np.array(arguments[0], float), np.array(arguments[1])))


def test_bad_requests_are_named():
    engine, open_ = network("residual_16_L1"), vl.Systems.from_arrays(np.zeros((1, 3)), [14])
    with pytest.raises(ValueError, match=r"^`properties` must be among energy, .* got dipole"):
        engine.compute(open_, ("energy", "dipole"))
    with pytest.raises(ValueError, match=r"^`properties` must not name stress for a system that is open, got system 0"):
        engine.compute(open_, "stress")
    with pytest.raises(ValueError, match=r"^`head` must be one of pbe, r2scan or its number, got 'nope'"):
        network("density_16_L1_heads2", head="nope")
    with pytest.raises(
        ValueError,
        match=r"^`head` must be given for a file of several heads: one of pbe, r2scan or its number, got None",
    ):
        network("density_16_L1_heads2", head=None)
    with pytest.raises(ValueError, match=r"^`dtype` must be float32, float64 or None"):
        network("residual_16_L1", dtype="float16")


def test_the_ase_calculator_gives_the_models_numbers_and_keeps_energy_in_md():
    ase = pytest.importorskip("ase", reason="ase is not installed")
    from ase import units
    from ase.md.verlet import VelocityVerlet

    positions, numbers, cell = crystal()
    engine = network("residual_16_L1")
    atoms = ase.Atoms(numbers, positions=positions, cell=cell, pbc=True, calculator=engine.calculator())
    found = engine.compute(atoms, ("energy", "forces", "stress"))
    assert atoms.get_potential_energy() == found.energy[0]
    np.testing.assert_array_equal(atoms.get_forces(), found.forces)
    voigt = found.stress[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(atoms.get_stress(), voigt, atol=1e-15)
    atoms.set_velocities(0.01 * np.random.default_rng(3).normal(size=(8, 3)))
    totals = []
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.run(60)
    assert np.ptp(totals) < 1e-5
    atoms.pbc = False
    with pytest.raises(NotImplementedError):
        atoms.get_stress()


def parts(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def rewrite(path: Path, header: dict, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


SOURCE = DATA / "options_4_three_layers" / "model.safetensors"


def test_a_truncated_file_is_an_error(tmp_path):
    raw = SOURCE.read_bytes()
    for n in [0, 7, 8, 100, *range(0, len(raw), len(raw) // 40)]:
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(raw[:n])
        with pytest.raises(ValueError, match="must be a safetensors file"):
            vl.load(cut)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        vl.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "model: ScaleShiftMACE",
            "model: AtomicDipolesMACE",
            "^`model` must be one of MACE, ScaleShiftMACE, got 'AtomicD",
        ),
        ("radial_type: gaussian", "radial_type: spline", "^`radial_type` must be one of bessel, gaussian, chebyshev"),
        ("r_max: 4.0", "r_max: -4.0", "^`r_max` must be positive and at most 100, got -4.0"),
        ("r_max: 4.0", "r_max: 4.0e4", "^`r_max` must be positive and at most 100, got 40000.0"),
        ("max_ell: 2", "max_ell: 3", "^`target_irreps|^`edge"),
        ("gate: silu", "gate: exec", "^`gate` must be one of"),
        ("num_interactions: 3", "num_interactions: 2", "^`num_interactions` must be 3"),
        ("RealAgnosticResidualInteractionBlock", "SomethingElse", r"^`interaction_cls\[\d\]` must be one of"),
        (
            "apply_cutoff: false",
            "apply_cutoff: false\nsurprise: 1",
            "^`config` must hold known keys only, got surprise",
        ),
        ("num_bessel: 6", "num_bessel: 1000000000", "^`num_bessel` must be from 1 to 1000"),
    ],
)
def test_an_edited_configuration_is_refused_by_name(tmp_path, old, new, message):
    header, data = parts(SOURCE)
    config = header["__metadata__"]["config"]
    assert old in config
    header["__metadata__"]["config"] = config.replace(old, new)
    with pytest.raises(ValueError, match=message):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    for name in ("interactions.0.linear_up.weight", "products.1.symmetric_contractions.contractions.0.U_2.index"):
        header, data = parts(SOURCE)
        entry = header.pop(name)
        header[f"{name}.renamed"] = entry
        with pytest.raises(ValueError, match=f"^`{name}` must be a tensor of the file|^`{name}` must be a tensor of"):
            vl.load(rewrite(tmp_path / "edited.safetensors", header, data))
    header, data = parts(SOURCE)
    header["interactions.0.linear_up.weight"]["shape"].insert(0, 1)
    with pytest.raises(ValueError, match=r"^`interactions.0.linear_up.weight` must be of shape \[16\], got \[1, 16\]"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))


def test_any_flipped_byte_is_an_error_or_another_model(tmp_path, rng):
    raw = SOURCE.read_bytes()
    for place in rng.integers(0, len(raw), 60):
        changed = bytearray(raw)
        changed[place] ^= int(rng.integers(1, 256))
        path = tmp_path / "flipped.safetensors"
        path.write_bytes(bytes(changed))
        try:
            engine = vl.load(path)
            engine.compute(vl.Systems.from_arrays(np.zeros((1, 3)), [engine.elements[0]]), "energy")
        except (ValueError, TypeError):
            pass


def test_the_couplings_of_a_file_stay_within_its_features(tmp_path):
    header, data = parts(SOURCE)
    name = "products.0.symmetric_contractions.contractions.0.U_2.index"
    start, end = header[name]["data_offsets"]
    bad = np.frombuffer(data[start:end], np.int16).copy()
    bad[1] = 999
    data = data[:start] + bad.tobytes() + data[end:]
    path = rewrite(tmp_path / "edited.safetensors", header, data)
    with pytest.raises(ValueError, match=f"^`{name}` must be below"):
        vl.load(path)


@pytest.mark.parametrize("model, name", cases())
@pytest.mark.parametrize("dtype, bound", [("float64", 3e-8), ("float32", 2e-5)])
def test_tables_of_radial_functions_keep_their_error(model, name, dtype, bound):
    case = read(model, name)
    head = int(case["head"])
    exact = network(model, head=head).compute(systems_of(case), ("energy", "forces"))
    table = network(model, head=head, radial="spline", dtype=dtype)
    found = table.compute(systems_of(case), ("energy", "forces"))
    scale = max(np.abs(exact.forces).max(), 1e-2)
    assert np.abs(found.forces - exact.forces).max() < bound * scale
    assert np.abs(found.energy - exact.energy).max() < bound * len(case["numbers"])


def test_forces_of_tables_are_the_derivative_of_their_energy():
    case = read(*cases()[0])
    engine = network(cases()[0][0], radial="spline")
    forces = engine.compute(systems_of(case), ("forces",)).forces
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for step in (1e-4, -1e-4):
            moved = dict(case)
            moved["positions"] = case["positions"].copy()
            moved["positions"][atom, axis] += step
            energies.append(engine.compute(systems_of(moved), ("energy",)).energy[0])
        assert abs((energies[1] - energies[0]) / 2e-4 - forces[atom, axis]) < 1e-7


def test_closer_pairs_than_the_tables_hold_are_exact():
    systems = vl.Systems.from_arrays([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 1.1, 0.0]], [6, 1, 1])
    model = next(m for m in MODELS if {1, 6} <= set(network(m).elements))
    exact, table = (network(model, radial=r).compute(systems) for r in ("exact", "spline"))
    np.testing.assert_allclose(table.forces, exact.forces, atol=1e-7 * np.abs(exact.forces).max())


@pytest.mark.parametrize("model", MODELS)
def test_messages_made_twice_are_the_messages_kept(model):
    systems = vl.concat([systems_of(read(m, name)) for m, name in cases() if m == model])
    kept, again = (network(model, memory=memory).compute(systems) for memory in (None, 0))
    np.testing.assert_array_equal(kept.forces, again.forces)
    np.testing.assert_array_equal(kept.energy, again.energy)


@pytest.mark.parametrize("option", [{"radial": "cubic"}, {"memory": -1}, {"memory": "1 GB"}, {"memory": True}])
def test_options_out_of_their_range_are_named(option):
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
        network(MODELS[0], **option)


@pytest.mark.parametrize("model", MODELS)
def test_many_atoms_in_any_order_are_their_cell_repeated(model):
    """Beyond 256 atoms the engine renumbers atoms; results come back in the caller's order."""
    case = next(c for c in (read(m, name) for m, name in cases() if m == model) if c["pbc"].all())
    one = network(model).compute(systems_of(case), ("node_energy", "forces", "stress", "descriptors"))
    times = int(np.ceil((300 / len(case["numbers"])) ** (1 / 3)))
    shifts = np.stack(np.meshgrid(*[np.arange(times)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ case["cell"]
    order = np.random.default_rng(3).permutation(len(shifts) * len(case["numbers"]))
    positions = (case["positions"] + shifts[:, None]).reshape(-1, 3)[order]
    atom = order % len(case["numbers"])
    systems = vl.Systems.from_arrays(positions, case["numbers"][atom], cell=times * case["cell"], pbc=True)
    assert len(positions) > 256
    many = network(model).compute(systems, ("node_energy", "forces", "stress", "descriptors"))
    scale = max(np.abs(one.forces).max(), 1e-2)
    np.testing.assert_allclose(many.node_energy, one.node_energy[atom], atol=1e-10)
    np.testing.assert_allclose(many.forces, one.forces[atom], atol=1e-10 * scale)
    np.testing.assert_allclose(many.stress, one.stress, atol=1e-12)
    np.testing.assert_allclose(many.descriptors, one.descriptors[atom], atol=1e-9)
