"""PyTorch itself: the Gaussian radial table with its cosine envelope, forward and backward by autograd."""

import math

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


BACKENDS = {"torch": {"radial": radial}}
