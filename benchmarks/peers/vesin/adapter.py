"""vesin (github.com/Luthaf/vesin): full lists with i, j, S, D, d; sorted by i, or in its own order."""

import itertools

import numpy as np

PACKAGES = ["vesin"]


def neighbor_list(is_sorted):
    def prepare(inputs, params):
        import vesin

        x, cell, pbc, offsets = inputs["positions"], inputs["cell"], inputs["pbc"], inputs["offsets"]
        systems = [(x[a:b], cell[k], pbc[k]) for k, (a, b) in enumerate(itertools.pairwise(offsets))]
        search = vesin.NeighborList(
            cutoff=params["cutoff"], full_list=True, sorted=is_sorted, n_threads=params["threads"]
        )

        def call():
            return [search.compute(points=p, box=h, periodic=q, quantities="ijSDd", copy=True) for p, h, q in systems]

        return call, lambda parts: join(parts, offsets)

    return prepare


def join(parts, offsets):
    i, j, shift, vector, distance = (np.concatenate(c) for c in zip(*parts, strict=True))
    first = np.repeat(offsets[:-1], [len(p[0]) for p in parts])
    return {
        "source": i.astype(np.int64) + first,
        "target": j.astype(np.int64) + first,
        "shift": shift,
        "vector": vector,
        "distance": distance,
    }


BACKENDS = {
    "vesin-sorted": {"neighbor_list": neighbor_list(True)},
    "vesin-unsorted": {"neighbor_list": neighbor_list(False)},
}
