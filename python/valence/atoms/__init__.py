"""Batches of systems: positions, numbers, cells, charges, orientations; files and units."""

from typing import TYPE_CHECKING

from . import units
from ._convert import as_systems
from ._files import iread, read, write
from ._samples import samples
from .systems import Systems, concat

if TYPE_CHECKING:
    from .molecule import Molecule

__all__ = ["Molecule", "Systems", "as_systems", "concat", "iread", "read", "samples", "units", "write"]


def __getattr__(name: str):
    if name == "Molecule":  # needs pydantic, which `import valence` must not
        from .molecule import Molecule

        return Molecule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
