"""The command profile: its files, the call graph's layers and shares, and what it says where a profiler is not permitted."""

import cProfile
import os
import pstats
import stat
import time
from types import SimpleNamespace

import pytest
import valence as vl
from valence.bench import callgraph, profiling
from valence.bench.cli import main


def leaf(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def left():
    leaf(0.06)


def right():
    leaf(0.02)
    back(2)


def back(n):
    if n:
        back(n - 1)
    else:
        leaf(0.01)


def root():
    left()
    right()


@pytest.fixture
def stats():
    profile = cProfile.Profile(time.process_time)  # of this process alone, whatever else the machine does
    profile.runcall(root)
    return profiling.short(pstats.Stats(profile))


def test_the_graph_has_the_shares_and_calls_of_the_profile(stats):
    g = callgraph.graph(stats)
    boxes = {k[2]: b for k, b in g.boxes.items()}
    assert boxes["root"].cumulative == g.total
    assert 0.5 < boxes["left"].cumulative / g.total < 0.85
    assert boxes["leaf"].calls == 3 and boxes["back"].calls == 3
    arrows = {(a[2], b[2]): n for (a, b), (_, n) in g.arrows.items()}
    assert arrows[("root", "left")] == 1 and ("back", "back") not in arrows
    rows = callgraph.layers(g)
    depth = {k[2]: i for i, row in enumerate(rows) for k in row}
    assert depth["root"] == 0 and depth["left"] == depth["right"] == 1 and depth["back"] == 2 and depth["leaf"] == 3
    assert "root" in callgraph.words(g, boxes["root"]) and "100.0 %" in callgraph.words(g, boxes["root"])


def test_a_cycle_of_two_functions_does_not_stop_the_layers():
    a, b = ("m.py", 1, "a"), ("m.py", 2, "b")
    box = lambda k: callgraph.Box(k, 1.0, 0.5, 1)  # noqa: E731
    g = callgraph.Graph({a: box(a), b: box(b)}, {(a, b): (0.5, 1), (b, a): (0.5, 1)}, 1.0, 0)
    assert sorted(k for row in callgraph.layers(g) for k in row) == [a, b]


def test_the_picture_is_drawn_by_matplotlib_and_by_dot_where_there_is_one(stats, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    g = callgraph.graph(stats)
    monkeypatch.setattr(callgraph.shutil, "which", lambda name: None)
    path = callgraph.draw(g, tmp_path / "figures" / "graph.png", "a caption")
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]
    text = callgraph.dot_text(g, 'a "caption"')
    assert text.startswith("digraph") and r"a \"caption\"" in text and text.count("->") == len(g.arrows)
    fake = tmp_path / "bin" / "dot"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\ncat > "$4.in"; echo picture > "$4"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    assert callgraph.draw(g, tmp_path / "dot.png", "x").read_text() == "picture\n"
    with pytest.raises(ValueError, match="must hold a call that took time"):
        callgraph.draw(callgraph.Graph({}, {}, 0.0, 0), tmp_path / "none.png", "")


@pytest.fixture
def harmonics(monkeypatch):
    """A workload of the same form that needs no descriptor."""

    def work(frames):
        return sum(float(vl.spherical_harmonics(f["positions"], 6).sum()) for f in frames)

    monkeypatch.setitem(profiling.WORKLOADS, "benzenes", work)
    monkeypatch.setitem(profiling.WORKLOADS, "ellipsoids", work)


@pytest.mark.parametrize("name", ["benzenes", "ellipsoids"])
def test_profile_writes_the_profile_its_text_and_the_call_graph(name, harmonics, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert main(["profile", name, "--frames", "20", "--out", str(tmp_path), "--no-native"]) == 0
    loaded = pstats.Stats(str(tmp_path / "logs" / f"prof_{name}_20.prof"))
    assert any(key[2] == "spherical_harmonics" for key in loaded.stats)
    assert not any(os.path.isabs(key[0]) for key in loaded.stats if "valence/bench" in key[0])
    text = (tmp_path / "logs" / f"prof_{name}_20.txt").read_text()
    assert "cumulative time" in text and "internal time" in text and "spherical_harmonics" in text
    assert (tmp_path / "figures" / f"prof_{name}_callgraph.png").read_bytes().startswith(b"\x89PNG")


def test_profilers_that_are_missing_or_not_permitted_are_named_in_a_line(tmp_path, monkeypatch):
    a = SimpleNamespace(workload="benzenes", frames=2, data=None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert profiling.flame(a, tmp_path / "bench.svg") == "no flame graph: py-spy is not installed (pip install py-spy)"
    assert profiling.perf(a, tmp_path / "p.txt") == "no perf table: perf is not installed"
    for name in ("py-spy", "perf"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\necho 'Operation not permitted (os error 1)' >&2\nexit 1\n")
        path.chmod(0o755)
    said = "is not permitted here: Operation not permitted (os error 1)"
    assert profiling.flame(a, tmp_path / "bench.svg") == f"no flame graph: py-spy {said}"
    assert profiling.perf(a, tmp_path / "p.txt") == f"no perf table: perf {said}"
    (tmp_path / "py-spy").write_text('#!/bin/sh\nwhile [ "$1" != "-o" ]; do shift; done\necho flames > "$2"\n')
    assert profiling.flame(a, tmp_path / "bench.svg").endswith("flame graph with native frames")


def test_bad_arguments_of_profile_are_named(tmp_path, capsys):
    for words, said in (
        (["benzenes", "--frames", "0"], "`frames` must be a whole number of at least 1, got 0"),
        (["benzenes", "--data", "nowhere"], "`data` must be a folder, got nowhere"),
        (["benzenes", "--data", str(tmp_path)], "`data` must hold benzenes.xyz"),
    ):
        assert main(["profile", *words, "--out", str(tmp_path)]) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["profile", "sugar"])
