"""Dense derivatives of AniSOAP spectra: forward mode, one direction of all systems at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._results import Jacobian

_KNOWN = ("positions", "cell", "strain", "rotation_vector", "semiaxes")


def dense_gradients(
    call: Any, systems: Any, unique: bool, names: Sequence[str], orientation: np.ndarray, semiaxes: np.ndarray
) -> dict[str, Any]:
    """What `AniSoapSpectrum.gradients` describes."""
    for name in names:
        if name not in _KNOWN:
            raise ValueError(f"`gradients` must be of {', '.join(_KNOWN)}, got {name!r}")
    n = len(systems.numbers)
    samples = np.unique(np.concatenate([call.pair_rows(), np.repeat(np.arange(n)[:, None], 2, axis=1)]), axis=0)
    c = call.coefficients()

    def along(**direction: Any) -> np.ndarray:
        parts = [direction.get(name) for name in ("positions", "cell", "covariance")]
        parts = [None if p is None else np.ascontiguousarray(p, dtype=c.dtype) for p in parts]
        return call.spectrum(c, unique, call.tangent(*parts))

    out: dict[str, Any] = {}
    for name in names:
        if name == "positions":
            eye = np.broadcast_to(np.eye(3), (n, 3, 3))
            out[name] = _per_particle(systems, samples, eye, lambda d: along(positions=d))
        elif name in ("cell", "strain"):
            columns = []
            for k in range(9):
                d = np.zeros((len(systems), 3, 3))
                d.reshape(-1, 9)[:, k] = 1.0
                if name == "cell":
                    columns.append(along(cell=d))
                    continue
                moved = np.einsum("na,nab->nb", systems.positions, np.repeat(d, systems.counts, axis=0))
                columns.append(along(positions=moved, cell=np.einsum("bka,bac->bkc", systems.cell, d)))
            out[name] = np.stack(columns, axis=1).reshape(n, 3, 3, -1)
        else:
            r = rotation_matrices(orientation)
            if name == "semiaxes":
                # dSigma = R diag(2 sigma_k) R^T.
                directions = np.einsum("nak,nbk,nk->nkab", r, r, 2.0 * semiaxes)
            else:
                # dSigma = [e_k]x Sigma - Sigma [e_k]x.
                sigma = np.einsum("nak,nk,nbk->nab", r, semiaxes**2, r)
                cross = np.cross(np.eye(3)[:, None, :], np.eye(3)[None, :, :]).transpose(0, 2, 1)
                directions = np.einsum("kab,nbc->nkac", cross, sigma) - np.einsum("nab,kbc->nkac", sigma, cross)
            out[name] = _per_particle(systems, samples, directions, lambda d: along(covariance=d))
    return out


def _per_particle(
    systems: Any, samples: np.ndarray, directions: np.ndarray, along: Callable[[np.ndarray], np.ndarray]
) -> Jacobian:
    """Rows (particle whose spectrum it is, particle that changes): particle number i of every system moves at once, since systems do not see each other."""
    counts, offsets = systems.counts, systems.offsets
    local = np.arange(len(systems.numbers)) - np.repeat(offsets[:-1], counts)
    number = local[samples[:, 1]]
    out = None
    for i in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(local == i)
        here = np.flatnonzero(number == i)
        for k in range(3):
            d = np.zeros((len(systems.numbers), *directions.shape[2:]))
            d[rows] = directions[rows, k]
            change = along(d)
            if out is None:
                out = np.zeros((len(samples), 3, change.shape[1]), dtype=change.dtype)
            out[here, k] = change[samples[here, 0]]
    n = len(systems.numbers)
    return Jacobian(samples[:, 0], samples[:, 1], np.zeros((0, 3, 0)) if out is None else out, (n, n))


def rotation_matrices(orientation: np.ndarray) -> np.ndarray:
    """Matrices [N, 3, 3] of quaternions of any norm; matrices as they are."""
    if orientation.ndim == 3:
        return orientation
    w, x, y, z = (orientation / np.linalg.norm(orientation, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
