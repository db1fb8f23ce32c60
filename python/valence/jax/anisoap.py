"""AniSOAP as a JAX function: jit, grad, grad of grad (CPU, by callbacks into the native kernels)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from valence.descriptors import AniSoap as Calculator
from valence.descriptors import _shapes
from valence.descriptors._anisoap_autograd import Frame, first, frame, prepare, second

__all__ = ["AniSoap"]


class AniSoap:
    """The power spectrum [N, D] of :class:`valence.AniSoap` as a function of JAX arrays.

    Parameters are those of :class:`valence.AniSoap`. Made for fixed numbers, cells' periodicity and counts by :meth:`bind`.

    Examples
    --------
    >>> spectrum = AniSoap(cutoff=4.0, lmax=2, width=1.0).bind([6, 6])
    >>> spectrum(jnp.array([[0.0, 0, 0], [2, 0.5, 0]]), jnp.eye(4)[:2], jnp.ones((2, 3))).shape
    (2, 6)
    """

    def __init__(self, **parameters: Any) -> None:
        self.calculator = Calculator(**parameters)
        if self.calculator.mean_over_samples:
            raise ValueError("`mean_over_samples` must be False here (take the mean of the result), got True")

    def bind(self, numbers: Any, *, pbc: Any = False, counts: Any = None, species: Any = None) -> Any:
        """A function (positions [N, 3], orientation [N, 4] or [N, 3, 3], semiaxes [N, 3], cell [B, 3, 3] = zeros) -> [N, D].

        `pbc` is said here ([3] or [B, 3]), since a traced cell has no values. For the same reason orientations and semiaxes are
        checked where they are not traced.
        """
        systems = 1 if counts is None else len(counts)
        box = np.broadcast_to(np.eye(3), (systems, 3, 3))
        fixed = frame(self.calculator, numbers, counts, pbc, species, box)
        spectrum = _differentiable(fixed)

        def function(positions: Any, orientation: Any, semiaxes: Any, cell: Any = None) -> Any:
            positions, orientation, semiaxes = map(jnp.asarray, (positions, orientation, semiaxes))
            n = len(fixed.numbers)
            if positions.shape != (n, 3) or semiaxes.shape != (n, 3):
                got = f"{list(positions.shape)} and {list(semiaxes.shape)}"
                raise ValueError(f"`positions` and `semiaxes` must be of shape [N, 3] = [{n}, 3], got {got}")
            if orientation.shape not in ((n, 4), (n, 3, 3)):
                rule = f"of shape [N, 4] = [{n}, 4] or [N, 3, 3] = [{n}, 3, 3]"
                raise ValueError(f"`orientation` must be {rule}, got {list(orientation.shape)}")
            if cell is not None and not fixed.pbc.any():
                raise ValueError(
                    "`pbc` must be given to `bind` where there is a cell: a traced one does not say it, got none"
                )
            if not any(isinstance(t, Tracer) for t in (orientation, semiaxes)):
                _shapes.check(np.asarray(orientation), np.asarray(semiaxes))
            cell = jnp.zeros((systems, 3, 3), positions.dtype) if cell is None else jnp.asarray(cell)
            cell = jnp.broadcast_to(cell, (systems, 3, 3)).astype(positions.dtype)
            r = orientation if orientation.ndim == 3 else _rotation(orientation)
            covariance = jnp.einsum("nak,nk,nbk->nab", r, semiaxes * semiaxes, r).astype(positions.dtype)
            return spectrum(positions, cell, covariance)

        return function


def _differentiable(fixed: Frame) -> Any:
    unique = fixed.calculator.unique

    def host_values(x: Any, cell: Any, sigma: Any) -> Any:
        return prepare(fixed, np.asarray(x), np.asarray(cell), np.asarray(sigma)).power(unique, False)

    def host_first(grad: Any, x: Any, cell: Any, sigma: Any) -> Any:
        return first(prepare(fixed, np.asarray(x), np.asarray(cell), np.asarray(sigma)), unique, np.asarray(grad))

    def host_second(grad: Any, x: Any, cell: Any, sigma: Any, *along: Any) -> Any:
        call = prepare(fixed, np.asarray(x), np.asarray(cell), np.asarray(sigma))
        a, b, c = map(np.asarray, along)
        return second(call, unique, np.asarray(grad), (a, b, c))

    def like(*arrays: Any) -> Any:
        return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays)

    def call(host: Any, result: Any, *arrays: Any) -> Any:
        return jax.pure_callback(host, result, *arrays, vmap_method="sequential")

    @jax.custom_vjp
    def gradient(grad: Any, x: Any, cell: Any, sigma: Any) -> Any:
        return call(host_first, like(x, cell, sigma), grad, x, cell, sigma)

    def gradient_fwd(*inputs: Any) -> Any:
        return gradient(*inputs), inputs

    def gradient_bwd(inputs: Any, along: Any) -> Any:
        return call(host_second, like(*inputs), *inputs, *along)

    gradient.defvjp(gradient_fwd, gradient_bwd)

    @jax.custom_vjp
    def spectrum(x: Any, cell: Any, sigma: Any) -> Any:
        return call(host_values, jax.ShapeDtypeStruct((len(fixed.numbers), fixed.features), x.dtype), x, cell, sigma)

    def spectrum_fwd(*inputs: Any) -> Any:
        return spectrum(*inputs), inputs

    def spectrum_bwd(inputs: Any, grad: Any) -> Any:
        return gradient(grad, *inputs)

    spectrum.defvjp(spectrum_fwd, spectrum_bwd)
    return spectrum


def _rotation(q: Any) -> Any:
    q = q / jax.lax.stop_gradient(jnp.abs(q).max(axis=1, keepdims=True))  # its square may be out of range
    w, x, y, z = (q / jnp.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
