"""`python -m valence.bench models`: makes the networks of the suite of MACE in the environment of its peers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import valence
from valence.bench import data_mace
from valence.bench.arguments import add_peers
from valence.bench.peers import families, peers_folder

FAMILY = "mace"
HELP = "make the networks that the suite of MACE runs, in the environment of its peers"


def add_arguments(p) -> None:
    p.add_argument("--output", type=Path, help="folder (default $VALENCE_BENCH_MODELS or benchmarks/.models)")
    add_peers(p)


def main(a) -> int:
    try:
        print(make(a.output, peers=a.peers, environments=a.envs))
    except subprocess.CalledProcessError as e:
        print(f"valence.bench: error: the script of the peers ended with {e.returncode}", file=sys.stderr)
        return 1
    return 0


def make(folder=None, *, peers=None, environments=None) -> Path:
    """Run the peers' script; it sees this package beside the libraries of its environment. Returns the folder."""
    found = families(peers, environments).get(FAMILY)
    home = peers_folder(peers)
    if found is None or home is None:
        raise ValueError(f"`peers` must hold the family {FAMILY}, got {home}")
    to = data_mace.models_folder(folder).absolute()
    with tempfile.TemporaryDirectory() as beside:
        (Path(beside) / "valence").symlink_to(Path(valence.__file__).parent)
        env = {**os.environ, "PYTHONPATH": beside, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        script = home / FAMILY / "models.py"
        subprocess.run([found.python, str(script), data_mace.__file__, str(to)], check=True, env=env)
    return to
