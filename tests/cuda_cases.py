"""Operands for the ops that have GPU kernels."""

from __future__ import annotations

import numpy as np
from valence.equivariant import tp_num_paths


def operands(op, static, given, rng, dtype):
    """Those of the root op as given, cotangents at random."""
    known = dict(static.sizes)
    for name, declared in op.inputs.items():
        if name in given:
            known.update((d, n) for d, n in zip(declared.dims.split(), given[name].shape) if not d.isdigit())
    made = []
    for name, declared in op.inputs.items():
        if name in given:
            made.append(given[name].astype(dtype if declared.kind == "real" else np.int32))
        else:
            shape = [int(d) if d.isdigit() else known[d] for d in declared.dims.split()]
            made.append(rng.normal(size=shape).astype(dtype))
    return made


def vectors(rng, rows):
    made = rng.normal(size=(rows, 3))
    if rows > 5:
        made[5] = 0.0
    return {"vector": made}


def products(rng, rows, lmax, c, d):
    l1, l2, _ = lmax
    return {
        "x": rng.normal(size=(rows, c, (l1 + 1) ** 2)),
        "y": rng.normal(size=(rows, (l2 + 1) ** 2)),
        "weights": rng.normal(size=(tp_num_paths(*lmax), c, d)),
    }


def graph(rng, edges, atoms, nodes, lmax, c, d):
    """Unsorted edges; the last atom and some nodes have none."""
    x = rng.normal(size=(atoms, c, (lmax + 1) ** 2))
    return {
        "vectors": rng.normal(size=(edges, 3)),
        "node_features": x,
        "x": x,
        "weights": rng.normal(size=(tp_num_paths(lmax, lmax, lmax), c, d)),
        "source_idx": rng.integers(0, atoms - 1, edges),
        "target_idx": rng.integers(1, nodes - 1, edges),
    }
