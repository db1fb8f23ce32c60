"""The small message-passing engine: weights in an array, features of atoms in, features out.

For the edges (i, j) within the cutoff, K Gaussians phi_q(d) = exp(-(d - mu_q)^2 / (2 w^2)) with mu from 0 to the cutoff and
w = cutoff / (K - 1), and the cosine cutoff c(d), each layer is

    z_i = h_i U + sum_j c(d_ij) (phi(d_ij) R) * (h_j V) + b,    h'_i = silu(z_i), in the last layer z_i.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valence import _native
from valence.model.checks import check_elements
from valence.model.weights import check_array, read_arrays

__all__ = ["EngineGradients", "ValenceEngine"]

_PARTS = ("U", "V", "R", "b")


class EngineGradients(NamedTuple):
    """Features [N, C_out], and the gradients of sum(grad * out): to feats [N, C_in], positions [N, 3] and cell [3, 3]."""

    out: np.ndarray
    feats: np.ndarray
    positions: np.ndarray
    cell: np.ndarray


class _Layer(NamedTuple):
    own: np.ndarray
    neighbor: np.ndarray
    radial: np.ndarray
    bias: np.ndarray


class ValenceEngine:
    """Message passing with weights of a file or of arrays.

    Parameters
    ----------
    weights : a path or an array or a mapping of arrays, float32 or float64.
        One array (.npy): [2 C_in + K + 1, C_out], the rows U, V, R and b of one layer, or [L, 2 C + K + 1, C] for L layers.
        Named arrays (.npz, .safetensors): `layers.<l>.U`, `V` [C_in, C_out], `R` [K, C_out], `b` [C_out] of each layer l, and
        optionally `embedding` [elements, C_in] with `elements`, the atomic numbers of its rows.

    Raises
    ------
    OSError, if a file cannot be opened; ValueError, TypeError, naming what is wrong with it. Pickled objects are refused,
    never executed.

    >>> import valence as vl
    >>> engine = vl.ValenceEngine.example()
    >>> methane = vl.Molecule(
    ...     atomic_numbers=[6, 1, 1, 1, 1],
    ...     positions=[[0, 0, 0], [.63, .63, .63], [-.63, -.63, .63], [-.63, .63, -.63], [.63, -.63, -.63]],
    ... )
    >>> engine.run(methane, cutoff=3.0, k=16).round(1).ravel()  # doctest: +SKIP
    array([4., 1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, weights: str | os.PathLike[str] | np.ndarray | Mapping[str, Any]) -> None:
        if isinstance(weights, (str, os.PathLike)):
            arrays: Mapping[str, Any] = read_arrays(weights)
        elif isinstance(weights, Mapping):
            arrays = weights
        else:
            arrays = {"weights": weights}
        self._stack: np.ndarray | None = None
        self._layers: list[_Layer] | None = None
        self._embedding: tuple[np.ndarray, np.ndarray] | None = None
        if set(arrays) == {"weights"}:
            self._stack = check_array("weights", arrays["weights"], (2, 3))
            kinds = {self._stack.dtype}
        else:
            kinds = self._named(arrays)
        if len(kinds) != 1:
            raise ValueError(f"`weights` must be of one dtype, got {', '.join(sorted(map(str, kinds)))}")
        self.dtype = kinds.pop()
        self._arrays = {name: np.array(array) for name, array in arrays.items()}
        self._made: dict[tuple[int, int], tuple[Any, int]] = {}

    @classmethod
    def example(cls) -> ValenceEngine:
        """The weights that come with the package: coordination numbers (Grimme et al., J. Chem. Phys. 132, 154104, 2010,
        eq. 15, without the factor 4/3's fitted radii) of molecules of H, C, N, O and F, for cutoff=3.0 and k=16.

        Trained by `scripts/train_example_engine.py`; its errors stand in the file's README.
        """
        return cls(Path(__file__).parent / "data" / "coordination.npz")

    @property
    def width(self) -> int:
        """C_out, the columns of a result."""
        last = self._layers[-1].own if self._layers else self._stack
        assert last is not None
        return last.shape[-1]

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return ValenceEngine, (self._arrays if self._stack is None else self._stack,)

    def __repr__(self) -> str:
        shape = list(self._stack.shape) if self._stack is not None else f"{len(self._layers or ())} layers"
        return f"ValenceEngine({shape}, dtype={self.dtype})"

    def _named(self, arrays: Mapping[str, Any]) -> set[np.dtype]:
        pattern = re.compile(r"layers\.(\d+)\.([UVRb])")
        found = {name: m for name in arrays if (m := pattern.fullmatch(name))}
        others = sorted(set(arrays) - set(found) - {"embedding", "elements"})
        count = 1 + max((int(m.group(1)) for m in found.values()), default=-1)
        if others or not count:
            names = others or sorted(arrays)
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise ValueError(f"`weights` must hold layers.<l>.U, V, R and b, got {shown or 'nothing'}")
        layers, kinds = [], set()
        for l in range(count):
            parts = []
            for part in _PARTS:
                name = f"layers.{l}.{part}"
                if name not in arrays:
                    raise ValueError(f"`{name}` must be an array of the weights, got {', '.join(sorted(arrays))}")
                parts.append(check_array(name, arrays[name], (1,) if part == "b" else (2,)))
            layers.append(_Layer(*parts))
            kinds |= {p.dtype for p in parts}
        width, functions = layers[0].own.shape[0], layers[0].radial.shape[0]
        for l, layer in enumerate(layers):
            out = layer.own.shape[1]
            shapes = {"U": (width, out), "V": (width, out), "R": (functions, out), "b": (out,)}
            for part, array in zip(_PARTS, layer, strict=True):
                if array.shape != shapes[part]:
                    rule = f"of shape {list(shapes[part])}"
                    raise ValueError(f"`layers.{l}.{part}` must be {rule}, got {list(array.shape)}")
            width = out
        self._layers = layers
        if ("embedding" in arrays) != ("elements" in arrays):
            raise ValueError("`elements` must come with `embedding`, got one of them")
        if "embedding" in arrays:
            rows, elements = check_array("embedding", arrays["embedding"], (2,)), np.asarray(arrays["elements"])
            if elements.dtype.kind not in "iu" or elements.shape != rows.shape[:1]:
                raise ValueError(f"`elements` must be {rows.shape[0]} atomic numbers, got {elements.tolist()}")
            if len(np.unique(elements)) != len(elements) or not ((elements >= 1) & (elements <= 118)).all():
                raise ValueError(f"`elements` must be distinct numbers from 1 to 118, got {elements.tolist()}")
            if rows.shape[1] != layers[0].own.shape[0]:
                rule = f"of shape [elements, {layers[0].own.shape[0]}]"
                raise ValueError(f"`embedding` must be {rule}, got {list(rows.shape)}")
            self._embedding = (rows, elements.astype(np.int64))
            kinds.add(rows.dtype)
        return kinds

    # -- one molecule --------------------------------------------------------------------------------------------------

    def run(
        self, mol: Any, feats: Any = None, *, cutoff: float, k: int, max_neighbors: int | None = None
    ) -> np.ndarray:
        """Features of the atoms of one molecule after the last layer.

        Parameters
        ----------
        mol : `vl.Molecule`, or anything that `vl.as_systems` takes, of one system.
        feats : array [N, C_in], float32 or float64, computed with in the weights' dtype; None: the weights' embedding.
        cutoff : Angstrom.
        k : K, the number of radial functions, at least 2.
        max_neighbors : the nearest neighbors that each atom hears; None: all within the cutoff.

        Returns
        -------
        array [N, C_out] of the weights' dtype. An atom without neighbors has its own term alone.

        Raises
        ------
        ValueError, TypeError, naming the argument.
        """
        systems = self._one(mol)
        feats = self._feats(systems, feats)
        return self._call(systems, feats, cutoff, k, max_neighbors)

    def run_with_grad(
        self, mol: Any, feats: Any = None, *, cutoff: float, k: int, grad: Any, max_neighbors: int | None = None
    ) -> EngineGradients:
        """What :meth:`run` gives, and the gradients of sum(grad * out) for `grad` [N, C_out].

        With `max_neighbors` the gradients are those for a fixed choice of neighbors.
        """
        import valence as vl

        systems = self._one(mol)
        feats = self._feats(systems, feats)
        engine, outputs = self._engine(feats.shape[1], k)
        grad = check_array("grad", grad, (2,))
        n = len(systems.numbers)
        if grad.shape != (n, outputs):
            raise ValueError(f"`grad` must be of shape {[n, outputs]}, got {list(grad.shape)}")
        grad = np.ascontiguousarray(grad, self.dtype).reshape(-1)
        cutoff = _positive(cutoff)
        edges = vl.find_edges(systems, cutoff, k=_limit(max_neighbors))
        numbers, graph = _graph(systems, edges)
        out, to_feats, vectors = engine.run(numbers, graph, feats.reshape(-1), cutoff, grad)
        vectors = vectors.reshape(-1, 3)
        columns = [np.bincount(edges.target, g, n) - np.bincount(edges.source, g, n) for g in vectors.T]
        positions = np.stack(columns, axis=1).astype(np.float64)
        cell = np.asarray(edges.shift, np.float64).T @ vectors
        return EngineGradients(out.reshape(n, outputs), to_feats.reshape(feats.shape), positions, cell)

    # -- many molecules ------------------------------------------------------------------------------------------------

    def run_batch(
        self,
        mols: Iterable[Any],
        feats_list: Sequence[Any] | None = None,
        *,
        cutoff: float,
        k: int,
        max_neighbors: int | None = None,
        readout: str | None = None,
        on_error: str = "raise",
    ) -> Any:
        """:meth:`run` on many molecules at once, in parallel, with the same bits.

        Parameters
        ----------
        mols, feats_list : a list of molecules, or a table of them, and their features (None: of the weights' embedding for all).
        readout : None: a list of [N, C_out], one a molecule in the order given; "sum" or "mean" over the atoms, in float64: one
            array [B, C_out].
        on_error : "raise", naming the molecule; "return": its exception stands in its place (NaN in a readout).
        """
        from valence.model.molecules import MolecularBatch, several

        mols = several(mols)
        if feats_list is not None and len(feats_list) != len(mols):
            raise ValueError(f"`feats_list` must have {len(mols)} entries as `mols` has, got {len(feats_list)}")
        batch = MolecularBatch(mols, feats_list)
        return batch.run(self, cutoff=cutoff, k=k, max_neighbors=max_neighbors, readout=readout, on_error=on_error)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _one(self, mol: Any) -> Any:
        import valence as vl

        systems = vl.as_systems(mol)
        if len(systems) != 1:
            raise ValueError(f"`mol` must be one molecule, got {len(systems)} (see `run_batch`)")
        bad = np.argwhere(~np.isfinite(systems.positions))
        if len(bad):
            atom, axis = bad[0]
            raise ValueError(f"`positions` must be finite, got {systems.positions[atom, axis]} in row {atom}")
        return systems

    def _feats(self, systems: Any, feats: Any) -> np.ndarray:
        """[N, C_in] in the weights' dtype; the caller's own memory where it can be."""
        n = len(systems.numbers)
        if feats is None:
            if self._embedding is None:
                raise ValueError("`feats` must be given for weights without an embedding, got None")
            rows, elements = self._embedding
            order = np.full(119, -1)
            order[elements] = np.arange(len(elements))
            check_elements(systems.numbers, elements.tolist())
            return np.ascontiguousarray(rows[order[systems.numbers]], self.dtype)
        feats = check_array("feats", feats, (2,))
        if len(feats) != n:
            raise ValueError(f"`feats` must have {n} rows, one for each atom, got {len(feats)}")
        return np.ascontiguousarray(feats, self.dtype)

    def _engine(self, inputs: int, k: int) -> tuple[Any, int]:
        """The native engine for C_in and K, and C_out."""
        if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, np.integer)) or k < 2:
            raise ValueError(f"`k` must be a whole number of radial functions, at least 2, got {k!r}")
        key = (inputs, int(k))
        if key not in self._made:
            layers = self._split(*key)
            described = [
                (*layer.own.shape, *(np.ascontiguousarray(a, np.float64).reshape(-1) for a in layer))
                for layer in layers
            ]
            engine = _native.SmallEngine(described, self.dtype == np.float32)
            self._made[key] = (engine, layers[-1].own.shape[1])
        return self._made[key]

    def _split(self, inputs: int, k: int) -> list[_Layer]:
        if self._layers is not None:
            first = self._layers[0]
            if first.own.shape[0] != inputs:
                raise ValueError(f"`feats` must have {first.own.shape[0]} columns as the weights have, got {inputs}")
            if first.radial.shape[0] != k:
                raise ValueError(f"`k` must be {first.radial.shape[0]} as the weights have, got {k}")
            return self._layers
        assert self._stack is not None
        stack = self._stack if self._stack.ndim == 3 else self._stack[None]
        rows, width = stack.shape[1:]
        if rows != 2 * inputs + k + 1 or (self._stack.ndim == 3 and width != inputs) or not len(stack):
            rule = f"2 C_in + k + 1 = 2 * {inputs} + {k} + 1 = {2 * inputs + k + 1} rows"
            if self._stack.ndim == 3:
                rule += f" and C_in = {inputs} columns in each of at least one layer"
            raise ValueError(f"`weights` must have {rule}, got shape {list(self._stack.shape)}")
        cuts = (inputs, 2 * inputs, 2 * inputs + k)
        parts = [np.split(layer, cuts) for layer in stack]
        return [_Layer(u, v, r, b[0]) for u, v, r, b in parts]

    def _call(self, systems: Any, feats: np.ndarray, cutoff: float, k: int, max_neighbors: int | None) -> np.ndarray:
        import valence as vl

        engine, outputs = self._engine(feats.shape[1], k)
        cutoff = _positive(cutoff)
        edges = vl.find_edges(systems, cutoff, k=_limit(max_neighbors))
        numbers, graph = _graph(systems, edges)
        return engine.run(numbers, graph, feats.reshape(-1), cutoff).reshape(len(numbers), outputs)


def _positive(cutoff: Any) -> float:
    number = isinstance(cutoff, (int, float, np.integer, np.floating)) and not isinstance(cutoff, bool)
    if not number or not 0 < cutoff < np.inf:
        raise ValueError(f"`cutoff` must be a positive finite length in Angstrom, got {cutoff!r}")
    return float(cutoff)


def _limit(max_neighbors: Any) -> int | None:
    if max_neighbors is None:
        return None
    if (
        isinstance(max_neighbors, (bool, np.bool_))
        or not isinstance(max_neighbors, (int, np.integer))
        or max_neighbors < 1
    ):
        raise ValueError(f"`max_neighbors` must be a positive whole number or None, got {max_neighbors!r}")
    return int(max_neighbors)


def _graph(systems: Any, edges: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    return np.ascontiguousarray(systems.numbers, np.int32), (
        np.ascontiguousarray(systems.offsets, np.int64),
        np.ascontiguousarray(edges.vector, np.float64).reshape(-1),
        np.ascontiguousarray(edges.source, np.int32),
        np.ascontiguousarray(edges.target, np.int32),
    )
