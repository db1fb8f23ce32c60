"""The readable definitions of the equivariant room's timed operations; see oracle.py.

Path by path in NumPy. The coefficients and harmonics are those of `valence.reference`, which the tests compare with e3nn's.
"""

from __future__ import annotations

import numpy as np


def doubles(inputs):
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}


def couplings(m):
    """Each path's slices of components and its coefficients, for three operands of `m` components."""
    from valence.equivariant.coupling import clebsch_gordan
    from valence.equivariant.paths import tp_path_info

    lmax = round(m**0.5) - 1
    for degrees in tp_path_info(lmax, lmax, lmax).tolist():
        yield [slice(l * l, (l + 1) ** 2) for l in degrees], clebsch_gordan(*degrees)


def tensor_product_vjp(inputs, params):
    """out[n,d,k] = sum_p W[p,c,d] C_p[i,j,k] x[n,c,i] y[n,j], and the gradients of sum(grad * out)."""
    a = doubles(inputs)
    x, y, w, g = a["x"], a["y"], a["weights"], a["grad"]
    out, gx, gy, gw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(y), np.zeros_like(w)
    for p, ((i, j, k), c) in enumerate(couplings(y.shape[1])):
        mixed = np.einsum("nci,cd->ndi", x[..., i], w[p], optimize=True)
        # a[n,i,k]: what y makes of the path's coefficients, shared by all channels.
        a = np.einsum("ijk,nj->nik", c, y[:, j], optimize=True)
        out[..., k] += mixed @ a
        back = g[..., k] @ a.transpose(0, 2, 1)
        gx[..., i] += np.einsum("ndi,cd->nci", back, w[p], optimize=True)
        gw[p] = np.einsum("nci,ndi->cd", x[..., i], back, optimize=True)
        gy[:, j] += np.einsum("ijk,nik->nj", c, mixed.transpose(0, 2, 1) @ g[..., k], optimize=True)
    return {"values": out, "grad_x": gx, "grad_y": gy, "grad_weights": gw}


def tensor_product(inputs, params):
    return {"values": tensor_product_vjp(inputs, params)["values"]}


def simple(x, y):
    """The product with every weight 1, channels apart: x [N, C, M], y [N, M]."""
    out = np.zeros_like(x)
    for (i, j, k), c in couplings(y.shape[1]):
        out[..., k] += x[..., i] @ np.einsum("ijk,nj->nik", c, y[:, j], optimize=True)
    return out


def simple_vjp(x, y, g):
    gx, gy = np.zeros_like(x), np.zeros_like(y)
    for (i, j, k), c in couplings(y.shape[1]):
        gx[..., i] += g[..., k] @ np.einsum("ijk,nj->nki", c, y[:, j], optimize=True)
        gy[:, j] += np.einsum("ijk,nik->nj", c, x[..., i].transpose(0, 2, 1) @ g[..., k], optimize=True)
    return gx, gy


def tensor_product_simple(inputs, params):
    a = doubles(inputs)
    return {"values": simple(a["x"][:, None], a["y"])[:, 0]}


def tensor_product_simple_vjp(inputs, params):
    a = doubles(inputs)
    x, y, g = a["x"][:, None], a["y"], a["grad"][:, None]
    gx, gy = simple_vjp(x, y, g)
    return {"values": simple(x, y)[:, 0], "grad_x": gx[:, 0], "grad_y": gy}


def blocks_of_edges(edges, size=2000):
    return (slice(n, n + size) for n in range(0, edges, size))


def fused_sh_tp_scatter(inputs, params):
    """out[target] += simple(x[source], Y(vectors))."""
    from valence.reference.equivariant import harmonics

    a = doubles(inputs)
    x, source, target = a["x"], a["source"], a["target"]
    y, out = harmonics(a["vectors"], round(x.shape[2] ** 0.5) - 1), np.zeros_like(x)
    for b in blocks_of_edges(len(y)):
        np.add.at(out, target[b], simple(x[source[b]], y[b]))
    return {"values": out}


def fused_sh_tp_scatter_vjp(inputs, params):
    """The same, and the gradients of sum(grad * out) to x and the vectors (by the complex step)."""
    from valence.reference.equivariant import harmonics

    a = doubles(inputs)
    x, source, target, g, v = a["x"], a["source"], a["target"], a["grad"], a["vectors"]
    lmax = round(x.shape[2] ** 0.5) - 1
    y, gx, gy = harmonics(v, lmax), np.zeros_like(x), np.zeros((len(v), x.shape[2]))
    for b in blocks_of_edges(len(y)):
        each, gy[b] = simple_vjp(x[source[b]], y[b], g[target[b]])
        np.add.at(gx, source[b], each)
    slopes = [complex_step(harmonics, v, lmax, axis) for axis in range(3)]
    gv = np.stack([(gy * s).sum(1) for s in slopes], axis=1)
    return {**fused_sh_tp_scatter(inputs, params), "grad_x": gx, "grad_vectors": gv}


def complex_step(harmonics, v, lmax, axis, h=1e-30):
    w = v.astype(np.complex128)
    w[:, axis] += 1j * h
    return np.imag(harmonics(w, lmax)) / h


OPERATIONS = {
    f.__name__: f
    for f in (
        tensor_product,
        tensor_product_vjp,
        tensor_product_simple,
        tensor_product_simple_vjp,
        fused_sh_tp_scatter,
        fused_sh_tp_scatter_vjp,
    )
}
