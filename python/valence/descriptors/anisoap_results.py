"""What AniSOAP gives back: arrays, with labels and tables made on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._results import Descriptors

__all__ = ["AniSoapCoefficients", "AniSoapSpectrum"]


class _Results(Descriptors):
    def __init__(
        self,
        values: np.ndarray,
        systems: Any,
        species: tuple[int, ...],
        radial: tuple[int, ...],
        gradients: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(values, species, self._of_particles, self._of_features, gradients)
        #: The batch that the rows belong to, and n_l.
        self.systems, self.radial = systems, radial

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=True if copy else None)

    def _of_particles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, counts = len(self.systems.numbers), self.systems.counts
        return np.repeat(np.arange(len(counts)), counts), np.arange(n), self.systems.numbers

    def _of_features(self) -> dict[str, Any]:
        raise NotImplementedError


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

    def _of_features(self) -> dict[str, Any]:
        lnm = [(l, n, m) for l, k in enumerate(self.radial) for n in range(k) for m in range(-l, l + 1)]
        l, n, m = np.tile(np.array(lnm).reshape(-1, 3), (len(self.species), 1)).T
        return {"species": np.repeat(np.array(self.species, int), len(lnm)), "l": l, "n": n, "m": m}

    def to_metatensor(self) -> Any:
        """metatensor.TensorMap: keys (o3_lambda, center_type), components o3_mu, properties (n, neighbor_type)."""
        mt = metatensor()
        numbers, keys, blocks = self.systems.numbers, [], []
        samples = samples_of(self.systems)
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


class AniSoapSpectrum(_Results):
    """Power spectrum `values` [N, D], or its mean over each system's particles [B, D].

    `gradients` holds what was asked for: "positions", "rotation_vector" and "semiaxes" a `Jacobian`, "cell" and "strain" arrays
    [N, 3, 3, D].
    """

    def __init__(
        self,
        values: np.ndarray,
        systems: Any,
        species: tuple[int, ...],
        radial: tuple[int, ...],
        unique: bool = False,
        is_mean: bool = False,
        gradients: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(values, systems, species, radial, gradients)
        self.unique, self.is_mean = unique, is_mean

    def _of_particles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.is_mean:
            rows = len(self.values)
            return np.arange(rows), np.full(rows, -1), np.zeros(rows, int)
        return super()._of_particles()

    def _of_features(self) -> dict[str, Any]:
        return dict(
            zip(("l", "n_1", "species_1", "n_2", "species_2"), features(self.radial, self.species, self.unique).T)
        )

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

    def to_metatensor(self) -> Any:
        """metatensor.TensorMap of one block: samples (system, atom), properties (l, n_1, neighbor_1_type, n_2, ...)."""
        mt = metatensor()
        names = ["l", "n_1", "neighbor_1_type", "n_2", "neighbor_2_type"]
        if self.is_mean:
            samples = mt.Labels(["system"], np.arange(len(self.values), dtype=np.int32)[:, None])
        else:
            samples = mt.Labels(["system", "atom"], samples_of(self.systems))
        properties = mt.Labels(names, features(self.radial, self.species, self.unique))
        block = mt.TensorBlock(values=self.values, samples=samples, components=[], properties=properties)
        return mt.TensorMap(mt.Labels(["_"], np.zeros((1, 1), np.int32)), [block])


def features(radial: tuple[int, ...], species: tuple[int, ...], unique: bool) -> np.ndarray:
    """Rows (l, n_1, species_1, n_2, species_2) of the spectrum, int32 [D, 5]."""
    parts = []
    for l, n in enumerate(radial):
        p = np.stack([np.repeat(np.arange(n), len(species)), np.tile(np.array(species, int), n)], axis=1)
        x, y = np.triu_indices(len(p)) if unique else np.indices((len(p), len(p))).reshape(2, -1)
        parts.append(np.column_stack([np.full(len(x), l), p[x], p[y]]))
    return np.concatenate(parts).astype(np.int32)


def samples_of(systems: Any) -> np.ndarray:
    atom = np.arange(len(systems.numbers)) - np.repeat(systems.offsets[:-1], systems.counts)
    return np.stack([np.repeat(np.arange(len(systems)), systems.counts), atom], axis=1).astype(np.int32)


def metatensor() -> Any:
    try:
        import metatensor  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("TensorMaps need metatensor: pip install metatensor") from error
    return metatensor
