<<<<<<< HEAD
"""Inputs of the timed descriptors: fake benzenes with any number of labels, mixtures, ellipsoids; see data.py."""
=======
"""Systems for the suites of SOAP and AniSOAP: crystals, fake benzenes, boxes of ellipsoids; NumPy alone.

With `features` also the cotangent of that many features an atom, and directions in which gradients are compared; with `cutoff`
the number of directed pairs nearer than that, by which `time per edge` is taken.
"""
>>>>>>> h-bench

from __future__ import annotations

from pathlib import Path

import numpy as np

from valence.atoms.elements import NUMBERS
<<<<<<< HEAD
from valence.bench import structures


def benzenes(rng, dtype, *, species, copies=1, systems=1, root=None, cutoff=None, diameters=None, quaternion=None):
=======
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
    return arrays_of(rng, dtype, made, features, cutoff, orientation=q, semiaxes=semiaxes)


def fake_benzenes(
    rng, dtype, *, species, copies=1, systems=1, root=None, cutoff=None, diameters=None, orientation=None
):
>>>>>>> h-bench
    """The frame of `species` labels of the species sweep, `systems` times; only the labels differ from one number to another.

    Where `root` is given, the frames of its file of that name are read instead. `diameters` [3] and `orientation` (w, x, y, z, or
    "random") are the shape of each particle where the file does not say one; `cutoff` has the edges counted.
    """
    if root is not None:
        path = Path(root) / f"{structures.sweep_name(species, copies)}.xyz"
        made = read(path, systems)
        constant(path, made)
    else:
        made = [
            (
                *structures.fake_benzenes(np.random.default_rng(0), species, copies)[:2],
                {},
                np.zeros((3, 3)),
                [False] * 3,
            )
        ]
        made *= systems
    n = len(made[0][0])
    arrays = {
        "positions": np.concatenate([f[1] for f in made]).astype(dtype),
        "offsets": n * np.arange(systems + 1),
        "cell": np.stack([f[3] for f in made]),
        "pbc": np.stack([f[4] for f in made]),
        "numbers": np.concatenate([f[0] for f in made]).astype(np.int64),
    }
    if all(f[2] for f in made):
        arrays.update({k: np.concatenate([f[2][k] for f in made]).astype(dtype) for k in made[0][2]})
    elif diameters is not None:
        arrays.update(shapes(rng, dtype, n * systems, diameters, orientation))
    return counted(arrays, cutoff), n * systems


def frames(rng, dtype, *, file, frames=1, root=None, cutoff=None, diameters=None, orientation=None):
    """`frames` frames of a file below `root`, else of one that comes with the package; beyond its last comes its first again."""
    from valence.bench.make_data import SHIPPED

    found = read((Path(root) if root is not None else SHIPPED) / file, None)
    numbers, positions, columns, cell, pbc = zip(*(found[k % len(found)] for k in range(frames)))
    counts = [len(z) for z in numbers]
    arrays = {
        "positions": np.concatenate(positions).astype(dtype),
        "offsets": np.concatenate([[0], np.cumsum(counts)]),
        "cell": np.stack(cell),
        "pbc": np.stack(pbc),
        "numbers": np.concatenate(numbers).astype(np.int64),
    }
    if all(columns):
        arrays.update({n: np.concatenate([c[n] for c in columns]).astype(dtype) for n in columns[0]})
    elif diameters is not None:
        arrays.update(shapes(rng, dtype, sum(counts), diameters, orientation))
    return counted(arrays, cutoff), sum(counts)


def mixture(rng, dtype, *, atoms, species=2, systems=1, density=0.05, cutoff=None, diameters=None, orientation=None):
    """`systems` periodic cubes of `atoms` atoms at `density` [1/Å^3] of `species` labels in equal parts, at random places of a
    jittered grid; with `diameters` ellipsoids, see :func:`fake_benzenes`."""
    from valence.bench.data import liquid

    parts = [liquid(rng, dtype, atoms=atoms, density=density)[0] for _ in range(systems)]
    labels = [rng.permutation(np.arange(atoms) % species) for _ in range(systems)]
    known = np.array([NUMBERS[s] for s in structures.LABELS])
    arrays = {
        "positions": np.concatenate([p["positions"] for p in parts]),
        "offsets": atoms * np.arange(systems + 1),
        "cell": np.concatenate([p["cell"] for p in parts]),
        "pbc": np.concatenate([p["pbc"] for p in parts]),
        "numbers": known[np.concatenate(labels)],
    }
    if diameters is not None:
        arrays.update(shapes(rng, dtype, atoms * systems, diameters, orientation))
    return counted(arrays, cutoff), atoms * systems


def shapes(rng, dtype, n, diameters, orientation):
    """Quaternions and semiaxes of `n` like ellipsoids."""
    if orientation == "random":
        q = structures.random_quaternions(rng, n)
    elif isinstance(orientation, list | tuple) and len(orientation) == 4:
        q = np.tile(np.asarray(orientation, dtype=np.float64), (n, 1))
    else:
        raise ValueError(f"`orientation` must be four numbers or random, got {orientation}")
    return {"orientation": q.astype(dtype), "semiaxes": np.tile(np.asarray(diameters) / 2.0, (n, 1)).astype(dtype)}


def counted(arrays, cutoff):
    """The arrays with the number of edges within the cutoff."""
    if cutoff is None:
        return arrays
    import valence as vl

    keys = ("cell", "pbc")
    systems = vl.Systems.from_arrays(
        arrays["positions"], arrays["numbers"], counts=np.diff(arrays["offsets"]), **{k: arrays[k] for k in keys}
    )
    return {**arrays, "num_edges": np.array(len(vl.find_edges(systems, cutoff).source))}


def constant(path: Path, made: list[tuple]) -> None:
    """Refuse frames of differing N: a species sweep is one at constant N."""
    sizes = [len(f[0]) for f in made]
    for k, n in enumerate(sizes):
        if n != sizes[0]:
            raise ValueError(
                f"{path}: a species sweep must have constant N, got {n} atoms in frame {k} and {sizes[0]} in frame 0"
            )


def read(path: Path, count: int | None) -> list[tuple]:
    """Numbers, positions, shapes ({} where the file says none), cell and pbc of the first `count` frames of a file, or of all."""
    import valence as vl

    if not path.is_file():
        raise FileNotFoundError(f"`data` must hold {path.name}, got no {path}")
    try:
        systems = vl.read(path)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    if count is not None and len(systems) < count:
        raise ValueError(f"{path} must have {count} frames, got {len(systems)}")
    columns, made = shapes_of(systems), []
    for k in range(len(systems) if count is None else count):
        rows = slice(int(systems.offsets[k]), int(systems.offsets[k + 1]))
        own = {n: v[rows] for n, v in columns.items()}
        made.append((systems.numbers[rows], systems.positions[rows], own, systems.cell[k], systems.pbc[k]))
    return made


def shapes_of(systems) -> dict[str, np.ndarray]:
    """Quaternions and semiaxes as the file says them, in our columns or as c_q (quaternion) and c_diameter1..3; {} where it lacks
    one of the two."""
    columns = systems.columns
    q = next((columns[n] for n in ("orientation", "c_q", "quaternion") if n in columns), None)
    if "semiaxes" in columns:
        return {} if q is None else {"orientation": q, "semiaxes": columns["semiaxes"]}
    for form in ("c_diameter{}", "c_diameter[{}]"):
        axes = [columns.get(form.format(k)) for k in (1, 2, 3)]
        if q is not None and all(a is not None for a in axes):
            return {"orientation": q, "semiaxes": np.stack(axes, axis=1) / 2.0}
    return {}


<<<<<<< HEAD
GENERATORS = {f.__name__: f for f in (benzenes, frames, mixture)}
=======
GENERATORS = {f.__name__: f for f in (crystal_frame, fake_benzenes, ellipsoid_box, frames, mixture)}
>>>>>>> h-bench
