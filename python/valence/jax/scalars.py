"""Spherical harmonics and the gate as JAX modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import valence.jax
from valence.equivariant import _layers
from valence.equivariant._plain import harmonics
from valence.equivariant.gates import PARITY, SECOND_MOMENT, GatePlan, gate_plan, parity_of
from valence.equivariant.irreps import Irreps
from valence.jax._module import Module, fixed
from valence.jax._polynomial import polynomial

__all__ = ["Gate", "SphericalHarmonics"]

_HARMONICS = valence.jax.spherical_harmonics


class SphericalHarmonics(Module):
    """As :class:`valence.torch.SphericalHarmonics`.

    >>> SphericalHarmonics([0, 1, 3])(jnp.ones((2, 3))).shape
    (2, 11)
    """

    ls: tuple[int, ...] = fixed()
    normalize: bool = fixed()
    normalization: str = fixed()

    def __init__(self, ls: int | Sequence[int], normalize: bool = True, *, normalization: str = "component") -> None:
        self._set(ls=_layers.degrees(ls), normalize=normalize, normalization=normalization)

    @property
    def irreps_out(self) -> Irreps:
        return Irreps([(1, (l, (-1) ** l)) for l in self.ls])

    def __call__(self, vectors: Any, use_fallback: bool = False) -> jax.Array:
        """Harmonics [rows, sum of 2l+1] of vectors [rows, 3]."""
        if use_fallback:
            return self._plain(jnp.asarray(vectors))
        found = _HARMONICS(vectors, self.ls[-1], normalize=self.normalize, normalization=self.normalization)
        return found[:, np.concatenate([np.arange(l * l, (l + 1) ** 2) for l in self.ls])]

    def _plain(self, vectors: jax.Array) -> jax.Array:
        if vectors.ndim != 2 or vectors.shape[1] != 3:
            raise ValueError(f"`vector` must be of shape [E, 3], got {list(vectors.shape)}")
        if self.normalize:
            square = (vectors**2).sum(1, keepdims=True)
            is_zero = square < 1e-24
            vectors = jnp.where(is_zero, 0.0, vectors / jnp.sqrt(jnp.where(is_zero, 1.0, square)))
        columns = harmonics(vectors, self.ls[-1], self.normalization)
        return jnp.stack([column for l in self.ls for column in columns[l * l : (l + 1) ** 2]], axis=1)

    def __repr__(self) -> str:
        return f"SphericalHarmonics({list(self.ls)}, normalize={self.normalize}, normalization={self.normalization!r})"


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
    "abs": jnp.abs,
}
_NAMES = {jax.nn.silu: "silu", jnp.tanh: "tanh", jax.nn.sigmoid: "sigmoid", jax.nn.relu: "relu", jnp.abs: "abs"}


def _activation(function: Any, normalize2mom: bool) -> tuple[Callable[[Any], Any], float, int]:
    """The function, its factor and its parity."""
    name = function if isinstance(function, str) else _NAMES.get(function)
    if name is not None and name not in _ACTIVATIONS:
        raise ValueError(f"an activation must be a function or one of {', '.join(_ACTIVATIONS)}, got {name!r}")
    function = _ACTIVATIONS[name] if name else function
    with jax.ensure_compile_time_eval():
        parity = PARITY[name] if name else parity_of(lambda x: function(jnp.asarray(x)))
        factor = 1.0
        if normalize2mom:
            factor = SECOND_MOMENT[name] if name else _second_moment(function)
    return function, factor if abs(factor - 1) >= 1e-4 else 1.0, parity


def _second_moment(function: Callable[[Any], Any]) -> float:
    """<f(z)^2>^(-1/2) by the trapezoidal rule; e3nn's own constants, kept for the named functions, are draws."""
    z = np.linspace(-12, 12, 20001)
    weights = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    return float((np.asarray(function(jnp.asarray(z)), np.float64) ** 2 * weights).sum() ** -0.5)


class Gate(Module):
    """As :class:`valence.torch.Gate`; functions are JAX's or names. One without a name is scaled by its exact second moment.

    >>> gate = Gate("8x0e", ["silu"], "4x0e", ["sigmoid"], "4x1o")
    >>> str(gate.irreps_in), str(gate.irreps_out)
    ('12x0e + 4x1o', '8x0e + 4x1o')
    """

    plan: GatePlan = fixed()
    activations: tuple = fixed()

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
        group: str | None = None,
        irrep_order: str | None = None,
    ) -> None:
        acts = [
            tuple(None if f is None else _activation(f, normalize2mom) for f in side)
            for side in (act_scalars, act_gates)
        ]
        parities = [[None if f is None else f[2] for f in side] for side in acts]
        plan = gate_plan(
            irreps_scalars,
            parities[0],
            irreps_gates,
            parities[1],
            irreps_gated,
            layout=_layers.layout_of("layout", layout),
            group=group,
            irrep_order=irrep_order,
        )
        self._set(plan=plan, activations=tuple(acts))

    @property
    def irreps_in(self) -> Irreps:
        return self.plan.irreps_in

    @property
    def irreps_out(self) -> Irreps:
        return self.plan.irreps_out

    def __call__(self, x: Any, use_fallback: bool = False) -> jax.Array:
        """The gated rows [rows, irreps_out.dim] of x [rows, irreps_in.dim]."""
        x = jnp.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.irreps_in.dim:
            rule = f"[rows, {self.irreps_in.dim}] for {self.irreps_in}"
            raise ValueError(f"`x` must be of shape {rule}, got {list(x.shape)}")
        parts = [_apply(f, x[:, at]) for f, at in zip(self.activations[0], self.plan.scalars)]
        if self.plan.product.output.size:
            gates = [_apply(f, x[:, at]) for f, at in zip(self.activations[1], self.plan.gates)]
            gated = x[:, self.plan.gated]
            parts.append(
                polynomial(self.plan.product, gated, jnp.concatenate(gates, axis=1), use_fallback=use_fallback)
            )
        return jnp.concatenate(parts, axis=1) if parts else jnp.zeros((x.shape[0], 0), x.dtype)

    def __repr__(self) -> str:
        return f"Gate({self.irreps_in} -> {self.irreps_out})"


def _apply(activation: Any, x: jax.Array) -> jax.Array:
    if activation is None:
        return x
    function, factor, _ = activation
    return function(x) if factor == 1.0 else function(x) * factor
