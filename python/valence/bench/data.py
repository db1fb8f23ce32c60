"""Inputs of the workloads, made from a seed: the same file of arrays goes to every backend.

A generator takes keyword parameters, a seeded `numpy.random.Generator` and the dtype, and returns (arrays, count), where
`count` is the number of things (atoms, vectors, frames' atoms) that times are divided by.
"""

from __future__ import annotations

import inspect
import itertools
import math
from pathlib import Path

import numpy as np

from valence.bench import data_descriptors, data_engine, data_layers, data_mace, gpu


def liquid(rng, dtype, *, atoms, density=0.1, jitter=0.25, order="shuffled", frames=1, step=0.0):
    """A periodic cube of `atoms` atoms at `density` [1/Å^3]: a lattice's sites, displaced by up to `jitter` of the spacing
    along each axis, so that no two atoms meet. `order` "shuffled" is that of an equilibrated liquid, where the index says
    nothing about the place; "grid" follows the lattice. `frames` > 1 adds frames displaced by `step` [Å] along each axis.
    """
    edge = (atoms / density) ** (1 / 3)
    n = math.ceil(round(atoms ** (1 / 3), 9))
    sites = np.sort(rng.choice(n**3, size=atoms, replace=False))
    grid = np.stack(np.unravel_index(sites, (n, n, n)), axis=1)
    positions = (grid + 0.5 + jitter * rng.uniform(-1, 1, (atoms, 3))) * (edge / n)
    if order == "shuffled":
        positions = positions[rng.permutation(atoms)]
    elif order != "grid":
        raise ValueError(f"`order` must be one of ['grid', 'shuffled'], got {order}")
    arrays = {
        "positions": positions.astype(dtype),
        "offsets": np.array([0, atoms]),
        "cell": (edge * np.eye(3)).reshape(1, 3, 3),
        "pbc": np.ones((1, 3), dtype=bool),
        "numbers": np.full(atoms, 18),
    }
    if frames > 1:
        moves = rng.uniform(-step, step, (frames - 1, atoms, 3))
        arrays["frames"] = np.concatenate([positions[None], positions + moves]).astype(dtype)
    return arrays, atoms


def molecules(rng, dtype, *, systems, atoms, density=0.1):
    """`systems` open clusters of `atoms` atoms each, a ball of `density` [1/Å^3], no two atoms nearer than about 1 Å."""
    spacing = density ** (-1 / 3)
    reach = math.ceil((3 * atoms / (4 * math.pi)) ** (1 / 3)) + 1
    grid = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)), dtype=np.float64)
    ball = grid[np.argsort((grid**2).sum(1), kind="stable")[:atoms]]
    positions = (ball + 0.25 * rng.uniform(-1, 1, (systems, atoms, 3))) * spacing
    arrays = {
        "positions": positions.reshape(-1, 3).astype(dtype),
        "offsets": np.arange(systems + 1) * atoms,
        "cell": np.zeros((systems, 3, 3)),
        "pbc": np.zeros((systems, 3), dtype=bool),
        "numbers": np.full(systems * atoms, 6),
    }
    return arrays, systems * atoms


def vectors(rng, dtype, *, rows, shortest=0.8, longest=5.0, lmax=None):
    """`rows` vectors of random direction and of length between `shortest` and `longest` [Å]; with `lmax` also the cotangent
    of their harmonics."""
    v = rng.normal(size=(rows, 3))
    v *= (rng.uniform(shortest, longest, rows) / np.sqrt((v * v).sum(1)))[:, None]
    arrays = {"vectors": v.astype(dtype)}
    if lmax is not None:
        arrays["grad"] = rng.normal(size=(rows, (lmax + 1) ** 2)).astype(dtype)
    return arrays, rows


def distances(rng, dtype, *, rows, shortest=0.8, longest=5.0, columns=20):
    """`rows` distances [Å] and the cotangent of their `columns` radial functions."""
    d = rng.uniform(shortest, longest, rows)
    return {"distance": d.astype(dtype), "grad": rng.normal(size=(rows, columns)).astype(dtype)}, rows


def extxyz(rng, dtype, *, frames, atoms, folder):
    """A file of `frames` periodic frames of `atoms` atoms, with energy and forces, as ase writes them."""
    path = Path(folder) / f"frames-{frames}x{atoms}.xyz"
    symbols = np.array(["H", "C", "N", "O"])[rng.integers(0, 4, (frames, atoms))]
    edge = (atoms / 0.1) ** (1 / 3)
    with path.open("w") as f:
        for kinds in symbols:
            x, forces = rng.uniform(0, edge, (atoms, 3)), rng.normal(size=(atoms, 3))
            f.write(f"{atoms}\n")
            f.write(f'Lattice="{edge:.8f} 0.0 0.0 0.0 {edge:.8f} 0.0 0.0 0.0 {edge:.8f}" ')
            f.write(f'Properties=species:S:1:pos:R:3:forces:R:3 energy={rng.normal():.8f} pbc="T T T"\n')
            for kind, row in zip(kinds, np.hstack([x, forces]), strict=True):
                f.write(f"{kind:<2s} " + " ".join(f"{v:16.8f}" for v in row) + "\n")
    return {"path": np.array(str(path))}, frames * atoms


def contraction(rng, dtype, *, atoms, channels, elements, couplings, components):
    """`atoms` features [C, M] (M = components[0]), their elements, weights [Z, K, C] of the size of 1 / K and the cotangent
    [N, C, components[1]] of their symmetric contraction."""
    arrays = {
        "x": rng.normal(size=(atoms, channels, components[0])).astype(dtype),
        "weights": (rng.normal(size=(elements, couplings, channels)) / couplings).astype(dtype),
        "grad": rng.normal(size=(atoms, channels, components[1])).astype(dtype),
        "z": rng.integers(0, elements, atoms).astype(np.int32),
    }
    return arrays, atoms


def products(rng, dtype, *, rows, channels, lmax=3, weighted=False):
    """`rows` features [C, M] with harmonics [M], and the cotangent of their product; with `weighted` also weights
    [P, C, C] that keep its entries of the size of one."""
    m = (lmax + 1) ** 2
    shape = (rows, channels, m) if channels else (rows, m)
    arrays = {"x": rng.normal(size=shape), "y": rng.normal(size=(rows, m)), "grad": rng.normal(size=shape)}
    if weighted:
        paths = sum(min(a + b, lmax) - abs(a - b) + 1 for a in range(lmax + 1) for b in range(lmax + 1))
        arrays["weights"] = rng.normal(size=(paths, channels, channels)) / math.sqrt(channels * paths)
    return {k: v.astype(dtype) for k, v in arrays.items()}, rows


def messages(rng, dtype, *, nodes, neighbors, channels, lmax=3):
    """`neighbors` edges a node (the receiver, `target`, in order) from random ones, their unit vectors, features
    [nodes, C, M] and the cotangent of the sums over each receiver's edges."""
    target = np.repeat(np.arange(nodes, dtype=np.int32), neighbors)
    v = rng.normal(size=(target.size, 3))
    shape = (nodes, channels, (lmax + 1) ** 2)
    arrays = {
        "vectors": (v / np.sqrt((v * v).sum(1))[:, None]).astype(dtype),
        "x": rng.normal(size=shape).astype(dtype),
        "grad": rng.normal(size=shape).astype(dtype),
        "source": rng.integers(0, nodes, target.size).astype(np.int32),
        "target": target,
    }
    return arrays, target.size


GENERATORS = {
    **{f.__name__: f for f in (liquid, molecules, vectors, distances, extxyz, products, messages, contraction)},
    **gpu.GENERATORS,
    **data_layers.GENERATORS,
    **data_engine.GENERATORS,
    **data_descriptors.GENERATORS,
    **data_mace.GENERATORS,
}


def make(data: dict, dtype: str, seed: int, folder, *, root=None, batch=None, frames=None) -> tuple[dict, int]:
    """Arrays and count of a workload's `data` entry, {kind, **parameters}.

    `root` is a folder of the caller's own files, for kinds that read them; `batch` the number of systems of kinds that have
    `systems` or `frames`, and `frames` that of kinds that have `frames`.

    Raises ValueError where `batch` is given and the kind has no number of systems.
    """
    parameters = dict(data)
    kind = parameters.pop("kind", None)
    if kind not in GENERATORS:
        raise ValueError(f"`kind` must be one of {sorted(GENERATORS)}, got {kind}")
    generator = GENERATORS[kind]
    takes = inspect.signature(generator).parameters
    if "folder" in takes:
        parameters["folder"] = folder
    if "root" in takes:
        parameters["root"] = root
    if frames is not None and "frames" in takes:
        parameters["frames"] = frames
    if batch is not None:
        many = [n for n in ("systems", "frames") if n in takes]
        if not many:
            raise ValueError(f"`batch` must be left out for data of kind {kind}, which has no systems, got {batch}")
        parameters[many[0]] = batch
    rng = np.random.default_rng(parameters.pop("seed", seed))
    return generator(rng, np.dtype(dtype), **parameters)
