"""The layers of cuequivariance_torch on Valence's kernels: the same constructors, the same calls, the same state dicts.

    import valence.compat.cuequivariance_torch as cuet           # import cuequivariance_torch as cuet

Irreps and layouts may be those of :mod:`valence.compat.cuequivariance`, of cuEquivariance itself, or text. `method="naive"` (or
``use_fallback=True``) runs the plain definition in torch operations, any other method the kernels. `math_dtype` must be
the dtype of the numbers. The reduced basis of ``SymmetricContraction(original_mace=False)`` is Valence's own: such weights are
trained here, those of cuEquivariance are refused. Written for cuEquivariance 0.13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import valence.torch as vt
from valence.compat.cuequivariance import as_filter, as_irreps
from valence.equivariant import Irreps as _Irreps
from valence.equivariant import _layers
from valence.equivariant.descriptor import block_segments

__all__ = [
    "ChannelWiseTensorProduct",
    "FullyConnectedTensorProduct",
    "Linear",
    "SphericalHarmonics",
    "SymmetricContraction",
    "TransposeIrrepsLayout",
]

_METHODS = ("naive", "uniform_1d", "fused_tp", "indexed_linear")


def _is_plain(method: str | None, use_fallback: bool | None) -> bool:
    if method is not None and method not in _METHODS:
        raise ValueError(f"`method` must be one of {', '.join(_METHODS)}, got {method!r}")
    return method == "naive" if method is not None else bool(use_fallback)


class _Layer:
    """The options that a layer has beside those of :mod:`valence.torch`."""

    _naive: bool
    _math: torch.dtype | None

    def _options(self, math_dtype: Any, method: str | None, use_fallback: bool | None) -> None:
        self._naive = _is_plain(method, use_fallback)
        self._math = getattr(torch, math_dtype) if isinstance(math_dtype, str) else math_dtype

    def _checked(self, x: Tensor) -> bool:
        """Whether the plain definition runs; refuses numbers of another dtype than asked for."""
        if self._math is not None and x.dtype != self._math:
            raise TypeError(f"`math_dtype` must be the dtype of the numbers, {x.dtype}, got {self._math}")
        return self._naive


class ChannelWiseTensorProduct(_Layer, vt.ChannelWiseTensorProduct):
    """`cuequivariance_torch.ChannelWiseTensorProduct`."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_irreps_out: Sequence[Any] | None = None,
        *,
        math_dtype: Any = None,
        use_fallback: bool | None = None,
        method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(as_irreps(irreps_in1), as_irreps(irreps_in2), as_filter(filter_irreps_out), **options)
        self._options(math_dtype, method, use_fallback)

    def forward(self, x1: Tensor, x2: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("use_fallback", self._checked(x1))
        return super().forward(x1, x2, *args, **kwargs)


class FullyConnectedTensorProduct(_Layer, vt.FullyConnectedTensorProduct):
    """`cuequivariance_torch.FullyConnectedTensorProduct`."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        *,
        math_dtype: Any = None,
        use_fallback: bool | None = None,
        method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(as_irreps(irreps_in1), as_irreps(irreps_in2), as_irreps(irreps_out), **options)
        self._options(math_dtype, method, use_fallback)

    def forward(self, x1: Tensor, x2: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("use_fallback", self._checked(x1))
        return super().forward(x1, x2, *args, **kwargs)


class Linear(_Layer, vt.Linear):
    """`cuequivariance_torch.Linear`."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        math_dtype: Any = None,
        use_fallback: bool | None = None,
        method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(as_irreps(irreps_in), as_irreps(irreps_out), **options)
        self._options(math_dtype, method, use_fallback)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("use_fallback", self._checked(x))
        return super().forward(x, *args, **kwargs)


class SymmetricContraction(_Layer, vt.SymmetricContraction):
    """`cuequivariance_torch.SymmetricContraction`, with its default ``original_mace=False``."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        contraction_degree: int,
        num_elements: int,
        *,
        original_mace: bool = False,
        math_dtype: Any = None,
        use_fallback: bool | None = None,
        method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            as_irreps(irreps_in),
            as_irreps(irreps_out),
            contraction_degree,
            num_elements,
            original_mace=original_mace,
            **options,
        )
        self.contraction_degree = contraction_degree
        self._options(math_dtype, method, use_fallback)

    def forward(self, x: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("use_fallback", self._checked(x))
        return super().forward(x, indices, *args, **kwargs)


class SphericalHarmonics(_Layer, vt.SphericalHarmonics):
    """`cuequivariance_torch.SphericalHarmonics`."""

    def __init__(
        self,
        ls: Any,
        normalize: bool = True,
        device: Any = None,
        math_dtype: Any = None,
        use_fallback: bool | None = None,
        method: str | None = None,
    ) -> None:
        super().__init__(ls, normalize)
        self._options(math_dtype, method, use_fallback)

    def forward(self, vectors: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("use_fallback", self._checked(vectors))
        return super().forward(vectors, *args, **kwargs)


class TransposeIrrepsLayout(nn.Module):
    """`cuequivariance_torch.TransposeIrrepsLayout`: features [rows, dim] from one layout to the other."""

    def __init__(
        self, irreps: Any, *, source: Any, target: Any, device: Any = None, use_fallback: bool | None = None
    ) -> None:
        super().__init__()
        made = _Irreps(as_irreps(irreps))
        places = []
        for layout in (_layers.layout_of("source", source), _layers.layout_of("target", target)):
            blocks = [s.places.reshape(-1) for s in block_segments(made, layout)]
            places.append(torch.from_numpy(_layers.joined(blocks)))
        order = torch.empty_like(places[0])
        order[places[1]] = places[0]
        self.register_buffer("_order", order.to(device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self._order)  # pyright: ignore[reportArgumentType]
