"""`python -m valence.bench models`: makes the networks of the suite of MACE in the environment of its peers."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import valence
from valence.bench import data_mace
from valence.bench.peers import families, peers_folder

FAMILY = "mace"


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
