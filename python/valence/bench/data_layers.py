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


def mace_layer(rng, dtype, *, nodes, neighbors, channels, elements):
    """One layer of MACE without its radial network: features C x (0e + 1o), edges with harmonics to degree 3 and weights, the
    weights of its linear maps and of its contraction, and a direction for the check of the gradient."""
    from valence.bench.layer import parts

    up, messages, down, contraction, out = parts(channels)
    target = np.repeat(np.arange(nodes), neighbors)
    shapes = {
        "x": (nodes, up.output.size),
        "y": (target.size, messages.inputs[2].size),
        "radial": (target.size, messages.weight_numel),
        "up": (1, up.weight_numel),
        "down": (1, down.weight_numel),
        "contraction": (elements, contraction.weight_numel),
        "out": (1, out.weight_numel),
        "grad": (nodes, out.output.size),
        "direction": (nodes, up.output.size),
    }
    arrays = {k: rng.normal(size=s).astype(dtype) for k, s in shapes.items()}
    arrays["contraction"] *= 0.1
    index = {
        "target": target,
        "source": rng.integers(0, nodes, target.size),
        "elements": rng.integers(0, elements, nodes),
    }
    return {**arrays, **{k: v.astype(np.int32) for k, v in index.items()}}, target.size


GENERATORS = {f.__name__: f for f in (edge_products, node_features, mace_layer)}
