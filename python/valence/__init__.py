"""Valence: atoms in, tables of edges, features, energies and forces out.

Importing this package needs NumPy alone. Every public name is loaded at its first use, and what needs another package
(polars, pydantic, ase, torch, jax, matplotlib) asks for it then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from valence._native import get_num_threads, set_num_threads
from valence._stages import time_stages

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_HOME = {
    **dict.fromkeys(
        ["Systems", "Molecule", "as_systems", "concat", "read", "iread", "write", "samples"],
        "valence.atoms",
    ),
    **dict.fromkeys(
        [
            "AdaptiveNeighborMatrix",
            "Edges",
            "NeighborList",
            "edge_length",
            "edge_vectors",
            "find_edges",
            "neighbor_list",
            "neighbor_matrix",
            "wrap",
        ],
        "valence.edges",
    ),
    **dict.fromkeys(["RadialBasis", "cutoff_envelope", "spherical_harmonics"], "valence.basis"),
    **dict.fromkeys(
        [
            "Irreps",
            "clebsch_gordan",
            "fused_message_passing",
            "fused_sh_tp_simple",
            "tensor_product",
            "tensor_product_simple",
            "tp_num_paths",
            "tp_path_info",
            "wigner_3j",
            "wigner_d",
        ],
        "valence.equivariant",
    ),
    **dict.fromkeys(["Committee", "load"], "valence.model"),
    **dict.fromkeys(["AniSoap", "Soap"], "valence.descriptors"),
    "MolecularBatch": "valence.model.molecules",
    "ValenceEngine": "valence.model.engine",
}
_MODULES = ("atoms", "basis", "bench", "cuda", "descriptors", "edges", "equivariant", "model", "train")

if TYPE_CHECKING:
    from valence.atoms import Molecule, Systems, as_systems, concat, iread, read, samples, write
    from valence.basis import RadialBasis, cutoff_envelope, spherical_harmonics
    from valence.descriptors import AniSoap, Soap
    from valence.edges import (
        AdaptiveNeighborMatrix,
        Edges,
        NeighborList,
        edge_length,
        edge_vectors,
        find_edges,
        neighbor_list,
        neighbor_matrix,
        wrap,
    )
    from valence.equivariant import (
        Irreps,
        clebsch_gordan,
        fused_message_passing,
        fused_sh_tp_simple,
        tensor_product,
        tensor_product_simple,
        tp_num_paths,
        tp_path_info,
        wigner_3j,
        wigner_d,
    )
    from valence.model import Committee, load
    from valence.model.engine import ValenceEngine
    from valence.model.molecules import MolecularBatch

__all__ = [
    "AdaptiveNeighborMatrix",
    "AniSoap",
    "Committee",
    "Edges",
    "Irreps",
    "MolecularBatch",
    "Molecule",
    "NeighborList",
    "RadialBasis",
    "Soap",
    "Systems",
    "ValenceEngine",
    "as_systems",
    "clebsch_gordan",
    "concat",
    "cutoff_envelope",
    "edge_length",
    "edge_vectors",
    "find_edges",
    "fused_message_passing",
    "fused_sh_tp_simple",
    "get_num_threads",
    "iread",
    "load",
    "neighbor_list",
    "neighbor_matrix",
    "read",
    "samples",
    "set_num_threads",
    "spherical_harmonics",
    "tensor_product",
    "tensor_product_simple",
    "time_stages",
    "tp_num_paths",
    "tp_path_info",
    "wigner_3j",
    "wigner_d",
    "wrap",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"valence.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
