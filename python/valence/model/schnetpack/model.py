"""SchNet and PaiNN behind the interface of all models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from valence import _native
from valence.model import mechanics
from valence.model.checks import check_apart, check_closed, check_dtype, check_elements, edges_of, properties_of
from valence.model.file import ModelFile
from valence.model.results import Results
from valence.model.schnetpack import heads
from valence.model.schnetpack.parts import Parts

__all__ = ["SchnetpackModel"]

_GRADIENTS = {"forces", "virial", "stress"}
_ENERGIES = {"energy", "node_energy", *_GRADIENTS}
#: Intervals of a filter table where the caller does not say: relative error 1e-8 of a value, 2e-6 of a slope.
_INTERVALS = 512


def _again(path: str, dtype: str, filter_table: int | None) -> SchnetpackModel:
    return SchnetpackModel(ModelFile(path), dtype, filter_table=filter_table)


class SchnetpackModel:
    """SchNet (Schütt et al., J. Chem. Phys. 148, 241722, 2018) or PaiNN (Schütt, Unke, Gastegger, ICML 2021), run by the
    native engine. Made by :func:`valence.load`.

    Parameters
    ----------
    file : of the format valence-schnetpack-1.
    dtype : "float32" or "float64" of weights and features; None: the file's. Energies are summed in float64.
    head : None; these files have one energy.
    filter_table : how the filters are computed, which depend on the distance alone. A number: cubic Hermite tables with as
        many intervals; None: by the filter network itself; "auto": 512 intervals in float32, None in float64. Forces are
        the exact derivative of the energy either way; `filter_error` is the largest error of a table's value and slope,
        relative to the largest value and slope of its layer.
    """

    takes_edges = True

    def __init__(
        self, file: ModelFile, dtype: str | None = None, head: Any = None, filter_table: int | str | None = "auto"
    ) -> None:
        check_dtype(dtype)
        if head is not None:
            raise ValueError(f"`head` must be None for a file of one energy, got {head!r}")
        self._parts, self._path = Parts(file), file.path
        config = self._parts.config
        self.dtype = dtype or self._parts.dtype
        if filter_table == "auto":
            filter_table = _INTERVALS if self.dtype == "float32" else None
        if filter_table is not None and (
            isinstance(filter_table, bool) or not isinstance(filter_table, (int, np.integer))
        ):
            raise ValueError(f'`filter_table` must be "auto", a number of intervals or None, got {filter_table!r}')
        self.filter_table = None if filter_table is None else int(filter_table)
        if self.filter_table is not None and not 8 <= self.filter_table <= 65536:
            raise ValueError(f"`filter_table` must be from 8 to 65536 intervals, got {self.filter_table}")
        self._engine = _native.GraphEngine(self._parts.description(self.filter_table), self.dtype == "float32")
        self.filter_error = tuple(self._engine.filter_error())
        self.cutoff = config.cutoff * config.length_unit
        self.elements = tuple(range(1, self._parts.elements))
        self.metadata = dict(file.config)
        names = {h.name for h in config.heads}
        self.properties: tuple[str, ...] = (
            *(("energy", "node_energy", "forces", "stress", "virial") if "energy" in names else ()),
            *(("dipole", "charges") if "dipole" in names else ()),
            *(("polarizability",) if "polarizability" in names else ()),
            "descriptors",
            "invariant_descriptors",
        )

    def __reduce__(self) -> tuple[Any, tuple[str, str, int | None]]:
        """Copies and other processes read the file again."""
        return _again, (self._path, self.dtype, self.filter_table)

    def __repr__(self) -> str:
        kind = {"schnet": "SchNet", "painn": "PaiNN"}[self._parts.config.model]
        table = f"{self.filter_table} intervals" if self.filter_table else "exact"
        return f"{kind}({self._path!r}, dtype={self.dtype}, cutoff={self.cutoff:g}, filters={table})"

    def memory_estimate(self, atoms: int, edges: int, gradient: bool = True) -> int:
        """Bytes that the engine takes for one system, beside the list of its edges."""
        return int(self._engine.memory(atoms, edges, gradient))

    def compute(self, systems: Any, properties: Sequence[str] | None = None, *, edges: Any = None) -> Results:
        """Properties of one or more systems.

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes.
        properties : names of `self.properties`; None: energy and forces, or all that a file without energies has.
        edges : the systems' own full neighbour list (`valence.find_edges`, `valence.NeighborList.update`) with this model's
            cutoff or a larger one; None: it is made.

        Returns
        -------
        Results. Dipoles are about the coordinates' origin, as polarizabilities are; two atoms in one place exert no force on
        each other.

        Raises
        ------
        ValueError, for an unknown property or element (with its row), or a stress of a system that is not periodic along all
        axes.
        """
        import valence as vl

        wanted = set(properties_of(properties, self.properties))
        batch = vl.as_systems(systems)
        numbers = np.asarray(batch.numbers).astype(np.int64)
        check_elements(numbers, self.elements)
        if "stress" in wanted:
            check_closed(batch)
        config = self._parts.config
        edges = edges_of(batch, self.cutoff, edges)
        check_apart(edges, same_place=True)
        vectors = np.ascontiguousarray(edges.vector, np.float64)
        if config.length_unit != 1.0:
            vectors = vectors / config.length_unit
        features = bool(wanted - _ENERGIES)
        node, moments, scalars, vector = self._engine.compute(
            numbers.astype(np.int32),
            np.ascontiguousarray(batch.offsets, np.int64),
            vectors.reshape(-1),
            np.ascontiguousarray(edges.source, np.int32),
            np.ascontiguousarray(edges.target, np.int32),
            bool(wanted & _GRADIENTS),
            features,
        )
        found: dict[str, Any] = {"batch": batch}
        if wanted & _ENERGIES:
            found.update(self._energies(wanted, batch, numbers, node, moments))
        if features:
            n, f = len(numbers), config.channels
            shape = (n, 3, f) if config.model == "painn" else (n, 3, 0)
            found.update(self._others(wanted, batch, scalars.reshape(n, f), vector.reshape(shape)))
        return Results(**found)

    def calculator(self, **options: Any) -> Any:
        """An ASE calculator of this model; `options` are `skin` and ASE's own."""
        from valence.model.calculator import ModelCalculator

        return ModelCalculator(self, **options)

    def _energies(
        self, wanted: set[str], batch: Any, numbers: np.ndarray, node: np.ndarray, moments: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Sums, means and offsets, in float64; energies of atoms add up to that of their system."""
        config = self._parts.config
        system = np.asarray(batch.system)
        counts = np.maximum(np.asarray(batch.counts), 1).astype(np.float64)
        mean, rows = self._parts.offsets()
        if config.aggregation == "avg":
            node = node / counts[system]
            moments = moments / counts[system][:, None] if len(moments) else moments
        each = rows[numbers]
        each = each + mean if config.extensive else (each + mean) / counts[system]
        node = (node + each) * config.energy_unit
        found: dict[str, np.ndarray] = {}
        if "energy" in wanted:
            found["energy"] = np.bincount(system, node, len(batch)).astype(np.float64)
        if "node_energy" in wanted:
            found["node_energy"] = node
        if wanted & _GRADIENTS:
            found.update(mechanics.of_atoms(wanted, batch, moments, config.energy_unit, config.length_unit))
        return found

    def _others(self, wanted: set[str], batch: Any, s: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        length = self._parts.config.length_unit
        positions = np.asarray(batch.positions, np.float64) / length
        for head in self._parts.config.heads:
            if head.name == "dipole" and wanted & {"dipole", "charges"}:
                moment, charges = heads.dipole(self._parts, head, s, v, batch, positions)
                values = {"dipole": moment * length, "charges": charges}
                found.update({k: x for k, x in values.items() if k in wanted})
            if head.name == "polarizability" and "polarizability" in wanted:
                found["polarizability"] = heads.polarizability(self._parts, head, s, v, batch, positions)
        if "invariant_descriptors" in wanted:
            found["invariant_descriptors"] = s
        if "descriptors" in wanted:
            # Scalars, then the vectors channel by channel (mul_ir).
            n = len(s)
            found["descriptors"] = np.concatenate([s, v.transpose(0, 2, 1).reshape(n, 3 * v.shape[2])], axis=1)
        return found
