"""The class of anisoap 0.1.1 over Valence: the same constructor, `transform` and `power_spectrum`.

>>> from valence.compat.anisoap import EllipsoidalDensityProjection  # doctest: +SKIP
>>> edp = EllipsoidalDensityProjection(6, "gto", 7.0, radial_gaussian_width=1.5, rotation_key="c_q")  # doctest: +SKIP
>>> x = edp.power_spectrum(frames)  # doctest: +SKIP

Where the peer is right the numbers are its own. Where it is not, they are the right ones: docs/anisoap.md lists the places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from valence.atoms import as_systems
from valence.descriptors import AniSoap
from valence.descriptors.anisoap_results import features, metatensor, samples_of

__all__ = ["EllipsoidalDensityProjection"]


class EllipsoidalDensityProjection:
    """Drop-in for `anisoap.representations.EllipsoidalDensityProjection`.

    Parameters are those of :meth:`valence.AniSoap.from_anisoap`. Frames are `ase.Atoms`, a list of them or anything that
    `valence.as_systems` takes. `compute_gradients=True` raises as it does there; gradients are `AniSoap.vjp`.
    """

    def __init__(
        self,
        max_angular: int,
        radial_basis_name: str,
        cutoff_radius: float,
        compute_gradients: bool = False,
        subtract_center_contribution: bool = False,
        radial_gaussian_width: float | None = None,
        max_radial: int | list[int] | None = None,
        rotation_key: str = "quaternion",
        rotation_type: str = "quaternion",
        basis_rcond: float = 0,
        basis_tol: float = 1e-8,
    ) -> None:
        if compute_gradients:
            raise NotImplementedError(
                "`compute_gradients` must be False here (gradients: valence.AniSoap.vjp), got True"
            )
        if radial_basis_name not in ("gto", "monomial"):
            raise NotImplementedError(f'`radial_basis_name` must be "gto" or "monomial", got {radial_basis_name!r}')
        self.max_angular, self.cutoff_radius, self.radial_basis_name = max_angular, cutoff_radius, radial_basis_name
        self.subtract_center_contribution, self.rotation_key = subtract_center_contribution, rotation_key
        parameters = (
            max_angular,
            radial_basis_name,
            cutoff_radius,
            False,
            subtract_center_contribution,
            radial_gaussian_width,
            max_radial,
            rotation_key,
            rotation_type,
            basis_rcond,
            basis_tol,
        )
        self.calculator = AniSoap.from_anisoap(*parameters)
        self._made: dict[str, AniSoap] = {}
        self.num_ns = list(self.calculator.radial)

    def transform(
        self, frames: Any, show_progress: bool = False, normalize: bool = True, rust_moments: bool = True
    ) -> Any:
        """A metatensor.TensorMap with the peer's keys (types_center, angular_channel), samples (type, center), components
        spherical_component_m and properties (n, neighbor_types), n outer; every particle has a row.

        `show_progress` and `rust_moments` have no effect on the result.
        """
        mt = metatensor()
        systems = as_systems(frames)
        calculator = self.calculator if normalize else self._with(normalize=False)
        found = calculator.coefficients(systems)
        samples = samples_of(systems)
        keys, blocks = [], []
        by_l = found.by_l()
        for center in found.species:
            rows = systems.numbers == center
            for l, values in enumerate(by_l):
                keys.append((int(center), l))
                properties = [(n, int(a)) for n in range(found.radial[l]) for a in found.species]
                blocks.append(
                    mt.TensorBlock(
                        values=np.ascontiguousarray(values[rows]),
                        samples=mt.Labels(["type", "center"], samples[rows]),
                        components=[
                            mt.Labels(["spherical_component_m"], np.arange(-l, l + 1, dtype=np.int32)[:, None])
                        ],
                        properties=mt.Labels(["n", "neighbor_types"], np.array(properties, np.int32)),
                    )
                )
        return mt.TensorMap(
            mt.Labels(["types_center", "angular_channel"], np.array(keys, np.int32).reshape(-1, 2)), blocks
        )

    def power_spectrum(
        self, frames: Any, mean_over_samples: bool = True, show_progress: bool = False, rust_moments: bool = True
    ) -> Any:
        """The mean over the particles of each frame, an array [B, D] (squeezed, as there), or a metatensor.TensorMap.

        The latter has the peer's keys (order_nu, angular_channel, types_center), samples (type, center), one component and
        properties (n_1_a, neighbor_types_1_a, k_2, n_1_b, neighbor_types_1_b, l_2), one block for each kind of center.
        """
        calculator = self.calculator
        if mean_over_samples:
            return self._with(mean_over_samples=True).compute(frames).values.squeeze()
        mt = metatensor()
        found = calculator.compute(frames)
        systems, samples = found.systems, samples_of(found.systems)
        names = ["n_1_a", "neighbor_types_1_a", "k_2", "n_1_b", "neighbor_types_1_b", "l_2"]
        properties = mt.Labels(names, features(found.radial, found.species, False)[:, [1, 2, 0, 3, 4, 0]])
        component = mt.Labels(["spherical_harmonics_m"], np.zeros((1, 1), np.int32))
        keys, blocks = [], []
        for center in found.species:
            rows = systems.numbers == center
            keys.append((2, 0, int(center)))
            blocks.append(
                mt.TensorBlock(
                    values=found.values[rows][:, None, :],
                    samples=mt.Labels(["type", "center"], samples[rows]),
                    components=[component],
                    properties=properties,
                )
            )
        labels = mt.Labels(["order_nu", "angular_channel", "types_center"], np.array(keys, np.int32).reshape(-1, 3))
        return mt.TensorMap(labels, blocks)

    def _with(self, **change: bool) -> AniSoap:
        """The calculator with another option, made once."""
        name = next(iter(change))
        if name not in self._made:
            made = AniSoap(**{**self.calculator.get_params(), **change})
            made._column = self.calculator._column
            self._made[name] = made
        return self._made[name]
