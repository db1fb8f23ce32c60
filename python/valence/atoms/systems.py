"""A batch of systems: arrays inside, tables on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from . import checks

_PER_SYSTEM = {"charge": checks.charge, "multiplicity": checks.multiplicity}
_PER_ATOM = {"orientation": checks.orientation, "semiaxes": checks.semiaxes, "charges": checks.charges}


class Systems:
    """B systems of N atoms in all, their arrays one after another.

    Made by `from_arrays`, `from_ase`, `from_tables`, `valence.read` or `valence.as_systems`. Atoms of system b are
    the rows `offsets[b]:offsets[b + 1]`. A system may be empty, and so may the batch. Values are checked when a batch is
    made; its arrays are not to be written to afterwards.

    Attributes
    ----------
    positions : array [N, 3], float32 or float64, Angstrom.
    numbers : array [N], uint8, atomic numbers 1 to 118.
    offsets : array [B + 1], int64.
    cell : array [B, 3, 3], float64, Angstrom, rows are lattice vectors; zeros where there is none.
    pbc : array [B, 3], bool.
    columns : mapping of name to array [N, ...]: every further column of atoms.
    info : mapping of name to array [B, ...]: every further column of systems.

    Examples
    --------
    >>> water = Systems.from_arrays([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]], [8, 1, 1])
    >>> len(water), water.counts
    (1, array([3]))
    """

    __slots__ = ("__weakref__", "_columns", "_info", "cell", "numbers", "offsets", "pbc", "positions")

    positions: np.ndarray
    numbers: np.ndarray
    offsets: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray

    def __init__(self) -> None:
        raise TypeError("Systems are made by from_arrays, from_ase, from_tables, read or as_systems")

    @classmethod
    def _trusted(
        cls,
        positions: np.ndarray,
        numbers: np.ndarray,
        offsets: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        columns: dict[str, np.ndarray] | None = None,
        info: dict[str, np.ndarray] | None = None,
    ) -> Systems:
        """A batch of arrays that were checked."""
        self = object.__new__(cls)
        self.positions, self.numbers, self.offsets = positions, numbers, offsets
        self.cell, self.pbc = cell, pbc
        self._columns = {} if columns is None else columns
        self._info = {} if info is None else info
        return self

    @classmethod
    def from_arrays(
        cls,
        positions: Any,
        numbers: Any,
        *,
        cell: Any = None,
        pbc: Any = None,
        counts: Any = None,
        charge: Any = None,
        multiplicity: Any = None,
        orientation: Any = None,
        semiaxes: Any = None,
        info: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Systems:
        """A batch from arrays.

        Parameters
        ----------
        positions : array [N, 3], float32 or float64, Angstrom. Kept without a copy if C-contiguous.
        numbers : array [N] of any integer type, atomic numbers 1 to 118.
        cell : array [3, 3] for all systems or [B, 3, 3], Angstrom, rows are lattice vectors. None or zeros: no cell.
        pbc : bool, [3] or [B, 3]. None: periodic along the cell vectors that are not zero.
        counts : array [B] of integers, atoms of each system. None: one system.
        charge : number or array [B], total charge in e. None, or NaN for a single system: not said.
        multiplicity : integer or array [B], 2S + 1. None, or 0 for a single system: not said.
        orientation : array [N, 4], quaternions w, x, y, z, kept as given; or rotation matrices [N, 3, 3], where
            determinant -1 is the same ellipsoid.
        semiaxes : array [N, 3], Angstrom.
        info : further columns of systems, name to array [B, ...].
        **columns : further columns of atoms, name to array [N, ...]; `charges` are charges in e.

        Raises
        ------
        TypeError for a wrong dtype, ValueError for a wrong shape or value; the message names the argument and the row.
        """
        positions = checks.positions(positions)
        num_atoms = len(positions)
        numbers = checks.numbers(numbers, num_atoms)
        offsets = checks.offsets(counts, num_atoms)
        num_systems = len(offsets) - 1
        cell = checks.cell(cell, num_systems)
        pbc = checks.pbc(pbc, cell)
        self = cls._trusted(positions, numbers, offsets, cell, pbc)
        given = {"orientation": orientation, "semiaxes": semiaxes, **columns}
        self._columns = {k: self._atom_column(k, v) for k, v in given.items() if v is not None}
        given = {"charge": charge, "multiplicity": multiplicity, **(info or {})}
        self._info = {k: self._system_column(k, v) for k, v in given.items() if v is not None}
        return self

    @staticmethod
    def from_ase(atoms: Any) -> Systems:
        """A batch from one `ase.Atoms` or a list of them; arrays are copied.

        Results of an attached calculator, if they belong to the present positions, become columns: per atom (forces,
        charges, magmoms, ...) or per system (energy, stress as a 3 x 3 matrix, ...). `atoms.arrays` and `atoms.info`
        become columns too; `info["charge"]` and `info["multiplicity"]` are the charge and the multiplicity.
        """
        from ._ase import from_ase

        return from_ase(atoms)

    @staticmethod
    def from_tables(atoms: Any, systems: Any = None) -> Systems:
        """A batch from an atoms table and, where there are cells or charges, a systems table.

        Parameters
        ----------
        atoms, systems : anything with `__arrow_c_stream__`: polars, pyarrow, DuckDB, pandas >= 2.2; also chunked.
            atoms: `system`, `number`, `position` (Array(Float64, 3)), optional `charges`, `orientation`, `semiaxes`;
            further columns are kept. systems: `system`, `cell` (9 numbers or 3 x 3), `pbc`, optional `charge`, `multiplicity`.

        Row k of the batch is system k, so `system` of every result joins with the tables. Rows of a system stand
        together, systems in increasing order. An id that no atom has is an empty system.
        """
        from ._tables import from_tables

        return from_tables(atoms, systems)

    def to_ase(self) -> list:
        """A list of `ase.Atoms`, one a system. Energies, forces, ... go into a `SinglePointCalculator`."""
        from ._ase import to_ase

        return to_ase(self)

    def to_tables(self) -> tuple:
        """The atoms table and the systems table, polars.DataFrames (schemas: `from_tables`)."""
        return self.atoms, self.systems

    @property
    def atoms(self):
        """The atoms table, a polars.DataFrame; a further column called as one of its own gets the tail "_"."""
        from ._tables import atoms_table

        return atoms_table(self)

    @property
    def systems(self):
        """The systems table, a polars.DataFrame; a further column called as one of its own gets the tail "_"."""
        from ._tables import systems_table

        return systems_table(self)

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each system, [B] int64."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def system(self) -> np.ndarray:
        """The system of each atom, [N] int64."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def columns(self) -> Mapping[str, np.ndarray]:
        return MappingProxyType(self._columns)

    @property
    def info(self) -> Mapping[str, np.ndarray]:
        return MappingProxyType(self._info)

    @property
    def charge(self) -> np.ndarray | None:
        """Total charges, [B] float64, e; NaN where a system does not say it, None if no system does."""
        return self._info.get("charge")

    @property
    def multiplicity(self) -> np.ndarray | None:
        """Spin multiplicities, [B] uint8; 0 where a system does not say it, None if no system does."""
        return self._info.get("multiplicity")

    @property
    def orientation(self) -> np.ndarray | None:
        """Quaternions w, x, y, z, [N, 4], or None."""
        return self._columns.get("orientation")

    @property
    def semiaxes(self) -> np.ndarray | None:
        """Semiaxes, [N, 3], Angstrom, or None."""
        return self._columns.get("semiaxes")

    @property
    def charges(self) -> np.ndarray | None:
        """Charges of atoms, [N], e: the column `charges`, else ASE's `initial_charges`, else None."""
        found = self._columns.get("charges")
        return self._columns.get("initial_charges") if found is None else found

    def replace(self, **changes: Any) -> Systems:
        """The same batch with other arrays: positions, numbers, cell, pbc, or a column of atoms, by name.

        Columns of systems are given as `info={...}`. None removes a column.
        """
        positions = checks.positions(changes.pop("positions", self.positions))
        if len(positions) != len(self.positions):
            raise ValueError(f"`positions` must be of {len(self.positions)} atoms, got {len(positions)}")
        numbers = changes.pop("numbers", self.numbers)
        if numbers is not self.numbers:
            numbers = checks.numbers(numbers, len(positions))
        cell, pbc = changes.pop("cell", self.cell), changes.pop("pbc", self.pbc)
        if cell is not self.cell or pbc is not self.pbc:
            cell = checks.cell(cell, len(self))
            pbc = checks.pbc(pbc, cell)
        new = Systems._trusted(positions, numbers, self.offsets, cell, pbc)
        info = {**self._info, **(changes.pop("info", None) or {})}
        for name in _PER_SYSTEM:
            if name in changes:
                info[name] = changes.pop(name)
        new._columns = {k: new._atom_column(k, v) for k, v in {**self._columns, **changes}.items() if v is not None}
        new._info = {k: new._system_column(k, v) for k, v in info.items() if v is not None}
        return new

    def _atom_column(self, name: str, value: Any) -> np.ndarray:
        check = _PER_ATOM.get(name)
        return checks.column(name, value, len(self.numbers)) if check is None else check(value, len(self.numbers))

    def _system_column(self, name: str, value: Any) -> np.ndarray:
        check = _PER_SYSTEM.get(name)
        return checks.column(name, value, len(self), "B") if check is None else check(value, len(self))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Systems:
        """System i as a batch of one; a slice, an array of indices or a mask as a batch."""
        num_systems = len(self)
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            i = int(index) + (num_systems if index < 0 else 0)
            if not 0 <= i < num_systems:
                raise IndexError(f"`index` must be within {num_systems} systems, got {index}")
            index = slice(i, i + 1)
        if isinstance(index, slice):
            start, stop, step = index.indices(num_systems)
            if step == 1:
                return self._rows(start, max(start, stop))
            index = np.arange(start, stop, step)
        index = np.asarray(index)
        if not index.size:
            index = index.astype(np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iub":
            raise TypeError(f"`index` must be an integer, a slice, or an array of integers or bools, got {index.dtype}")
        index = np.arange(num_systems)[index]
        counts = self.counts[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][index] - offsets[:-1], counts)
        columns = {name: value[rows] for name, value in self._columns.items()}
        info = {name: value[index] for name, value in self._info.items()}
        cell, pbc = self.cell[index], self.pbc[index]
        return Systems._trusted(self.positions[rows], self.numbers[rows], offsets, cell, pbc, columns, info)

    def _rows(self, start: int, stop: int) -> Systems:
        """Consecutive systems: views, no copy."""
        first, last = self.offsets[start], self.offsets[stop]
        columns = {name: value[first:last] for name, value in self._columns.items()}
        info = {name: value[start:stop] for name, value in self._info.items()}
        return Systems._trusted(
            self.positions[first:last],
            self.numbers[first:last],
            self.offsets[start : stop + 1] - first,
            self.cell[start:stop],
            self.pbc[start:stop],
            columns,
            info,
        )

    def __iter__(self) -> Iterator[Systems]:
        return (self._rows(i, i + 1) for i in range(len(self)))

    def __reduce__(self):
        parts = (self.positions, self.numbers, self.offsets, self.cell, self.pbc, self._columns, self._info)
        return Systems._trusted, parts

    def __repr__(self) -> str:
        periodic = int(self.pbc.any(axis=1).sum())
        kept = [*self._columns, *self._info]
        tail = f", with {', '.join(kept)}" if kept else ""
        return f"Systems({len(self)} systems, {len(self.numbers)} atoms, {periodic} periodic{tail})"

    def _repr_html_(self) -> str:
        from ._html import html

        return html(self)


def concat(systems: Iterable[Systems]) -> Systems:
    """One batch of several, in order.

    A column that some of them lack is NaN there if it is of reals, empty if of strings; a charge or multiplicity is
    "not said" there; another column (integers, bools) is refused. Mixed f32 and f64 positions are refused.

    Examples
    --------
    >>> two = concat([Systems.from_arrays([[0.0, 0.0, 0.0]], [z]) for z in (1, 2)])
    >>> two.numbers, two.counts
    (array([1, 2], dtype=uint8), array([1, 1]))
    """
    from ._convert import as_systems

    parts = [s if isinstance(s, Systems) else as_systems(s) for s in systems]
    if not parts:
        return Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.uint8), counts=np.zeros(0, np.int64))
    if len(parts) == 1:
        return parts[0]
    dtypes = {str(p.positions.dtype) for p in parts if len(p.positions)}
    if len(dtypes) > 1:
        raise TypeError(f"`systems` must have positions of one dtype, got {' and '.join(sorted(dtypes))}")
    counts = np.concatenate([p.counts for p in parts])
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    atoms = [len(p.numbers) for p in parts]
    return Systems._trusted(
        np.concatenate([p.positions for p in parts if len(p.positions)] or [parts[0].positions]),
        np.concatenate([p.numbers for p in parts]),
        offsets,
        np.concatenate([p.cell for p in parts]),
        np.concatenate([p.pbc for p in parts]),
        _join([p._columns for p in parts], atoms),
        _join([p._info for p in parts], [len(p) for p in parts]),
    )


def _join(parts: list[dict[str, np.ndarray]], lengths: list[int]) -> dict[str, np.ndarray]:
    """Columns of several batches, one after another; a part without rows says nothing."""
    present = [(part, n) for part, n in zip(parts, lengths, strict=True) if n]
    if not present:
        return dict(parts[0])
    names = dict.fromkeys(name for part, _ in present for name in part)
    return {name: np.concatenate([_or_missing(name, present, part, n) for part, n in present]) for name in names}


def _or_missing(name: str, parts: list, part: dict[str, np.ndarray], rows: int) -> np.ndarray:
    sample = next(p[name] for p, _ in parts if name in p)
    found = part.get(name)
    if found is not None:
        kinds = {found.dtype.kind, sample.dtype.kind}
        if found.shape[1:] != sample.shape[1:] or (len(kinds) > 1 and not kinds <= set("iuf") and "O" not in kinds):
            got = f"{sample.dtype}{list(sample.shape[1:])} and {found.dtype}{list(found.shape[1:])}"
            raise ValueError(f"`{name}` must be of one kind and shape in all systems, got {got}")
        return found
    shape = (rows, *sample.shape[1:])
    if sample.dtype.kind == "f":
        return np.full(shape, np.nan, sample.dtype)
    if name == "multiplicity":
        return np.zeros(shape, sample.dtype)
    if sample.dtype.kind == "U":
        return np.full(shape, "", sample.dtype)
    if sample.dtype.kind == "O":
        return np.full(shape, None, object)
    raise ValueError(
        f"`{name}` must be in all systems or in none (it is {sample.dtype}, which has no NaN), got some without"
    )
