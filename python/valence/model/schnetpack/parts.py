"""A schnetpack file's tensors, all of them checked, and the description from which the native engine is made."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from valence.model.file import ModelFile
from valence.model.schnetpack.config import Head, SchnetpackConfig

__all__ = ["Parts"]

_BUFFERS = ("cutoff_fn", "radial_basis", "postprocessors")


class Parts:
    """The network of a file: its configuration and its tensors under schnetpack's names, in float64.

    Parameters
    ----------
    file : a file of the family "schnetpack".

    Raises
    ------
    ValueError, for a tensor that is missing, not known, of another shape, or not finite.
    """

    def __init__(self, file: ModelFile) -> None:
        self.config = SchnetpackConfig.parse(file.config)
        self._file = file
        self.outputs = dict(zip(self.config.heads, self._indices("output_modules"), strict=False))
        if len(self._indices("output_modules")) != len(self.config.heads):
            names = ", ".join(h.name for h in self.config.heads)
            raise ValueError(f"`output_modules` must be {names}, got those numbered {self._indices('output_modules')}")
        shapes = self.shapes()
        unknown = sorted(set(file.tensors) - set(shapes))
        if unknown:
            shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            raise ValueError(f"`{file.path}` must hold known tensors only, got {shown}")
        self.weights = {name: file.tensor(name, shape, np.float64) for name, shape in shapes.items()}
        kinds = {str(file.tensors[name].dtype) for name in shapes if not any(part in name for part in _BUFFERS)}
        if len(kinds) != 1:
            raise ValueError(f"`{file.path}` must hold weights of one dtype, got {', '.join(sorted(kinds))}")
        self.dtype = kinds.pop()
        stored = float(self.weights["representation.cutoff_fn.cutoff"][0])
        if abs(stored - self.config.cutoff) > 1e-6:
            raise ValueError(f"`cutoff` must be {stored} as the file's tensor, got {self.config.cutoff}")
        if self.config.radial_basis != "bessel" and not (self.weights["representation.radial_basis.widths"] > 0).all():
            raise ValueError("`representation.radial_basis.widths` must be positive")

    def _indices(self, group: str) -> list[int]:
        found = {m.group(1) for name in self._file.tensors if (m := re.match(rf"{group}\.(\d+)\.", name))}
        return sorted(map(int, found))

    @property
    def elements(self) -> int:
        """Rows of the embedding; row Z is element Z."""
        return self._file.tensors["representation.embedding.weight"].shape[0]

    @property
    def offset_name(self) -> str:
        """The postprocessor with mean and atomref."""
        indices = self._indices("postprocessors")
        if len(indices) > 1:
            raise ValueError(f"`postprocessors` must be one with tensors (AddOffsets), got those numbered {indices}")
        return f"postprocessors.{indices[0]}" if indices else "postprocessors.1"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that the network has, with its shape."""
        c, tensors = self.config, self._file.tensors
        f, n, k = c.channels, c.filters, c.num_basis
        name = "representation.embedding.weight"
        if name not in tensors or tensors[name].ndim != 2:
            raise ValueError(f"`{name}` must be a tensor [elements, {f}], got a file without it")
        shapes: dict[str, tuple[int, ...]] = {
            name: (tensors[name].shape[0], f),
            "representation.cutoff_fn.cutoff": (1,),
        }
        if "representation.cutoff_fn.eps" in tensors and c.envelope == "mollifier":
            shapes["representation.cutoff_fn.eps"] = (1,)
        basis = ("freqs",) if c.radial_basis == "bessel" else ("offsets", "widths")
        shapes.update({f"representation.radial_basis.{b}": (k,) for b in basis})
        if c.model == "painn":
            width = 3 * f * (1 if c.shared_filters else c.layers)
            shapes.update(_dense("representation.filter_net", k, width))
        for l in range(c.layers):
            name = f"representation.interactions.{l}"
            if c.model == "schnet":
                shapes[f"{name}.in2f.weight"] = (n, f)
                shapes.update(_dense(f"{name}.filter_network.0", k, n))
                shapes.update(_dense(f"{name}.filter_network.1", n, n))
                shapes.update(_dense(f"{name}.f2out.0", n, f))
                shapes.update(_dense(f"{name}.f2out.1", f, f))
                continue
            mixing = f"representation.mixing.{l}"
            shapes.update(_dense(f"{name}.interatomic_context_net.0", f, f))
            shapes.update(_dense(f"{name}.interatomic_context_net.1", f, 3 * f))
            shapes[f"{mixing}.mu_channel_mix.weight"] = (2 * f, f)
            shapes.update(_dense(f"{mixing}.intraatomic_context_net.0", 2 * f, f))
            shapes.update(_dense(f"{mixing}.intraatomic_context_net.1", f, 3 * f))
        for head, index in self.outputs.items():
            shapes.update(self._head(head, index))
        offsets = [key for key in ("mean", "atomref") if f"{self.offset_name}.{key}" in tensors]
        needed = [key for key, on in (("mean", c.add_mean), ("atomref", c.add_atomrefs)) if on]
        for key in {*offsets, *needed}:
            rows = tensors.get(f"{self.offset_name}.atomref")
            size = 1 if key == "mean" else (100 if rows is None else rows.size)
            shapes[f"{self.offset_name}.{key}"] = (size,)
        return shapes

    def _head(self, head: Head, index: int) -> dict[str, tuple[int, ...]]:
        name, shapes = f"output_modules.{index}.outnet", {}
        pairs = list(zip(head.widths, head.widths[1:], strict=False))
        for l, (a, b) in enumerate(pairs):
            if head.name == "energy" or (head.name == "dipole" and not self.config.vector_dipole):
                shapes.update(_dense(f"{name}.{l}", a, b))
            else:
                shapes[f"{name}.{l}.mix_vectors.weight"] = (2 * b, a)
                shapes.update(_dense(f"{name}.{l}.scalar_net.0", a + b, a))
                shapes.update(_dense(f"{name}.{l}.scalar_net.1", a, 2 * b))
        return shapes

    def layer(self, l: int) -> list[np.ndarray]:
        """Weights of one layer, flat, in the order of the native engine."""
        c, w, name = self.config, self.weights, f"representation.interactions.{l}"

        def dense(*keys: str) -> list[np.ndarray]:
            return [_flat(w[f"{key}.{part}"]) for key in keys for part in ("weight", "bias")]

        if c.model == "schnet":
            keys = [f"{name}.{part}.{i}" for part in ("filter_network", "f2out") for i in (0, 1)]
            return [_flat(w[f"{name}.in2f.weight"]), *dense(*keys)]
        mixing, size = f"representation.mixing.{l}", 3 * c.channels
        rows = slice(0, size) if c.shared_filters else slice(l * size, (l + 1) * size)
        filters = [_flat(w[f"representation.filter_net.{part}"][rows]) for part in ("weight", "bias")]
        return [
            *dense(f"{name}.interatomic_context_net.0", f"{name}.interatomic_context_net.1"),
            *filters,
            _flat(w[f"{mixing}.mu_channel_mix.weight"]),
            *dense(f"{mixing}.intraatomic_context_net.0", f"{mixing}.intraatomic_context_net.1"),
        ]

    def description(self, intervals: int | None) -> dict[str, Any]:
        """Everything the engine holds; `intervals`: of the filter tables, None: exact filters."""
        c, w = self.config, self.weights
        prefix = "representation.radial_basis"
        if c.radial_basis == "bessel":
            basis = ("bessel", w[f"{prefix}.freqs"].tolist(), [])
        else:
            basis = ("gaussian", w[f"{prefix}.offsets"].tolist(), w[f"{prefix}.widths"].tolist())
        return {
            "kind": c.model,
            "elements": self.elements,
            "channels": c.channels,
            "filters": c.filters,
            "embedding": _flat(w["representation.embedding.weight"]),
            "basis": basis,
            "cutoff": float(w["representation.cutoff_fn.cutoff"][0]),
            "envelope": c.envelope,
            "activation": c.activation,
            "epsilon": c.epsilon,
            "layers": [self.layer(l) for l in range(c.layers)],
            "head": self._energy(),
            "head_activation": c.heads[0].activation,
            "intervals": intervals,
        }

    def _energy(self) -> list[tuple[np.ndarray, np.ndarray, int, int]]:
        found = []
        for head, index in self.outputs.items():
            if head.name != "energy":
                continue
            last = len(head.widths) - 2
            for l, (a, b) in enumerate(zip(head.widths, head.widths[1:], strict=False)):
                # The heads of schnetpack 1 scale each atom's energy before the sum.
                factor = self.config.stddev if l == last else 1.0
                name = f"output_modules.{index}.outnet.{l}"
                weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
                found.append((_flat(weight) * factor, _flat(bias) * factor, a, b))
        return found

    def offsets(self) -> tuple[float, np.ndarray]:
        """Mean and reference energies of the elements, 0 where they are not added."""
        c, name = self.config, self.offset_name
        mean = float(self.weights[f"{name}.mean"][0]) if c.add_mean else 0.0
        rows = self.weights[f"{name}.atomref"].reshape(-1) if c.add_atomrefs else np.zeros(self.elements)
        return mean, rows


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float64).reshape(-1)
