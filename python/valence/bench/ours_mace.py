"""Our side of the suite of MACE; see ours.py."""

from __future__ import annotations

import functools

import numpy as np

from valence.bench.oracle_mace import canonical

#: A new interpreter: from the import to the first energy; see worker.py for programs.
FIRST = """
import json, sys
import numpy as np
import valence as vl
with np.load(sys.argv[1]) as f:
    systems = vl.Systems.from_arrays(f["positions"], f["numbers"], counts=np.diff(f["offsets"]), cell=f["cell"], pbc=f["pbc"])
    model, dtype = str(f["model"]), str(f["precision"].dtype)
energy = vl.load(model + ".safetensors", dtype=dtype).compute(systems, ("energy",)).energy[0]
print(json.dumps({"energy": [energy / len(systems.numbers)]}))
"""


def mace(inputs, params, radial="spline"):
    """From positions: list, network, forces, stress where the cell is periodic."""
    import valence as vl

    vl.set_num_threads(params["threads"])
    model = vl.load(f"{inputs['model']}.safetensors", dtype=str(inputs["precision"].dtype), radial=radial)
    volume = abs(np.linalg.det(inputs["cell"][0]))
    wanted = ("energy", "forces", "stress") if volume > 0 else ("energy", "forces")
    counts = np.diff(inputs["offsets"])

    def call():
        systems = vl.Systems.from_arrays(
            inputs["positions"], inputs["numbers"], counts=counts, cell=inputs["cell"], pbc=inputs["pbc"]
        )
        return model.compute(systems, wanted)

    return call, lambda r: canonical(r.energy[0], r.forces, None if r.stress is None else r.stress[0], volume)


CPU = {"mace": mace, "mace_start": FIRST}
EXACT = {"mace": functools.partial(mace, radial="exact")}
