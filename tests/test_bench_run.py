"""Running: passes, rows as files, kills, sweeps, data folders, names of backends, progress, the object of a notebook."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import valence.bench
from valence.bench import data, journal, peers, progress, record, report, runner, statistics, suite
from valence.bench.cli import main
from valence.bench.settings import Settings

pytest.importorskip("yaml")

OURS = """
    import time
    import numpy as np
    PACKAGES = ["numpy"]

    def length(pause):
        def prepare(inputs, params):
            v = inputs["vectors"]
            first = lambda: v.tolist()
            second = lambda rows: (time.sleep(pause), np.array(rows))[1]
            third = lambda x: np.sqrt((x * x).sum(1))
            def call():
                return third(second(first()))
            call.parts = first, second, third
            call.stages = lambda: {"neighbors": 0.25 * pause, "basis": 0.5 * pause}
            return call, lambda r: {"length": r}
        return prepare

    BACKENDS = {"numpy": {"edge_length": length(0.004)}, "cpu": {"edge_length": length(0.002)}}
"""
TOY = """
    import numpy as np
    PACKAGES = ["numpy"]

    def length(inputs, params):
        v = inputs["vectors"]
        return (lambda: np.sqrt((v * v).sum(1))), lambda r: {"length": r}

    BACKENDS = {"toy-a": {"edge_length": length}, "toy-b": {"edge_length": length}, "other": {"radial": length}}
"""
WORKLOAD = {"name": "w", "op": "edge_length", "data": {"kind": "vectors", "rows": 5}, "backends": ["numpy", "cpu"]}


@pytest.fixture
def toys(tmp_path, monkeypatch):
    folder = tmp_path / "peers"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "adapter.py").write_text(textwrap.dedent(TOY))
    (folder / "environments.json").write_text('{"toys": ["toy"]}')
    (tmp_path / "ours.py").write_text(textwrap.dedent(OURS))
    monkeypatch.setattr(peers, "OUR_ADAPTER", tmp_path / "ours.py")
    monkeypatch.setenv("VALENCE_BENCH_PEERS", str(folder))
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toy(sweep=None, **keys):
    return suite.parse({"rounds": 4, "warmup": 1, "workloads": [{**WORKLOAD, **keys}]}, "toy", sweep)


def run(work, out, **keys):
    return runner.run(work, Settings(Path(out), progress=False, **keys))


def test_the_parts_of_a_call_add_up_and_its_own_timers_are_asked_for(toys):
    made = run(toy(), "results/metrics/toy.json", profile=True)
    for p in made["points"]:
        total = np.sum([p["parts"][k] for k in ("conv_in", "compute", "conv_out")], axis=0)
        np.testing.assert_allclose(total, p["samples_s"], rtol=1e-9)
        assert p["parts"]["compute"][0] > 0.001 > p["parts"]["conv_in"][0]
        assert set(p["stages"]) == {"neighbors", "basis"}
        assert 0 < p["alloc_bytes"] < 1e6
    row = report.point_rows(made)[1]
    assert (
        row["compute_s"] == np.median(made["points"][1]["parts"]["compute"])
        and row["stages"] == "neighbors=0.0005 basis=0.001"
    )
    assert run(toy(), "plain.json")["points"][0]["stages"] == {}


def test_rows_have_log_files_with_the_names_of_the_old_harness(toys):
    run(toy(backends=["cpu", "toy-a"]), "results/metrics/toy.json", peers="peers")
    log = json.loads(Path("results/logs/w_cpu.metrics.json").read_text())
    assert list(log)[:7] == ["xyz", "mode", "returncode", "elapsed_s", "max_rss_kb", "inblock", "oublock"]
    assert {
        "N",
        "species",
        "backend_used",
        "samples_s",
        "stages",
        "checksum",
        "max_err",
        "git",
        "dtype",
        "threads",
        "startup_s",
    } <= set(log)
    assert log["returncode"] == 0 and log["max_rss_kb"] > 0 and log["elapsed_s"] == np.median(log["samples_s"])
    assert Path("results/logs/w_cpu.wall").read_text() == f"{log['elapsed_s']:.3f}\n"
    start, ok, end = Path("results/logs/w_cpu.out").read_text().splitlines()
    assert start.startswith("[START] 20") and start.endswith("file=w.xyz mode=cpu jobtag=w_cpu")
    assert ok.startswith("[OK] backend=cpu species= value=") and "wall=" in end and end.startswith("[END] 20")
    assert journal.mode({"backend": "cpu", "dtype": "float32", "threads": 2}) == "cpu-float32-2t"


def test_passes_start_their_workers_anew_and_share_the_rounds(toys, monkeypatch):
    started = []
    plain = peers.Worker.__init__
    monkeypatch.setattr(peers.Worker, "__init__", lambda self, *a, **k: (started.append(1), plain(self, *a, **k))[1])
    made = run(toy(rounds=5), "a.json", passes=2)
    assert len(started) == 2
    for p in made["points"]:
        assert p["round"] == [0, 1, 2, 3, 4] and p["passes"] == [0, 0, 0, 1, 1] and p["runs"] == 5
    assert len(run(toy(), "b.json", isolate=True)["points"]) == 2 and len(started) == 4


def test_the_spread_between_passes_widens_the_interval():
    rng = np.random.default_rng(0)
    fast, passes = [1.0] * 30, [0] * 10 + [1] * 10 + [2] * 10
    slow = np.repeat([1.8, 2.0, 2.3], 10) * rng.normal(1, 0.002, 30)
    flat = statistics.bootstrap_ratio(slow, fast)
    deep = statistics.bootstrap_ratio(slow, fast, passes=(passes, passes))
    assert flat["ratio"] == deep["ratio"]
    assert deep["low"] < 1.82 and deep["high"] > 2.27
    assert statistics.bootstrap_ratio(slow, fast, passes=(passes, [0] * 30)) == flat


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_run_that_is_killed_outright_loses_at_most_the_sample_in_flight(toys):
    tree = {"rounds": 40, "workloads": [{**WORKLOAD, "name": f"w{k}"} for k in range(4)]}
    Path("long.yaml").write_text(json.dumps(tree))
    command = [sys.executable, "-m", "valence.bench", "run", "--config", "long.yaml", "--out", "long.json", "--quiet"]
    # The child has the real backends in the place of the toys: what is killed is a run as a user has it.
    process = subprocess.Popen(command)
    folder, end = Path("long.rows"), time.monotonic() + 60
    while len(list(folder.glob("w1_*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p["workload"] + p["backend"]: p for f in folder.glob("[!.]*.json") for p in [json.loads(f.read_text())]}
    assert len(kept["w0cpu"]["samples_s"]) == 40 and kept["w1cpu"]["samples_s"]
    assert main(["run", "--config", "long.yaml", "--out", "long.json", "--quiet"]) == 1  # neither --resume nor --force
    again = subprocess.run([*command, "--resume"], check=True)
    assert again.returncode == 0 and not folder.exists()
    made = record.read_json("long.json")
    assert [p["workload"] for p in made["points"]] == ["w0", "w0", "w1", "w1", "w2", "w2", "w3", "w3"]
    for p in made["points"]:
        assert sorted(p["round"]) == list(range(40)) and p["status"] == "ok"
        before = kept.get(p["workload"] + p["backend"])
        assert before is None or p["samples_s"][: len(before["samples_s"])] == before["samples_s"]


def test_an_interrupted_round_goes_on_where_it_was(toys, monkeypatch):
    plain, asked = peers.Worker.ask, []

    def ask(self, verb, **message):
        if verb == "time":
            asked.append(message["key"])
            if len(asked) == 4:
                raise KeyboardInterrupt
        return plain(self, verb, **message)

    monkeypatch.setattr(peers.Worker, "ask", ask)
    with pytest.raises(KeyboardInterrupt):
        run(toy(), "a.json")
    part = record.read_json("a.json")
    assert [p["runs"] for p in part["points"]] == [1, 2]
    with pytest.raises(FileExistsError, match="--resume"):
        run(toy(), "a.json")
    full = run(toy(), "a.json", resume=True)
    assert [sorted(p["round"]) for p in full["points"]] == [[0, 1, 2, 3]] * 2
    assert [p["samples_s"][: q["runs"]] == q["samples_s"] for p, q in zip(full["points"], part["points"])] == [True] * 2
    assert not Path("a.rows").exists() and len(asked) == 4 + 5


def test_a_row_that_is_no_row_is_named(toys):
    Path("a.rows").mkdir()
    Path("a.rows/w_cpu.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.rows/w_cpu.json must be a row of a run"):
        run(toy(), "a.json", resume=True)
    assert run(toy(), "a.json", force=True)["points"]


def test_a_sweep_makes_a_workload_of_each_value():
    sweep = {"size": {"data.rows": [5, 50]}, "threads": [1, 2], "backend": {"backends": ["cpu", "toy-a"], "dtype": ["float32"]},
             "species": {"name": ["one", "w"], "data.rows": [1, 5]}}  # fmt: skip
    tree = {"sweeps": ["size", "threads", "backend", "species"], "workloads": [{**WORKLOAD, "sweep": sweep}]}
    made = suite.parse(tree, "cpu")
    assert [w.name for w in made.workloads] == ["w", "w-size5", "w-size50", "w-threads", "w-backend", "one"]
    by = {w.name: w for w in made.workloads}
    assert by["w-size50"].data["rows"] == 50 and by["w-size50"].swept == {"axis": "size", "value": 50}
    assert by["w-threads"].threads == [1, 2] and by["w-backend"].dtype == ["float32"]
    assert by["w"].swept == {"axis": "species", "value": "w"} and by["one"].data["rows"] == 1
    alone = suite.parse(tree, "cpu", "size")
    assert (
        alone.name == "size" and alone.preset == "cpu" and [w.name for w in alone.workloads] == ["w-size5", "w-size50"]
    )
    assert suite.parse({**tree, "name": "mine"}, "x", "size").name == "mine_size"
    for bad, message in (
        ({"size": {"data.rows": [1, 2], "rounds": [1]}}, "must have lists of one length"),
        ({"speed": [1]}, "sweep of workload w"),
    ):
        with pytest.raises(ValueError, match=message):
            suite.parse({"workloads": [{**WORKLOAD, "sweep": bad}]}, "cpu", "size")
    with pytest.raises(ValueError, match="`sweep` must be one that suite cpu has, got lmax"):
        suite.parse(tree, "cpu", "lmax")


def test_a_comma_list_of_threads_in_the_environment_is_the_threads_sweep(toys, monkeypatch):
    tree = {"name": "cpu", "rounds": 1, "workloads": [{**WORKLOAD, "backends": ["cpu"], "sweep": {"threads": [1]}}]}
    Path("own.yaml").write_text(json.dumps(tree))
    for name in ("OPENMP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1,2")
        assert main(["run", "--config", "own.yaml", "--out", ".", "--quiet", "--force"]) == 0
        made = record.read_json("metrics/threads.json")
        assert [p["threads"] for p in made["points"]] == [1, 2] and made["name"] == "threads"
        monkeypatch.setenv(name, "1,x")
        assert main(["run", "--config", "own.yaml", "--out", ".", "--quiet", "--force"]) == 1
        monkeypatch.delenv(name)


def test_a_library_stands_for_its_backends_and_one_without_the_operation_fails(toys):
    made = run(toy(), "a.json", backends=["toy"])
    status = {p["backend"]: p["status"] for p in made["points"]}
    assert status == {"toy-a": "ok", "toy-b": "ok"}  # `other` has another operation
    made = run(toy(), "b.json", backends=["other"])
    assert [p["status"] for p in made["points"]] == ["failed"] and runner.exit_code(made) == 1
    assert made["points"][0]["reason"] == "backend other has no operation edge_length"
    with pytest.raises(ValueError, match="`backend` must be one of"):
        run(toy(), "c.json", backends=["absent"])


def test_a_data_folder_that_is_not_there_names_both_places(toys, monkeypatch, capsys):
    Path("own.yaml").write_text(json.dumps({"workloads": [WORKLOAD]}))
    assert main(["run", "--config", "own.yaml", "--data", "nowhere"]) == 1
    assert "`data` must be a folder, got nowhere (and $DATA_ROOT is not set)" in capsys.readouterr().err
    monkeypatch.setenv("DATA_ROOT", "neither")
    assert main(["run", "--config", "own.yaml"]) == 1
    assert "`$DATA_ROOT` must be a folder, got neither" in capsys.readouterr().err


def test_files_of_the_caller_take_the_place_of_the_generated_ones(tmp_path):
    rows = "C 0 0 0\nH 0 0 1.1\nO 0 1.2 0\n"
    (tmp_path / "three_species.xyz").write_text(f"3\nProperties=species:S:1:pos:R:3\n{rows}" * 2)
    entry = {"kind": "fake_benzenes", "species": 3, "systems": 2}
    arrays, n = data.make(entry, "float64", 0, tmp_path, root=tmp_path)
    assert n == 6 and arrays["numbers"].tolist() == [6, 1, 8] * 2 and arrays["offsets"].tolist() == [0, 3, 6]
    own, n = data.make(entry, "float64", 0, tmp_path)
    assert n == 48 and len(set(own["numbers"].tolist())) == 3
    with pytest.raises(FileNotFoundError, match=r"`data` must hold one_species\.xyz"):
        data.make({**entry, "species": 1}, "float64", 0, tmp_path, root=tmp_path)
    (tmp_path / "benzenes.xyz").write_text(
        f"3\nProperties=species:S:1:pos:R:3\n{rows}2\nProperties=species:S:1:pos:R:3\nC 0 0 0\nH 1 0 0\n"
    )
    with pytest.raises(
        ValueError, match=r"benzenes.xyz: a species sweep must have constant N, got 2 atoms in frame 1 and 3 in frame 0"
    ):
        data.make({**entry, "species": 2}, "float64", 0, tmp_path, root=tmp_path)
    (tmp_path / "four_species.xyz").write_text("3\nProperties=species:S:1:pos:R:3\nC 0 0 0\nH 0 zero 1\nO 1 1 1\n")
    with pytest.raises(ValueError, match=r"four_species.xyz.*"):
        data.make({**entry, "species": 4, "systems": 1}, "float64", 0, tmp_path, root=tmp_path)
    with pytest.raises(ValueError, match="`batch` must be left out for data of kind vectors"):
        data.make({"kind": "vectors", "rows": 3}, "float64", 0, tmp_path, batch=2)


def test_shapes_come_from_the_file_or_from_the_workload(tmp_path):
    entry = {"kind": "frames", "file": "ellipsoids.xyz", "diameters": [3, 3, 1], "orientation": [1, 0, 0, 0]}
    shipped, n = data.make(entry, "float64", 0, tmp_path, frames=2)
    assert len(shipped["offsets"]) == 3 and np.ptp(shipped["semiaxes"]) > 0  # the file says them
    (tmp_path / "ellipsoids.xyz").write_text("2\nProperties=species:S:1:pos:R:3\nC 0 0 0\nC 0 0 4\n")
    plain, n = data.make(entry, "float64", 0, tmp_path, root=tmp_path)
    assert (
        n == 2
        and plain["semiaxes"].tolist() == [[1.5, 1.5, 0.5]] * 2
        and plain["orientation"].tolist() == [[1, 0, 0, 0]] * 2
    )
    with pytest.raises(ValueError, match="`orientation` must be four numbers or random, got flat"):
        data.make({**entry, "orientation": "flat"}, "float64", 0, tmp_path, root=tmp_path)


def test_progress_says_what_remains_and_is_quiet_elsewhere(capsys, monkeypatch):
    bar = progress.Progress("tiny", 4, True)
    monkeypatch.setattr(bar, "began", time.monotonic() - 30)
    bar.step("array-20 cpu", 1)
    shown = capsys.readouterr().err
    assert "25%" in shown and "0:30 spent, 1:30 left" in shown and "array-20 cpu" in shown
    bar.close()
    assert progress.clock(3725) == "1:02:05"
    quiet = progress.Progress("tiny", 4, False)
    quiet.step("x", 1)
    assert progress.wanted() is False and capsys.readouterr().err.strip() == ""


def test_a_run_of_a_notebook_shows_plots_and_saves_itself(toys, monkeypatch):
    Path("own.yaml").write_text(json.dumps({"name": "own", "rounds": 2, "workloads": [WORKLOAD]}))
    made = valence.bench.run(config="own.yaml")
    assert len(made) == 2 and made.exit_code == 0 and not made.interrupted and not Path("results").exists()
    page = made._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") == 3 and "cpu" in page
    assert "numpy" in repr(made)
    assert made.save() == Path("results/metrics/own.json") and Path("results/tables/own.csv").exists()
    with pytest.raises(FileExistsError, match="force=True"):
        made.save()
    made.save(force=True)
    assert valence.bench.Run.load("results/metrics/own.json").record == made.record
    with pytest.raises(ValueError, match="option of `run` must be one of"):
        valence.bench.run(config="own.yaml", speed=3)
    plain, asked = peers.Worker.ask, []

    def ask(self, verb, **message):
        asked.append(verb)
        if asked.count("time") == 3:
            raise KeyboardInterrupt
        return plain(self, verb, **message)

    monkeypatch.setattr(peers.Worker, "ask", ask)
    part = valence.bench.run(config="own.yaml")
    assert (
        part.interrupted
        and "interrupted" in part._repr_html_()
        and [p["runs"] for p in part.record["points"]] == [1, 1]
    )
    pytest.importorskip("polars")
    assert made.table.height == 2
    pytest.importorskip("matplotlib")
    assert made.plot("own.png").axes and Path("own.png").stat().st_size > 1000


def test_configs_are_the_presets_of_the_wheel():
    configs = Path(__file__).parents[1] / "benchmarks" / "configs"
    for name in ("cpu", "gpu"):
        assert (configs / f"batch_{name}.yaml").read_bytes() == (suite.PRESETS / f"{name}.yaml").read_bytes()
    made = suite.load(suite.PRESETS / "cpu.yaml")
    axes = {w.swept["axis"] for w in made.workloads if w.swept}
    assert axes == set(suite.AXES)
    species = [w for w in made.workloads if w.swept and w.swept["axis"] == "species" and w.op == "anisoap"]
    assert {"one_species", "benzenes", "three_species", "four_species"} <= {w.name for w in species}
