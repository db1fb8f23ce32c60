<<<<<<< HEAD
"""Our side of the timed descriptors; see ours.py."""
=======
"""Our side of the suites of SOAP and AniSOAP; see ours.py. The neighbour list is part of what is timed. The systems are made before
the clock starts, as the peers' atoms are, but where the parameter `conversion` asks for the time from separate arrays of each system."""
>>>>>>> h-bench

from __future__ import annotations

import itertools

import numpy as np


<<<<<<< HEAD
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
=======
def systems_of(inputs):
    import valence as vl

    more = {name: inputs[name] for name in ("orientation", "semiaxes") if name in inputs}
    return vl.Systems.from_arrays(
        inputs["positions"], inputs["numbers"], counts=np.diff(inputs["offsets"]), cell=inputs["cell"], pbc=inputs["pbc"], **more
    )  # fmt: skip


def hypers(params) -> dict:
    """featomic's parameters of its SoapPowerSpectrum."""
    return {
        "cutoff": {"radius": params["cutoff"], "smoothing": {"type": "ShiftedCosine", "width": params["smoothing"]}},
        "density": {"type": "Gaussian", "width": params["width"], "center_atom_weight": 1.0},
        "basis": {
            "type": "TensorProduct",
            "max_angular": params["lmax"],
            "radial": {"type": "Gto", "max_radial": params["nmax"] - 1},
            "spline_accuracy": 1e-8,
>>>>>>> h-bench
        },
    }


<<<<<<< HEAD
def anisoap(inputs, params):
    def make(vl):
        return vl.AniSoap(
            cutoff=params["cutoff"], lmax=params["lmax"], width=params["width"], max_radial=params.get("nmax")
        )

    return timed(inputs, params, make)


CPU = {"soap": soap, "anisoap": anisoap}
=======
def featomic(vl, inputs, params):
    return vl.Soap.from_featomic(hypers(params))


def dscribe(vl, inputs, params):
    return vl.Soap.from_dscribe(
        species=np.unique(inputs["numbers"]).tolist(), r_cut=params["cutoff"], n_max=params["nmax"], l_max=params["lmax"],
        sigma=params["width"], rbf=params["rbf"], periodic=bool(np.all(inputs["pbc"])),
    )  # fmt: skip


def anisoap(vl, inputs, params):
    return vl.AniSoap.from_anisoap(
        params["lmax"], "gto", params["cutoff"], radial_gaussian_width=params["width"],
        max_radial=params["nmax"] - 1 if params.get("nmax") else None,
    )  # fmt: skip


def frames_of(inputs) -> list[dict]:
    """The systems one by one, as a user's script holds them."""
    names = [n for n in ("positions", "numbers", "orientation", "semiaxes") if n in inputs]
    return [
        {**{n: inputs[n][a:b].copy() for n in names}, "cell": inputs["cell"][k], "pbc": inputs["pbc"][k]}
        for k, (a, b) in enumerate(itertools.pairwise(inputs["offsets"]))
    ]


def batch_of(frames):
    """One batch of the systems."""
    import valence as vl

    joined = {n: np.concatenate([f[n] for f in frames]) for n in frames[0] if n not in ("cell", "pbc")}
    return vl.Systems.from_arrays(
        joined.pop("positions"), joined.pop("numbers"), counts=[len(f["numbers"]) for f in frames],
        cell=np.stack([f["cell"] for f in frames]), pbc=np.stack([f["pbc"] for f in frames]),
        orientation=joined.get("orientation"), semiaxes=joined.get("semiaxes"),
    )  # fmt: skip


def forward(make):
    def prepare(inputs, params):
        import valence as vl

        vl.set_num_threads(params["threads"])
        descriptor, systems = make(vl, inputs, params), systems_of(inputs)
        if not params.get("conversion"):
            return (lambda: descriptor.compute(systems)), lambda r: {"values": r.values}
        frames = frames_of(inputs)
        parts = (lambda: batch_of(frames)), descriptor.compute, (lambda made: np.asarray(made.values))

        def call():
            return parts[2](parts[1](parts[0]()))

        setattr(call, "parts", parts)  # noqa: B010, a function takes attributes
        return call, lambda values: {"values": values}

    return prepare


def vjp(make, wrt):
    """Gradients of sum(cotangent * values); they are compared as slopes along the workload's directions."""

    def prepare(inputs, params):
        import valence as vl

        vl.set_num_threads(params["threads"])
        descriptor, systems = make(vl, inputs, params), systems_of(inputs)
        cotangent, directions = inputs["cotangent"], inputs["direction"]

        def collect(gradients):
            return {f"slope_{name}": (directions * gradients[name]).sum(axis=(1, 2)) for name in wrt}

        return (lambda: descriptor.vjp(systems, cotangent, wrt=wrt)), collect

    return prepare


CPU = {
    "soap_featomic": forward(featomic),
    "soap_dscribe": forward(dscribe),
    "soap_featomic_vjp": vjp(featomic, ("positions",)),
    "anisoap": forward(anisoap),
    "anisoap_vjp": vjp(anisoap, ("positions", "rotation_vector", "semiaxes")),
}
>>>>>>> h-bench
