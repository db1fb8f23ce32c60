"""Workloads of the suite `gpu`: inputs and definitions of the operators on edges and features at lmax 3.

The definition of an operation is our own CPU kernel in float64 on a sample of the rows (the tests hold those kernels to
e3nn's values); e3nn on the GPU is compared with the same arrays, so that the two have to agree through it.
"""

from __future__ import annotations

import numpy as np

LMAX, M, PATHS = 3, 16, 34
SAMPLE = 64


def gpu_graph(rng, dtype, *, nodes, neighbors, channels, rows=None):
    """`nodes` atoms with `neighbors` random edges each, sorted by target, features [N, C, 16], weights [34, C, C] of unit
    variance over sums; cotangents; `sample`, the rows that are compared. `rows` rows of factors, `nodes` unless given."""
    edges, rows = nodes * neighbors, nodes if rows is None else rows
    arrays = {
        "vectors": rng.normal(size=(edges, 3)),
        "harmonics_grad": rng.normal(size=(edges, M)),
        "features": rng.normal(size=(nodes, channels, M)),
        "x": rng.normal(size=(rows, channels, M)),
        "y": rng.normal(size=(rows, M)),
        "weights": rng.normal(size=(PATHS, channels, channels)) / np.sqrt(channels),
        "grad": rng.normal(size=(rows, channels, M)),
    }
    made = {name: a.astype(dtype) for name, a in arrays.items()}
    made["source"] = rng.integers(0, nodes, edges).astype(np.int64)
    made["target"] = np.repeat(np.arange(nodes), neighbors).astype(np.int64)
    made["sample"] = np.sort(rng.choice(min(rows, nodes), size=min(SAMPLE, rows, nodes), replace=False))
    return made, edges


def double(inputs, *names):
    return [inputs[n].astype(np.float64) if inputs[n].dtype.kind == "f" else inputs[n] for n in names]


def operator(name, order=0):
    """The op of that name, or its vjp."""
    from valence._op import REGISTRY

    return list(REGISTRY[name].family())[order]


def gpu_harmonics(inputs, params):
    (v,) = double(inputs, "vectors")
    return {"values": operator("spherical_harmonics")(v[inputs["sample"]], lmax=LMAX, normalize=False)}


def gpu_harmonics_vjp(inputs, params):
    """Values and the gradient of the vectors."""
    v, g = (a[inputs["sample"]] for a in double(inputs, "vectors", "harmonics_grad"))
    vjp = operator("spherical_harmonics", 1)(v, g, lmax=LMAX, normalize=False)
    return {**gpu_harmonics(inputs, params), "grad_vectors": vjp}


def gpu_product_simple(inputs, params):
    x, y = (a[inputs["sample"]] for a in double(inputs, "x", "y"))
    return {"values": operator("tensor_product_simple")(x, y, lmax=LMAX)}


def gpu_product(inputs, params):
    x, y, w = double(inputs, "x", "y", "weights")
    s = inputs["sample"]
    return {"values": operator("tensor_product")(x[s], y[s], w, lmax1=LMAX, lmax2=LMAX, lmax_out=LMAX)}


def gpu_product_vjp(inputs, params):
    """Values, and the gradients of x, y and the weights."""
    x, y, w, g = double(inputs, "x", "y", "weights", "grad")
    gx, gy, gw = operator("tensor_product", 1)(x, y, w, g, lmax1=LMAX, lmax2=LMAX, lmax_out=LMAX)
    s = inputs["sample"]
    return {**gpu_product(inputs, params), "grad_x": gx[s], "grad_y": gy[s], "grad_weights": gw}


def gpu_fused(inputs, params):
    v, x, source = double(inputs, "vectors", "features", "source")
    s = inputs["sample"]
    return {"values": operator("fused_sh_tp_simple")(v[s], x, source[s], lmax=LMAX)}


def into_sample(inputs):
    return np.isin(inputs["target"], inputs["sample"])


def gpu_pipeline(inputs, params):
    v, x, source, target = double(inputs, "vectors", "features", "source", "target")
    e = into_sample(inputs)
    sums = operator("fused_sh_tp_scatter")(v[e], x, source[e], target[e], n_nodes=len(x), lmax=LMAX)
    return {"values": sums[inputs["sample"]]}


def gpu_messages(inputs, params):
    v, x, w, source, target = double(inputs, "vectors", "features", "weights", "source", "target")
    e = into_sample(inputs)
    sums = operator("fused_message_passing")(v[e], x, w, source[e], target[e], n_nodes=len(x), lmax=LMAX)
    return {"values": sums[inputs["sample"]]}


GENERATORS = {"gpu_graph": gpu_graph}
OPERATIONS = {
    f.__name__: f
    for f in (
        gpu_harmonics,
        gpu_harmonics_vjp,
        gpu_product_simple,
        gpu_product,
        gpu_product_vjp,
        gpu_fused,
        gpu_pipeline,
        gpu_messages,
    )
}
