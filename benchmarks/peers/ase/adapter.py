"""ase (gitlab.com/ase/ase): neighborlist.primitive_neighbor_list("ijSDd") and io.read of extended XYZ."""

import itertools

import numpy as np

PACKAGES = ["ase"]


def neighbor_list(inputs, params):
    from ase.neighborlist import primitive_neighbor_list

    x, cell, pbc, offsets = inputs["positions"], inputs["cell"], inputs["pbc"], inputs["offsets"]
    systems = [(q, h, x[a:b]) for (a, b), h, q in zip(itertools.pairwise(offsets), cell, pbc, strict=True)]

    def call():
        return [primitive_neighbor_list("ijSDd", q, h, p, params["cutoff"]) for q, h, p in systems]

    def collect(parts):
        i, j, shift, vector, distance = (np.concatenate(c) for c in zip(*parts, strict=True))
        first = np.repeat(offsets[:-1], [len(p[0]) for p in parts])
        return {"source": i + first, "target": j + first, "shift": shift, "vector": vector, "distance": distance}

    return call, collect


def read_extxyz(inputs, params):
    import ase.io

    path = str(inputs["path"])

    def collect(frames):
        return {
            "numbers": np.concatenate([a.numbers for a in frames]),
            "counts": np.array([len(a) for a in frames]),
            "positions": np.concatenate([a.positions for a in frames]),
            "forces": np.concatenate([a.calc.results["forces"] for a in frames]),
            "energy": np.array([a.calc.results["energy"] for a in frames]),
            "cell": np.array([a.cell[:] for a in frames]),
        }

    return lambda: ase.io.read(path, ":", format="extxyz"), collect


BACKENDS = {"ase": {"neighbor_list": neighbor_list, "read_extxyz": read_extxyz}}
