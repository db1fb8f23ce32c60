"""The readable definition of AniSOAP's power spectrum in NumPy, float64: A. Lin, K. Huguenin-Dumittan, Y. Cho, J. Nigam,
R. Cersonsky, J. Chem. Phys. 161, 074112 (2024).

A neighbour is the normal law of mean r and covariance R diag(semiaxes^2) R^T; its product with the Gaussian of the basis is w times
another, of mean and covariance mu, C. The moments of that law are raised one power at a time, summed over the neighbours of each species, and
contracted with the solid harmonics written out as polynomials.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from valence.bench import structures
from valence.bench.oracle_pairs import pairs, root


def product(p, q):
    """The product of two polynomials {(a, b, c): coefficient}."""
    out: dict[tuple, float] = {}
    for (a, x), (b, y) in itertools.product(p.items(), q.items()):
        at = (a[0] + b[0], a[1] + b[1], a[2] + b[2])
        out[at] = out.get(at, 0.0) + x * y
    return out


def added(*terms):
    """The sum of (factor, polynomial)."""
    out: dict[tuple, float] = {}
    for factor, p in terms:
        for at, x in p.items():
            out[at] = out.get(at, 0.0) + factor * x
    return out


X, Y, Z, ONE = {(1, 0, 0): 1.0}, {(0, 1, 0): 1.0}, {(0, 0, 1): 1.0}, {(0, 0, 0): 1.0}
SQUARE = {(2, 0, 0): 1.0, (0, 2, 0): 1.0, (0, 0, 2): 1.0}


def solid_harmonics(lmax):
    """r^l Y_lm as polynomials, {(l, m): polynomial}; polar axis z, orthonormal on the sphere."""
    out, c, s = {}, ONE, {(0, 0, 0): 0.0}
    for m in range(lmax + 1):
        if m:
            c, s = added((1.0, product(X, c)), (-1.0, product(Y, s))), added((1.0, product(X, s)), (1.0, product(Y, c)))
        before, q = {}, {(0, 0, 0): float(math.prod(range(2 * m - 1, 0, -2)))}
        for l in range(m, lmax + 1):
            if l > m:
                step = added(((2 * l - 1) / (l - m), product(Z, q)), (-(l + m - 1) / (l - m), product(SQUARE, before)))
                before, q = q, step
            f = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m))
            out[l, m] = added(((math.sqrt(2) if m else 1.0) * f, product(q, c)))
            if m:
                out[l, -m] = added((math.sqrt(2) * f, product(q, s)))
    return out


def moments(mu, c, degree):
    """E[x^a y^b z^c] for a + b + c <= degree under normal laws of mean [E, 3] and covariance [E, 3, 3]."""
    out: dict[tuple[int, ...], np.ndarray] = {(0, 0, 0): np.ones(len(mu))}
    powers = sorted((p for p in itertools.product(range(degree + 1), repeat=3) if 0 < sum(p) <= degree), key=sum)
    for p in powers:
        axis = next(k for k in range(3) if p[k])
        low = tuple(v - (k == axis) for k, v in enumerate(p))
        made = mu[:, axis] * out[low]
        for k in range(3):
            if low[k]:
                made = made + c[:, axis, k] * low[k] * out[tuple(v - (n == k) for n, v in enumerate(low))]
        out[p] = made
    return out


def anisoap(inputs, params):
    """Power spectrum of ellipsoids with Gaussian radial functions: l, then (n, species), then (n', species'), all of both."""
    lmax, s = params["lmax"], float(params["width"])
    counts = [params.get("nmax") or (lmax - l) // 2 + 1 for l in range(lmax + 1)]
    i, j, r = pairs(inputs, params["cutoff"], params.get("sources"))
    species, index = np.unique(inputs["numbers"], return_inverse=True)
    kinds, n_atoms = len(species), len(inputs["positions"])
    orientation = np.asarray(inputs["orientation"], dtype=np.float64)
    turn = structures.rotations(orientation / np.sqrt((orientation * orientation).sum(1, keepdims=True)))
    square = np.asarray(inputs["semiaxes"], dtype=np.float64) ** 2
    q = s * s + square

    def in_space(diagonal):
        return np.einsum("nak,nk,nbk->nab", turn, diagonal, turn)

    g, c, k = in_space(s * s / q)[j], in_space(square * s * s / q)[j], in_space(1 / q)[j]
    weight = np.prod(s / np.sqrt(q), axis=1)[j] * np.exp(-0.5 * np.einsum("ea,eab,eb->e", r, k, r))
    degree = max(l + 2 * (n - 1) for l, n in enumerate(counts))
    table = moments(np.einsum("eab,eb->ea", g, r), c, degree)
    names, rows = list(table), i * kinds + index[j]
    sums = np.zeros((n_atoms * kinds, len(names)))
    for column, name in enumerate(names):
        sums[:, column] = np.bincount(rows, weight * table[name], n_atoms * kinds)
    place = {name: column for column, name in enumerate(names)}
    solid, blocks = solid_harmonics(lmax), []
    for l, n in enumerate(counts):
        made = np.zeros((n_atoms * kinds, n, 2 * l + 1))
        for m in range(-l, l + 1):
            p = solid[l, m]
            for step in range(n):
                p = product(p, SQUARE) if step else p
                made[:, step, m + l] = sum(x * sums[:, place[at]] for at, x in p.items())
        norm = np.array([math.sqrt(2 / (s ** (2 * (l + 2 * a) + 3) * math.gamma(l + 2 * a + 1.5))) for a in range(n)])
        gamma = np.array([[math.gamma(l + a + b + 1.5) for b in range(n)] for a in range(n)])
        half = np.sqrt(np.diag(gamma))
        mix = norm[:, None] * root(gamma / np.outer(half, half))
        made = np.einsum("xnm,nk->xkm", made, mix).reshape(n_atoms, kinds, n, -1)
        flat = made.transpose(0, 2, 1, 3).reshape(n_atoms, n * kinds, -1)
        blocks.append(((-1) ** l / math.sqrt(2 * l + 1) * flat @ flat.transpose(0, 2, 1)).reshape(n_atoms, -1))
    return {"values": np.concatenate(blocks, axis=1)}
