"""Values of a model file's configuration, each of a stated kind; what is not known is refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

__all__ = ["Reader"]

_MISSING = object()


class Reader:
    """Reads a mapping key by key and remembers which were read.

    Parameters
    ----------
    config : the mapping of a file.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self._seen = config, set()

    def get(self, key: str, default: Any = _MISSING) -> Any:
        """The value as it is; without a default the key must be there."""
        self._seen.add(key)
        if key not in self.config and default is _MISSING:
            raise ValueError(f"`{key}` must be in the configuration, got {', '.join(map(str, self.config))}")
        return self.config.get(key, default)

    def one(self, key: str, kind: Any, known: Collection[Any] | None = None, default: Any = _MISSING) -> Any:
        """A value of a type, and one of those known."""
        return self.check(key, self.get(key, default), kind, known)

    def number(self, key: str, holds: Callable[[float], bool], rule: str, default: Any = _MISSING) -> float:
        """A number that fulfils a rule."""
        value = float(self.check(key, self.get(key, default), (int, float)))
        if not holds(value):
            raise ValueError(f"`{key}` must be {rule}, got {value}")
        return value

    def count(self, key: str, most: int, default: Any = _MISSING) -> int:
        """A whole number from 1 to `most`."""
        value = self.one(key, int, default=default)
        if not 1 <= value <= most:
            raise ValueError(f"`{key}` must be from 1 to {most}, got {value}")
        return value

    def several(
        self, key: str, kind: Any, known: Collection[Any] | None = None, length: int | None = None
    ) -> tuple[Any, ...]:
        """A list of values of a type, and of a length."""
        values = self.get(key)
        if not isinstance(values, list) or (length is not None and len(values) != length):
            raise ValueError(f"`{key}` must be a list{f' of {length}' if length is not None else ''}, got {values!r}")
        return tuple(self.check(f"{key}[{n}]", v, kind, known) for n, v in enumerate(values))

    def check(self, key: str, value: Any, kind: Any, known: Collection[Any] | None = None) -> Any:
        """`value`, if it is of the kind and known."""
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
            raise ValueError(f"`{key}` must be of type {names}, got {value!r}")
        if known is not None and value not in known:
            raise ValueError(f"`{key}` must be one of {', '.join(map(str, known))}, got {value!r}")
        return value

    def finish(self, also: Collection[str] = ()) -> None:
        """Refuses keys that nobody has read."""
        unknown = sorted(str(k) for k in self.config if k not in self._seen and k not in also)
        if unknown:
            raise ValueError(f"`config` must hold known keys only, got {', '.join(unknown)}")
