"""Several models of one thing: their mean and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from valence.model.checks import check_elements, edges_of, properties_of
from valence.model.results import CommitteeResults, Results

__all__ = ["Committee", "computed"]


def computed(model: Any, batch: Any, properties: Sequence[str], edges: Any) -> Results:
    """`model.compute` with a neighbour list, for models that take one; it may reach farther than the model."""
    if not getattr(model, "takes_edges", False):
        return model.compute(batch, properties)
    return model.compute(batch, properties, edges=edges)


class Committee:
    """Models run on one neighbour list, as `valence.load([a, b, c])` makes them.

    Parameters
    ----------
    models : two or more. Their cutoffs may differ: the list reaches as far as the largest. Elements are those that all know,
        properties those that all have.

    Energies, forces, virials, stresses of the result are means, and those with `_std` standard deviations over the members
    (divisor: their number). The members' own results are in `members`.

    >>> committee = vl.load(["a.safetensors", "b.safetensors"])  # doctest: +SKIP
    >>> out = committee.compute(systems, ("energy", "forces"))  # doctest: +SKIP
    >>> out.forces, out.forces_std, out.members[0].energy  # doctest: +SKIP
    """

    takes_edges = True

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = tuple(models)
        if len(self.models) < 2:
            raise ValueError(f"`models` must be two or more, got {len(self.models)}")
        first, *others = self.models
        self.elements: tuple[int, ...] = tuple(z for z in first.elements if all(z in m.elements for m in others))
        if not self.elements:
            got = "; ".join(", ".join(map(str, m.elements)) for m in self.models)
            raise ValueError(f"`models` must know an element in common, got {got}")
        self.properties: tuple[str, ...] = tuple(p for p in first.properties if all(p in m.properties for m in others))
        self.cutoff: float = max(m.cutoff for m in self.models)
        self.metadata = [m.metadata for m in self.models]

    def __len__(self) -> int:
        return len(self.models)

    def __getitem__(self, index: int) -> Any:
        return self.models[index]

    def __repr__(self) -> str:
        return f"Committee([{', '.join(map(repr, self.models))}])"

    def compute(self, systems: Any, properties: Sequence[str] | None = None, *, edges: Any = None) -> CommitteeResults:
        """Properties of one or more systems: means, standard deviations, and each member's own.

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes.
        properties : names of `self.properties`, or one; None: energy and forces, or what the members have instead.
        edges : their neighbour list as far as `self.cutoff` or farther; None: it is made.

        Raises
        ------
        ValueError, for an unknown property or element (with its row), and what else a member refuses.
        """
        import valence as vl

        wanted = properties_of(properties, self.properties)
        batch = vl.as_systems(systems)
        check_elements(batch.numbers, self.elements)
        edges = edges_of(batch, self.cutoff, edges)
        members = tuple(computed(m, batch, wanted, edges) for m in self.models)
        found: dict[str, Any] = {"batch": batch, "members": members}
        for name in [f.name for f in fields(CommitteeResults) if f.name.endswith("_std")]:
            plain = name.removesuffix("_std")
            values = [getattr(m, plain) for m in members]
            if all(v is not None for v in values):
                stack = np.stack(values)
                found[plain], found[name] = stack.mean(axis=0), stack.std(axis=0)
        if "hessian" in wanted:
            several = [m.hessian if isinstance(m.hessian, list) else [m.hessian] for m in members]
            means = [np.mean(h, axis=0) for h in zip(*several)]
            found["hessian"] = means if isinstance(members[0].hessian, list) else means[0]
        return CommitteeResults(**found)

    def calculator(self, **options: Any) -> Any:
        """An ASE calculator of the mean; its results hold `energy_std`, `forces_std` and their like too."""
        from valence.model.calculator import ModelCalculator

        return ModelCalculator(self, **options)
