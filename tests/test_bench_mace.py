"""The suite of MACE: its cells, its references carried to larger ones, what it marks as wrong, programs, relations."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from valence.bench import data, data_mace, models, oracle, peers, runner, suite

pytest.importorskip("yaml")
NETWORK = Path(__file__).parent / "data" / "mace" / "residual_16_L1" / "model.safetensors"


def systems(numbers, positions, frame):
    return vl.Systems.from_arrays(positions, numbers, cell=frame[None], pbc=np.full((1, 3), bool(frame.any())))


def workload(name, repeats=1, **keys):
    cell = {"kind": "mace_cell", "cell": "silica", "model": "net", "repeats": repeats}
    return {"name": name, "op": "mace", "data": cell, "backends": ["cpu"], "rounds": 1, "warmup": 1, **keys}


def run(workloads, out, **keys):
    return runner.run(suite.parse({"workloads": workloads, **keys}, "mace"), runner.Settings(out, progress=False))


@pytest.fixture(scope="module")
def peer():
    """Energy, forces by autograd and stress by differences of strained energies, of the layers in torch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from valence.torch.mace import Mace

    network = Mace(NETWORK, dtype=torch.float64)
    numbers, x, frame = data_mace.silica()
    energy, forces = network.energy_and_forces(systems(numbers, x, frame))

    def strained(a, b, h):
        turn = np.eye(3)
        turn[a, b] += h / 2
        turn[b, a] += h / 2
        return systems(numbers, x @ turn, frame @ turn)

    places = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    batch = vl.concat([strained(a, b, h) for a, b in places for h in (1e-4, -1e-4)])
    ends = network.energy_and_forces(batch)[0].detach().numpy().reshape(-1, 2)
    stress = np.zeros((3, 3))
    for (a, b), (up, down) in zip(places, ends, strict=True):
        stress[a, b] = stress[b, a] = (up - down) / 2e-4 / np.linalg.det(frame)
    return {"silica/positions": x, "silica/num_edges": np.array(2868), "silica/energy": energy.detach().numpy().sum(),
            "silica/forces": forces.detach().numpy(), "silica/stress": stress}  # fmt: skip


@pytest.fixture
def references(peer, tmp_path, monkeypatch):
    """A folder of models with one network of O and Si."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALENCE_BENCH_MODELS", str(tmp_path))
    (tmp_path / "net.safetensors").write_bytes(NETWORK.read_bytes())
    np.savez(tmp_path / "net.npz", **peer)
    return peer


def test_the_cell_of_silicon_and_oxygen_has_2868_edges_and_no_cell_has_atoms_in_one_place():
    for name, make in data_mace.CELLS.items():
        numbers, x, frame = make()
        pbc = np.full(3, bool(frame.any()))
        i, _, _, v = oracle.edges_of_system(x, frame, pbc, data_mace.R_MAX)
        assert len(numbers) == len(x) and set(numbers) <= set(data_mace.ELEMENTS)
        assert np.sqrt((v * v).sum(1)).min() > 0.9, name
        if name == "silica":
            assert len(i) == 2868
        if name == "hexane":
            assert len(numbers) == 20


def test_repeated_cells_agree_with_the_references_of_the_small_one_in_both_precisions(references, tmp_path):
    tolerance = {"float64": {"rtol": 1e-7, "atol": 1e-6}, "float32": {"rtol": 1e-5, "atol": 1e-3}}
    made = run(
        [workload(f"x{n}", n, dtype=["float64", "float32"], tolerance=tolerance) for n in (1, 2)], tmp_path / "a.json"
    )
    assert {p["status"] for p in made["points"]} == {"ok"}, [p["reason"] for p in made["points"]]
    assert sorted({(p["N"], p["edges"]) for p in made["points"]}) == [(64, 2868), (512, 8 * 2868)]
    header, row = (tmp_path / "a.csv").read_text().splitlines()[:2]
    found = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(found["per_edge_ns"]) == pytest.approx(1e9 * float(found["wall_median"]) / 2868)


@pytest.mark.parametrize("key", ["energy", "forces", "stress"])
def test_a_reference_that_is_off_by_a_thousandth_marks_the_row_wrong(references, tmp_path, key):
    np.savez(tmp_path / "net.npz", **{**references, f"silica/{key}": 1.001 * references[f"silica/{key}"]})
    made = run([workload("x", tolerance={"rtol": 1e-6, "atol": 1e-6})], tmp_path / "a.json")
    assert made["points"][0]["status"] == "wrong"
    assert runner.exit_code(made) == 2


def test_references_of_another_cell_and_missing_ones_say_what_to_run(references, tmp_path):
    moved = references["silica/positions"] + 0.01
    np.savez(tmp_path / "net.npz", **{**references, "silica/positions": moved})
    with pytest.raises(ValueError, match=r"must be of the cell silica .* valence.bench models"):
        run([workload("x")], tmp_path / "a.json")
    (tmp_path / "net.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"valence.bench models"):
        data.make(workload("x")["data"], "float64", 0, tmp_path)


def test_an_open_cell_is_not_repeated(references):
    np.savez("net.npz", **{"hexane/num_edges": np.array(340)})
    with pytest.raises(ValueError, match="`repeats` must be 1 for an open cell, got 2"):
        data.make({"kind": "mace_cell", "cell": "hexane", "model": "net", "repeats": 2}, "float64", 0, None)


def test_the_first_energy_is_timed_in_a_new_interpreter(references, tmp_path):
    made = run([{**workload("x"), "op": "mace_start"}], tmp_path / "a.json", relations=[
        {"name": "seconds", "seconds": {"workload": "x", "backend": "cpu"}, "at_most": 60.0}])  # fmt: skip
    (point,), (relation,) = made["points"], made["ratios"]
    assert point["status"] == "ok", point["reason"]
    assert relation["ratio"] == pytest.approx(point["wall_median"]) and relation["reached"]
    assert point["wall_median"] > 0.03  # an interpreter does not start faster


def test_a_program_that_fails_fails_its_row_and_one_without_its_library_is_skipped(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    programs = {
        "right": "import sys, json, numpy; v = numpy.load(sys.argv[1])['vectors']; print('talks'); print(json.dumps({'length': list(map(float, (v * v).sum(1) ** 0.5))}))",
        "breaks": "raise ValueError('no')",
    }
    adapter = f"PACKAGES = []\nBACKENDS = {{name: {{'edge_length': text}} for name, text in {programs!r}.items()}}\n"
    (tmp_path / "toy" / "adapter.py").write_text(adapter)
    (tmp_path / "environments.json").write_text('{"toys": ["toy"]}')
    monkeypatch.setenv("VALENCE_BENCH_PEERS", str(tmp_path))
    row = {"name": "x", "op": "edge_length", "data": {"kind": "vectors", "rows": 3}, "backends": ["cpu", *programs]}
    made = run([{**row, "rounds": 1, "warmup": 1, "isolate": True}], tmp_path / "a.json")
    found = {p["backend"]: p for p in made["points"]}
    assert [found[n]["status"] for n in ("cpu", "right", "breaks")] == ["ok", "ok", "failed"]
    assert found["breaks"]["reason"].endswith("ValueError: no")


def test_tolerances_are_of_the_dtype_then_of_the_backend():
    tolerance = {"rtol": 1e-3, "float32": {"atol": 1e-2}, "toy": {"rtol": 0.5}}
    row = {"name": "x", "op": "edge_length", "data": {"kind": "vectors"}, "tolerance": tolerance}
    (w,) = suite.parse({"workloads": [row]}, "t").workloads
    assert w.tolerance_of("float64", "cpu") == {"rtol": 1e-3, "atol": 1e-8}
    assert w.tolerance_of("float32", "toy") == {"rtol": 0.5, "atol": 1e-2}


def test_the_ratio_of_two_peaks_of_memory_is_a_relation(tmp_path):
    rows = [{"name": f"v{n}", "op": "edge_length", "data": {"kind": "vectors", "rows": n}, "backends": ["numpy"],
             "rounds": 1, "warmup": 1, "isolate": True} for n in (1_000_000, 4_000_000)]  # fmt: skip
    relation = {"name": "memory", "slow": {"workload": "v4000000"}, "fast": {"workload": "v1000000"}, "of": "memory"}
    made = run(rows, tmp_path / "a.json", relations=[relation, {**relation, "name": "per row", "per_item": True}])
    whole, per_row = made["ratios"]
    assert whole["kind"] == "memory" and 3.0 < whole["ratio"] < 5.0
    assert per_row["ratio"] == pytest.approx(whole["ratio"] / 4)


def test_models_are_made_by_the_script_of_the_peers_which_sees_this_package(tmp_path, monkeypatch):
    (tmp_path / "mace").mkdir()
    (tmp_path / "mace" / "adapter.py").write_text("PACKAGES, BACKENDS = [], {}\n")
    (tmp_path / "environments.json").write_text('{"mace": ["mace"]}')
    (tmp_path / "mace" / "models.py").write_text(
        textwrap.dedent("""
            import json, pathlib, sys
            import valence
            pathlib.Path(sys.argv[2]).mkdir()
            pathlib.Path(sys.argv[2], "seen.json").write_text(json.dumps([valence.__version__, sys.argv[1]]))
        """)
    )
    to = models.make(tmp_path / "made", peers=tmp_path)
    assert json.loads((to / "seen.json").read_text()) == [vl.__version__, data_mace.__file__]
    monkeypatch.chdir(tmp_path / "made")
    monkeypatch.delenv("VALENCE_BENCH_PEERS", raising=False)
    with pytest.raises(ValueError, match="`peers` must hold the family mace, got None"):
        models.make(tmp_path / "made")


def test_a_worker_finds_the_standard_library_and_not_the_files_beside_it(tmp_path):
    (tmp_path / "adapter.py").write_text(
        "import statistics\nPACKAGES, BACKENDS = [], {}\nassert 'bench' not in statistics.__file__, statistics.__file__\n"
    )
    family = peers.Family("toy", {"toy": tmp_path / "adapter.py"})
    with peers.Worker(family, timeout=30.0) as worker:
        assert worker.alive
