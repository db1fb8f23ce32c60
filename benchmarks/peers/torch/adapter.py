"""PyTorch itself: the Gaussian radial table with its cosine envelope, forward and backward by autograd; the dense products of
a linear map, on features that lie as they need, one [rows (2 l + 1), C] matrix for each degree."""

import math

import numpy as np

PACKAGES = ["torch"]


def radial(inputs, params):
    import torch

    torch.set_num_threads(params["threads"])
    r = torch.from_numpy(inputs["distance"]).requires_grad_()
    grad = torch.from_numpy(inputs["grad"])
    cutoff = params["cutoff"]
    mu = torch.linspace(0.0, cutoff, params["n"], dtype=torch.float64)
    c = float(-0.5 / (mu[1] - mu[0]) ** 2)
    mu = mu.to(r.dtype)

    def call():
        envelope = 0.5 * (torch.cos(r * (math.pi / cutoff)) + 1.0) * (r < cutoff)
        value = torch.exp(c * (r[:, None] - mu) ** 2) * envelope[:, None]
        return value, torch.autograd.grad(value, r, grad)[0]

    return call, lambda out: {"values": out[0].detach().numpy(), "grad_distance": out[1].numpy()}


def linear(inputs, params):
    import torch

    torch.set_num_threads(params["threads"])
    blocks, place, start = [], 0, 0
    for term in params["irreps"].split("+"):
        mul, l = (int(n) for n in term.strip().rstrip("eo").split("x"))
        d = 2 * l + 1
        x = inputs["x"][:, place : place + mul * d].reshape(-1, mul, d).transpose(0, 2, 1).reshape(-1, mul)
        w = inputs["weights"][0, start : start + mul * mul].reshape(mul, mul) / math.sqrt(mul)
        blocks.append((torch.from_numpy(x.copy()), torch.from_numpy(w), d, mul))
        place, start = place + mul * d, start + mul * mul

    def call():
        return [x @ w for x, w, _, _ in blocks]

    def collect(out):
        turned = [
            o.numpy().reshape(-1, d, mul).transpose(0, 2, 1).reshape(-1, mul * d)
            for o, (_, _, d, mul) in zip(out, blocks)
        ]
        return {"values": np.concatenate(turned, axis=1)}

    return call, collect


BACKENDS = {"torch": {"radial": radial, "linear": linear}}
