"""Cutoffs of pairs, exclusions and the k nearest, in the form that the search takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from valence import _native


def _length(value: Any, name: str) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a positive finite length in Angstrom, got {value!r}") from None
    if not (value > 0.0 and np.isfinite(value)):
        raise ValueError(f"`{name}` must be a positive finite length in Angstrom, got {value}")
    return value


def _number(element: Any) -> int:
    if isinstance(element, str):
        from valence.atoms.elements import NUMBERS  # type: ignore[import-not-found]

        if element not in NUMBERS:
            raise ValueError(f"`cutoff` must be a mapping from pairs of elements, got the element {element!r}")
        return int(NUMBERS[element])
    return int(element)


def _of_species(cutoff: Mapping, numbers: Any, num_atoms: int) -> tuple[float, dict[str, Any]]:
    if numbers is None:
        raise ValueError("`cutoff` must be a number where atoms have no atomic numbers, got a mapping")
    numbers = np.asarray(numbers)
    if numbers.shape != (num_atoms,):
        raise ValueError(f"`numbers` must be of shape [N] = [{num_atoms}], got {list(numbers.shape)}")
    table = np.zeros((256, 256))
    for pair, value in cutoff.items():
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError(f"`cutoff` must be a mapping from pairs of elements, got the key {pair!r}")
        a, b = map(_number, pair)
        rc = _length(value, f"cutoff[{pair}]")
        if table[a, b] not in (0.0, rc):
            raise ValueError(f"`cutoff` must be one value for a pair, got {table[a, b]} and {rc} for {pair}")
        table[a, b] = table[b, a] = rc
    species, kind = np.unique(numbers, return_inverse=True)
    used = table[np.ix_(species, species)]
    largest = float(table.max())
    if largest == 0.0:
        raise ValueError("`cutoff` must be a mapping with at least one pair, got none")
    return largest, {"kind": kind.ravel().astype(np.uint32), "table": used.ravel()}


def _of_atoms(radii: np.ndarray, num_atoms: int) -> tuple[float, dict[str, Any]]:
    if radii.shape != (num_atoms,):
        raise ValueError(f"`cutoff` must be of shape [N] = [{num_atoms}], got {list(radii.shape)}")
    bad = np.flatnonzero(~((radii >= 0.0) & np.isfinite(radii)))
    if len(bad):
        raise ValueError(f"`cutoff` must be finite and not negative, got {radii[bad[0]]} for atom {bad[0]}")
    largest = 2.0 * float(radii.max(initial=0.0))
    return (largest if largest > 0.0 else 1.0), {"radii": radii.astype(np.float64)}


def _excluded(exclusions: Any, num_atoms: int) -> dict[str, Any]:
    found: list[tuple[int, int, tuple[int, int, int] | None]] = []
    for row, entry in enumerate(exclusions):
        entry = [int(v) for v in entry]
        if len(entry) not in (2, 5):
            raise ValueError(f"`exclusions` must be rows (i, j) or (i, j, S0, S1, S2), got {entry} in row {row}")
        i, j = entry[:2]
        if not (0 <= i < num_atoms and 0 <= j < num_atoms):
            raise ValueError(f"`exclusions` must be atoms in [0, {num_atoms}), got {entry} in row {row}")
        shift = (entry[2], entry[3], entry[4]) if len(entry) == 5 else None
        found.append((i, j, shift))
        found.append((j, i, None if shift is None else (-shift[0], -shift[1], -shift[2])))
    found.sort(key=lambda e: e[:2])
    counts = np.bincount(np.array([e[0] for e in found], dtype=np.int64), minlength=num_atoms)
    pointers = [0, *np.cumsum(counts).tolist()]
    return {
        "excluded_ptr": pointers,
        "excluded": [e[1] for e in found],
        "excluded_shift": [e[2] for e in found],
    }


def selection(
    cutoff: Any, numbers: Any, num_atoms: int, k: int | None, ties: str, exclusions: Any
) -> tuple[float, Any]:
    """The largest cutoff, and the rules beyond it (None where there are none)."""
    rules: dict[str, Any] = {}
    if isinstance(cutoff, Mapping):
        cutoff, rules = _of_species(cutoff, numbers, num_atoms)
    elif np.ndim(cutoff) == 1:
        cutoff, rules = _of_atoms(np.asarray(cutoff, dtype=np.float64), num_atoms)
    else:
        cutoff = float(cutoff)  # its range is checked by the search
    if k is not None:
        if isinstance(k, bool) or int(k) != k or k < 0:
            raise ValueError(f"`k` must be a count of neighbors, got {k}")
        rules["k"] = int(k)
    if ties not in ("index", "include"):
        raise ValueError(f'`ties` must be "index" or "include", got {ties!r}')
    if ties == "include":
        rules["ties"] = True
    if exclusions is not None and len(exclusions):
        rules.update(_excluded(exclusions, num_atoms))
    return cutoff, (_native.EdgeSelection(**rules) if rules else None)
