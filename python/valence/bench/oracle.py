"""The readable definition of every timed operation in plain NumPy: what a backend's output is compared with.

Edges are found by this file's own cell list, not by ours; harmonics by their Cartesian recursion, derivatives by the
complex step (J. Martins, P. Sturdza, J. Alonso, ACM Trans. Math. Softw. 29, 245 (2003)), which has no cancellation.
Each function takes (inputs, params) and returns the canonical arrays.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from valence.bench import (
    gpu,
    oracle_descriptors,
    oracle_engine,
    oracle_equivariant,
    oracle_layers,
    oracle_mace,
    oracle_symmetric,
)

SYMBOLS = {"H": 1, "C": 6, "N": 7, "O": 8}


def sort(i, j, shift, vector):
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    return i[order], j[order], shift[order], vector[order]


def edges_of_molecules(x, offsets, cutoff):
    """The same for a batch of small open systems: all pairs of each, and no images."""
    n = np.diff(offsets)
    i = np.repeat(np.arange(len(x)), np.repeat(n, n))
    first = np.repeat(np.cumsum(np.repeat(n, n)) - np.repeat(n, n), np.repeat(n, n))
    j = np.arange(i.size) - first + np.repeat(np.repeat(offsets[:-1], n), np.repeat(n, n))
    vector = x[j] - x[i]
    near = ((vector * vector).sum(1) < cutoff * cutoff) & (i != j)
    return i[near], j[near], np.zeros((int(near.sum()), 3), dtype=np.int64), vector[near]


def edges_of_system(x, cell, pbc, cutoff, sources=None):
    """All (i, j, S) with |x_j - x_i + S @ cell| < cutoff, sorted by (i, j, S), for one system (not i = j with S = 0).
    With `sources` only those whose i is among them.

    Atoms are binned in boxes at least `cutoff` wide; of each pair of neighbouring boxes (or images of them) all distances
    are taken. Open directions have one image; the cell is completed by unit vectors there.
    """
    frame = np.array(cell, dtype=np.float64)
    for a in np.flatnonzero(~pbc):
        frame[a] = 0.0
    if not pbc.all():
        # The rows of the orthogonal complement of the periodic ones.
        _, _, vt = np.linalg.svd(frame)
        frame[np.flatnonzero(~pbc)] = vt[int(pbc.sum()) :]
    inverse = np.linalg.inv(frame)
    height = 1.0 / np.sqrt((inverse * inverse).sum(0))
    f = x @ inverse
    wrap = np.where(pbc, np.floor(f), 0.0)
    f = f - wrap
    low = np.where(pbc, 0.0, f.min(0))
    width = np.where(pbc, 1.0, np.maximum(f.max(0) - low, 1e-9))
    bins = np.clip((width * height / cutoff).astype(int), 1, 64)
    place = np.clip(((f - low) / width * bins).astype(int), 0, bins - 1)
    flat = np.asarray(np.ravel_multi_index(tuple(place.T), tuple(bins)))
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(bins.prod() + 1))
    reach = [math.ceil(cutoff / (height[a] * width[a] / bins[a]) - 1e-12) for a in range(3)]
    found = []
    members = np.diff(starts)
    first, first_starts = order, starts
    if sources is not None:
        first = order[np.isin(order, sources)]
        first_starts = np.searchsorted(flat[first], np.arange(bins.prod() + 1))
    centres = np.diff(first_starts)
    for step in itertools.product(*(range(-r, r + 1) for r in reach)):
        target = np.stack(np.unravel_index(np.arange(bins.prod()), tuple(bins)), 1) + np.array(step)
        image = np.floor_divide(target, bins)
        keep = (centres > 0) & (pbc | (image == 0)).all(1)
        other = np.asarray(np.ravel_multi_index(tuple((target - image * bins).T), tuple(bins)))
        # Every atom of a box against every atom of the other one.
        box = np.flatnonzero(keep & (members[other] > 0))
        na, nb = centres[box], members[other[box]]
        row = np.repeat(np.arange(box.size), na * nb)
        k = np.arange(row.size) - np.repeat(np.cumsum(na * nb) - na * nb, na * nb)
        i = first[first_starts[box][row] + k // nb[row]]
        j = order[starts[other[box]][row] + k % nb[row]]
        shift = (image[box][row] + wrap[i] - wrap[j]).astype(np.int64)
        vector = (x[j] - x[i]) + shift @ np.where(pbc[:, None], cell, 0.0)
        near = (vector * vector).sum(1) < cutoff * cutoff
        near &= (i != j) | (shift != 0).any(1)
        found.append((i[near], j[near], shift[near], vector[near]))
    return sort(*(np.concatenate(c) for c in zip(*found, strict=True)))


def neighbor_list(inputs, params):
    """The full list of a batch of systems; indices count the rows of the whole batch. With `params["sources"]` (one system
    only) the rows of those sources."""
    x, offsets, cutoff = inputs["positions"].astype(np.float64), inputs["offsets"], params["cutoff"]
    if not inputs["pbc"].any() and np.diff(offsets).max() <= 64:
        i, j, shift, vector = edges_of_molecules(x, offsets, cutoff)
    else:
        parts = []
        for b, (start, end) in enumerate(itertools.pairwise(offsets)):
            i, j, s, v = edges_of_system(
                x[start:end], inputs["cell"][b], inputs["pbc"][b], cutoff, params.get("sources")
            )
            parts.append((i + start, j + start, s, v))
        i, j, shift, vector = (np.concatenate(c) for c in zip(*parts, strict=True))
    distance = np.sqrt((vector * vector).sum(1))
    return {"source": i, "target": j, "shift": shift, "vector": vector, "distance": distance}


def verlet(inputs, params):
    """The list of the last frame."""
    return neighbor_list({**inputs, "positions": inputs["frames"][-1]}, params)


def harmonics(v, lmax):
    """Real spherical harmonics of v / |v| (rows), polar axis z, orthonormal on the sphere ("integral"), m = -l..l: [E, M].

    Y_lm = sqrt(2) N_lm Q_lm(z) Re (x + iy)^m (Im for m < 0), with (l - m) Q_lm = (2l - 1) z Q_(l-1)m - (l + m - 1) Q_(l-2)m
    and Q_mm = (2m - 1)!!; no Condon-Shortley phase. `v` may be complex.
    """
    x, y, z = (v / np.sqrt((v * v).sum(1))[:, None]).T
    c, s, out = np.ones_like(x), np.zeros_like(x), {}
    for m in range(lmax + 1):
        if m:
            c, s = c * x - s * y, c * y + s * x
        before, q = 0.0, np.full_like(x, math.prod(range(2 * m - 1, 0, -2)))
        for l in range(m, lmax + 1):
            if l > m:
                before, q = q, ((2 * l - 1) * z * q - (l + m - 1) * before) / (l - m)
            n = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m))
            n *= math.sqrt(2) if m else 1.0
            out[l, m] = n * q * c
            if m:
                out[l, -m] = n * q * s
    return np.stack([out[l, m] for l in range(lmax + 1) for m in range(-l, l + 1)], axis=1)


def spherical_harmonics(inputs, params):
    return {"values": harmonics(inputs["vectors"].astype(np.float64), params["lmax"])}


def spherical_harmonics_vjp(inputs, params):
    """Values, and the gradient of sum(grad * values) to the vectors."""
    v, g, h = inputs["vectors"].astype(np.float64), inputs["grad"].astype(np.float64), 1e-30
    columns = []
    for k in range(3):
        w = v.astype(np.complex128)
        w[:, k] += 1j * h
        columns.append((g * np.imag(harmonics(w, params["lmax"]))).sum(1) / h)
    return {"values": harmonics(v, params["lmax"]), "grad_vectors": np.stack(columns, 1)}


def gaussians(r, n, cutoff):
    """b_k c with b_k = exp(-(r - mu_k)^2 / (2 w^2)), mu = linspace(0, cutoff, n), w their spacing, and the cosine envelope
    c = (cos(pi r / cutoff) + 1) / 2 below the cutoff, 0 from there on. Also the derivative to r. [E, K] both."""
    mu, x = np.linspace(0.0, cutoff, n), r[:, None]
    w = mu[1] - mu[0]
    inside = x < cutoff
    c = np.where(inside, 0.5 * (np.cos(np.pi * x / cutoff) + 1.0), 0.0)
    dc = np.where(inside, -0.5 * np.pi / cutoff * np.sin(np.pi * x / cutoff), 0.0)
    b = np.exp(-0.5 * ((x - mu) / w) ** 2)
    return b * c, b * (dc - c * (x - mu) / w**2)


def radial(inputs, params):
    """Values, and the gradient of sum(grad * values) to the distances."""
    value, slope = gaussians(inputs["distance"].astype(np.float64), params["n"], params["cutoff"])
    return {"values": value, "grad_distance": (inputs["grad"].astype(np.float64) * slope).sum(1)}


def edge_length(inputs, params):
    v = inputs["vectors"].astype(np.float64)
    return {"length": np.sqrt((v * v).sum(1))}


def edge_length_grad(inputs, params):
    """Lengths, and the gradient of their sum to the vectors."""
    v = inputs["vectors"].astype(np.float64)
    r = np.sqrt((v * v).sum(1))
    return {"length": r, "grad_vectors": v / r[:, None]}


def read_extxyz(inputs, params):
    """Species, positions, forces, energies and cells of a file whose every frame has the columns of `data.extxyz`."""
    numbers, rows, energy, cell, counts = [], [], [], [], []
    with open(str(inputs["path"])) as f:
        while line := f.readline():
            n, header = int(line), f.readline()
            cell.append([float(v) for v in header.split('"')[1].split()])
            energy.append(float(header.split("energy=")[1].split()[0]))
            body = [f.readline().split() for _ in range(n)]
            numbers += [SYMBOLS[b[0]] for b in body]
            rows.append(np.array([b[1:7] for b in body], dtype=np.float64))
            counts.append(n)
    table = np.concatenate(rows)
    return {"numbers": np.array(numbers), "counts": np.array(counts), "positions": table[:, :3], "forces": table[:, 3:],
            "energy": np.array(energy), "cell": np.array(cell).reshape(-1, 3, 3)}  # fmt: skip


OPERATIONS = {
    "neighbor_list": neighbor_list,
    "verlet": verlet,
    "spherical_harmonics": spherical_harmonics,
    "spherical_harmonics_vjp": spherical_harmonics_vjp,
    "radial": radial,
    "edge_length": edge_length,
    "edge_length_grad": edge_length_grad,
    "edge_length_torch": edge_length_grad,
    "edge_length_jax": edge_length,
    "read_extxyz": read_extxyz,
    **oracle_symmetric.OPERATIONS,
    **oracle_equivariant.OPERATIONS,
    **oracle_layers.OPERATIONS,
    **oracle_engine.OPERATIONS,
    **oracle_descriptors.OPERATIONS,
    **oracle_mace.OPERATIONS,
    **gpu.OPERATIONS,
}
