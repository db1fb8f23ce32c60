"""Running a descriptor: how rows meet (shared, own, indexed) and which op executes it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from valence import _native
from valence._op import REGISTRY, Index, Op, Real, Static
from valence.equivariant.descriptor import Descriptor

__all__ = ["OPS", "Access", "plan", "run"]

#: How the rows of an operand meet those of the call: each its own, one for all, or by an index.
OWN, SHARED, INDEXED = 0, 1, 2
_NO_INDEX = np.zeros(0, np.int32)


@functools.lru_cache(maxsize=1024)
def register(descriptor: Descriptor) -> tuple[float, float]:
    """Hands the polynomial to the engine; gives the key under which kernels find it, the same in every process."""
    high, low = (int.from_bytes(descriptor.digest[n : n + 6]) for n in (0, 6))
    terms = [
        (
            list(t.operands),
            list(t.extents),
            t.strides.reshape(-1).tolist(),
            t.offsets.reshape(-1).tolist(),
            t.coefficients.tolist(),
        )
        for t in descriptor.terms
    ]
    _native.register_polynomial(high, low, [o.size for o in descriptor.operands], terms)
    return float(high), float(low)


class Access(NamedTuple):
    """How the operands of one call meet: a mode per operand (the output last) and the rows of the output."""

    modes: tuple[int, ...]
    size_out: int


def _static(descriptor: Descriptor, access: Access) -> Static:
    sizes = tuple((f"S{n + 1}", o.size) for n, o in enumerate(descriptor.inputs))
    params = (*register(descriptor), *map(float, access.modes))
    return Static(params, (*sizes, ("S", descriptor.output.size), ("R", access.size_out)))


def plan(
    descriptor: Descriptor,
    shapes: Sequence[Sequence[int]],
    indices: Mapping[Any, Any],
    size_out: int | None,
) -> tuple[Access, list[Any]]:
    """Checks shapes and gives how rows meet, and the index of each operand (None where it has none)."""
    inputs, count = descriptor.inputs, len(descriptor.operands)
    if len(shapes) != len(inputs):
        names = ", ".join(o.name for o in inputs)
        raise TypeError(f"{descriptor.kind} takes ({names}), got {len(shapes)} operands")
    for operand, shape in zip(inputs, shapes):
        if len(shape) != 2 or shape[1] != operand.size:
            made = f" for {operand.irreps}" if operand.irreps is not None else ""
            raise ValueError(f"`{operand.name}` must be of shape [rows, {operand.size}]{made}, got {list(shape)}")
    given: list[Any] = [None] * count
    for key, index in indices.items():
        given[descriptor.place(key)] = index
    lengths = [
        (f"the index of `{descriptor.operands[n].name}`", i.shape[0]) for n, i in enumerate(given) if i is not None
    ]
    own = [(f"`{o.name}`", s[0]) for n, (o, s) in enumerate(zip(inputs, shapes)) if given[n] is None and s[0] != 1]
    rows = (lengths or own or [("", 1)])[0]
    for name, n in (*lengths, *own):
        if n != rows[1]:
            raise ValueError(f"{name} must have {rows[1]} rows as {rows[0]} has, got {n}")
    modes = []
    for n, shape in enumerate(shapes):
        shared = shape[0] == 1 and rows[1] != 1
        modes.append(INDEXED if given[n] is not None else SHARED if shared else OWN)
    whole = isinstance(size_out, (int, np.integer)) and not isinstance(size_out, bool) and 0 <= size_out < 2**31
    if isinstance(size_out, (bool, float, str)) or (size_out is not None and not whole and np.isscalar(size_out)):
        raise ValueError(f"`size_out` must be a whole number from 0 to 2^31 - 1, got {size_out!r}")
    if given[-1] is None:
        if size_out is not None and size_out != rows[1]:
            raise ValueError(f"`size_out` must be {rows[1]} where the output has no index, got {size_out}")
        return Access((*modes, OWN), rows[1]), given
    if size_out is None:
        raise ValueError("`size_out` must be given with an index of the output, got None")
    return Access((*modes, INDEXED), int(size_out)), given


def run(
    descriptor: Descriptor,
    operands: Sequence[Any],
    indices: Mapping[Any, Any],
    size_out: int | None,
    use_fallback: bool,
) -> np.ndarray:
    """The call of a descriptor on NumPy arrays."""
    shapes = [np.shape(o) for o in operands]
    access, given = plan(descriptor, shapes, {k: np.asarray(i) for k, i in indices.items()}, size_out)
    indexed = [_NO_INDEX if i is None else i for i in given]
    if use_fallback:
        from valence.reference import polynomial as reference

        _check_arrays(descriptor, operands, indexed, access)
        return reference.polynomial(*operands, *indexed, descriptor=descriptor, access=access).astype(operands[0].dtype)
    try:
        return OPS[len(operands)](*operands, *indexed, descriptor=descriptor, access=access)
    except (TypeError, ValueError) as error:
        raise type(error)(in_words(descriptor, str(error))) from None


def _check_arrays(descriptor: Descriptor, operands: Sequence[Any], indexed: Sequence[Any], access: Access) -> None:
    """What the kernels' border refuses, for the plain definition."""
    from valence.equivariant._plain import check_range

    lead = operands[0]
    for operand, array in zip(descriptor.inputs, operands):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"`{operand.name}` must be a numpy array, got {type(array)}")
        rule = "float32 or float64" if array is lead else f"{lead.dtype} as `{descriptor.inputs[0].name}` is"
        if array.dtype not in (np.float32, np.float64) or array.dtype != lead.dtype:
            raise TypeError(f"`{operand.name}` must be {rule}, got {array.dtype}")
    heights = [*[len(o) for o in operands], access.size_out]
    for operand, index, height, mode in zip(descriptor.operands, indexed, heights, access.modes):
        if mode == INDEXED:
            if index.dtype not in (np.int32, np.int64, np.uint32):
                raise TypeError(f"`indices['{operand.name}']` must be int32, int64 or uint32, got {index.dtype}")
            check_range(operand.name, index, height)


def in_words(descriptor: Descriptor, message: str) -> str:
    """An error of the executing op with the descriptor's names: `x1` is its first operand, `index_1` that operand's index."""
    names = [o.name for o in descriptor.operands]

    def word(found: re.Match[str]) -> str:
        name = names[-1] if found[2] == "out" else names[int(found[2]) - 1]
        return f"`{name}`" if found[1] == "x" else f"`indices['{name}']`"

    return re.sub(rf"`(x|index_)([1-{len(names) - 1}]|out)`", word, message)


def _declare(count: int) -> Op:
    from valence.equivariant import _samples
    from valence.reference import polynomial as reference

    operands = {f"x{n + 1}": Real(f"R{n + 1} S{n + 1}") for n in range(count)}
    indices: dict[str, Real | Index] = {f"index_{n + 1}": Index(f"I{n + 1}") for n in range(count)}
    return Op(
        name=f"polynomial_{count}",
        inputs={**operands, **indices, "index_out": Index("I")},
        outputs={"out": Real("R S")},
        reference=reference.polynomial,
        sample=functools.partial(_samples.sample, count),
        encode=_static,
        variants=_samples.variants(count),
        rowwise=False,
        doc="A polynomial of segmented operands (`valence.equivariant.Descriptor`), rows shared, own or indexed.",
    )


#: The executing op by number of inputs.
OPS = {count: REGISTRY.add(_declare(count)) for count in (1, 2, 3)}
