"""Tensor products path by path, as e3nn's instructions describe them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from valence.equivariant.coupling import clebsch_gordan
from valence.equivariant.descriptor import Descriptor, Operand, Product, Segment, block_segments
from valence.equivariant.irreps import Irreps

__all__ = ["instructed_tensor_product"]

#: Mode -> letters of (weight, x, y, out), and which multiplicities a path sums over ("u" and "v").
_MODES = {
    "uvw": ("uvw", "u", "v", "w", "uv"),
    "uvu": ("uv", "u", "v", "u", "v"),
    "uvv": ("uv", "u", "v", "v", "u"),
    "uuw": ("uw", "u", "u", "w", "u"),
    "uuu": ("u", "u", "u", "u", ""),
    "uvuv": ("uv", "u", "v", "uv", ""),
}


def instructed_tensor_product(
    irreps1: Any,
    irreps2: Any,
    irreps_out: Any,
    instructions: Sequence[tuple],
    *,
    layout: Any = "mul_ir",
    group: str | None = None,
    convention: str = "e3nn05",
) -> Descriptor:
    """A sum of chosen paths: out_c += a W x_a y_b C for each instruction, with e3nn's normalisation.

    Parameters
    ----------
    irreps1, irreps2, irreps_out : of x, y and the result.
    instructions : (a, b, c, mode, has_weight[, path_weight]) for each path: terms a of x and b of y go to term c of the
        result; mode "uvw", "uvu", "uvv", "uuw", "uuu" or "uvuv" says which channels meet (e3nn's `o3.TensorProduct`).
    layout : "mul_ir" or "ir_mul", one for all or three.
    group, convention : as in :func:`~valence.equivariant.channelwise_tensor_product`.

    Returns
    -------
    Descriptor of ([weight,] x, y) -> out; weight blocks in the order of the instructions that have one. A path's factor is
    (path_weight / number of products summed into c)^(1/2): "component" and "element" in e3nn's words.

    >>> d = instructed_tensor_product("4x0e + 4x1o", "1o", "4x1o", [(0, 0, 0, "uvu", True)])
    >>> d.weight_numel
    4
    """
    one, two = Irreps(irreps1, group), Irreps(irreps2, group)
    out = Irreps(irreps_out, group or one.group)
    if not one.group == two.group == out.group:
        raise ValueError(
            f"`irreps2` and `irreps_out` must be of the group {one.group}, got {two.group} and {out.group}"
        )
    layouts = (layout,) * 3 if isinstance(layout, str) else tuple(layout)
    rows = [_instruction(n, row, one, two, out) for n, row in enumerate(instructions)]
    sums = [0] * len(out)
    for a, b, c, mode, _, _ in rows:
        sums[c] += _summed(mode, one[a][0], two[b][0])
    weights: list[Segment] = []
    results: list[Segment] = []
    size, found = 0, []
    for a, b, c, mode, has_weight, path_weight in rows:
        (mul1, ir1), (mul2, ir2), (mul, ir) = one[a], two[b], out[c]
        letters = _MODES[mode]
        sizes = {"u": mul1, "v": mul2, "w": mul}
        block = block_segments(out, layouts[2])[c]
        if mode == "uvuv":
            step, inner = block.strides
            block = Segment(block.offset, (mul1, mul2, ir.dim), (mul2 * step, step, inner))
        results.append(block)
        factor = clebsch_gordan(ir1.l, ir2.l, ir.l, convention=convention) * math.sqrt(path_weight / (sums[c] or 1))
        text = f"{letters[1]}i,{letters[2]}j,{letters[3]}k+ijk"
        path = [a, b, len(results) - 1]
        if has_weight:
            shape = tuple(sizes[n] for n in letters[0])
            weights.append(Segment.dense(size, shape))
            size += math.prod(shape)
            text, path = f"{letters[0]},{text}", [len(weights) - 1, *path]
        found.append((text, path, factor))
    features = (
        Operand("x", one.dim, block_segments(one, layouts[0]), one, layouts[0]),
        Operand("y", two.dim, block_segments(two, layouts[1]), two, layouts[1]),
        Operand("out", out.dim, tuple(results), out, layouts[2]),
    )
    lead = (Operand("weight", size, tuple(weights)),) if weights else ()
    products = []
    for text in dict.fromkeys(t for t, _, _ in found):
        chosen = [(path, factor) for t, path, factor in found if t == text]
        count = len(chosen[0][0])
        operands = tuple(range(len(lead) + 3))[-count:]
        products.append(Product(text, operands, np.array([p for p, _ in chosen]), [f for _, f in chosen]))
    return Descriptor((*lead, *features), tuple(products), "tensor_product")


def _summed(mode: str, mul1: int, mul2: int) -> int:
    """How many products of channels one value of the result is the sum of."""
    return math.prod({"u": mul1, "v": mul2}[n] for n in _MODES[mode][4])


def _instruction(n: int, row: tuple, one: Irreps, two: Irreps, out: Irreps) -> tuple:
    if len(row) not in (5, 6):
        raise ValueError(f"`instructions` must be (a, b, c, mode, has_weight[, path_weight]), got {row} in row {n}")
    a, b, c, mode, has_weight = row[:5]
    path_weight = float(row[5]) if len(row) == 6 else 1.0
    for place, irreps in ((a, one), (b, two), (c, out)):
        if not 0 <= place < len(irreps):
            raise ValueError(
                f"`instructions` must name terms in [0, {len(irreps)}) of {irreps}, got {place} in row {n}"
            )
    if mode not in _MODES:
        raise ValueError(f"`instructions` must have a mode of {', '.join(_MODES)}, got {mode!r} in row {n}")
    (mul1, ir1), (mul2, ir2), (mul, ir) = one[a], two[b], out[c]
    if ir not in set(ir1 * ir2):
        raise ValueError(
            f"`instructions` must be paths that parity and degree allow, got {ir1} x {ir2} -> {ir} in row {n}"
        )
    allowed = {"uvw": True, "uvu": mul == mul1, "uvv": mul == mul2, "uuw": mul1 == mul2, "uvuv": mul == mul1 * mul2}
    if not allowed.get(mode, mul1 == mul2 == mul):
        raise ValueError(
            f"`instructions` must have multiplicities that fit {mode}, got {mul1}, {mul2} -> {mul} in row {n}"
        )
    if not path_weight >= 0:
        raise ValueError(f"`instructions` must have a path weight of at least 0, got {path_weight} in row {n}")
    return a, b, c, mode, bool(has_weight), path_weight
