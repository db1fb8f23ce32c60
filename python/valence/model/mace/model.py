"""A MACE network behind the interface of all models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from valence.model import mechanics
from valence.model.checks import check_apart, check_closed, check_dtype, check_elements, edges_of, properties_of
from valence.model.file import ModelFile
from valence.model.hessian import hessian
from valence.model.mace.engine import engine
from valence.model.results import Results

__all__ = ["MaceModel"]

_GRADIENTS = {"forces", "virial", "stress"}
_FEATURES = {"descriptors", "invariant_descriptors"}


def _again(path: str, *options: Any) -> MaceModel:
    return MaceModel(ModelFile(path), *options)


class MaceModel:
    """A MACE network (Batatia et al., NeurIPS 2022) run by the native engine.

    Made by :func:`valence.load`.

    Parameters
    ----------
    file, dtype, head : as `load` has them.
    radial : "exact", or "spline": radial functions from tables of each pair of elements, made at its first use. Their
        derivatives deviate by less than 1e-8 (float64) or 1e-7 (float32) of the largest one, and forces by as much.
    memory : bytes of messages kept for the forces; beyond it they are made twice. None: 4 GiB.
    """

    properties = (
        "energy",
        "node_energy",
        "forces",
        "stress",
        "virial",
        "hessian",
        "descriptors",
        "invariant_descriptors",
    )
    #: `compute` takes a neighbour list.
    takes_edges = True

    def __init__(
        self,
        file: ModelFile,
        dtype: str | None = None,
        head: int | str | None = None,
        radial: str = "spline",
        memory: int | None = None,
    ) -> None:
        check_dtype(dtype)
        self.dtype, self._path = dtype or str(file.config.get("dtype")), file.path
        self._engine, self._parts = engine(file, self.dtype, radial, memory)
        self.radial, self.memory = radial, memory
        config = self._parts.config
        self.cutoff, self.elements = config.r_max, config.atomic_numbers
        self.heads, self.metadata = config.heads, dict(file.config)
        self.head = self._head(head)
        rows = np.full(119, -1, np.int32)
        rows[list(config.atomic_numbers)] = np.arange(len(config.atomic_numbers))
        self._rows = rows

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Copies and other processes read the file again."""
        return _again, (self._path, self.dtype, self.head, self.radial, self.memory)

    def __repr__(self) -> str:
        elements = ", ".join(map(str, self.elements))
        heads = f", head={self.heads[self.head]!r}" if len(self.heads) > 1 else ""
        return f"MaceModel({self._path!r}, dtype={self.dtype}, cutoff={self.cutoff:g}, elements=[{elements}]{heads})"

    def _head(self, head: int | str | None) -> int:
        names = self.heads
        if head is None and len(names) == 1:
            return 0
        if head is None and "Default" in names:
            return names.index("Default")
        if isinstance(head, str) and head in names:
            return names.index(head)
        if isinstance(head, (int, np.integer)) and not isinstance(head, bool) and 0 <= head < len(names):
            return int(head)
        rule = "given for a file of several heads: " if head is None else ""
        raise ValueError(f"`head` must be {rule}one of {', '.join(names)} or its number, got {head!r}")

    def __copy__(self) -> MaceModel:
        return self

    def __deepcopy__(self, memo: Any) -> MaceModel:
        """A model does not change, so that copies share its weights."""
        return self

    def compute(self, systems: Any, properties: Sequence[str] | None = None, *, edges: Any = None) -> Results:
        """Properties of one or more systems.

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes.
        properties : names of `self.properties`, or one; None: energy and forces. The Hessian is always of the weights in float64, see
            :func:`valence.model.hessian.hessian`.
        edges : the systems' own neighbour list (`valence.find_edges`, `valence.NeighborList.update`) with this model's cutoff
            or a larger one; None: it is made.

        Returns
        -------
        Results.

        Raises
        ------
        ValueError, for an unknown property or element (with its row), two atoms in one place, or a stress of a system that is
        not periodic along all axes.
        """
        import valence as vl

        wanted = set(properties_of(properties, self.properties))
        batch = vl.as_systems(systems)
        numbers = np.asarray(batch.numbers).astype(np.int64)
        check_elements(numbers, self.elements)
        if "stress" in wanted:
            check_closed(batch)
        edges = edges_of(batch, self.cutoff, edges)
        check_apart(edges)
        vectors = np.ascontiguousarray(edges.vector, np.float64)
        receiver, sender = (np.ascontiguousarray(i, np.int32) for i in (edges.source, edges.target))
        heads = np.full(len(numbers), self.head, np.int32)
        gradient = bool(wanted & _GRADIENTS)
        node, _, slopes, features = self._engine.compute(
            self._rows[numbers], heads, vectors.reshape(-1), receiver, sender, gradient, bool(wanted & _FEATURES)
        )
        system = np.asarray(batch.system)
        found: dict[str, Any] = {"batch": batch}
        if "energy" in wanted:
            found["energy"] = np.bincount(system, node, len(batch)).astype(np.float64)
        if "node_energy" in wanted:
            found["node_energy"] = node
        if gradient:
            slopes = slopes.reshape(-1, 3)
            found.update(mechanics.of_edges(wanted, batch, vectors, slopes, receiver, sender))
        if wanted & _FEATURES:
            found.update(self._features(wanted, features, len(numbers)))
        if "hessian" in wanted:
            found["hessian"] = hessian(self._exact(), batch)
        return Results(**found)

    def repulsion_cutoffs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Where the pair repulsion of two elements ends, Angstrom; infinite where the model has none."""
        if not self._parts.config.pair_repulsion:
            return np.full(len(a), np.inf)
        radii = self._parts.weights["pair_repulsion_fn.covalent_radii"]
        return radii[a] + radii[b]

    def _exact(self) -> MaceModel:
        """This model in float64, its radial functions without tables."""
        if self.dtype == "float64" and self.radial == "exact":
            return self
        return MaceModel(ModelFile(self._path), "float64", self.head, "exact", self.memory)

    def calculator(self, **options: Any) -> Any:
        """An ASE calculator of this model; `options` are `skin` and ASE's own."""
        from valence.model.calculator import ModelCalculator

        return ModelCalculator(self, **options)

    def _features(self, wanted: set[str], features: list[np.ndarray], n: int) -> dict[str, Any]:
        from valence.equivariant.irreps import ir_mul_to_mul_ir

        irreps = self._parts.config.hidden_irreps
        layers = [x.reshape(n, i.dim) for i, x in zip(irreps, features)]
        channels = self._parts.config.channels
        widths = {"descriptors": tuple(i.dim for i in irreps), "invariant_descriptors": (channels,) * len(irreps)}
        found: dict[str, Any] = {"widths": {k: v for k, v in widths.items() if k in wanted}}
        if "descriptors" in wanted:
            found["descriptors"] = np.concatenate([ir_mul_to_mul_ir(i, x) for i, x in zip(irreps, layers)], axis=1)
        if "invariant_descriptors" in wanted:
            found["invariant_descriptors"] = np.concatenate([x[:, :channels] for x in layers], axis=1)
        return found
