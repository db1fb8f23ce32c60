"""Covalent radii and the reference distances of pairs that distance transforms need.

Cordero, Gomez, Platero-Prats, Reves, Echeverria, Cremades, Barragan, Alvarez, Dalton Trans. 2832 (2008), table 2;
carbon sp3, Mn, Fe, Co low spin. The paper ends with Cm (96): from Bk on 2.0, and 0.2 at index 0, are the values that ase.data and so mace use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["COVALENT_RADII", "reference_distance"]

# fmt: off
_RADII = [
    0.20, 0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06,
    2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22, 1.22, 1.20, 1.19, 1.20, 1.20, 1.16,
    2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.40,
    2.44, 2.15, 2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87, 1.75, 1.70,
    1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32, 1.45, 1.46, 1.48, 1.40, 1.50, 1.50,
    2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80, 1.69,
]
# fmt: on
#: Angstrom, by atomic number, 0 to 118.
COVALENT_RADII = np.array(_RADII + [2.0] * (119 - len(_RADII)))
COVALENT_RADII.flags.writeable = False


def reference_distance(numbers: Any, source: Any, target: Any, kind: str) -> np.ndarray:
    """r0 [E] of each pair, Angstrom: "agnesi" (R_i + R_j) / 2, "soft" R_i + R_j.

    Parameters
    ----------
    numbers : atomic numbers [N].
    source, target : rows of the pair's atoms [E].
    kind : the transform.

    Raises
    ------
    ValueError, if a number is not from 1 to 118, or the transform is another.

    >>> reference_distance([8, 1], [0], [1], "soft")
    array([0.97])
    """
    if kind not in ("agnesi", "soft"):
        raise ValueError(f"`kind` must be one of agnesi, soft, got {kind!r}")
    numbers = np.asarray(numbers)
    wrong = np.flatnonzero((numbers < 1) | (numbers > 118))
    if wrong.size:
        raise ValueError(f"`numbers` must be from 1 to 118, got {numbers[wrong[0]]} in row {wrong[0]}")
    radius = COVALENT_RADII[numbers]
    total = radius[np.asarray(source)] + radius[np.asarray(target)]
    return 0.5 * total if kind == "agnesi" else total
