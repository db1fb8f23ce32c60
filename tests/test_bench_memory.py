"""The harness's commands `memory` and `stress`: what they see, what they report, and that each kind of failure is found."""

import importlib.util
import json
import mmap
import os
import sys
import textwrap
import threading

import numpy as np
import pytest
import valence as vl
from valence.bench import memory, stress, suite
from valence.bench.cli import main
from valence.bench.worker import reset_peak

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="/proc is Linux's")

#: Takes 64 MiB for a while and gives them back.
HUMP = """
import time
time.sleep(0.15)
x = bytearray(64 << 20)
time.sleep(0.15)
del x
time.sleep(0.15)
"""
SMALL = {"molecules": 40, "atoms": (1, 12), "threads": (1, 2), "callers": 3, "rounds": 6}


class Toy:
    """Squares of the positions; what is wrong with it comes with a call of its number."""

    name, elements, refuses, tolerance = "toy", (1, 8), False, 0.0

    def __init__(self, wrong=None):
        self.wrong, self.calls, self.kept, self.lock = wrong, 0, [], threading.Lock()

    def run(self, mols):
        with self.lock:
            self.calls += 1
            calls = self.calls
        answers = [(m.positions**2,) for m in mols]
        if self.wrong == "changes" and calls == 60:
            answers[0] = (np.nextafter(answers[0][0], 9.0),)
        if self.wrong == "loses" and calls == 60:
            del answers[-1]
        if self.wrong == "leaks" and calls > 40:
            self.kept.append(np.ones(1 << 17))
        if self.wrong == "fails" and calls == 60:
            raise RuntimeError("no")
        return answers


def run(subject, **keys):
    return stress.run(subject, stress.Settings(**{**SMALL, **keys}))


def test_the_peak_of_a_command_is_its_allocation_and_what_it_gives_back_is_seen():
    made = memory.of_command([sys.executable, "-S", "-c", HUMP], name="hump", interval=0.005)
    samples = made["samples"]
    assert made["job"]["returncode"] == 0
    assert len({len(v) for v in samples.values()}) == 1
    assert 64 << 10 <= made["peak_kb"] <= (64 << 10) + 40_000
    assert made["end_kb"] < made["peak_kb"] - 60_000
    assert max(samples["resident_kb"]) <= made["peak_kb"] == samples["peak_kb"][-1]
    assert samples["peak_kb"] == sorted(samples["peak_kb"])


def test_memory_of_the_children_of_a_command_counts():
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {HUMP!r}], check=True)"
    made = memory.of_command([sys.executable, "-S", "-c", parent], name="parent", interval=0.005)
    assert made["peak_kb"] >= 64 << 10
    assert max(made["samples"]["processes"]) == 2


def test_a_short_peak_between_two_samples_is_known_from_the_kernel():
    sampler = memory.Sampler(os.getpid())
    reset_peak()
    sampler.take()
    with mmap.mmap(-1, 64 << 20) as fresh:  # not from the heap, which may hold free pages that count already
        fresh.write(bytes(1 << 20) * 64)
    sampler.take()
    first, second = sampler.resident_kb
    assert second < first + (32 << 10)
    assert sampler.peak_kb[1] >= first + (60 << 10)


def test_a_workload_that_keeps_what_it_computes_grows_and_one_that_does_not_does_not(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "adapter.py").write_text(
        textwrap.dedent("""
            import numpy as np
            PACKAGES, KEPT = ["numpy"], []
            def keeps(inputs, params):
                return (lambda: KEPT.append(np.ones(1 << 18))), lambda r: {}
            def frees(inputs, params):
                return (lambda: np.ones(1 << 18)), lambda r: {}
            BACKENDS = {"keeps": {"edge_length": keeps}, "frees": {"edge_length": frees}}
        """)
    )
    (tmp_path / "environments.json").write_text('{"toys": ["toy"]}')
    (w,) = suite.parse(
        {"workloads": [{"name": "x", "op": "edge_length", "data": {"kind": "vectors", "rows": 3}}]}, "t"
    ).workloads
    keeps, frees = (
        memory.of_workload(w, name="x", backend=b, calls=12, interval=0.002, peers=tmp_path) for b in ("keeps", "frees")
    )
    assert [m["name"] for m in keeps["marks"]] == ["setup", *(f"call {k}" for k in range(1, 13))]
    assert keeps["growth_kb"] == pytest.approx(4 * 2048, rel=0.1)
    assert abs(frees["growth_kb"]) < 1024
    assert keeps["job"]["N"] == 3 and keeps["job"]["backend"] == "keeps"


def test_the_command_memory_writes_a_record_and_a_figure_and_does_not_replace_them(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    arguments = ["memory", "--name", "hump", "--out", str(tmp_path), "--", sys.executable, "-S", "-c", HUMP]
    assert main(arguments) == 0
    made = json.loads((tmp_path / "metrics" / "hump.json").read_text())
    assert made["kind"] == "memory" and made["environment"]["python"]
    assert (tmp_path / "figures" / "hump.png").read_bytes()[:4] == b"\x89PNG"
    assert "peak" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["memory", "--out", str(tmp_path / "b.json"), "--quiet", "--", sys.executable, "-c", "exit(3)"]) == 1


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["memory"], "must have a job"),
        (["memory", "--preset", "tiny", "--", "true"], "must stand alone"),
        (["memory", "--interval", "0", "--", "true"], "`interval` must be"),
        (["memory", "--timeout", "0.2", "--", "sleep", "9"], "must end within 0.2 s"),
        (["memory", "--", "no-such-program"], "no-such-program"),
        (["stress", "--molecules", "0"], "`molecules` must be at least 1, got 0"),
        (["stress", "--rounds", "2"], "`rounds` must be at least 3, got 2"),
        (["stress", "--atoms", "9,3"], "`atoms` must be two numbers"),
        (["stress", "--atoms", "9"], "`atoms` must be two numbers by comma, got 1"),
        (["stress", "--growth-mib", "nan"], "`growth_mib` must be at least 0, got nan"),
        (["stress", "--model", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_written(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "--" in arguments:
        at = arguments.index("--")
        arguments = [*arguments[:at], "--out", "x.json", *arguments[at:]]
    assert main(arguments) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_engine_keeps_bits_molecules_and_memory_under_stress(tmp_path, capsys):
    out = tmp_path / "s.json"
    command = [
        "stress",
        "--molecules",
        "150",
        "--atoms",
        "1,25",
        "--threads",
        "1,3",
        "--rounds",
        "6",
        "--out",
        str(out),
    ]
    before = vl.get_num_threads()
    assert main(command) == 0
    made = json.loads(out.read_text())
    assert (made["lost"], made["twice"], made["changed"], made["failures"]) == (0, 0, 0, [])
    assert made["answers"] == 150 * 12 and len(made["rounds"]) == 12
    assert made["refused"] == 3  # those with gold, each by an error in its own place
    assert importlib.util.find_spec("matplotlib") is None or out.with_suffix(".png").exists()
    assert "passed" in capsys.readouterr().out
    assert vl.get_num_threads() == before


@pytest.mark.parametrize("file", ["engine/schnet_small", "engine/painn_small", "mace/residual_16_L1/model"])
def test_models_give_what_they_give_of_single_molecules_under_stress(file):
    path = os.path.join(os.path.dirname(__file__), "data", f"{file}.safetensors")
    made = run(stress.Model(path), molecules=25, rounds=3, growth_mib=64.0)
    assert made["failures"] == []
    assert made["tolerance"] == (1e-12 if "mace" in file else 0.0)


@pytest.mark.parametrize("wrong, key", [("changes", "changed"), ("loses", "lost")])
def test_one_answer_that_is_changed_or_lost_fails_the_run(wrong, key):
    made = run(Toy(wrong), growth_mib=1000.0)
    assert made[key] == 1 and len(made["failures"]) == 1
    assert stress.exit_code(made) == 2


def test_memory_that_grows_fails_the_run_and_memory_that_does_not_passes():
    assert run(Toy(), growth_mib=4.0)["failures"] == []
    made = run(Toy("leaks"), growth_mib=4.0)
    (said,) = made["failures"]
    assert said.startswith("resident memory must grow by at most 4 MiB, got ")
    assert made["growth_kb"] > 4096 and stress.exit_code(made) == 1


def test_threads_that_stay_fail_the_run():
    ended = threading.Event()

    class Spawner(Toy):
        def run(self, mols):
            threading.Thread(target=ended.wait, args=(60.0,), daemon=True).start()
            return super().run(mols)

    try:
        made = run(Spawner(), growth_mib=1000.0)
    finally:
        ended.set()
    (said,) = made["failures"]
    assert said.startswith("threads of the process must not grow in number, got ")
    assert stress.exit_code(made) == 1


def test_a_failure_within_a_caller_ends_the_run():
    with pytest.raises(RuntimeError, match="no"):
        run(Toy("fails"))


def test_molecules_that_must_be_refused_and_are_not_fail_the_run():
    class Careless(Toy):
        refuses = True

    made = run(Careless(), molecules=100, growth_mib=1000.0)
    assert made["failures"] == ["2 molecules must be refused, got 0"] and stress.exit_code(made) == 2


def test_answers_are_the_same_by_their_bits_or_within_a_tolerance():
    x = np.array([0.0, 1.0])
    assert not stress.differs((x,), (x.copy(),), 0.0)
    for other in ((-x,), (x.astype(np.float32),), (x[None],), (np.array([-0.0, 1.0]),), (x * np.nan,), "refused"):
        assert stress.differs((x,), other, 0.0) and stress.differs(other, (x,), 0.0)
    near = (x + 1e-13,)
    assert stress.differs((x,), near, 0.0) and not stress.differs((x,), near, 1e-12)
    assert stress.differs((x,), (x + 1e-11,), 1e-12) and stress.differs((x * np.nan,), (x,), 1e-12)


def test_the_growth_compares_the_last_third_with_the_one_before():
    assert stress.growth_kb([0, 900, 1000, 1000, 1010, 1010], 1) == 10
    assert stress.growth_kb([5, 7, 1, 1, 3, 3], 2) == 2
    assert stress.growth_kb([1, None, 1], 1) is None
