"""Clebsch-Gordan coefficients, Wigner 3j symbols and rotation matrices of real harmonics, computed exactly.

Sums are over integers of any size, so the only roundings are one square root and the change to the real basis.
"""

from __future__ import annotations

import functools
import math

import numpy as np

__all__ = ["clebsch_gordan", "wigner_3j", "wigner_d"]

#: Sorted degrees whose real coupling has the opposite sign in e3nn 0.4 (found by comparing e3nn 0.4.4 and 0.6.0 to degree 8).
_OLD_SIGNS = {
    (3, 4, 6), (3, 5, 7), (3, 6, 8), (4, 4, 5), (4, 5, 6), (4, 6, 7), (4, 7, 8), (5, 5, 5), (5, 6, 6), (5, 7, 7), (5, 8, 8),
}  # fmt: skip
_OLD_LARGEST = 8


def _complex_coefficient(l1: int, l2: int, l3: int, m1: int, m2: int) -> float:
    """<l1 m1 l2 m2 | l3 m1+m2>: a whole sum times the root of a fraction of binomials."""
    m3, s = m1 + m2, l1 + l2 - l3
    if abs(m3) > l3:
        return 0.0

    def binomial(n: int, k: int) -> int:
        return math.comb(n, k) if k >= 0 else 0

    total = sum(
        (-1) ** z * binomial(s, z) * binomial(2 * l1 - s, l1 - m1 - z) * binomial(2 * l2 - s, l2 + m2 - z)
        for z in range(s + 1)
    )
    above = math.comb(2 * l1, s) * math.comb(2 * l2, s) * total * total
    below = (
        math.comb(l1 + l2 + l3 + 1, s)
        * math.comb(2 * l1, l1 - m1)
        * math.comb(2 * l2, l2 - m2)
        * math.comb(2 * l3, l3 - m3)
    )
    return math.copysign(math.sqrt(above / below), total)


def _real_basis(l: int) -> np.ndarray:
    """q[m, m'], complex harmonics m from real ones m', both from -l to l."""
    q = np.zeros((2 * l + 1, 2 * l + 1), complex)
    half = math.sqrt(0.5)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l - m, l + m], q[l - m, l - m] = half, -1j * half
        q[l + m, l + m], q[l + m, l - m] = (-1) ** m * half, 1j * (-1) ** m * half
    return (1, -1j, -1, 1j)[l % 4] * q


def _degree(name: str, l: int) -> int:
    if isinstance(l, bool) or not isinstance(l, (int, np.integer)) or l < 0:
        raise ValueError(f"`{name}` must be a whole number from 0, got {l!r}")
    return int(l)


@functools.lru_cache(maxsize=4096)
def _coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[l1 + m1, l2 + m2, l3 + m1 + m2] = _complex_coefficient(l1, l2, l3, m1, m2)
    real = table.astype(complex)
    for axis, l in enumerate((l1, l2, l3)):
        q = _real_basis(l).conj() if axis == 2 else _real_basis(l)
        real = np.moveaxis(np.tensordot(real, q, axes=(axis, 0)), -1, axis)
    found = np.ascontiguousarray(np.real(real))
    found[np.abs(found) < 1e-13] = 0.0
    found.flags.writeable = False
    return found


def _sign(l1: int, l2: int, l3: int, convention: str) -> float:
    if convention == "e3nn05":
        return 1.0
    if convention != "e3nn04":
        raise ValueError(f'`convention` must be "e3nn05" or "e3nn04", got {convention!r}')
    degrees = tuple(sorted((l1, l2, l3)))
    if sum(degrees) % 2 == 0:
        return 1.0
    if degrees[0] == 1 and degrees[1] == degrees[2]:
        return -1.0 if degrees[1] >= 2 else 1.0
    if degrees[2] > _OLD_LARGEST:
        raise ValueError(f'`l` must be at most {_OLD_LARGEST} with convention="e3nn04", got {degrees[2]}')
    return -1.0 if degrees in _OLD_SIGNS else 1.0


def clebsch_gordan(l1: int, l2: int, l3: int, *, convention: str = "e3nn05") -> np.ndarray:
    """Clebsch-Gordan coefficients of real harmonics, sqrt(2 l3 + 1) times :func:`wigner_3j`.

    Parameters
    ----------
    l1, l2, l3 : degrees with abs(l1 - l2) <= l3 <= l1 + l2.
    convention : signs of e3nn since 0.5 ("e3nn05"), or before ("e3nn04", to degree 8: what MACE's files were trained with).

    Returns
    -------
    array [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], float64, read-only: the sum of squares over the first two axes is 1 for each column.

    Raises
    ------
    ValueError, if the degrees break the triangle rule or the convention has no such degree.

    The whole-number sum is exact at any degree (Racah's formula, Varshalovich et al., Quantum Theory of Angular Momentum,
    1988, section 8.2). Real harmonics as in `valence.spherical_harmonics`: degree 1 is (x, y, z).

    >>> clebsch_gordan(1, 1, 0)[:, :, 0].diagonal().round(3)
    array([0.577, 0.577, 0.577])
    """
    l1, l2, l3 = _degree("l1", l1), _degree("l2", l2), _degree("l3", l3)
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"`l3` must be from {abs(l1 - l2)} to {l1 + l2} for l1 = {l1} and l2 = {l2}, got {l3}")
    sign = _sign(l1, l2, l3, convention)
    found = _coupling(l1, l2, l3)
    return found if sign > 0 else _frozen(-found)


def wigner_3j(l1: int, l2: int, l3: int, *, convention: str = "e3nn05") -> np.ndarray:
    """Wigner 3j symbols of real harmonics, [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] of Frobenius norm 1; see :func:`clebsch_gordan`."""
    return _frozen(clebsch_gordan(l1, l2, l3, convention=convention) / math.sqrt(2 * l3 + 1))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def wigner_d(l: int, rotation: np.ndarray, *, parity: int | None = None) -> np.ndarray:
    """How harmonics of degree l turn with the frame: Y_l(R v) = D Y_l(v).

    Parameters
    ----------
    l : degree.
    rotation : array [..., 3, 3], orthogonal matrices.
    parity : 1 or -1, how features of this irrep change under inversion; asked for where a determinant is -1.

    Returns
    -------
    array [..., 2 l + 1, 2 l + 1], float64, orthogonal.

    Raises
    ------
    ValueError, if a matrix is not orthogonal, or improper with no parity given.

    D_l is the part of D_(l-1) x R that Clebsch-Gordan couples to degree l.

    >>> wigner_d(1, np.eye(3)).diagonal()
    array([1., 1., 1.])
    """
    l = _degree("l", l)
    if parity not in (None, 1, -1):
        raise ValueError(f"`parity` must be 1, -1 or None, got {parity!r}")
    turn = np.asarray(rotation, np.float64)
    if turn.shape[-2:] != (3, 3):
        raise ValueError(f"`rotation` must be of shape [..., 3, 3], got {list(turn.shape)}")
    if not np.allclose(turn @ np.swapaxes(turn, -1, -2), np.eye(3), atol=1e-5):
        raise ValueError("`rotation` must be orthogonal, got a matrix with R R^T far from 1")
    sign = np.where(np.linalg.det(turn) < 0, -1.0, 1.0)
    if parity is None and (sign < 0).any():
        raise ValueError("`parity` must be 1 or -1 for a rotation with determinant -1, got None")
    turn = turn * sign[..., None, None]
    found = np.ones((*turn.shape[:-2], 1, 1))
    for degree in range(1, l + 1):
        c = clebsch_gordan(degree - 1, 1, degree)
        # columns first: one contraction at a time keeps the cost at the fourth power of the degree
        half = np.einsum("...ax,xyk->...ayk", found, c)
        half = np.einsum("...by,...ayk->...abk", turn, half)
        found = np.einsum("abm,...abk->...mk", c, half)
    if parity == -1:
        found = found * sign[..., None, None]
    return found
