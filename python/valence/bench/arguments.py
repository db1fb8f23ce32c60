"""What the commands of the harness have in common: their parser, kinds of values, and options of several of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


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


def add_peers(p: argparse.ArgumentParser) -> None:
    """Where the peers and their environments are."""
    p.add_argument("--peers", help="folder of adapters (default $VALENCE_BENCH_PEERS or benchmarks/peers)")
    p.add_argument("--envs", help="folder of environments (default $VALENCE_BENCH_ENVS or benchmarks/.envs)")


def add_report(p: argparse.ArgumentParser, default: str) -> None:
    """The options of a command that writes a JSON file and a figure."""
    p.add_argument("--name", default=default, help="of the files (default %(default)s)")
    p.add_argument("--out", type=Path, help="a JSON file, or a folder for metrics/, figures/ (default results)")
    p.add_argument("--force", action="store_true", help="replace the file")
    p.add_argument("--quiet", action="store_true", help="no text on standard output")
    p.add_argument("--seed", type=int, default=0)


def place_of(a) -> Path:
    """The JSON file of a report, which must not be there without --force."""
    out = a.out or Path("results")
    if out.suffix != ".json":
        out = out / "metrics" / f"{a.name}.json"
    if out.exists() and not a.force:
        raise FileExistsError(f"`out` must be a new file (or give --force), {out} is there")
    return out


def keep(a, write_figure, text, made: dict, out: Path) -> None:
    """Write a report's record and its figure, print its text."""
    from valence.bench import record

    record.write_json(out, made)
    try:
        write_figure(made, out)
    except ImportError:
        print("no figure: install `matplotlib` (the extra `bench` has it)", file=sys.stderr)
    if not a.quiet:
        print(text(made))
