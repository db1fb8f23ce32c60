"""The description of a network from which the native engine is made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from valence import _native
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.polynomial import register
from valence.model.file import ModelFile
from valence.model.mace.config import GATES
from valence.model.mace.parts import Parts

__all__ = ["describe", "engine"]


#: Largest error of a tabulated radial function's derivative, as a part of the largest derivative.
TOLERANCE = {"float32": 1e-7, "float64": 1e-8}
#: Bytes of messages kept for the forces where the caller sets no limit.
MEMORY = 4 << 30


def engine(file: ModelFile, dtype: str, radial: str, memory: int | None) -> tuple[Any, Parts]:
    """The native engine in one precision, and the network's parts in its layout."""
    if radial not in ("exact", "spline"):
        raise ValueError(f"`radial` must be exact or spline, got {radial!r}")
    if memory is not None and (
        isinstance(memory, bool) or not isinstance(memory, (int, np.integer)) or not 0 <= memory < 2**63
    ):
        raise ValueError(f"`memory` must be a number of bytes below 2^63 or None, got {memory!r}")
    parts = Parts(file, layout="ir_mul")
    tolerance = TOLERANCE[dtype] if radial == "spline" else None
    return _native.MaceEngine(
        describe(parts), dtype == "float32", tolerance, MEMORY if memory is None else int(memory)
    ), parts


def _key(descriptor: Descriptor) -> tuple[int, int]:
    high, low = register(descriptor)
    return int(high), int(low)


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float64).reshape(-1)


def describe(parts: Parts) -> dict[str, Any]:
    """Everything the engine holds; constants of normalisation are multiplied into the weights."""
    c, w, z = parts.config, parts.weights, parts.elements
    heads = len(c.heads)
    scaled = c.model == "ScaleShiftMACE"
    own = w["atomic_energies_fn.atomic_energies"]

    def per_head(values: np.ndarray) -> list[float]:
        return np.broadcast_to(values, (heads,)).tolist()

    return {
        "elements": z,
        "channels": c.channels,
        "heads": heads,
        "lmax": c.max_ell,
        "agnostic": c.agnostic_product,
        "r_max": c.r_max,
        "power": float(c.power),
        "apply_cutoff": c.apply_cutoff,
        "basis": _basis(parts),
        "transform": _transform(parts),
        "repulsion": _repulsion(parts) if c.pair_repulsion else None,
        "embedding": _flat(w["node_embedding.linear.weight"]) / math.sqrt(z),
        "layers": [_layer(parts, t) for t in range(c.num_layers)],
        "readouts": [_readout(parts, i) for i in range(len(c.readouts))],
        "own_energies": np.broadcast_to(own, (heads, z)).reshape(-1).tolist(),
        "scale": per_head(w["scale_shift.scale"]) if scaled else [1.0] * heads,
        "shift": per_head(w["scale_shift.shift"]) if scaled else [0.0] * heads,
    }


def _basis(parts: Parts) -> tuple[str, list[float], float]:
    c, w = parts.config, parts.weights
    if c.radial_type == "bessel":
        return "bessel", w["radial_embedding.bessel_fn.bessel_weights"].tolist(), math.sqrt(2.0 / c.r_max)
    if c.radial_type == "gaussian":
        return "gaussian", w["radial_embedding.bessel_fn.gaussian_weights"].tolist(), c.r_max / (c.num_basis - 1)
    return "chebyshev", [], float(c.num_basis)


def _radii(parts: Parts, name: str) -> list[float]:
    return parts.weights[name][list(parts.config.atomic_numbers)].tolist()


def _transform(parts: Parts) -> tuple[str, list[float], list[float]]:
    kind, name = parts.config.distance_transform, "radial_embedding.distance_transform"
    if kind == "None":
        return "None", [], []
    keys = ("a", "q", "p") if kind == "Agnesi" else ("alpha",)
    return kind, [float(parts.weights[f"{name}.{k}"]) for k in keys], _radii(parts, f"{name}.covalent_radii")


def _repulsion(parts: Parts) -> tuple[list[float], list[float], list[float], list[float]]:
    w, name = parts.weights, "pair_repulsion_fn"
    constants = [float(w[f"{name}.a_exp"]), float(w[f"{name}.a_prefactor"]), float(parts.repulsion_power)]
    numbers = [float(n) for n in parts.config.atomic_numbers]
    return numbers, _radii(parts, f"{name}.covalent_radii"), constants, w[f"{name}.c"].tolist()


def _layer(parts: Parts, t: int) -> dict[str, Any]:
    w, layer, name = parts.weights, parts.layers[t], f"interactions.{t}"
    contraction = np.concatenate([w[n] for n in parts.contraction_names(t)], axis=1)
    found = {
        "residual": layer.kind.residual,
        "norm": layer.norm,
        "messages": _key(layer.messages),
        "up": (_key(layer.up), _flat(w[f"{name}.linear_up.weight"])),
        "contraction": (_key(layer.contraction), _flat(contraction)),
        "out": (_key(layer.out), _flat(w[f"products.{t}.linear.weight"])),
    }
    return {**found, **(_nonlinear(parts, t) if layer.kind.nonlinear else _linear(parts, t))}


def _linear(parts: Parts, t: int) -> dict[str, Any]:
    """What the blocks have whose messages reach the contraction through linear maps."""
    c, w, layer, name = parts.config, parts.weights, parts.layers[t], f"interactions.{t}"
    sizes, none = list(c.radial_mlp[t]), np.zeros(0)
    network = []
    for k, n in enumerate(sizes[:-1]):
        factor = (GATES["silu"] if k else 1.0) / math.sqrt(n)
        network.append((_flat(w[f"{name}.conv_tp_weights.layer{k}.weight"] * factor), none, none, none))
    density = None
    if layer.kind.density:
        weights = _flat(w[f"{name}.density_fn.layer0.weight"]) / math.sqrt(c.num_basis)
        density = ([c.num_basis, 1], [(weights, none, none, none)])
    skip = w[f"{name}.skip_tp.weight"]
    blocks = [
        skip[place].reshape(shape).transpose(1, 0, 2).reshape(shape[1], -1) for place, shape in parts.skip_blocks(t)
    ]
    return {
        "network": (sizes, network),
        "density": density,
        "embeddings": (none, none),
        "divisor": [1.0, 1.0],
        "down": (_key(layer.down), _flat(w[f"{name}.linear.weight"])),
        "skip": (_key(layer.skip), _flat(np.concatenate(blocks, axis=1) * parts.skip_scale)),
        "nonlinear": None,
    }


def _nonlinear(parts: Parts, t: int) -> dict[str, Any]:
    """What the residual block has whose messages pass through a gate and whose networks see both elements."""
    c, w, layer, name = parts.config, parts.weights, parts.layers[t], f"interactions.{t}"
    assert layer.beside is not None and layer.after is not None
    (scalars, _), *higher = c.target_irreps[t]
    source, target = (_flat(w[f"{name}.{k}_embedding.weight"]) * parts.skip_scale for k in ("source", "target"))
    return {
        "network": _normed(parts, f"{name}.conv_tp_weights"),
        "density": _normed(parts, f"{name}.density_fn"),
        "embeddings": (source, target),
        "divisor": [float(w[f"{name}.alpha"]), float(w[f"{name}.beta"])],
        "down": (_key(layer.down), _flat(w[f"{name}.linear_1.weight"])),
        "skip": (_key(layer.skip), _flat(w[f"{name}.skip_tp.weight"])),
        "nonlinear": {
            "beside": (_key(layer.beside), _flat(w[f"{name}.linear_res.weight"])),
            "after": (_key(layer.after), _flat(w[f"{name}.linear_2.weight"])),
            "scalars": scalars,
            "blocks": [[mul, ir.dim] for mul, ir in higher],
            "factors": [GATES["silu"], GATES["sigmoid"]],
        },
    }


def _normed(parts: Parts, name: str) -> tuple[list[int], list[tuple[np.ndarray, ...]]]:
    """A perceptron with biases and layer norms: sizes, and (weights [in, out], bias, scale, shift) of each map."""
    w, sizes, layers = parts.weights, [], []
    while f"{name}.net.{3 * len(layers)}.weight" in w:
        k = 3 * len(layers)
        matrix, norm = w[f"{name}.net.{k}.weight"], f"{name}.net.{k + 1}"
        sizes = [*(sizes or [matrix.shape[1]]), matrix.shape[0]]
        scale, shift = (_flat(w.get(f"{norm}.{n}", np.zeros(0))) for n in ("weight", "bias"))
        layers.append((_flat(matrix.T), _flat(w[f"{name}.net.{k}.bias"]), scale, shift))
    return sizes, layers


def _readout(parts: Parts, i: int) -> tuple[np.ndarray, str, np.ndarray | None]:
    c, w = parts.config, parts.weights
    if c.readouts[i] == "LinearReadoutBlock":
        return _flat(w[f"readouts.{i}.linear.weight"]) / math.sqrt(c.channels), "None", None
    first = _flat(w[f"readouts.{i}.linear_1.weight"]) / math.sqrt(c.channels)
    last = _flat(w[f"readouts.{i}.linear_2.weight"]) * (GATES[c.gate] / math.sqrt(c.readout_width))
    return first, c.gate, last
