"""The Batteries package's functions under their own names and defaults: change one import.

NumPy arrays in, NumPy arrays out; torch tensors in, torch tensors out with gradients. Harmonics are of the vectors as
they are, not normalised, of component normalisation.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from valence._op import REGISTRY
from valence.equivariant.paths import tp_num_paths, tp_path_info

__all__ = [
    "autograd",
    "fused_sh_tp_simple",
    "get_tp_num_paths",
    "get_tp_path_info",
    "spherical_harmonics",
    "spherical_harmonics_backward",
    "tensor_product",
    "tensor_product_simple",
]


def _run(name: str, *operands: Any, **parameters: Any) -> Any:
    if type(operands[0]).__module__.partition(".")[0] == "torch":
        import valence.torch

        return getattr(valence.torch, name)(*operands, **parameters)
    return REGISTRY[name](*operands, **parameters)


def _degree(array: Any) -> int:
    lmax = math.isqrt(array.shape[-1]) - 1
    if (lmax + 1) ** 2 != array.shape[-1] or lmax < 0:
        raise ValueError(f"`input` must be an array [..., (L_max + 1)^2], got shape {list(array.shape)}")
    return lmax


def spherical_harmonics(edge_vectors: Any, L_max: int = 3) -> Any:
    """[E, 3] -> [E, (L_max + 1)^2]."""
    return _run("spherical_harmonics", edge_vectors, lmax=L_max, normalize=False)


def spherical_harmonics_backward(edge_vectors: Any, grad_output: Any) -> Any:
    """The gradient [E, 3] of the vectors for that of the harmonics [E, (L_max + 1)^2]."""
    op = REGISTRY["spherical_harmonics"].bwd
    assert op is not None
    if type(edge_vectors).__module__.partition(".")[0] == "torch":
        import torch

        found = op(
            edge_vectors.detach().numpy(), grad_output.detach().numpy(), lmax=_degree(grad_output), normalize=False
        )
        return torch.from_numpy(found)
    return op(edge_vectors, grad_output, lmax=_degree(grad_output), normalize=False)


def tensor_product_simple(input1: Any, input2: Any) -> Any:
    """[N, M] x [N, M] -> [N, M], every path with weight 1."""
    return _run("tensor_product_simple", input1[:, None], input2, lmax=_degree(input1))[:, 0]


def tensor_product(input1: Any, input2: Any, weights: Any) -> Any:
    """[N, C_in, M] x [N, M] with weights [P, C_in, C_out] -> [N, C_out, M]; P = 34 for degree 3."""
    return _run("tensor_product", input1, input2, weights, lmax1=_degree(input1), lmax2=_degree(input2))


def fused_sh_tp_simple(edge_vectors: Any, node_features: Any, source_idx: Any) -> Any:
    """`tensor_product_simple` of node_features[source_idx] with the harmonics of the vectors, [N, M] or [N, C, M]."""
    flat, lmax = node_features.ndim == 2, _degree(node_features)
    features = node_features[:, None] if flat else node_features
    out = _run("fused_sh_tp_simple", edge_vectors, features, source_idx, lmax=lmax)
    return out[:, 0] if flat else out


def get_tp_num_paths() -> int:
    """34."""
    return tp_num_paths()


def get_tp_path_info() -> np.ndarray:
    """The paths (l1, l2, l_out), [34, 3] int32."""
    return tp_path_info()


class _SphericalHarmonics:
    """`apply(edge_vectors, L_max=3)`, differentiable twice."""

    apply = staticmethod(spherical_harmonics)


class _TensorProduct:
    """`apply(input1, input2, weights)`, differentiable twice."""

    apply = staticmethod(tensor_product)


autograd = SimpleNamespace(SphericalHarmonics=_SphericalHarmonics, TensorProduct=_TensorProduct)
