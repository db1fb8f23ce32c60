"""Every op as a JAX function: jit, grad of grad, vmap. Same names and arguments as in ``valence``.

Derived from the declarations in ``valence._op``; nothing is computed here. CPU only: on another platform XLA itself
says that there is no implementation.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from valence import _native
from valence._op import REGISTRY, Op, Static

if TYPE_CHECKING:
    from valence.jax._polynomial import polynomial
    from valence.jax.anisoap import AniSoap
    from valence.jax.descriptors import Soap
    from valence.jax.layers import (
        ChannelWiseTensorProduct,
        FullyConnectedTensorProduct,
        Linear,
        SymmetricContraction,
        TensorProduct,
    )
    from valence.jax.scalars import Gate, SphericalHarmonics

__all__ = [
    "AniSoap",
    "ChannelWiseTensorProduct",
    "FullyConnectedTensorProduct",
    "Gate",
    "Linear",
    "Soap",
    "SphericalHarmonics",
    "SymmetricContraction",
    "TensorProduct",
    "function",
    "polynomial",
]

#: What is not an op, and the module that defines it.
_HOME = {
    "AniSoap": "valence.jax.anisoap",
    "polynomial": "valence.jax._polynomial",
    "Soap": "valence.jax.descriptors",
    **dict.fromkeys(["Gate", "SphericalHarmonics"], "valence.jax.scalars"),
    **dict.fromkeys(
        [
            "ChannelWiseTensorProduct",
            "FullyConnectedTensorProduct",
            "Linear",
            "SymmetricContraction",
            "TensorProduct",
        ],
        "valence.jax.layers",
    ),
}
_TARGET = "valence_op"


def _register() -> None:
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    # The capsule's name is part of XLA's contract.
    handler = capsule(_native.xla_handler(), b"xla._CUSTOM_CALL_TARGET", None)
    jax.ffi.register_ffi_target(_TARGET, handler, platform="cpu")


_register()


def _shapes(op: Op, static: Static, arrays: tuple) -> list[tuple[int, ...]]:
    """Checks the operands against the declaration and gives the shapes of the results."""
    sizes = dict(static.sizes)
    for (name, declared), array in zip(op.inputs.items(), arrays):
        dims = declared.dims.split()
        expected = [sizes.get(d, int(d) if d.isdigit() else d) for d in dims]
        fits = len(dims) == array.ndim and all(isinstance(e, str) or e == n for e, n in zip(expected, array.shape))
        if not fits:
            raise ValueError(f"`{name}` must be of shape [{', '.join(map(str, expected))}], got {list(array.shape)}")
        sizes.update((d, n) for d, n in zip(dims, array.shape) if not d.isdigit())
    return [tuple(sizes.get(d) or (int(d) if d.isdigit() else 0) for d in o.dims.split()) for o in op.outputs.values()]


def _cast(op: Op, arrays: list) -> tuple:
    """Operands as JAX arrays: real ones of one dtype, indices as int32."""
    cast, lead = [], None
    for (name, declared), value in zip(op.inputs.items(), arrays):
        array = jnp.asarray(value)
        if declared.kind == "index":
            if not jnp.issubdtype(array.dtype, jnp.integer):
                raise TypeError(f"`{name}` must be int32, int64 or uint32, got {array.dtype}")
            # Beyond int32 an index would come round to a valid one: -1 is refused by the kernel.
            within = array if array.dtype.itemsize <= 4 else jnp.where(array == array.astype(jnp.int32), array, -1)
            cast.append(within.astype(jnp.int32))
            continue
        if array.dtype not in (jnp.float32, jnp.float64):
            raise TypeError(f"`{name}` must be float32 or float64, got {array.dtype}")
        lead = lead or (name, array.dtype)
        if array.dtype != lead[1]:
            raise TypeError(f"`{name}` must be {lead[1]} as `{lead[0]}` is, got {array.dtype}")
        cast.append(array)
    return tuple(cast)


@functools.lru_cache(maxsize=1024)
def _function(op: Op, static: Static) -> Callable[..., Any]:
    """The op of these parameters as a function of its arrays alone, with its vjp."""
    attributes = {"op": op.name, "params": np.asarray(static.params, np.float64)}
    # Rows do not mix: a vmapped call is one call with more rows, the kernel sees no difference.
    method = "broadcast_all" if op.rowwise else "sequential"

    def call(*arrays: jax.Array) -> Any:
        dtype = next(a.dtype for a, i in zip(arrays, op.inputs.values()) if i.kind == "real")
        results = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in _shapes(op, static, arrays))
        shape = results if len(results) > 1 else next(iter(results))
        return jax.ffi.ffi_call(_TARGET, shape, vmap_method=method)(*arrays, **attributes)

    call.__name__ = op.name
    backward = op.bwd
    if backward is None:
        return call  # a third derivative is not there: JAX says that the call cannot be differentiated
    function = jax.custom_vjp(call)

    def forward(*arrays: jax.Array) -> Any:
        return function(*arrays), arrays  # not the bare call: an outer derivative goes through here

    def vjp(arrays: tuple, cotangents: Any) -> tuple:
        grads = cotangents if isinstance(cotangents, tuple) else (cotangents,)
        wanted = _function(backward, static)(*arrays, *grads)
        found = iter(wanted if isinstance(wanted, tuple) else (wanted,))
        return tuple(next(found) if i.differentiable else None for i in op.inputs.values())

    function.defvjp(forward, vjp)
    return function


@functools.cache
def function(op: Op) -> Callable[..., Any]:
    """The JAX function of `op`: arrays first, then the static parameters, by position or by name."""

    def call(*args: Any, **kwargs: Any) -> Any:
        arrays, static = op.split(args, kwargs)
        return _function(op, static)(*_cast(op, arrays))

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.doc
    return call


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in REGISTRY:
        value = REGISTRY[name].on(function)
    else:
        known = ", ".join((*REGISTRY, *_HOME))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the ops and layers are {known}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return ["function", *_HOME, *REGISTRY]
