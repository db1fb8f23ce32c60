"""e3nn (github.com/e3nn/e3nn): o3.spherical_harmonics and o3.TensorProduct with autograd, in the mode that e3nn chooses
for the torch at hand (eager since torch 2.10).

The harmonics' canonical polar axis is z, e3nn's is y: the harmonics of (y, z, x) in its frame are those of (x, y, z), so the
vectors are permuted before and the gradients after the timed call. Tensor products are of e3nn's own frame; features are
brought to its layout, blocks [C, 2 l + 1] of each degree side by side, before the timed call.
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


def degrees(m):
    return range(round(m**0.5))


def flat(x):
    """[N, C, M] to blocks [N, C (2 l + 1)] of each degree, side by side."""
    parts = [x[:, :, l * l : (l + 1) ** 2].reshape(len(x), -1) for l in degrees(x.shape[2])]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def unflat(x, channels):
    m, n = x.shape[1] // channels, len(x)
    parts = [x[:, l * l * channels : (l + 1) ** 2 * channels].reshape(n, channels, -1) for l in degrees(m)]
    return np.concatenate(parts, axis=2)


def product(channels, m, kind, weighted, dtype):
    """All paths (l1, l2, l_out) in order, coefficients sqrt(2 l_out + 1) w3j and nothing else."""
    import torch
    from e3nn import o3

    # The coefficients are rounded to the default dtype of the moment when they are made.
    torch.set_default_dtype(dtype)

    ls = list(degrees(m))
    several, one = (o3.Irreps([(n, (l, 1)) for l in ls]) for n in (channels, 1))
    paths = [(a, b, c) for a in ls for b in ls for c in range(abs(a - b), min(a + b, ls[-1]) + 1)]
    try:
        return o3.TensorProduct(
            several,
            one,
            several,
            [(*path, kind, weighted) for path in paths],
            irrep_normalization="component",
            path_normalization="none",
            shared_weights=weighted,
            internal_weights=False,
        )
    finally:
        torch.set_default_dtype(torch.float32)


def timed(torch, call, wanted, grad, back):
    """`call()` alone, or with the gradients of sum(grad * result); `back` brings each to the canonical layout."""
    names = list(wanted)

    def forward():
        with torch.no_grad():
            return (call(),)

    def both():
        out = call()
        return out, *torch.autograd.grad(out, [wanted[n] for n in names], grad)

    def collect(result):
        keys = ("values", *(f"grad_{n}" for n in names))
        return {k: back.get(k, np.asarray)(v.detach().numpy()) for k, v in zip(keys, result)}

    return (forward if grad is None else both), collect


def tensors(inputs, params, derivatives, *names):
    import torch

    torch.set_num_threads(params["threads"])
    made = {n: torch.from_numpy(np.ascontiguousarray(inputs[n])) for n in names}
    for t in made.values():
        t.requires_grad_(derivatives)
    return torch, made


def tensor_product(derivatives):
    def prepare(inputs, params):
        channels, m = inputs["x"].shape[1:]
        ready = {"x": flat(inputs["x"]), "y": inputs["y"], "weights": inputs["weights"].ravel()}
        torch, t = tensors(ready, params, derivatives, "x", "y", "weights")
        tp = product(channels, m, "uvw", True, t["x"].dtype)
        grad = torch.from_numpy(flat(inputs["grad"])) if derivatives else None

        def turn(a):
            return unflat(a, channels)

        back = {"values": turn, "grad_x": turn, "grad_weights": lambda w: w.reshape(inputs["weights"].shape)}
        return timed(torch, lambda: tp(t["x"], t["y"], t["weights"]), t, grad, back)

    return prepare


def tensor_product_simple(derivatives):
    def prepare(inputs, params):
        torch, t = tensors(inputs, params, derivatives, "x", "y")
        tp = product(1, inputs["x"].shape[1], "uuu", False, t["x"].dtype)
        grad = torch.from_numpy(inputs["grad"]) if derivatives else None
        return timed(torch, lambda: tp(t["x"], t["y"]), t, grad, {})

    return prepare


def fused_sh_tp_scatter(derivatives):
    """Harmonics, gather, product of each channel, index_add."""

    def prepare(inputs, params):
        from e3nn import o3

        channels, m = inputs["x"].shape[1:]
        ready = {"x": flat(inputs["x"]), "vectors": inputs["vectors"]}
        torch, t = tensors(ready, params, derivatives, "x", "vectors")
        source, target = (torch.from_numpy(inputs[n]).long() for n in ("source", "target"))
        tp, ls = product(channels, m, "uvu", False, t["x"].dtype), list(degrees(m))
        grad = torch.from_numpy(flat(inputs["grad"])) if derivatives else None

        def call():
            y = o3.spherical_harmonics(ls, t["vectors"], normalize=False, normalization="component")
            return torch.zeros_like(t["x"]).index_add(0, target, tp(t["x"][source], y))

        def turn(a):
            return unflat(a, channels)

        return timed(torch, call, t, grad, {"values": turn, "grad_x": turn})

    return prepare


def channelwise(derivatives):
    """o3.TensorProduct ("uvu", weights of each edge) between a gather and index_add; its paths sorted by degree."""

    def prepare(inputs, params):
        from e3nn import o3

        torch, t = tensors(inputs, params, derivatives, "weights", "x", "y")
        one, two, keep = (o3.Irreps(params[k]) for k in ("irreps1", "irreps2", "irreps_out"))
        paths = [
            (a, b, mul, ir)
            for a, (mul, ir1) in enumerate(one)
            for b, (_, ir2) in enumerate(two)
            for ir in ir1 * ir2
            if ir in keep
        ]
        paths.sort(key=lambda path: path[3].l)
        out = o3.Irreps([(mul, ir) for _, _, mul, ir in paths])
        instructions = [(a, b, n, "uvu", True) for n, (a, b, _, _) in enumerate(paths)]
        tp = o3.TensorProduct(one, two, out, instructions, shared_weights=False, internal_weights=False)
        tp = tp.to(t["x"].dtype)
        source, target = (torch.from_numpy(inputs[n]).long() for n in ("source", "target"))
        nodes, width = len(t["x"]), out.dim
        grad = torch.from_numpy(inputs["grad"]) if derivatives else None

        def call():
            made = tp(t["x"][source], t["y"], t["weights"])
            return torch.zeros(nodes, width, dtype=made.dtype).index_add(0, target, made)

        return timed(torch, call, t, grad, {})

    return prepare


def linear(inputs, params):
    from e3nn import o3

    torch, t = tensors(inputs, params, False, "weights", "x")
    module = o3.Linear(params["irreps"], params["irreps"], internal_weights=False, shared_weights=True).to(t["x"].dtype)
    return timed(torch, lambda: module(t["x"], t["weights"][0]), t, None, {})


BACKENDS = {
    "e3nn": {
        "channelwise": channelwise(False),
        "channelwise_vjp": channelwise(True),
        "linear": linear,
        "spherical_harmonics": spherical_harmonics,
        "spherical_harmonics_vjp": spherical_harmonics_vjp,
        "tensor_product": tensor_product(False),
        "tensor_product_vjp": tensor_product(True),
        "tensor_product_simple": tensor_product_simple(False),
        "tensor_product_simple_vjp": tensor_product_simple(True),
        "fused_sh_tp_scatter": fused_sh_tp_scatter(False),
        "fused_sh_tp_scatter_vjp": fused_sh_tp_scatter(True),
    }
}
