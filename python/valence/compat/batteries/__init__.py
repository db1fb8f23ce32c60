"""The Batteries package's functions under their own names and defaults: change one import.

NumPy arrays in, NumPy arrays out; torch tensors in, torch tensors out with gradients. Harmonics are of the vectors as
they are, not normalised, of component normalisation. Degrees are read from the shapes, 3 being what the package has. The
`*_backward` functions give gradients as they are, without autograd.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from valence._op import REGISTRY
from valence.equivariant.paths import tp_num_paths, tp_path_info
from valence.equivariant.products import degree

__all__ = [
    "fused_sh_tp_simple",
    "get_tp_num_paths",
    "get_tp_path_info",
    "spherical_harmonics",
    "spherical_harmonics_backward",
    "tensor_product",
    "tensor_product_backward",
    "tensor_product_simple",
    "tensor_product_simple_backward",
]


def _is_torch(array: Any) -> bool:
    return type(array).__module__.partition(".")[0] == "torch"


def _floor(array: Any) -> Any:
    """The functions for the library that the array is of."""
    if _is_torch(array):
        import valence.torch

        return valence.torch
    import valence

    return valence


def _backward(name: str, *operands: Any, **parameters: Any) -> Any:
    """The op's vjp on arrays or on tensors cut off from their graph."""
    op = REGISTRY[name].bwd
    assert op is not None
    if not _is_torch(operands[0]):
        return op(*operands, **parameters)
    import valence.torch

    return valence.torch.vjp(op, **parameters)(*[o.detach() for o in operands])


def spherical_harmonics(edge_vectors: Any, L_max: int = 3) -> Any:
    """[E, 3] -> [E, (L_max + 1)^2]."""
    return _floor(edge_vectors).spherical_harmonics(edge_vectors, L_max, normalize=False)


def spherical_harmonics_backward(edge_vectors: Any, grad_Y_lm: Any) -> Any:
    """The gradient [E, 3] of the vectors for that of the harmonics [E, (L_max + 1)^2]."""
    lmax = degree("grad_Y_lm", grad_Y_lm)
    return _backward("spherical_harmonics", edge_vectors, grad_Y_lm, lmax=lmax, normalize=False)


def tensor_product_simple(input1: Any, input2: Any) -> Any:
    """[N, M] x [N, M] -> [N, M], every path with weight 1."""
    return _floor(input1).tensor_product_simple(input1, input2)


def tensor_product_simple_backward(input1: Any, input2: Any, grad_output: Any) -> Any:
    """The gradients [N, M] of both inputs for that of the result."""
    lmax = degree("input1", input1)
    one, two = _backward("tensor_product_simple", input1[:, None], input2, grad_output[:, None], lmax=lmax)
    return one[:, 0], two


def tensor_product(input1: Any, input2: Any, weights: Any) -> Any:
    """[N, C_in, M] x [N, M] with weights [P, C_in, C_out] -> [N, C_out, M]; P = 34 for degree 3."""
    return _floor(input1).tensor_product(input1, input2, weights)


def tensor_product_backward(
    input1: Any,
    input2: Any,
    weights: Any,
    grad_output: Any,
    needs_input1_grad: bool = True,
    needs_input2_grad: bool = True,
    needs_weights_grad: bool = True,
) -> Any:
    """The gradients of the three inputs for that of the result [N, C_out, M]; None for each that is not needed."""
    degrees = {"lmax1": degree("input1", input1), "lmax2": degree("input2", input2)}
    lmax_out = degree("grad_output", grad_output)
    found = _backward("tensor_product", input1, input2, weights, grad_output, **degrees, lmax_out=lmax_out)
    needed = (needs_input1_grad, needs_input2_grad, needs_weights_grad)
    return tuple([grad if wanted else None for grad, wanted in zip(found, needed)])


def fused_sh_tp_simple(edge_vectors: Any, node_features: Any, source_idx: Any) -> Any:
    """`tensor_product_simple` of node_features[source_idx] with the harmonics of the vectors, [N, M] or [N, C, M]."""
    return _floor(node_features).fused_sh_tp_simple(edge_vectors, node_features, source_idx)


def get_tp_num_paths() -> int:
    """34."""
    return tp_num_paths()


def get_tp_path_info() -> np.ndarray:
    """The paths (l1, l2, l_out), [34, 3] int32."""
    return tp_path_info()


def __getattr__(name: str) -> Any:
    if name == "autograd":
        return importlib.import_module("valence.compat.batteries.autograd")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has autograd, {', '.join(__all__)}")
