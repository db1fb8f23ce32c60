"""Neighbor lists of systems."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence import _native

from .cutoffs import selection
from .result import Edges

_ATTRIBUTES = ("positions", "offsets", "cell", "pbc")


def arrays_of(systems: Any) -> Any:
    """`systems` as an object with positions, numbers, offsets, cell and pbc."""
    if all(hasattr(systems, name) for name in _ATTRIBUTES):
        return systems
    from valence.atoms import as_systems  # type: ignore[attr-defined]

    return as_systems(systems)


def search(
    positions: Any,
    cutoff: Any,
    *,
    cell: Any = None,
    pbc: Any = False,
    offsets: Any = None,
    numbers: Any = None,
    k: int | None = None,
    ties: str = "index",
    half: bool = False,
    self_interaction: bool = False,
    exclusions: Any = None,
    memory_limit: int | None = None,
    index: str = "int32",
    method: str = "auto",
) -> Edges:
    """Edges from plain arrays: what :func:`find_edges` does, without `Systems`.

    Parameters
    ----------
    positions : array [N, 3], float32 or float64, Angstrom.
    cutoff : see :func:`find_edges`.
    cell : array [3, 3] or [B, 3, 3], rows are lattice vectors. None: zeros.
    pbc : bool, [3] or [B, 3].
    offsets : int64 [B + 1]; None: one system.
    memory_limit : bytes that the list may take; None: 80 % of what is available.
    index : "int64" allows more than 2^31 - 1 edges (`row_ptr` is then int64).
    method : "auto", "brute" or "bins": how candidates are found; the list is the same.
    """
    positions = np.asarray(positions)
    n = len(positions) if positions.ndim else 0
    offsets = np.array([0, n]) if offsets is None else np.asarray(offsets, dtype=np.int64)
    b = len(offsets) - 1
    cell = np.zeros((b, 3, 3)) if cell is None else np.asarray(cell, dtype=np.float64)
    if cell.ndim == 2:
        cell = np.broadcast_to(cell, (b, *cell.shape))
    pbc = np.asarray(pbc, dtype=bool)
    if pbc.ndim < 2:
        if pbc.ndim == 1 and pbc.shape != (3,) and pbc.shape != (1,):
            raise ValueError(f"`pbc` must be one flag or of shape [3] or [B, 3], got {list(pbc.shape)}")
        pbc = np.broadcast_to(pbc, (b, 3))
    rules = None
    if k is not None or exclusions is not None or not isinstance(cutoff, (float, int)):
        cutoff, rules = selection(cutoff, numbers, n, k, ties, exclusions)
    if half and self_interaction:
        raise ValueError("`self_interaction` must be False for a half list, got True")
    if half and k is not None:
        raise ValueError("`k` must be None for a half list (its nearest neighbors are not symmetric), got " + str(k))
    if index not in ("int32", "int64"):
        raise ValueError(f'`index` must be "int32" or "int64", got {index!r}')
    found = _native.search_edges(
        positions,
        offsets,
        cell,
        pbc,
        cutoff,
        keep="half" if half else "self" if self_interaction else "full",
        method=method,
        memory_limit=memory_limit,
        wide=index == "int64",
        selection=rules,
    )
    return Edges(found, offsets)


def find_edges(
    systems: Any,
    cutoff: Any,
    *,
    k: int | None = None,
    half: bool = False,
    self_interaction: bool = False,
    exclusions: Any = None,
    ties: str = "index",
    symmetric: str = "none",
    memory_limit: int | None = None,
    index: str = "int32",
) -> Edges:
    """All (source, target, shift) with |x_target - x_source + shift @ cell| < cutoff, sorted by these three.

    The test is strict and made in float64 on the positions as given (float32 is converted exactly):
    ``r = (x_j - x_i) + ((S0 a0 + S1 a1) + S2 a2)``. Shifts of open directions are 0 and their cell vectors play no part.
    The result is the same, bit for bit, for any number of threads.

    Parameters
    ----------
    systems : anything that `valence.as_systems` takes.
    cutoff : Angstrom; or {("O", "H"): 1.2, ...}, symmetric, where a pair that is not named has no edges; or one radius
        for each atom [N] (the cutoff of a pair is the sum of the two).
    k : keep the k nearest of each atom, by distance, then target, then shift. The list is then not symmetric, and an energy
        over it jumps where two neighbors change rank.
    half : each pair once: source < target, or for an atom's own images the first shift that is not 0 is positive.
    self_interaction : with (i, i, 0) for each atom.
    exclusions : rows (i, j), whose nearest images are left out, or (i, j, S0, S1, S2); both directions.
    ties : "include" keeps all at the distance of the k-th neighbor (relative 1e-6).
    symmetric : with `k`, "mutual" keeps an edge if its reverse is kept, "union" adds the missing reverses.
    memory_limit, index : see :func:`valence.edges.search`.

    Raises
    ------
    ValueError for a cutoff that is not positive, a position that is not finite (atom and axis are named), a cell that is
    singular along periodic directions. MemoryError before a list that is too large is allocated. OverflowError for more
    than 2^31 - 1 edges with int32 indices.
    """
    s = arrays_of(systems)
    for name, flag in (("half", half), ("self_interaction", self_interaction)):
        if not isinstance(flag, (bool, np.bool_)):
            raise TypeError(f"`{name}` must be a bool, got {flag!r}")
    if ties not in ("index", "include"):
        raise ValueError(f'`ties` must be "index" or "include", got {ties!r}')
    if symmetric not in ("none", "mutual", "union"):
        raise ValueError(f'`symmetric` must be "none", "mutual" or "union", got {symmetric!r}')
    edges = search(
        s.positions,
        cutoff,
        cell=s.cell,
        pbc=s.pbc,
        offsets=s.offsets,
        numbers=getattr(s, "numbers", None),
        k=k,
        ties=ties,
        half=half,
        self_interaction=self_interaction,
        exclusions=exclusions,
        memory_limit=memory_limit,
        index=index,
    )
    if k is None or symmetric == "none":
        return edges
    has_reverse = edges.reverse >= 0
    return edges.select(has_reverse) if symmetric == "mutual" else _union(edges, ~has_reverse)


def _union(e: Edges, alone: np.ndarray) -> Edges:
    """Adds the reverses of the edges `alone`."""
    source, target = np.concatenate([e.source, e.target[alone]]), np.concatenate([e.target, e.source[alone]])
    shift = np.concatenate([e.shift, -e.shift[alone]])
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], target, source))
    vector = np.concatenate([e.vector, -e.vector[alone]])[order]
    distance = np.concatenate([e.distance, e.distance[alone]])[order]
    rows = np.zeros(len(e.row_ptr), np.int64)
    np.cumsum(np.bincount(source, minlength=len(rows) - 1), out=rows[1:])
    return Edges((source[order], target[order], shift[order], vector, distance, rows, e.truncated), e.offsets)


def neighbor_list(
    systems: Any,
    cutoff: Any,
    *,
    k: int | None = None,
    half: bool = False,
    self_interaction: bool = False,
    exclusions: Any = None,
) -> Any:
    """The edges of :func:`find_edges` as a polars.DataFrame with the columns system, source, target (u32; rows of the atoms),
    shift, vector (fixed-size lists of 3) and distance.
    """
    found = find_edges(systems, cutoff, k=k, half=half, self_interaction=self_interaction, exclusions=exclusions)
    return found.table


def release_memory() -> None:
    """Gives the memory of lists that are gone back to the system.

    Memory of large lists is kept for the next one, marked so that the system may take it when it runs short.
    """
    _native.release_edge_memory()
