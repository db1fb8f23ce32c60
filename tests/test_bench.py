"""The harness with toy backends: what it measures, marks, keeps and refuses."""

import csv
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
from valence.bench import check, comparison, data, oracle, peers, record, report, runner, statistics, suite
from valence.bench.cli import main

pytest.importorskip("yaml")

OURS = """
    import time
    import numpy as np
    PACKAGES = ["numpy"]

    def length(pause, factor=1.0):
        def prepare(inputs, params):
            v = inputs["vectors"]
            def call():
                time.sleep(pause)
                return factor * np.sqrt((v * v).sum(1))
            return call, lambda r: {"length": r}
        return prepare

    BACKENDS = {"numpy": {"edge_length": length(0.002)}, "cpu": {"edge_length": length(0.001)}}
"""
TOYS = """
    import os
    import numpy as np
    PACKAGES = ["numpy"]

    def good(inputs, params):
        print("a library that talks")
        v = inputs["vectors"]
        return (lambda: np.sqrt((v * v).sum(1))), lambda r: {"length": r}

    def bad(inputs, params):
        v = inputs["vectors"]
        return (lambda: np.abs(v).sum(1)), lambda r: {"length": r}

    def absent(inputs, params):
        import a_library_that_is_nowhere

    def dies(inputs, params):
        return (lambda: os._exit(7)), lambda r: {"length": r}

    def stalls(inputs, params):
        import time
        return (lambda: time.sleep(60)), lambda r: {"length": r}

    def swaps(inputs, params):
        call, collect = good(inputs, params)
        def other():
            return call()
        other.backend_used = "toy"
        return other, collect

    BACKENDS = {name: {"edge_length": f} for name, f in
                dict(toy=good, bad=bad, absent=absent, dies=dies, stalls=stalls, swaps=swaps).items()}
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A folder of peers with one toy library, and toy backends `cpu` and `numpy` in the place of ours."""
    folder = tmp_path / "peers"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "adapter.py").write_text(textwrap.dedent(TOYS))
    (folder / "environments.json").write_text('{"toys": ["toy"]}')
    (tmp_path / "ours.py").write_text(textwrap.dedent(OURS))
    monkeypatch.setattr(peers, "OUR_ADAPTER", tmp_path / "ours.py")
    monkeypatch.setenv("VALENCE_BENCH_PEERS", str(folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toy_suite(names=("first",), backends=("numpy", "cpu", "toy"), **keys):
    workloads = [
        {"name": n, "op": "edge_length", "data": {"kind": "vectors", "rows": 5}, "backends": list(backends), **keys}
        for n in names
    ]
    return suite.parse({"rounds": 3, "warmup": 1, "workloads": workloads}, "toy")


def settings(out, **keys):
    return runner.Settings(Path(out), progress=False, **keys)


def statuses(made):
    return {p["backend"]: p["status"] for p in made["points"]}


def test_summary_of_known_samples_is_exact():
    s = statistics.summary([1.0, 2.0, 3.0, 4.0])
    assert (
        s["wall_min"] == 1
        and s["wall_median"] == 2.5
        and s["wall_iqr"] == 1.5
        and s["wall_mean"] == 2.5
        and s["runs"] == 4
    )
    assert s["wall_std"] == pytest.approx(np.sqrt(5 / 3))
    for bad in ([], [0.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="`samples` must"):
            statistics.summary(bad)


def test_the_interval_of_a_known_ratio_holds_it_in_about_95_of_100_draws():
    rng = np.random.default_rng(0)
    held = 0
    for k in range(200):
        slow, fast = 3.0 * rng.lognormal(0, 0.1, 25), rng.lognormal(0, 0.1, 25)
        r = statistics.bootstrap_ratio(slow, fast, seed=k, draws=500)
        assert r["low"] <= r["ratio"] <= r["high"]
        held += r["low"] <= 3.0 <= r["high"]
    assert 180 <= held <= 199


def test_equal_samples_give_a_ratio_without_spread():
    assert statistics.bootstrap_ratio([2.0] * 5, [1.0] * 5) == {"ratio": 2.0, "low": 2.0, "high": 2.0}


def test_a_run_measures_checks_and_writes_every_row(toys):
    made = runner.run(toy_suite(), settings("results/metrics/toy.json"))
    assert statuses(made) == {"numpy": "ok", "cpu": "ok", "toy": "ok"}
    for p in made["points"]:
        assert len(p["samples_s"]) == len(p["cpu_s"]) == 3 and p["round"] == [0, 1, 2]
        assert p["max_err"] < 1e-15 and len(p["checksum"]) == 2 and p["N"] == 5 and p["output_bytes"] == 40
        assert p["max_rss_kb"] > 0 and p["versions"]["numpy"] == np.__version__
    toy, cpu = (next(p for p in made["points"] if p["backend"] == b) for b in ("toy", "cpu"))
    assert toy["inner"] > 100  # a call of a microsecond is timed in blocks
    assert 0.001 < cpu["wall_median"] < 0.01 and cpu["cpu_mean"] < 0.001  # sleep is wall time, not CPU time
    ratio = {r["slow"]: r["ratio"] for r in made["ratios"]}
    assert 1.2 < ratio["numpy"] < 2.5 and ratio["toy"] < 0.1
    with open("results/tables/toy.csv") as f:
        rows = list(csv.DictReader(f))
    assert [r["backend"] for r in rows] == ["numpy", "cpu", "toy"] and rows[1]["ratio"] == ""
    assert float(rows[0]["ratio"]) == pytest.approx(ratio["numpy"], rel=1e-6)
    assert runner.exit_code(made) == 0


def test_a_figure_is_drawn_of_the_ratios(toys):
    pytest.importorskip("matplotlib")
    made = runner.run(toy_suite(targets={"toy": 5.0}), settings("results/metrics/toy.json"))
    path = report.write_figure(made, "results/metrics/toy.json")
    assert path == Path("results/figures/toy.png") and path.read_bytes()[:4] == b"\x89PNG"
    assert "NOT reached" in report.text(made)


def test_a_wrong_result_is_marked_and_ends_with_2(toys):
    Path("wrong.yaml").write_text(json.dumps({"rounds": 2, "workloads": [
        {"name": "w", "op": "edge_length", "data": {"kind": "vectors", "rows": 5}, "backends": ["cpu", "bad"]}]}))  # fmt: skip
    assert main(["run", "--config", "wrong.yaml", "--out", "wrong.json", "--quiet"]) == 2
    made = record.read_json("wrong.json")
    assert statuses(made) == {"cpu": "ok", "bad": "wrong"}
    assert (
        made["points"][1]["reason"].startswith("`length` must agree to rtol 1e-06")
        and made["points"][1]["max_err"] > 0.1
    )
    assert made["ratios"] == []  # a speed is not compared where the result is wrong


def test_a_missing_backend_is_skipped_unless_asked_for_by_name(toys):
    made = runner.run(toy_suite(backends=["cpu", "absent"]), settings("a.json"))
    assert statuses(made) == {"cpu": "ok", "absent": "skipped"} and runner.exit_code(made) == 0
    assert "a_library_that_is_nowhere" in made["points"][1]["reason"]
    made = runner.run(toy_suite(backends=["cpu", "absent"]), settings("b.json", backends=["absent"]))
    assert statuses(made) == {"absent": "failed"} and runner.exit_code(made) == 1


def test_a_worker_that_dies_or_stalls_fails_its_row_alone(toys):
    made = runner.run(toy_suite(backends=["dies", "cpu"]), settings("a.json"))
    assert statuses(made) == {"dies": "failed", "cpu": "ok"} and "ended with code 7" in made["points"][0]["reason"]
    made = runner.run(toy_suite(backends=["stalls", "cpu"]), settings("b.json", timeout=1.0))
    assert statuses(made) == {"stalls": "failed", "cpu": "ok"} and "no answer within 1 s" in made["points"][0]["reason"]


def test_another_backend_than_the_one_asked_for_ends_with_3(toys):
    made = runner.run(toy_suite(backends=["cpu", "swaps"]), settings("a.json"))
    assert statuses(made)["swaps"] == "mismatch" and runner.exit_code(made) == 3
    assert made["points"][1]["reason"] == "`backend` must run as swaps, got toy"


def test_a_worker_speaks_its_protocol_and_keeps_chatter_out_of_it(toys):
    np.savez("inputs.npz", vectors=np.array([[3.0, 4.0, 0.0]]))
    with peers.Worker(peers.families()["toys"]) as w:
        assert w.about["backends"]["toy"] == ["edge_length"] and w.startup_s > 0
        arguments = {"key": "k", "op": "edge_length", "inputs": "inputs.npz", "params": {}}
        assert w.ask("setup", backend="toy", **arguments)["backend_used"] == "toy"
        assert w.ask("output", key="k", folder=".")["arrays"] == ["length"]
        assert np.load("length.npy") == 5.0
        assert w.ask("warm", key="k", repeats=1)["inner"] > 1
        answer = w.ask("time", key="k", repeats=4, inner=10)
        assert len(answer["samples"]) == len(answer["cpu"]) == 4 and min(answer["samples"]) > 0
        assert "missing" in w.ask("setup", backend="absent", **arguments)
        assert w.ask("setup", backend="toy", **{**arguments, "op": "flight"}) == {
            "missing": "backend toy has no operation flight"
        }
        with pytest.raises(peers.WorkerFailed, match="KeyError"):
            w.ask("time", key="nothing", repeats=1, inner=1)
        assert w.alive
    assert not w.alive


def test_a_family_uses_its_own_environment_where_there_is_one(toys):
    assert peers.families()["toys"].python == sys.executable
    python = toys / "envs" / "toys" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    family = peers.families(environments=toys / "envs")["toys"]
    assert family.own_environment and family.python == str(python)
    with pytest.raises(ValueError, match=r"`make` must be one of \['toys'\], got tys"):
        peers.make_environment("tys")


def test_unknown_names_list_the_known_ones(toys, capsys):
    assert main(["run", "--preset", "tyni"]) == 1
    assert "`preset` must be one of ['anisoap-torch', 'cpu', 'gpu', 'tiny'], got tyni" in capsys.readouterr().err
    assert main(["run", "--sweep", "speed"]) == 1
    assert (
        "`sweep` must be one of ['backend', 'batch', 'lmax', 'nmax', 'size', 'species', 'threads']"
        in capsys.readouterr().err
    )
    for arguments, message in (
        (["--backend", "vexin"], "`backend` must be one of ['absent', 'bad', 'cpu', 'dies', 'numpy'"),
        (["--workload", "x"], "`workload` must be one of ['anisoap-24', 'array-20'"),
        (["--rounds", "0"], "`rounds` must be a whole number of at least 1, got 0"),
    ):
        assert main(["run", "--preset", "tiny", *arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        main(["run", "--preset", "tiny", "--threads", "0"])
    assert e.value.code == 1
    assert main(["run", "--config", "nowhere.yaml"]) == 1
    assert "`config` must be a YAML file, got nowhere.yaml" in capsys.readouterr().err


def test_a_suite_with_an_unknown_key_is_refused():
    good = {"name": "w", "op": "edge_length", "data": {"kind": "vectors", "rows": 5}}
    for tree, message in (
        ({"workload": []}, "key of suite s"),
        ({"workloads": [{**good, "speed": 3}]}, "key of workload w"),
        ({"workloads": [{**good, "op": "flight"}]}, "op of workload w"),
        ({"workloads": [{**good, "data": {"kind": "gas"}}]}, "data kind of workload w"),
        ({"workloads": [{**good, "dtype": "float16"}]}, "dtype of workload w"),
        ({"workloads": [{**good, "repeats": 0}]}, "`repeats` must be a whole number of at least 1, got 0"),
        ({"workloads": [good, good]}, "workload names must differ, got w twice"),
        ({"workloads": [good], "relations": [{"name": "r", "slow": {"workload": "v"}}]}, "workload of relation r"),
    ):
        with pytest.raises(ValueError, match=message):
            suite.parse(tree, "s")


def test_every_suite_of_the_repository_and_of_the_package_loads():
    folders = [suite.PRESETS, Path(__file__).parent.parent / "benchmarks" / "suites"]
    for path in [p for f in folders for p in f.glob("*.yaml")]:
        assert suite.load(path).workloads, path


def strip(made):
    keys = ("workload", "backend", "dtype", "threads", "status", "checksum", "max_err", "N", "rows", "definition")
    return [{k: p.get(k) for k in keys} for p in made["points"]]


def test_resume_after_a_kill_gives_the_same_table(toys, monkeypatch):
    whole = runner.run(toy_suite(["a", "b", "c"]), settings("whole.json"))
    group = runner.Runner.group

    def killed(self, g, *rest):
        if g.workload.name == "b":
            raise KeyboardInterrupt
        group(self, g, *rest)

    monkeypatch.setattr(runner.Runner, "group", killed)
    with pytest.raises(KeyboardInterrupt):
        runner.run(toy_suite(["a", "b", "c"]), settings("part.json"))
    part = record.read_json("part.json")
    assert [p["workload"] for p in part["points"]] == ["a"] * 3
    monkeypatch.setattr(runner.Runner, "group", group)
    with pytest.raises(FileExistsError, match="add --resume"):
        runner.run(toy_suite(["a", "b", "c"]), settings("part.json"))
    full = runner.run(toy_suite(["a", "b", "c"]), settings("part.json", resume=True))
    assert strip(full) == strip(whole)
    assert [p["samples_s"] for p in full["points"][:3]] == [p["samples_s"] for p in part["points"]]
    again = runner.run(toy_suite(["a", "b", "c"]), settings("part.json", resume=True))
    assert again["points"] == full["points"]  # nothing missing, nothing run
    other = runner.run(toy_suite(["a", "b", "c"]), settings("part.json", resume=True, seed=1))
    assert [p["checksum"] for p in other["points"]] != [p["checksum"] for p in full["points"]]
    fresh = runner.run(toy_suite(["a"]), settings("part.json", force=True))
    assert len(fresh["points"]) == 3


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_termination_leave_a_valid_file(toys, ending):
    names = [f"w{k}" for k in range(50)]
    workloads = [
        {"name": n, "op": "edge_length", "data": {"kind": "vectors", "rows": 5}, "backends": ["toy"], "rounds": 20}
        for n in names
    ]
    Path("long.yaml").write_text(json.dumps({"workloads": workloads}))
    command = [sys.executable, "-m", "valence.bench", "run", "--config", "long.yaml", "--out", "long.json", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not Path("long.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in err
    made = record.read_json("long.json")
    assert 0 < len(made["points"]) < 50 and all(p["status"] == "ok" for p in made["points"])
    assert not list(Path().glob(".*.json*"))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "r.json"
    record.write_json(path, {"schema": 1, "points": []})
    before = path.read_bytes()
    with pytest.raises(ValueError):
        record.write_json(path, {"x": float("nan")})
    with pytest.raises(TypeError):
        record.write_json(path, {"x": object()})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    path.write_text(path.read_text()[:10])
    with pytest.raises(ValueError, match="must be a JSON record"):
        record.read_json(path)


def planted(factor, seed, noise=0.03, drift=1.0):
    """A record of two points: ours at `factor` ms, the peer at 3 ms; `drift` slows both."""
    rng = np.random.default_rng(seed)

    def point(backend, wall):
        samples = list(1e-3 * drift * wall * rng.lognormal(0, noise, 15))
        return {
            "workload": "w",
            "backend": backend,
            "dtype": "float64",
            "threads": 1,
            "status": "ok",
            "samples_s": samples,
        }

    return {"schema": 1, "points": [point("cpu", factor), point("peer", 3.0)]}


def test_compare_finds_a_planted_regression_and_not_noise_or_a_slower_machine(tmp_path):
    for seed in range(20):
        a = planted(1.0, seed)
        [same] = comparison.compare(a, planted(1.0, 100 + seed, drift=2.0))
        assert not same["regression"] and 0.9 < same["change"] < 1.1
        [slower] = comparison.compare(a, planted(1.3, 200 + seed))
        assert slower["regression"] and 1.2 < slower["change"] < 1.4
    for name, made in (("a", planted(1.0, 0)), ("b", planted(1.3, 1)), ("c", planted(1.0, 2))):
        record.write_json(tmp_path / f"{name}.json", made)
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--fail-above", "1.6"]) == 0
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "c.json")]) == 0


def test_a_point_that_turned_wrong_is_a_regression():
    a, b = planted(1.0, 0), planted(1.0, 1)
    b["points"][0]["status"] = "wrong"
    assert comparison.compare(a, b)[0]["note"] == "cpu is wrong in B"
    b["points"].pop(0)
    assert comparison.compare(a, b)[0]["regression"]
    with pytest.raises(ValueError, match="A must hold a right point"):
        comparison.compare({"points": []}, b)


def test_memory_and_per_atom_relations_are_drawn_from_the_points(toys):
    tree = {"rounds": 2, "workloads": [
        {"name": f"v{n}", "op": "edge_length", "data": {"kind": "vectors", "rows": n}, "backends": ["cpu"], "isolate": True}
        for n in (10, 1000)], "relations": [
        {"name": "per row", "slow": {"workload": "v1000"}, "fast": {"workload": "v10"}, "per_item": True, "at_most": 0.1},
        {"name": "memory", "memory": {"workload": "v1000"}, "at_most": 1e-9}]}  # fmt: skip
    made = runner.run(suite.parse(tree, "toy"), settings("a.json"))
    per_row, memory = made["ratios"]
    assert 0.005 < per_row["ratio"] < 0.05 and per_row["reached"]
    assert memory["kind"] == "memory"


def test_check_wants_equal_integers_and_near_numbers():
    want = {"source": np.array([0, 1]), "length": np.array([1.0, 2.0])}
    assert check.compare(want, want, 1e-6, 1e-8) == (0.0, None)
    assert check.compare({**want, "source": np.array([0, 2])}, want, 1e-6, 1e-8)[1].startswith("`source` must equal")
    assert check.compare({**want, "length": np.array([1.0, np.nan])}, want, 1e-6, 1e-8)[1] is not None
    assert "shape" in check.compare({**want, "length": np.ones(3)}, want, 1e-6, 1e-8)[1]
    assert "missing" in check.compare({"source": want["source"]}, want, 1e-6, 1e-8)[1]
    error, wrong = check.compare({**want, "length": np.array([1.0, 2.0 + 1e-7])}, want, 1e-6, 1e-8)
    assert error == pytest.approx(1e-7) and wrong is None


def enumerated(x, cell, pbc, cutoff):
    reach = [range(-3, 4) if p else range(1) for p in pbc]
    rows = []
    for i in range(len(x)):
        for j in range(len(x)):
            for s in np.array(np.meshgrid(*reach, indexing="ij")).reshape(3, -1).T:
                v = x[j] - x[i] + s @ cell
                if v @ v < cutoff**2 and (i != j or s.any()):
                    rows.append((i, j, *s))
    return np.array(sorted(rows)).reshape(-1, 5)


@pytest.mark.parametrize("pbc", [(True, True, True), (False, False, False), (True, False, True), (False, True, False)])
def test_the_oracle_of_edges_equals_an_enumeration_of_images(pbc):
    rng = np.random.default_rng(0)
    cell = np.array([[4.0, 0.5, 0.0], [-1.0, 5.0, 0.3], [0.2, 0.1, 6.0]])
    x = rng.uniform(-3, 9, (17, 3))
    pbc = np.array(pbc)
    i, j, s, v = oracle.edges_of_system(x, cell, pbc, 3.0)
    assert (np.column_stack([i, j, s]) == enumerated(x, cell, pbc, 3.0)).all()
    some = oracle.edges_of_system(x, cell, pbc, 3.0, sources=np.array([2, 5]))
    assert (some[0] == i[np.isin(i, [2, 5])]).all() and (some[3] == v[np.isin(i, [2, 5])]).all()
    if not pbc.any():
        k = oracle.edges_of_molecules(x, np.array([0, 17]), 3.0)
        assert (k[0] == i).all() and (k[1] == j).all()


def test_the_oracle_of_harmonics_is_orthonormal_and_has_the_known_first_ones():
    v = np.random.default_rng(0).normal(size=(200_000, 3))
    y = oracle.harmonics(v, 2)
    assert abs(4 * np.pi * y.T @ y / len(v) - np.eye(9)).max() < 0.02
    n = v / np.linalg.norm(v, axis=1)[:, None]
    assert y[:, 1:4] == pytest.approx(np.sqrt(3 / (4 * np.pi)) * n[:, [1, 2, 0]], abs=1e-14)


def test_generated_data_repeat_with_the_seed_and_have_the_density(tmp_path):
    a, n = data.make({"kind": "liquid", "atoms": 1000}, "float64", 0, tmp_path)
    b, _ = data.make({"kind": "liquid", "atoms": 1000}, "float64", 0, tmp_path)
    assert all((a[k] == b[k]).all() for k in a) and n == 1000
    assert 1000 / np.linalg.det(a["cell"][0]) == pytest.approx(0.1)
    edges = oracle.neighbor_list(a, {"cutoff": 5.0})
    assert 50 < len(edges["source"]) / 1000 < 55 and edges["distance"].min() > 0.9
    inputs, n = data.make({"kind": "extxyz", "frames": 3, "atoms": 4}, "float64", 0, tmp_path)
    read = oracle.read_extxyz(inputs, {})
    assert n == 12 and read["positions"].shape == (12, 3) and (read["counts"] == 4).all()


def test_env_writes_the_machine_and_the_versions(toys, capsys):
    assert main(["env", "--output", "env_report.json"]) == 0
    made = json.loads(Path("env_report.json").read_text())
    assert list(made)[:6] == ["python", "pytorch", "cuda_available", "cuda_version", "cudnn", "devices"]
    assert made["cores"] == os.cpu_count() and made["packages"]["numpy"] == np.__version__
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "suite tiny" in out and "backends toy" in out and "edge_length" in out.split("operations: ")[1]


def test_tiny_finds_only_results_that_agree_with_the_reference(tmp_path, monkeypatch):
    monkeypatch.delenv("VALENCE_BENCH_PEERS", raising=False)
    monkeypatch.chdir(tmp_path)  # no folder of peers here
    assert main(["run", "--preset", "tiny", "--out", "t.json", "--rounds", "1", "--backend", "numpy,cpu"]) == 0
    made = record.read_json("t.json")
    assert {p["status"] for p in made["points"]} == {"ok"} and len(made["points"]) == 24
