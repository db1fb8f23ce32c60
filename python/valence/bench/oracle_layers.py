"""The readable definitions of the timed layers; see oracle.py."""

from __future__ import annotations

import numpy as np

from valence.bench import layer
from valence.bench.oracle_equivariant import doubles


def paths(irreps1, irreps2, irreps_out):
    """The channel-wise product's paths in order: slices of x, y and the result, the number of channels, coefficients."""
    from valence.equivariant.coupling import clebsch_gordan
    from valence.equivariant.irreps import Irreps

    one, two, keep = Irreps(irreps1), Irreps(irreps2), {ir for _, ir in Irreps(irreps_out)}
    found = [
        (ir, mul, ir1, ir2, a, b)
        for (mul, ir1), a in zip(one, one.slices)
        for (_, ir2), b in zip(two, two.slices)
        for ir in ir1 * ir2
        if ir in keep
    ]
    found.sort(key=lambda entry: entry[0].l)
    place = 0
    for ir, mul, ir1, ir2, a, b in found:
        yield a, b, slice(place, place + mul * ir.dim), mul, clebsch_gordan(ir1.l, ir2.l, ir.l)
        place += mul * ir.dim


def channelwise_vjp(inputs, params):
    """out_p[t,u,k] += w_p[e,u] C[i,j,k] x[s,u,i] y[e,j] over the edges e from s to t; gradients of sum(grad * out)."""
    a = doubles(inputs)
    x, y, w, g = a["x"], a["y"], a["weights"], a["grad"]
    source, target = inputs["source"], inputs["target"]
    out, gx, gy, gw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(y), np.zeros_like(w)
    place = 0
    for xs, ys, os, mul, c in paths(params["irreps1"], params["irreps2"], params["irreps_out"]):
        ws = slice(place, place + mul)
        place += mul
        made = np.einsum("ijk,ej->eik", c, y[:, ys])
        features = x[source][:, xs].reshape(len(y), mul, -1)
        cotangent = g[target][:, os].reshape(len(y), mul, -1)
        coupled = features @ made
        np.add.at(out[:, os], target, (w[:, ws, None] * coupled).reshape(len(y), -1))
        gw[:, ws] = (coupled * cotangent).sum(-1)
        weighted = w[:, ws, None] * cotangent
        np.add.at(gx[:, xs], source, (weighted @ made.transpose(0, 2, 1)).reshape(len(y), -1))
        gy[:, ys] += np.einsum("ijk,eik->ej", c, features.transpose(0, 2, 1) @ weighted, optimize=True)
    return {"values": out, "grad_weights": gw, "grad_x": gx, "grad_y": gy}


def channelwise(inputs, params):
    return {"values": channelwise_vjp(inputs, params)["values"]}


def linear_by_element(inputs, params):
    """out[n,w,m] = sum_u W[z_n,u,w] x[n,u,m] / sqrt(C) for each irrep."""
    from valence.equivariant.irreps import Irreps

    a, irreps = doubles(inputs), Irreps(params["irreps"])
    elements = inputs.get("elements", np.zeros(len(a["x"]), np.int32))
    out, place = np.zeros_like(a["x"]), 0
    for (mul, ir), part in zip(irreps, irreps.slices):
        w = a["weights"][:, place : place + mul * mul].reshape(-1, mul, mul)
        place += mul * mul
        x = a["x"][:, part].reshape(-1, mul, ir.dim)
        for z in np.unique(elements):
            rows = elements == z
            mixed = np.einsum("num,uw->nwm", x[rows], w[z], optimize=True) / np.sqrt(mul)
            out[rows, part] = mixed.reshape(rows.sum(), -1)
    return {"values": out}


OPERATIONS = {
    "channelwise": channelwise,
    "channelwise_vjp": channelwise_vjp,
    "mace_layer": layer.definition,
    "linear": linear_by_element,
    "linear_by_element": linear_by_element,
}
