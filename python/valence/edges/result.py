"""The edges of a batch of systems, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from valence import _native

if TYPE_CHECKING:
    from .matrix import NeighborMatrix

_INT32 = 2**31


def counts_as_index(values: np.ndarray, largest: int) -> np.ndarray:
    """int32 where every value up to `largest` fits, else int64."""
    return values.astype(np.int32) if largest < _INT32 else values.astype(np.int64)


class Edges:
    """Directed edges of B systems with N atoms, sorted by (source, target, shift).

    ``vector = positions[target] - positions[source] + shift @ cell``.

    Attributes
    ----------
    source, target : int32 [E], rows of the batch's atoms; `source` is the centre.
    shift : int32 [E, 3], of the positions as given, whether or not they are in the cell.
    vector : [E, 3], Angstrom, of the dtype of the positions.
    distance : [E], Angstrom.
    row_ptr : [N + 1]; atom i has edges ``row_ptr[i]:row_ptr[i + 1]``.
    edge_ptr : [B + 1]; system b has edges ``edge_ptr[b]:edge_ptr[b + 1]``.
    system : int32 [E].
    reverse : [E], the edge (target, source, -shift) of each edge; -1 where the list does not have it.
    truncated : whether `k` left out edges within the cutoff.
    table : polars.DataFrame with the columns system, source, target, shift, vector, distance, over the same memory.

    Index arrays are int32, int64 where a count passes 2^31.
    """

    __slots__ = (
        "__weakref__",
        "_cache",
        "_row_ptr",
        "distance",
        "offsets",
        "shift",
        "source",
        "target",
        "truncated",
        "vector",
    )

    def __init__(self, found: tuple, offsets: np.ndarray) -> None:
        self.source: np.ndarray = found[0]
        self.target: np.ndarray = found[1]
        self.shift: np.ndarray = found[2]
        self.vector: np.ndarray = found[3]
        self.distance: np.ndarray = found[4]
        self._row_ptr: np.ndarray = found[5]
        self.truncated: bool = found[6]
        self.offsets = offsets
        self._cache: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        atoms, systems = len(self._row_ptr) - 1, len(self.offsets) - 1
        return f"Edges({len(self)} edges of {atoms} atoms in {systems} systems)"

    @property
    def row_ptr(self) -> np.ndarray:
        if "row_ptr" not in self._cache:
            self._cache["row_ptr"] = counts_as_index(self._row_ptr, len(self))
        return self._cache["row_ptr"]

    @property
    def edge_ptr(self) -> np.ndarray:
        return counts_as_index(self._row_ptr[self.offsets], len(self))

    @property
    def counts(self) -> np.ndarray:
        """int32 [N], edges of each atom."""
        return np.diff(self._row_ptr).astype(np.int32)

    @property
    def system(self) -> np.ndarray:
        if "system" not in self._cache:
            systems = np.arange(len(self.offsets) - 1, dtype=np.int32)
            self._cache["system"] = np.repeat(systems, np.diff(self._row_ptr[self.offsets]))
        return self._cache["system"]

    @property
    def reverse(self) -> np.ndarray:
        if "reverse" not in self._cache:
            found = _native.reverse_edges(self.source, self.target, self.shift, self._row_ptr)
            self._cache["reverse"] = counts_as_index(found, len(self))
        return self._cache["reverse"]

    @property
    def table(self) -> Any:
        try:
            import polars as pl
        except ImportError as missing:
            raise ImportError("`table` must be asked with polars installed: pip install 'valence[table]'") from missing
        columns = [
            ("system", self.system.view(np.uint32)),
            ("source", self.source.view(np.uint32)),
            ("target", self.target.view(np.uint32)),
            ("shift", self.shift),
            ("vector", self.vector),
            ("distance", self.distance),
        ]
        return pl.DataFrame(_native.Table(columns))

    def to_matrix(self, *, fill: int | None = None, capacity: int | None = None) -> NeighborMatrix:
        """The same edges padded to one row per atom, see :func:`valence.neighbor_matrix`."""
        from .matrix import padded

        return padded(self, fill=fill, capacity=capacity)

    def select(self, keep: np.ndarray) -> Edges:
        """The edges where the bool array `keep` [E] is true, in the same order."""
        kept = np.zeros(len(self) + 1, np.int64)
        np.cumsum(keep, out=kept[1:])
        rows = kept[self._row_ptr]
        arrays = [a[keep] for a in (self.source, self.target, self.shift, self.vector, self.distance)]
        return Edges((*arrays, rows, self.truncated), self.offsets)
