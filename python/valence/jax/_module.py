"""Modules as frozen dataclasses that JAX sees as trees: arrays are leaves, the rest is static. In the manner of equinox."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

__all__ = ["Module", "fixed"]


def fixed(**options: Any) -> Any:
    """A field that is no leaf: part of the tree's structure, compared by equality."""
    return dataclasses.field(metadata={"static": True}, **options)


class Module:
    """Base of the layers. A subclass is a frozen dataclass whose `__init__` calls :meth:`_set`.

    Replace leaves by `dataclasses.replace`-like :meth:`replace`; use `jax.tree.map` on whole models.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, init=False, eq=False, repr=False)(cls)
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        leaves = [f.name for f in fields if not f.metadata.get("static")]
        static = [f.name for f in fields if f.metadata.get("static")]

        def flatten(module: Any) -> tuple:
            keyed = [(jax.tree_util.GetAttrKey(n), getattr(module, n)) for n in leaves]
            return keyed, tuple(getattr(module, n) for n in static)

        def unflatten(values: tuple, children: Any) -> Any:
            module = object.__new__(cls)
            module._set(**dict(zip(leaves, children)), **dict(zip(static, values)))
            return module

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def replace(self, **values: Any) -> Any:
        """A copy with other values of the named fields."""
        names = [f.name for f in dataclasses.fields(self)]  # pyright: ignore[reportArgumentType]
        for name in values:
            if name not in names:
                raise TypeError(f"`{name}` must be one of {', '.join(names)}")
        copy = object.__new__(type(self))
        copy._set(**{n: values.get(n, getattr(self, n)) for n in names})
        return copy
