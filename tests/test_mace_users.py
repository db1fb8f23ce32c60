"""What users of a MACE model meet: committees, the calculator, second derivatives, tables, refusals."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from test_mace import DATA, SOURCE, crystal, network, parts, read, rewrite, systems_of


@pytest.fixture(scope="module")
def committee_files(tmp_path_factory) -> list[Path]:
    """Two models that know 8 and 14, one with other weights and a smaller cutoff."""
    first = DATA / "residual_16_L1" / "model.safetensors"
    header, data = parts(first)
    config = header["__metadata__"]["config"]
    assert "r_max: 5.0" in config
    header["__metadata__"]["config"] = config.replace("r_max: 5.0", "r_max: 4.5")
    start, end = header["interactions.0.linear_up.weight"]["data_offsets"]
    weights = 1.05 * np.frombuffer(data[start:end], np.float64)
    data = data[:start] + weights.tobytes() + data[end:]
    return [first, rewrite(tmp_path_factory.mktemp("committee") / "second.safetensors", header, data)]


def periodic() -> vl.Systems:
    positions, numbers, cell = crystal()
    return vl.Systems.from_arrays(positions, numbers, cell=cell, pbc=True)


def test_a_committee_gives_the_mean_and_the_spread_of_its_members(committee_files):
    committee, singles = vl.load(committee_files), [vl.load(f) for f in committee_files]
    assert committee.cutoff == 5.0 and committee.elements == (8, 14) and len(committee) == 2
    wanted = ("energy", "node_energy", "forces", "stress", "virial", "descriptors")
    found, members = committee.compute(periodic(), wanted), [m.compute(periodic(), wanted) for m in singles]
    for name in wanted[:-1]:
        values = np.stack([getattr(m, name) for m in members])
        assert np.abs(values[0] - values[1]).max() > 1e-6
        np.testing.assert_array_equal(getattr(found, name), values.mean(axis=0))
        np.testing.assert_array_equal(getattr(found, f"{name}_std"), values.std(axis=0))
        for own, member in zip(found.members, members):
            np.testing.assert_array_equal(getattr(own, name), getattr(member, name))
    assert found.descriptors is None and found.members[0].descriptors.shape == (8, 80)
    assert "Committee([MaceModel(" in repr(committee) and "forces_std[8, 3]" in repr(found)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(committee)))
    np.testing.assert_array_equal(twin.compute(periodic()).forces_std, found.forces_std)


def test_a_committee_refuses_what_a_member_cannot_do(committee_files):
    with pytest.raises(ValueError, match=r"^`models` must know an element in common, got 8, 14; 11, 17"):
        vl.load([committee_files[0], DATA / "plain_8_L2" / "model.safetensors"])
    mixed = vl.load([committee_files[0], SOURCE])  # 8, 14 and 1, 8
    assert mixed.elements == (8,)
    with pytest.raises(ValueError, match=r"^`numbers` must be of the elements 8, got 14 in row 1"):
        mixed.compute(vl.Systems.from_arrays([[0.0, 0, 0], [0, 0, 1.5]], [8, 14]))
    with pytest.raises(ValueError, match=r"^`properties` must be among energy, .* got dipole"):
        mixed.compute(periodic(), "dipole")
    with pytest.raises(ValueError, match=r"^`models` must be two or more, got 1"):
        vl.Committee([vl.load(SOURCE)])
    with pytest.raises(ValueError, match=r"^`path` must be a file or several, got none"):
        vl.load([])
    assert isinstance(vl.load([SOURCE]), vl.model.MaceModel)


def test_a_list_that_reaches_farther_changes_nothing_and_a_foreign_one_is_refused():
    engine = network("residual_16_L1")
    edges, own = vl.find_edges(periodic(), 6.5), engine.compute(periodic(), ("energy", "forces"))
    found = engine.compute(periodic(), ("energy", "forces"), edges=edges)
    np.testing.assert_array_equal(found.forces, own.forces)
    with pytest.raises(ValueError, match=r"^`edges` must be of these 1 systems with 1 atoms"):
        engine.compute(vl.Systems.from_arrays([[0.0, 0, 0]], [8]), edges=edges)


@pytest.mark.parametrize(
    "model, name", [("residual_16_L1", "dimer"), ("density_16_L1_heads2", "H2O"), ("options_4_three_layers", "H2O")]
)
@pytest.mark.parametrize("dtype, radial", [("float64", "exact"), ("float64", "spline"), ("float32", "exact")])
def test_the_hessian_is_mace_torchs(model, name, dtype, radial):
    case = read(model, name)
    n, exact = len(case["numbers"]), case["hessian"]
    found = (
        network(model, head=int(case["head"]), dtype=dtype, radial=radial).compute(systems_of(case), "hessian").hessian
    )
    assert found.shape == (n, 3, n, 3)
    # Central differences of the forces with one Richardson step; measured below 1e-9 of the largest entry.
    np.testing.assert_allclose(found.reshape(3 * n, n, 3), exact, atol=1e-8 * np.abs(exact).max())


def test_hessians_of_a_batch_are_those_of_its_systems_and_know_translations():
    engine = network("residual_16_L1")
    lone = vl.Systems.from_arrays([[1.0, 2.0, 3.0]], [8])
    both = engine.compute(vl.concat([periodic(), lone]), ("energy", "hessian"))
    assert [h.shape for h in both.hessian] == [(8, 3, 8, 3), (1, 3, 1, 3)]
    np.testing.assert_array_equal(both.hessian[0], engine.compute(periodic(), "hessian").hessian)
    np.testing.assert_allclose(both.hessian[0].sum(axis=2), 0.0, atol=1e-8)
    np.testing.assert_array_equal(both.hessian[1], np.zeros((1, 3, 1, 3)))


def test_descriptors_come_layer_by_layer():
    found = network("residual_16_L1").compute(periodic(), ("descriptors", "invariant_descriptors"))
    first, last = found.layers()
    assert first.shape == (8, 64) and last.shape == (8, 16)
    np.testing.assert_array_equal(np.concatenate([first, last], axis=1), found.descriptors)
    for whole, part in zip(found.layers(), found.layers("invariant_descriptors")):
        np.testing.assert_array_equal(whole[:, :16], part)
    with pytest.raises(ValueError, match=r"^`name` must be a property that was computed layer by layer"):
        network("residual_16_L1").compute(periodic()).layers()


def test_results_are_tables_that_are_systems_again():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    found = network("residual_16_L1").compute(periodic(), ("energy", "forces", "stress", "node_energy"))
    assert found.systems.columns == ["system", "cell", "pbc", "energy", "stress"]
    assert found.atoms.columns == ["system", "number", "position", "node_energy", "forces"]
    assert found.systems["stress"].dtype == pl.Array(pl.Float64, 9)
    np.testing.assert_array_equal(found.atoms["forces"].to_numpy(), found.forces)
    again = vl.Systems.from_tables(found.atoms, found.systems)
    np.testing.assert_array_equal(again.positions, periodic().positions)
    assert again.info["energy"][0] == found.energy[0]


def test_load_takes_the_options_of_the_family_and_refuses_others():
    with pytest.raises(ValueError, match=r"^`device` must be cpu, as models run on no other device yet, got 'cuda'"):
        vl.load(SOURCE, device="cuda")
    with pytest.raises(TypeError, match=r"for a mace file, got `surprise`"):
        vl.load(SOURCE, surprise=1)
    vl.load(SOURCE, threads=2)
    assert vl.get_num_threads() == 2
    with pytest.raises(ValueError, match=r"^`threads` must be a number from 1 to 4096"):
        vl.load(SOURCE, threads=0)


class TestCalculator:
    @pytest.fixture
    def atoms(self):
        ase = pytest.importorskip("ase", reason="ase is not installed")
        positions, numbers, cell = crystal()
        return ase.Atoms(numbers, positions=positions, cell=cell, pbc=True)

    def test_it_computes_once_for_all_properties_and_when_atoms_moved(self, atoms):
        atoms.calc = network("residual_16_L1").calculator()
        energy = atoms.get_potential_energy()
        assert atoms.get_potential_energy(force_consistent=True) == energy
        forces = atoms.get_forces()
        atoms.get_stress()
        assert atoms.get_potential_energies().sum() == pytest.approx(energy, rel=1e-12)
        assert atoms.calc.n_computed == 1
        assert atoms.calc.get_property("descriptors", atoms).shape == (8, 80)
        assert atoms.calc.results["forces"] is forces or np.array_equal(atoms.calc.results["forces"], forces)
        assert atoms.calc.n_computed == 2 and atoms.get_potential_energy() == energy
        atoms.rattle(0.01, seed=1)
        assert atoms.get_potential_energy() != energy and atoms.calc.n_computed == 3
        assert "descriptors" not in atoms.calc.results
        assert atoms.calc.get_property("hessian", atoms).shape == (8, 3, 8, 3)
        with pytest.raises(NotImplementedError):
            atoms.get_magnetic_moments()

    def test_dynamics_with_a_skin_gives_the_numbers_of_fresh_lists(self, atoms):
        from ase import units
        from ase.md.verlet import VelocityVerlet

        engine, found = network("residual_16_L1"), {}
        velocities = 0.01 * np.random.default_rng(3).normal(size=(8, 3))
        for skin in (0.0, 0.6):
            moving = atoms.copy()
            moving.calc = engine.calculator(skin=skin)
            moving.set_velocities(velocities)
            VelocityVerlet(moving, timestep=1.0 * units.fs).run(30)
            found[skin] = moving
        np.testing.assert_array_equal(found[0.6].positions, found[0.0].positions)
        np.testing.assert_array_equal(found[0.6].get_forces(), found[0.0].get_forces())
        assert found[0.0].calc.neighbors.n_builds == 31 and found[0.6].calc.neighbors.n_builds < 6

    def test_optimisers_relax_atoms_and_cell(self, atoms):
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS, FIRE

        atoms.calc = network("residual_16_L1").calculator(skin=0.3)
        start = atoms.get_potential_energy()
        FIRE(atoms, logfile=None).run(fmax=0.05, steps=20)
        middle = atoms.get_potential_energy()
        assert middle < start
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=10)
        assert atoms.get_potential_energy() < middle

    def test_copies_and_pickles_work_on_their_own(self, atoms):
        atoms.calc = network("residual_16_L1").calculator(skin=0.5)
        forces = atoms.get_forces()
        for twin in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
            assert twin.calc is not atoms.calc and twin.calc.neighbors is not atoms.calc.neighbors
            np.testing.assert_array_equal(twin.get_forces(), forces)
            twin.positions[0] += 0.05
            assert not np.array_equal(twin.get_forces(), forces)
        np.testing.assert_array_equal(atoms.get_forces(), forces)

    def test_a_committee_says_how_sure_it_is(self, atoms, committee_files):
        committee = vl.load(committee_files)
        atoms.calc = committee.calculator(skin=0.4)
        found = committee.compute(atoms, ("energy", "forces", "stress"))
        assert atoms.get_potential_energy() == found.energy[0]
        np.testing.assert_array_equal(atoms.get_forces(), found.forces)
        assert atoms.calc.results["energy_std"] == found.energy_std[0] > 0
        np.testing.assert_array_equal(atoms.calc.get_property("forces_std", atoms), found.forces_std)
        assert atoms.calc.results["stress_std"].shape == (6,) and atoms.calc.results["node_energy_std"].shape == (8,)

    def test_open_systems_have_no_stress_and_frames_are_written_with_results(self, atoms, tmp_path):
        from ase.io import read, write

        atoms.pbc = False
        atoms.calc = network("residual_16_L1").calculator()
        with pytest.raises(NotImplementedError):
            atoms.get_stress()
        write(tmp_path / "frame.extxyz", atoms)
        again = read(tmp_path / "frame.extxyz")
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-7)


@pytest.mark.parametrize(
    "text, message",
    [
        ("!!python/object/apply:os.system ['echo hostile']", "^`config` of .* must be a mapping"),
        ("r_max: !!python/object/apply:os.system ['echo hostile']", "^`config` must be|^`interaction_cls`|^`r_max`"),
        ("- 1\n- 2", "^`config` of .* must be a mapping"),
        ("a: &a [1]\nb: *a\n" * 2, "^`config` must be|^`interaction_cls` must be in"),
        ("{" * 5000, "^`config` must be"),
        ("[" * 100000, "^`config` must be"),
        ("x: " + "9" * 500, "^`interaction_cls`|^`config` must be"),
        ("\x00", "^`config` must be"),
        ("", "^`config` of .* must be a mapping|^`config` must be"),
    ],
)
def test_hostile_yaml_is_an_error(tmp_path, text, message, capfd):
    header, data = parts(SOURCE)
    header["__metadata__"]["config"] = text
    with pytest.raises(ValueError, match=message):
        vl.load(rewrite(tmp_path / "hostile.safetensors", header, data))
    assert "hostile" not in capfd.readouterr().out.replace("hostile.safetensors", "")


@pytest.mark.parametrize(
    "dtype, message", [("I64", "must be of a kind like float64, got int64"), ("BF16", "must be of dtype F64, F32")]
)
def test_tensors_of_another_dtype_are_refused(tmp_path, dtype, message):
    header, data = parts(SOURCE)
    entry = header["interactions.0.linear_up.weight"]
    entry["dtype"] = dtype
    if dtype == "BF16":  # two bytes each
        entry["shape"] = [entry["shape"][0] * 4]
    with pytest.raises((ValueError, TypeError), match=message):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))


def test_values_that_are_not_finite_are_refused(tmp_path):
    header, data = parts(SOURCE)
    start, _ = header["interactions.0.linear_up.weight"]["data_offsets"]
    data = data[:start] + np.array([np.nan]).tobytes() + data[start + 8 :]
    with pytest.raises(ValueError, match=r"^`interactions.0.linear_up.weight` must be finite, got nan"):
        vl.load(rewrite(tmp_path / "edited.safetensors", header, data))
    with pytest.raises(ValueError, match="positions"):
        network("residual_16_L1").compute(vl.Systems.from_arrays([[0.0, 0.0, np.nan]], [8]))


def test_every_configuration_key_is_needed_and_typed(tmp_path):
    import yaml

    header, data = parts(SOURCE)
    config = yaml.safe_load(header["__metadata__"]["config"])
    for key in config:
        for changed in ({k: v for k, v in config.items() if k != key}, {**config, key: {"un": "known"}}):
            header["__metadata__"]["config"] = json.dumps(changed)
            path = rewrite(tmp_path / "edited.safetensors", header, data)
            if key == "product_irreps_out":  # follows from hidden_irreps
                continue
            with pytest.raises(ValueError):
                vl.load(path)


def test_empty_batches_and_systems_give_empty_results():
    engine = network("density_16_L1_heads2", head="pbe")
    none = vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.int64), counts=np.zeros(0, np.int64))
    found = engine.compute(none, ("energy", "forces", "stress", "virial", "node_energy", "hessian"))
    assert found.energy.shape == (0,) and found.stress.shape == found.virial.shape == (0, 3, 3) and found.hessian == []
    mixed = vl.Systems.from_arrays(np.zeros((1, 3)), [1], counts=[0, 1, 0])
    found = engine.compute(mixed, ("energy", "forces"))
    assert found.energy.shape == (3,) and found.energy[0] == found.energy[2] == 0.0 and found.energy[1] != 0.0
