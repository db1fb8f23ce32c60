<<<<<<< HEAD
"""featomic (github.com/metatensor/featomic): SoapPowerSpectrum with closed-form radial integrals, and with its splines of 1e-8.
Its threads are those of rayon's pool, set by RAYON_NUM_THREADS for the process."""
=======
"""featomic (github.com/metatensor/featomic): SoapPowerSpectrum, one thread by RAYON_NUM_THREADS.

The list of atoms is ase's, made before the clock starts; the neighbour list is featomic's own, within the call. Blocks are joined to
one dense array after the clock. The gradient is featomic's dense one, contracted with the cotangent block by block within the call, as
it has no other.
"""
>>>>>>> h-bench

import itertools

import numpy as np

<<<<<<< HEAD
PACKAGES = ["featomic"]


def hypers(params, spline):
    smoothing = {"type": "ShiftedCosine", "width": params["smoothing"]} if params.get("smoothing") else {"type": "Step"}
    return {
        "cutoff": {"radius": params["cutoff"], "smoothing": smoothing},
        "density": {"type": "Gaussian", "width": params["width"]},
        "basis": {
            "type": "TensorProduct",
            "max_angular": params["lmax"],
            "radial": {"type": "Gto", "max_radial": params["nmax"]},
            "spline_accuracy": spline,
        },
    }


def soap(spline):
    def prepare(inputs, params):
        if params.get("basis", "featomic") != "featomic":
            raise ImportError("featomic has its own radial functions alone")
        import ase
        import featomic

        calculator = featomic.SoapPowerSpectrum(**hypers(params, spline))
        frames = [
            ase.Atoms(numbers=inputs["numbers"][a:b], positions=inputs["positions"][a:b], cell=c, pbc=p)
            for (a, b), c, p in zip(itertools.pairwise(inputs["offsets"]), inputs["cell"], inputs["pbc"], strict=True)
        ]
        kinds = np.unique(inputs["numbers"])

        def convert():
            return [featomic.systems.AseSystem(f) for f in frames]

        def call():
            return calculator.compute(convert())

        call.parts = convert, calculator.compute, lambda made: made
        return call, lambda made: {"values": dense(made, inputs["offsets"], kinds)}

    return prepare


def dense(made, offsets, kinds):
    """Rows of all centres, columns of all pairs of species a <= b; zeros where a centre has none."""
    pairs = list(itertools.combinations_with_replacement(kinds, 2))
    width = made.block(0).values.shape[-1]
    out = np.zeros((offsets[-1], len(pairs) * width))
    for key, block in made.items():
        samples = np.asarray(block.samples.values)
        at = pairs.index((key["neighbor_1_type"], key["neighbor_2_type"]))
        out[offsets[samples[:, 0]] + samples[:, 1], at * width : (at + 1) * width] = block.values
    return out


def soap_vjp(inputs, params):
    """Its dense gradients, the only ones it has, contracted with the cotangent block by block within the call."""
    import ase
    import featomic

    calculator = featomic.SoapPowerSpectrum(**hypers(params, 1e-8))
    offsets, kinds = inputs["offsets"], np.unique(inputs["numbers"])
    frames = [
        ase.Atoms(numbers=inputs["numbers"][a:b], positions=inputs["positions"][a:b], cell=c, pbc=p)
        for (a, b), c, p in zip(itertools.pairwise(offsets), inputs["cell"], inputs["pbc"], strict=True)
    ]
    pairs = list(itertools.combinations_with_replacement(kinds, 2))
    cotangent = np.asarray(inputs["cotangent"], dtype=np.float64)
    width = cotangent.shape[1] // len(pairs)

    def call():
        out = np.zeros((offsets[-1], 3))
        for key, block in calculator.compute(frames, gradients=["positions"]).items():
            at = pairs.index((key["neighbor_1_type"], key["neighbor_2_type"]))
            samples, gradient = np.asarray(block.samples.values), block.gradient("positions")
            g = cotangent[offsets[samples[:, 0]] + samples[:, 1], at * width : (at + 1) * width]
            of, system, atom = np.asarray(gradient.samples.values).T
            np.add.at(out, offsets[system] + atom, (gradient.values @ g[of][:, :, None])[:, :, 0])
=======
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
>>>>>>> h-bench
        return out

    return call, lambda g: {"slope_positions": (inputs["direction"] * g).sum(axis=(1, 2))}


<<<<<<< HEAD
BACKENDS = {"featomic": {"soap": soap(1e-8), "soap_vjp": soap_vjp}, "featomic-exact": {"soap": soap(None)}}
=======
BACKENDS = {"featomic": {"soap_featomic": soap, "soap_featomic_vjp": soap_vjp}}
>>>>>>> h-bench
