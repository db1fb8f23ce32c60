"""A model as an ASE calculator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from valence.model.committee import computed

try:
    from ase.calculators.calculator import Calculator, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError as error:
    raise ImportError("an ASE calculator needs ase, got none installed (pip install 'valence[ase]')") from error

__all__ = ["ModelCalculator"]

#: Made at every step where the model has them, as one pass gives them all.
_ALWAYS = ("energy", "node_energy", "forces", "dipole", "charges")
#: Made when asked for by name, as in `calculator.get_property("hessian", atoms)`.
_ON_REQUEST = ("descriptors", "invariant_descriptors", "hessian", "polarizability")
#: Of these the members of a committee have their own, and no mean.
_OF_MEMBERS = ("descriptors", "invariant_descriptors")
_STD = ("energy_std", "node_energy_std", "forces_std", "stress_std")
#: What ASE's calculators take of a caller; they keep any other name too and do nothing with it.
_OPTIONS = ("restart", "label", "atoms", "directory")


class ModelCalculator(Calculator):
    """Energy, forces, stress (where periodic along all axes) and per-atom energies of a model.

    Parameters
    ----------
    model : what `valence.load` gives.
    skin : Angstrom. More than 0 keeps the neighbour list between steps until an atom could have come within the cutoff; the
        numbers are those of a list made afresh, see :class:`valence.NeighborList`. 0.3 to 1 serves molecular dynamics.

    Results: `energy`, `free_energy` (the same), `energies` and `node_energy` (per atom, add up to the energy), `forces`,
    `stress` (Voigt), where the model has them `dipole` and `charges`; of a committee also `energy_std`, `node_energy_std`,
    `forces_std`, `stress_std`; `hessian`, `polarizability` and, of a single model, `descriptors` and `invariant_descriptors` if
    asked for by name. All of one call come from one pass, and it runs when atoms changed alone.

    `n_computed` counts the passes, `neighbors.n_builds` those that made a new list.

    >>> atoms.calc = vl.load("mace.safetensors").calculator(skin=0.5)  # doctest: +SKIP
    >>> atoms.get_potential_energy(), atoms.calc.results["node_energy"]  # doctest: +SKIP
    """

    implemented_properties: list[str] = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    # Charges and spins that a user puts on atoms do not enter a model of positions and elements.
    ignored_changes: ClassVar[set[str]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        "initial_charges",
        "initial_magmoms",
    }

    def __init__(self, model: Any, *, skin: float = 0.0, **kwargs: Any) -> None:
        import valence as vl

        for option in kwargs:
            if option not in _OPTIONS:
                raise TypeError(f"calculator takes skin, {', '.join(_OPTIONS)}, got `{option}`")
        super().__init__(**kwargs)
        self.model = model
        self.n_computed = 0
        self.neighbors = vl.NeighborList(model.cutoff, skin=skin)
        members = len(getattr(model, "models", ()))
        more = [p for p in (*_ALWAYS, *_ON_REQUEST) if p in model.properties and not (members and p in _OF_MEMBERS)]
        stds = [p for p in _STD if members and p.removesuffix("_std") in model.properties]
        given = [
            p for p in type(self).implemented_properties if p in model.properties or p in ("free_energy", "energies")
        ]
        if "energy" not in model.properties:
            given = []
        self.implemented_properties = list(dict.fromkeys([*given, *more, *stds]))

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes a neighbour list of its own."""
        import valence as vl

        return {**self.__dict__, "neighbors": vl.NeighborList(self.neighbors.cutoff, skin=self.neighbors.skin)}

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        import valence as vl

        kept = {} if system_changes else dict(self.results)
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError("`atoms` must be given, got None")
        wanted = [p for p in _ALWAYS if p in self.model.properties]
        if "stress" in self.model.properties and np.all(self.atoms.pbc):
            wanted.append("stress")
        asked = [p for p in _ON_REQUEST if p in properties and p in self.implemented_properties]
        if asked and all(p in kept or p == "stress" for p in wanted):
            wanted = []  # atoms are where they were
        batch = vl.as_systems(self.atoms)
        edges = self.neighbors.update(batch) if getattr(self.model, "takes_edges", False) else None
        found = computed(self.model, batch, [*wanted, *asked], edges)
        self.n_computed += 1
        self.results = {**kept, **_as_ase_has_them(found)}


def _as_ase_has_them(found: Any) -> dict[str, Any]:
    """Results of one system: a number for a row of systems, Voigt's order for stresses."""
    results: dict[str, Any] = {name: value[0] for name, value in found.arrays("system").items()}
    results.update(found.arrays("atom"))
    for name in ("energy", "energy_std"):
        if name in results:
            results[name] = float(results[name])
    if "energy" in results:
        results["free_energy"] = results["energy"]
    if "node_energy" in results:
        results["energies"] = results["node_energy"]
    for name in ("stress", "stress_std"):
        if name in results:
            results[name] = full_3x3_to_voigt_6_stress(results[name])
    if found.hessian is not None:
        results["hessian"] = found.hessian
    return results
