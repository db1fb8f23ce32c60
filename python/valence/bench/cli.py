"""`python -m valence.bench run|compare|env|models|memory|stress|list`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from valence.bench import comparison, environment, memory, models, oracle, record, report, runner, stress, suite
from valence.bench.peers import OURS, WorkerFailed, families, make_environment
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
    memory_parser = add_memory(verbs)
    add_stress(verbs)
    for v in (r, e, m, memory_parser, verbs.add_parser("list", help="suites, workloads, backends, families")):
        v.add_argument("--peers", help="folder of adapters (default $VALENCE_BENCH_PEERS or benchmarks/peers)")
        v.add_argument("--envs", help="folder of environments (default $VALENCE_BENCH_ENVS or benchmarks/.envs)")
    return p


def add_report(p, default: str) -> None:
    """The options of a command that writes a JSON file and a figure."""
    p.add_argument("--name", default=default, help="of the files (default %(default)s)")
    p.add_argument("--out", type=Path, help="a JSON file, or a folder for metrics/, figures/ (default results)")
    p.add_argument("--force", action="store_true", help="replace the file")
    p.add_argument("--quiet", action="store_true", help="no text on standard output")
    p.add_argument("--seed", type=int, default=0)


def add_memory(verbs) -> Parser:
    p = verbs.add_parser(
        "memory",
        help="resident and peak memory over time, of a workload of a suite or of any command; exit code 1: it failed",
    )
    add_report(p, "memory")
    p.add_argument("--interval", type=float, default=0.01, help="seconds between samples (default %(default)s)")
    p.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for one answer of the worker, or for the command"
    )
    p.add_argument("--preset", help="name of a suite (see list)")
    p.add_argument("--config", type=Path, help="a suite of your own, YAML")
    p.add_argument("--workload", help="of the suite")
    p.add_argument("--backend", default="cpu")
    p.add_argument("--dtype", help="(default the workload's first)")
    p.add_argument("--threads", type=int, help="(default the workload's first)")
    p.add_argument("--calls", type=int, default=20, help="of the workload (default %(default)s)")
    p.add_argument("command", nargs="*", metavar="-- COMMAND", help="a command to run instead")
    return p


def add_stress(verbs) -> Parser:
    p = verbs.add_parser(
        "stress",
        help="many molecules, random sizes, many threads, repeated; exit code 2: a result changed or was lost, 1: memory grew",
    )
    add_report(p, "stress")
    d = stress.Settings()
    p.add_argument(
        "--model", help="a file for valence.load: energies and forces (default the example weights of ValenceEngine)"
    )
    p.add_argument("--molecules", type=int, default=d.molecules, help="(default %(default)s)")
    p.add_argument(
        "--atoms",
        type=whole_numbers,
        default=list(d.atoms),
        help="least and most of a molecule, by comma (default 1,60)",
    )
    p.add_argument(
        "--threads", type=whole_numbers, default=list(d.threads), help="of the pool, by comma (default 1,2,4)"
    )
    p.add_argument(
        "--callers", type=int, default=d.callers, help="Python threads that call at a time (default %(default)s)"
    )
    p.add_argument("--rounds", type=int, default=d.rounds, help="at least 3 (default %(default)s)")
    p.add_argument(
        "--growth-mib",
        type=float,
        default=d.growth_mib,
        help="of resident memory that is allowed (default %(default)s)",
    )
    return p


def place_of(a) -> Path:
    """The JSON file of a report, which must not be there without --force."""
    out = a.out or Path("results")
    if out.suffix != ".json":
        out = out / "metrics" / f"{a.name}.json"
    if out.exists() and not a.force:
        raise FileExistsError(f"`out` must be a new file (or give --force), {out} is there")
    return out


def keep(a, kind, made: dict, out: Path) -> None:
    """Write the record and its figure, print its text."""
    record.write_json(out, made)
    try:
        kind.write_figure(made, out)
    except ImportError:
        print("no figure: install `matplotlib` (the extra `bench` has it)", file=sys.stderr)
    if not a.quiet:
        print(kind.text(made))


def measure_memory(a) -> int:
    out = place_of(a)
    runner.end_on_terminate()
    if a.command:
        if a.preset or a.config or a.workload:
            raise ValueError("`command` must stand alone, got a suite beside it")
        made = memory.of_command(a.command, name=a.name, interval=a.interval, timeout=a.timeout)
        keep(a, memory, made, out)
        return int(made["job"]["returncode"] != 0)
    if not (a.preset or a.config):
        raise ValueError("`memory` must have a job: --preset SUITE --workload NAME, or -- COMMAND, got none")
    work = suite.load(a.config or suite.find(a.preset))
    workloads = {w.name: w for w in work.workloads}
    w = workloads[suite.one_of("workload", a.workload, workloads)]
    try:
        made = memory.of_workload(
            w, name=a.name, backend=a.backend, dtype=a.dtype, threads=a.threads, calls=a.calls, interval=a.interval,
            seed=a.seed, timeout=a.timeout, peers=a.peers, environments=a.envs,
        )  # fmt: skip
    except WorkerFailed as e:
        print(f"valence.bench: error: {e}", file=sys.stderr)
        return 1
    keep(a, memory, made, out)
    return 0


def run_stress(a) -> int:
    out = place_of(a)
    if len(a.atoms) != 2:
        raise ValueError(f"`atoms` must be two numbers by comma, got {len(a.atoms)}")
    settings = stress.Settings(
        a.molecules, (a.atoms[0], a.atoms[1]), tuple(a.threads), a.callers, a.rounds, a.growth_mib, a.seed
    ).check()
    subject = stress.Model(a.model) if a.model else stress.Engine()
    runner.end_on_terminate()
    made = stress.run(subject, settings, lambda said: print(f"[stress] {said}", file=sys.stderr, flush=True))
    keep(a, stress, made, out)
    return stress.exit_code(made)


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
    verbs = {
        "run": run, "compare": compare, "env": env, "models": make_models, "memory": measure_memory,
        "stress": run_stress, "list": show,
    }  # fmt: skip
    try:
        return verbs[a.verb](a)
    except KeyboardInterrupt:
        print("interrupted: finished points are kept, --resume runs the others", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as e:
        print(f"valence.bench: error: {e}", file=sys.stderr)
        return 1
