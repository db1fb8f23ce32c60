"""Forces and virials of one call, from what the edges of each atom give."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

__all__ = ["closed_cells", "of_atoms", "strain_results"]


def closed_cells(batch: Any) -> None:
    """Refuses systems without a volume.

    Raises
    ------
    ValueError, naming the first system that is not periodic along all axes.
    """
    for b in range(len(batch)):
        if not np.all(batch.pbc[b]):
            raise ValueError(f"`properties` must not name stress for a system that is open, got system {b}")


def of_atoms(wanted: Collection[str], batch: Any, mechanics: np.ndarray, energy: float = 1.0, length: float = 1.0):
    """Results of rows [N, 12]: force and share of dE/d strain of each atom, in units of `energy` (eV) and `length` (Angstrom)."""
    found: dict[str, np.ndarray] = {}
    if "forces" in wanted:
        found["forces"] = mechanics[:, :3] * (energy / length)
    if {"virial", "stress"} & set(wanted):
        system = np.asarray(batch.system)
        columns = [np.bincount(system, mechanics[:, 3 + k], len(batch)) for k in range(9)]
        strain = np.stack(columns, axis=1).reshape(len(batch), 3, 3) * energy
        found.update(strain_results(wanted, batch, strain))
    return found


def strain_results(wanted: Collection[str], batch: Any, strain: np.ndarray) -> dict[str, np.ndarray]:
    """Virial and stress (ASE's sign) of dE/d strain [B, 3, 3]."""
    strain = 0.5 * (strain + strain.transpose(0, 2, 1))
    found: dict[str, np.ndarray] = {}
    if "virial" in wanted:
        found["virial"] = -strain
    if "stress" in wanted:
        found["stress"] = strain / np.abs(np.linalg.det(batch.cell))[:, None, None]
    return found
