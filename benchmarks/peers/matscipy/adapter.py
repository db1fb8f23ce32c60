"""matscipy (github.com/libAtoms/matscipy): matscipy.neighbours.neighbour_list("ijSDd"), sorted by i.

It inverts the cell even where nothing is periodic, so open systems get the unit cell: with pbc False the list does not
depend on it.
"""

import itertools

import numpy as np

PACKAGES = ["matscipy", "ase"]


def neighbor_list(inputs, params):
    from matscipy.neighbours import neighbour_list

    x, pbc, offsets = inputs["positions"], inputs["pbc"], inputs["offsets"]
    cell = np.where(inputs["cell"].any(axis=(1, 2), keepdims=True), inputs["cell"], np.eye(3))
    systems = [(x[a:b], cell[k], pbc[k]) for k, (a, b) in enumerate(itertools.pairwise(offsets))]

    def call():
        return [neighbour_list("ijSDd", positions=p, cell=h, pbc=q, cutoff=params["cutoff"]) for p, h, q in systems]

    def collect(parts):
        i, j, shift, vector, distance = (np.concatenate(c) for c in zip(*parts, strict=True))
        first = np.repeat(offsets[:-1], [len(p[0]) for p in parts])
        return {"source": i + first, "target": j + first, "shift": shift, "vector": vector, "distance": distance}

    return call, collect


BACKENDS = {"matscipy": {"neighbor_list": neighbor_list}}
