"""What a MACE network gives: mace-torch's own numbers in float64 for the small cell, carried over to its repetitions."""

from __future__ import annotations

import numpy as np

from valence.bench.data_mace import HOW, reference_file


def reference(inputs):
    """The small cell's arrays; refused where they are of another cell than the one that is timed."""
    name = str(inputs["name"])
    with np.load(reference_file(str(inputs["model"]))) as f:
        found = {k.removeprefix(f"{name}/"): f[k] for k in f.files if k.startswith(f"{name}/")}
    first = inputs["positions"][
        np.argsort(inputs["origin"], kind="stable")[:: len(inputs["origin"]) // len(found["positions"])]
    ]
    # The rows of one repetition differ from the small cell by lattice vectors of it.
    frame = inputs["cell"][0]
    if frame.any():
        repeats = round((len(inputs["origin"]) / len(found["positions"])) ** (1 / 3))
        shift = (first - found["positions"]) @ np.linalg.inv(frame / repeats)
        same = np.allclose(shift, np.round(shift), atol=1e-9)
    else:
        same = np.allclose(first, found["positions"], atol=1e-9)
    if not same:
        raise ValueError(
            f"the references of {inputs['model']} must be of the cell {name} as it stands: run `{HOW}` again"
        )
    return found


def canonical(energy, forces, stress, volume):
    """Energy and virial [eV] of one atom, forces [eV/Å]; the virial of an open cell is left out."""
    n = len(forces)
    made = {"energy": np.array([energy / n]), "forces": np.asarray(forces)}
    if volume > 0:
        made["virial"] = np.asarray(stress).reshape(3, 3) * (volume / n)
    return made


def mace(inputs, params):
    small, origin = reference(inputs), inputs["origin"]
    energy = float(small["energy"]) * (len(origin) / len(small["forces"]))
    return canonical(energy, small["forces"][origin], small["stress"], abs(np.linalg.det(inputs["cell"][0])))


def mace_start(inputs, params):
    return {"energy": mace(inputs, params)["energy"]}


OPERATIONS = {"mace": mace, "mace_start": mace_start}
