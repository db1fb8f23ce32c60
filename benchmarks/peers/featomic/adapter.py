"""featomic (github.com/metatensor/featomic): SoapPowerSpectrum, one thread by RAYON_NUM_THREADS.

The list of atoms is ase's, made before the clock starts; the neighbour list is featomic's own, within the call. Blocks are joined to
one dense array after the clock. The gradient is featomic's dense one, contracted with the cotangent block by block within the call, as
it has no other.
"""

import itertools

import numpy as np

PACKAGES = ["featomic", "metatensor-core", "ase"]


def calculator(params):
    from featomic import SoapPowerSpectrum

    return SoapPowerSpectrum(
        cutoff={"radius": params["cutoff"], "smoothing": {"type": "ShiftedCosine", "width": params["smoothing"]}},
        density={"type": "Gaussian", "width": params["width"], "center_atom_weight": 1.0},
        basis={
            "type": "TensorProduct",
            "max_angular": params["lmax"],
            "radial": {"type": "Gto", "max_radial": params["nmax"] - 1},
            "spline_accuracy": 1e-8,
        },
    )


def frames_of(inputs):
    import ase

    x, offsets = np.asarray(inputs["positions"], dtype=np.float64), inputs["offsets"]
    return [
        ase.Atoms(numbers=inputs["numbers"][a:b], positions=x[a:b], cell=inputs["cell"][k], pbc=inputs["pbc"][k])
        for k, (a, b) in enumerate(itertools.pairwise(offsets))
    ]


def places(inputs, params):
    """First column and pair of species of each pair of neighbour types."""
    species = np.unique(inputs["numbers"]).tolist()
    width = (params["lmax"] + 1) * params["nmax"] ** 2
    pairs = [(a, b) for k, a in enumerate(species) for b in species[k:]]
    return {pair: slice(k * width, (k + 1) * width) for k, pair in enumerate(pairs)}, len(pairs) * width


def blocks(descriptor, inputs):
    """Each block with its pair of neighbour types and the rows of its samples."""
    for key, block in descriptor.items():
        samples = block.samples
        rows = inputs["offsets"][np.asarray(samples["system"])] + np.asarray(samples["atom"])
        yield (int(key["neighbor_1_type"]), int(key["neighbor_2_type"])), rows, block


def soap(inputs, params):
    compute, frames = calculator(params), frames_of(inputs)

    def collect(descriptor):
        columns, width = places(inputs, params)
        values = np.zeros((len(inputs["numbers"]), width))
        for pair, rows, block in blocks(descriptor, inputs):
            values[rows, columns[pair]] = block.values
        return {"values": values}

    return (lambda: compute.compute(frames)), collect


def soap_vjp(inputs, params):
    compute, frames = calculator(params), frames_of(inputs)
    columns, _ = places(inputs, params)
    cotangent = np.asarray(inputs["cotangent"], dtype=np.float64)

    def call():
        out = np.zeros((len(inputs["numbers"]), 3))
        for pair, rows, block in blocks(compute.compute(frames, gradients=["positions"]), inputs):
            gradient = block.gradient("positions")
            samples = gradient.samples
            moved = inputs["offsets"][np.asarray(samples["system"])] + np.asarray(samples["atom"])
            g = cotangent[rows[np.asarray(samples["sample"])], columns[pair]]
            np.add.at(out, moved, (gradient.values @ g[:, :, None])[:, :, 0])
        return out

    return call, lambda g: {"slope_positions": (inputs["direction"] * g).sum(axis=(1, 2))}


BACKENDS = {"featomic": {"soap_featomic": soap, "soap_featomic_vjp": soap_vjp}}
