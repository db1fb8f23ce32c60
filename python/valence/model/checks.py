"""What a model is asked for, checked before anything is computed; each refusal names what it is of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

__all__ = ["check_apart", "check_closed", "check_dtype", "check_elements", "edges_of", "properties_of"]

#: What is computed where the caller names nothing, of what a model has.
_USUAL = ("energy", "forces", "dipole", "charges", "polarizability")
#: Angstrom. Nearer pairs have no direction in floating point: squares of their components underflow.
_APART = 1e-14


def check_dtype(dtype: Any) -> None:
    """Refuses what is not "float32", "float64" or None, which is the file's."""
    if dtype is not None and not (isinstance(dtype, str) and dtype in ("float32", "float64")):
        raise ValueError(f"`dtype` must be float32, float64 or None, got {dtype!r}")


def properties_of(asked: Any, known: Sequence[str]) -> list[str]:
    """The names asked for, each once; a single name, or None for the usual ones.

    Raises
    ------
    TypeError, for what is neither; ValueError, naming those that are not known.
    """
    if asked is None:
        return [p for p in _USUAL if p in known]
    try:
        wanted = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    except TypeError:
        raise TypeError(f"`properties` must be names among {', '.join(known)}, got {asked!r}") from None
    unknown = [str(p) for p in wanted if p not in known]
    if unknown:
        raise ValueError(f"`properties` must be among {', '.join(known)}, got {', '.join(unknown)}")
    return wanted


def check_elements(numbers: np.ndarray, known: Collection[int]) -> None:
    """Refuses atoms of other elements than those known.

    Raises
    ------
    ValueError, naming the first such row.
    """
    known = sorted(known)
    bad = np.flatnonzero(~np.isin(numbers, known))
    if len(bad):
        whole = known == list(range(1, len(known) + 1))
        rule = f"from 1 to {known[-1]}" if whole else f"of the elements {', '.join(map(str, known))}"
        raise ValueError(f"`numbers` must be {rule}, got {numbers[bad[0]]} in row {bad[0]}")


def check_closed(batch: Any) -> None:
    """Refuses systems without a volume, which have no stress.

    Raises
    ------
    ValueError, naming the first system that is not periodic along all axes.
    """
    bad = np.flatnonzero(~np.asarray(batch.pbc, bool).all(axis=1))
    if len(bad):
        raise ValueError(f"`properties` must not name stress for a system that is open, got system {bad[0]}")


def edges_of(batch: Any, cutoff: float, edges: Any = None) -> Any:
    """The full neighbour list of a batch: made, or those of a given one that are nearer than the cutoff.

    Raises
    ------
    TypeError, ValueError, where the given one is no list of this batch, or lacks edges that a full one has.
    """
    import valence as vl

    if edges is None:
        return vl.find_edges(batch, cutoff)
    if not isinstance(edges, vl.Edges):
        raise TypeError(f"`edges` must be of valence.find_edges or valence.NeighborList, got a {type(edges).__name__}")
    if not np.array_equal(edges.offsets, batch.offsets):
        raise ValueError(
            f"`edges` must be of these {len(batch)} systems with {len(batch.numbers)} atoms, got {edges!r}"
        )
    n = len(batch.numbers)
    both = np.array_equal(np.bincount(edges.source, minlength=n), np.bincount(edges.target, minlength=n))
    if edges.truncated or not both or np.asarray(edges.shift).sum(axis=0, dtype=np.int64).any():
        raise ValueError(f"`edges` must have each pair in both directions, got {edges!r} of which some lack the other")
    keep = np.asarray(edges.distance) < cutoff
    return edges if keep.all() else edges.select(keep)


def check_apart(edges: Any, *, same_place: bool = False) -> None:
    """Refuses two atoms that are nearer than 1e-14 Angstrom; those in exactly one place may be allowed.

    Raises
    ------
    ValueError, naming the rows of the two atoms and their system.
    """
    distance = np.asarray(edges.distance)
    near = distance < _APART
    if same_place:
        near &= distance > 0
    if near.any():
        e = int(near.argmax())
        rows = f"rows {edges.source[e]} and {edges.target[e]} of system {edges.system[e]}"
        raise ValueError(f"`positions` must be apart from each other, got {distance[e]:.3g} Angstrom between {rows}")
