"""Systems for the suites of SOAP and AniSOAP: crystals and boxes of ellipsoids; NumPy alone.

With `features` also the cotangent of that many features an atom, and directions in which gradients are compared; with `cutoff`
the number of directed pairs nearer than that, by which `time per edge` is taken.
"""

from __future__ import annotations

import numpy as np

from valence.bench import ellipsoids, structures

#: Random directions along which a gradient is compared with the slope of the definition.
DIRECTIONS = 3


def arrays_of(rng, dtype, made, features, cutoff, **columns):
    numbers, x, cell = made
    n = len(numbers)
    arrays = {
        "positions": x.astype(dtype),
        "numbers": np.asarray(numbers).astype(np.int64),
        "offsets": np.array([0, n]),
        "cell": np.asarray(cell, dtype=np.float64)[None],
        "pbc": np.full((1, 3), bool(np.any(cell))),
        **{k: v.astype(dtype) for k, v in columns.items()},
    }
    if cutoff:
        from valence.bench.oracle import neighbor_list

        arrays["num_edges"] = np.array(len(neighbor_list(arrays, {"cutoff": cutoff})["source"]))
    if features:
        arrays["cotangent"] = rng.normal(size=(n, features)).astype(dtype)
        arrays["direction"] = rng.normal(size=(DIRECTIONS, n, 3))
    return arrays, n


def crystal_frame(rng, dtype, *, crystal, atoms, features=0, cutoff=None):
    """A supercell of "Si", "NaCl" or "SiO2" of at least `atoms` atoms, displaced by up to 0.1 along each axis."""
    made = structures.crystal(rng, crystal, structures.repeats_of(crystal, atoms), displaced=0.1)
    return arrays_of(rng, dtype, made, features, cutoff)


def ellipsoid_box(rng, dtype, *, particles, shape="oblate", density=0.0084, features=0, cutoff=None):
    """A triclinic box of oblates (diameters 3, 3, 1) or prolates (3, 3, 9) at the density of crystalline benzene."""
    x, q, semiaxes, cell, _ = ellipsoids.gay_berne_box(rng, particles, shape=shape, density=density, sweeps=20)
    made = np.full(particles, 6), x, cell
    return arrays_of(rng, dtype, made, features, cutoff, quaternion=q, semiaxes=semiaxes)


GENERATORS = {f.__name__: f for f in (crystal_frame, ellipsoid_box)}
