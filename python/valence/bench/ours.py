"""Our own backends as an adapter (see worker.py): `numpy`, the reference; `cpu`; and what is timed in the same process as
`cpu` because it shares torch or JAX with it."""

from __future__ import annotations

import importlib
import types

import numpy as np

from valence.bench import (
    ours_descriptors,
    ours_engine,
    ours_equivariant,
    ours_gradients,
    ours_layers,
    ours_mace,
    ours_symmetric,
)

PACKAGES = ["valence"]


def reference(operation):
    """The NumPy definition, timed as it stands."""

    def prepare(inputs, params):
        from valence.bench import oracle

        function = oracle.OPERATIONS[operation]
        return (lambda: function(inputs, params)), dict

    return prepare


def threads(params):
    import valence as vl

    vl.set_num_threads(params["threads"])
    return vl


def floor(name, operation):
    """An op of `valence.torch` or `valence.jax`, which make their functions at the first use."""
    return getattr(importlib.import_module(f"valence.{name}"), operation)


def systems_of(vl, inputs, positions=None):
    arrays = {k: inputs[k] for k in ("cell", "pbc")}
    x = inputs["positions"] if positions is None else positions
    return vl.Systems.from_arrays(x, inputs["numbers"], counts=np.diff(inputs["offsets"]), **arrays)


def edge_arrays(edges):
    return {k: getattr(edges, k) for k in ("source", "target", "shift", "vector", "distance")}


def neighbor_list(inputs, params):
    vl = threads(params)
    systems = systems_of(vl, inputs)
    return (lambda: vl.find_edges(systems, params["cutoff"])), edge_arrays


def verlet(reuse):
    """A list at `cutoff` with `skin`: a step whose atoms have moved less than half of it, reused or built anew."""

    def prepare(inputs, params):
        vl = threads(params)
        frames = [systems_of(vl, inputs, x) for x in inputs["frames"]]
        kept = vl.NeighborList(params["cutoff"], skin=params["skin"])
        kept.update(frames[0])
        last = frames[-1]

        def call():
            if reuse:
                edges = kept.update(last)
                if kept.rebuilt:
                    raise RuntimeError("the list was rebuilt: the frames moved more than half the skin")
                return edges
            return vl.NeighborList(params["cutoff"], skin=params["skin"]).update(last)

        return call, edge_arrays

    return prepare


def harmonics_arguments(params):
    return {"lmax": params["lmax"], "normalization": "integral", "polar_axis": "z"}


def spherical_harmonics(inputs, params):
    vl = threads(params)
    v, arguments = inputs["vectors"], harmonics_arguments(params)
    return (lambda: vl.spherical_harmonics(v, **arguments)), lambda y: {"values": y}


def spherical_harmonics_vjp(inputs, params):
    """Values and vjp by the torch function with autograd, as the peers are timed."""
    import torch

    threads(params)
    torch.set_num_threads(params["threads"])
    harmonics = floor("torch", "spherical_harmonics")
    v = torch.from_numpy(inputs["vectors"]).requires_grad_()
    grad, arguments = torch.from_numpy(inputs["grad"]), harmonics_arguments(params)

    def call():
        y = harmonics(v, **arguments)
        return y, torch.autograd.grad(y, v, grad)[0]

    return call, lambda out: {"values": out[0].detach().numpy(), "grad_vectors": out[1].numpy()}


def radial(inputs, params):
    """Tables of values and derivatives; the sum that makes the gradient of them is left to the check."""
    vl = threads(params)
    r, grad = inputs["distance"], inputs["grad"]
    basis = vl.RadialBasis("gaussian", params["n"], params["cutoff"], envelope="cosine")

    def collect(out):
        slope = np.asarray(out[1], dtype=np.float64)
        return {"values": out[0], "grad_distance": (grad * slope).sum(1).astype(r.dtype)}

    return (lambda: basis.with_derivative(r)), collect


def read_extxyz(inputs, params):
    vl = threads(params)
    path = str(inputs["path"])

    def collect(systems):
        return {
            "numbers": systems.numbers,
            "counts": systems.counts,
            "positions": systems.positions,
            "forces": systems.columns["forces"],
            "energy": systems.info["energy"],
            "cell": systems.cell,
        }

    return (lambda: vl.read(path)), collect


def edge_length(inputs, params):
    vl = threads(params)
    v = inputs["vectors"]
    return (lambda: vl.edge_length(v)), lambda r: {"length": r}


def numpy_length(inputs, params):
    v = inputs["vectors"]
    return (lambda: np.sqrt((v * v).sum(1))), lambda r: {"length": r}


def torch_length(which):
    def prepare(inputs, params):
        import torch

        threads(params)
        torch.set_num_threads(params["threads"])
        v = torch.from_numpy(inputs["vectors"]).requires_grad_()
        ones = torch.ones(len(v), dtype=v.dtype)
        if which == "cpu":
            length = floor("torch", "edge_length")
        else:

            def length(vector):
                return torch.linalg.norm(vector, dim=1)

        def call():
            r = length(v)
            return r, torch.autograd.grad(r, v, ones)[0]

        return call, lambda out: {"length": out[0].detach().numpy(), "grad_vectors": out[1].numpy()}

    return prepare


def jax_length(which):
    def prepare(inputs, params):
        import jax
        import jax.numpy as jnp

        threads(params)
        jax.config.update("jax_enable_x64", True)
        v = jnp.asarray(inputs["vectors"])
        if which == "cpu":
            length = floor("jax", "edge_length")
        else:

            def length(vector):
                return jnp.sqrt((vector * vector).sum(1))

        jitted = jax.jit(length)
        return (lambda: jitted(v).block_until_ready()), lambda r: {"length": np.asarray(r)}

    return prepare


<<<<<<< HEAD
NUMPY = ("neighbor_list", "spherical_harmonics", "spherical_harmonics_vjp", "radial", "read_extxyz", "soap", "anisoap", "tensor_product",
         "tensor_product_simple")  # fmt: skip
=======
def with_stages(prepare):
    """The same operation, whose call can say where its time goes by the timers of the core; a program in an interpreter of its own
    cannot."""
    if isinstance(prepare, str):
        return prepare

    def prepared(inputs, params):
        call, collect = prepare(inputs, params)

        def stages():
            from valence import time_stages

            with time_stages() as found:
                call()
            return found

        if isinstance(call, types.FunctionType) and not hasattr(call, "stages"):
            setattr(call, "stages", stages)  # noqa: B010, a function takes attributes
        return call, collect

    return prepared


NUMPY = (
    "neighbor_list", "spherical_harmonics", "spherical_harmonics_vjp", "radial", "read_extxyz", "soap_featomic", "soap_dscribe",
    "anisoap", "tensor_product", "tensor_product_simple",
)  # fmt: skip
>>>>>>> h-bench

OPERATIONS = {
    "numpy": {**{name: reference(name) for name in NUMPY}, "edge_length": numpy_length},
    "cpu": {
        "neighbor_list": neighbor_list,
        "verlet": verlet(True),
        "spherical_harmonics": spherical_harmonics,
        "spherical_harmonics_vjp": spherical_harmonics_vjp,
        "radial": radial,
        "read_extxyz": read_extxyz,
        "edge_length": edge_length,
        "edge_length_torch": torch_length("cpu"),
        "edge_length_jax": jax_length("cpu"),
        **ours_symmetric.CPU,
        **ours_equivariant.CPU,
        **ours_layers.CPU,
        **ours_engine.CPU,
        **ours_mace.CPU,
<<<<<<< HEAD
        **ours_descriptors.CPU,
        **ours_gradients.CPU,
=======
>>>>>>> h-bench
    },
    "cpu-ir-mul": ours_layers.INSIDE,
    "cpu-exact": {**ours_mace.EXACT, **ours_engine.EXACT},
    "cpu-unfused": ours_equivariant.UNFUSED,
    "cpu-rebuild": {"verlet": verlet(False)},
    "torch-norm": {"edge_length_torch": torch_length("torch")},
    "jnp": {"edge_length_jax": jax_length("jnp")},
}
BACKENDS = {backend: {op: with_stages(f) for op, f in table.items()} for backend, table in OPERATIONS.items()}
