"""`python -m valence.bench <verb>`.

Each verb is a module with `HELP`, `add_arguments(parser)` and `main(arguments) -> exit code`; this file only lists them.
"""

from __future__ import annotations

import importlib
import sys

from valence.bench.arguments import Parser

#: The module of each verb, in the order of the help.
VERBS = {
    "run": "running",
    "aggregate": "aggregate",
    "compare": "comparison",
    "plot": "plot",
    "roofline": "roofline",
    "profile": "profiling",
    "bundle": "bundle",
    "make-data": "make_data",
    "env": "env",
    "models": "models",
    "memory": "memory",
    "stress": "stress",
    "list": "listing",
}


def parser() -> Parser:
    p = Parser(
        prog="python -m valence.bench", description="Measure Valence against other programs, and check its results."
    )
    verbs = p.add_subparsers(dest="verb", required=True, parser_class=Parser)
    for verb, name in VERBS.items():
        module = importlib.import_module(f"valence.bench.{name}")
        added = verbs.add_parser(verb, help=module.HELP, description=module.HELP)
        module.add_arguments(added)
        added.set_defaults(main=module.main)
    return p


def main(arguments=None) -> int:
    a = parser().parse_args(arguments)
    try:
        return a.main(a)
    except KeyboardInterrupt:
        print("interrupted: finished points are kept, --resume runs the others", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as e:
        print(f"valence.bench: error: {e}", file=sys.stderr)
        return 1
