"""The old harness's script names: each calls its verb with the arguments given, and knows the workloads it names."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from valence.bench import cli, suite

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "benchmarks" / "scripts"
VERBS = {
    "run_benchmarks": "run", "aggregate_metrics": "aggregate", "make_plots": "plot", "profile_benzenes": "profile",
    "profile_ellipsoids": "profile", "create_fake_benzenes": "make-data", "export_env": "env", "memory_tracker": "memory",
    "stress_tests": "stress", "bench_spherical_harmonics": "run", "benchmark_tensor_product": "run", "benchmark_fused_sh_tp": "run",
    "benchmark_e2e_mace": "run", "organize_artifacts": "bundle", "validate_results": "compare", "benchmark": "run",
}  # fmt: skip

pytest.importorskip("yaml")


def called(name, *words, monkeypatch):
    """The arguments with which a script calls the command line."""
    seen = []
    monkeypatch.setattr(cli, "main", lambda arguments: seen.append(arguments) or 0)
    monkeypatch.setattr(sys, "argv", [name, *words])
    text = (SCRIPTS / f"{name}.py").read_text()
    with pytest.raises(SystemExit) as ended:
        exec(compile(text, name, "exec"), {"__name__": "__main__"})
    assert ended.value.code == 0
    return seen[0]


@pytest.mark.parametrize("name", VERBS)
def test_a_script_calls_its_verb_and_hands_its_arguments_on(name, monkeypatch):
    words = called(name, "--help-me", "3", monkeypatch=monkeypatch)
    assert words[0] == VERBS[name] and words[-2:] == ["--help-me", "3"]
    assert len((SCRIPTS / f"{name}.py").read_text().splitlines()) < 20


@pytest.mark.parametrize("name", [n for n, v in VERBS.items() if v == "run"])
def test_the_workloads_that_a_script_names_exist(name, monkeypatch):
    words = called(name, monkeypatch=monkeypatch)
    monkeypatch.chdir(ROOT)
    if "--preset" in words:
        known = {w.name for w in suite.load(suite.find(words[words.index("--preset") + 1])).workloads}
        if "--workload" in words:
            assert set(words[words.index("--workload") + 1].split(",")) <= known


def test_the_old_names_of_arguments_are_translated(monkeypatch):
    words = called("benchmark", "--frames", "50", "--data-root=D", "--json", "F", monkeypatch=monkeypatch)
    assert words == ["run", "--preset", "anisoap-torch", "--frames", "50", "--data=D", "--out", "F"]


def test_scripts_run_as_files(tmp_path):
    def run(name, *words):
        return subprocess.run(
            [sys.executable, SCRIPTS / f"{name}.py", *words], cwd=tmp_path, capture_output=True, text=True
        )

    ended = run("create_fake_benzenes", "--species", "1,2,3,4", "--out", "data")
    assert ended.returncode == 0, ended.stderr
    assert {p.stem for p in (tmp_path / "data").glob("*.xyz")} == {
        "one_species",
        "benzenes",
        "three_species",
        "four_species",
    }
    ended = run("export_env", "--output", "environment.json")
    assert ended.returncode == 0, ended.stderr
    made = json.loads((tmp_path / "environment.json").read_text())
    assert list(made)[:6] == ["python", "pytorch", "cuda_available", "cuda_version", "cudnn", "devices"]
    assert set(made["wheel"]) == {"tag", "compiler", "target_features", "chosen_at_run_time"}
    assert made["wheel"]["compiler"] is None or re.match(r"rustc version \d", made["wheel"]["compiler"])
    ended = run("run_benchmarks", "--preset", "tyni")
    assert ended.returncode == 1 and "`preset` must be one of" in ended.stderr


def test_run_works_under_cprofile(tmp_path):
    words = [
        "-m",
        "cProfile",
        "-o",
        "bench.prof",
        SCRIPTS / "run_benchmarks.py",
        "--preset",
        "tiny",
        "--workload",
        "array-20",
    ]
    more = ["--backend", "numpy,cpu", "--rounds", "1", "--out", "tiny.json"]
    ended = subprocess.run([sys.executable, *words, *more], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "bench.prof").stat().st_size > 0 and (tmp_path / "tiny.json").is_file()
