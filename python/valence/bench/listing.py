"""`python -m valence.bench list`: suites, workloads, backends and families."""

from __future__ import annotations

from valence.bench import oracle, suite
from valence.bench.arguments import add_peers
from valence.bench.peers import OURS, families
from valence.bench.worker import load

HELP = "suites, workloads, backends, families"


def add_arguments(p) -> None:
    add_peers(p)


def main(a) -> int:
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
