"""Neighbors padded to one row per atom, and a capacity that adapts to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .finding import find_edges
from .result import Edges


@dataclass(frozen=True, eq=False)
class NeighborMatrix:
    """index : int32 [N, M], neighbors of each atom, in the order of the list, then `fill`.
    shift : int32 [N, M, 3], then zeros.
    count : int32 [N].
    capacity : neighbors that an atom may have before the arrays must grow.
    """

    index: np.ndarray
    shift: np.ndarray
    count: np.ndarray
    capacity: int
    fill: int


def padded(edges: Edges, *, fill: int | None = None, capacity: int | None = None) -> NeighborMatrix:
    """`edges` as a :class:`NeighborMatrix` of width `capacity`, by default the largest count (at least 1)."""
    count = edges.counts
    n, largest = len(count), int(count.max(initial=0))
    width = max(1, largest) if capacity is None else int(capacity)
    if largest > width:
        raise ValueError(
            f"`capacity` must be at least {largest}, the neighbors of atom {int(count.argmax())}, got {width}"
        )
    fill = n if fill is None else fill
    if not isinstance(fill, (int, np.integer)) or not -(2**31) <= fill < 2**31:
        raise ValueError(f"`fill` must be a whole number within int32, got {fill!r}")
    fill = int(fill)
    index = np.full((n, width), fill, np.int32)
    shift = np.zeros((n, width, 3), np.int32)
    place = np.arange(width) < count[:, None]
    index[place], shift[place] = edges.target, edges.shift
    return NeighborMatrix(index, shift, count, width, fill)


def neighbor_matrix(systems: Any, cutoff: Any, *, half: bool = False, fill: int | None = None) -> NeighborMatrix:
    """Neighbors as a matrix: row i has the targets of atom i in the order of the list, padded with `fill` (default N).

    Parameters are those of :func:`valence.find_edges`.
    """
    return find_edges(systems, cutoff, half=half).to_matrix(fill=fill)


def _round_up(count: int) -> int:
    return (count + 15) // 16 * 16


class AdaptiveNeighborMatrix:
    """Neighbor matrices whose capacity M follows the largest count m, as AIMNet2's code has it.

    It starts at ``round_up(density * 4/3 pi cutoff^3, 16)``, at least 16. Where m > M it grows at once to
    ``round_up(max(m / 0.75, 1.5 M), 16)``; where m < (2/3) 0.75 M the next M is ``round_up(m / 0.75, 16)``. The arrays that
    are returned have the width max(1, m).

    Attributes
    ----------
    capacity : M of the next call.
    n_resizes : how often M changed.
    """

    def __init__(self, cutoff: float, *, density: float = 0.2, half: bool = False, fill: int | None = None) -> None:
        if not (cutoff > 0 and np.isfinite(cutoff)):
            raise ValueError(f"`cutoff` must be a positive finite length in Angstrom, got {cutoff}")
        if not (density > 0 and np.isfinite(density)):
            raise ValueError(f"`density` must be positive, in atoms per cubic Angstrom, got {density}")
        self.cutoff, self.half, self.fill = cutoff, half, fill
        self.capacity = max(16, _round_up(int(density * 4 / 3 * np.pi * cutoff**3)))
        self.n_resizes = 0

    def _fit(self, largest: int) -> int:
        """The capacity used for this largest count; sets the next one."""
        used = self.capacity
        if largest > used:
            used = _round_up(max(-(-4 * largest // 3), int(1.5 * used)))
        following = used
        if largest < (2 / 3) * 0.75 * used:
            following = max(16, _round_up(int(largest / 0.75)))
        self.n_resizes += (used != self.capacity) + (following != used)
        self.capacity = following
        return used

    def update(self, systems: Any) -> NeighborMatrix:
        """The matrix of `systems`; its `capacity` is the one used."""
        edges = find_edges(systems, self.cutoff, half=self.half)
        found = padded(edges, fill=self.fill)
        used = self._fit(int(found.count.max(initial=0)))
        return NeighborMatrix(found.index, found.shift, found.count, used, found.fill)
