"""The polynomials of equivariant networks as descriptors: which irreps meet, with which coefficients and weights."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from valence.equivariant.coupling import clebsch_gordan
from valence.equivariant.descriptor import Descriptor, Operand, Product, Segment, block_segments
from valence.equivariant.irreps import Irrep, Irreps, irreps_of

__all__ = [
    "channelwise_tensor_product",
    "elementwise_tensor_product",
    "fully_connected_tensor_product",
    "gate_product",
    "linear",
    "norm_squared",
]


def _features(name: str, irreps: Irreps, layout: str) -> Operand:
    return Operand(name, irreps.dim, block_segments(irreps, layout), irreps, layout)


def _weights(shapes: list[tuple[int, ...]]) -> Operand:
    segments, size = [], 0
    for shape in shapes:
        segments.append(Segment.dense(size, shape))
        size += math.prod(shape)
    return Operand("weight", size, tuple(segments))


def _layouts(layout: Any, count: int) -> tuple[str, ...]:
    layouts = (layout,) * count if isinstance(layout, str) else tuple(layout)
    if len(layouts) != count:
        raise ValueError(f"`layout` must be one name or {count} of them, got {layout!r}")
    return layouts


def _paths(rows: list[tuple[int, ...]], factors: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, factors)


def _same_group(a: Irreps, b: Irreps) -> None:
    if a.group != b.group:
        raise ValueError(f"`irreps2` must be of the group {a.group}, got {b.group}")


def channelwise_tensor_product(
    irreps1: Any,
    irreps2: Any,
    irreps_out: Any = None,
    *,
    layout: Any = "mul_ir",
    group: str | None = None,
    irrep_order: str | None = None,
    convention: str = "e3nn05",
    weights: bool = True,
) -> Descriptor:
    """Every channel of x with every channel of y: out_p[u,v,k] = W_p[u,v] sum_ij C[i,j,k] x_a[u,i] y_b[v,j].

    Parameters
    ----------
    irreps1, irreps2 : of x and y.
    irreps_out : which irreps the result keeps (their multiplicities say nothing); None: all.
    layout : "mul_ir" or "ir_mul", one for all or three: of x, y and the result.
    group : of irreps given as text, "O3", "SO3" or "O3_e3nn".
    irrep_order : how paths are sorted by their irrep, "cue" or "e3nn"; None: as the group does.
    convention : signs of the coefficients, "e3nn05" or "e3nn04".
    weights : without, every W is 1 and there is no weight operand.

    Returns
    -------
    Descriptor of (weight, x, y) -> out. The result has a term of multiplicity mul1 mul2 for each path, stably sorted by
    irrep; weights lie in the order of the terms.

    >>> channelwise_tensor_product("4x0e + 4x1o", "0e + 1o", "0e + 1o").irreps_out
    Irreps('4x0e + 4x0e + 4x1o + 4x1o', group='O3')
    """
    one, two = irreps_of("irreps1", irreps1, group), irreps_of("irreps2", irreps2, group)
    _same_group(one, two)
    keep = None if irreps_out is None else {ir for _, ir in irreps_of("irreps_out", irreps_out, group or one.group)}
    found = [
        (a, b, ir)
        for a, (_, ir1) in enumerate(one)
        for b, (_, ir2) in enumerate(two)
        for ir in ir1 * ir2
        if keep is None or ir in keep
    ]
    terms = Irreps([(one[a][0] * two[b][0], ir) for a, b, ir in found], one.group)
    out, order = terms.sort(irrep_order)
    found = [found[n] for n in order]
    first, second, last = _layouts(layout, 3)
    shapes = [(one[a][0], two[b][0]) for a, b, _ in found]
    blocks = []
    for (u, v), (_, ir), place in zip(shapes, out, out.slices):
        strides = (v * ir.dim, ir.dim, 1) if last == "mul_ir" else (v, 1, u * v)
        blocks.append(Segment(place.start, (u, v, ir.dim), strides))
    block_segments(out, last)  # refuses an unknown layout
    operands = [
        _features("x", one, first),
        _features("y", two, second),
        Operand("out", out.dim, tuple(blocks), out, last),
    ]
    coefficients = [clebsch_gordan(one[a][1].l, two[b][1].l, ir.l, convention=convention) for a, b, ir in found]
    if not weights:
        rows = _paths([(a, b, p) for p, (a, b, _) in enumerate(found)], 3)
        product = Product("ui,vj,uvk+ijk", (0, 1, 2), rows, coefficients)
        return Descriptor(tuple(operands), (product,), "channelwise_tensor_product")
    rows = _paths([(p, a, b, p) for p, (a, b, _) in enumerate(found)], 4)
    product = Product("uv,ui,vj,uvk+ijk", (0, 1, 2, 3), rows, coefficients)
    return Descriptor((_weights(shapes), *operands), (product,), "channelwise_tensor_product")


def fully_connected_tensor_product(
    irreps1: Any,
    irreps2: Any,
    irreps_out: Any,
    *,
    layout: Any = "mul_ir",
    group: str | None = None,
    convention: str = "e3nn05",
) -> Descriptor:
    """out_c[w,k] = alpha_c sum_{a,b,u,v} W[u,v,w] sum_ij C[i,j,k] x_a[u,i] y_b[v,j], alpha_c = (sum_{a,b} mul_a mul_b)^(-1/2).

    Parameters as in :func:`channelwise_tensor_product`; `irreps_out` has the result's multiplicities. Weight blocks
    [mul_a, mul_b, mul_c] for a, b, c in this order.
    """
    one, two = irreps_of("irreps1", irreps1, group), irreps_of("irreps2", irreps2, group)
    _same_group(one, two)
    out = irreps_of("irreps_out", irreps_out, group or one.group)
    first, second, last = _layouts(layout, 3)
    found = [
        (a, b, c)
        for a, (_, ir1) in enumerate(one)
        for b, (_, ir2) in enumerate(two)
        for c, (_, ir) in enumerate(out)
        if ir in set(ir1 * ir2)
    ]
    fan = [sum(one[a][0] * two[b][0] for a, b, n in found if n == c) for c in range(len(out))]
    coefficients = [
        clebsch_gordan(one[a][1].l, two[b][1].l, out[c][1].l, convention=convention) / math.sqrt(fan[c] or 1)
        for a, b, c in found
    ]
    weights = _weights([(one[a][0], two[b][0], out[c][0]) for a, b, c in found])
    operands = (weights, _features("x", one, first), _features("y", two, second), _features("out", out, last))
    rows = _paths([(p, a, b, c) for p, (a, b, c) in enumerate(found)], 4)
    product = Product("uvw,ui,vj,wk+ijk", (0, 1, 2, 3), rows, coefficients)
    return Descriptor(operands, (product,), "fully_connected_tensor_product")


def linear(irreps_in: Any, irreps_out: Any, *, layout: Any = "mul_ir", group: str | None = None) -> Descriptor:
    """Mixes channels of equal irreps: out_o[w,m] = sum_i sum_u W_io[u,w] x_i[u,m] / sqrt(F_o), F_o = sum of mul_i into o.

    Weight blocks [mul_i, mul_o] for i, then o. An output irrep that no input has is zero. With an index of the weight operand
    each row chooses its weights, such as a set per chemical element.
    """
    one = irreps_of("irreps_in", irreps_in, group)
    out = irreps_of("irreps_out", irreps_out, group or one.group)
    if one.group != out.group:
        raise ValueError(f"`irreps_out` must be of the group {one.group}, got {out.group}")
    first, last = _layouts(layout, 2)
    found = [(i, o) for i, (_, a) in enumerate(one) for o, (_, b) in enumerate(out) if a == b]
    fan = [sum(one[i][0] for i, n in found if n == o) for o in range(len(out))]
    weights = _weights([(one[i][0], out[o][0]) for i, o in found])
    rows = _paths([(p, i, o) for p, (i, o) in enumerate(found)], 3)
    coefficients = [np.eye(out[o][1].dim) / math.sqrt(fan[o] or 1) for _, o in found]
    product = Product("uw,um,wn+mn", (0, 1, 2), rows, coefficients)
    return Descriptor((weights, _features("x", one, first), _features("out", out, last)), (product,), "linear")


def elementwise_tensor_product(
    irreps1: Any,
    irreps2: Any,
    irreps_out: Any = None,
    *,
    layout: Any = "mul_ir",
    group: str | None = None,
    convention: str = "e3nn05",
) -> Descriptor:
    """Channel u of x with channel u of y: out_p[u,k] = sum_ij C[i,j,k] x_a[u,i] y_b[u,j].

    Both must have the same multiplicities once their terms are cut to match; the result has one term per path, unsorted.
    """
    one, two = irreps_of("irreps1", irreps1, group), irreps_of("irreps2", irreps2, group)
    _same_group(one, two)
    keep = None if irreps_out is None else {ir for _, ir in irreps_of("irreps_out", irreps_out, group or one.group)}
    if one.num_irreps != two.num_irreps:
        raise ValueError(f"`irreps2` must have {one.num_irreps} channels as `irreps1` has, got {two.num_irreps}")
    first, second, last = _layouts(layout, 3)
    pieces_1, pieces_2 = _cut(one, two, first), _cut(two, one, second)
    found = [
        (n, ir)
        for n, ((_, ir1), (_, ir2)) in enumerate(zip(pieces_1, pieces_2))
        for ir in ir1 * ir2
        if keep is None or ir in keep
    ]
    out = Irreps([(pieces_1[n][0].shape[0], ir) for n, ir in found], one.group)
    coefficients = [clebsch_gordan(pieces_1[n][1].l, pieces_2[n][1].l, ir.l, convention=convention) for n, ir in found]
    operands = (
        Operand("x", one.dim, tuple(s for s, _ in pieces_1), one, first),
        Operand("y", two.dim, tuple(s for s, _ in pieces_2), two, second),
        _features("out", out, last),
    )
    rows = _paths([(n, n, p) for p, (n, _) in enumerate(found)], 3)
    return Descriptor(operands, (Product("ui,uj,uk+ijk", (0, 1, 2), rows, coefficients),), "elementwise_tensor_product")


def _cut(irreps: Irreps, other: Irreps, layout: str) -> list[tuple[Segment, Irrep]]:
    """The terms cut where either list changes its irrep."""
    edges = sorted({int(n) for side in (irreps, other) for n in np.cumsum([mul for mul, _ in side])} | {0})
    pieces, begin = [], 0
    for (mul, ir), segment in zip(irreps, block_segments(irreps, layout)):
        for a, b in itertools.pairwise(edges):
            if begin <= a and b <= begin + mul:
                offset = segment.offset + (a - begin) * segment.strides[0]
                pieces.append((Segment(offset, (b - a, ir.dim), segment.strides), ir))
        begin += mul
    return pieces


def norm_squared(irreps: Any, *, layout: str = "mul_ir", group: str | None = None) -> Descriptor:
    """The sum of squares of each irrep: out[u] = sum_m x[u,m]^2, one scalar for every channel."""
    one = irreps_of("irreps", irreps, group)
    scalar = Irrep(0, 0 if one.group == "SO3" else 1)
    out = Irreps([(mul, scalar) for mul, _ in one], one.group)
    segments = tuple(Segment.dense(place.start, (mul,)) for (mul, _), place in zip(out, out.slices))
    operands = (_features("x", one, layout), Operand("out", out.dim, segments, out, layout))
    rows = _paths([(n, n, n) for n in range(len(one))], 3)
    coefficients = [np.eye(ir.dim) for _, ir in one]
    return Descriptor(operands, (Product("um,un,u+mn", (0, 0, 1), rows, coefficients),), "norm_squared")


def gate_product(irreps_gated: Any, *, layout: str = "mul_ir", group: str | None = None) -> Descriptor:
    """Features times a scalar per channel: out[u,m] = g[u] x[u,m]; operands (gates, x)."""
    one = irreps_of("irreps_gated", irreps_gated, group)
    scalar = Irrep(0, 0 if one.group == "SO3" else 1)
    gates = Irreps([(mul, scalar) for mul, _ in one], one.group)
    segments = tuple(Segment.dense(place.start, (mul,)) for (mul, _), place in zip(gates, gates.slices))
    operands = (
        Operand("gates", gates.dim, segments, gates, layout),
        _features("x", one, layout),
        _features("out", one, layout),
    )
    rows = _paths([(n, n, n) for n in range(len(one))], 3)
    product = Product("u,um,un+mn", (0, 1, 2), rows, [np.eye(ir.dim) for _, ir in one])
    return Descriptor(operands, (product,), "gate_product")
