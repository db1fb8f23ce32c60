"""`python -m valence.bench profile benzenes|ellipsoids`: where the time of a descriptor of many frames goes.

cProfile, its text and its call graph; a flame graph by py-spy with the frames of the compiled module, and perf's table, each where the
machine permits it, else a line that says why not.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from valence.bench import callgraph, environment
from valence.bench.figure_rows import machine_of
from valence.bench.make_data import SHIPPED
from valence.bench.record import write_text

HELP = "profile a descriptor on benzenes or ellipsoids: cProfile, call graph, flame graph (py-spy), perf"
SEED = 0


def add_arguments(p) -> None:
    p.add_argument("workload", choices=sorted(WORKLOADS))
    p.add_argument("--frames", type=int, default=200, help="computed one after another (default %(default)s)")
    p.add_argument("--data", type=Path, help="folder with benzenes.xyz, ellipsoids.xyz (default those of the package)")
    p.add_argument(
        "--out", type=Path, default=Path("results"), help="folder of logs/ and figures/ (default %(default)s)"
    )
    p.add_argument("--top", type=int, default=20, help="functions in the text (default %(default)s)")
    p.add_argument("--no-native", action="store_true", help="neither py-spy nor perf")
    p.add_argument("--job", action="store_true", help="run the frames alone, for a profiler outside")


def moved(path: Path, frames: int, step: float) -> list[dict]:
    """The first frame of a file `frames` times, its atoms displaced by up to `step` [Angstrom] along each axis."""
    import valence as vl
    from valence.bench.data_descriptors import shapes_of

    if not path.is_file():
        raise FileNotFoundError(f"`data` must hold {path.name}, got no {path}")
    first = vl.read(path, 0)
    rng = np.random.default_rng(SEED)
    shapes = shapes_of(first)
    more = {"orientation": shapes["quaternion"], "semiaxes": shapes["semiaxes"]} if shapes else {}
    return [
        {
            "positions": first.positions + rng.uniform(-step, step, first.positions.shape),
            "numbers": first.numbers, "cell": first.cell, "pbc": first.pbc, **more,
        }
        for _ in range(frames)
    ]  # fmt: skip


def benzenes(frames: list[dict]) -> float:
    """SOAP of each frame: 8 radial functions, lmax 6, 5 Angstrom."""
    import valence as vl

    soap = vl.Soap(cutoff=5.0, max_radial=7, lmax=6, width=0.5)
    return sum(float(soap.compute(vl.Systems.from_arrays(**frame)).values.sum()) for frame in frames)


def ellipsoids(frames: list[dict]) -> float:
    """AniSOAP of each frame: lmax 6, 7 Angstrom, width 1.5."""
    import valence as vl

    anisoap = vl.AniSoap(cutoff=7.0, lmax=6, width=1.5)
    return sum(float(anisoap.compute(vl.Systems.from_arrays(**frame)).values.sum()) for frame in frames)


WORKLOADS: dict[str, Callable[[list[dict]], float]] = {"benzenes": benzenes, "ellipsoids": ellipsoids}


def short(stats: pstats.Stats) -> pstats.Stats:
    """Paths from the package or the standard library on, so that the text does not name this machine's folders."""
    here = str(Path(__file__).parents[2])
    for table in (stats.stats, *(v[4] for v in stats.stats.values())):  # type: ignore[attr-defined]
        for key in list(table):
            path = key[0].removeprefix(here).lstrip("/")
            for mark in ("site-packages/", "lib/python"):
                if mark in path:
                    path = path.split(mark, 1)[1]
            if path != key[0]:
                table[(path, *key[1:])] = table.pop(key)
    return stats


def text_of(stats: pstats.Stats, top: int) -> str:
    out = io.StringIO()
    stats.stream = out  # type: ignore[attr-defined]
    stats.sort_stats("cumulative").print_stats(top)
    stats.sort_stats("tottime").print_stats(top)
    return out.getvalue()


def last_line(ended: subprocess.CompletedProcess) -> str:
    lines = (ended.stderr or ended.stdout or "").strip().splitlines()
    return lines[-1].strip() if lines else f"it ended with {ended.returncode}"


def job(a) -> list[str]:
    more = ["--data", str(a.data)] if a.data else []
    return [sys.executable, "-m", "valence.bench", "profile", a.workload, "--frames", str(a.frames), "--job", *more]


def flame(a, to: Path) -> str:
    """py-spy's flame graph with native frames; what was written, or why nothing was."""
    spy = shutil.which("py-spy")
    if spy is None:
        return "no flame graph: py-spy is not installed (pip install py-spy)"
    to.parent.mkdir(parents=True, exist_ok=True)
    ended = None
    for native in (["--native"], []):
        ended = subprocess.run(
            [spy, "record", *native, "--rate", "500", "--nonblocking", "--format", "flamegraph", "-o", str(to), "--", *job(a)],
            capture_output=True, text=True,
        )  # fmt: skip
        if ended.returncode == 0 and to.exists():
            return f"{to}: flame graph{' with native frames' if native else ' of Python frames; native ones are not permitted here'}"
    assert ended is not None
    return f"no flame graph: py-spy is not permitted here: {last_line(ended)}"


def perf(a, to: Path) -> str:
    """perf's table of functions by their own time; what was written, or why nothing was."""
    tool = shutil.which("perf")
    if tool is None:
        return "no perf table: perf is not installed"
    raw = to.with_suffix(".data")
    to.parent.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [tool, "record", "-q", "-F", "500", "-g", "-o", str(raw), "--", *job(a)], capture_output=True, text=True
    )
    if ended.returncode or not raw.exists() or not raw.stat().st_size:
        raw.unlink(missing_ok=True)
        return f"no perf table: perf is not permitted here: {last_line(ended)}"
    told = subprocess.run(
        [tool, "report", "--stdio", "--no-children", "-g", "none", "-i", str(raw)], capture_output=True, text=True
    )
    raw.unlink(missing_ok=True)
    if told.returncode or not any(line.strip() and not line.startswith("#") for line in told.stdout.splitlines()):
        return f"no perf table: perf took no sample here: {last_line(told)}"
    lines = [line for line in told.stdout.splitlines() if line.strip()][:60]
    write_text(to, "\n".join(lines) + "\n")
    return f"{to}: perf's table of functions by their own time"


def main(a) -> int:
    if a.frames < 1:
        raise ValueError(f"`frames` must be a whole number of at least 1, got {a.frames}")
    if a.data is not None and not a.data.is_dir():
        raise FileNotFoundError(f"`data` must be a folder, got {a.data}")
    function = WORKLOADS[a.workload]
    frames = moved((a.data or SHIPPED) / f"{a.workload}.xyz", a.frames, 0.05)
    if a.job:
        function(frames)
        return 0
    function(frames[:1])  # imports and first use are not what is asked
    profile = cProfile.Profile()
    profile.runcall(function, frames)
    logs, name = a.out / "logs", f"prof_{a.workload}_{a.frames}"
    logs.mkdir(parents=True, exist_ok=True)
    stats = short(pstats.Stats(profile))
    stats.dump_stats(logs / f"{name}.prof")
    text = text_of(stats, a.top)
    write_text(logs / f"{name}.txt", text)
    print(text)
    print(f"{logs / name}.prof, .txt")
    machine = machine_of(environment.report(ask_torch=False))
    caption = f"{a.workload}, {a.frames} frames of {len(frames[0]['numbers'])}; {machine}; shares of {stats.total_tt:.3g} s, cProfile"  # type: ignore[attr-defined]
    try:
        print(callgraph.draw(callgraph.graph(stats), a.out / "figures" / f"prof_{a.workload}_callgraph.png", caption))
    except ImportError:
        print("no call graph: install `matplotlib` (the extra `bench` has it)", file=sys.stderr)
    if not a.no_native:
        print(flame(a, logs / "bench.svg"))
        print(perf(a, logs / f"{name}.perf.txt"))
    return 0
