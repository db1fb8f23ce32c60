"""Frames that come with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import overload

from ._files import read
from .systems import Systems

_SETS = ("crystals", "g2", "s22", "slabs", "water")


@overload
def samples(name: None = None) -> list[str]: ...
@overload
def samples(name: str) -> Systems: ...
def samples(name: str | None = None) -> list[str] | Systems:
    """Frames that come with Valence: their names, or one set of them.

    Parameters
    ----------
    name : "g2" (162 molecules), "s22" (22 complexes), "crystals" (primitive cells and supercells), "slabs" (partly
        periodic), "water" (64 and 216 molecules in a periodic box); None: the list of names.

    Returns
    -------
    list of str, or Systems. How each was made: `valence/data/MANIFEST.json`.

    Examples
    --------
    >>> samples()
    ['crystals', 'g2', 's22', 'slabs', 'water']
    >>> len(samples("g2"))
    162
    """
    if name is None:
        return list(_SETS)
    if name not in _SETS:
        raise ValueError(f"`name` must be one of {', '.join(_SETS)}, got {name}")
    with as_file(files("valence") / "data" / f"{name}.xyz.gz") as path:
        systems: Systems = read(path)
    return systems
