"""The layer of MACE that is timed: linear, messages along edges, linear, symmetric contraction, linear."""

from __future__ import annotations

import functools

import numpy as np

#: Messages are divided by it.
NEIGHBORS = 20.0


@functools.cache
def parts(channels):
    """Its descriptors: up, messages, down, contraction, out."""
    from valence import equivariant as eq

    node, group = f"{channels}x0e + {channels}x1o", "O3_e3nn"
    edge = f"{channels}x0e + {channels}x1o + {channels}x2e + {channels}x3o"
    messages = eq.channelwise_tensor_product(node, "0e + 1o + 2e + 3o", edge, group=group)
    return (
        eq.linear(node, node, group=group),
        messages,
        eq.linear(messages.irreps_out, edge, group=group),
        eq.symmetric_contraction(edge, node, 3, group=group),
        eq.linear(node, node, group=group),
    )


def layer(run, a, channels):
    """The layer on arrays `a` (see data_layers.py), each product done by `run(descriptor, *operands, **indices)`."""
    up, messages, down, contraction, out = parts(channels)
    rows = {"x": a["source"], "out": a["target"]}
    summed = run(messages, a["radial"], run(up, a["up"], a["x"]), a["y"], indices=rows, size_out=len(a["x"]))
    mixed = run(down, a["down"], summed) / NEIGHBORS
    coupled = run(contraction, a["contraction"], mixed, indices={"weight": a["elements"]})
    return run(out, a["out"], coupled)


def definition(inputs, params):
    """Values by the plain definitions, and the gradient of sum(grad * values) along a direction of x by differences."""
    a = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}

    def run(descriptor, *operands, **options):
        return descriptor(*operands, **options, use_fallback=True)

    def value(step):
        return layer(run, {**a, "x": a["x"] + step * a["direction"]}, params["channels"])

    slopes = [(value(h) * a["grad"]).sum() for h in (1e-4, -1e-4)]
    return {"values": value(0.0), "slope": np.array([(slopes[0] - slopes[1]) / 2e-4])}


def ours(inputs, params):
    from valence.bench.ours_equivariant import setup

    _, ops, t = setup(inputs, params)
    return with_gradient(t, lambda: layer(ops.polynomial, t, params["channels"]))


def with_gradient(tensors, call):
    """`call()` and the gradients to features, harmonics and radial weights, as a force calculation needs them."""
    import torch

    wanted = [tensors[n].requires_grad_() for n in ("x", "y", "radial")]

    def both():
        out = call()
        return out, torch.autograd.grad(out, wanted, tensors["grad"])

    def collect(result):
        out, grads = result
        slope = (grads[0].double() * tensors["direction"].double()).sum()
        return {"values": out.detach().numpy(), "slope": slope.numpy().reshape(1)}

    return both, collect
