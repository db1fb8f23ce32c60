"""cuEquivariance (github.com/NVIDIA/cuEquivariance) on the CPU: its FullyConnectedTensorProduct with the torch method
"naive", the only one that it has there, eager, with autograd.

Layout "ir_mul", the faster of its two here. Its paths and weights come in the order of the workloads' and its coefficients
hold the normalisation 1 / sqrt(C paths into l_out), which is put into the weights before the timed call.
"""

import numpy as np

PACKAGES = ["cuequivariance-torch", "cuequivariance", "torch"]


def degrees(m):
    return range(round(m**0.5))


def flat(x):
    """[N, C, M] to blocks [N, (2 l + 1) C] of each degree, side by side."""
    parts = [x[:, :, l * l : (l + 1) ** 2].transpose(0, 2, 1).reshape(len(x), -1) for l in degrees(x.shape[2])]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def unflat(x, channels):
    m, n = x.shape[1] // channels, len(x)
    parts = [x[:, l * l * channels : (l + 1) ** 2 * channels].reshape(n, 2 * l + 1, channels) for l in degrees(m)]
    return np.concatenate(parts, axis=1).transpose(0, 2, 1)


def build(inputs, params):
    import cuequivariance as cue
    import cuequivariance_torch as cuet
    import torch

    torch.set_num_threads(params["threads"])
    channels, m = inputs["x"].shape[1:]
    ls = list(degrees(m))
    several, one = (cue.Irreps("SO3", " + ".join(f"{n}x{l}" for l in ls)) for n in (channels, 1))
    dtype = torch.from_numpy(inputs["x"]).dtype
    product = cuet.FullyConnectedTensorProduct(
        several,
        one,
        several,
        layout=cue.ir_mul,
        shared_weights=True,
        internal_weights=False,
        method="naive",
        dtype=dtype,
    )
    into = [c for a in ls for b in ls for c in range(abs(a - b), min(a + b, ls[-1]) + 1)]
    scale = np.sqrt([channels * into.count(c) for c in into])[:, None, None].astype(inputs["x"].dtype)
    t = {"x": flat(inputs["x"]), "y": inputs["y"], "weights": (inputs["weights"] * scale).reshape(1, -1)}
    t = {k: torch.from_numpy(v) for k, v in t.items()}
    return torch, product, t, scale


def tensor_product(inputs, params):
    torch, product, t, _ = build(inputs, params)

    def call():
        with torch.no_grad():
            return product(t["x"], t["y"], t["weights"])

    return call, lambda out: {"values": unflat(out.numpy(), inputs["x"].shape[1])}


def tensor_product_vjp(inputs, params):
    torch, product, t, scale = build(inputs, params)
    wanted, channels = [v.requires_grad_() for v in t.values()], inputs["x"].shape[1]
    grad = torch.from_numpy(flat(inputs["grad"]))

    def call():
        out = product(*wanted)
        return out, torch.autograd.grad(out, wanted, grad)

    def collect(result):
        out, (gx, gy, gw) = result
        gw = gw.numpy().reshape(inputs["weights"].shape) * scale
        gx = unflat(gx.numpy(), channels)
        return {
            "values": unflat(out.detach().numpy(), channels),
            "grad_x": gx,
            "grad_y": gy.numpy(),
            "grad_weights": gw,
        }

    return call, collect


def channelwise(derivatives):
    """ChannelWiseTensorProduct in layout "mul_ir" with its own gather and scatter."""

    def prepare(inputs, params):
        import cuequivariance as cue
        import cuequivariance_torch as cuet
        import torch

        torch.set_num_threads(params["threads"])
        t = {n: torch.from_numpy(inputs[n]).requires_grad_(derivatives) for n in ("weights", "x", "y")}
        irreps = [cue.Irreps("O3", params[k]) for k in ("irreps1", "irreps2", "irreps_out")]
        product = cuet.ChannelWiseTensorProduct(
            *irreps,
            shared_weights=False,
            internal_weights=False,
            layout=cue.mul_ir,
            method="naive",
            dtype=t["x"].dtype,
        )
        source, target = (torch.from_numpy(inputs[n]).long() for n in ("source", "target"))
        nodes, grad = len(t["x"]), torch.from_numpy(inputs["grad"])

        def values():
            made = product(t["x"][source], t["y"], t["weights"])
            return torch.zeros(nodes, made.shape[1], dtype=made.dtype).index_add(0, target, made)

        def call():
            if not derivatives:
                with torch.no_grad():
                    return values(), ()
            out = values()
            return out, torch.autograd.grad(out, list(t.values()), grad)

        def collect(result):
            out, grads = result
            return {"values": out.detach().numpy(), **{f"grad_{n}": g.numpy() for n, g in zip(t, grads)}}

        return call, collect

    return prepare


def linear(inputs, params):
    """cuet.Linear; with elements, its weights chosen by an index."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet
    import torch

    torch.set_num_threads(params["threads"])
    irreps, dtype = cue.Irreps("O3", params["irreps"]), torch.from_numpy(inputs["x"]).dtype
    weights, x = torch.from_numpy(inputs["weights"]), torch.from_numpy(inputs["x"])
    chosen = "elements" in inputs
    options = {"weight_classes": len(weights)} if chosen else {"shared_weights": True}
    module = cuet.Linear(
        irreps, irreps, layout=cue.mul_ir, internal_weights=False, method="naive", dtype=dtype, **options
    )
    index = torch.from_numpy(inputs["elements"]).long() if chosen else None

    def call():
        with torch.no_grad():
            return module(x, weights, weight_indices=index) if chosen else module(x, weights)

    return call, lambda out: {"values": out.numpy()}


def mace_layer(inputs, params):
    """The layer of its own modules; e3nn's order of irreps and signs, as MACE has them."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet
    import torch
    from cuequivariance.group_theory.experimental.e3nn import O3_e3nn

    torch.set_num_threads(params["threads"])
    t = {k: torch.from_numpy(v) for k, v in inputs.items()}
    c, dtype = params["channels"], t["x"].dtype
    node, edge = (
        cue.Irreps(O3_e3nn, " + ".join(f"{c}x{ir}" for ir in list_))
        for list_ in (["0e", "1o"], ["0e", "1o", "2e", "3o"])
    )
    common = {"layout": cue.mul_ir, "method": "naive", "dtype": dtype}
    free = {"internal_weights": False, **common}
    harmonics = cue.Irreps(O3_e3nn, "0e + 1o + 2e + 3o")
    product = cuet.ChannelWiseTensorProduct(node, harmonics, edge, shared_weights=False, **free)
    up, out = (cuet.Linear(node, node, shared_weights=True, **free) for _ in range(2))
    down = cuet.Linear(product.irreps_out, edge, shared_weights=True, **free)
    contraction = cuet.SymmetricContraction(
        edge, node, contraction_degree=3, num_elements=len(t["contraction"]), original_mace=True, **common
    )
    with torch.no_grad():
        contraction.weight.copy_(t["contraction"].reshape(contraction.weight.shape))
    contraction.requires_grad_(False)
    source, target, elements = (t[n].long() for n in ("source", "target", "elements"))
    wanted = [t[n].requires_grad_() for n in ("x", "y", "radial")]

    def call():
        made = product(up(t["x"], t["up"])[source], t["y"], t["radial"])
        summed = torch.zeros(len(t["x"]), made.shape[1], dtype=dtype).index_add(0, target, made)
        values = out(contraction(down(summed, t["down"]) / 20.0, elements), t["out"])
        return values, torch.autograd.grad(values, wanted, t["grad"])

    def collect(result):
        values, grads = result
        slope = (grads[0].double() * t["direction"].double()).sum()
        return {"values": values.detach().numpy(), "slope": slope.numpy().reshape(1)}

    return call, collect


BACKENDS = {
    "cuequivariance": {
        "mace_layer": mace_layer,
        "tensor_product": tensor_product,
        "tensor_product_vjp": tensor_product_vjp,
        "channelwise": channelwise(False),
        "channelwise_vjp": channelwise(True),
        "linear": linear,
        "linear_by_element": linear,
    }
}
