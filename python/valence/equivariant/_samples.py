"""Small polynomials and operands for the laws that every op is tested with."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence.equivariant import descriptors
from valence.equivariant.symmetric import symmetric_contraction

_NODES, _SETS = 4, 3


def _modes(text: str) -> tuple[int, ...]:
    """One letter an operand: o(wn), s(hared), i(ndexed)."""
    return tuple("osi".index(c) for c in text)


def variants(count: int) -> tuple[dict[str, Any], ...]:
    """Parameter sets of `polynomial_<count>`."""
    from valence.equivariant.polynomial import Access

    channelwise = descriptors.channelwise_tensor_product("3x0e + 3x1o", "0e + 1o", "0e + 1o")
    turned = descriptors.channelwise_tensor_product("9x0e + 2x1o", "2x0e + 1o", layout="ir_mul")
    full = descriptors.fully_connected_tensor_product("2x0e + 2x1o", "0e + 2x1o", "2x0e + 1x1o")
    linear = descriptors.linear("3x0e + 2x1o + 1x1o", "2x0e + 3x1o + 1x2e")
    cubic = symmetric_contraction("2x0e + 2x1o", "2x0e + 2x1o", 3, group="O3_e3nn")
    turned_cubic = symmetric_contraction("9x0e + 9x1o", "9x1o", 3, layout=("ir_mul", "mul_ir"), original_mace=False)
    quartic = symmetric_contraction("3x1o", "3x0e + 3x2e", 4, original_mace=False)
    chosen: dict[int, list[tuple[Any, str]]] = {
        1: [(descriptors.norm_squared("2x0e + 3x1o"), "oi"), (descriptors.norm_squared("2x0e + 3x1o"), "ii")],
        2: [
            (linear, "soi"),
            (linear, "ioi"),
            (linear, "soo"),
            (linear, "oii"),
            (descriptors.gate_product("2x0e + 3x1o"), "ooi"),
            (descriptors.elementwise_tensor_product("2x0e + 1x1o", "1x1o + 2x0e"), "oii"),
            (cubic, "ioo"),
            (cubic, "soo"),
            (cubic, "oii"),
            (turned_cubic, "ioo"),
            (quartic, "ioo"),
        ],
        3: [(channelwise, "oioi"), (turned, "sooo"), (channelwise, "iisi"), (full, "sooi"), (full, "oiii")],
    }
    return tuple(
        {"descriptor": d, "access": Access(_modes(text), _NODES if text[-1] == "i" else 7)} for d, text in chosen[count]
    )


def sample(count: int, rng: np.random.Generator, rows: int, descriptor: Any, access: Any) -> dict[str, np.ndarray]:
    """Operands of one variant; where the output has no index the number of rows is the variant's own."""
    *modes, last = access.modes
    rows = rows if last == 2 else access.size_out
    found: dict[str, np.ndarray] = {}
    for n, (operand, mode) in enumerate(zip(descriptor.inputs, modes)):
        height = (rows, 1, _SETS)[mode]
        found[f"x{n + 1}"] = rng.normal(size=(height, operand.size))
    for n, mode in enumerate(modes):
        found[f"index_{n + 1}"] = rng.integers(0, _SETS, size=rows if mode == 2 else 0).astype(np.int32)
    found["index_out"] = rng.integers(0, _NODES, size=rows if last == 2 else 0).astype(np.int32)
    return found
