"""anisoap (github.com/cersonsky-lab/AniSOAP) 0.1.1: the power spectrum of each particle, one species, its compiled moments.

At l 9 with 7 functions its own check of the basis fails at its default `basis_tol` of 1e-8 by rounding, so 1e-6 is given. The peer calls `TensorMap.blocks_matching`, which metatensor 0.2 took away; one line puts it back, as the peer means it.
"""

import itertools

import numpy as np

PACKAGES = ["anisoap", "metatensor-core", "featomic", "ase"]


def power_spectrum(inputs, params):
    import ase
    from anisoap.representations import EllipsoidalDensityProjection
    from metatensor import TensorMap

    if not hasattr(TensorMap, "blocks_matching"):
        TensorMap.blocks_matching = lambda self, *, selection: [int(i) for i in self.keys.select(selection)]
    if len(np.unique(inputs["numbers"])) != 1:
        raise ValueError("`systems` must be of one species: the peer mixes up the columns of two species")
    frames = []
    for (start, end), cell, pbc in zip(
        itertools.pairwise(inputs["offsets"]), inputs["cell"], inputs["pbc"], strict=True
    ):
        x = np.asarray(inputs["positions"][start:end], dtype=np.float64)
        atoms = ase.Atoms(numbers=inputs["numbers"][start:end], positions=x, cell=cell, pbc=pbc)
        atoms.arrays["c_q"] = np.asarray(inputs["orientation"][start:end], dtype=np.float64)
        for axis in range(3):
            atoms.arrays[f"c_diameter[{axis + 1}]"] = 2.0 * np.asarray(
                inputs["semiaxes"][start:end, axis], dtype=np.float64
            )
        frames.append(atoms)
    projection = EllipsoidalDensityProjection(
        max_angular=params["lmax"],
        radial_basis_name="gto",
        cutoff_radius=params["cutoff"],
        radial_gaussian_width=params["width"],
        max_radial=params["nmax"] - 1 if params.get("nmax") else None,
        rotation_key="c_q",
        rotation_type="quaternion",
        basis_tol=1e-6,
    )

    def collect(descriptor):
        block = descriptor.block(0)
        values = np.zeros((len(inputs["numbers"]), len(block.properties)))
        p = block.properties
        order = np.lexsort([np.asarray(p[name]) for name in ("n_1_b", "n_1_a", "l_2")])
        systems = np.asarray(block.samples[block.samples.names[0]])
        values[np.asarray(inputs["offsets"])[systems] + np.asarray(block.samples["center"])] = block.values[:, 0][
            :, order
        ]
        return {"values": values}

    return (lambda: projection.power_spectrum(frames, mean_over_samples=False)), collect


BACKENDS = {"anisoap": {"anisoap": power_spectrum}}
