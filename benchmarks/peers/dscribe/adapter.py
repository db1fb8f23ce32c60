"""dscribe (github.com/SINGROUP/dscribe): SOAP.create of one ase.Atoms, with dscribe's own neighbour list, one thread."""

import numpy as np

PACKAGES = ["dscribe", "ase"]


def soap(inputs, params):
    import ase
    from dscribe.descriptors import SOAP

    if len(inputs["offsets"]) != 2:
        raise ValueError(f"`systems` must be one, got {len(inputs['offsets']) - 1}")
    periodic = bool(np.all(inputs["pbc"]))
    atoms = ase.Atoms(
        numbers=inputs["numbers"],
        positions=np.asarray(inputs["positions"], dtype=np.float64),
        cell=inputs["cell"][0],
        pbc=inputs["pbc"][0],
    )
    descriptor = SOAP(
        species=np.unique(inputs["numbers"]).tolist(),
        r_cut=params["cutoff"],
        n_max=params["nmax"],
        l_max=params["lmax"],
        sigma=params["width"],
        rbf=params["rbf"],
        periodic=periodic,
        sparse=False,
    )
    return (lambda: descriptor.create(atoms)), lambda values: {"values": values}


BACKENDS = {"dscribe": {"soap_dscribe": soap}}
