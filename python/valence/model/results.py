"""What a model computes for a batch of systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Results"]


@dataclass(frozen=True)
class Results:
    """Arrays over B systems and N atoms; None where a property was not asked for.

    energy [B], node_energy [N] in eV; forces [N, 3] in eV/Angstrom; virial [B, 3, 3] in eV, -dE/d strain; stress [B, 3, 3] in
    eV/Angstrom^3 with ASE's sign; descriptors, invariant_descriptors [N, D].
    """

    energy: np.ndarray | None = None
    node_energy: np.ndarray | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None
    stress: np.ndarray | None = None
    descriptors: np.ndarray | None = None
    invariant_descriptors: np.ndarray | None = None
    #: The batch that they belong to.
    batch: Any = None

    def __repr__(self) -> str:
        made = {k: v.shape for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return f"Results({', '.join(f'{k}{list(s)}' for k, s in made.items())})"
