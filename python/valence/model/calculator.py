"""A model as an ASE calculator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

try:
    from ase.calculators.calculator import Calculator, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError as error:
    raise ImportError("an ASE calculator needs ase, got none installed (pip install 'valence[ase]')") from error

__all__ = ["ModelCalculator"]


class ModelCalculator(Calculator):
    """Energy, forces, stress (periodic along all axes) and per-atom energies of a model.

    Parameters
    ----------
    model : what `valence.load` gives.

    >>> atoms.calc = vl.load("mace.safetensors").calculator()  # doctest: +SKIP
    """

    implemented_properties: ClassVar[list[str]] = [  # pyright: ignore[reportIncompatibleVariableOverride]
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = ["energy", "node_energy", "forces"]
        if np.all(self.atoms.pbc):
            wanted.append("stress")
        found = self.model.compute(self.atoms, wanted)
        energy = float(found.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "energies": found.node_energy, "forces": found.forces}
        if found.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(found.stress[0])
