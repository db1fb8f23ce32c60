"""Many molecules for the small engine in one parallel call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from valence.model.engine import ValenceEngine

__all__ = ["MolecularBatch", "several"]


def several(mols: Any) -> list[Any]:
    """Molecules as a list, of a list or an atoms table.

    Raises
    ------
    TypeError, for a single one, which is iterable too, over something else.
    """
    import valence as vl

    if hasattr(mols, "__arrow_c_stream__"):
        return list(vl.as_systems(mols))
    if not isinstance(mols, vl.Systems) and (hasattr(mols, "positions") or not isinstance(mols, Iterable)):
        raise TypeError(f"`mols` must be a list of molecules, got one {type(mols).__name__}")
    return list(mols)


class MolecularBatch:
    """Molecules collected for one parallel call.

    Parameters
    ----------
    mols, feats : molecules, and features of each (None: of the weights' embedding).

    >>> batch = MolecularBatch([methane])  # doctest: +SKIP
    >>> batch.add(water).run(engine, cutoff=3.0, k=16)  # doctest: +SKIP
    """

    def __init__(self, mols: Iterable[Any] = (), feats: Sequence[Any] | None = None) -> None:
        self.mols = several(mols)
        self.feats: list[Any] = [None] * len(self.mols) if feats is None else list(feats)
        if len(self.feats) != len(self.mols):
            raise ValueError(f"`feats` must have {len(self.mols)} entries as `mols` has, got {len(self.feats)}")

    def __len__(self) -> int:
        return len(self.mols)

    def __repr__(self) -> str:
        return f"MolecularBatch({len(self)} molecules)"

    def add(self, mol: Any, feats: Any = None) -> MolecularBatch:
        """Adds a molecule; returns the batch."""
        self.mols.append(mol)
        self.feats.append(feats)
        return self

    def run(
        self,
        engine: ValenceEngine,
        *,
        cutoff: float,
        k: int,
        max_neighbors: int | None = None,
        readout: str | None = None,
        on_error: str = "raise",
    ) -> Any:
        """Results of all molecules in their order; see :meth:`ValenceEngine.run_batch`."""
        import valence as vl

        if readout not in (None, "sum", "mean"):
            raise ValueError(f'`readout` must be None, "sum" or "mean", got {readout!r}')
        if on_error not in ("raise", "return"):
            raise ValueError(f'`on_error` must be "raise" or "return", got {on_error!r}')
        if not isinstance(engine, ValenceEngine):
            raise TypeError(f"`engine` must be a ValenceEngine, got a {type(engine).__name__}")
        results: list[Any] = [None] * len(self)
        good, frames, rows = [], [], []
        for index, (mol, feats) in enumerate(zip(self.mols, self.feats, strict=True)):
            try:
                systems = engine._one(mol)
                feats = engine._feats(systems, feats)
                engine._engine(feats.shape[1], k)
            except (TypeError, ValueError) as error:
                if on_error == "raise":
                    raise type(error)(f"molecule {index}: {error}") from error
                results[index] = error
                continue
            good.append(index)
            frames.append(systems)
            rows.append(feats)
        if good:
            widths = {f.shape[1] for f in rows}
            if len(widths) != 1:
                raise ValueError(f"`feats` must have one number of columns in a batch, got {sorted(widths)}")
            whole = engine._call(vl.concat(frames), np.concatenate(rows), cutoff, k, max_neighbors)
            ends = np.cumsum([len(f) for f in rows])[:-1]
            for index, out in zip(good, np.split(whole, ends), strict=True):
                results[index] = out
        if readout is None:
            return results
        made = np.full((len(self), engine.width), np.nan)
        for index in good:
            out = results[index].astype(np.float64)
            made[index] = out.sum(axis=0) / (max(len(out), 1) if readout == "mean" else 1)
        return made
