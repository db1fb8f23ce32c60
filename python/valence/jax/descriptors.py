"""Descriptors as JAX functions, differentiable twice in positions and cells, also under jit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from valence.descriptors._differentiable import SoapFunction
from valence.descriptors.soap import Soap as Descriptor

__all__ = ["Soap"]


def _call(function: Callable[..., Any], shapes: Any, *arrays: Any) -> Any:
    def run(*given: Any) -> Any:
        return function(*[np.asarray(g) for g in given])

    return jax.pure_callback(run, shapes, *arrays, vmap_method="sequential")


def _differentiable(function: SoapFunction) -> Callable[[jax.Array, jax.Array], jax.Array]:
    def shape_of(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    @jax.custom_vjp
    def values(positions: jax.Array, cell: jax.Array) -> jax.Array:
        return _call(function.values, jax.ShapeDtypeStruct(function.shape, positions.dtype), positions, cell)

    @jax.custom_vjp
    def gradient(positions: jax.Array, cell: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _call(function.vjp, (shape_of(positions), shape_of(cell)), positions, cell, grad)

    values.defvjp(lambda x, h: (values(x, h), (x, h)), lambda saved, g: gradient(*saved, g))

    def second(saved: tuple, cotangents: tuple) -> tuple:
        positions, cell, grad = saved
        shapes = (shape_of(positions), shape_of(cell), shape_of(grad))
        return _call(function.second, shapes, positions, cell, grad, *cotangents)

    gradient.defvjp(lambda x, h, g: (gradient(x, h, g), (x, h, g)), second)
    return values


class Soap:
    """:class:`valence.Soap` on JAX arrays: values, forces and the training on forces.

    Parameters
    ----------
    soap : a `valence.Soap`, or None and its parameters by name.

    >>> import jax
    >>> soap = Soap(cutoff=4.0, max_radial=3, lmax=2, width=0.4).of([1, 8])
    >>> jax.grad(lambda x: soap(x).sum())(jax.numpy.zeros((2, 3)).at[1, 2].set(1.0)).shape
    (2, 3)
    """

    def __init__(self, soap: Descriptor | None = None, **parameters: Any) -> None:
        if soap is not None and parameters:
            raise TypeError(f"parameters must be those of `soap` alone, got {', '.join(parameters)} too")
        self.soap = Descriptor(**parameters) if soap is None else soap

    def of(
        self,
        numbers: Any,
        *,
        pbc: Any = None,
        counts: Any = None,
        species: Any = None,
        centers: Any = None,
        attach: bool = True,
        of: str | None = None,
    ) -> Callable[..., jax.Array]:
        """The function (positions [N, 3], cell [3, 3] or [B, 3, 3] = zeros) -> values [rows, D] of these atoms.

        `numbers`, `pbc` ([3] or [B, 3]; None: open) and the rest are fixed, as shapes depend on them. The gradient in the cell is
        at fixed Cartesian positions.
        """
        function = SoapFunction(self.soap, np.asarray(numbers), counts, pbc, species, centers, attach, of)
        values, b = _differentiable(function), len(function._base)

        def call(positions: Any, cell: Any = None) -> jax.Array:
            positions = jnp.asarray(positions)
            if positions.dtype not in (jnp.float32, jnp.float64):
                raise TypeError(f"`positions` must be float32 or float64, got {positions.dtype}")
            if positions.shape != (len(function._base.numbers), 3):
                rule = f"[N, 3] = [{len(function._base.numbers)}, 3]"
                raise ValueError(f"`positions` must be of shape {rule}, got {list(positions.shape)}")
            if cell is None:
                cell = np.zeros((3, 3))
            elif not function._base.pbc.any():
                raise ValueError(
                    "`pbc` must be given to `of` where there is a cell: a traced one does not say it, got none"
                )
            whole = jnp.broadcast_to(jnp.asarray(cell, positions.dtype), (b, 3, 3))
            return values(positions, whole)

        return call
