"""`python -m valence.bench run`: a suite or preset, measured and checked."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from valence.bench import report, runner, suite
from valence.bench.arguments import add_peers, names, whole_numbers
from valence.bench.settings import Settings

HELP = "run a suite; exit code 2: a result is wrong, 3: another backend ran, 1: a point failed"
LEAST = {"repeats": 1, "rounds": 1, "warmup": 0, "passes": 1, "frames": 1}


def add_arguments(p) -> None:
    what = p.add_mutually_exclusive_group()
    what.add_argument("--preset", help="name of a suite (see list; default cpu where a sweep is asked for)")
    what.add_argument("--config", type=Path, help="a suite of your own, YAML")
    p.add_argument("--sweep", help=f"one of {', '.join(suite.AXES)}: the workloads of that sweep alone")
    p.add_argument(
        "--data",
        type=Path,
        help="folder of your own files for the workloads that read some (default $DATA_ROOT, else generated)",
    )
    p.add_argument(
        "--out", type=Path, help="a JSON file, or a folder for metrics/, tables/, figures/, logs/ (default results)"
    )
    p.add_argument("--workload", type=names, help="only these, by comma")
    p.add_argument(
        "--backend",
        type=names,
        help="only these backends or libraries, by comma; one that is not there then fails its rows",
    )
    p.add_argument("--threads", type=whole_numbers, help="by comma")
    for option, least in LEAST.items():
        p.add_argument(f"--{option}", type=int, help=f"at least {least}")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer of a worker")
    p.add_argument("--pin", action="store_true", help="bind each worker to as many cores as it has threads")
    p.add_argument("--isolate", action="store_true", help="a process for each row")
    p.add_argument("--profile", action="store_true", help="also the timers inside the operations that have some")
    p.add_argument("--resume", action="store_true", help="run only what the file lacks")
    p.add_argument("--force", action="store_true", help="replace the file")
    p.add_argument("--quiet", action="store_true", help="no table on standard output")
    add_peers(p)


def thread_list(sweep: str | None) -> tuple[list[int] | None, str | None]:
    """Threads from OPENMP_NUM_THREADS or OMP_NUM_THREADS where one of them is a list by comma: that means the sweep."""
    for name in ("OPENMP_NUM_THREADS", "OMP_NUM_THREADS"):
        said = os.environ.get(name, "")
        if "," in said:
            try:
                return whole_numbers(said), sweep or "threads"
            except (ValueError, argparse.ArgumentTypeError):
                raise ValueError(f"`{name}` must be whole numbers of at least 1 by comma, got {said}") from None
    return None, sweep


def data_folder(given: Path | None) -> Path | None:
    """The folder of --data, else that of $DATA_ROOT, else None: generated data."""
    root = os.environ.get("DATA_ROOT")
    if given is not None and not given.is_dir():
        raise FileNotFoundError(f"`data` must be a folder, got {given} (and $DATA_ROOT is {root or 'not set'})")
    if given is None and root and not Path(root).is_dir():
        raise FileNotFoundError(f"`$DATA_ROOT` must be a folder, got {root} (and --data is not given)")
    return given or (Path(root) if root else None)


def prepare(preset=None, config=None, sweep=None, out=None, data=None, **options) -> tuple[suite.Suite, Settings]:
    """The suite and the settings that arguments of `run` ask for; see :func:`add_arguments`."""
    for option, least in LEAST.items():
        value = options.get(option)
        if value is not None and value < least:
            raise ValueError(f"`{option}` must be a whole number of at least {least}, got {value}")
    if not options.get("threads"):
        options["threads"], sweep = thread_list(sweep)
    if preset is None and config is None and sweep is None:
        raise ValueError("`run` must have a preset, a config or a sweep, got none")
    work = suite.load(config or suite.find(preset or "cpu"), sweep)
    out = Path(out or "results")
    if out.suffix != ".json":
        out = out / "metrics" / f"{work.name}.json"
    return work, Settings(out, data=data_folder(data), **options)


def main(a) -> int:
    work, settings = prepare(
        a.preset, a.config, a.sweep, a.out, a.data, backends=a.backend, workloads=a.workload, threads=a.threads,
        repeats=a.repeats, warmup=a.warmup, rounds=a.rounds, passes=a.passes, frames=a.frames, resume=a.resume,
        force=a.force, seed=a.seed, timeout=a.timeout, peers=a.peers, environments=a.envs, pin=a.pin,
        isolate=a.isolate, profile=a.profile,
    )  # fmt: skip
    runner.end_on_terminate()
    made = runner.run(work, settings)
    try:
        report.write_figure(made, settings.out)
    except ImportError:
        print("no figure: install `matplotlib` (the extra `bench` has it)", file=sys.stderr)
    if not a.quiet:
        print(report.text(made))
    return runner.exit_code(made)
