"""Strain derivatives, stress and virials from the gradient of an energy with respect to edge vectors.

For ``x -> x (1 + eps)``, ``H -> H (1 + eps)`` every edge vector becomes ``r (1 + eps)``, so with g = dE/dr [E, 3]:
dE/deps_ac = sum_e r_ea g_ec, stress = dE/deps / V (ASE's sign), W_i = -sum_{e: s = i} r_e (x) g_e.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _outer_sums(vector: np.ndarray, gradient: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """sum of r_a g_c over the edges of each row: [rows, 3, 3], summed in float64."""
    vector, gradient = np.asarray(vector, np.float64), np.asarray(gradient, np.float64)
    if vector.shape != gradient.shape or vector.ndim != 2 or vector.shape[1] != 3:
        raise ValueError(f"`gradient` must be of shape [E, 3] = {list(vector.shape)}, got {list(gradient.shape)}")
    out = np.empty((rows, 3, 3))
    for a in range(3):
        for c in range(3):
            out[:, a, c] = np.bincount(row, weights=vector[:, a] * gradient[:, c], minlength=rows)
    return out


def strain_gradient(edges: Any, gradient: np.ndarray) -> np.ndarray:
    """dE/deps [B, 3, 3] in eV, not symmetrised, from dE/d(vector) [E, 3]. For an energy that does not change with a rotation it
    is symmetric.
    """
    return _outer_sums(edges.vector, gradient, edges.system, len(edges.offsets) - 1)


def stress(edges: Any, gradient: np.ndarray, cell: np.ndarray, *, voigt: bool = False) -> np.ndarray:
    """Symmetric stress [B, 3, 3] in eV per cubic Angstrom with ASE's sign; `voigt` gives [B, 6]: xx, yy, zz, yz, xz, xy."""
    cell = np.asarray(cell, np.float64).reshape(-1, 3, 3)
    strain = strain_gradient(edges, gradient)
    if len(cell) != len(strain):
        raise ValueError(f"`cell` must be of shape [B, 3, 3] = [{len(strain)}, 3, 3], got {list(cell.shape)}")
    volume = np.abs(np.linalg.det(cell))
    if not (volume > 0).all():
        raise ValueError(f"`cell` must have a volume for a stress, got 0 for system {int(np.argmin(volume))}")
    sigma = 0.5 * (strain + strain.transpose(0, 2, 1)) / volume[:, None, None]
    return sigma[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] if voigt else sigma


def atomic_virial(edges: Any, gradient: np.ndarray) -> np.ndarray:
    """W_i [N, 3, 3] in eV, each edge's share given to its source; their sum is minus the strain gradient."""
    return -_outer_sums(edges.vector, gradient, edges.source, len(edges.row_ptr) - 1)
