"""Edges in plain NumPy: what the list is, by trying every pair and image, and the ops on it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def edge_length(vector: np.ndarray) -> np.ndarray:
    """r_e = |v_e|, [E, 3] -> [E]."""
    return np.sqrt((vector * vector).sum(axis=1))


def edge_vectors(
    positions: np.ndarray,
    cell: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    shift: np.ndarray,
    system: np.ndarray,
) -> np.ndarray:
    """v_e = x_t - x_s + S_e @ H_b, -> [E, 3]."""
    return positions[target] - positions[source] + np.einsum("ea,eac->ec", shift, cell[system])


def completed_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """The cell with orthonormal vectors, orthogonal to the periodic ones, along open directions."""
    cell, pbc = np.asarray(cell, float), np.asarray(pbc, bool)
    if not pbc.any():
        return np.eye(3)
    rows = np.where(pbc[:, None], cell, 0.0)
    rows[~pbc] = np.linalg.svd(cell[pbc])[2][pbc.sum() :]
    return rows


def neighbor_list(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """source, target, shift, vector, distance of all edges of one system, by trying every pair and image.

    (i, j, S) is an edge where d2 < cutoff^2 for r = (x_j - x_i) + ((S0 a0 + S1 a1) + S2 a2), S = 0 along open directions, and
    (i, i, 0) is none. Rows are sorted by (source, target, shift). All in float64.
    """
    x = np.asarray(positions, float).reshape(-1, 3)
    cell, pbc = np.asarray(cell, float), np.broadcast_to(np.asarray(pbc, bool), 3)
    inverse = np.linalg.inv(completed_cell(cell, pbc))
    # Two points with fractional difference f and image s are at least |f + s| plane spacings apart.
    reach = cutoff * np.linalg.norm(inverse, axis=0) + 1e-9
    rows: list[Any] = []
    for i, j in itertools.product(range(len(x)), repeat=2):
        f = (x[j] - x[i]) @ inverse
        ranges = [
            range(int(np.ceil(-f[a] - reach[a])), int(np.floor(-f[a] + reach[a])) + 1) if pbc[a] else range(1)
            for a in range(3)
        ]
        for s in itertools.product(*ranges):
            if i == j and s == (0, 0, 0):
                continue
            t = [s[a] * cell[a] if pbc[a] else np.zeros(3) for a in range(3)]
            r = (x[j] - x[i]) + ((t[0] + t[1]) + t[2])
            if (r[0] * r[0] + r[1] * r[1]) + r[2] * r[2] < cutoff * cutoff:
                rows.append((i, j, s, r))
    source = np.array([r[0] for r in rows], np.int32)
    target = np.array([r[1] for r in rows], np.int32)
    shift = np.array([r[2] for r in rows], np.int32).reshape(-1, 3)
    vector = np.array([r[3] for r in rows]).reshape(-1, 3)
    return source, target, shift, vector, edge_length(vector)
