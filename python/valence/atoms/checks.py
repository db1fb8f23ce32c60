"""What arrays must be before they become a batch: each check returns the array in its final form or raises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

AXES = "xyz"
VECTORS = "abc"
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def positions(value: Any) -> np.ndarray:
    """Positions as a C-contiguous (N, 3) array of float32 or float64, all finite."""
    array = as_array("positions", value, empty=np.float64)
    if array.dtype not in _FLOATS:
        raise TypeError(f"`positions` must be float32 or float64, got {array.dtype}")
    if array.ndim != 2 or array.shape[1] != 3:
        if array.size or array.shape not in ((0,), (1, 0)):
            raise ValueError(f"`positions` must be of shape [N, 3], got {list(array.shape)}")
        array = array.reshape(0, 3)
    array = np.ascontiguousarray(array)
    if not _all_finite(array):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            atom, axis = (int(i) for i in bad[0])
            raise ValueError(f"`positions` must be finite, got {array[atom, axis]} in row {atom}, axis {AXES[axis]}")
    return array


def numbers(value: Any, num_atoms: int) -> np.ndarray:
    """Atomic numbers as (N,) uint8, each 1 to 118."""
    array = as_array("numbers", value, empty=np.uint8)
    if array.dtype.kind not in "iu":
        raise TypeError(f"`numbers` must be integers, got {array.dtype}")
    if array.shape != (num_atoms,):
        raise ValueError(f"`numbers` must be of shape [N] = [{num_atoms}], got {list(array.shape)}")
    if num_atoms and not (array.min() >= 1 and array.max() <= 118):
        row = int(np.argmax((array < 1) | (array > 118)))
        raise ValueError(f"`numbers` must be atomic numbers from 1 to 118, got {array[row]} in row {row}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def offsets(counts: Any, num_atoms: int) -> np.ndarray:
    """Row pointers (B + 1,) int64 from the number of atoms of each system; None is one system of all atoms."""
    if counts is None:
        return np.array([0, num_atoms], dtype=np.int64)
    array = as_array("counts", counts, empty=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"`counts` must be integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"`counts` must be of shape [B], got {list(array.shape)}")
    if len(array) and array.min() < 0:
        row = int(np.argmax(array < 0))
        raise ValueError(f"`counts` must be zero or more, got {array[row]} in row {row}")
    result = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(array, out=result[1:])
    if result[-1] != num_atoms:
        raise ValueError(f"`counts` must add up to the number of atoms {num_atoms}, got {result[-1]}")
    return result


def cell(value: Any, num_systems: int) -> np.ndarray:
    """Cells as (B, 3, 3) float64, rows are lattice vectors; None is no cell (zeros)."""
    if value is None:
        return np.zeros((num_systems, 3, 3))
    array = as_array("cell", value, empty=np.float64)
    if array.dtype not in _FLOATS and array.dtype.kind not in "iu":
        raise TypeError(f"`cell` must be float32 or float64, got {array.dtype}")
    if array.shape == (3, 3):
        array = np.broadcast_to(array, (num_systems, 3, 3))
    if array.shape != (num_systems, 3, 3):
        if num_systems or array.size:
            rule = f"of shape [3, 3] or [B, 3, 3] = [{num_systems}, 3, 3]"
            raise ValueError(f"`cell` must be {rule}, got {list(array.shape)}")
        array = array.reshape(0, 3, 3)
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not _all_finite(array):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            system, vector, axis = (int(i) for i in bad[0])
            where = f"row {system}, vector {VECTORS[vector]}, axis {AXES[axis]}"
            raise ValueError(f"`cell` must be finite, got {array[system, vector, axis]} in {where}")
    return array


def pbc(value: Any, cells: np.ndarray) -> np.ndarray:
    """Periodicity as (B, 3) bool. None: periodic along the cell vectors that are not zero."""
    num_systems = len(cells)
    if value is None:
        array = np.asarray(cells.any(axis=2))
    elif value is False:
        return np.zeros((num_systems, 3), dtype=bool)
    else:
        array = as_array("pbc", value, empty=np.bool_)
        if array.dtype.kind in "iu" and not (array.size and (array.min() < 0 or array.max() > 1)):
            array = array.astype(bool)
        if array.dtype != bool:
            raise TypeError(f"`pbc` must be bool, got {array.dtype}")
        if array.ndim < 2 and array.size in (1, 3):
            array = np.broadcast_to(array, (num_systems, 3))
        if array.shape != (num_systems, 3):
            if num_systems or array.size:
                rule = f"of shape [3] or [B, 3] = [{num_systems}, 3]"
                raise ValueError(f"`pbc` must be {rule}, got {list(array.shape)}")
            array = array.reshape(0, 3)
        array = np.ascontiguousarray(array)
    if array.any():
        _not_singular(cells, array)
    return array


def _is_regular(cell: list[list[float]], periodic: list[bool]) -> bool:
    """Whether the periodic vectors of one cell are clearly independent; else `_not_singular` looks closely."""
    units = []
    for vector, wraps in zip(cell, periodic):
        if wraps:
            length = math.hypot(*vector)
            if length == 0 or not math.isfinite(length):
                return False
            units.append([x / length for x in vector])
    if len(units) < 2:
        return True
    (ax, ay, az), (bx, by, bz) = units[:2]
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    if len(units) == 2:
        return math.hypot(nx, ny, nz) > 1e-9
    cx, cy, cz = units[2]
    # The volume is at most the area of any two.
    return abs(nx * cx + ny * cy + nz * cz) > 1e-9


def _not_singular(cells: np.ndarray, periodic: np.ndarray) -> None:
    """Refuses a cell whose periodic vectors do not span as many dimensions as there are of them.

    The volume spanned by the periodic vectors is compared with the product of their lengths: at or below 1e-10 of it
    the vectors are linearly dependent.
    """
    # NumPy's calls take most of the time of a small batch: its cells are looked at one by one.
    if len(cells) <= 8 and all(map(_is_regular, cells.tolist(), periodic.tolist())):
        return
    lengths = np.sqrt(np.einsum("bij,bij->bi", cells, cells))
    zero = periodic & (lengths == 0)
    if zero.any():
        system = int(np.argmax(zero.any(axis=1)))
        which = " and ".join(VECTORS[i] for i in np.flatnonzero(zero[system]))
        raise ValueError(
            "`cell` must be of independent vectors along periodic directions, "
            f"got a cell that is singular along periodic directions: zero along {which} in row {system}"
        )
    units = cells / np.where(lengths > 0, lengths, 1.0)[:, :, None]
    a, b, c = units[:, 0], units[:, 1], units[:, 2]
    spanned = np.ones(len(cells))
    for i, j in ((0, 1), (1, 2), (2, 0)):
        area = np.linalg.norm(np.cross(units[:, i], units[:, j]), axis=1)
        spanned = np.where(periodic[:, i] & periodic[:, j], np.minimum(spanned, area), spanned)
    volume = np.abs(np.einsum("bi,bi->b", a, np.cross(b, c)))
    spanned = np.where(periodic.all(axis=1), np.minimum(spanned, volume), spanned)
    if (spanned <= 1e-10).any():
        system = int(np.argmax(spanned <= 1e-10))
        which = ", ".join(VECTORS[i] for i in np.flatnonzero(periodic[system]))
        raise ValueError(
            "`cell` must be of independent vectors along periodic directions, "
            f"got a cell that is singular along periodic directions: {which} are linearly dependent in row {system}"
        )


def charge(value: Any, num_systems: int) -> np.ndarray:
    """Total charges as (B,) float64 in e, all finite or NaN where a system does not say it."""
    array = as_array("charge", value, empty=np.float64)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`charge` must be numbers, got {array.dtype}")
    array = _per_system("charge", array, num_systems).astype(np.float64)
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array)))
        raise ValueError(f"`charge` must be finite, got {array[row]} in row {row}")
    return array


def multiplicity(value: Any, num_systems: int) -> np.ndarray:
    """Spin multiplicities 2S + 1 as (B,) uint8; 0 where a system does not say it."""
    array = as_array("multiplicity", value, empty=np.uint8)
    if array.dtype.kind == "f" and (np.isnan(array) | (array == np.round(array))).all():
        array = np.nan_to_num(array).astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"`multiplicity` must be integers, got {array.dtype}")
    array = _per_system("multiplicity", array, num_systems)
    wrong = (array < 0) | (array > 255)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"`multiplicity` must be from 1 to 255 (0: not said), got {array[row]} in row {row}")
    return array.astype(np.uint8)


def _per_system(name: str, array: np.ndarray, num_systems: int) -> np.ndarray:
    if array.ndim == 0:
        array = np.broadcast_to(array, (num_systems,))
    if array.shape != (num_systems,):
        raise ValueError(f"`{name}` must be of shape [B] = [{num_systems}], got {list(array.shape)}")
    return array


def orientation(value: Any, num_atoms: int) -> np.ndarray:
    """Orientations as (N, 4) quaternions w, x, y, z, kept as given; (N, 3, 3) matrices are turned into quaternions."""
    array = _finite_rows("orientation", value, num_atoms)
    if array.shape == (num_atoms, 3, 3):
        return quaternions(array)
    if array.shape != (num_atoms, 4):
        rule = f"of shape [N, 4] = [{num_atoms}, 4] or [N, 3, 3] = [{num_atoms}, 3, 3]"
        raise ValueError(f"`orientation` must be {rule}, got {list(array.shape)}")
    zero = ~array.any(axis=1)
    if zero.any():
        raise ValueError(
            f"`orientation` must be quaternions that are not zero, got zeros in row {int(np.argmax(zero))}"
        )
    return array


def semiaxes(value: Any, num_atoms: int) -> np.ndarray:
    """Semiaxes of the ellipsoids as (N, 3), Angstrom, each zero (a disc, a needle, a point) or more."""
    array = _finite_rows("semiaxes", value, num_atoms)
    if array.shape != (num_atoms, 3):
        raise ValueError(f"`semiaxes` must be of shape [N, 3] = [{num_atoms}, 3], got {list(array.shape)}")
    wrong = ~(array >= 0)
    if wrong.any():
        row, axis = (int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"`semiaxes` must be lengths in Angstrom, zero or more, got {array[row, axis]} in row {row}")
    return array


def charges(value: Any, num_atoms: int) -> np.ndarray:
    """Charges per atom as (N,) float32 or float64, e."""
    array = as_array("charges", value, empty=np.float64)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype not in _FLOATS:
        raise TypeError(f"`charges` must be float32 or float64, got {array.dtype}")
    if array.shape != (num_atoms,):
        raise ValueError(f"`charges` must be of shape [N] = [{num_atoms}], got {list(array.shape)}")
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array)))
        raise ValueError(f"`charges` must be finite, got {array[row]} in row {row}")
    return np.ascontiguousarray(array)


def column(name: str, value: Any, num_rows: int, letter: str = "N") -> np.ndarray:
    """Any further column: one row an atom (or system), of numbers, bools, strings or objects."""
    array = as_array(name, value)
    if array.ndim == 0 or len(array) != num_rows:
        got = list(array.shape)
        raise ValueError(f"`{name}` must be of shape [{letter}, ...] = [{num_rows}, ...], got {got}")
    return np.ascontiguousarray(array)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions w, x, y, z, w >= 0, of orthogonal matrices (N, 3, 3) that turn body axes into space axes.

    A matrix of determinant -1 is negated first: an ellipsoid is its own mirror image. The largest of the four
    components is found first and the others follow by division (Shepperd, J. Guid. Control 1, 223, 1978).
    """
    m = matrices.astype(np.float64)
    off = np.abs(m @ m.transpose(0, 2, 1) - np.eye(3)).reshape(len(m), 9).max(axis=1, initial=0.0)
    if (off > 1e-4).any():
        row = int(np.argmax(off > 1e-4))
        raise ValueError(f"`orientation` must be orthogonal matrices, got M M^T off by {off[row]:.3g} in row {row}")
    m = m * np.where(np.linalg.det(m) < 0, -1.0, 1.0)[:, None, None]
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    wx, wy, wz = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    # Row k of each candidate is 4 q_k q; the one of the largest q_k is the most exact.
    four = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], axis=1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=1),
        ],
        axis=1,
    )
    rows = np.arange(len(m))
    best = np.argmax(np.einsum("nkk->nk", four), axis=1)
    q = four[rows, best]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    q *= np.where(q[:, :1] < 0, -1.0, 1.0)
    return q.astype(matrices.dtype)


def _all_finite(array: np.ndarray) -> bool:
    # The sum of squares of a small array takes a third of the time; it is finite only if each value is.
    if array.size < 3000 and math.isfinite(np.vdot(array, array)):
        return True
    return bool(np.isfinite(array).all())


def as_array(name: str, value: Any, empty: Any = None) -> np.ndarray:
    """An array of the value: numpy's own, or one made of a list; `empty` is the dtype of an empty list."""
    if not isinstance(value, np.ndarray):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"`{name}` must be an array of one shape, got rows of different lengths") from error
        if empty is not None and not value.size and value.dtype == np.float64:
            value = value.astype(empty)
        elif empty is np.float64 and value.dtype.kind in "iu":
            value = value.astype(np.float64)
    if not value.dtype.isnative:
        raise TypeError(f"`{name}` must be in native byte order, got {value.dtype}")
    return value


def _finite_rows(name: str, value: Any, num_atoms: int) -> np.ndarray:
    array = as_array(name, value, empty=np.float64)
    if array.dtype not in _FLOATS:
        raise TypeError(f"`{name}` must be float32 or float64, got {array.dtype}")
    if array.ndim == 0 or len(array) != num_atoms:
        raise ValueError(f"`{name}` must have one row an atom, N = {num_atoms}, got {list(array.shape)}")
    good = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not good.all():
        raise ValueError(f"`{name}` must be finite, got a value that is not in row {int(np.argmin(good))}")
    return np.ascontiguousarray(array)
