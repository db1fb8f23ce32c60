"""`python -m valence.bench env`: describe this machine, or make the environment of a family of peers."""

from __future__ import annotations

import json
from pathlib import Path

from valence.bench import environment, record
from valence.bench.arguments import add_peers
from valence.bench.peers import make_environment

HELP = "describe this machine, or make the environment of a family of peers"


def add_arguments(p) -> None:
    p.add_argument("--output", type=Path, help="write JSON here instead of printing it")
    p.add_argument(
        "--make", action="append", metavar="FAMILY", help="create its environment from the pinned requirements"
    )
    add_peers(p)


def main(a) -> int:
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
