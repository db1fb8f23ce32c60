"""AniSOAP as a torch module, differentiable twice in positions, orientations, semiaxes and cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from valence.descriptors import AniSoap as Calculator
from valence.descriptors import _shapes
from valence.descriptors._anisoap_autograd import first, frame, prepare, second

from ._last import last

__all__ = ["AniSoap"]


def _array(t: Tensor) -> np.ndarray:
    return t.detach().contiguous().numpy()


class _Spectrum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: Any, positions: Tensor, cell: Tensor, covariance: Tensor) -> Tensor:
        call = prepare(fixed, _array(positions), _array(cell), _array(covariance))
        ctx.call, ctx.unique = call, fixed.calculator.unique
        ctx.save_for_backward(positions, cell, covariance)
        return torch.from_numpy(call.power(ctx.unique, False))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *_Gradient.apply(ctx.call, ctx.unique, grads[0], *ctx.saved_tensors)


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Any, unique: bool, grad: Tensor, *inputs: Tensor) -> Any:
        ctx.call, ctx.unique = call, unique
        ctx.save_for_backward(grad, *inputs)
        ctx.dtypes = [t.dtype for t in inputs]
        found = first(call, unique, _array(grad))
        return tuple(torch.from_numpy(x).to(t) for x, t in zip(found, ctx.dtypes, strict=True))

    @staticmethod
    def backward(ctx: Any, *along: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad, *inputs = ctx.saved_tensors
        directions = tuple(None if a is None else _array(a) for a in along)
        found = second(ctx.call, ctx.unique, _array(grad), directions)  # type: ignore[arg-type]
        dtypes = [grad.dtype, *ctx.dtypes]
        results = [torch.from_numpy(x).to(t) for x, t in zip(found, dtypes, strict=True)]
        return None, None, *last("AniSoap", results, [grad, *inputs, *along])


class AniSoap(nn.Module):
    """The power spectrum [N, D] of :class:`valence.AniSoap` as a function of tensors on the CPU.

    Parameters are those of :class:`valence.AniSoap`. Third derivatives raise.

    Examples
    --------
    >>> soap = AniSoap(cutoff=4.0, lmax=2, width=1.0)
    >>> x = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    >>> q, s = torch.eye(4, dtype=torch.float64)[:1].expand(2, 4), torch.ones(2, 3, dtype=torch.float64)
    >>> soap(x, [6, 6], q, s).shape
    torch.Size([2, 6])
    """

    def __init__(self, **parameters: Any) -> None:
        super().__init__()
        self.calculator = Calculator(**parameters)
        if self.calculator.mean_over_samples:
            raise ValueError("`mean_over_samples` must be False here (take the mean of the result), got True")

    def forward(
        self,
        positions: Tensor,
        numbers: Any,
        orientation: Tensor,
        semiaxes: Tensor,
        *,
        cell: Tensor | None = None,
        pbc: Any = None,
        counts: Any = None,
        species: Any = None,
    ) -> Tensor:
        """Spectra of particles.

        Parameters
        ----------
        positions : [N, 3], float32 or float64, Angstrom.
        numbers : [N] atomic numbers.
        orientation : quaternions w, x, y, z [N, 4] of any norm, or matrices [N, 3, 3] with body axes as columns.
        semiaxes : [N, 3], Angstrom, zero or more.
        cell : [3, 3] or [B, 3, 3], rows are lattice vectors; None: no cell. Its gradient is at fixed positions.
        pbc : [3] or [B, 3]; None: periodic along the cell vectors that are not zero.
        counts : [B] particles of each system; None: one system.
        species : elements of the columns; None: those of `numbers`.
        """
        for name, t in (("positions", positions), ("orientation", orientation), ("semiaxes", semiaxes)):
            if not isinstance(t, Tensor):
                raise TypeError(f"`{name}` must be a torch tensor, got {type(t).__name__}")
            if t.device.type != "cpu":
                raise ValueError(f"`{name}` must be on the CPU, got {t.device}")
            if t.dtype != positions.dtype:
                raise TypeError(f"`{name}` must be {positions.dtype} as the positions are, got {t.dtype}")
        if isinstance(numbers, Tensor):
            numbers = numbers.numpy()
        if isinstance(counts, Tensor):
            counts = counts.numpy()
        n, systems = len(positions), 1 if counts is None else len(counts)
        if orientation.shape not in ((n, 4), (n, 3, 3)):
            rule = f"of shape [N, 4] = [{n}, 4] or [N, 3, 3] = [{n}, 3, 3]"
            raise ValueError(f"`orientation` must be {rule}, got {list(orientation.shape)}")
        if semiaxes.shape != (n, 3):
            raise ValueError(f"`semiaxes` must be of shape [N, 3] = [{n}, 3], got {list(semiaxes.shape)}")
        _shapes.check(_array(orientation), _array(semiaxes))
        if cell is None:
            cell = torch.zeros(systems, 3, 3, dtype=torch.float64)
        if cell.ndim == 2:
            cell = cell.expand(systems, 3, 3)
        fixed = frame(self.calculator, numbers, counts, pbc, species, _array(cell))
        r = _rotation(orientation) if orientation.ndim == 2 else orientation
        covariance = torch.einsum("nak,nk,nbk->nab", r, semiaxes * semiaxes, r)
        return _Spectrum.apply(fixed, positions, cell, covariance)  # type: ignore[return-value]

    def extra_repr(self) -> str:
        return repr(self.calculator)


def _rotation(q: Tensor) -> Tensor:
    """Matrices of quaternions of any norm, also one whose square is out of range."""
    q = q / q.detach().abs().amax(dim=1, keepdim=True)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
