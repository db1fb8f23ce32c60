"""ASE's neighbor list call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from valence.edges.finding import search

_LETTERS = "ijdDS"


def neighbor_list(quantities: str, a: Any, cutoff: float | Mapping | np.ndarray, self_interaction: bool = False) -> Any:
    """`ase.neighborlist.neighbor_list` with its arguments, order and dtypes of return.

    Parameters
    ----------
    quantities : letters of the results, in the order that they are wanted: i source, j target (int64), d distance, D vector
        (float64, Angstrom), S shift (int64).
    a : ase.Atoms, or (positions, cell, pbc).
    cutoff : Angstrom; or {("H", "O"): 1.2, ...} with symbols or numbers; or one radius per atom.
    self_interaction : with (i, i, 0).

    Returns
    -------
    one array for one letter, else a tuple. Sorted by i, then j, then S; ASE leaves j in no order.

    Differences from ASE: a cell that is singular along a periodic direction, a cutoff that is not positive and positions that
    are not finite raise a ValueError.
    """
    unknown = [q for q in quantities if q not in _LETTERS]
    if unknown or not quantities:
        raise ValueError(f"`quantities` must be letters of {_LETTERS!r}, got {quantities!r}")
    if isinstance(a, tuple):
        (positions, cell, pbc), numbers = a, None
    else:
        positions, cell, pbc, numbers = a.positions, np.asarray(a.cell), a.pbc, a.numbers
    cell = np.zeros((3, 3)) if cell is None else np.asarray(cell, np.float64)
    if cell.shape == (3,):
        cell = np.diag(cell)
    positions = np.asarray(positions, np.float64)
    edges = search(positions, cutoff, cell=cell, pbc=pbc, numbers=numbers, self_interaction=self_interaction)
    found = {
        "i": lambda: edges.source.astype(np.int64),
        "j": lambda: edges.target.astype(np.int64),
        "d": lambda: edges.distance,
        "D": lambda: edges.vector,
        "S": lambda: edges.shift.astype(np.int64),
    }
    results = tuple(found[q]() for q in quantities)
    return results[0] if len(results) == 1 else results
