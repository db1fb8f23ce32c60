"""`python -m valence.bench run|compare|env|models|list`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from valence.bench import comparison, environment, models, oracle, record, report, runner, suite
from valence.bench.peers import OURS, families, make_environment
from valence.bench.worker import load


class Parser(argparse.ArgumentParser):
    """Usage errors end with 1: 2 and 3 say something about results."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def whole_numbers(text: str) -> list[int]:
    values = [int(v) for v in text.split(",")]
    if any(v < 1 for v in values):
        raise argparse.ArgumentTypeError(f"must be whole numbers of at least 1, got {text}")
    return values


def names(text: str) -> list[str]:
    return [v for v in text.split(",") if v]


def parser() -> Parser:
    p = Parser(
        prog="python -m valence.bench", description="Measure Valence against other programs, and check its results."
    )
    verbs = p.add_subparsers(dest="verb", required=True, parser_class=Parser)
    r = verbs.add_parser(
        "run", help="run a suite; exit code 2: a result is wrong, 3: another backend ran, 1: a point failed"
    )
    what = r.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", help="name of a suite (see list)")
    what.add_argument("--config", type=Path, help="a suite of your own, YAML")
    r.add_argument(
        "--out", type=Path, help="a JSON file, or a folder for metrics/, tables/, figures/ (default results)"
    )
    r.add_argument("--workload", type=names, help="only these, by comma")
    r.add_argument("--backend", type=names, help="only these, by comma; one that is not there then fails its rows")
    r.add_argument("--threads", type=whole_numbers, help="by comma")
    for option, least in (("repeats", 1), ("rounds", 1), ("warmup", 0)):
        r.add_argument(f"--{option}", type=int, help=f"at least {least}")
    r.add_argument("--seed", type=int, default=0)
    r.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer of a worker")
    r.add_argument("--pin", action="store_true", help="bind each worker to as many cores as it has threads")
    r.add_argument("--resume", action="store_true", help="run only what the file lacks")
    r.add_argument("--force", action="store_true", help="replace the file")
    r.add_argument("--quiet", action="store_true", help="no table on standard output")
    c = verbs.add_parser("compare", help="ratios of two records; exit code 1 where B lost ground")
    c.add_argument("a", type=Path)
    c.add_argument("b", type=Path)
    c.add_argument("--fail-above", type=float, default=1.10)
    e = verbs.add_parser("env", help="describe this machine, or make the environment of a family of peers")
    e.add_argument("--output", type=Path, help="write JSON here instead of printing it")
    e.add_argument(
        "--make", action="append", metavar="FAMILY", help="create its environment from the pinned requirements"
    )
    m = verbs.add_parser(
        "models", help="make the networks that the suite of MACE runs, in the environment of its peers"
    )
    m.add_argument("--output", type=Path, help="folder (default $VALENCE_BENCH_MODELS or benchmarks/.models)")
    for v in (r, e, m, verbs.add_parser("list", help="suites, workloads, backends, families")):
        v.add_argument("--peers", help="folder of adapters (default $VALENCE_BENCH_PEERS or benchmarks/peers)")
        v.add_argument("--envs", help="folder of environments (default $VALENCE_BENCH_ENVS or benchmarks/.envs)")
    return p


def run(a) -> int:
    for option, least in (("repeats", 1), ("rounds", 1), ("warmup", 0)):
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


def compare(a) -> int:
    rows = comparison.compare(record.read_json(a.a), record.read_json(a.b), fail_above=a.fail_above)
    print(comparison.text(rows))
    return int(any(r["regression"] for r in rows))


def env(a) -> int:
    for name in a.make or []:
        print(make_environment(name, peers=a.peers, environments=a.envs))
    if a.make and not a.output:
        return 0
    made = environment.report()
    if a.output:
        record.write_json(a.output, made)
    else:
        print(json.dumps(made, indent=1))
    return 0


def make_models(a) -> int:
    try:
        print(models.make(a.output, peers=a.peers, environments=a.envs))
    except subprocess.CalledProcessError as e:
        print(f"valence.bench: error: the script of the peers ended with {e.returncode}", file=sys.stderr)
        return 1
    return 0


def show(a) -> int:
    for name, path in sorted(suite.known().items()):
        work = suite.load(path)
        print(f"suite {name}: {work.title}")
        for w in work.workloads:
            print(f"  {w.name:<26} {w.op:<24} {','.join(w.backends)}")
    for family in families(a.peers, a.envs).values():
        where = "this environment" if not family.own_environment else "its own environment"
        print(f"family {family.name} ({'ours' if family.name == OURS else where})")
        for name, path in family.adapters.items():
            print(f"  {name:<26} backends {', '.join(load(f'{name}={path}').BACKENDS)}")
    print(f"operations: {', '.join(sorted(oracle.OPERATIONS))}")
    return 0


def main(arguments=None) -> int:
    a = parser().parse_args(arguments)
    try:
        return {"run": run, "compare": compare, "env": env, "models": make_models, "list": show}[a.verb](a)
    except KeyboardInterrupt:
        print("interrupted: finished points are kept, --resume runs the others", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as e:
        print(f"valence.bench: error: {e}", file=sys.stderr)
        return 1
