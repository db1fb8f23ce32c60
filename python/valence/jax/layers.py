"""Equivariant layers as JAX modules, with the names and arguments of :mod:`valence.torch`.

A layer is a frozen dataclass registered as a tree: its weights are leaves, so `jax.grad`, `jax.jit` and `jax.tree.map` take a
layer or any dict, list or dataclass of layers. Weights are drawn from the `key` at construction; a layer made without a key
takes them in the call, as does one with ``internal_weights=False``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from valence.equivariant import _layers
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.irreps import Irreps
from valence.equivariant.symmetric import symmetric_contraction, symmetric_contraction_from_tables
from valence.jax._module import Module, fixed
from valence.jax._polynomial import polynomial

__all__ = [
    "ChannelWiseTensorProduct",
    "FullyConnectedTensorProduct",
    "Linear",
    "SymmetricContraction",
    "TensorProduct",
]


def _drawn(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return None if key is None else jax.random.normal(key, shape, dtype or jnp.zeros(0).dtype)


def _indexed(**indices: Any) -> dict[int | str, Any]:
    return {name: index for name, index in indices.items() if index is not None}


class _Weighted(Module):
    """A descriptor whose first operand is the weights, which the layer may hold."""

    weight: Any
    descriptor: Descriptor = fixed()
    shared_weights: bool = fixed()
    weight_classes: int = fixed()

    def _make(
        self,
        descriptor: Descriptor,
        key: Any,
        shared_weights: bool,
        internal_weights: bool | None,
        dtype: Any,
        classes: int = 1,
    ) -> None:
        if internal_weights and key is None:
            raise ValueError("`key` must be given for a layer with weights of its own, got None")
        own = _layers.internal(shared_weights, internal_weights)
        weight = _drawn(key, (classes, descriptor.weight_numel), dtype) if own else None
        self._set(weight=weight, descriptor=descriptor, shared_weights=shared_weights, weight_classes=classes)

    @property
    def weight_numel(self) -> int:
        return self.descriptor.weight_numel

    @property
    def irreps_out(self) -> Irreps | None:
        return self.descriptor.irreps_out

    def _rows(self, weight: Any) -> Any:
        given = _layers.own_weights(self.weight, weight)
        return _layers.rows_of_weights(given, self.weight_numel, self.shared_weights, self.weight_classes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.descriptor!r}, weight_numel={self.weight_numel})"


class ChannelWiseTensorProduct(_Weighted):
    """As :class:`valence.torch.ChannelWiseTensorProduct`; `key` draws the weights.

    >>> layer = ChannelWiseTensorProduct("8x0e + 8x1o", "0e + 1o", "0e + 1o", shared_weights=False)
    >>> layer.irreps_out, layer.weight_numel
    (Irreps('8x0e + 8x0e + 8x1o + 8x1o', group='O3'), 32)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_irreps_out: Any = None,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: Any = None,
        key: Any = None,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.channel_wise(irreps_in1, irreps_in2, filter_irreps_out, layouts, group, irrep_order, convention)
        self._make(made, key, shared_weights, internal_weights, dtype)

    def __call__(
        self,
        x1: Any,
        x2: Any,
        weight: Any = None,
        indices_1: Any = None,
        indices_2: Any = None,
        indices_out: Any = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> jax.Array:
        """The product [rows or size_out, irreps_out.dim] of x1 and x2 [rows, dim]; as in :mod:`valence.torch`."""
        indices = _indexed(x1=indices_1, x2=indices_2, out=indices_out)
        rows = self._rows(weight)
        return polynomial(self.descriptor, rows, x1, x2, indices=indices, size_out=size_out, use_fallback=use_fallback)


class FullyConnectedTensorProduct(_Weighted):
    """As :class:`valence.torch.FullyConnectedTensorProduct`; `key` draws the weights."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: Any = None,
        key: Any = None,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.fully_connected(irreps_in1, irreps_in2, irreps_out, layouts, group, convention)
        self._make(made, key, shared_weights, internal_weights, dtype)

    __call__ = ChannelWiseTensorProduct.__call__


class Linear(_Weighted):
    """As :class:`valence.torch.Linear`; `key` draws the weights.

    >>> Linear("8x0e + 8x1o", "4x0e + 2x1o", weight_classes=3, key=jax.random.key(0)).weight.shape
    (3, 48)
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        layout: Any = None,
        layout_in: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        weight_classes: int = 1,
        dtype: Any = None,
        key: Any = None,
        group: str | None = None,
    ) -> None:
        layouts = _layers.layout_of("layout_in", layout_in, layout), _layers.layout_of("layout_out", layout_out, layout)
        if weight_classes < 1 or (weight_classes > 1 and not shared_weights):
            raise ValueError(f"`weight_classes` must be 1, or more with shared weights, got {weight_classes}")
        made = _layers.mixing(irreps_in, irreps_out, layouts, group)
        self._make(made, key, shared_weights, internal_weights, dtype, weight_classes)

    def __call__(
        self,
        x: Any,
        weight: Any = None,
        weight_indices: Any = None,
        indices_1: Any = None,
        indices_out: Any = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> jax.Array:
        """The mixed rows [rows or size_out, irreps_out.dim] of x [rows, irreps_in.dim]; as in :mod:`valence.torch`."""
        if self.weight_classes > 1 and weight_indices is None:
            raise ValueError(f"`weight_indices` must be given for {self.weight_classes} classes of weights, got None")
        indices = _indexed(weight=weight_indices, x=indices_1, out=indices_out)
        rows = self._rows(weight)
        return polynomial(self.descriptor, rows, x, indices=indices, size_out=size_out, use_fallback=use_fallback)


class TensorProduct(_Weighted):
    """As :class:`valence.torch.TensorProduct`: a descriptor as a layer, or e3nn's instructions; `key` draws the weights."""

    def __init__(
        self,
        descriptor: Any,
        irreps_in2: Any = None,
        irreps_out: Any = None,
        instructions: Sequence[tuple] | None = None,
        *,
        layout: Any = None,
        layout_in1: Any = None,
        layout_in2: Any = None,
        layout_out: Any = None,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        dtype: Any = None,
        key: Any = None,
        group: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        layouts = (
            _layers.layout_of("layout_in1", layout_in1, layout),
            _layers.layout_of("layout_in2", layout_in2, layout),
            _layers.layout_of("layout_out", layout_out, layout),
        )
        made = _layers.product_of(descriptor, irreps_in2, irreps_out, instructions, layouts, group, convention)
        if made.operands[0].name != "weight":
            internal_weights = False
        self._make(made, key, shared_weights, internal_weights, dtype)

    def __call__(
        self,
        x1: Any,
        x2: Any = None,
        weight: Any = None,
        indices_1: Any = None,
        indices_2: Any = None,
        indices_out: Any = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> jax.Array:
        """As :meth:`ChannelWiseTensorProduct.__call__`; without x2 where the descriptor has one input."""
        weighted = self.descriptor.operands[0].name == "weight"
        if not weighted and weight is not None:
            raise ValueError("`weight` must be None for a descriptor without weights, got an array")
        operands = [self._rows(weight)] if weighted else []
        operands += [x1] if x2 is None else [x1, x2]
        indices = _indexed(x1=indices_1, x2=indices_2, out=indices_out)
        return polynomial(self.descriptor, *operands, indices=indices, size_out=size_out, use_fallback=use_fallback)


class SymmetricContraction(Module):
    """As :class:`valence.torch.SymmetricContraction`; `key` draws the weights [num_elements, K, C], else the call takes them.

    >>> SymmetricContraction("4x0e + 4x1o", "4x0e", 2, 3, group="O3_e3nn", key=jax.random.key(0)).weight.shape
    (3, 3, 4)
    """

    weight: Any
    descriptor: Descriptor = fixed()
    num_elements: int = fixed()
    weight_shape: tuple[int, int] = fixed()

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        contraction_degree: int,
        num_elements: int,
        *,
        layout: Any = None,
        layout_in: Any = None,
        layout_out: Any = None,
        dtype: Any = None,
        key: Any = None,
        original_mace: bool = True,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        made = symmetric_contraction(
            irreps_in,
            irreps_out,
            contraction_degree,
            original_mace=original_mace,
            layout=(
                _layers.layout_of("layout_in", layout_in, layout),
                _layers.layout_of("layout_out", layout_out, layout),
            ),
            group=group,
            irrep_order=irrep_order,
            convention=convention,
        )
        self._make(made, num_elements, key, dtype)

    @classmethod
    def from_tables(
        cls,
        irreps_in: Any,
        irreps_out: Any,
        tables: Sequence[Any],
        num_elements: int,
        *,
        num_weights: int | None = None,
        layout: Any = None,
        dtype: Any = None,
        key: Any = None,
        group: str | None = None,
    ) -> SymmetricContraction:
        """The layer with explicit couplings, see :func:`valence.equivariant.symmetric_contraction_from_tables`."""
        made = symmetric_contraction_from_tables(
            irreps_in,
            irreps_out,
            tables,
            num_weights=num_weights,
            layout=_layers.layout_of("layout", layout),
            group=group,
        )
        layer = object.__new__(cls)
        layer._make(made, num_elements, key, dtype)
        return layer

    def _make(self, made: Descriptor, num_elements: int, key: Any, dtype: Any) -> None:
        shape = _layers.contraction_weights(made, num_elements)
        self._set(
            weight=_drawn(key, (num_elements, *shape), dtype),
            descriptor=_layers.named(made, "weight", "x", "out"),
            num_elements=num_elements,
            weight_shape=shape,
        )

    @property
    def irreps_out(self) -> Irreps | None:
        return self.descriptor.irreps_out

    def __call__(self, x: Any, indices: Any, weight: Any = None, use_fallback: bool = False) -> jax.Array:
        """Polynomials [rows, irreps_out.dim] of x [rows, irreps_in.dim]; indices [rows]: the element of each row."""
        rows = _layers.own_weights(self.weight, weight).reshape(self.num_elements, -1)
        return polynomial(self.descriptor, rows, x, indices={"weight": indices}, use_fallback=use_fallback)

    def __repr__(self) -> str:
        return f"SymmetricContraction({self.descriptor!r}, num_elements={self.num_elements})"
