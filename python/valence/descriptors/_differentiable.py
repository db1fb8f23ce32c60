"""A descriptor as a function of its real inputs alone, with both derivatives, for torch and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence.atoms import Systems

from ._centers import Centers
from ._results import columns_of
from ._soap_text import choice
from .soap import Soap

__all__ = ["SoapFunction"]


class SoapFunction:
    """values(x, cell), their vjp and the vjp of that, of fixed atoms.

    Parameters
    ----------
    soap : the descriptor.
    numbers : atomic numbers [N].
    counts : atoms of each system [B]; None: one system.
    pbc : [B, 3]; None: open.
    species, centers, attach : as `Soap.compute` takes them; points as centres do not move.
    of : "power", "radial" or "coefficients"; None: the spectrum of `soap`.
    """

    def __init__(
        self,
        soap: Soap,
        numbers: Any,
        counts: Any = None,
        pbc: Any = None,
        species: Any = None,
        centers: Any = None,
        attach: bool = True,
        of: str | None = None,
    ) -> None:
        numbers = np.asarray(numbers)
        numbers = numbers.astype(np.uint8) if numbers.size == 0 else numbers
        blank = np.zeros((len(numbers), 3))
        open_ = np.zeros(3, bool) if pbc is None else np.asarray(pbc, bool)
        unit = np.eye(3)
        self._base = Systems.from_arrays(blank, numbers, counts=counts, cell=unit, pbc=open_)
        self.soap, self.centers, self.attach = soap, centers, attach
        self.kind = soap.spectrum if of is None else choice("of", of, ("power", "radial", "coefficients"))
        self.columns = columns_of(self._base, species, soap._columns)
        call = Centers(self._base, centers)
        rows = len(call.numbers) if call.centers is None else len(call.centers)
        if soap.average is not None and self.kind != "coefficients":
            rows = len(self._base)
        #: [rows, D]; coefficients [rows, S F].
        self.shape = (rows, soap._features(self.kind, self.columns))

    def _given(self, positions: np.ndarray, cell: np.ndarray | None) -> tuple:
        base = self._base
        if cell is not None:
            cell = np.broadcast_to(np.asarray(cell, np.float64), base.cell.shape)
            systems = base.replace(positions=positions, cell=cell, pbc=base.pbc)
        else:
            systems = base.replace(positions=positions)
        return self.soap._given(Centers(systems, self.centers), self.columns, self.kind, self.attach)

    def _rows(self, positions: np.ndarray) -> Centers:
        return Centers(self._base.replace(positions=positions), self.centers)

    def values(self, positions: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
        return self.soap._kernel.compute(self._given(positions, cell))

    def vjp(self, positions: np.ndarray, cell: np.ndarray | None, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """To positions [N, 3] and cell [B, 3, 3]."""
        given = self._given(positions, cell)
        found = self.soap._kernel.vjp(given, np.ascontiguousarray(grad), ["positions", "cell"])
        return self._rows(positions).of_atoms(found["positions"]), found["cell"]

    def second(
        self,
        positions: np.ndarray,
        cell: np.ndarray | None,
        grad: np.ndarray,
        grad_positions: np.ndarray,
        grad_cell: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The vjp of :meth:`vjp` for cotangents of its results: to positions, cell and `grad`."""
        given, rows = self._given(positions, cell), self._rows(positions)
        whole = grad_positions
        if rows._atom is not None:
            whole = np.zeros((len(rows.numbers), 3), positions.dtype)
            whole[rows._atom >= 0] = grad_positions
        of_cell = None if grad_cell is None else np.ascontiguousarray(grad_cell)
        found = self.soap._kernel.second(given, np.ascontiguousarray(grad), np.ascontiguousarray(whole), of_cell)
        return rows.of_atoms(found[0]), found[1], found[2]
