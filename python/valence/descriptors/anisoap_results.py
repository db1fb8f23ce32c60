"""What AniSOAP gives back: arrays, with labels and tables made on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["AniSoapCoefficients", "AniSoapSpectrum"]


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise ImportError("labels and tables need polars: pip install valence[table]") from error
    return polars


@dataclass(frozen=True)
class _Results:
    values: np.ndarray
    #: The batch that they belong to.
    systems: Any
    #: [S] atomic numbers of the species columns.
    species: np.ndarray
    #: n_l.
    radial: tuple[int, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=True if copy else None)

    def _rows(self, pl: Any) -> dict[str, Any]:
        counts = self.systems.counts
        atom = np.arange(len(self.systems.numbers)) - np.repeat(self.systems.offsets[:-1], counts)
        system = np.repeat(np.arange(len(counts)), counts)
        return {
            "system": pl.Series(system, dtype=pl.UInt32),
            "atom": pl.Series(atom, dtype=pl.UInt32),
            "number": pl.Series(self.systems.numbers, dtype=pl.UInt8),
        }


@dataclass(frozen=True)
class AniSoapCoefficients(_Results):
    """Expansion coefficients `values` [N, S, F], F ordered (l, n, m), m = -l..l, polar axis z."""

    def by_l(self) -> list[np.ndarray]:
        """One array [N, 2l + 1, n_l S] for each l, columns with n outer and species inner."""
        out, at = [], 0
        rows, species = self.values.shape[:2]
        for l, n in enumerate(self.radial):
            m = 2 * l + 1
            block = self.values[:, :, at : at + n * m].reshape(rows, species, n, m)
            out.append(block.transpose(0, 3, 2, 1).reshape(rows, m, n * species))
            at += n * m
        return out

    @property
    def labels(self) -> Any:
        """polars.DataFrame with a row a component of `values.reshape(N, -1)`: species, l, n, m."""
        pl = _polars()
        lnm = [(l, n, m) for l, k in enumerate(self.radial) for n in range(k) for m in range(-l, l + 1)]
        rows = np.array(lnm, dtype=np.int32).reshape(-1, 3)
        many = np.tile(rows, (len(self.species), 1))
        species = np.repeat(self.species, len(rows))
        return pl.DataFrame(
            {
                "species": pl.Series(species, dtype=pl.UInt8),
                **{k: pl.Series(many[:, i], dtype=pl.Int32) for i, k in enumerate("lnm")},
            }
        )

    @property
    def table(self) -> Any:
        """polars.DataFrame: system, atom, number, descriptor (the coefficients in the order of `labels`)."""
        pl = _polars()
        flat = self.values.reshape(len(self.values), -1)
        return pl.DataFrame({**self._rows(pl), "descriptor": _column(pl, flat)})

    def to_metatensor(self) -> Any:
        """metatensor.TensorMap: keys (o3_lambda, center_type), components o3_mu, properties (n, neighbor_type)."""
        mt = _metatensor()
        numbers, keys, blocks = self.systems.numbers, [], []
        samples = _samples(self.systems)
        for l, block in enumerate(self.by_l()):
            properties = [(n, int(a)) for n in range(self.radial[l]) for a in self.species]
            for z in np.unique(numbers):
                rows = numbers == z
                keys.append((l, int(z)))
                blocks.append(
                    mt.TensorBlock(
                        values=np.ascontiguousarray(block[rows]),
                        samples=mt.Labels(["system", "atom"], samples[rows]),
                        components=[mt.Labels(["o3_mu"], np.arange(-l, l + 1, dtype=np.int32)[:, None])],
                        properties=mt.Labels(["n", "neighbor_type"], np.array(properties, np.int32).reshape(-1, 2)),
                    )
                )
        return mt.TensorMap(mt.Labels(["o3_lambda", "center_type"], np.array(keys, np.int32).reshape(-1, 2)), blocks)


@dataclass(frozen=True)
class AniSoapSpectrum(_Results):
    """Power spectrum `values` [N, D], or its mean over each system's particles [B, D].

    `gradients` holds what was asked for: positions, rotation_vector, semiaxes as [G, 3, D] with the rows (particle whose
    spectrum it is, particle that changes) in `gradient_samples` [G, 2]; cell and strain as [N, 3, 3, D].
    """

    unique: bool = False
    is_mean: bool = False
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    gradient_samples: np.ndarray | None = None
    calculator: Any = None

    @property
    def labels(self) -> Any:
        """polars.DataFrame with a row a feature: l, n_1, species_1, n_2, species_2."""
        pl = _polars()
        rows = self._features()
        kinds = {"l": pl.Int32, "n_1": pl.Int32, "species_1": pl.UInt8, "n_2": pl.Int32, "species_2": pl.UInt8}
        return pl.DataFrame({k: pl.Series(rows[:, i], dtype=t) for i, (k, t) in enumerate(kinds.items())})

    def _features(self) -> np.ndarray:
        parts, species = [], self.species.astype(np.int32)
        for l, n in enumerate(self.radial):
            p = np.stack([np.repeat(np.arange(n), len(species)), np.tile(species, n)], axis=1)
            x, y = np.triu_indices(len(p)) if self.unique else np.indices((len(p), len(p))).reshape(2, -1)
            parts.append(np.column_stack([np.full(len(x), l), p[x], p[y]]))
        return np.concatenate(parts).astype(np.int32)

    @property
    def table(self) -> Any:
        """polars.DataFrame: system, atom, number, descriptor; a mean has system and descriptor."""
        pl = _polars()
        if self.is_mean:
            return pl.DataFrame(
                {
                    "system": pl.Series(np.arange(len(self.values)), dtype=pl.UInt32),
                    "descriptor": _column(pl, self.values),
                }
            )
        return pl.DataFrame({**self._rows(pl), "descriptor": _column(pl, self.values)})

    def by_l(self) -> list[np.ndarray]:
        """One array [rows, features of l] for each l; of both triangles [rows, n_l S, n_l S]."""
        out, at, s = [], 0, len(self.species)
        for n in self.radial:
            k = n * s
            width = k * (k + 1) // 2 if self.unique else k * k
            block = self.values[:, at : at + width]
            out.append(block if self.unique else block.reshape(len(block), k, k))
            at += width
        return out

    def per_center(self) -> list[np.ndarray]:
        """One array [particles, D] for each system."""
        if self.is_mean:
            raise ValueError("`mean_over_samples` must be False for spectra per center, got True")
        return np.split(self.values, self.systems.offsets[1:-1])

    def to_metatensor(self) -> Any:
        """metatensor.TensorMap of one block: samples (system, atom), properties (l, n_1, neighbor_1_type, n_2, ...)."""
        mt = _metatensor()
        names = ["l", "n_1", "neighbor_1_type", "n_2", "neighbor_2_type"]
        if self.is_mean:
            samples = mt.Labels(["system"], np.arange(len(self.values), dtype=np.int32)[:, None])
        else:
            samples = mt.Labels(["system", "atom"], _samples(self.systems))
        properties = mt.Labels(names, self._features())
        block = mt.TensorBlock(values=self.values, samples=samples, components=[], properties=properties)
        return mt.TensorMap(mt.Labels(["_"], np.zeros((1, 1), np.int32)), [block])


def _column(pl: Any, rows: np.ndarray) -> Any:
    kind = pl.Float32 if rows.dtype == np.float32 else pl.Float64
    width = rows.shape[1]
    flat = pl.Series(np.ascontiguousarray(rows).reshape(-1), dtype=kind)
    return flat.reshape((len(rows), width)) if rows.size else pl.Series([], dtype=pl.Array(kind, width))


def _samples(systems: Any) -> np.ndarray:
    atom = np.arange(len(systems.numbers)) - np.repeat(systems.offsets[:-1], systems.counts)
    return np.stack([np.repeat(np.arange(len(systems)), systems.counts), atom], axis=1).astype(np.int32)


def _metatensor() -> Any:
    try:
        import metatensor  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("TensorMaps need metatensor: pip install metatensor") from error
    return metatensor
