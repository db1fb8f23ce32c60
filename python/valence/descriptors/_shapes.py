"""Orientations and semiaxes of particles, from arguments or from columns of the atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

_QUATERNIONS = ("c_q", "quaternion", "orientation")
_DIAMETERS = ("c_diameter[1]", "c_diameter[2]", "c_diameter[3]")
#: The same as readers of extended XYZ (ASE's and ours) name them: they drop the brackets.
_READ = ("c_diameter1", "c_diameter2", "c_diameter3")


def orientation_of(systems: Any, given: Any, kind: str | None, column: str | None) -> np.ndarray:
    """Quaternions [N, 4] or matrices [N, 3, 3], float64: `given`, else one of the columns."""
    n = len(systems.numbers)
    columns = systems.columns
    if given is None:
        names = [column] if column is not None else [name for name in _QUATERNIONS if name in columns]
        if len(names) > 1:
            raise ValueError(f"`orientation` must be in one column of the atoms, got both {names[0]} and {names[1]}")
        if not names or names[0] not in columns:
            if n == 0:
                return np.zeros((0, 4))
            wanted = column if column is not None else "c_q, quaternion or orientation"
            raise ValueError(f"`orientation` must be given, or be in a column {wanted} of the atoms, got neither")
        given = columns[names[0]]
    array = _real("orientation", given)
    if array.shape == (n, 9) and kind != "quaternion":
        array = array.reshape(n, 3, 3)
    wanted = {"quaternion": [(n, 4)], "matrix": [(n, 3, 3)]}.get(kind or "", [(n, 4), (n, 3, 3)])
    if array.shape not in wanted:
        if n == 0 and not array.size:
            return np.zeros((0, 4))
        rule = " or ".join(str(["N", *shape[1:]]).replace("'", "") + f" = {list(shape)}" for shape in wanted)
        raise ValueError(f"`orientation` must be of shape {rule}, got {list(array.shape)}")
    return array


def semiaxes_of(systems: Any, semiaxes: Any, diameters: Any, from_info: bool) -> np.ndarray:
    """Semiaxes [N, 3], float64, Angstrom: given, else half the diameters, else columns of the atoms."""
    n = len(systems.numbers)
    if semiaxes is not None and diameters is not None:
        raise ValueError("`semiaxes` must be None where `diameters` are given, got both")
    factor = 1.0
    if semiaxes is None and diameters is None:
        columns = systems.columns
        names = _READ if any(name in columns for name in _READ) else _DIAMETERS
        files = [name for name in names if name in columns]
        if from_info and (files or "semiaxes" in columns):
            held = files[0] if files else "semiaxes"
            raise ValueError(f"`diameters_from_info` must be False where the atoms have a column {held}, got True")
        if "semiaxes" in columns and files:
            raise ValueError("`semiaxes` must be in one form in the atoms, got both semiaxes and c_diameter[...]")
        if "semiaxes" in columns:
            semiaxes = columns["semiaxes"]
        elif files:
            missing = [name for name in names if name not in columns]
            if missing:
                raise ValueError(f"`diameters` must be in three columns of the atoms, got none called {missing[0]}")
            diameters = np.stack([_real(name, columns[name]) for name in names], axis=-1)
        elif from_info:
            diameters = _broadcast(systems)
        elif n == 0:
            return np.zeros((0, 3))
        else:
            raise ValueError(
                "`semiaxes` must be given, or be in columns semiaxes or c_diameter[1], [2], [3] of the atoms, got neither"
            )
    name = "semiaxes"
    if semiaxes is None:
        semiaxes, factor, name = diameters, 0.5, "diameters"
    array = _real(name, semiaxes)
    if array.shape != (n, 3):
        if n == 0 and not array.size:
            return np.zeros((0, 3))
        raise ValueError(f"`{name}` must be of shape [N, 3] = [{n}, 3], got {list(array.shape)}")
    return array if factor == 1.0 else array * factor


def _broadcast(systems: Any) -> np.ndarray:
    rows = []
    for name in _DIAMETERS:
        if name not in systems.info:
            raise ValueError(f"`diameters` must be in the info of the systems, got none called {name}")
        rows.append(_real(name, systems.info[name]))
    return np.repeat(np.stack(rows, axis=-1), systems.counts, axis=0)


def _real(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        if array.size:
            raise TypeError(f"`{name}` must be real numbers, got {array.dtype}")
        return np.zeros(array.shape)
    return np.ascontiguousarray(array, dtype=np.float64)


def check(orientation: np.ndarray, semiaxes: np.ndarray) -> None:
    """Raises ValueError for the first bad shape, with its row."""
    explain(None, orientation, semiaxes)


def explain(systems: Any, orientation: np.ndarray, semiaxes: np.ndarray) -> None:
    """Raises for the first bad shape, with the system and the particle in it (None: its row alone); else returns."""
    bad = ~((semiaxes >= 0) & (semiaxes <= 1e6))
    if bad.any():
        row, axis = (int(i) for i in np.argwhere(bad)[0])
        got = f"{semiaxes[row, axis]} on axis {axis + 1} {_where(systems, row)}"
        raise ValueError(f"`semiaxes` must be finite lengths in Angstrom, zero or more and at most 1e6, got {got}")
    if orientation.ndim == 2:
        norm = np.abs(orientation).sum(axis=1)
        bad = ~((norm > 0) & np.isfinite(norm))
        if bad.any():
            row = int(np.argmax(bad))
            got = f"{orientation[row].tolist()} {_where(systems, row)}"
            raise ValueError(f"`orientation` must be quaternions (w, x, y, z), finite and not zero, got {got}")
        return
    off = np.abs(np.einsum("nki,nkj->nij", orientation, orientation) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    bad = ~(off <= (1e-4 if orientation.dtype == np.float32 else 1e-6))
    if bad.any():
        row = int(np.argmax(bad))
        got = f"R^T R off by {off[row]:.3g} {_where(systems, row)}"
        raise ValueError(f"`orientation` must be orthogonal matrices, columns the body axes, got {got}")


def _where(systems: Any, row: int) -> str:
    if systems is None:
        return f"in row {row}"
    b = int(np.searchsorted(systems.offsets, row, side="right")) - 1
    return f"in system {b}, particle {row - int(systems.offsets[b])} (row {row})"


def where(systems: Any, row: int) -> str:
    """ "in system b, particle i (row r)"."""
    return _where(systems, row)
