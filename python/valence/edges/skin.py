"""A neighbor list that is kept while atoms move, with an exact test of when it still holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence import _native

from .finding import arrays_of, search
from .result import Edges
from .wrapping import fractional_along

#: Taken off the skin for rounding, Angstrom.
_ROUNDING = 1e-9


class NeighborList:
    """Edges of systems whose atoms move: built at cutoff + skin, then filtered until an edge could be missing.

    Parameters
    ----------
    cutoff : Angstrom.
    skin : Angstrom, not negative. 0 builds at every call in which anything moved.
    half : each pair once.

    Attributes
    ----------
    rebuilt : whether the last call built.
    n_builds, n_reuses : counts of calls.

    The list of every call is that of a fresh search, edge by edge. The stored one holds while, for each system,
    ``s (cutoff + skin) - (p + q) >= cutoff``: p and q are the two largest displacements |x - x0 A| after taking out whole cells
    (the caller may wrap atoms between calls), A = H0^-1 H the change of the cell and s its smallest singular value. A rotation
    of everything has s = 1. A cell that changes with an open direction, and changed numbers of atoms or flags, build anew.

    One object serves one system, or one batch.

    >>> neighbors = vl.NeighborList(5.0, skin=0.5)
    >>> for frame in frames:
    ...     edges = neighbors.update(frame)
    """

    def __init__(self, cutoff: float, *, skin: float = 0.0, half: bool = False) -> None:
        cutoff, skin = float(cutoff), float(skin)
        if not (cutoff > 0 and np.isfinite(cutoff)):
            raise ValueError(f"`cutoff` must be a positive finite length in Angstrom, got {cutoff}")
        if not (skin >= 0 and np.isfinite(skin)):
            raise ValueError(f"`skin` must be a finite length in Angstrom, not negative, got {skin}")
        self.cutoff, self.skin, self.half = cutoff, skin, half
        self.rebuilt = False
        self.n_builds = self.n_reuses = 0
        self._built: tuple[np.ndarray, ...] | None = None
        self._stored: Edges | None = None

    def update(self, systems: Any, *, filtered: bool = True) -> Edges:
        """The edges of `systems` within the cutoff. `filtered=False` gives all of the stored list, up to cutoff + skin at the
        time when it was built, for a model that is zero beyond the cutoff by itself.
        """
        s = arrays_of(systems)
        x, cell = s.positions, np.ascontiguousarray(s.cell, np.float64)
        moved = self._moved(x, cell, s.pbc, s.offsets)
        self.rebuilt = moved is None
        if self._stored is None or moved is None:
            reach = self.cutoff + self.skin
            self._built = None  # if the search raises, what is stored belongs to no positions
            self._stored = search(x, reach, cell=cell, pbc=s.pbc, offsets=s.offsets, half=self.half)
            self._built = (np.array(x, np.float64), cell.copy(), np.array(s.pbc), np.array(s.offsets))
            self.n_builds += 1
        else:
            self.n_reuses += 1
        kept = self._stored
        if self.rebuilt and (self.skin == 0.0 or not filtered):
            return kept
        whole = moved if isinstance(moved, np.ndarray) else None
        # Nothing is farther than an infinite cutoff; the sum below is one that no pair of stored edges reaches.
        cutoff = self.cutoff if filtered else 1e150
        found = _native.refilter_edges(x, s.offsets, cell, s.pbc, cutoff, kept.target, kept.shift, kept._row_ptr, whole)
        return Edges(found, s.offsets)

    def _moved(self, x: np.ndarray, cell: np.ndarray, pbc: np.ndarray, offsets: np.ndarray) -> Any:
        """Whole cells that each atom was moved by, int32 [N, 3], or "none" moved, if the stored list holds; else None."""
        if self._built is None:
            return None
        x0, cell0, pbc0, offsets0 = self._built
        same = x.shape == x0.shape and np.array_equal(pbc, pbc0) and np.array_equal(offsets, offsets0)
        if not (same and np.isfinite(cell).all()):
            return None
        rows, rows0 = np.where(pbc[:, :, None], cell, 0.0), np.where(pbc[:, :, None], cell0, 0.0)
        stretch, change = np.ones(len(cell)), np.tile(np.eye(3), (len(cell), 1, 1))
        changed = (rows != rows0).any(axis=(1, 2))
        if self.skin == 0.0:
            return "none" if not changed.any() and np.array_equal(x, x0) else None
        if changed.any():
            if not pbc[changed].all():
                return None
            change[changed] = np.linalg.solve(cell0[changed], cell[changed])
            stretch[changed] = np.linalg.svd(change[changed], compute_uv=False).min(axis=1)
        found = _native.edge_moves(x, offsets, pbc, x0, change, fractional_along(cell, pbc), rows)
        if found is None:
            return None
        largest_two, whole = found
        holds = stretch * (self.cutoff + self.skin) - largest_two >= self.cutoff + _ROUNDING
        return ("none" if whole is None else whole) if holds.all() else None
