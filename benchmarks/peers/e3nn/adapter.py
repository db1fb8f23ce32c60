"""e3nn (github.com/e3nn/e3nn): o3.spherical_harmonics, eager, with autograd.

Its polar axis is y: the harmonics of (y, z, x) in its frame are those of (x, y, z) in the canonical one, so the vectors are
permuted before and the gradients after the timed call.
"""

import numpy as np

PACKAGES = ["e3nn", "torch"]


def build(inputs, params, requires_grad):
    import torch
    from e3nn import o3

    torch.set_num_threads(params["threads"])
    v = torch.from_numpy(np.ascontiguousarray(inputs["vectors"][:, [1, 2, 0]])).requires_grad_(requires_grad)
    l = list(range(params["lmax"] + 1))
    return torch, v, lambda: o3.spherical_harmonics(l, v, normalize=True, normalization="integral")


def spherical_harmonics(inputs, params):
    _, _, harmonics = build(inputs, params, False)
    return harmonics, lambda y: {"values": y.numpy()}


def spherical_harmonics_vjp(inputs, params):
    torch, v, harmonics = build(inputs, params, True)
    grad = torch.from_numpy(inputs["grad"])

    def call():
        y = harmonics()
        return y, torch.autograd.grad(y, v, grad)[0]

    return call, lambda out: {"values": out[0].detach().numpy(), "grad_vectors": out[1].numpy()[:, [2, 0, 1]]}


BACKENDS = {"e3nn": {"spherical_harmonics": spherical_harmonics, "spherical_harmonics_vjp": spherical_harmonics_vjp}}
