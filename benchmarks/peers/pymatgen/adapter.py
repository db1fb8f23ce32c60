"""pymatgen (github.com/materialsproject/pymatgen): optimization.neighbors.find_points_in_spheres.

It gives i, j, S and d, with each atom as its own neighbour and pairs at the cutoff included: the call drops those and adds
the vectors in NumPy, so that the output is the one asked of all.
"""

import itertools

import numpy as np

PACKAGES = ["pymatgen", "pymatgen-core"]


def neighbor_list(inputs, params):
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cutoff, offsets = float(params["cutoff"]), inputs["offsets"]
    cell = np.where(inputs["cell"].any(axis=(1, 2), keepdims=True), inputs["cell"], np.eye(3))
    x, pbc = inputs["positions"], inputs["pbc"].astype(np.int64)
    systems = [
        (np.ascontiguousarray(x[a:b]), np.ascontiguousarray(cell[k]), np.ascontiguousarray(pbc[k]))
        for k, (a, b) in enumerate(itertools.pairwise(offsets))
    ]

    def one(p, h, q):
        i, j, shift, d = find_points_in_spheres(p, p, r=cutoff, pbc=q, lattice=h, tol=1e-8)
        keep = (d < cutoff) & ((i != j) | shift.any(axis=1))
        i, j, shift, d = i[keep], j[keep], shift[keep], d[keep]
        return i, j, shift, p[j] - p[i] + shift @ h, d

    def collect(parts):
        i, j, shift, vector, distance = (np.concatenate(c) for c in zip(*parts, strict=True))
        first = np.repeat(offsets[:-1], [len(p[0]) for p in parts])
        return {"source": i + first, "target": j + first, "shift": shift, "vector": vector, "distance": distance}

    return lambda: [one(*s) for s in systems], collect


BACKENDS = {"pymatgen": {"neighbor_list": neighbor_list}}
