"""One declaration per differentiable operation; everything else is derived from it.

An :class:`Op` names its operands with their shapes, its static parameters, a plain NumPy reference and a way to make valid
input. From that follow the NumPy call (checked and run by ``_native.Kernel``), the torch and JAX functions
(``valence.torch``, ``valence.jax``), the law tests (``tests/test_laws.py``) and the benchmark rows.

The set of ops is closed under differentiation to the second order, by one rule:

* ``X(inputs) -> outputs``
* ``X_bwd(inputs, grad_<output>...) -> grad_<input>...`` for each differentiable input
* ``X_bwd_bwd(inputs, grad_<output>..., grad_grad_<input>...) -> `` the cotangent of each differentiable input of ``X_bwd``

so a declaration speaks of ``X`` alone and the signatures of the other two are computed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from valence import _native

__all__ = ["REGISTRY", "Index", "Op", "Real", "Static", "bind"]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Real:
    """A float32 or float64 operand.

    dims : letters and numbers, e.g. ``"E 3"``. A letter stands for one size throughout the op.
    unit : for the documentation.
    differentiable : whether a gradient flows to it.
    rotates : how it turns with the frame: "scalar", "vector", "harmonics" (blocks of 2l+1), or None where no law is tested.
    """

    dims: str
    unit: str = ""
    differentiable: bool = True
    rotates: str | None = None
    kind = "real"


@dataclass(frozen=True)
class Index:
    """An integer operand: int32, int64 or uint32 from the caller, int32 in the kernel."""

    dims: str
    differentiable = False
    rotates = None
    unit = ""
    kind = "index"


@dataclass(frozen=True)
class Static:
    """Static parameters as the kernel gets them: a flat list of numbers, and the sizes (letters) that follow from them."""

    params: tuple[float, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()


def no_parameters() -> Static:
    return Static()


def bind(public: Callable[Concatenate[Any, P], R], ops: Any) -> Callable[P, R]:
    """`public` (see :class:`Op`) with its first argument given: the ops of one array library."""

    @functools.wraps(public)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return public(ops, *args, **kwargs)

    signature = inspect.signature(public)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])  # pyright: ignore
    return call


def on_device(public: Callable[Concatenate[Any, P], R], ops: Any) -> Callable[..., R]:
    """`bind` for NumPy, with `device="cpu"` as a further keyword: "cuda" computes on a GPU."""
    here = bind(public, ops)

    @functools.wraps(public)
    def call(*args: Any, device: str = "cpu", **kwargs: Any) -> R:
        if device == "cpu":
            return here(*args, **kwargs)
        there = {name: functools.partial(op, device=device) for name, op in vars(ops).items()}
        return public(SimpleNamespace(**there), *args, **kwargs)

    call.__doc__ = (
        f'{(public.__doc__ or "").rstrip()}\n\n    On NumPy arrays `device="cuda"` computes on a GPU, by copies.\n    '
    )
    signature = inspect.signature(here)
    device = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default="cpu", annotation="str")
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), device])  # pyright: ignore
    return call


@dataclass(frozen=True, eq=False)
class Op:
    """A differentiable operation. Calling it runs the kernel on NumPy arrays or Arrow columns.

    Parameters
    ----------
    name : the kernel's name in the core.
    inputs, outputs : operands in the kernel's order.
    reference : the op in plain NumPy, ``reference(*inputs, **parameters)``.
    sample : ``sample(rng, rows) -> {input: array}``, valid input (float64, int32) for laws, benches and docs; or
        ``sample(rng, rows, **parameters)`` where it depends on the parameters.
    encode : static parameters (keywords of this function) to :class:`Static`.
    variants : parameter sets that the laws are tested with.
    rowwise : every operand's first letter is the row and rows do not mix.
    public : how users call the op on NumPy, torch and JAX where that is not operands, then parameters:
        ``public(ops, ...)``, written once, in which ``ops.<name>`` is this op, or one of `uses`, as a function of the array
        library at hand.
    uses : names of the further ops that `public` calls.
    """

    name: str
    inputs: Mapping[str, Real | Index]
    outputs: Mapping[str, Real]
    reference: Callable[..., Any] | None = None
    sample: Callable[..., dict[str, np.ndarray]] | None = None
    encode: Callable[..., Static] = no_parameters
    variants: tuple[dict[str, Any], ...] = ({},)
    rowwise: bool = True
    doc: str = ""
    public: Callable[..., Any] | None = None
    uses: tuple[str, ...] = ()
    order: int = 0
    _kernels: dict[Static, Any] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the static parameters, in order."""
        return tuple(inspect.signature(self.encode).parameters)

    @functools.cached_property
    def letters(self) -> tuple[str, ...]:
        """The letters whose sizes follow from the static parameters."""
        return tuple(letter for letter, _ in self.encode(**self.variants[0]).sizes)

    def split(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list, Static]:
        """Separates operands from static parameters, both given by position or by name."""
        operands = list(args[: len(self.inputs)])
        for name in tuple(self.inputs)[len(operands) :]:
            if name not in kwargs:
                raise TypeError(f"{self.name} takes ({', '.join((*self.inputs, *self.parameters))}), got no `{name}`")
            operands.append(kwargs.pop(name))
        return operands, self.static(args[len(self.inputs) :], kwargs)

    def static(self, args: tuple, kwargs: dict[str, Any]) -> Static:
        """The parameters as the kernel gets them; unknown names are refused."""
        for name in kwargs:
            if name not in self.parameters:
                allowed = ", ".join((*self.inputs, *self.parameters)) or "none"
                raise TypeError(f"{self.name} takes ({allowed}), got `{name}`")
        return _encoded(self.encode, args, tuple(kwargs.items()))

    def kernel(self, static: Static = Static()) -> Any:
        """The native callable of these parameters: ``kernel(*arrays, out=None)``, checked, GIL released."""
        found = self._kernels.get(static)
        if found is None:
            inputs, outputs = ([(n, o.kind, o.dims) for n, o in side.items()] for side in (self.inputs, self.outputs))
            found = _native.Kernel(self.name, inputs, outputs, list(static.params), list(static.sizes))
            found.__dict__.update(__doc__=self.doc, __name__=self.name)
            if len(self._kernels) >= 1024:  # a size may be another in every call
                self._kernels.pop(next(iter(self._kernels)))
            self._kernels[static] = found
        return found

    def __call__(self, *args: Any, out: np.ndarray | None = None, device: str = "cpu", **kwargs: Any) -> Any:
        operands, static = self.split(args, kwargs)
        if device != "cpu":
            from valence import cuda

            return cuda.run_arrays(self, static, operands, device, out)
        return self.kernel(static)(*operands, out=out)

    def on(self, function: Callable[[Op], Callable[..., Any]]) -> Callable[..., Any]:
        """The op as users call it, by the array library whose form of an op is `function(op)`."""
        if self.public is None:
            return function(self)
        ops = {op.name: function(op) for op in (self, *[REGISTRY[name] for name in self.uses])}
        return bind(self.public, SimpleNamespace(**ops))

    @functools.cached_property
    def bwd(self) -> Op | None:
        """The vjp of this op, itself an op; None after the second order."""
        if self.order == 2:
            return None
        grads = {f"grad_{n}": Real(o.dims, o.unit, True, o.rotates) for n, o in self.outputs.items()}
        wanted = {
            f"grad_{n}": Real(i.dims, i.unit, True, i.rotates) for n, i in self.inputs.items() if i.differentiable
        }
        return Op(
            name=f"{self.name}_bwd",
            inputs={**self.inputs, **grads},
            outputs=wanted,
            encode=self.encode,
            variants=self.variants,
            rowwise=self.rowwise,
            doc=f"Vector-Jacobian product of `{self.name}`: the cotangents {', '.join(grads)} give {', '.join(wanted)}.",
            order=self.order + 1,
        )

    def family(self) -> Iterator[Op]:
        """This op and its derivatives, in order."""
        op: Op | None = self
        while op is not None:
            yield op
            op = op.bwd


@functools.lru_cache(maxsize=1024)
def _encoded(encode: Callable[..., Static], args: tuple, kwargs: tuple) -> Static:
    return encode(*args, **dict(kwargs))


class Registry(Mapping[str, Op]):
    """All declared ops by name, rooms imported at first use."""

    def __init__(self) -> None:
        self._ops: dict[str, Op] = {}

    def add(self, op: Op) -> Op:
        if op.name in self._ops:
            raise ValueError(f"`name` must be new, got {op.name}")
        self._ops[op.name] = op
        return op

    def _load(self) -> dict[str, Op]:
        import valence.basis.ops
        import valence.edges.ops
        import valence.equivariant.ops
        import valence.equivariant.polynomial  # noqa: F401

        return self._ops

    def __getitem__(self, name: str) -> Op:
        return self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


REGISTRY = Registry()
