"""What a model computes for a batch of systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CommitteeResults", "Results"]

#: Results with a row a system; the others have a row an atom.
PER_SYSTEM = ("energy", "virial", "stress", "dipole", "polarizability")


@dataclass(frozen=True)
class Results:
    """Arrays over B systems and N atoms; None where a property was not asked for.

    energy [B], node_energy [N] in eV; forces [N, 3] in eV/Angstrom; virial [B, 3, 3] in eV, -dE/d strain; stress [B, 3, 3] in
    eV/Angstrom^3 with ASE's sign; dipole [B, 3] in e Angstrom; charges [N] in e; polarizability [B, 3, 3]; descriptors,
    invariant_descriptors [N, D] of all layers one after another, see :meth:`layers`; hessian [n, 3, n, 3] in eV/Angstrom^2 of
    one system of n atoms, a list of such arrays of a batch of several.
    """

    energy: np.ndarray | None = None
    node_energy: np.ndarray | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None
    stress: np.ndarray | None = None
    dipole: np.ndarray | None = None
    charges: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    descriptors: np.ndarray | None = None
    invariant_descriptors: np.ndarray | None = None
    hessian: Any = None
    #: The batch that they belong to.
    batch: Any = None
    #: Columns of each layer in `descriptors` and in `invariant_descriptors`.
    widths: dict[str, tuple[int, ...]] | None = None

    def __repr__(self) -> str:
        made = {k: v.shape for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return f"{type(self).__name__}({', '.join(f'{k}{list(s)}' for k, s in made.items())})"

    def arrays(self, per: str) -> dict[str, np.ndarray]:
        """The results with a row a "system", or with a row an "atom", by name."""
        if per not in ("system", "atom"):
            raise ValueError(f"`per` must be system or atom, got {per!r}")
        found = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray) and k != "hessian"}
        return {k: v for k, v in found.items() if (k.removesuffix("_std") in PER_SYSTEM) == (per == "system")}

    def layers(self, name: str = "descriptors") -> list[np.ndarray]:
        """One array [N, D_t] for each layer t of `descriptors` or `invariant_descriptors`, without a copy.

        >>> out = model.compute(systems, "descriptors")  # doctest: +SKIP
        >>> first, second = out.layers()  # doctest: +SKIP
        """
        if name not in ("descriptors", "invariant_descriptors"):
            raise ValueError(f"`name` must be descriptors or invariant_descriptors, got {name!r}")
        whole = getattr(self, name)
        if whole is None or self.widths is None:
            raise ValueError(f"`name` must be a property that was computed layer by layer, got {name}")
        return np.split(whole, np.cumsum(self.widths[name])[:-1], axis=1)

    @property
    def systems(self) -> Any:
        """polars.DataFrame with a row a system: system, cell, pbc and results (3 x 3 ones as 9 numbers)."""
        from valence.atoms._tables import series, systems_table

        table = systems_table(self.batch).select("system", "cell", "pbc")
        flat = {k: v.reshape(len(v), 9) if v.ndim == 3 else v for k, v in self.arrays("system").items()}
        return table.with_columns([series(name, values) for name, values in flat.items()])

    @property
    def atoms(self) -> Any:
        """polars.DataFrame with a row an atom: system, number, position and results."""
        from valence.atoms._tables import atoms_table, series

        table = atoms_table(self.batch).select("system", "number", "position")
        return table.with_columns([series(name, values) for name, values in self.arrays("atom").items()])


@dataclass(frozen=True, repr=False)
class CommitteeResults(Results):
    """Means over the members of a committee, and their standard deviations (with divisor M, the number of members).

    Descriptors differ in kind from member to member; they are in `members` alone.
    """

    energy_std: np.ndarray | None = None
    node_energy_std: np.ndarray | None = None
    forces_std: np.ndarray | None = None
    virial_std: np.ndarray | None = None
    stress_std: np.ndarray | None = None
    dipole_std: np.ndarray | None = None
    charges_std: np.ndarray | None = None
    polarizability_std: np.ndarray | None = None
    #: Results of each member.
    members: tuple[Results, ...] = ()
