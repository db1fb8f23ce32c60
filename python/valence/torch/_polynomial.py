"""A descriptor on torch tensors: shapes checked once, the native op or the plain definition run."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import valence.torch
from valence._op import Op, Static
from valence.equivariant._plain import batches, check_range, renamed
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.polynomial import INDEXED, OPS, OWN, Access, plan
from valence.torch import NO_INDEX, _run

__all__ = ["polynomial"]


def polynomial(
    descriptor: Descriptor,
    *operands: Tensor,
    indices: Mapping[Any, Tensor] | None = None,
    size_out: int | None = None,
    use_fallback: bool = False,
) -> Tensor:
    """Runs a descriptor, differentiable twice.

    Parameters
    ----------
    descriptor : the polynomial, e.g. of :func:`valence.equivariant.channelwise_tensor_product`.
    operands : tensors [rows, size] in the order of `descriptor.inputs`, float32 or float64; one of one row is shared by all.
    indices : operand's name or number -> integer tensor [rows]: the row that each row reads, or (for the output) is added to.
    size_out : rows of the output where it has an index.
    use_fallback : run the plain definition, an einsum a path, on any device and to any derivative, instead of the kernels.

    Returns
    -------
    tensor [rows or size_out, size of the output].

    Raises
    ------
    ValueError, if a shape does not fit the operand (named) or an index is out of range (with its row); TypeError for dtypes.
    """
    given = indices or {}
    if torch.compiler.is_compiling():
        run = _plain if use_fallback else _traced
        return run(descriptor, operands, given, size_out)
    try:
        shapes = tuple([o.shape for o in operands])
        lengths = tuple([(key, index.shape) for key, index in given.items()])
    except AttributeError:
        raise _refused(descriptor, operands, given) from None
    if use_fallback:
        _prepared(descriptor, shapes, lengths, size_out)  # for its checks
        return _plain(descriptor, operands, given, size_out)
    op, static, order = _prepared(descriptor, shapes, lengths, size_out)
    arguments = (*operands, *[NO_INDEX if key is None else given[key] for key in order])
    try:
        if torch.is_grad_enabled() and any([o.requires_grad for o in operands]):
            return _Apply.apply(op, static, *arguments)  # pyright: ignore[reportReturnType]
        return _run(op, static, op.kernel(static), arguments)[0]
    except (TypeError, ValueError) as error:
        raise renamed(descriptor, error) from None


class _Apply(torch.autograd.Function):
    """An op of given parameters; its backward is the next order of the same class."""

    @staticmethod
    def forward(ctx: Any, op: Op, static: Static, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.op, ctx.static = op, static
        ctx.save_for_backward(*tensors)
        results = _run(op, static, op.kernel(static), tensors)
        return results if len(results) > 1 else next(iter(results))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        op = ctx.op.bwd
        if op is None:
            raise NotImplementedError(f"{ctx.op.name} must be differentiated at most twice, got a third derivative")
        wanted = _Apply.apply(op, ctx.static, *ctx.saved_tensors, *grads)
        found = iter(wanted if isinstance(wanted, tuple) else (wanted,))
        return (None, None, *[next(found) if i.differentiable else None for i in ctx.op.inputs.values()])


@functools.lru_cache(maxsize=1024)
def _prepared(
    descriptor: Descriptor, shapes: Any, lengths: tuple, size_out: int | None
) -> tuple[Op, Static, tuple[int | str | None, ...]]:
    """The op, its parameters, and for every operand (the output last) the key of its index or None."""
    marks = {}
    for key, shape in lengths:
        if len(shape) != 1:
            name = descriptor.operands[descriptor.place(key)].name
            raise ValueError(f"`indices['{name}']` must be of shape [rows], got {list(shape)}")
        marks[key] = SimpleNamespace(shape=shape, key=key)
    access, given = plan(descriptor, shapes, marks, size_out)
    op = OPS[len(shapes)]
    static = op.static((), {"descriptor": descriptor, "access": access})
    return op, static, tuple([None if mark is None else mark.key for mark in given])


def _refused(descriptor: Descriptor, operands: Sequence, indices: Mapping) -> Exception:
    for operand, value in zip(descriptor.inputs, operands):
        if not isinstance(value, Tensor):
            return TypeError(f"`{operand.name}` must be a torch tensor, got {type(value)}")
    for key, index in indices.items():
        if not isinstance(index, Tensor):
            name = descriptor.operands[descriptor.place(key)].name
            return TypeError(f"`indices['{name}']` must be a torch tensor, got {type(index)}")
    return TypeError("operands and indices must be torch tensors")


def _parameters(descriptor: Descriptor, modes: tuple[int, ...]) -> list[float]:
    return list(OPS[len(descriptor.inputs)].static((), {"descriptor": descriptor, "access": Access(modes, 0)}).params)


# What torch.compiler.assume_constant_result sets; calling that would import the compiler with this module.
_parameters._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def _registered(name: str) -> Any:
    getattr(valence.torch, name)
    return getattr(torch.ops.valence, name)


_CUSTOM = {count: _registered(op.name) for count, op in OPS.items()}


def _traced(descriptor: Descriptor, operands: Sequence[Tensor], indices: Mapping, size_out: int | None) -> Tensor:
    access, given = plan(descriptor, [o.shape for o in operands], indices, size_out)
    modes = tuple([int(m) for m in access.modes])
    sizes = [*[o.size for o in descriptor.inputs], descriptor.output.size, access.size_out]
    indexed = [NO_INDEX if i is None else i for i in given]
    return _CUSTOM[len(operands)](*operands, *indexed, _parameters(descriptor, modes), sizes)


def _numbers(descriptor: Descriptor) -> list[tuple]:
    """The batches as plain lists, which a compiled graph takes as constants."""
    return [(b.operands, b.text, [p.tolist() for p in b.places], b.coefficients.tolist()) for b in batches(descriptor)]


_numbers._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def _check(descriptor: Descriptor, operands: Sequence[Tensor], given: Sequence[Any], size_out: int) -> None:
    """What the kernels check: dtypes, devices, indices."""
    lead = operands[0]
    for operand, value in zip(descriptor.inputs, operands):
        first = descriptor.inputs[0].name
        if lead.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"`{first}` must be float32 or float64, got {lead.dtype}")
        if value.dtype != lead.dtype:
            raise TypeError(f"`{operand.name}` must be {lead.dtype} as `{first}` is, got {value.dtype}")
        if value.device != lead.device:
            raise ValueError(f"`{operand.name}` must be on {lead.device} as `{first}` is, got {value.device}")
    for operand, index, size in zip(descriptor.operands, given, [*[o.shape[0] for o in operands], size_out]):
        if index is None:
            continue
        if index.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"`indices['{operand.name}']` must be int32 or int64, got {index.dtype}")
        if index.device != lead.device:
            raise ValueError(f"`indices['{operand.name}']` must be on {lead.device}, got {index.device}")
        if index.device.type != "meta":
            check_range(operand.name, index.cpu().numpy(), size)


def _plain(descriptor: Descriptor, operands: Sequence[Tensor], indices: Mapping, size_out: int | None) -> Tensor:
    """out[seg] += einsum(subscripts, x[seg], …, C), paths of one shape at once."""
    access, given = plan(descriptor, [o.shape for o in operands], indices, size_out)
    lead = operands[0]
    if not torch.compiler.is_compiling():
        _check(descriptor, operands, given, access.size_out)
    rows = next((i.shape[0] for i in given if i is not None), None)
    if rows is None:
        rows = next((o.shape[0] for o, mode in zip(operands, access.modes) if mode == OWN), 1)
    gathered = [o if i is None else o.index_select(0, i) for o, i in zip(operands, given)]
    out = lead.new_zeros(rows, descriptor.output.size)
    for ids, text, places, coefficients in (
        _numbers(descriptor) if torch.compiler.is_compiling() else batches(descriptor)
    ):
        at = [torch.as_tensor(p, device=lead.device) for p in places]
        blocks = []
        for operand, place in zip(ids, at):
            block = gathered[operand].index_select(1, place.reshape(-1))
            blocks.append(block.reshape(block.shape[0], *place.shape).expand(rows, *[-1] * place.ndim))
        factor = torch.as_tensor(coefficients, dtype=lead.dtype, device=lead.device)
        value = torch.einsum(text, *blocks, factor)
        out = out.index_add(1, at[-1].reshape(-1), value.reshape(rows, at[-1].numel()))
    if access.modes[-1] != INDEXED:
        return out
    return out.new_zeros(access.size_out, out.shape[1]).index_add(0, given[-1], out)
