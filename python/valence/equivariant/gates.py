"""What a gate does to its features: which numbers are activated, which multiplied, and what irreps come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from valence.equivariant.descriptor import Descriptor, Segment, block_segments
from valence.equivariant.descriptors import elementwise_tensor_product
from valence.equivariant.irreps import Irrep, Irreps, irreps_of

__all__ = ["PARITY", "SECOND_MOMENT", "GatePlan", "gate_plan", "parity_of"]

#: Factors c with <(c f(z))^2> = 1 for z from the normal distribution. These are e3nn's own (math/normalize2mom: a mean of 10^6
#: draws with a fixed seed, off the integral by about 1e-3), since trained weights go with them.
SECOND_MOMENT = {
    "silu": 1.6791767923989418,
    "tanh": 1.5937334472592695,
    "sigmoid": 1.8467055342154763,
    "gelu": 1.5360642850770578,
    "relu": 1.4163393446331365,
    "abs": 1.001110600838467,
}

#: f(-x) = parity f(x); 0 where neither.
PARITY = {"silu": 0, "tanh": -1, "sigmoid": 0, "gelu": 0, "relu": 0, "abs": 1}


@dataclass(frozen=True, eq=False)
class GatePlan:
    """Where scalars, gates and gated features lie in the input, and the irreps on both sides."""

    irreps_in: Irreps
    irreps_out: Irreps
    scalars: tuple[np.ndarray, ...]
    gates: tuple[np.ndarray, ...]
    gated: np.ndarray
    product: Descriptor


def gate_plan(
    irreps_scalars: Any,
    parity_scalars: Sequence[int | None],
    irreps_gates: Any,
    parity_gates: Sequence[int | None],
    irreps_gated: Any,
    *,
    layout: str = "mul_ir",
    group: str | None = None,
    irrep_order: str | None = None,
) -> GatePlan:
    """The plan of e3nn's `nn.Gate`: out = f(scalars) + (g(gates) times gated), inputs sorted by irrep and joined.

    Parameters
    ----------
    irreps_scalars, irreps_gates : scalars only; one activation for each term.
    parity_scalars, parity_gates : of each activation: 1 even, -1 odd, 0 neither, None no activation.
    irreps_gated : features that are multiplied, as many irreps as there are gates.
    irrep_order : how the input is sorted, "cue" or "e3nn"; None: as the group does.

    Raises
    ------
    ValueError, if the counts differ, an irrep is no scalar, or an odd scalar has an activation of no parity.
    """
    scalars, gates, gated = (
        irreps_of(name, given, group)
        for name, given in (
            ("irreps_scalars", irreps_scalars),
            ("irreps_gates", irreps_gates),
            ("irreps_gated", irreps_gated),
        )
    )
    if gates.num_irreps != gated.num_irreps:
        raise ValueError(f"`irreps_gates` must hold {gated.num_irreps} scalars, one an irrep of {gated}, got {gates}")
    scalars_out = _activated("scalars", scalars, parity_scalars)
    gates_out = _activated("gates", gates, parity_gates)
    product = elementwise_tensor_product(gated.simplify(), gates_out.simplify(), layout=layout)
    assert product.irreps_out is not None
    together = scalars.simplify() + gates.simplify() + gated.simplify()
    ordered, order = together.sort(irrep_order)
    places: list[np.ndarray] = [np.zeros(0, np.int64)] * len(together)
    joined = ordered.simplify()
    blocks = iter(block_segments(joined, layout))
    block, used = None, 0
    for n, (mul, ir) in zip(order, ordered):
        if mul == 0:
            continue
        if block is None or used == block.shape[0]:
            block, used = next(blocks), 0
        piece = Segment(block.offset + used * block.strides[0], (mul, ir.dim), block.strides)
        at = piece.places
        places[n] = (at if layout == "mul_ir" else at.T).reshape(-1)
        used += mul
    a, b = len(scalars.simplify()), len(scalars.simplify()) + len(gates.simplify())
    return GatePlan(
        joined,
        scalars_out + product.irreps_out,
        _split(scalars, places[:a]),
        _split(gates, places[a:b]),
        np.concatenate([np.zeros(0, np.int64), *places[b:]]),
        product,
    )


def _activated(what: str, irreps: Irreps, parities: Sequence[int | None]) -> Irreps:
    """The irreps after the activation of each term."""
    if len(parities) != len(irreps):
        raise ValueError(f"`act_{what}` must be one for each of {len(irreps)} terms of {irreps}, got {len(parities)}")
    found = []
    for (mul, ir), parity in zip(irreps, parities):
        if ir.l != 0:
            raise ValueError(f"`irreps_{what}` must be scalars, got {irreps}")
        if parity is None or ir.p != -1:
            found.append((mul, ir))
        elif parity == 0:
            raise ValueError(f"`act_{what}` must be even or odd for odd scalars, got neither for {mul}x{ir}")
        else:
            found.append((mul, Irrep(0, parity)))
    return Irreps(found, irreps.group)


def _split(irreps: Irreps, places: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The places of simplified scalars, cut into the terms as written."""
    flat = np.concatenate([np.zeros(0, np.int64), *places])
    return tuple(np.split(flat, np.cumsum([mul for mul, _ in irreps])[:-1])) if len(irreps) else ()


def parity_of(function: Callable[[np.ndarray], np.ndarray]) -> int:
    """1 if even, -1 if odd, 0 if neither, by its values at 256 points of [0, 10]."""
    x = np.linspace(0, 10, 256)
    forward, backward = np.asarray(function(x)), np.asarray(function(-x))
    if np.abs(forward - backward).max() < 1e-5:
        return 1
    return -1 if np.abs(forward + backward).max() < 1e-5 else 0
