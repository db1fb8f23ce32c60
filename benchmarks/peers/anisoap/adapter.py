<<<<<<< HEAD
"""anisoap (github.com/cersonsky-lab/AniSOAP): EllipsoidalDensityProjection.power_spectrum of each particle.

Where there are two species or more its release 0.1.1 reads the columns of its coefficients in the wrong order: those rows
are marked wrong. Its values are asked for with metatensor's method of selection that newer releases renamed.
=======
"""anisoap (github.com/cersonsky-lab/AniSOAP) 0.1.1: the power spectrum of each particle, one species, its compiled moments.

At l 9 with 7 functions its own check of the basis fails at its default `basis_tol` of 1e-8 by rounding, so 1e-6 is given. The peer calls `TensorMap.blocks_matching`, which metatensor 0.2 took away; one line puts it back, as the peer means it.
>>>>>>> h-bench
"""

import itertools

import numpy as np

<<<<<<< HEAD
PACKAGES = ["anisoap"]


def anisoap(inputs, params):
=======
PACKAGES = ["anisoap", "metatensor-core", "featomic", "ase"]


def power_spectrum(inputs, params):
>>>>>>> h-bench
    import ase
    from anisoap.representations import EllipsoidalDensityProjection
    from metatensor import TensorMap

    if not hasattr(TensorMap, "blocks_matching"):
        TensorMap.blocks_matching = lambda self, *, selection: [int(i) for i in self.keys.select(selection)]
<<<<<<< HEAD
    frames = []
    for (a, b), cell, pbc in zip(itertools.pairwise(inputs["offsets"]), inputs["cell"], inputs["pbc"], strict=True):
        frame = ase.Atoms(numbers=inputs["numbers"][a:b], positions=inputs["positions"][a:b], cell=cell, pbc=pbc)
        frame.arrays["c_q"] = np.asarray(inputs["quaternion"][a:b], dtype=np.float64)
        for k in range(3):
            frame.arrays[f"c_diameter[{k + 1}]"] = 2.0 * np.asarray(inputs["semiaxes"][a:b, k], dtype=np.float64)
        frames.append(frame)
    projection = EllipsoidalDensityProjection(
        max_angular=params["lmax"], radial_basis_name="gto", cutoff_radius=float(params["cutoff"]),
        radial_gaussian_width=float(params["width"]), max_radial=params.get("nmax"), rotation_key="c_q",
        basis_tol=1e-6,  # at l 9 with seven functions its own rounding fails its check at the default, 1e-8
    )  # fmt: skip

    def call():
        return projection.power_spectrum(frames, mean_over_samples=False)

    return call, lambda made: {"values": values_of(made, inputs["offsets"], inputs["numbers"])}


def values_of(made, offsets, numbers):
    """One row a particle, blocks of l side by side."""
    if isinstance(made, np.ndarray):
        return made
    width = None
    blocks = sorted(made.items(), key=lambda kb: (kb[0]["types_center"], kb[0]["angular_channel"]))
    by_l = sorted({k["angular_channel"] for k, _ in blocks})
    width = {l: next(b for k, b in blocks if k["angular_channel"] == l).values.shape[-1] for l in by_l}
    starts = dict(zip(by_l, np.concatenate([[0], np.cumsum([width[l] for l in by_l])])))
    out = np.zeros((offsets[-1], sum(width.values())))
    for key, block in blocks:
        samples, at = np.asarray(block.samples.values), starts[key["angular_channel"]]
        rows = offsets[samples[:, 0]] + samples[:, 1]
        out[rows, at : at + width[key["angular_channel"]]] = np.asarray(block.values).reshape(len(rows), -1)
    return out


BACKENDS = {"anisoap": {"anisoap": anisoap}}
=======
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
>>>>>>> h-bench
