"""Descriptors as torch modules, differentiable twice in positions and cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from valence.descriptors._differentiable import SoapFunction
from valence.descriptors.soap import Soap as Descriptor

from ._last import last

__all__ = ["Soap"]


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: SoapFunction, positions: Tensor, cell: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(positions, cell)
        return torch.from_numpy(function.values(_array(positions), _array(cell)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return None, *_Gradient.apply(ctx.function, *ctx.saved_tensors, grad)


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: SoapFunction, positions: Tensor, cell: Tensor, grad: Tensor) -> Any:
        ctx.function = function
        ctx.save_for_backward(positions, cell, grad)
        x, h = function.vjp(_array(positions), _array(cell), _array(grad))
        return torch.from_numpy(x), torch.from_numpy(h).to(cell.dtype)

    @staticmethod
    def backward(ctx: Any, grad_positions: Tensor, grad_cell: Tensor) -> Any:  # type: ignore[override]
        positions, cell, grad = ctx.saved_tensors
        tangents = _array(grad_positions), _array(grad_cell.to(positions.dtype))
        x, h, g = ctx.function.second(_array(positions), _array(cell), _array(grad), *tangents)
        results = torch.from_numpy(x), torch.from_numpy(h).to(cell.dtype), torch.from_numpy(g)
        return None, *last("Soap", results, [positions, cell, grad, grad_positions, grad_cell])


class Soap(nn.Module):
    """:class:`valence.Soap` on tensors: values, forces and the training on forces. Third derivatives raise.

    Parameters
    ----------
    soap : a `valence.Soap`, or None and its parameters by name.

    >>> import torch
    >>> soap = Soap(cutoff=4.0, max_radial=3, lmax=2, width=0.4)
    >>> x = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    >>> values = soap(x, [1, 8])
    >>> torch.autograd.grad(values.sum(), x)[0].shape
    torch.Size([2, 3])
    """

    def __init__(self, soap: Descriptor | None = None, **parameters: Any) -> None:
        super().__init__()
        if soap is not None and parameters:
            raise TypeError(f"parameters must be those of `soap` alone, got {', '.join(parameters)} too")
        self.soap = Descriptor(**parameters) if soap is None else soap

    @torch.compiler.disable
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        positions: Tensor,
        numbers: Any,
        *,
        cell: Tensor | None = None,
        pbc: Any = None,
        counts: Any = None,
        species: Any = None,
        centers: Any = None,
        attach: bool = True,
        of: str | None = None,
    ) -> Tensor:
        """Values [rows, D] (coefficients [rows, S F]) of positions [N, 3], on the CPU.

        Parameters
        ----------
        positions : float32 or float64, Angstrom.
        numbers : atomic numbers [N].
        cell : [3, 3] or [B, 3, 3], rows are lattice vectors; its gradient is at fixed Cartesian positions.
        pbc : [3] or [B, 3]; None: periodic along the cell vectors that are not zero.
        counts : atoms of each system [B]; None: one system.
        species, centers, attach, of : as `valence.Soap.compute` and `vjp` take them.
        """
        for name, x in (("positions", positions), ("cell", cell)):
            if x is not None and not isinstance(x, Tensor):
                raise TypeError(f"`{name}` must be a torch tensor, got {type(x).__name__}")
            if x is not None and x.device.type != "cpu":
                raise ValueError(f"`{name}` must be on the CPU, got {x.device}")
        numbers = numbers.numpy() if isinstance(numbers, Tensor) else np.asarray(numbers)
        if pbc is None and cell is not None:
            pbc = _array(cell).any(axis=-1)
        function = SoapFunction(self.soap, numbers, counts, pbc, species, centers, attach, of)
        b = len(function._base)
        if cell is None:
            cell = torch.zeros(b, 3, 3, dtype=positions.dtype)
        return _Values.apply(function, positions, cell.expand(b, 3, 3))  # type: ignore[return-value]
