"""Forces and virials of one call, from the gradient of the energy to its edge vectors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

__all__ = ["of_atoms", "of_edges"]


def of_atoms(wanted: Collection[str], batch: Any, mechanics: np.ndarray, energy: float = 1.0, length: float = 1.0):
    """Results of rows [N, 12]: force and share of dE/d strain of each atom, in units of `energy` (eV) and `length` (Angstrom)."""
    found: dict[str, np.ndarray] = {}
    if "forces" in wanted:
        found["forces"] = mechanics[:, :3] * (energy / length)
    if {"virial", "stress"} & set(wanted):
        system = np.asarray(batch.system)
        columns = [np.bincount(system, mechanics[:, 3 + k], len(batch)) for k in range(9)]
        strain = np.stack(columns, axis=1).reshape(len(batch), 3, 3) * energy
        found.update(_of_strain(wanted, batch, strain))
    return found


def of_edges(
    wanted: Collection[str],
    batch: Any,
    vectors: np.ndarray,
    slopes: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
) -> dict[str, np.ndarray]:
    """Results of edge vectors [E, 3] (from source to target, Angstrom) and of dE/d vector [E, 3] in eV/Angstrom."""
    found: dict[str, np.ndarray] = {}
    system = np.asarray(batch.system)
    n = len(system)
    if "forces" in wanted:
        columns = [np.bincount(source, g, n) - np.bincount(target, g, n) for g in slopes.T]
        # Without edges bincount counts in integers.
        found["forces"] = np.stack(columns, axis=1).astype(np.float64)
    if {"virial", "stress"} & set(wanted):
        owner = system[source]
        strain = np.empty((len(batch), 3, 3))
        for a in range(3):
            for b in range(3):
                strain[:, a, b] = np.bincount(owner, slopes[:, a] * vectors[:, b], len(batch))
        found.update(_of_strain(wanted, batch, strain))
    return found


def _of_strain(wanted: Collection[str], batch: Any, strain: np.ndarray) -> dict[str, np.ndarray]:
    """Virial and stress (ASE's sign) of dE/d strain [B, 3, 3]."""
    strain = 0.5 * (strain + strain.transpose(0, 2, 1))
    found: dict[str, np.ndarray] = {}
    if "virial" in wanted:
        found["virial"] = -strain
    if "stress" in wanted:
        found["stress"] = strain / np.abs(np.linalg.det(batch.cell))[:, None, None]
    return found
