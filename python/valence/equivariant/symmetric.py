"""The symmetric contraction of MACE as a descriptor: polynomials of a channel's own features, weighted by element."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from valence.equivariant.couplings import ZERO, full_couplings, monomials, reduced_couplings
from valence.equivariant.descriptor import Descriptor, Operand, Product, Segment, block_segments
from valence.equivariant.irreps import Irreps, irreps_of

__all__ = [
    "symmetric_contraction",
    "symmetric_contraction_from_tables",
    "symmetric_contraction_projection",
    "u_matrix_tables",
]

#: (indices [n, nu + 2], coefficients [n]) of one degree nu: weight row, components i_1 … i_nu of x, component of the result.
Table = tuple[np.ndarray, np.ndarray]


def symmetric_contraction(
    irreps_in: Any,
    irreps_out: Any,
    degree: int,
    *,
    original_mace: bool = True,
    layout: Any = "mul_ir",
    group: str | None = None,
    irrep_order: str | None = None,
    convention: str = "e3nn05",
) -> Descriptor:
    """Equivariant polynomials of each channel's features up to a degree (Batatia et al., NeurIPS 2022, eq. 10 and 11).

    out[n,u,m] = sum_nu sum_k w[z_n, k, u] sum_{i_1 … i_nu} U_nu[m, i_1 … i_nu, k] x[n,u,i_1] … x[n,u,i_nu]

    Parameters
    ----------
    irreps_in, irreps_out : of x and the result, all of the same multiplicity (the channels u).
    degree : the largest nu, 1 to 4.
    original_mace : True: all nested couplings (MACE's U matrices), weight rows k ordered by output irrep, then degree from
        the largest to 1, as one tensor of cuEquivariance's with the same option. False: independent couplings only, rows
        ordered by degree from 1, then output irrep. That basis is this library's own (see
        :func:`~valence.equivariant.symmetric_contraction_projection`): weights of another program's reduced couplings
        need that program's tables.
    layout : "mul_ir" or "ir_mul", one for both or two: of x and the result.
    group : of irreps given as text, "O3", "SO3" or "O3_e3nn".
    irrep_order : how couplings are sorted by their irrep, "cue" or "e3nn"; None: as the group does. MACE sorts as "e3nn".
    convention : signs of the Clebsch-Gordan coefficients, "e3nn05" or "e3nn04" (MACE's files).

    Returns
    -------
    Descriptor of (weight, x) -> out. The weight operand has a row [K C] for each element (k, then u); give the elements as
    its index.

    Raises
    ------
    ValueError, if multiplicities differ or the degree is not 1 to 4.

    >>> d = symmetric_contraction("4x0e + 4x1o", "4x0e", 2, group="O3_e3nn")
    >>> d.weight_numel  # (2 couplings of degree 2, 1 of degree 1) x 4 channels
    12
    """
    one, out = _both_irreps(irreps_in, irreps_out, group)
    degree = _degree(degree)
    made = full_couplings if original_mace else _reduced
    blocks = {}
    for o, (_, ir) in enumerate(out):
        for nu in range(1, degree + 1):
            blocks[nu, o] = made(one, ir, nu, order=irrep_order, convention=convention)
    count = sum(ir.dim for _, ir in one)
    tables: dict[int, list[Table]] = {nu: [] for nu in range(1, degree + 1)}
    places = np.cumsum([0] + [ir.dim for _, ir in out])
    rows = 0
    for nu, o in _weight_order(degree, len(out), original_mace):
        u = blocks[nu, o]
        k, m, mono = np.nonzero(u)
        indices = np.concatenate([(k + rows)[:, None], monomials(count, nu)[mono], (m + places[o])[:, None]], axis=1)
        tables[nu].append((indices, u[k, m, mono]))
        rows += len(u)
    return symmetric_contraction_from_tables(one, out, _joined(tables), num_weights=rows, layout=layout)


def _joined(tables: dict[int, list[Table]]) -> list[Table]:
    """One table a degree."""
    return [
        (np.concatenate([i for i, _ in t]), np.concatenate([v for _, v in t])) for _, t in sorted(tables.items()) if t
    ]


def _reduced(*args: Any, **options: Any) -> np.ndarray:
    return reduced_couplings(*args, **options)[0]


def _weight_order(degree: int, outputs: int, original_mace: bool) -> Iterable[tuple[int, int]]:
    """(nu, output term) in the order of the weight rows."""
    if original_mace:
        return [(nu, o) for o in range(outputs) for nu in range(degree, 0, -1)]
    return itertools.product(range(1, degree + 1), range(outputs))


def symmetric_contraction_projection(
    irreps_in: Any,
    irreps_out: Any,
    degree: int,
    *,
    group: str | None = None,
    irrep_order: str | None = None,
    convention: str = "e3nn05",
) -> np.ndarray:
    """[K, K'] weights of the reduced couplings that equal given weights of all: reduced[b] = sum_a full[a] p[a, b].

    Parameters as in :func:`~valence.equivariant.symmetric_contraction`. The independent couplings are those that
    Gram-Schmidt keeps of all nested ones, in their order, on cuEquivariance's scale.

    >>> symmetric_contraction_projection("2x0e + 2x1o", "2x0e + 2x1o", 2, group="O3_e3nn").shape
    (6, 5)
    """
    one, out = _both_irreps(irreps_in, irreps_out, group)
    degree = _degree(degree)
    blocks = {
        (nu, o): reduced_couplings(one, ir, nu, order=irrep_order, convention=convention)[1]
        for o, (_, ir) in enumerate(out)
        for nu in range(1, degree + 1)
    }
    starts: list[dict[tuple[int, int], int]] = []
    for side, original in enumerate((True, False)):
        place, found = 0, {}
        for key in _weight_order(degree, len(out), original):
            found[key] = place
            place += blocks[key].shape[side]
        starts.append(found)
    whole = np.zeros([sum(b.shape[side] for b in blocks.values()) for side in (0, 1)])
    for key, block in blocks.items():
        a, b = starts[0][key], starts[1][key]
        whole[a : a + block.shape[0], b : b + block.shape[1]] = block
    return whole


def symmetric_contraction_from_tables(
    irreps_in: Any,
    irreps_out: Any,
    tables: Sequence[Table],
    *,
    num_weights: int | None = None,
    layout: Any = "mul_ir",
    group: str | None = None,
) -> Descriptor:
    """The symmetric contraction with explicit couplings, such as those that a file carries with its weights.

    out[n,u,o] = sum over all entries of coefficient w[z_n, row, u] prod_q x[n,u,i_q]

    Parameters
    ----------
    irreps_in, irreps_out : of x and the result, all of the same multiplicity.
    tables : (indices [n, nu + 2], coefficients [n]) for each degree nu, at most 6: an entry is (row, i_1, …, i_nu, o);
        i and o count the components of one channel over the irreps in order.
    num_weights : weight rows an element; None: as many as the entries name.
    layout, group : as in :func:`~valence.equivariant.symmetric_contraction`.

    Entries that differ by the order of their i are one polynomial term: they are added, and dropped where they cancel.
    """
    one, out = _both_irreps(irreps_in, irreps_out, group)
    layouts = (layout, layout) if isinstance(layout, str) else tuple(layout)
    if len(layouts) != 2:
        raise ValueError(f"`layout` must be one name or 2 of them, got {layout!r}")
    features = (_components("x", one, layouts[0]), _components("out", out, layouts[1]))
    found = []
    for indices, coefficients in tables:
        indices, coefficients = np.asarray(indices, np.int64), np.asarray(coefficients, np.float64)
        if indices.ndim != 2 or not 3 <= indices.shape[1] <= 8 or coefficients.shape != indices.shape[:1]:
            raise ValueError(
                f"`tables` must be pairs ([n, nu + 2], [n]), got {list(indices.shape)} and {list(coefficients.shape)}"
            )
        found.append((indices, coefficients))
    named = 1 + max((int(i[:, 0].max()) for i, _ in found if len(i)), default=-1)
    rows = named if num_weights is None else num_weights
    channels = one[0][0] if len(one) else 0
    weight = Operand("weight", rows * channels, tuple(Segment.dense(k * channels, (channels,)) for k in range(rows)))
    products = []
    for indices, coefficients in found:
        nu = indices.shape[1] - 2
        limits = [rows, *[len(features[0].segments)] * nu, len(features[1].segments)]
        wrong = np.flatnonzero(((indices < 0) | (indices >= limits)).any(axis=1))
        if len(wrong):
            raise ValueError(
                f"`tables` must have indices below {limits}, got {indices[wrong[0]].tolist()} in row {wrong[0]}"
            )
        segments, sums = _symmetrised(indices, coefficients)
        if len(sums):
            subscripts = ",".join("u" * (nu + 2)) + "+"
            products.append(Product(subscripts, (0, *[1] * nu, 2), segments, sums))
    return Descriptor((weight, *features), tuple(products), "symmetric_contraction")


def _symmetrised(indices: np.ndarray, coefficients: np.ndarray) -> Table:
    """Entries with their i sorted, equal ones added, those that cancel dropped."""
    ordered = indices.copy()
    ordered[:, 1:-1] = np.sort(indices[:, 1:-1], axis=1)
    merged, inverse = np.unique(ordered, axis=0, return_inverse=True)
    sums = np.zeros(len(merged))
    np.add.at(sums, inverse.reshape(-1), coefficients)
    kept = np.abs(sums) > ZERO
    return merged[kept], sums[kept]


def u_matrix_tables(
    irreps_out: Any, u_matrices: Sequence[Sequence[Any]], group: str | None = None
) -> tuple[list[Table], int]:
    """Tables and the number of weight rows for U matrices as MACE's files hold them.

    Parameters
    ----------
    irreps_out : the output irreps, one term for each entry of `u_matrices`.
    u_matrices : for each output term the U of degree 1, 2, …: an array [2l+1, M, …, M, K] (or [M, …, M, K] for l = 0), or
        (index [n, nu + 2], value [n], K) of its nonzero entries with index (m, i_1, …, i_nu, k).

    Returns
    -------
    (tables, num_weights) for :func:`~valence.equivariant.symmetric_contraction_from_tables`. Weight rows are ordered by
    output term, then degree from the largest to 1: MACE's `weights_max`, `weights.0`, … of each contraction, joined.
    """
    out = Irreps(irreps_out, group)
    if len(u_matrices) != len(out):
        raise ValueError(f"`u_matrices` must have an entry for each of {len(out)} output terms, got {len(u_matrices)}")
    tables: dict[int, list[Table]] = {}
    rows = place = 0
    for (_, ir), given in zip(out, u_matrices):
        for nu in range(len(given), 0, -1):
            index, value, count = _nonzero(given[nu - 1], nu, ir.dim)
            m, inner, k = index[:, :1], index[:, 1:-1], index[:, -1:]
            tables.setdefault(nu, []).append((np.concatenate([k + rows, inner, m + place], axis=1), value))
            rows += count
        place += ir.dim
    return _joined(tables), rows


def _nonzero(u: Any, nu: int, dim: int) -> tuple[np.ndarray, np.ndarray, int]:
    if isinstance(u, tuple):
        index, value, count = u
        return np.asarray(index, np.int64).reshape(-1, nu + 2), np.asarray(value, np.float64), int(count)
    u = np.asarray(u, np.float64)
    u = u[None] if dim == 1 and u.ndim == nu + 1 else u
    if u.ndim != nu + 2 or u.shape[0] != dim:
        rule = f"[{dim}, {', '.join('M' * nu)}, K]"
        raise ValueError(f"`u_matrices` must be of shape {rule} at degree {nu}, got {list(u.shape)}")
    at = np.nonzero(u)
    return np.stack(at, axis=1), u[at], u.shape[-1]


def _degree(degree: Any) -> int:
    if isinstance(degree, bool) or not isinstance(degree, (int, np.integer)) or not 1 <= degree <= 4:
        raise ValueError(f"`degree` must be a whole number from 1 to 4, got {degree!r}")
    return int(degree)


def _both_irreps(irreps_in: Any, irreps_out: Any, group: str | None) -> tuple[Irreps, Irreps]:
    one = irreps_of("irreps_in", irreps_in, group)
    out = irreps_of("irreps_out", irreps_out, group or one.group)
    if one.group != out.group:
        raise ValueError(f"`irreps_out` must be of the group {one.group}, got {out.group}")
    muls = {mul for side in (one, out) for mul, _ in side}
    if len(muls) > 1:
        raise ValueError(f"`irreps_in` and `irreps_out` must have one multiplicity, got {one} and {out}")
    return one, out


def _components(name: str, irreps: Irreps, layout: str) -> Operand:
    """A segment [mul] for each component of each irrep."""
    segments = [
        Segment(block.offset + m * block.strides[1], block.shape[:1], block.strides[:1])
        for block in block_segments(irreps, layout)
        for m in range(block.shape[1])
    ]
    return Operand(name, irreps.dim, tuple(segments), irreps, layout)
