"""A descriptor on JAX arrays: shapes checked once, the native op or the plain definition run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from valence.equivariant._plain import batches, check_range, renamed
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.polynomial import INDEXED, OPS, OWN, plan
from valence.jax import _cast, _function

__all__ = ["polynomial"]

_NO_INDEX = np.zeros(0, np.int32)


def polynomial(
    descriptor: Descriptor,
    *operands: Any,
    indices: Mapping[Any, Any] | None = None,
    size_out: int | None = None,
    use_fallback: bool = False,
) -> jax.Array:
    """Runs a descriptor under jit, vmap and two derivatives.

    Parameters
    ----------
    descriptor : the polynomial, e.g. of :func:`valence.equivariant.channelwise_tensor_product`.
    operands : arrays [rows, size] in the order of `descriptor.inputs`, float32 or float64; one of one row is shared by all.
    indices : operand's name or number -> integer array [rows]: the row that each row reads, or (for the output) is added to.
    size_out : rows of the output where it has an index.
    use_fallback : run the plain definition, an einsum a path, on any device and to any derivative, instead of the kernels.

    Returns
    -------
    array [rows or size_out, size of the output].

    Raises
    ------
    ValueError, if a shape does not fit the operand (named); TypeError for dtypes. An index out of range raises at run time;
    in the plain definition under jit it reads NaN or is not added, as XLA has no errors.
    """
    arrays = [jnp.asarray(o) for o in operands]
    marks = {key: jnp.asarray(index) for key, index in (indices or {}).items()}
    for key, index in marks.items():
        name = descriptor.operands[descriptor.place(key)].name
        if index.ndim != 1:
            raise ValueError(f"`indices['{name}']` must be of shape [rows], got {list(index.shape)}")
        if not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(f"`indices['{name}']` must be integers, got {index.dtype}")
    access, given = plan(descriptor, [a.shape for a in arrays], marks, size_out)
    op = OPS[len(arrays)]
    try:
        cast = _cast(op, [*arrays, *[_NO_INDEX if i is None else i for i in given]])
    except TypeError as error:
        raise renamed(descriptor, error) from None
    if use_fallback:
        return _plain(descriptor, arrays, given, access)
    try:
        return _function(op, op.static((), {"descriptor": descriptor, "access": access}))(*cast)
    except (TypeError, ValueError) as error:
        raise renamed(descriptor, error) from None


def _plain(descriptor: Descriptor, operands: Sequence[jax.Array], given: Sequence[Any], access: Any) -> jax.Array:
    """out[seg] += einsum(subscripts, x[seg], …, C), paths of one shape at once."""
    sizes = [*[o.shape[0] for o in operands], access.size_out]
    for operand, index, size in zip(descriptor.operands, given, sizes):
        if index is not None and not isinstance(index, Tracer):
            check_range(operand.name, np.asarray(index), size)
    rows = next((i.shape[0] for i in given if i is not None), None)
    if rows is None:
        rows = next((o.shape[0] for o, mode in zip(operands, access.modes) if mode == OWN), 1)
    gathered = [o if i is None else o.at[i].get(mode="fill") for o, i in zip(operands, given)]
    gathered = [jnp.broadcast_to(o, (rows, o.shape[1])) for o in gathered]
    out = jnp.zeros((rows, descriptor.output.size), operands[0].dtype)
    for ids, text, places, coefficients in batches(descriptor):
        blocks = [gathered[operand][:, at] for operand, at in zip(ids, places)]
        value = jnp.einsum(text, *blocks, jnp.asarray(coefficients, out.dtype))
        out = out.at[:, places[-1]].add(value)
    if access.modes[-1] != INDEXED:
        return out
    return jnp.zeros((access.size_out, out.shape[1]), out.dtype).at[given[-1]].add(out, mode="drop")
