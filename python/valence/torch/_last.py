"""The end of a chain of derivatives: what has no further one says so, instead of being taken for a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["last"]


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, what: str, count: int, *tensors: Tensor) -> Any:
        ctx.what = what
        return tuple(t.clone() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(f"{ctx.what} must be differentiated at most twice, got a third derivative")


def last(what: str, results: Sequence[Tensor], depends: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """`results`, whose derivative in any of `depends` raises NotImplementedError. For the backward of a second derivative."""
    if not torch.is_grad_enabled():
        return tuple(results)
    return _Last.apply(what, len(results), *results, *(t for t in depends if t is not None))  # type: ignore[return-value]
