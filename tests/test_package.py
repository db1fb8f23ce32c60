"""The package as a whole: what importing it costs, threads, forks, public names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import valence as vl


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout.strip()


def test_importing_needs_numpy_alone_and_little_time():
    program = (
        "import sys, time, numpy; before = set(sys.modules); t = time.perf_counter(); import valence;"
        "spent = time.perf_counter() - t; from valence import find_edges, spherical_harmonics, as_systems;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(spent < 0.15, sorted(new - {'numpy', 'valence'}))"
    )
    assert python(program) == "True []"


def test_every_public_name_is_there_and_documented():
    pytest.importorskip("pydantic", reason="pydantic is not installed")
    for name in vl.__all__:
        assert getattr(vl, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vl.nonsense  # noqa: B018


def test_the_number_of_threads_is_set_by_call_and_by_environment():
    vl.set_num_threads(3)
    assert vl.get_num_threads() == 3
    for bad in (0, -1, 5000):
        with pytest.raises(ValueError, match=r"^`n` must be a number of threads from 1 to 4096, got "):
            vl.set_num_threads(bad)
    program = "import valence; print(valence.get_num_threads())"
    assert python(program, VALENCE_NUM_THREADS="5") == "5"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_forked_child_computes():
    vector = np.ones((200_000, 3))
    vl.set_num_threads(2)
    vl.edge_length(vector)  # the parent's threads exist
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        os._exit(0 if np.all(vl.edge_length(vector) == np.sqrt(3.0)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_output_that_overlaps_an_input_is_refused():
    whole = np.ones(4000)
    with pytest.raises(ValueError, match="overlaps an input"):
        vl.edge_length(whole[:3000].reshape(1000, 3), out=whole[1000:2000])


def test_chunks_and_slices_of_other_libraries_tables_are_read():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    vector = np.random.default_rng(0).normal(size=(100, 3))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vector.ravel()), 3)
    table = pa.table({"vector": column})
    chunked = pa.concat_tables([table, table.slice(5, 10)])["vector"]
    expected = np.linalg.norm(np.concatenate([vector, vector[5:15]]), axis=1)
    np.testing.assert_allclose(vl.edge_length(chunked).to_numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize(
    "column, message",
    [
        ([[1.0, 2.0, 3.0]], "`vector` must be a column of numbers or of fixed-size lists of numbers"),
        (["a"], "`vector` must be a column of numbers or of fixed-size lists of numbers, got String"),
        ([1, 2], "`vector` must be float32 or float64, got int64"),
        ([1.0, None], "`vector` must be without nulls, got 1 nulls"),
        ([1.0, 2.0], "`vector` must be of shape [E, 3], got [2]"),
    ],
)
def test_a_bad_column_is_refused_by_name(column, message):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises((TypeError, ValueError)) as error:
        vl.edge_length(pl.Series(column))
    assert str(error.value).startswith(message)


def test_the_demo_writes_tables_and_a_figure(tmp_path):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from valence.cli import main

    assert main(["demo", "--out", str(tmp_path), "--cutoff", "4"]) == 0
    edges = pl.read_parquet(tmp_path / "edges.parquet")
    features = pl.read_parquet(tmp_path / "features.parquet")
    assert len(edges) == len(features) > 10_000
    assert edges["distance"].max() < 4.0
    assert (tmp_path / "distances.png").stat().st_size > 10_000


def test_the_command_line_reports_a_bad_file_and_fails(tmp_path, capsys):
    from valence.cli import main

    bad = tmp_path / "bad.xyz"
    bad.write_text("2\n\nH 0 0 0\n")
    assert main(["info", str(bad)]) == 1
    assert capsys.readouterr().err.startswith("valence: ")
    assert main(["demo", "--cutoff", "-1", "--out", str(tmp_path)]) == 1


def test_no_text_of_the_package_names_a_path_of_one_machine():
    package = Path(vl.__file__).parent
    for path in package.rglob("*.py"):
        assert "/root/" not in path.read_text(encoding="utf-8"), path


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
def test_an_interrupt_ends_a_long_search():
    program = (
        "import signal, time; import numpy as np; import valence as vl\n"
        "side = 126.0; x = np.random.default_rng(0).random((200_000, 3)) * side\n"
        "systems = vl.Systems.from_arrays(x, np.ones(len(x), int), cell=side * np.eye(3), pbc=True)\n"
        "vl.find_edges(systems, 5.0)  # fresh memory is slow the first time\n"
        "started = time.perf_counter(); vl.find_edges(systems, 5.0); whole = time.perf_counter() - started\n"
        "signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1 * whole); started = time.perf_counter()\n"
        "try:\n    vl.find_edges(systems, 5.0)\nexcept KeyboardInterrupt:\n"
        "    print(time.perf_counter() - started < 0.9 * whole)"
    )
    assert python(program, VALENCE_NUM_THREADS="1") == "True"
