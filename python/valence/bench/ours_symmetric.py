"""Our side of the symmetric contraction; see ours.py. The op of `valence.torch` with autograd, as the peers are timed."""

from __future__ import annotations


def symmetric_contraction_vjp(inputs, params):
    import numpy as np
    import torch

    import valence as vl
    import valence.torch
    from valence.equivariant import symmetric_contraction
    from valence.equivariant.polynomial import plan

    vl.set_num_threads(params["threads"])
    torch.set_num_threads(params["threads"])
    z, _, channels = inputs["weights"].shape
    one, out = (" + ".join(f"{channels}x{name}" for name in params[side]) for side in ("irreps_in", "irreps_out"))
    made = symmetric_contraction(one, out, params["degree"], group="O3_e3nn", convention="e3nn04")
    dims = [[2 * int(name[:-1]) + 1 for name in params[side]] for side in ("irreps_in", "irreps_out")]

    def flat(x, dims):
        blocks = np.split(x, np.cumsum(dims)[:-1], axis=2)
        return np.concatenate([b.reshape(len(x), -1) for b in blocks], axis=1)

    def channels_first(x, dims):
        blocks = np.split(x, np.cumsum([channels * d for d in dims])[:-1], axis=1)
        return np.concatenate([b.reshape(len(x), channels, d) for b, d in zip(blocks, dims)], axis=2)

    x = torch.from_numpy(flat(inputs["x"], dims[0])).requires_grad_()
    w = torch.from_numpy(inputs["weights"].reshape(z, -1)).requires_grad_()
    index, none = torch.from_numpy(inputs["z"]), torch.zeros(0, dtype=torch.int32)
    grad = torch.from_numpy(flat(inputs["grad"], dims[1]))
    access, _ = plan(made, [w.shape, x.shape], {"weight": index}, None)
    op = getattr(valence.torch, "polynomial_2")  # noqa: B009  (made from its declaration when asked for)

    def call():
        out = op(w, x, index, none, none, descriptor=made, access=access)
        return out, torch.autograd.grad(out, (w, x), grad)

    def collect(result):
        out, (grad_w, grad_x) = result
        return {
            "values": channels_first(out.detach().numpy(), dims[1]),
            "grad_x": channels_first(grad_x.numpy(), dims[0]),
            "grad_weights": grad_w.numpy().reshape(inputs["weights"].shape),
        }

    return call, collect


CPU = {"symmetric_contraction_vjp": symmetric_contraction_vjp}
