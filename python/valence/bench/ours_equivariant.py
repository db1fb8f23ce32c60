"""Our side of the equivariant room's timed operations; see ours.py."""

from __future__ import annotations


def setup(inputs, params):
    """(valence, valence.torch, inputs as tensors) with the threads that were asked for."""
    import torch

    import valence as vl
    import valence.torch

    vl.set_num_threads(params["threads"])
    torch.set_num_threads(params["threads"])
    return vl, valence.torch, {k: torch.from_numpy(v) for k, v in inputs.items()}


def gradients(call, tensors, names, grad):
    """`call()` timed with the gradients of sum(grad * result) to the named tensors, and its outputs as arrays."""
    import torch

    wanted = [tensors[n].requires_grad_() for n in names]

    def both():
        out = call()
        return out, torch.autograd.grad(out, wanted, grad)

    def collect(result):
        out, grads = result
        return {"values": out.detach().numpy(), **{f"grad_{n}": g.numpy() for n, g in zip(names, grads)}}

    return both, collect


def values(array):
    return {"values": array}


def tensor_product(inputs, params):
    vl, _, _ = setup(inputs, params)
    x, y, w = (inputs[n] for n in ("x", "y", "weights"))
    return (lambda: vl.tensor_product(x, y, w)), values


def tensor_product_vjp(inputs, params):
    _, ops, t = setup(inputs, params)
    call = lambda: ops.tensor_product(t["x"], t["y"], t["weights"])  # noqa: E731
    return gradients(call, t, ("x", "y", "weights"), t["grad"])


def tensor_product_simple(inputs, params):
    vl, _, _ = setup(inputs, params)
    x, y = inputs["x"], inputs["y"]
    return (lambda: vl.tensor_product_simple(x, y)), values


def tensor_product_simple_vjp(inputs, params):
    _, ops, t = setup(inputs, params)
    return gradients(lambda: ops.tensor_product_simple(t["x"], t["y"]), t, ("x", "y"), t["grad"])


def fused(ops, t):
    return ops.fused_sh_tp_simple(t["vectors"], t["x"], t["source"], target_idx=t["target"], n_nodes=len(t["x"]))


def unfused(ops, t):
    """The same by the ops of each step: harmonics, gather, product, sum over the edges of each receiver."""
    import torch

    lmax = round(t["x"].shape[2] ** 0.5) - 1
    y = ops.spherical_harmonics(t["vectors"], lmax, normalize=False)
    messages = ops.tensor_product_simple(t["x"][t["source"]], y)
    return torch.zeros_like(t["x"]).index_add(0, t["target"], messages)


def pipeline(form, derivatives):
    def prepare(inputs, params):
        _, ops, t = setup(inputs, params)
        if derivatives:
            return gradients(lambda: form(ops, t), t, ("x", "vectors"), t["grad"])
        return (lambda: form(ops, t)), lambda out: {"values": out.numpy()}

    return prepare


CPU = {
    "tensor_product": tensor_product,
    "tensor_product_vjp": tensor_product_vjp,
    "tensor_product_simple": tensor_product_simple,
    "tensor_product_simple_vjp": tensor_product_simple_vjp,
    "fused_sh_tp_scatter": pipeline(fused, False),
    "fused_sh_tp_scatter_vjp": pipeline(fused, True),
}
UNFUSED = {"fused_sh_tp_scatter": pipeline(unfused, False), "fused_sh_tp_scatter_vjp": pipeline(unfused, True)}
