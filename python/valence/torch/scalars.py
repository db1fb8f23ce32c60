"""Spherical harmonics and the gate as torch modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import valence.torch
from valence.equivariant import _layers
from valence.equivariant._plain import harmonics
from valence.equivariant.gates import PARITY, SECOND_MOMENT, gate_plan, parity_of
from valence.equivariant.irreps import Irreps
from valence.torch._polynomial import polynomial

__all__ = ["Gate", "SphericalHarmonics"]

_HARMONICS = valence.torch.spherical_harmonics


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of chosen degrees, by default "component" normalised and of the vectors' directions.

    Parameters
    ----------
    ls : a degree or several, increasing.
    normalize : take the direction of each vector (a zero vector gives zeros for l > 0), else the vector as it is.
    normalization : "component", "norm" or "integral".

    >>> SphericalHarmonics([0, 1, 3])(torch.ones(2, 3)).shape
    torch.Size([2, 11])
    """

    def __init__(self, ls: int | Sequence[int], normalize: bool = True, *, normalization: str = "component") -> None:
        super().__init__()
        self.ls = list(_layers.degrees(ls))
        self.normalize, self.normalization = normalize, normalization
        self.irreps_out = Irreps([(1, (l, (-1) ** l)) for l in self.ls])
        self._whole = self.ls == list(range(self.ls[-1] + 1))

    def forward(self, vectors: Tensor, use_fallback: bool = False) -> Tensor:
        """Harmonics [rows, sum of 2l+1] of vectors [rows, 3]."""
        if use_fallback:
            return self._plain(vectors)
        found = _HARMONICS(vectors, self.ls[-1], normalize=self.normalize, normalization=self.normalization)
        if self._whole:
            return found
        return torch.cat([found[:, l * l : (l + 1) ** 2] for l in self.ls], dim=1)

    def _plain(self, vectors: Tensor) -> Tensor:
        if vectors.ndim != 2 or vectors.shape[1] != 3:
            raise ValueError(f"`vector` must be of shape [E, 3], got {list(vectors.shape)}")
        if self.normalize:
            square = vectors.pow(2).sum(1, keepdim=True)
            is_zero = square < 1e-24
            vectors = torch.where(is_zero, 0.0, vectors / torch.where(is_zero, 1.0, square).sqrt())
        columns = harmonics(vectors, self.ls[-1], self.normalization)
        return torch.stack([column for l in self.ls for column in columns[l * l : (l + 1) ** 2]], dim=1)

    def extra_repr(self) -> str:
        return f"ls={self.ls}, normalize={self.normalize}, normalization={self.normalization!r}"


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "abs": torch.abs,
}


class _Activation(nn.Module):
    """A scalar function, scaled so that its second moment under the normal distribution is 1 (as e3nn's normalize2mom)."""

    def __init__(self, function: Any, normalize2mom: bool) -> None:
        super().__init__()
        name = function if isinstance(function, str) else None
        if name is not None and name not in _ACTIVATIONS:
            raise ValueError(f"an activation must be a function or one of {', '.join(_ACTIVATIONS)}, got {name!r}")
        self.function: Any = function if name is None else _ACTIVATIONS[name]
        with torch.no_grad():
            self.parity = PARITY[name] if name else parity_of(lambda x: self.function(torch.from_numpy(x)).numpy())
        self.factor = 1.0
        if normalize2mom and function is not None:
            factor = SECOND_MOMENT[name] if name else self._second_moment()
            self.factor = factor if abs(factor - 1) >= 1e-4 else 1.0

    def _second_moment(self) -> float:
        """e3nn's constant, by its own draws (math/normalize2mom), so that weights trained there fit."""
        draws = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            return self.function(draws).pow(2).mean().pow(-0.5).item()

    def forward(self, x: Tensor) -> Tensor:
        value = self.function(x)
        return value if self.factor == 1.0 else value * self.factor


class Gate(nn.Module):
    """Activated scalars, then features multiplied by activated gates: f(scalars) + g(gates) gated. e3nn's `nn.Gate`.

    Parameters
    ----------
    irreps_scalars, act_scalars : scalars and, for each of their terms, a function, a name ("silu", "tanh", "sigmoid",
        "gelu", "relu", "abs") or None. A function of an odd scalar must be even or odd.
    irreps_gates, act_gates : the same for the gates, as many irreps as `irreps_gated` has.
    irreps_gated : what the gates multiply.
    normalize2mom : scale each function so that its second moment under the normal distribution is 1, with e3nn's constants.
    layout, group, irrep_order : as in :class:`ChannelWiseTensorProduct`; the order sorts the input.

    The input's irreps are `irreps_in`: scalars, gates and gated together, sorted and joined; the result's are `irreps_out`.

    >>> gate = Gate("8x0e", ["silu"], "4x0e", ["sigmoid"], "4x1o")
    >>> str(gate.irreps_in), str(gate.irreps_out)
    ('12x0e + 4x1o', '8x0e + 4x1o')
    """

    def __init__(
        self,
        irreps_scalars: Any,
        act_scalars: Sequence[Any],
        irreps_gates: Any,
        act_gates: Sequence[Any],
        irreps_gated: Any,
        *,
        normalize2mom: bool = True,
        layout: Any = None,
        device: Any = None,
        group: str | None = None,
        irrep_order: str | None = None,
    ) -> None:
        super().__init__()
        acts = [
            [None if f is None else _Activation(f, normalize2mom) for f in side] for side in (act_scalars, act_gates)
        ]
        parities = [[None if f is None else f.parity for f in side] for side in acts]
        self.plan = gate_plan(
            irreps_scalars,
            parities[0],
            irreps_gates,
            parities[1],
            irreps_gated,
            layout=_layers.layout_of("layout", layout),
            group=group,
            irrep_order=irrep_order,
        )
        self.irreps_in, self.irreps_out = self.plan.irreps_in, self.plan.irreps_out
        self.act_scalars = nn.ModuleList([f or nn.Identity() for f in acts[0]])
        self.act_gates = nn.ModuleList([f or nn.Identity() for f in acts[1]])
        places = (*self.plan.scalars, *self.plan.gates, self.plan.gated)
        for n, place in enumerate(places):
            self.register_buffer(f"_place_{n}", torch.as_tensor(place, device=device), persistent=False)

    def forward(self, x: Tensor, use_fallback: bool = False) -> Tensor:
        """The gated rows [rows, irreps_out.dim] of x [rows, irreps_in.dim]."""
        if x.ndim != 2 or x.shape[1] != self.irreps_in.dim:
            rule = f"[rows, {self.irreps_in.dim}] for {self.irreps_in}"
            raise ValueError(f"`x` must be of shape {rule}, got {list(x.shape)}")
        picked = [x.index_select(1, getattr(self, f"_place_{n}")) for n in range(len(self._buffers))]
        count = len(self.act_scalars)
        parts = [f(part) for f, part in zip(self.act_scalars, picked)]
        if self.plan.product.output.size:
            gates = torch.cat([f(part) for f, part in zip(self.act_gates, picked[count:])], dim=1)
            parts.append(polynomial(self.plan.product, picked[-1], gates, use_fallback=use_fallback))
        return torch.cat(parts, dim=1) if parts else x.new_zeros(x.shape[0], 0)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        for key in [k for k in state_dict if k.startswith(f"{prefix}mul.")]:  # e3nn's product, which has no weights
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"
