"""Functions of edge vectors and distances: radial functions, cutoff envelopes, transforms, spherical harmonics."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence._op import Op
from valence.basis import ops
from valence.basis._parameters import has_transform, radial_static
from valence.basis.radii import COVALENT_RADII, reference_distance

__all__ = ["COVALENT_RADII", "RadialBasis", "cutoff_envelope", "reference_distance", "spherical_harmonics"]


def spherical_harmonics(
    vectors: Any,
    lmax: int,
    *,
    normalize: bool = True,
    normalization: str = "component",
    polar_axis: str = "y",
    out: np.ndarray | None = None,
    device: str = "cpu",
) -> Any:
    """Real spherical harmonics Y_lm of vectors, degrees 0 to lmax, column l*l + l + m.

    Parameters
    ----------
    vectors : array [E, 3], float32 or float64, Angstrom, or an Arrow column.
    lmax : largest degree, 0 to 128. M = (lmax + 1)^2.
    normalize : of the unit vectors; else the homogeneous polynomials of degree l of the vectors as they are.
    normalization : "component" (the squares of a degree sum to 2l + 1), "norm" (to 1) or "integral" (each square integrates
        to 1 over the sphere).
    polar_axis : "y" as e3nn (degree 1 is x, y, z) or "z" as sphericart (degree 1 is y, z, x). No Condon-Shortley phase.
    out : contiguous array [E, M] that takes the result.
    device : "cpu", or "cuda" to compute an array's on a GPU.

    Returns
    -------
    array [E, M] of the dtype of `vectors`; a polars Series for a column.

    Raises
    ------
    ValueError, TypeError, if a name, a shape or a dtype is none of these.

    A vector shorter than 1e-12 gives Y_00 and zeros when normalised, with gradient zero.

    >>> spherical_harmonics(np.array([[0.0, 2.0, 0.0]]), 1)
    array([[1.        , 0.        , 1.73205081, 0.        ]])
    """
    parameters = {"lmax": lmax, "normalize": normalize, "normalization": normalization, "polar_axis": polar_axis}
    return ops.SPHERICAL_HARMONICS(vectors, out=out, device=device, **parameters)


def cutoff_envelope(
    distance: Any,
    cutoff: float,
    kind: str = "polynomial",
    p: float = 6,
    *,
    out: np.ndarray | None = None,
    **parameters: Any,
) -> Any:
    """A smooth factor c(r) that is exactly 0 at r >= cutoff.

    Parameters
    ----------
    distance : array [E], Angstrom, or an Arrow column.
    cutoff : Angstrom.
    kind : "polynomial" (`p`, 2 to 64), "cosine" (`lower`), "tanh3" (`normalized`), "mollifier", "switch" (`on`: 1 below it).
    p : order of the polynomial, read by that kind alone.

    Returns
    -------
    array [E] of the dtype of `distance`.

    Gasteiger, Gross, Guennemann, ICLR 2020, eq. 8 (polynomial); Behler, J. Chem. Phys. 134, 074106 (2011), eqs. 4, 5
    (cosine, tanh3); Unke et al., Nat. Commun. 12, 7273 (2021) (mollifier, switch).

    >>> cutoff_envelope(np.array([0.0, 5.0]), 5.0)
    array([1., 0.])
    """
    return ops.CUTOFF_ENVELOPE(distance, cutoff, kind, p, out=out, **parameters)


class RadialBasis:
    """K radial functions f_k(r) = b_k(T(r)) c(r), exactly 0 at r >= cutoff.

    Parameters
    ----------
    kind : and its own parameters, each with a default:
        "gaussian" (start=0, offsets, widths | coeff), "gaussian_centered" (start=1, widths),
        "bessel" (prefactor="mace" | "schnetpack" | "nequip" | "dimenet" | "none" or a number, frequencies),
        "chebyshev", "bernstein", "exp_bernstein" (alpha), "expnorm" (lower=0, alpha, means, betas).
        Arrays [K] as a model file stores them replace the computed ones.
    n : K.
    cutoff : Angstrom.
    envelope : None, a name, or {"type": name, ...} as in :func:`cutoff_envelope`. It sees the untransformed distance.
    transform : None, "agnesi", "soft", or {"type": name, ...}; then calls take `reference_distance` [E] as well.

    Raises
    ------
    ValueError, TypeError, if a name or a value is not one of these.

    Batatia et al., NeurIPS 2022 (bessel, as mace); Schuett et al., J. Chem. Phys. 148, 241722 (2018) (gaussian); Unke and
    Meuwly, J. Chem. Theory Comput. 15, 3678 (2019) (expnorm); Unke et al., Nat. Commun. 12, 7273 (2021) (Bernstein).

    >>> RadialBasis("bessel", 2, 5.0, prefactor="none")(np.array([2.5, 6.0])).round(6)
    array([[ 0.4,  0. ],
           [ 0. ,  0. ]])
    """

    def __init__(
        self, kind: str, n: int, cutoff: float, *, envelope: Any = None, transform: Any = None, **parameters: Any
    ) -> None:
        if kind in ("one", "identity"):
            kind = f"{kind} (internal)"
        self._static = radial_static(kind, n, cutoff, envelope, transform, parameters)
        self.kind, self.n, self.cutoff = kind, int(n), float(cutoff)
        self.envelope, self.transform = envelope, transform
        self._inputs = 2 if has_transform(transform) else 1

    @property
    def spec(self) -> tuple[float, ...]:
        """The parameter list of the ops `radial` and `radial_transformed`."""
        return self._static.params

    def _run(self, plain: Op, transformed: Op, distances: tuple, out: np.ndarray | None = None) -> Any:
        if len(distances) != self._inputs:
            names = "(distance, reference_distance)" if self._inputs == 2 else "(distance)"
            raise TypeError(f"RadialBasis {self.kind} takes {names}, got {len(distances)} arrays")
        op = transformed if self._inputs == 2 else plain
        return op.kernel(self._static)(*distances, out=out)

    def __call__(self, *distances: Any, out: np.ndarray | None = None) -> Any:
        """f [E, K] at `distance` [E] (and `reference_distance` [E] with a transform)."""
        return self._run(ops.RADIAL, ops.RADIAL_TRANSFORMED, distances, out)

    def with_derivative(self, *distances: Any) -> tuple[Any, Any]:
        """f and df/dr, each [E, K], in one pass."""
        return self._run(ops.WITH_DERIVATIVE, ops.TRANSFORMED_WITH_DERIVATIVE, distances)

    def derivative(self, *distances: Any) -> Any:
        """df/dr [E, K]."""
        return self.with_derivative(*distances)[1]

    def second_derivative(self, *distances: Any) -> Any:
        """d2f/dr2 [E, K]."""
        return self._run(ops.DERIVATIVES, ops.TRANSFORMED_DERIVATIVES, distances)[1]

    def __repr__(self) -> str:
        return f"RadialBasis({self.kind!r}, {self.n}, {self.cutoff}, envelope={self.envelope!r}, transform={self.transform!r})"
