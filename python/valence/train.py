"""The network of the small engine as a torch module, from the package's differentiable ops.

Trained weights go to a .npz file that :class:`valence.ValenceEngine` runs with the same numbers and without torch.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("valence.train needs torch, got none installed (pip install 'valence[torch]')") from error

import valence as vl
import valence.torch as ops
from valence.model.checks import check_elements

__all__ = ["EngineNetwork"]


class EngineNetwork(nn.Module):
    """Message passing h'_i = silu(h_i U + sum_j c(d_ij) (phi(d_ij) R) * (h_j V) + b), without silu in the last layer.

    Parameters
    ----------
    elements : atomic numbers of the embedding's rows.
    widths : C_in, then C_out of each layer.
    cutoff : Angstrom.
    k : number of Gaussians, at least 2.
    dtype : of the weights.

    Gradients of positions exist twice, so that it trains on forces.

    >>> network = EngineNetwork([1, 6, 8], [16, 16, 1], cutoff=3.0, k=16)
    >>> network(vl.samples("water")[:2]).shape  # doctest: +SKIP
    torch.Size([6, 1])
    """

    def __init__(
        self,
        elements: Sequence[int],
        widths: Sequence[int],
        *,
        cutoff: float,
        k: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or not all(isinstance(c, (int, np.integer)) and c > 0 for c in widths):
            raise ValueError(f"`widths` must be at least two positive whole numbers, got {list(widths)}")
        known = all(isinstance(z, (int, np.integer)) and 1 <= z <= 118 for z in elements)
        if not known or not len(elements) or len(set(elements)) != len(elements):
            raise ValueError(f"`elements` must be distinct numbers from 1 to 118, got {list(elements)}")
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 2:
            raise ValueError(f"`k` must be a whole number of radial functions, at least 2, got {k!r}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"`dtype` must be torch.float32 or torch.float64, got {dtype!r}")
        self.elements, self.cutoff, self.k = tuple(int(z) for z in elements), float(cutoff), int(k)
        self._basis = vl.RadialBasis("gaussian", k, cutoff, envelope="cosine").spec
        self.embedding = nn.Parameter(torch.randn(len(self.elements), widths[0], dtype=dtype))
        self.layers = nn.ModuleList(_Layer(a, b, k, dtype) for a, b in itertools.pairwise(widths))
        rows = torch.full((119,), -1)
        rows[list(self.elements)] = torch.arange(len(self.elements))
        self.register_buffer("_rows", rows, persistent=False)

    def forward(self, systems: Any, *, feats: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Features [N, C_out] of the atoms of all systems.

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes; it gives the edges.
        feats : [N, C_in] in place of the embedding.
        positions : [N, 3], those of the systems as a tensor that may need a gradient.
        """
        batch = vl.as_systems(systems)
        return self.run(self.edges(batch), batch, feats=feats, positions=positions)

    def edges(self, batch: vl.Systems) -> Any:
        """The edges of a batch, which training on fixed positions needs once."""
        return vl.find_edges(batch, self.cutoff)

    def run(
        self, edges: Any, batch: vl.Systems, *, feats: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """:meth:`forward` with edges that are known."""
        dtype, n = self.embedding.dtype, len(batch.numbers)
        for name, tensor, width in (("feats", feats, self.embedding.shape[1]), ("positions", positions, 3)):
            if tensor is not None and (not isinstance(tensor, Tensor) or tensor.shape != (n, width)):
                got = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ValueError(f"`{name}` must be a tensor of shape {[n, width]}, got {got}")
        if feats is None:
            check_elements(batch.numbers, self.elements)
            feats = self.embedding[self._rows[torch.from_numpy(batch.numbers.astype(np.int64))]]  # type: ignore[index]
        source, target = (torch.from_numpy(np.asarray(i).astype(np.int64)) for i in (edges.source, edges.target))
        if positions is None:
            vectors = torch.from_numpy(np.ascontiguousarray(edges.vector)).to(dtype)
        else:
            cell = torch.from_numpy(np.ascontiguousarray(batch.cell)).to(dtype)
            index = (np.asarray(i).astype(np.int32) for i in (edges.source, edges.target, edges.shift, edges.system))
            vectors = ops.edge_vectors(positions.to(dtype), cell, *map(torch.from_numpy, index))
        phi = ops.radial(ops.edge_length(vectors), spec=self._basis)
        h = feats.to(dtype)
        last = len(self.layers) - 1
        for l, layer in enumerate(self.layers):
            z = layer(h, phi, source, target)
            h = nn.functional.silu(z) if l < last else z
        return h

    def weights(self) -> dict[str, np.ndarray]:
        """The arrays that `valence.ValenceEngine` takes."""
        found = {"embedding": _array(self.embedding), "elements": np.array(self.elements, np.int64)}
        for l, layer in enumerate(self.layers):
            found.update({f"layers.{l}.{part}": _array(getattr(layer, part)) for part in ("U", "V", "R", "b")})
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights as .npz."""
        if not os.fspath(path).endswith(".npz"):
            raise ValueError(f"`path` must end with .npz, got {os.fspath(path)}")
        np.savez(path, **self.weights())  # type: ignore[arg-type]

    def engine(self) -> vl.ValenceEngine:
        """The engine with the present weights."""
        return vl.ValenceEngine(self.weights())


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int, k: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.randn(inputs, outputs, dtype=dtype) / inputs**0.5)
        self.V = nn.Parameter(torch.randn(inputs, outputs, dtype=dtype) / inputs**0.5)
        self.R = nn.Parameter(torch.randn(k, outputs, dtype=dtype) / k**0.5)
        self.b = nn.Parameter(torch.zeros(outputs, dtype=dtype))

    def forward(self, h: Tensor, phi: Tensor, source: Tensor, target: Tensor) -> Tensor:
        messages = (phi @ self.R) * (h @ self.V)[target]
        return (h @ self.U + self.b).index_add(0, source, messages)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
