"""Our side of the suite of SchNet and PaiNN; see ours.py. The list of edges is part of what is timed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from valence.bench.data_engine import config_of, weights_of


def network(kind, filter_table):
    """From positions: list, network, forces."""

    def prepare(inputs, params):
        import valence as vl
        from valence.model._writing import write_model

        vl.set_num_threads(params["threads"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            write_model(path, "valence-schnetpack-1", config_of(kind), weights_of(inputs))
            model = vl.load(path, filter_table=filter_table)
        counts = np.diff(inputs["offsets"])

        def call():
            systems = vl.Systems.from_arrays(
                inputs["positions"], inputs["numbers"], counts=counts, cell=inputs["cell"], pbc=inputs["pbc"]
            )
            return model.compute(systems, ("energy", "forces"))

        return call, lambda r: {"energy": r.energy / counts, "forces": r.forces}

    return prepare


CPU = {kind: network(kind, "auto") for kind in ("schnet", "painn")}
#: Filters by the filter network.
EXACT = {kind: network(kind, None) for kind in ("schnet", "painn")}
