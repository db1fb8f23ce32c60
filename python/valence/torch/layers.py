"""Equivariant layers as torch modules, with cuEquivariance's names and arguments.

Irreps are text ("32x0e + 32x1o", of the group `group`) or :class:`valence.Irreps`. A layer with weights of its own has them as
the parameter `weight`; state dicts of e3nn, cuEquivariance and MACE load where they hold the same numbers in the same order.
Each layer runs on the native kernels of the CPU, twice differentiable; ``use_fallback=True`` in the call runs the plain
definition in torch operations instead, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from valence.equivariant import _layers
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.irreps import Irreps
from valence.torch._polynomial import polynomial

__all__ = [
    "ChannelWiseTensorProduct",
    "FullyConnectedTensorProduct",
    "Linear",
    "TensorProduct",
]

#: What modules of e3nn and cuEquivariance keep beside their weights: constants that follow from the irreps.
_CONSTANTS = ("output_mask", "f", "transpose_in", "transpose_in1", "transpose_in2", "transpose_out")


class _Weighted(nn.Module):
    """A descriptor whose first operand is the weights, which the layer may hold."""

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        shared_weights: bool,
        internal_weights: bool | None,
        classes: int = 1,
        dtype: torch.dtype | None,
        device: Any,
    ) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.weight_numel = descriptor.weight_numel
        self.shared_weights = shared_weights
        self.internal_weights = _layers.internal(shared_weights, internal_weights)
        self._classes = classes
        self.weight: nn.Parameter | None = None
        if self.internal_weights:
            self.weight = nn.Parameter(torch.randn(classes, self.weight_numel, dtype=dtype, device=device))

    @property
    def irreps_out(self) -> Irreps | None:
        return self.descriptor.irreps_out

    def _rows(self, weight: Tensor | None) -> Tensor:
        given = _layers.own_weights(self.weight, weight)
        return _layers.rows_of_weights(given, self.weight_numel, self.shared_weights, self._classes)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        _drop_constants(state_dict, prefix)
        found = state_dict.get(f"{prefix}weight")
        if found is not None and found.ndim == 1:  # as e3nn keeps it
            if self.weight is None and found.numel() == 0:
                del state_dict[f"{prefix}weight"]
            else:
                state_dict[f"{prefix}weight"] = found.reshape(1, -1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return (
            f"{self.descriptor!r}, shared_weights={self.shared_weights}, internal_weights={self.internal_weights}, "
            f"weight_numel={self.weight_numel}"
        )


def _drop_constants(state_dict: Any, prefix: str) -> None:
    for key in [k for k in state_dict if k.startswith(prefix)]:
        head = key[len(prefix) :].split(".", 1)[0]
        empty_bias = head == "bias" and state_dict[key].numel() == 0
        if head in _CONSTANTS or head.startswith("_compiled_main") or empty_bias:
            del state_dict[key]


def _indexed(**indices: Tensor | None) -> dict[int | str, Tensor]:
    return {name: index for name, index in indices.items() if index is not None}


class ChannelWiseTensorProduct(_Weighted):
    """Every channel of x1 with every channel of x2: out_p[u,v,k] = W_p[u,v] sum_ij C[i,j,k] x1_a[u,i] x2_b[v,j].

    Parameters
    ----------
    irreps_in1, irreps_in2 : of x1 and x2.
    filter_irreps_out : which irreps the result keeps; None: all.
    layout : "mul_ir" or "ir_mul"; `layout_in1`, `layout_in2`, `layout_out` say otherwise for one side.
    shared_weights : one set of weights for all rows; otherwise a set for each row is given to the call.
    internal_weights : whether the layer holds its weights; None: if they are shared.
    dtype, device : of the weights; None: torch's own.
    group : of irreps given as text: "O3", "SO3" or "O3_e3nn".
    irrep_order : how paths are sorted, "cue" or "e3nn"; None: as the group does.
    convention : signs of the coefficients, "e3nn05" or "e3nn04".

    The result's irreps are `irreps_out`: a term for each path, sorted by irrep.

    >>> layer = ChannelWiseTensorProduct("8x0e + 8x1o", "0e + 1o", "0e + 1o", shared_weights=False)
    >>> layer.irreps_out, layer.weight_numel
    (Irreps('8x0e + 8x0e + 8x1o + 8x1o', group='O3'), 32)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_irreps_out: Any = None,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.channel_wise(irreps_in1, irreps_in2, filter_irreps_out, layouts, group, irrep_order, convention)
        super().__init__(
            made, shared_weights=shared_weights, internal_weights=internal_weights, dtype=dtype, device=device
        )
        _, self.irreps_in1, self.irreps_in2, _ = (o.irreps for o in made.operands)

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        weight: Tensor | None = None,
        indices_1: Tensor | None = None,
        indices_2: Tensor | None = None,
        indices_out: Tensor | None = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> Tensor:
        """The product of rows.

        Parameters
        ----------
        x1 : tensor [rows, irreps_in1.dim]. x2 : tensor [rows, irreps_in2.dim]. One row is shared by all.
        weight : [weight_numel], [1, weight_numel] or [rows, weight_numel], where the layer holds none.
        indices_1, indices_2 : integer tensors [rows]: the row of x1 or x2 that each row reads.
        indices_out : integer tensor [rows]: the row of the result that each row is added to, of `size_out`.
        use_fallback : run the plain definition in torch operations.

        Returns
        -------
        tensor [rows or size_out, irreps_out.dim].
        """
        indices = _indexed(x1=indices_1, x2=indices_2, out=indices_out)
        rows = self._rows(weight)
        return polynomial(self.descriptor, rows, x1, x2, indices=indices, size_out=size_out, use_fallback=use_fallback)


class FullyConnectedTensorProduct(_Weighted):
    """All channels with all: out_c[w,k] = alpha_c sum W[u,v,w] C[i,j,k] x1_a[u,i] x2_b[v,j], alpha_c = (sum mul_a mul_b)^(-1/2).

    Parameters and the call are those of :class:`ChannelWiseTensorProduct`, with `irreps_out` for the result.

    >>> FullyConnectedTensorProduct("4x0e + 4x1o", "0e + 1o", "8x1o").weight_numel
    64
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.fully_connected(irreps_in1, irreps_in2, irreps_out, layouts, group, convention)
        super().__init__(
            made, shared_weights=shared_weights, internal_weights=internal_weights, dtype=dtype, device=device
        )
        _, self.irreps_in1, self.irreps_in2, _ = (o.irreps for o in made.operands)

    forward = ChannelWiseTensorProduct.forward


class Linear(_Weighted):
    """Mixes channels of equal irreps: out_o[w,m] = sum_i sum_u W_io[u,w] x_i[u,m] / sqrt(F_o), F_o = sum of mul_i into o.

    Parameters
    ----------
    irreps_in, irreps_out : of x and the result; an output irrep that no input has is zero.
    weight_classes : sets of weights that rows choose from by `weight_indices`, such as one for each chemical element.

    The others are those of :class:`ChannelWiseTensorProduct`.

    >>> Linear("8x0e + 8x1o", "4x0e + 2x1o", weight_classes=3).weight.shape
    torch.Size([3, 48])
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        layout: Any = None,
        layout_in: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        weight_classes: int = 1,
        dtype: torch.dtype | None = None,
        device: Any = None,
        group: str | None = None,
    ) -> None:
        layouts = _layers.layout_of("layout_in", layout_in, layout), _layers.layout_of("layout_out", layout_out, layout)
        if weight_classes < 1 or (weight_classes > 1 and not shared_weights):
            raise ValueError(f"`weight_classes` must be 1, or more with shared weights, got {weight_classes}")
        made = _layers.mixing(irreps_in, irreps_out, layouts, group)
        super().__init__(
            made,
            shared_weights=shared_weights,
            internal_weights=internal_weights,
            classes=weight_classes,
            dtype=dtype,
            device=device,
        )
        self.weight_classes = weight_classes
        self.irreps_in = made.operands[1].irreps

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        weight_indices: Tensor | None = None,
        indices_1: Tensor | None = None,
        indices_out: Tensor | None = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> Tensor:
        """The mixed rows [rows or size_out, irreps_out.dim] of x [rows, irreps_in.dim].

        weight : [weight_numel], [weight_classes, weight_numel] or [rows, weight_numel], where the layer holds none.
        weight_indices : integer tensor [rows]: the class of each row, needed where there are several.
        indices_1, indices_out, size_out, use_fallback : as in :meth:`ChannelWiseTensorProduct.forward`.
        """
        if self.weight_classes > 1 and weight_indices is None:
            raise ValueError(f"`weight_indices` must be given for {self.weight_classes} classes of weights, got None")
        indices = _indexed(weight=weight_indices, x=indices_1, out=indices_out)
        return polynomial(
            self.descriptor, self._rows(weight), x, indices=indices, size_out=size_out, use_fallback=use_fallback
        )


class TensorProduct(_Weighted):
    """Any descriptor as a layer, or a product of chosen paths as e3nn's instructions describe it.

    Parameters
    ----------
    descriptor : a :class:`valence.equivariant.Descriptor` of one or two inputs after the weights, if it has weights.
        In its place `irreps_in1`, `irreps_in2`, `irreps_out` and `instructions`, the arguments of
        :func:`valence.equivariant.instructed_tensor_product`.

    The others are those of :class:`ChannelWiseTensorProduct`.

    >>> TensorProduct("4x0e + 4x1o", "1o", "4x1o", [(0, 0, 0, "uvu", True)]).weight.shape
    torch.Size([1, 4])
    """

    def __init__(
        self,
        descriptor: Any,
        irreps_in2: Any = None,
        irreps_out: Any = None,
        instructions: Sequence[tuple] | None = None,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        group: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.product_of(descriptor, irreps_in2, irreps_out, instructions, layouts, group, convention)
        weighted = made.operands[0].name == "weight"
        super().__init__(
            made,
            shared_weights=shared_weights,
            internal_weights=internal_weights if weighted else False,
            dtype=dtype,
            device=device,
        )
        self._weighted = weighted

    def forward(
        self,
        x1: Tensor,
        x2: Tensor | None = None,
        weight: Tensor | None = None,
        indices_1: Tensor | None = None,
        indices_2: Tensor | None = None,
        indices_out: Tensor | None = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> Tensor:
        """As :meth:`ChannelWiseTensorProduct.forward`; without x2 where the descriptor has one input."""
        if not self._weighted and weight is not None:
            raise ValueError("`weight` must be None for a descriptor without weights, got a tensor")
        operands = [self._rows(weight)] if self._weighted else []
        operands += [x1] if x2 is None else [x1, x2]
        indices = _indexed(x1=indices_1, x2=indices_2, out=indices_out)
        return polynomial(self.descriptor, *operands, indices=indices, size_out=size_out, use_fallback=use_fallback)
