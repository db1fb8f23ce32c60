"""`ase.Atoms` in and out.

A calculator's results are columns here. Names are ASE's: per atom `forces`, `charges`, `magmoms`, `energies`, ...; per
system `energy`, `free_energy`, `stress`, `dipole`, `magmom`, ... A stress is a 3 x 3 matrix here and six numbers in
Voigt's order (xx, yy, zz, yz, xz, xy) there.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from . import checks
from .systems import Systems

RESULTS_PER_ATOM = ("forces", "energies", "stresses", "charges", "magmoms", "born_effective_charges")
RESULTS_PER_SYSTEM = ("energy", "free_energy", "stress", "dipole", "magmom", "dielectric_tensor", "polarization")
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_OWN_ARRAYS = ("numbers", "positions")


def from_ase(atoms: Any) -> Systems:
    """See `Systems.from_ase`."""
    if hasattr(atoms, "arrays"):
        return _one(atoms)
    frames = list(atoms)
    for row, frame in enumerate(frames):
        if not hasattr(frame, "arrays"):
            raise TypeError(f"`atoms` must be ase.Atoms or a list of them, got {type(frame).__name__} in row {row}")
    if len(frames) == 1:
        return _one(frames[0])
    counts = np.array([len(frame.arrays["numbers"]) for frame in frames], dtype=np.int64)
    self = Systems.from_arrays(
        np.concatenate([np.zeros((0, 3)), *[frame.arrays["positions"] for frame in frames]]),
        np.concatenate([np.zeros(0, np.int64), *[frame.arrays["numbers"] for frame in frames]]),
        counts=counts,
        cell=np.array([frame.cell.array for frame in frames]).reshape(-1, 3, 3),
        pbc=np.array([frame.pbc for frame in frames], dtype=bool).reshape(-1, 3),
    )
    extras = [_extras(frame) for frame in frames]
    columns = _gather([columns for columns, _ in extras], counts)
    info = _gather_info([info for _, info in extras])
    return self.replace(**columns, info=info) if columns or info else self


def _one(frame: Any) -> Systems:
    arrays = frame.arrays
    positions = checks.positions(arrays["positions"].copy())
    numbers = checks.numbers(arrays["numbers"], len(positions))
    cell = frame.cell.array
    cell = checks.cell(cell.copy(), 1) if cell.any() else np.zeros((1, 3, 3))
    pbc = checks.pbc(frame.pbc, cell) if frame.pbc.any() else np.zeros((1, 3), dtype=bool)
    self = Systems._trusted(positions, numbers, np.array([0, len(positions)]), cell, pbc)
    columns, info = _extras(frame)
    if columns:
        self._columns = {name: self._atom_column(name, value.copy()) for name, value in columns.items()}
    if info:
        self._info = {name: self._system_column(name, value) for name, value in _gather_info([info]).items()}
    return self


def _extras(frame: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Columns and info of one frame: arrays, info, and the results of its calculator if they are of this geometry."""
    arrays = frame.arrays
    columns = {name: arrays[name] for name in arrays if name not in _OWN_ARRAYS} if len(arrays) > 2 else {}
    info = dict(frame.info) if frame.info else {}
    calc = frame.calc
    if calc is not None:
        stale = calc.check_state(frame) if hasattr(calc, "check_state") else []
        results = {} if stale else getattr(calc, "results", {})
        for name, value in results.items():
            if value is None:
                continue
            value = np.asarray(value)
            if (name == "stress" and value.shape == (6,)) or (name == "stresses" and value.shape[1:] == (6,)):
                value = full_stress(value)
            if name in RESULTS_PER_ATOM and value.shape[:1] == (len(frame),):
                columns[name] = value
            elif value.dtype.kind in "iufb":
                info[name] = value
    return columns, info


def _gather(parts: list[dict[str, np.ndarray]], counts: np.ndarray) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part)
    columns = {}
    for name in names:
        values, missing = [], []
        sample = next(part[name] for part in parts if name in part)
        for row, part in enumerate(parts):
            value = part.get(name)
            if value is None:
                if sample.dtype.kind not in "fU" and counts[row]:
                    missing.append(row)
                fill = np.nan if sample.dtype.kind == "f" else ""
                value = np.full((counts[row], *sample.shape[1:]), fill) if not missing else sample[:0]
            elif value.shape[1:] != sample.shape[1:]:
                got = f"rows of {list(sample.shape[1:])} and {list(value.shape[1:])}"
                raise ValueError(f"`{name}` must be of one shape in all systems, got {got} in system {row}")
            values.append(value)
        if missing:
            kind = f"it is {sample.dtype}, which has no NaN"
            raise ValueError(f"`{name}` must be in all systems or in none ({kind}), got none in system {missing[0]}")
        columns[name] = np.concatenate(values)
    return columns


def _gather_info(parts: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """One array a name: numbers of one shape as an array (NaN where a system has none), all else as objects."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {str(name): info_column([part.get(name) for part in parts], str(name)) for name in names}


def info_column(values: list, name: str = "") -> np.ndarray:
    """Values of one name over systems, None where missing, as one array.

    Numbers of one shape make an array of numbers; reals are NaN where missing. Anything else is an array of objects.
    """
    if name == "charge":
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if name == "multiplicity":
        return np.array([0 if v is None else v for v in values])
    there = [np.asarray(v) for v in values if v is not None]
    kinds = {v.dtype.kind for v in there}
    shapes = {v.shape for v in there}
    if len(shapes) == 1 and kinds and (kinds <= set("iuf") or kinds == {"b"}):
        shape = shapes.pop()
        if len(there) == len(values):
            return np.array(there).reshape(len(values), *shape)
        if "f" in kinds:
            return np.array([np.full(shape, np.nan) if v is None else v for v in values], dtype=np.float64)
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def to_ase(systems: Systems) -> list:
    """See `Systems.to_ase`."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    offsets = systems.offsets.tolist()
    for row, (first, last) in enumerate(pairwise(offsets)):
        frame = Atoms(
            numbers=systems.numbers[first:last].astype(np.int64),
            positions=systems.positions[first:last].astype(np.float64),
            cell=systems.cell[row],
            pbc=systems.pbc[row],
        )
        results: dict[str, Any] = {}
        for name, value in systems._columns.items():
            part = value[first:last]
            if last > first and _is_missing(part):
                continue
            if name in RESULTS_PER_ATOM:
                results[name] = voigt_stress(part) if name == "stresses" and part.shape[1:] == (3, 3) else part.copy()
            else:
                frame.set_array(name, part)
        for name, value in systems._info.items():
            part = value[row]
            if part is None or (name == "multiplicity" and part == 0) or _is_missing(part):
                continue
            if isinstance(part, np.ndarray):
                part = part.copy()
            elif isinstance(part, np.generic):
                part = part.item()
            if name in RESULTS_PER_SYSTEM:
                results[name] = voigt_stress(part) if name == "stress" and np.shape(part) == (3, 3) else part
            else:
                frame.info[name] = part
        if results:
            frame.calc = SinglePointCalculator(frame, **results)
        frames.append(frame)
    return frames


def _is_missing(value: Any) -> bool:
    """All NaN: what stands where a system does not have a column of reals."""
    value = np.asarray(value)
    return value.dtype.kind == "f" and value.size > 0 and bool(np.isnan(value).all())


def full_stress(voigt: np.ndarray) -> np.ndarray:
    """The 3 x 3 matrices of stresses (..., 6) in Voigt's order."""
    xx, yy, zz, yz, xz, xy = np.moveaxis(np.asarray(voigt), -1, 0)
    return np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(*np.shape(voigt)[:-1], 3, 3)


def voigt_stress(matrix: np.ndarray) -> np.ndarray:
    """Voigt's six numbers of stresses (..., 3, 3), symmetrised as ASE does."""
    return np.stack([(matrix[..., i, j] + matrix[..., j, i]) / 2 for i, j in _VOIGT], axis=-1)
