"""Our side of the timed descriptors; see ours.py."""

from __future__ import annotations

import itertools

import numpy as np


def threads(params):
    import valence as vl

    vl.set_num_threads(params["threads"])
    return vl


def frames_of(inputs) -> list[dict]:
    """The systems one by one, as a user's script holds them."""
    names = [n for n in ("positions", "numbers", "quaternion", "semiaxes") if n in inputs]
    return [
        {**{n: inputs[n][a:b].copy() for n in names}, "cell": inputs["cell"][k], "pbc": inputs["pbc"][k]}
        for k, (a, b) in enumerate(itertools.pairwise(inputs["offsets"]))
    ]


def systems_of(vl, frames):
    """One batch of the systems."""
    joined = {n: np.concatenate([f[n] for f in frames]) for n in frames[0] if n not in ("cell", "pbc")}
    if "quaternion" in joined:
        joined["orientation"] = joined.pop("quaternion")
    stacked = {n: np.stack([f[n] for f in frames]) for n in ("cell", "pbc")}
    return vl.Systems.from_arrays(**joined, counts=[len(f["numbers"]) for f in frames], **stacked)


def timed(inputs, params, make):
    """`call` in its three parts: systems from the frames, the descriptor, the array of the result."""
    vl = threads(params)
    frames, descriptor = frames_of(inputs), make(vl)
    parts = (lambda: systems_of(vl, frames)), descriptor.compute, (lambda made: np.asarray(made.values))

    def call():
        return parts[2](parts[1](parts[0]()))

    setattr(call, "parts", parts)  # noqa: B010, a function takes attributes
    return call, lambda values: {"values": values}


def soap(inputs, params):
    """featomic's or dscribe's parameters, their numbers and their order."""

    def make(vl):
        if params.get("basis") == "dscribe":
            return soap_of_dscribe(vl, inputs, params, "gto")
        return vl.Soap.from_featomic(featomic_hypers(params))

    return timed(inputs, params, make)


def soap_of_dscribe(vl, inputs, params, rbf):
    from valence.atoms.elements import SYMBOLS

    return vl.Soap.from_dscribe(
        species=[SYMBOLS[z] for z in np.unique(inputs["numbers"])], r_cut=params["cutoff"], n_max=params["nmax"],
        l_max=params["lmax"], sigma=params["width"], periodic=bool(inputs["pbc"].any()), rbf=rbf,
    )  # fmt: skip


def featomic_hypers(params) -> dict:
    smoothing = {"type": "ShiftedCosine", "width": params["smoothing"]} if params.get("smoothing") else {"type": "Step"}
    return {
        "cutoff": {"radius": params["cutoff"], "smoothing": smoothing},
        "density": {"type": "Gaussian", "width": params["width"]},
        "basis": {
            "type": "TensorProduct",
            "max_angular": params["lmax"],
            "radial": {"type": "Gto", "max_radial": params["nmax"]},
        },
    }


def anisoap(inputs, params):
    def make(vl):
        return vl.AniSoap(
            cutoff=params["cutoff"], lmax=params["lmax"], width=params["width"], max_radial=params.get("nmax")
        )

    return timed(inputs, params, make)


CPU = {"soap": soap, "anisoap": anisoap}
