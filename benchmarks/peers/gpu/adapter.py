"""What the suite `gpu` times, on torch's CUDA tensors in one process: `cuda`, our kernels; `cuda-unfused`, our kernels one
by one with torch's gather and index_add; `e3nn-cuda`, e3nn (github.com/e3nn/e3nn).

Every call ends with a wait for the GPU. e3nn's blocks are [C, 2l+1] a degree; that order is made outside the timed call.
`params` may name another `device`.
"""

import math

import numpy as np

PACKAGES = ["e3nn", "torch", "valence"]
LMAX = 3


class Data:
    """The inputs as tensors on the device."""

    def __init__(self, inputs, params):
        import torch
        import valence.cuda
        import valence.torch

        self.device = torch.device(params.get("device", "cuda"))
        if self.device.type == "cuda" and (why := valence.cuda.why_not()) is not None:
            raise ImportError(f"needs a GPU: {why}")
        self.torch, self.ours, self.inputs = torch, valence.torch, inputs
        torch.backends.cuda.matmul.allow_tf32 = False

    def __getitem__(self, name):
        return self.torch.from_numpy(np.ascontiguousarray(self.inputs[name])).to(self.device)

    def waiting(self, function):
        """The call, until the GPU is done."""
        if self.device.type != "cuda":
            return function

        def call():
            out = function()
            self.torch.cuda.synchronize(self.device)
            return out

        return call

    def rows(self, tensor):
        return tensor.detach()[self["sample"]].cpu().numpy()


def with_vjp(data, function, tensors, grad):
    """function(*tensors) and its vjp for all of them."""

    def call():
        out = function(*tensors)
        return out, *data.torch.autograd.grad(out, tensors, grad)

    return data.waiting(call)


def harmonics(data):
    return lambda v: data.ours.spherical_harmonics(v, lmax=LMAX, normalize=False)


def e3nn_harmonics(data):
    from e3nn import o3

    degrees = list(range(LMAX + 1))
    return lambda v: o3.spherical_harmonics(degrees, v, normalize=False, normalization="component")


def values(make):
    def prepare(inputs, params):
        data = Data(inputs, params)
        function, v = make(data), data["vectors"]
        return data.waiting(lambda: function(v)), lambda y: {"values": data.rows(y)}

    return prepare


def values_and_vjp(make):
    def prepare(inputs, params):
        data = Data(inputs, params)
        v = data["vectors"].requires_grad_()
        call = with_vjp(data, make(data), (v,), data["harmonics_grad"])
        return call, lambda out: {"values": data.rows(out[0]), "grad_vectors": data.rows(out[1])}

    return prepare


def blocks(x):
    """[N, C, 16] in e3nn's order [N, C + 3 C + 5 C + 7 C]."""
    import torch

    return torch.cat([x[..., l * l : (l + 1) ** 2].flatten(1) for l in range(LMAX + 1)], dim=1).contiguous()


def unblocked(x, channels):
    """The way back."""
    import torch

    parts = torch.split(x, [channels * (2 * l + 1) for l in range(LMAX + 1)], dim=1)
    return torch.cat([p.reshape(len(x), channels, -1) for p in parts], dim=2)


def e3nn_product(data, channels, weighted):
    """The product over all paths with coefficients sqrt(2l+1) w3j, parity left aside."""
    import valence
    from e3nn import o3

    features = "+".join(f"{channels}x{l}e" for l in range(LMAX + 1))
    mode = ("uvw", True) if weighted else ("uvu", False)
    paths = [(int(a), int(b), int(c), *mode) for a, b, c in valence.tp_path_info(LMAX, LMAX, LMAX)]
    y = "+".join(f"1x{l}e" for l in range(LMAX + 1))
    made = o3.TensorProduct(
        features, y, features, paths, irrep_normalization="component", path_normalization="none",
        shared_weights=True, internal_weights=False,
    )  # fmt: skip
    return made.to(device=data.device, dtype=data["vectors"].dtype)


def product_simple(inputs, params):
    data = Data(inputs, params)
    x, y = data["x"], data["y"]
    return data.waiting(lambda: data.ours.tensor_product_simple(x, y)), lambda out: {"values": data.rows(out)}


def e3nn_product_simple(inputs, params):
    data = Data(inputs, params)
    channels = inputs["x"].shape[1]
    x, y, product = blocks(data["x"]), data["y"], e3nn_product(data, channels, False)
    return data.waiting(lambda: product(x, y)), lambda out: {"values": data.rows(unblocked(out, channels))}


def product(inputs, params):
    data = Data(inputs, params)
    x, y, w = data["x"], data["y"], data["weights"]
    return data.waiting(lambda: data.ours.tensor_product(x, y, w)), lambda out: {"values": data.rows(out)}


def weights_of(data):
    return data["weights"].flatten()


def e3nn_weighted(inputs, params):
    data = Data(inputs, params)
    channels = inputs["x"].shape[1]
    x, y, w, product = blocks(data["x"]), data["y"], weights_of(data), e3nn_product(data, channels, True)
    return data.waiting(lambda: product(x, y, w)), lambda out: {"values": data.rows(unblocked(out, channels))}


def gradients(data, out, features):
    return {
        "values": data.rows(features(out[0])),
        "grad_x": data.rows(features(out[1])),
        "grad_y": data.rows(out[2]),
        "grad_weights": out[3].cpu().numpy().reshape(data.inputs["weights"].shape),
    }


def product_vjp(inputs, params):
    data = Data(inputs, params)
    tensors = tuple(data[n].requires_grad_() for n in ("x", "y", "weights"))
    call = with_vjp(data, data.ours.tensor_product, tensors, data["grad"])
    return call, lambda out: gradients(data, out, lambda x: x)


def e3nn_weighted_vjp(inputs, params):
    data = Data(inputs, params)
    channels = inputs["x"].shape[1]
    tensors = tuple(t.requires_grad_() for t in (blocks(data["x"]), data["y"], weights_of(data)))
    call = with_vjp(data, e3nn_product(data, channels, True), tensors, blocks(data["grad"]))
    return call, lambda out: gradients(data, out, lambda x: unblocked(x, channels))


def fused(inputs, params):
    data = Data(inputs, params)
    v, x, source = data["vectors"], data["features"], data["source"]
    call = data.waiting(lambda: data.ours.fused_sh_tp_simple(v, x, source))
    return call, lambda out: {"values": data.rows(out)}


def unfused(scatter):
    def prepare(inputs, params):
        data = Data(inputs, params)
        y_of, v, x = harmonics(data), data["vectors"], data["features"]
        source, target = data["source"], data["target"]

        def call():
            out = data.ours.tensor_product_simple(x[source], y_of(v))
            return data.torch.zeros_like(x).index_add_(0, target, out) if scatter else out

        return data.waiting(call), lambda out: {"values": data.rows(out)}

    return prepare


def e3nn_edges(weighted, scatter):
    def prepare(inputs, params):
        data = Data(inputs, params)
        channels = inputs["features"].shape[1]
        y_of, v, x = e3nn_harmonics(data), data["vectors"], blocks(data["features"])
        source, target, product = data["source"], data["target"], e3nn_product(data, channels, weighted)
        w = (weights_of(data),) if weighted else ()
        # Its intermediates are edges x channels x paths large: edges go in parts of at most 2^31 values of them.
        parts = math.ceil(len(v) * channels * 16 * 34 / 2**31) if weighted else 1
        size = math.ceil(len(v) / parts)

        def call():
            if not scatter:
                return product(x[source], y_of(v), *w)
            out = data.torch.zeros_like(x)
            for k in range(0, len(v), size):
                e = slice(k, k + size)
                out.index_add_(0, target[e], product(x[source[e]], y_of(v[e]), *w))
            return out

        return data.waiting(call), lambda out: {"values": data.rows(unblocked(out, channels))}

    return prepare


def pipeline(inputs, params):
    data = Data(inputs, params)
    v, x, source, target = (data[n] for n in ("vectors", "features", "source", "target"))
    arguments = {"target_idx": target, "n_nodes": len(x)}
    call = data.waiting(lambda: data.ours.fused_sh_tp_simple(v, x, source, **arguments))
    return call, lambda out: {"values": data.rows(out)}


def messages(inputs, params):
    data = Data(inputs, params)
    v, x, w, source, target = (data[n] for n in ("vectors", "features", "weights", "source", "target"))
    call = data.waiting(lambda: data.ours.fused_message_passing(v, x, w, source, target, len(x)))
    return call, lambda out: {"values": data.rows(out)}


BACKENDS = {
    "cuda": {
        "gpu_harmonics": values(harmonics),
        "gpu_harmonics_vjp": values_and_vjp(harmonics),
        "gpu_product_simple": product_simple,
        "gpu_product": product,
        "gpu_product_vjp": product_vjp,
        "gpu_fused": fused,
        "gpu_pipeline": pipeline,
        "gpu_messages": messages,
    },
    "cuda-unfused": {"gpu_fused": unfused(False), "gpu_pipeline": unfused(True)},
    "e3nn-cuda": {
        "gpu_harmonics": values(e3nn_harmonics),
        "gpu_harmonics_vjp": values_and_vjp(e3nn_harmonics),
        "gpu_product_simple": e3nn_product_simple,
        "gpu_product": e3nn_weighted,
        "gpu_product_vjp": e3nn_weighted_vjp,
        "gpu_fused": e3nn_edges(False, False),
        "gpu_pipeline": e3nn_edges(False, True),
        "gpu_messages": e3nn_edges(True, True),
    },
}
