"""What a descriptor returns: arrays at once, labels and tables when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from valence.atoms.elements import NUMBERS, SYMBOLS

__all__ = ["Block", "Descriptors", "Jacobian", "check_names", "columns_of", "numbers_of", "polars"]


def polars() -> Any:
    try:
        import polars
    except ImportError as error:  # pragma: no cover
        raise ImportError("labels and tables need polars: pip install 'valence[table]'") from error
    return polars


def numbers_of(species: Any, name: str = "species") -> tuple[int, ...]:
    """Atomic numbers of numbers or symbols, ascending, each once.

    Raises
    ------
    TypeError, for what is no list of either; ValueError, for an unknown one.
    """
    if isinstance(species, (str, int, np.integer)):
        species = [species]
    try:
        given = list(species)
    except TypeError:
        raise TypeError(f"`{name}` must be a list of atomic numbers or symbols, got {species!r}") from None
    found = set()
    for s in given:
        if isinstance(s, str):
            number = NUMBERS.get(s)
        elif isinstance(s, (int, np.integer)) and not isinstance(s, bool):
            number = int(s) if 1 <= s <= 118 else None
        else:
            raise TypeError(f"`{name}` must be atomic numbers or symbols, got {s!r}")
        if number is None:
            raise ValueError(f"`{name}` must be of atomic numbers 1 to 118 or symbols, got {s!r}")
        found.add(number)
    return tuple(sorted(found))


def not_empty(name: str, found: tuple[int, ...]) -> tuple[int, ...]:
    if not found:
        raise ValueError(f"`{name}` must name an element at least, got none")
    return found


def columns_of(systems: Any, species: Any, default: Any = None) -> tuple[int, ...]:
    """Species columns of a call: those asked for, else the default ones, else all that the systems have."""
    species = default if species is None else species
    if species is not None:
        return numbers_of(species)
    if len(systems.numbers) < 256:  # a call of NumPy takes longer than this
        return tuple(sorted(set(systems.numbers.tolist())))
    return tuple(np.flatnonzero(np.bincount(systems.numbers, minlength=1)).tolist())


def check_names(name: str, asked: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names asked for; a single one may stand alone."""
    wanted = (asked,) if isinstance(asked, str) else tuple(asked)
    for w in wanted:
        if w not in known:
            raise ValueError(f"`{name}` must be among {', '.join(known)}, got {w!r}")
    return wanted


@dataclass(frozen=True)
class Jacobian:
    """d values / d positions where it is not zero: one row a (centre, moved atom).

    Attributes
    ----------
    center : [G], rows of the values.
    atom : [G], rows of the atoms that move.
    values : [G, 3, D].
    shape : (rows of the values, N).
    """

    center: np.ndarray
    atom: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def to_dense(self) -> np.ndarray:
        """[centres, atoms, 3, D], zeros for atoms that do not matter."""
        out = np.zeros((*self.shape, *self.values.shape[1:]), self.values.dtype)
        out[self.center, self.atom] = self.values
        return out


@dataclass(frozen=True)
class Block:
    """A block of a sparse result as featomic has it: rows for which the key's species are there.

    `samples` [n, 2] are (system, atom of the system), `values` [n, ...], `properties` rows of `property_names`.
    """

    key: dict[str, int]
    samples: np.ndarray
    values: np.ndarray
    property_names: tuple[str, ...]
    properties: np.ndarray


class Descriptors:
    """Descriptors of a batch.

    Attributes
    ----------
    values : [rows, D]; of coefficients [rows, S, F].
    species : the species of the columns, ascending atomic numbers.
    system, atom, number : of each row: its system, its row among the atoms of the batch (-1 for a point in space or a
        mean), its atomic number (0 likewise).
    gradients : what was asked for: "positions" a :class:`Jacobian`, "cell" and "strain" arrays [rows, 3, 3, D].
    """

    def __init__(
        self,
        values: np.ndarray,
        species: tuple[int, ...],
        make_rows: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]],
        make_labels: Callable[[], dict[str, Any]],
        gradients: Mapping[str, Any] | None = None,
    ) -> None:
        self.values, self.species = values, species
        self.gradients: Mapping[str, Any] = {} if gradients is None else gradients
        self._make_rows, self._make_labels = make_rows, make_labels

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._make_rows()

    @property
    def system(self) -> np.ndarray:
        return self._rows[0]

    @property
    def atom(self) -> np.ndarray:
        return self._rows[1]

    @property
    def number(self) -> np.ndarray:
        return self._rows[2]

    def __repr__(self) -> str:
        return f"Descriptors(values{list(self.values.shape)}, species {' '.join(self.symbols())})"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> Any:
        """polars.DataFrame, one row a component (in the order of the values' last axes): l, species, n, ..."""
        return polars().DataFrame(self._make_labels())

    @property
    def names(self) -> np.ndarray:
        """One text a component, of its labels."""
        labels = self._make_labels()
        if not labels:
            return np.zeros(0, object)
        columns = list(zip(*labels.values()))
        return np.array([" ".join(f"{k}={v}" for k, v in zip(labels, row)) for row in columns], dtype=object)

    @property
    def table(self) -> Any:
        """polars.DataFrame: system, atom (u32; null for no atom), number, descriptor (a fixed-size list)."""
        pl = polars()
        rows = self.values.reshape(len(self.values), -1)
        atom = pl.Series("atom", self.atom, dtype=pl.Int64)
        return pl.DataFrame(
            {
                "system": pl.Series("system", self.system, dtype=pl.UInt32),
                "atom": atom.set(atom < 0, None).cast(pl.UInt32),
                "number": pl.Series("number", self.number, dtype=pl.UInt8),
                "descriptor": pl.Series("descriptor", rows),
            }
        )

    def per_center(self) -> dict[int, np.ndarray]:
        """Rows of `values` by the atomic number of their centre."""
        return {int(z): self.values[self.number == z] for z in np.unique(self.number)}

    def symbols(self) -> tuple[str, ...]:
        return tuple(SYMBOLS[z] for z in self.species)
