"""Which rows of a call are centres: all atoms, some of them, or points in space."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Centers"]


class Centers:
    """Arrays of a call. Points stand after the atoms of their system, with the number 0."""

    __slots__ = ("_atom", "centers", "num_atoms", "numbers", "offsets", "positions", "systems")

    def __init__(self, systems: Any, centers: Any = None) -> None:
        self.systems, self.num_atoms = systems, len(systems.numbers)
        self.positions, self.numbers, self.offsets = systems.positions, systems.numbers, systems.offsets
        #: Rows that are centres; None: all.
        self.centers: np.ndarray | None = None
        #: The atom that each row is; None: itself.
        self._atom: np.ndarray | None = None
        if centers is not None:
            self._place(centers)

    def _place(self, centers: Any) -> None:
        s = self.systems
        lists = [centers] if len(s) == 1 and not _nested(centers) else centers
        if not isinstance(lists, (list, tuple, np.ndarray)) or len(lists) != len(s):
            got = len(lists) if hasattr(lists, "__len__") else centers
            raise ValueError(f"`centers` must be one list for each of the {len(s)} systems, got {got}")
        positions, numbers, atoms, rows, offsets = [], [], [], [], [0]
        for b, given in enumerate(lists):
            if not isinstance(given, (list, tuple, np.ndarray)):
                raise ValueError(
                    f"`centers` must be one list for each of the {len(s)} systems, got {given!r} for system {b}"
                )
            first, last = int(s.offsets[b]), int(s.offsets[b + 1])
            base, points = offsets[-1], []
            for c in given:
                if isinstance(c, (int, np.integer)) and not isinstance(c, bool):
                    if not 0 <= c < last - first:
                        raise ValueError(f"`centers` must be rows in [0, {last - first}) of system {b}, got {c}")
                    rows.append(base + int(c))
                    continue
                point = np.asarray(c, dtype=np.float64)
                if point.shape != (3,) or not np.isfinite(point).all():
                    raise ValueError(f"`centers` must be rows of atoms or finite points [3], got {c!r} of system {b}")
                rows.append(base + last - first + len(points))
                points.append(point)
            positions += [s.positions[first:last], np.array(points, s.positions.dtype).reshape(-1, 3)]
            numbers += [s.numbers[first:last], np.zeros(len(points), np.uint8)]
            atoms += [np.arange(first, last), np.full(len(points), -1)]
            offsets.append(base + last - first + len(points))
        self.centers = np.array(rows, np.uint32)
        if offsets[-1] != self.num_atoms:
            self.positions, self.numbers = np.concatenate(positions), np.concatenate(numbers)
            self.offsets, self._atom = np.array(offsets, np.int64), np.concatenate(atoms)

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """System, atom (-1: none) and number of each centre."""
        rows = np.arange(len(self.numbers)) if self.centers is None else self.centers.astype(np.int64)
        system = np.repeat(np.arange(len(self.systems)), np.diff(self.offsets))[rows]
        return system, rows if self._atom is None else self._atom[rows], self.numbers[rows]

    def systems_alone(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of a mean: a row a system."""
        n = len(self.systems)
        return np.arange(n), np.full(n, -1), np.zeros(n, np.uint8)

    def atoms_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Atoms of rows, and which rows are atoms."""
        atoms = rows.astype(np.int64) if self._atom is None else self._atom[rows]
        return atoms, atoms >= 0

    def of_atoms(self, rows: np.ndarray) -> np.ndarray:
        """A result a row, for atoms alone."""
        return rows if self._atom is None else rows[self._atom >= 0]


def _nested(centers: Any) -> bool:
    """Whether it is a list of lists of centres, of a single system."""
    if not isinstance(centers, (list, tuple)) or len(centers) != 1:
        return False
    first = centers[0]
    if not isinstance(first, (list, tuple, np.ndarray)) or len(first) == 0:
        return False
    return len(first) != 3 or not np.isscalar(first[0])
