"""The readable definitions of SOAP and AniSOAP power spectra in NumPy, float64, by quadrature of the defining integrals.

SOAP: c_nlm = sum_j W(r) I_nl(r) Y_lm, I_nl = 4 pi int u^2 R_nl(u) A exp(-c (u^2 + r^2)) i_l(2 c u r) du with c = 1 / (2 width^2)
(A. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115, 2013), the bases, cutoffs and layouts of featomic 0.6.7 and
dscribe 2.1.2. AniSOAP is in oracle_anisoap.py. Gradients are compared as slopes along random directions.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import gamma, log, pi, sqrt

import numpy as np

from valence.bench.oracle_anisoap import anisoap
from valence.bench.oracle_pairs import pairs, root
from valence.reference.basis import spherical_harmonics

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


def featomic_gto(n_max, cutoff):
    """R(l)(u) -> [n_max, nodes]: u^n exp(-u^2 / 2 s_n^2), s_n = cutoff max(sqrt n, 1) / n_max, orthonormalised."""
    n = np.arange(n_max)
    d = 1 / (2 * (cutoff * np.maximum(np.sqrt(n), 1) / n_max) ** 2)
    norm = np.array([sqrt(2 * (2 * d[k]) ** (k + 1.5) / gamma(k + 1.5)) for k in n])
    half = np.array([[gamma((a + b + 3) / 2) / 2 * (d[a] + d[b]) ** (-(a + b + 3) / 2) for b in n] for a in n])
    mix = root(norm[:, None] * norm * half) * norm
    return lambda l, u: mix @ (u ** n[:, None] * np.exp(-d[:, None] * u * u))


def dscribe_gto(n_max, cutoff):
    """u^l exp(-alpha_kl u^2), alpha_kl = -ln(1e-3 / a_k^l) / a_k^2, a_k from 1 to the cutoff, orthonormalised."""
    a = np.linspace(1.0, cutoff, n_max)

    def functions(l, u):
        alpha = -np.log(1e-3 / a**l) / a**2
        mix = root(gamma(l + 1.5) / 2 * (alpha[:, None] + alpha) ** (-l - 1.5))
        return mix @ (u**l * np.exp(-alpha[:, None] * u * u))

    return functions


def dscribe_polynomial(n_max, cutoff):
    """(cutoff - u)^(k + 2), k from 1, orthonormalised on [0, cutoff]."""
    k = np.arange(1, n_max + 1)
    sums = [[5 + int(i + j) for j in k] for i in k]
    mix = precise_root([[2 * Decimal(cutoff) ** (s + 2) / (s * (s + 1) * (s + 2)) for s in row] for row in sums])
    return lambda l, u: mix @ (cutoff - u) ** (k[:, None] + 2)


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


def soap_coefficients(
    inputs,
    species,
    *,
    functions,
    n_max,
    lmax,
    width,
    reach,
    end,
    count,
    amplitude,
    weight,
    sources=None,
):
    """Per l an array [N, S, n_max, 2 l + 1]."""
    source, target, vector = pairs(inputs, reach, sources)
    column = np.searchsorted(species, np.asarray(inputs["numbers"])[target])
    slot = source * len(species) + column
    r = np.sqrt((vector * vector).sum(1))
    y = spherical_harmonics(vector, lmax, normalization="integral", polar_axis="z")
    y[r < 1e-12, 0] = 1 / sqrt(4 * pi)
    c = 1 / (2 * width**2)
    u, w = nodes(end, count)
    out = [np.zeros((len(inputs["numbers"]) * len(species), n_max, 2 * l + 1)) for l in range(lmax + 1)]
    radial = [4 * pi * amplitude * w * u * u * functions(l, u) for l in range(lmax + 1)]
    for start in range(0, len(r), 2000):
        part = slice(start, start + 2000)
        density = np.exp(-c * (u - r[part, None]) ** 2)
        for l, bessel in enumerate(scaled_bessel(2 * c * r[part, None] * u, lmax)):
            i = weight(r[part])[:, None] * ((density * bessel) @ radial[l].T)
            np.add.at(out[l], slot[part], i[:, :, None] * y[part, None, l * l : (l + 1) ** 2])
    return [block.reshape(len(inputs["numbers"]), len(species), n_max, -1) for block in out]


def soap_featomic(inputs, params):
    """featomic's SoapPowerSpectrum with the Gto basis and a shifted cosine: pairs a <= b, then l, n1, n2."""
    cutoff, n_max, lmax, width = (params[k] for k in ("cutoff", "nmax", "lmax", "width"))
    smooth = params["smoothing"]

    def weight(r):
        inner = r > cutoff - smooth
        return np.where(inner, 0.5 * (1 + np.cos(pi * (r - cutoff + smooth) / smooth)), 1.0)

    species = np.unique(inputs["numbers"])
    c = soap_coefficients(
        inputs, species, functions=featomic_gto(n_max, cutoff), n_max=n_max, lmax=lmax, width=width, reach=cutoff,
        end=cutoff + 10 * width, count=240, amplitude=(pi * width**2) ** -0.75, weight=weight,
        sources=params.get("sources"),
    )  # fmt: skip
    columns = []
    for a in range(len(species)):
        for b in range(a, len(species)):
            for l, block in enumerate(c):
                p = np.einsum("inm,ikm->ink", block[:, a], block[:, b]) * (-1) ** l / sqrt(2 * l + 1)
                columns.append((p if a == b else sqrt(2) * p).reshape(len(p), -1))
    return {"values": np.concatenate(columns, axis=1)}


def soap_dscribe(inputs, params):
    """dscribe's SOAP: pairs a <= b, then l, n, n' (n' >= n where a = b); neighbours reach cutoff + sqrt(-2 ln 1e-3) sigma."""
    cutoff, n_max, lmax, width = (params[k] for k in ("cutoff", "nmax", "lmax", "width"))
    reach = cutoff + width * sqrt(-2 * log(1e-3))
    is_gto = params["rbf"] == "gto"
    functions = (dscribe_gto if is_gto else dscribe_polynomial)(n_max, cutoff)
    species = np.unique(inputs["numbers"])
    c = soap_coefficients(
        inputs, species, functions=functions, n_max=n_max, lmax=lmax, width=width, reach=reach,
        end=reach + 10 * width if is_gto else cutoff, count=280, amplitude=1.0, weight=np.ones_like,
        sources=params.get("sources"),
    )  # fmt: skip
    columns, upper = [], np.triu_indices(n_max)
    for a in range(len(species)):
        for b in range(a, len(species)):
            for l, block in enumerate(c):
                p = np.einsum("inm,ikm->ink", block[:, a], block[:, b]) * pi * sqrt(8 / (2 * l + 1))
                columns.append(p[:, *upper] if a == b else p.reshape(len(p), -1))
    return {"values": np.concatenate(columns, axis=1)}


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

    q = np.asarray(inputs["orientation"], dtype=np.float64)
    angle = np.sqrt((step * step).sum(1))
    turns = np.concatenate([np.cos(angle / 2)[:, None], 0.5 * np.sinc(angle / (2 * pi))[:, None] * step], axis=1)
    return {"orientation": np.array([product(t, v) for t, v in zip(turns, q, strict=True)])}


def soap_featomic_vjp(inputs, params):
    return {"slope_positions": slopes(soap_featomic, inputs, params, displaced)}


def anisoap_vjp(inputs, params):
    moves = {"positions": displaced, "rotation_vector": turned, "semiaxes": stretched}
    return {f"slope_{name}": slopes(anisoap, inputs, params, moved) for name, moved in moves.items()}


def sampled(function):
    """The definition for all centres, or the rows of `params["sources"]` alone."""

    def define(inputs, params):
        made = function(inputs, params)
        return {k: v[params["sources"]] for k, v in made.items()} if "sources" in params else made

    return define


OPERATIONS = {
    **{f.__name__: sampled(f) for f in (soap_featomic, soap_dscribe, anisoap)},
    **{f.__name__: f for f in (soap_featomic_vjp, anisoap_vjp)},
}
