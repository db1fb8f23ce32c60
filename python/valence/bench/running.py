"""`python -m valence.bench run`: a suite or preset, measured and checked."""

from __future__ import annotations

import sys
from pathlib import Path

from valence.bench import report, runner, suite
from valence.bench.arguments import add_peers, names, whole_numbers

HELP = "run a suite; exit code 2: a result is wrong, 3: another backend ran, 1: a point failed"
LEAST = {"repeats": 1, "rounds": 1, "warmup": 0}


def add_arguments(p) -> None:
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", help="name of a suite (see list)")
    what.add_argument("--config", type=Path, help="a suite of your own, YAML")
    p.add_argument(
        "--out", type=Path, help="a JSON file, or a folder for metrics/, tables/, figures/ (default results)"
    )
    p.add_argument("--workload", type=names, help="only these, by comma")
    p.add_argument("--backend", type=names, help="only these, by comma; one that is not there then fails its rows")
    p.add_argument("--threads", type=whole_numbers, help="by comma")
    for option, least in LEAST.items():
        p.add_argument(f"--{option}", type=int, help=f"at least {least}")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer of a worker")
    p.add_argument("--pin", action="store_true", help="bind each worker to as many cores as it has threads")
    p.add_argument("--resume", action="store_true", help="run only what the file lacks")
    p.add_argument("--force", action="store_true", help="replace the file")
    p.add_argument("--quiet", action="store_true", help="no table on standard output")
    add_peers(p)


def main(a) -> int:
    for option, least in LEAST.items():
        value = getattr(a, option)
        if value is not None and value < least:
            raise ValueError(f"`{option}` must be a whole number of at least {least}, got {value}")
    work = suite.load(a.config or suite.find(a.preset))
    out = a.out or Path("results")
    if out.suffix != ".json":
        out = out / "metrics" / f"{work.name}.json"
    settings = runner.Settings(
        out, a.backend, a.workload, a.threads, a.repeats, a.warmup, a.rounds, a.resume, a.force, a.seed, a.timeout,
        a.peers, a.envs, a.pin,
    )  # fmt: skip
    runner.end_on_terminate()
    made = runner.run(work, settings)
    try:
        report.write_figure(made, out)
    except ImportError:
        print("no figure: install `matplotlib` (the extra `bench` has it)", file=sys.stderr)
    if not a.quiet:
        print(report.text(made))
    return runner.exit_code(made)
