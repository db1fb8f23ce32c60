"""Whatever holds atoms, as a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .systems import Systems, concat


def as_systems(obj: Any) -> Systems:
    """A batch from whatever holds atoms.

    Parameters
    ----------
    obj : `Systems` (returned as it is), `Molecule`, `ase.Atoms`, a list or tuple of those, an atoms table (anything
        with `__arrow_c_stream__`), or a pair (atoms table, systems table).

    Raises
    ------
    TypeError for anything else.
    """
    if isinstance(obj, Systems):
        return obj
    kind = _kind(obj)
    if kind == "ase":
        return Systems.from_ase(obj)
    if kind == "table":
        return Systems.from_tables(obj)
    if kind == "molecule":
        return obj.to_systems()
    if isinstance(obj, (list, tuple)):
        return _from_list(obj)
    raise TypeError(
        "`systems` must be valence.Systems, valence.Molecule, ase.Atoms, a list of these, or an atoms table with "
        f"__arrow_c_stream__, got {_name(obj)}"
    )


def _from_list(items: list | tuple) -> Systems:
    kinds = [_kind(item) for item in items]
    if kinds in (["table"], ["table", "table"]):
        return Systems.from_tables(*items)
    if kinds and all(k == "ase" for k in kinds):
        return Systems.from_ase(items)
    for row, kind in enumerate(kinds):
        if kind in (None, "table"):
            got = f"{_name(items[row])} in row {row}"
            raise TypeError(f"`systems` must be a list of Systems, Molecule or ase.Atoms, got {got}")
    if not items:
        return Systems.from_arrays(np.zeros((0, 3)), [], counts=[])
    return concat(item if isinstance(item, Systems) else as_systems(item) for item in items)


def _kind(obj: Any) -> str | None:
    """What an object is, without importing the library that it comes from."""
    if isinstance(obj, Systems):
        return "systems"
    for base in type(obj).__mro__:
        if base.__name__ == "Atoms" and base.__module__.startswith("ase."):
            return "ase"
        if base.__name__ == "Molecule" and base.__module__.startswith("valence."):
            return "molecule"
    return "table" if hasattr(obj, "__arrow_c_stream__") else None


def _name(obj: Any) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
