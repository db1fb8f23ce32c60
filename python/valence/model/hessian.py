"""Second derivatives of a model's energy by differences of its forces."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["hessian"]

#: Steps in Angstrom: the first where no pair is near a cutoff, else down to the second.
_STEPS = (1e-3, 2e-5)
#: Atoms of one call of the engine.
_ATOMS = 4096


def hessian(model: Any, batch: Any) -> np.ndarray | list[np.ndarray]:
    """d^2 E / dx_ia dx_jb of each system, eV/Angstrom^2.

    H_jb = -(8 (F(h) - F(-h)) - (F(2h) - F(-2h))) / (12 h) along coordinate jb, symmetrised: central differences with their
    first error term taken out (Richardson).

    Parameters
    ----------
    model : with `compute`, in float64.
    batch : Systems. Periodic ones move all images of an atom: these are second derivatives at the zone centre.

    Returns
    -------
    array [n, 3, n, 3] of one system, a list of these of several.

    With h = 1e-3 Angstrom the error is about 1e-9 of the largest entry: 1e-10 of truncation, and 1e-14 eV/Angstrom of rounding in
    the forces over h. The energy's third derivative jumps where a pair crosses a cutoff, that of the network or that of the
    pair repulsion, so the step is shortened to a quarter of the nearest pair's distance from it, to 2e-5 Angstrom at least,
    where rounding takes up to 1e-8. A pair that is nearer than this still adds up to (jump of the third derivative) h.
    """
    found = [_of_one(model, one) for one in batch]
    return found[0] if len(found) == 1 else found


def _step(model: Any, one: Any) -> float:
    import valence as vl

    edges = vl.find_edges(one, model.cutoff + 4 * _STEPS[0])
    z, r = np.asarray(one.numbers, np.int64), np.asarray(edges.distance, np.float64)
    gap = np.abs(r - model.cutoff).min(initial=1.0)
    if hasattr(model, "repulsion_cutoffs"):
        gap = np.abs(r - model.repulsion_cutoffs(z[edges.source], z[edges.target])).min(initial=gap)
    return float(np.clip(gap / 4.0, _STEPS[1], _STEPS[0]))


def _of_one(model: Any, one: Any) -> np.ndarray:
    import valence as vl

    n = len(one.numbers)
    x, h = np.asarray(one.positions, np.float64), _step(model, one)
    found = np.zeros((3 * n, 3 * n))
    shifts = h * np.array([1.0, -1.0, 2.0, -2.0])
    weights = np.array([8.0, -8.0, -1.0, 1.0]) / (12.0 * h)
    chunk = max(1, _ATOMS // (4 * max(n, 1)))
    for start in range(0, 3 * n, chunk):
        columns = np.arange(start, min(start + chunk, 3 * n))
        moved = np.tile(x.reshape(-1), (len(columns), 4, 1))
        moved[np.arange(len(columns))[:, None], np.arange(4), columns[:, None]] += shifts
        count = 4 * len(columns)
        systems = vl.Systems.from_arrays(
            moved.reshape(-1, 3),
            np.tile(one.numbers, count),
            cell=np.repeat(one.cell, count, axis=0),
            pbc=np.repeat(one.pbc, count, axis=0),
            counts=np.full(count, n),
        )
        forces = model.compute(systems, ("forces",)).forces.reshape(len(columns), 4, 3 * n)
        found[columns] = -np.einsum("cks,k->cs", forces, weights)
    return (0.5 * (found + found.T)).reshape(n, 3, n, 3)
