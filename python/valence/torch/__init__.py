"""Every op as a torch function, differentiable twice. Same names and arguments as in ``valence``.

In eager mode an op is an ``autograd.Function``; under ``torch.compile`` it is a custom op with a fake implementation, so
the graph does not break. Both run the same kernel on the tensor's own memory. Derived from the declarations in
``valence._op``; nothing is computed here. CPU tensors, and CUDA tensors for the ops that have a GPU kernel
(``valence.cuda``), on torch's current stream; operands on different devices are refused.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from valence._op import REGISTRY, Op, Static

if TYPE_CHECKING:
    from valence.torch._polynomial import polynomial
    from valence.torch.anisoap import AniSoap
    from valence.torch.contraction import SymmetricContraction
    from valence.torch.descriptors import Soap
    from valence.torch.layers import ChannelWiseTensorProduct, FullyConnectedTensorProduct, Linear, TensorProduct
    from valence.torch.mace import Mace
    from valence.torch.scalars import Gate, SphericalHarmonics

__all__ = [
    "AniSoap",
    "ChannelWiseTensorProduct",
    "FullyConnectedTensorProduct",
    "Gate",
    "Linear",
    "Mace",
    "Soap",
    "SphericalHarmonics",
    "SymmetricContraction",
    "TensorProduct",
    "function",
    "polynomial",
    "vjp",
]

#: What is not an op, and the module that defines it.
_HOME = {
    "polynomial": "valence.torch._polynomial",
    "Soap": "valence.torch.descriptors",
    **dict.fromkeys(
        ["ChannelWiseTensorProduct", "FullyConnectedTensorProduct", "Linear", "TensorProduct"],
        "valence.torch.layers",
    ),
    **dict.fromkeys(["Gate", "SphericalHarmonics"], "valence.torch.scalars"),
    "SymmetricContraction": "valence.torch.contraction",
    "Mace": "valence.torch.mace",
    "AniSoap": "valence.torch.anisoap",
}


#: Stands for an index that an op does not have; what it is in NumPy is at hand, as each conversion takes 1.6 µs.
NO_INDEX = torch.empty(0, dtype=torch.int32)
_EMPTY = NO_INDEX.numpy()


def _run(op: Op, static: Static, kernel: Any, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The kernel on the tensors' memory; a strided tensor is copied once by the kernel's border."""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        raise RuntimeError(
            f"`torch.jit.trace` must not see {op.name}, whose result it would keep for every input; use torch.compile or torch.export"
        )
    if isinstance(tensors[0], Tensor) and tensors[0].is_cuda:
        from valence import cuda

        return cuda.run_tensors(op, static, tensors)
    try:
        result = kernel(*[_EMPTY if t is NO_INDEX else t.detach().numpy() for t in tensors])
    except (TypeError, AttributeError, RuntimeError) as error:
        raise _explain(op, tensors) or error from None
    if isinstance(result, tuple):
        return tuple([torch.from_numpy(r) for r in result])
    return (torch.from_numpy(result),)


def _explain(op: Op, tensors: tuple[Any, ...]) -> Exception | None:
    """Which rule an operand breaks that is no CPU tensor of a dtype that NumPy has."""
    first = next(iter(op.inputs))
    for name, t in zip(op.inputs, tensors):
        if not isinstance(t, Tensor):
            return TypeError(f"`{name}` must be a torch tensor, got {type(t)}")
        if t.device.type != "cpu":
            rule = "on the CPU or a CUDA GPU" if name == first else f"on the CPU as `{first}` is"
            return ValueError(f"`{name}` must be {rule}, got {t.device}")
        if t.dtype is torch.bfloat16:
            return TypeError(f"`{name}` must be float32 or float64, got {t.dtype}")
    return None


def _positions(op: Op) -> list[int]:
    """For each result of the op's vjp, the input that it belongs to."""
    return [k for k, i in enumerate(op.inputs.values()) if i.differentiable]


@functools.lru_cache(maxsize=1024)
def _eager(op: Op, static: Static) -> Callable[..., Any]:
    """The op of these parameters as an autograd function of its tensors."""
    kernel, many, count = op.kernel(static), len(op.outputs) > 1, len(op.inputs)
    backward_op, places = op.bwd, _positions(op)

    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        results = _run(op, static, kernel, tensors)
        return results if many else results[0]

    def backward(ctx: Any, *grads: Tensor) -> Any:
        if backward_op is None:
            raise NotImplementedError(f"{op.name} must be differentiated at most twice, got a third derivative")
        wanted = _eager(backward_op, static)(*ctx.saved_tensors, *grads)
        full: list[Tensor | None] = [None] * count
        for place, grad in zip(places, wanted if isinstance(wanted, tuple) else (wanted,)):
            full[place] = grad
        return tuple(full)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(op.name, (torch.autograd.Function,), methods).apply  # pyright: ignore[reportAttributeAccessIssue]


def _register(op: Op) -> Any:
    """Makes the custom op for `torch.compile`; parameters travel as `float[] params` and `int[] sizes`."""
    letters, second = op.letters, op.bwd and _register(op.bwd)

    def call(*args: Any) -> Any:
        *tensors, params, sizes = args
        static = Static(tuple(params), tuple(zip(letters, sizes)))
        results = _run(op, static, op.kernel(static), tuple(tensors))
        return results if len(results) > 1 else next(iter(results))

    def fake(*args: Any) -> Any:
        *tensors, _, sizes = args
        known: dict[str, Any] = dict(zip(letters, sizes))
        lead = None
        for (name, declared), tensor in zip(op.inputs.items(), tensors):
            dims = declared.dims.split()
            torch._check(tensor.ndim == len(dims), lambda n=name, d=dims: f"`{n}` must be of shape [{', '.join(d)}]")
            known.update((d, size) for d, size in zip(dims, tensor.shape) if not d.isdigit())
            lead = tensor if lead is None and declared.kind == "real" else lead
        assert lead is not None
        shapes = [[int(d) if d.isdigit() else known[d] for d in o.dims.split()] for o in op.outputs.values()]
        results = tuple(lead.new_empty(shape) for shape in shapes)
        return results if len(results) > 1 else next(iter(results))

    def save(ctx: Any, inputs: tuple, output: Any) -> None:
        *tensors, ctx.params, ctx.sizes = inputs
        ctx.save_for_backward(*tensors)

    def backward(ctx: Any, *grads: Tensor) -> Any:
        assert second is not None
        wanted = second(*ctx.saved_tensors, *grads, ctx.params, ctx.sizes)
        full: list[Any] = [None] * (len(op.inputs) + 2)
        for place, grad in zip(_positions(op), wanted if isinstance(wanted, tuple) else (wanted,)):
            full[place] = grad
        return tuple(full)

    operands = ", ".join(f"Tensor {n}" for n in op.inputs)
    results = ", ".join(["Tensor"] * len(op.outputs))
    schema = f"({operands}, float[] params, SymInt[] sizes) -> {results if len(op.outputs) == 1 else f'({results})'}"
    registered = torch.library.custom_op(f"valence::{op.name}", call, mutates_args=(), schema=schema)
    registered.register_fake(fake)
    if op.bwd is not None:
        registered.register_autograd(backward, setup_context=save)

    return registered


@functools.cache
def function(op: Op) -> Callable[..., Any]:
    """The torch function of `op`: tensors first, then the static parameters, by position or by name.

    `valence.torch.<op>` is its public form (see :class:`valence._op.Op`), which is this one unless declared otherwise.
    """
    eager = None if op.parameters else _eager(op, Static())
    count, custom = len(op.inputs), _register(op)

    def constants(*args: Any, **kwargs: Any) -> tuple[list[float], list[int]]:
        static = op.static(args, kwargs)
        return list(static.params), [size for _, size in static.sizes]

    # What torch.compiler.assume_constant_result sets; calling that would import the compiler with this module.
    constants._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]

    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            tensors = [*args[:count], *[kwargs.pop(name) for name in list(op.inputs)[len(args) :]]]
            params, sizes = constants(*args[count:], **kwargs)
            return custom(*tensors, params, sizes)
        if eager is not None and len(args) == count and not kwargs:
            return eager(*args)
        tensors, static = op.split(args, kwargs)
        return _eager(op, static)(*tensors)

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.doc
    return call


def vjp(op: Op, **parameters: Any) -> Callable[..., Any]:
    """A derivative op of a declaration, `REGISTRY[name].bwd`, as an eager function of tensors."""
    return _eager(op, op.static((), parameters))


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
    return ["function", "vjp", *_HOME, *REGISTRY]
