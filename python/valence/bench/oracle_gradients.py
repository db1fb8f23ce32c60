"""SOAP in dscribe's polynomials by quadrature, and gradients of SOAP and AniSOAP as slopes of their definitions; see oracle.py.

c_nlm = sum_j I_nl(r) Y_lm, I_nl = 4 pi int u^2 R_nl(u) exp(-c (u^2 + r^2)) i_l(2 c u r) du with c = 1 / (2 width^2). A gradient is
compared along random directions with central differences of sum(cotangent * values).
"""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext
from math import log, pi, sqrt

import numpy as np

from valence.bench.oracle_descriptors import anisoap, density, directions, labels, pairs, soap

STEP = 1e-5  # Angstrom, of the central differences


def precise_root(overlap):
    """S^(-1/2) of rows of Decimal by Jacobi's rotations in 60 digits: the overlap of eight polynomials has condition 1e16."""
    n = len(overlap)
    with localcontext() as context:
        context.prec = 60
        a, v = [list(row) for row in overlap], [[Decimal(int(i == j)) for j in range(n)] for i in range(n)]
        for _ in range(12):  # sweeps; convergence is quadratic
            for p, q in [(i, j) for i in range(n) for j in range(i + 1, n) if a[i][j]]:
                theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
                t = (1 if theta >= 0 else -1) / (abs(theta) + (theta * theta + 1).sqrt())
                c = 1 / (t * t + 1).sqrt()
                for m in (a, v):  # columns p and q, then of `a` rows p and q
                    for row in m:
                        row[p], row[q] = c * (row[p] - t * row[q]), c * (t * row[p] + row[q])
                a[p], a[q] = (
                    [c * (x - t * y) for x, y in zip(a[p], a[q])],
                    [c * (t * x + y) for x, y in zip(a[p], a[q])],
                )
        half = [1 / a[k][k].sqrt() for k in range(n)]
        return np.array(
            [[float(sum(v[i][k] * half[k] * v[j][k] for k in range(n))) for j in range(n)] for i in range(n)]
        )


def nodes(end, n):
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * end * (x + 1), 0.5 * end * w


def polynomials(n_max, cutoff):
    """(cutoff - u)^(k + 2), k from 1, orthonormalised on [0, cutoff] (dscribe)."""
    k = np.arange(1, n_max + 1)
    sums = [[5 + int(i + j) for j in k] for i in k]
    mix = precise_root([[2 * Decimal(cutoff) ** (s + 2) / (s * (s + 1) * (s + 2)) for s in row] for row in sums])
    return lambda u: mix @ (cutoff - u) ** (k[:, None] + 2)


def scaled_bessel(x, lmax):
    """exp(-x) i_l(x) for l to lmax, from the ratios i_l / i_(l-1) = x / (2 l + 1 + x i_(l+1) / i_l), downwards."""
    ratio, ratios = np.zeros_like(x), {}
    for l in range(lmax + 120, 0, -1):
        ratio = x / (2 * l + 1 + x * ratio)
        ratios[l] = ratio
    safe = np.maximum(x, 1e-300)
    value = np.where(x > 1e-12, -np.expm1(-2 * x) / (2 * safe), 1.0)
    for l in range(lmax + 1):
        if l:
            value = value * ratios[l]
        yield value


def soap_polynomial(inputs, params):
    """dscribe's power spectrum with rbf="polynomial": pairs a <= b, then l, n, n' (n' >= n where a = b)."""
    cutoff, n_max, lmax, width = (params[k] for k in ("cutoff", "nmax", "lmax", "width"))
    inputs = {**inputs, "positions": np.asarray(inputs["positions"], dtype=np.float64)}
    i, j, vector, r = pairs(inputs, cutoff + width * sqrt(-2 * log(1e-3)), params, inclusive=True)
    index, s = labels(inputs, params)
    y, c, n_atoms = directions(vector, lmax), 1 / (2 * width**2), len(inputs["positions"])
    u, w = nodes(cutoff, 280)
    functions = 4 * pi * w * u * u * polynomials(n_max, cutoff)(u)
    radial = np.empty((lmax + 1, len(r), n_max))
    for start in range(0, len(r), 2000):
        part = slice(start, start + 2000)
        gauss = np.exp(-c * (u - r[part, None]) ** 2)
        for l, bessel in enumerate(scaled_bessel(2 * c * r[part, None] * u, lmax)):
            radial[l, part] = (gauss * bessel) @ functions.T
    c_l = [density(i * s + index[j], n_atoms * s, radial[l], y[:, l * l : (l + 1) ** 2]) for l in range(lmax + 1)]
    c_l = [made.reshape(n_atoms, s, n_max, -1) for made in c_l]
    blocks, upper = [], np.triu_indices(n_max)
    for a, b in itertools.combinations_with_replacement(range(s), 2):
        for l, made in enumerate(c_l):
            p = pi * sqrt(8 / (2 * l + 1)) * made[:, a] @ made[:, b].transpose(0, 2, 1)
            blocks.append(p[:, *upper] if a == b else p.reshape(n_atoms, -1))
    return {"values": np.concatenate(blocks, axis=1)}


def slopes(function, inputs, params, moved):
    """Central differences of E = sum(cotangent * values) along each direction, [directions]."""
    g = np.asarray(inputs["cotangent"], dtype=np.float64)
    ends = []
    for direction in inputs["direction"]:
        e = [
            float((g * function({**inputs, **moved(inputs, sign * STEP * direction)}, params)["values"]).sum())
            for sign in (1, -1)
        ]
        ends.append((e[0] - e[1]) / (2 * STEP))
    return np.array(ends)


def displaced(inputs, step):
    return {"positions": np.asarray(inputs["positions"], dtype=np.float64) + step}


def stretched(inputs, step):
    return {"semiaxes": np.asarray(inputs["semiaxes"], dtype=np.float64) + step}


def turned(inputs, step):
    """Each orientation after a small turn by the rotation vector `step`."""
    from valence.bench.ellipsoids import product

    q = np.asarray(inputs["quaternion"], dtype=np.float64)
    angle = np.sqrt((step * step).sum(1))
    turns = np.concatenate([np.cos(angle / 2)[:, None], 0.5 * np.sinc(angle / (2 * pi))[:, None] * step], axis=1)
    return {"quaternion": np.array([product(t, v) for t, v in zip(turns, q, strict=True)])}


def soap_vjp(inputs, params):
    return {"slope_positions": slopes(soap, inputs, params, displaced)}


def anisoap_vjp(inputs, params):
    moves = {"positions": displaced, "rotation_vector": turned, "semiaxes": stretched}
    return {f"slope_{name}": slopes(anisoap, inputs, params, moved) for name, moved in moves.items()}


OPERATIONS = {f.__name__: f for f in (soap_polynomial, soap_vjp, anisoap_vjp)}
