"""What every model refuses, by name, before it computes anything."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import valence as vl

DATA = Path(__file__).parent / "data"
FILES = [DATA / "mace/residual_16_L1/model.safetensors"] + [
    DATA / f"engine/{name}_small.safetensors" for name in ("schnet", "painn")
]
FAMILIES = pytest.mark.parametrize("path", FILES, ids=["mace", "schnet", "painn"])


def pair(distance: float) -> vl.Systems:
    """A dimer at 1.1 Angstrom, and a second one."""
    positions = [[0.0, 0, 0], [0, 0, 1.1], [0, 0, 0], [0, 0, distance]]
    return vl.Systems.from_arrays(np.array(positions), [8, 8, 8, 8], counts=[2, 2])


@FAMILIES
@pytest.mark.parametrize("distance", [1e-18, 1e-150])
def test_atoms_without_a_direction_between_them_are_named_by_row_and_system(path, distance):
    message = (
        rf"^`positions` must be apart from each other, got {distance:g} Angstrom between rows 2 and 3 of system 1$"
    )
    for dtype in ("float64", "float32"):
        with pytest.raises(ValueError, match=message):
            vl.load(path, dtype=dtype).compute(pair(distance))


def test_atoms_in_one_place_are_named_by_row_and_system():
    message = r"^`positions` must be apart from each other, got 0 Angstrom between rows 2 and 3 of system 1$"
    with pytest.raises(ValueError, match=message):
        vl.load(FILES[0]).compute(pair(0.0))
    torch = pytest.importorskip("torch")
    from valence.torch import Mace

    with pytest.raises(ValueError, match=message), torch.no_grad():
        Mace(FILES[0]).energy_and_forces(pair(0.0))


@FAMILIES
def test_a_list_that_is_not_of_all_pairs_in_both_directions_is_refused(path):
    model, systems = vl.load(path), pair(1.2)
    own = model.compute(systems)
    found = model.compute(systems, edges=vl.find_edges(systems, model.cutoff + 1))
    np.testing.assert_array_equal(found.forces, own.forces)
    crystal = vl.Systems.from_arrays(np.zeros((1, 3)), [8], cell=3.0 * np.eye(3), pbc=True)
    for batch, edges in [
        (systems, vl.find_edges(systems, model.cutoff, half=True)),
        (crystal, vl.find_edges(crystal, model.cutoff, half=True)),
        (crystal, vl.find_edges(crystal, model.cutoff, k=2)),
    ]:
        with pytest.raises(ValueError, match=r"^`edges` must have each pair in both directions, got Edges\(\d+ edges"):
            model.compute(batch, edges=edges)
    with pytest.raises(TypeError, match=r"^`edges` must be of valence.find_edges .*, got a int"):
        model.compute(systems, edges=3)


@FAMILIES
def test_properties_are_names_or_none_for_the_usual_ones(path):
    model = vl.load(path)
    usual = model.compute(pair(1.2), None)
    np.testing.assert_array_equal(usual.forces, model.compute(pair(1.2), ["forces", "forces"]).forces)
    assert usual.energy is not None and usual.node_energy is None
    with pytest.raises(TypeError, match=r"^`properties` must be names among energy, .*, got 3$"):
        model.compute(pair(1.2), 3)
    with pytest.raises(ValueError, match=r"^`properties` must be among energy, .*, got 3$"):
        model.compute(pair(1.2), [3])


def test_a_committee_computes_the_usual_properties_of_its_members():
    committee = vl.load([DATA / "engine/painn_dipole.safetensors"] * 2)
    assert committee.compute(vl.samples("water")[:1]).dipole.shape == (1, 3)


@pytest.mark.parametrize("kind", ["zip", "pickle"])
def test_a_checkpoint_is_sent_to_the_converter(tmp_path, kind):
    path = tmp_path / "my.model"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("my/data.pkl", pickle.dumps({"a": 1}))
    else:
        path.write_bytes(pickle.dumps({"a": list(range(100))}, protocol=2))
    with pytest.raises(
        ValueError, match=rf"^`path` must be a safetensors file, got {path}, .* `valence convert {path} "
    ):
        vl.load(path)


@pytest.mark.parametrize("path", [None, 3, b"model.safetensors", [3]])
def test_what_is_no_path_is_named(path):
    with pytest.raises(TypeError, match=r"^`path` must be a file or several, got "):
        vl.load(path)


def test_the_command_converts_models_of_every_family_and_passes_units(tmp_path, monkeypatch, capsys):
    from valence.cli import main
    from valence.model import converting

    def converted(source, target, **options):
        Path(target).write_bytes(b"12345")
        calls.append(options)
        return {"model": "painn"}  # a schnetpack file lists no elements

    calls = []
    module = type("Module", (), {"convert": staticmethod(converted)})
    monkeypatch.setattr(converting.importlib, "import_module", lambda name: module)
    command = ["convert", "best_model", str(tmp_path / "out.safetensors"), "--family", "schnetpack"]
    assert main(command) == 0 and "painn, 5 bytes" in capsys.readouterr().out
    assert main([*command, "--units", "kcal/mol", "Angstrom"]) == 0
    assert calls == [{}, {"units": {"energy": "kcal/mol", "length": "Angstrom"}}]
    assert main([*command[:-1], "mace", "--units", "kcal/mol", "Angstrom"]) == 1
    assert "`units` must be None for a mace model" in capsys.readouterr().err


@FAMILIES
def test_a_dtype_is_named_as_text(path):
    for dtype in ("f4", np.float32, np.dtype("float32"), ["float32"]):
        with pytest.raises(ValueError, match=r"^`dtype` must be float32, float64 or None, got "):
            vl.load(path, dtype=dtype)


def test_memory_is_a_number_of_bytes():
    with pytest.raises(ValueError, match=r"^`memory` must be a number of bytes below 2\^63 or None, got 1000"):
        vl.load(FILES[0], memory=10**30)


def test_the_calculator_offers_what_its_model_has_and_refuses_unknown_options():
    ase = pytest.importorskip("ase")
    committee, painn = vl.load([FILES[0]] * 2), vl.load(DATA / "engine/painn_dipole.safetensors")
    assert not {"descriptors", "invariant_descriptors"} & set(committee.calculator().implemented_properties)
    assert "hessian" in committee.calculator().implemented_properties
    water = ase.Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    found = painn.calculator().get_property("polarizability", water)
    np.testing.assert_array_equal(found, painn.compute(water, "polarizability").polarizability[0])
    with pytest.raises(TypeError, match=r"^calculator takes skin, restart, label, atoms, directory, got `skinn`"):
        committee.calculator(skinn=0.5)
    with pytest.raises(ValueError, match=r"^`atoms` must be given, got None"):
        committee.calculator().calculate()


def test_the_torch_network_of_mace_names_another_family_and_another_precision():
    torch = pytest.importorskip("torch")
    from valence.torch import Mace

    with pytest.raises(
        ValueError, match=r"^`path` must be a file of a MACE network, got one of the family schnetpack$"
    ):
        Mace(FILES[1])
    for dtype in ("float32", torch.float16):
        with pytest.raises(ValueError, match=r"^`dtype` must be torch.float32, torch.float64 or None, got "):
            Mace(FILES[0], dtype=dtype)


def test_the_trained_network_names_bad_arguments():
    torch = pytest.importorskip("torch")
    from valence.train import EngineNetwork

    usual = {"elements": [1, 8], "widths": [4, 2], "cutoff": 3.0, "k": 8}
    for change, message in [
        ({"elements": []}, "^`elements` must be distinct numbers from 1 to 118, got "),
        ({"elements": ["H"]}, "^`elements` must be distinct numbers from 1 to 118, got "),
        ({"widths": [-1, 2]}, "^`widths` must be at least two positive whole numbers, got "),
        ({"widths": [2.5, 2]}, "^`widths` must be at least two positive whole numbers, got "),
        ({"k": 1}, "^`k` must be a whole number of radial functions, at least 2, got 1"),
        ({"dtype": torch.float16}, "^`dtype` must be torch.float32 or torch.float64, got "),
    ]:
        with pytest.raises(ValueError, match=message):
            EngineNetwork(**{**usual, **change})
    network, water = EngineNetwork(**usual), vl.Systems.from_arrays(np.eye(3), [8, 1, 1])
    with pytest.raises(ValueError, match=r"^`feats` must be a tensor of shape \[3, 4\], got \[2, 4\]"):
        network(water, feats=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"^`feats` must be a tensor of shape \[3, 4\], got ndarray"):
        network(water, feats=np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"^`positions` must be a tensor of shape \[3, 3\], got \[4, 3\]"):
        network(water, positions=torch.zeros(4, 3))


@pytest.mark.parametrize("threads", [0, -1, "a", True, 5000])
def test_threads_of_load_are_named_as_the_caller_named_them(threads):
    with pytest.raises(ValueError, match=r"^`threads` must be a number from 1 to 4096 or None, got "):
        vl.load(FILES[0], threads=threads)
