"""What the layers of torch and JAX share: argument names of users on descriptors, layouts, which weights there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from valence.equivariant.descriptor import LAYOUTS, Descriptor
from valence.equivariant.descriptors import (
    channelwise_tensor_product,
    fully_connected_tensor_product,
    linear,
)
from valence.equivariant.instructions import instructed_tensor_product
from valence.equivariant.irreps import Irreps, irreps_of

__all__ = [
    "channel_wise",
    "contraction_weights",
    "degrees",
    "fully_connected",
    "internal",
    "joined",
    "layout_of",
    "mixing",
    "named",
    "own_weights",
    "product_of",
    "rows_of_weights",
]


def layout_of(name: str, *given: Any) -> str:
    """The first layout that is given, else "mul_ir"; an object counts by its `name` or text."""
    for layout in given:
        if layout is not None:
            text = layout if isinstance(layout, str) else getattr(layout, "name", layout)
            if text not in LAYOUTS:
                raise ValueError(f"`{name}` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
            return text
    return LAYOUTS[0]


def named(descriptor: Descriptor, *names: str) -> Descriptor:
    """The descriptor with operands called as the layer's arguments are, for messages."""
    operands = tuple(replace(o, name=n) for o, n in zip(descriptor.operands, names, strict=True))
    return Descriptor(operands, descriptor.products, descriptor.kind)


def _two(irreps_in1: Any, irreps_in2: Any, group: str | None) -> tuple[Irreps, Irreps]:
    return irreps_of("irreps_in1", irreps_in1, group), irreps_of("irreps_in2", irreps_in2, group)


def channel_wise(
    irreps_in1: Any, irreps_in2: Any, keep: Any, layouts: Sequence[str], group: Any, order: Any, convention: str
) -> Descriptor:
    one, two = _two(irreps_in1, irreps_in2, group)
    if keep is not None and not isinstance(keep, (str, Irreps)):
        keep = Irreps([k if _is_pair(k) else (1, k) for k in keep], group or one.group)
    made = channelwise_tensor_product(
        one, two, keep, layout=layouts, group=group, irrep_order=order, convention=convention
    )
    return named(made, "weight", "x1", "x2", "out")


def _is_pair(term: Any) -> bool:
    """(mul, irrep), not an irrep (l, p)."""
    return isinstance(term, tuple) and len(term) == 2 and not isinstance(term[1], int)


def fully_connected(
    irreps_in1: Any, irreps_in2: Any, irreps_out: Any, layouts: Sequence[str], group: Any, convention: str
) -> Descriptor:
    one, two = _two(irreps_in1, irreps_in2, group)
    made = fully_connected_tensor_product(one, two, irreps_out, layout=layouts, group=group, convention=convention)
    return named(made, "weight", "x1", "x2", "out")


def mixing(irreps_in: Any, irreps_out: Any, layouts: Sequence[str], group: Any) -> Descriptor:
    return named(linear(irreps_in, irreps_out, layout=layouts, group=group), "weight", "x", "out")


def product_of(
    descriptor: Any,
    irreps_in2: Any,
    irreps_out: Any,
    instructions: Sequence[tuple] | None,
    layouts: Sequence[str],
    group: Any,
    convention: str,
) -> Descriptor:
    """A descriptor given as such or by irreps and instructions."""
    if not isinstance(descriptor, Descriptor):
        if instructions is None:
            raise ValueError("`instructions` must be given with irreps, got None")
        descriptor = instructed_tensor_product(
            descriptor, irreps_in2, irreps_out, instructions, layout=layouts, group=group, convention=convention
        )
    weighted = descriptor.operands[0].name == "weight"
    features = len(descriptor.inputs) - weighted
    if features not in (1, 2):
        raise ValueError(f"`descriptor` must have one or two inputs beside the weights, got {features}")
    names = [*["weight"] * weighted, "x1", "x2"][: len(descriptor.inputs)]
    return named(descriptor, *names, "out")


def contraction_weights(made: Descriptor, num_elements: Any) -> tuple[int, int]:
    """[K, C] of the weights of one element."""
    if isinstance(num_elements, bool) or not isinstance(num_elements, int) or num_elements < 1:
        raise ValueError(f"`num_elements` must be a whole number of at least 1, got {num_elements!r}")
    irreps = made.operands[1].irreps
    channels = irreps[0][0] if irreps else 0
    return (made.weight_numel // channels if channels else 0, channels)


def degrees(ls: Any) -> tuple[int, ...]:
    found = (ls,) if isinstance(ls, int) else tuple(ls)
    if not found or found != tuple(sorted(set(found))) or found[0] < 0:
        raise ValueError(f"`ls` must be increasing degrees, got {ls}")
    return found


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Index arrays end to end; none of them is an empty one."""
    return np.concatenate([np.zeros(0, np.int64), *parts])


def internal(shared_weights: bool, internal_weights: bool | None) -> bool:
    """Whether the layer has weights of its own."""
    if internal_weights and not shared_weights:
        raise ValueError("`internal_weights` must be False where `shared_weights` is, got True")
    return shared_weights if internal_weights is None else bool(internal_weights)


def own_weights(own: Any, given: Any) -> Any:
    """The weights to use: the layer's own or those of the call, never both, never none."""
    if own is not None and given is not None:
        raise ValueError("`weight` must be None for a layer with weights of its own, got an array")
    if own is None and given is None:
        raise ValueError("`weight` must be given to a layer without weights of its own, got None")
    return given if own is None else own


def rows_of_weights(weight: Any, numel: int, shared: bool, classes: int = 1) -> Any:
    """Weights (numel,), (1, numel) or (rows, numel) as [rows, numel]."""
    if weight.ndim == 1:
        weight = weight[None]
    if weight.ndim != 2 or weight.shape[1] != numel or (shared and weight.shape[0] != classes):
        rows = str(classes) if shared else "rows"
        plain = f"[{numel}] or " if not shared or classes == 1 else ""
        raise ValueError(f"`weight` must be of shape {plain}[{rows}, {numel}], got {list(weight.shape)}")
    return weight
