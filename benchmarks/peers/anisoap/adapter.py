"""anisoap (github.com/cersonsky-lab/AniSOAP): EllipsoidalDensityProjection.power_spectrum of each particle.

Where there are two species or more its release 0.1.1 reads the columns of its coefficients in the wrong order: those rows
are marked wrong. Its values are asked for with metatensor's method of selection that newer releases renamed.
"""

import itertools

import numpy as np

PACKAGES = ["anisoap"]


def anisoap(inputs, params):
    import ase
    from anisoap.representations import EllipsoidalDensityProjection
    from metatensor import TensorMap

    if not hasattr(TensorMap, "blocks_matching"):
        TensorMap.blocks_matching = lambda self, *, selection: [int(i) for i in self.keys.select(selection)]
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
