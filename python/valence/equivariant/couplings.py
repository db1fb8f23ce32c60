"""Symmetric polynomials of irreps that turn as irreps: the couplings of the symmetric contraction.

A coupling of degree nu to an irrep is 2l+1 homogeneous polynomials of the M components x of one channel. They are made by
nesting Clebsch-Gordan products from the left, P'_m(x) = sum_lj cg[l,j,m] P_l(x) x_j. As polynomials they hold the sum over
all orders of the factors of the usual tensors U[m, i_1, …, i_nu], so those are never made: 816 numbers a component in place
of 4,096 at degree 3 and M = 16.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from valence.equivariant.coupling import clebsch_gordan
from valence.equivariant.irreps import Irrep, Irreps

__all__ = ["full_couplings", "monomials", "reduced_couplings"]

#: Numbers below this are the rounding of a coefficient that is zero.
ZERO = 1e-10


@functools.lru_cache(maxsize=64)
def monomials(count: int, degree: int) -> np.ndarray:
    """[monomials, degree] the components of every product x_i x_j … with i <= j <= …, in the order of reading."""
    found = list(itertools.combinations_with_replacement(range(count), degree))
    return np.array(found, np.int64).reshape(len(found), degree)


@functools.lru_cache(maxsize=64)
def _raised(count: int, degree: int) -> np.ndarray:
    """[monomials of the degree, count] which monomial of the next degree each becomes when times x_j."""
    below, above = monomials(count, degree), monomials(count, degree + 1)
    powers = count ** np.arange(degree, -1, -1)
    left = np.repeat(below[:, None], count, axis=1)
    joined = np.concatenate([left, np.broadcast_to(np.arange(count), left.shape[:2])[..., None]], axis=2)
    return np.searchsorted(above @ powers, np.sort(joined, axis=-1) @ powers)


def _sort_key(order: str) -> Callable[[Irrep], tuple[int, int]]:
    return {"e3nn": lambda ir: (ir.l, ir.p), "cue": lambda ir: (ir.l, -ir.p * (-1) ** ir.l)}[order]


Coupling = tuple[Irrep, np.ndarray | None]


@functools.lru_cache(maxsize=64)
def _nested(
    parts: tuple[Irrep, ...], degree: int, order: str, convention: str, natural: bool, keep: tuple[Irrep, ...] | None
) -> tuple[Coupling, ...]:
    """All couplings of a degree, sorted by irrep; None in place of polynomials that are zero (antisymmetric ones)."""
    count = sum(ir.dim for ir in parts)
    starts = np.cumsum([0] + [ir.dim for ir in parts]).tolist()
    found: list[Coupling] = []
    if degree == 1:
        for ir, start in zip(parts, starts):
            found.append((ir, np.eye(count)[start : start + ir.dim]))
        return tuple(c for c in found if keep is None or c[0] in keep)
    raised = _raised(count, degree - 1)
    size = math.comb(count + degree - 1, degree)
    for left, polynomials in _nested(parts, degree - 1, order, convention, natural, None):
        for ir, start in zip(parts, starts):
            for out in left * ir:
                if (natural and out.p != (-1) ** out.l) or (keep is not None and out not in keep):
                    continue
                if polynomials is None:
                    found.append((out, None))
                    continue
                cg = clebsch_gordan(left.l, ir.l, out.l, convention=convention)
                table = np.tensordot(cg, polynomials, axes=(0, 0))  # [j, m, monomials]
                made = np.zeros((out.dim, size))
                for j in range(ir.dim):
                    made[:, raised[:, start + j]] += table[j]
                made[np.abs(made) < ZERO] = 0.0
                found.append((out, made if made.any() else None))
    return tuple(sorted(found, key=lambda c: _sort_key(order)(c[0])))


def full_couplings(
    irreps: Irreps, out: Irrep, degree: int, *, order: str | None = None, convention: str = "e3nn05"
) -> np.ndarray:
    """[K, 2l+1, monomials] every nested coupling of `degree` factors to `out`, in the order of MACE's weights.

    One of each irrep of `irreps` is one factor. Couplings that are antisymmetric in some factors are zero, and counted. At
    degree 4 only intermediates of natural parity p = (-1)^l are made, as MACE does (for SO3: all).
    """
    order = order or ("e3nn" if irreps.group == "O3_e3nn" else "cue")
    if order not in ("cue", "e3nn"):
        raise ValueError(f'`irrep_order` must be "cue" or "e3nn", got {order!r}')
    parts = tuple(ir for _, ir in irreps)
    natural = degree >= 4 and irreps.group != "SO3"
    if natural and out.p != (-1) ** out.l:
        entries: tuple[Coupling, ...] = ()
    else:
        entries = _nested(parts, degree, order, convention, natural, (out,))
    count = sum(ir.dim for ir in parts)
    table = np.zeros((len(entries), out.dim, math.comb(count + degree - 1, degree)))
    for row, (_, made) in zip(table, entries):
        if made is not None:
            row[:] = made
    return table


def reduced_couplings(
    irreps: Irreps, out: Irrep, degree: int, *, order: str | None = None, convention: str = "e3nn05"
) -> tuple[np.ndarray, np.ndarray]:
    """Independent couplings [K', 2l+1, monomials], and the projection [K, K'] with full = projection @ reduced.

    Gram-Schmidt over the full couplings in their order, in the inner product of symmetric tensors. The square of each
    one's tensor sums to 1 / K' for each component m: cuEquivariance's scale (its choice of basis within the span is another).
    """
    full = full_couplings(irreps, out, degree, order=order, convention=convention)
    count = sum(ir.dim for _, ir in irreps)
    # A monomial's coefficient is shared by all orders of its factors.
    orders = [
        math.factorial(degree) // math.prod(math.factorial(n) for n in Counter(row).values())
        for row in monomials(count, degree).tolist()
    ]
    vectors = (full / np.sqrt(orders)).reshape(len(full), out.dim * len(orders))
    basis: list[np.ndarray] = []
    for vector in vectors:
        rest = vector
        for _ in range(2):  # twice is enough for full accuracy
            for b in basis:
                rest = rest - (b @ rest) * b
        norm = np.linalg.norm(rest)
        if norm > 1e-8 * max(1.0, float(np.linalg.norm(vector))):
            basis.append(rest / norm)
    found = np.array(basis).reshape(len(basis), vectors.shape[1])
    scale = math.sqrt(out.dim / max(len(basis), 1))
    projection = vectors @ found.T / scale
    projection[np.abs(projection) < ZERO] = 0.0
    reduced = found.reshape(len(basis), out.dim, len(orders)) * scale * np.sqrt(orders)
    reduced[np.abs(reduced) < ZERO] = 0.0
    return reduced, projection
