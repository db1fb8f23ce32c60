"""Moving atoms into the cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from .finding import arrays_of


def fractional_along(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """[B, 3, 3] matrices that give ``x @ m``, the coordinates along periodic directions and 0 along open ones.

    The pseudo-inverse of the periodic rows is the inverse of the cell completed by orthogonal vectors; open vectors play no
    part.
    """
    return np.linalg.pinv(np.where(pbc[:, :, None], cell, 0.0))


def per_atom(matrices: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """``rows[i] @ matrices[system of i]`` for rows [N, 3] and matrices [B, 3, 3]."""
    if len(matrices) == 1:
        return rows @ matrices[0]
    system = np.repeat(np.arange(len(matrices)), np.diff(offsets))
    return np.einsum("ia,iac->ic", rows, matrices[system])


def wrap(systems: Any) -> Any:
    """The systems with every atom moved into the cell along periodic directions: fractional coordinates in [0, 1).

    Open directions are left as they are. Positions keep their dtype.
    """
    s = arrays_of(systems)
    cell, pbc = np.asarray(s.cell, np.float64), np.asarray(s.pbc)
    if not np.isfinite(s.positions).all():
        atom, axis = np.argwhere(~np.isfinite(s.positions))[0]
        raise ValueError(
            f"`positions` must be finite, got {s.positions[atom, axis]} at atom {atom}, axis {'xyz'[axis]}"
        )
    x = np.asarray(s.positions, np.float64)
    whole = np.floor(per_atom(fractional_along(cell, pbc), x, s.offsets))
    moved = (x - per_atom(np.where(pbc[:, :, None], cell, 0.0), whole, s.offsets)).astype(s.positions.dtype)
    # An atom a rounding error below a face has come out on the opposite face, at 1.0: that is 0.
    again = np.floor(per_atom(fractional_along(cell, pbc), moved.astype(np.float64), s.offsets))
    over = per_atom(np.where(pbc[:, :, None], cell, 0.0), np.maximum(again, 0.0), s.offsets)
    moved = (moved - over).astype(s.positions.dtype)
    return s.replace(positions=moved)
