"""Inputs of the timed layers; see data.py."""

from __future__ import annotations

import numpy as np


def edge_products(rng, dtype, *, nodes, edges, irreps1, irreps2, irreps_out):
    """Edges from random nodes to sorted ones; features of the nodes, harmonics and weights of the edges, and the cotangent of
    the channel-wise product summed at each receiver."""
    from valence import equivariant as eq

    product = eq.channelwise_tensor_product(irreps1, irreps2, irreps_out)
    weights, x, y, out = (o.size for o in product.operands)
    arrays = {
        "weights": rng.normal(size=(edges, weights)).astype(dtype),
        "x": rng.normal(size=(nodes, x)).astype(dtype),
        "y": rng.normal(size=(edges, y)).astype(dtype),
        "grad": rng.normal(size=(nodes, out)).astype(dtype),
        "source": rng.integers(0, nodes, edges).astype(np.int32),
        "target": np.sort(rng.integers(0, nodes, edges)).astype(np.int32),
    }
    return arrays, edges


def node_features(rng, dtype, *, nodes, irreps, elements=0):
    """Features of the nodes and weights of a linear map: one set, or one for each of `elements`."""
    from valence import equivariant as eq

    numel = eq.linear(irreps, irreps).weight_numel
    arrays = {
        "x": rng.normal(size=(nodes, eq.Irreps(irreps).dim)).astype(dtype),
        "weights": rng.normal(size=(max(elements, 1), numel)).astype(dtype),
    }
    if elements:
        arrays["elements"] = rng.integers(0, elements, nodes).astype(np.int32)
    return arrays, nodes


GENERATORS = {f.__name__: f for f in (edge_products, node_features)}
