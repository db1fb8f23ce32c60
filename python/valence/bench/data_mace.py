"""Cells for the suite of MACE, NumPy alone: what makes the references in the peer's environment reads this file too.

Each cell of about 64 atoms is repeated to 8 and 64 times its size, so that energy, forces and stress of the larger ones
follow from those of the small one: a peer is asked once for the small cell in float64.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

#: Elements of the models.
ELEMENTS = (1, 6, 8, 14, 22, 29, 38)
R_MAX = 6.0
#: Of the cell of Si and O, Angstrom.
EDGE = 10.6877
HOW = "python -m valence.bench models"


def models_folder(given=None) -> Path:
    """The folder of models: the argument, $VALENCE_BENCH_MODELS, or ./benchmarks/.models (ignored by git)."""
    return Path(given or os.environ.get("VALENCE_BENCH_MODELS") or "benchmarks/.models")


def grid(n, edge):
    steps = np.arange(n) + 0.5
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) * (edge / n)


def silica():
    """64 atoms Si and O on a displaced 4 x 4 x 4 grid in a cube of 10.6877 Angstrom: 2,868 edges at 6 Angstrom."""
    rng = np.random.default_rng(1)
    x = grid(4, EDGE) + rng.uniform(-0.4, 0.4, (64, 3))
    numbers = np.where(rng.permutation(64) < 21, 14, 8)
    return numbers, x, EDGE * np.eye(3)


def water():
    """21 rigid molecules of random orientation on a grid of 27 sites, at 0.0334 molecules per cubic Angstrom."""
    rng = np.random.default_rng(2)
    edge = (21 / 0.0334) ** (1 / 3)
    sites = grid(3, edge)[rng.choice(27, 21, replace=False)] + rng.uniform(-0.15, 0.15, (21, 3))
    angle, length = np.deg2rad(104.5) / 2, 0.9572
    shape = np.array([[0, 0, 0], [np.sin(angle), 0, np.cos(angle)], [-np.sin(angle), 0, np.cos(angle)]]) * length
    turns = np.linalg.qr(rng.normal(size=(21, 3, 3)))[0]
    x = sites[:, None] + shape @ turns
    return np.tile([8, 1, 1], 21), x.reshape(-1, 3), edge * np.eye(3)


def crystal(basis, numbers, frame, counts, seed, step):
    """A displaced supercell of `counts` cells."""
    shifts = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    x = ((shifts[:, None] + basis).reshape(-1, 3)) @ frame
    x = x + np.random.default_rng(seed).uniform(-step, step, x.shape)
    return np.tile(numbers, len(shifts)), x, np.array(counts)[:, None] * frame


def perovskite():
    """3 x 2 x 2 cells of SrTiO3, a = 3.905 Angstrom."""
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return crystal(basis, [38, 22, 8, 8, 8], 3.905 * np.eye(3), (3, 2, 2), 3, 0.1)


def copper():
    """4 x 4 x 4 primitive cells of copper, a = 3.615 Angstrom."""
    frame = 3.615 / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return crystal(np.zeros((1, 3)), [29], frame, (4, 4, 4), 4, 0.1)


def hexane():
    """C6H14, the carbon chain in a zigzag, tetrahedral hydrogens: 20 atoms, open."""
    cc, ch, half = 1.53, 1.09, np.deg2rad(111.0) / 2
    k = np.arange(6)
    up = np.where(k % 2, 1.0, -1.0)
    carbon = np.stack([k * cc * np.sin(half), up * cc * np.cos(half) / 2, np.zeros(6)], axis=1)
    side = np.stack([np.zeros(6), up * np.cos(np.deg2rad(54.0)), np.full(6, np.sin(np.deg2rad(54.0)))], axis=1)
    hydrogen = [carbon + ch * side, carbon + ch * side * [1, 1, -1]]
    for end, inner in ((0, 1), (5, 4)):
        bond = carbon[end] - carbon[inner]
        away = np.array([bond[0] * 1.0, -bond[1], 0.0])
        hydrogen.append((carbon[end] + ch * away / np.linalg.norm(away))[None])
    x = np.concatenate([carbon, *hydrogen]) + np.random.default_rng(5).uniform(-0.03, 0.03, (20, 3))
    return np.array([6] * 6 + [1] * 14), x, np.zeros((3, 3))


CELLS = {f.__name__: f for f in (silica, water, perovskite, copper, hexane)}


def mace_cell(rng, dtype, *, cell, model, repeats=1):
    """A cell repeated `repeats` times along each axis, its atoms in random order; `origin` is each atom's row in the cell,
    `model` the path of the model's files without their ends."""
    path = models_folder() / model
    with np.load(reference_file(path)) as f:
        edges = int(f[f"{cell}/num_edges"])
    numbers, x, frame = CELLS[cell]()
    if repeats > 1 and not frame.any():
        raise ValueError(f"`repeats` must be 1 for an open cell, got {repeats}")
    shifts = np.stack(np.meshgrid(*3 * [np.arange(repeats)], indexing="ij"), axis=-1).reshape(-1, 3) @ frame
    order = rng.permutation(len(shifts) * len(x))
    arrays = {
        "positions": (x + shifts[:, None]).reshape(-1, 3)[order],
        "numbers": np.tile(numbers, len(shifts))[order],
        "origin": np.tile(np.arange(len(x)), len(shifts))[order],
        "offsets": np.array([0, order.size]),
        "cell": repeats * frame[None],
        "pbc": np.full((1, 3), bool(frame.any())),
        "num_edges": np.array(edges * len(shifts)),
        "precision": np.zeros(0, dtype),
        "name": np.array(cell),
        "model": np.array(str(path.absolute())),
    }
    return arrays, order.size


def reference_file(path):
    file = Path(path).with_suffix(".npz")
    if not file.is_file():
        raise FileNotFoundError(f"{file} must hold the references of a model: run `{HOW}`")
    return file


GENERATORS = {"mace_cell": mace_cell}
