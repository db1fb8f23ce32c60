"""One molecule or crystal as a pydantic model, for code that passes structures as checked records or JSON."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
except ImportError as error:  # pragma: no cover
    raise ImportError("valence.Molecule needs pydantic: pip install 'valence[molecule]'") from error

from . import checks
from .elements import formula
from .systems import Systems


def _numbers(value: Any) -> np.ndarray:
    array = checks.as_array("atomic_numbers", value, empty=np.uint8)
    try:
        return checks.numbers(array, array.size)
    except (TypeError, ValueError) as error:
        raise ValueError(str(error).replace("`numbers`", "`atomic_numbers`")) from None


def _positions(value: Any) -> np.ndarray:
    return _as_value_error(checks.positions, value)


def _cell(value: Any) -> np.ndarray | None:
    return None if value is None else _as_value_error(lambda v: checks.cell(v, 1)[0], value)


def _pbc(value: Any) -> np.ndarray:
    return _as_value_error(lambda v: checks.pbc(v, np.broadcast_to(np.eye(3), (1, 3, 3)))[0], value)


def _as_value_error(check, value: Any) -> np.ndarray:
    """pydantic gathers ValueErrors into its own report; a TypeError would fly past it."""
    try:
        return check(value)
    except TypeError as error:
        raise ValueError(str(error)) from None


_to_list = PlainSerializer(lambda array: None if array is None else array.tolist(), when_used="json")


class Molecule(BaseModel):
    """One system with checked fields; periodic and charged ones too.

    Parameters
    ----------
    atomic_numbers : array [N] of integers, 1 to 118.
    positions : array [N, 3], float32 or float64, Angstrom.
    cell : array [3, 3], Angstrom, rows are lattice vectors; None: no cell.
    pbc : bool or three of them.
    charge : total charge, e.
    multiplicity : spin multiplicity 2S + 1.
    name : text, free.

    Raises
    ------
    pydantic.ValidationError (a ValueError) whose text names the field, the row and the value.

    Examples
    --------
    >>> from valence.atoms import Molecule
    >>> water = Molecule(atomic_numbers=[8, 1, 1], positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    >>> water.formula, len(water)
    ('H2O', 3)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    atomic_numbers: Annotated[np.ndarray, BeforeValidator(_numbers), _to_list]
    positions: Annotated[np.ndarray, BeforeValidator(_positions), _to_list]
    cell: Annotated[np.ndarray | None, BeforeValidator(_cell), _to_list] = None
    pbc: Annotated[np.ndarray, BeforeValidator(_pbc), _to_list] = Field(default=False, validate_default=True)  # type: ignore[assignment]
    charge: float = Field(default=0.0, allow_inf_nan=False)
    multiplicity: int = Field(default=1, ge=1, le=255)
    name: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Molecule:
        if len(self.atomic_numbers) != len(self.positions):
            got = f"{len(self.atomic_numbers)} numbers for {len(self.positions)} positions"
            raise ValueError(f"`atomic_numbers` must have one number an atom, got {got}")
        checks.pbc(self.pbc, checks.cell(self.cell, 1))
        return self

    @property
    def formula(self) -> str:
        """Hill's formula: C, H, then by the alphabet."""
        return formula(self.atomic_numbers)

    def to_systems(self) -> Systems:
        """A batch of this one system."""
        info = {} if self.name is None else {"name": np.array([self.name], dtype=object)}
        return Systems.from_arrays(
            self.positions,
            self.atomic_numbers,
            cell=self.cell,
            pbc=self.pbc,
            charge=self.charge,
            multiplicity=self.multiplicity,
            info=info,
        )

    @classmethod
    def from_ase(cls, atoms: Any) -> Molecule:
        """A molecule of `ase.Atoms`; charge and multiplicity are those of `atoms.info`, else 0 and 1."""
        return cls(
            atomic_numbers=atoms.numbers,
            positions=atoms.positions,
            cell=atoms.cell.array if atoms.cell.any() else None,
            pbc=atoms.pbc,
            charge=atoms.info.get("charge", 0.0),
            multiplicity=atoms.info.get("multiplicity", 1),
        )

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Molecule):
            return NotImplemented
        scalars = ("charge", "multiplicity", "name")
        cells = self.cell is None, other.cell is None
        return (
            all(getattr(self, k) == getattr(other, k) for k in scalars)
            and np.array_equal(self.atomic_numbers, other.atomic_numbers)
            and np.array_equal(self.positions, other.positions)
            and np.array_equal(self.pbc, other.pbc)
            and cells[0] == cells[1]
            and (self.cell is None or other.cell is None or np.array_equal(self.cell, other.cell))
        )

    __hash__ = None  # type: ignore[assignment]
