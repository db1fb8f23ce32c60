"""AniSOAP for frameworks with automatic differentiation: arrays in, spectra and both vjps out.

Shapes cross as covariances Sigma = R diag(sigma^2) R^T [N, 3, 3], which the framework makes of orientations and semiaxes with its
own operations; so derivatives of any order in these need nothing of ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from valence import _native
from valence.atoms import checks

from ._results import numbers_of
from .anisoap import AniSoap


class Frame(NamedTuple):
    """What does not change under differentiation."""

    calculator: AniSoap
    numbers: np.ndarray
    offsets: np.ndarray
    pbc: np.ndarray
    species: np.ndarray

    @property
    def features(self) -> int:
        """D."""
        sizes = [n * len(self.species) for n in self.calculator.radial]
        return sum(k * (k + 1) // 2 if self.calculator.unique else k * k for k in sizes)


def frame(calculator: AniSoap, numbers: Any, counts: Any, pbc: Any, species: Any, cell: np.ndarray) -> Frame:
    """Checked numbers, offsets and periodicity; `cell` [B, 3, 3] decides the latter where `pbc` is None."""
    numbers = np.asarray(numbers)
    numbers = checks.numbers(numbers, len(numbers))
    offsets = checks.offsets(counts, len(numbers))
    if cell.shape != (len(offsets) - 1, 3, 3):
        rule = f"of shape [B, 3, 3] = [{len(offsets) - 1}, 3, 3]"
        raise ValueError(f"`cell` must be {rule}, got {list(cell.shape)}")
    periodic = checks.pbc(pbc, checks.cell(cell, len(cell)))
    columns = np.unique(numbers) if species is None else numbers_of(species)
    return Frame(calculator, numbers, offsets, periodic, np.array(columns, dtype=np.uint8))


def prepare(fixed: Frame, positions: np.ndarray, cell: np.ndarray, covariance: np.ndarray) -> Any:
    """The native call: pairs and shapes."""
    soap = fixed.calculator
    return _native.AniSoapCall(
        soap._basis,
        checks.positions(positions),
        fixed.offsets,
        np.ascontiguousarray(cell, dtype=np.float64),
        fixed.pbc,
        fixed.numbers,
        fixed.species,
        soap._cutoff,
        soap.self_pair,
        covariance=np.ascontiguousarray(covariance, dtype=np.float64),
    )


def first(call: Any, unique: bool, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of sum(grad * spectrum) in positions, cell (positions fixed) and covariance."""
    found = call.vjp(np.ascontiguousarray(grad), unique, True, True)
    return found[0], found[1], found[3]


def second(
    call: Any, unique: bool, grad: np.ndarray, along: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of <along, first(grad)> in `grad`, positions, cell and covariance."""
    c, grad = call.coefficients(), np.ascontiguousarray(grad)
    direction = [None if a is None else np.ascontiguousarray(a, dtype=c.dtype) for a in along]
    change = call.tangent(*direction)
    # The spectrum is quadratic: its gradient in c is linear in c, so that in the change of c is the same map.
    own = call.second(call.spectrum_bwd(c, grad, unique), *direction)
    through = call.vjp(call.spectrum_bwd(change, grad, unique), None, True, True)
    return call.spectrum(c, unique, change), own[0] + through[0], own[1] + through[1], own[3] + through[3]
