"""Frames, edges and first weights for the two MACE examples: NumPy alone, so that torch and JAX start from the same numbers."""

from __future__ import annotations

import zlib

import numpy as np
import valence as vl

CHANNELS = 8
CUTOFF = 4.2  # Å
SPHERE = "1x0e + 1x1o + 1x2e"
TARGET = f"{CHANNELS}x0e + {CHANNELS}x1o + {CHANNELS}x2e"
#: Irreps of the node features before, between and after the two layers.
FEATURES = (f"{CHANNELS}x0e", f"{CHANNELS}x0e + {CHANNELS}x1o", f"{CHANNELS}x0e")
RADIAL = vl.RadialBasis("bessel", 8, CUTOFF, envelope="polynomial")
HIDDEN = (8, 16, 16)
#: Weight of the squared energy error per atom (eV) against the squared force error (eV/Å).
ENERGY_WEIGHT = 10.0


def load(metals=("Al", "Cu", "Ni"), sizes=("2x2x2", "3x3x3")) -> dict[str, np.ndarray]:
    """Rattled supercells of metals with energies (eV) and forces (eV/Å) of effective medium theory, and their edges."""
    crystals = vl.samples("crystals")
    names = [str(name) for name in crystals.info["name"]]
    chosen = [n for n, name in enumerate(names) if name.split()[0] in metals and name.split()[1].strip(",") in sizes]
    frames = vl.concat([crystals[n] for n in chosen])
    edges = vl.find_edges(frames, CUTOFF)
    atoms = np.repeat(np.arange(len(frames)), frames.counts)
    return {
        "positions": frames.positions,
        "cell": frames.cell,
        "element": np.unique(frames.numbers, return_inverse=True)[1].astype(np.int32),
        "frame": atoms.astype(np.int32),
        "count": np.asarray(frames.counts, float),
        "source": edges.source,
        "target": edges.target,
        "shift": edges.shift,
        "system": atoms[edges.source].astype(np.int32),
        "energy": np.asarray(frames.info["energy"], float),
        "forces": np.asarray(frames.columns["forces"], float),
    }


def avg_num_neighbors(data: dict[str, np.ndarray]) -> float:
    return len(data["source"]) / len(data["positions"])


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """First weights of the parameter of this name, from the normal distribution."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
