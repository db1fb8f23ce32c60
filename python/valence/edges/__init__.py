"""Neighbor lists, periodic images, edge vectors and distances, and their derivatives."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finding import find_edges, neighbor_list, release_memory, search
    from .matrix import AdaptiveNeighborMatrix, NeighborMatrix, neighbor_matrix
    from .ops import edge_length, edge_vectors
    from .result import Edges
    from .skin import NeighborList
    from .strain import atomic_virial, strain_gradient, stress
    from .wrapping import wrap

_HOME = {
    **dict.fromkeys(["AdaptiveNeighborMatrix", "NeighborMatrix", "neighbor_matrix"], "matrix"),
    **dict.fromkeys(["edge_length", "edge_vectors"], "ops"),
    "Edges": "result",
    **dict.fromkeys(["find_edges", "neighbor_list", "release_memory", "search"], "finding"),
    "NeighborList": "skin",
    **dict.fromkeys(["atomic_virial", "strain_gradient", "stress"], "strain"),
    "wrap": "wrapping",
}

__all__ = [
    "AdaptiveNeighborMatrix",
    "Edges",
    "NeighborList",
    "NeighborMatrix",
    "atomic_virial",
    "edge_length",
    "edge_vectors",
    "find_edges",
    "neighbor_list",
    "neighbor_matrix",
    "release_memory",
    "search",
    "strain_gradient",
    "stress",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    globals()[name] = value = getattr(module, name)
    return value
