<<<<<<< HEAD
"""Power spectra of SOAP and AniSOAP in plain NumPy; see oracle.py.

SOAP: A. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013), with the radial functions of featomic or of dscribe. AniSOAP:
A. Lin, K. Huguenin-Dumittan, Y. Cho, J. Nigam, R. Cersonsky, J. Chem. Phys. 161, 074112 (2024). Every integral is a closed form;
AniSOAP's are moments of a normal law, raised one power at a time.
=======
"""The readable definitions of SOAP and AniSOAP power spectra in NumPy, float64, by quadrature of the defining integrals.

SOAP: c_nlm = sum_j W(r) I_nl(r) Y_lm, I_nl = 4 pi int u^2 R_nl(u) A exp(-c (u^2 + r^2)) i_l(2 c u r) du with c = 1 / (2 width^2)
(A. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115, 2013), the bases, cutoffs and layouts of featomic 0.6.7 and
dscribe 2.1.2. AniSOAP is in oracle_anisoap.py. Gradients are compared as slopes along random directions.
>>>>>>> h-bench
"""

from __future__ import annotations

<<<<<<< HEAD
import itertools
import math
=======
from decimal import Decimal, localcontext
from math import gamma, log, pi, sqrt
>>>>>>> h-bench

import numpy as np

from valence.bench.oracle_anisoap import anisoap
from valence.bench.oracle_pairs import pairs, root
from valence.reference.basis import spherical_harmonics

STEP = 1e-5  # Angstrom, of the central differences


<<<<<<< HEAD
def inverse_root(s):
    """The symmetric S^(-1/2)."""
    values, vectors = np.linalg.eigh(s)
    return (vectors / np.sqrt(values)) @ vectors.T


def pairs(inputs, cutoff, params, inclusive=False):
    """Sources, targets, vectors [E, 3] and distances of all pairs within the cutoff, images included, and of each atom with itself;
    with `params["sources"]` those of some atoms alone."""
    from valence.bench import oracle

    at = np.nextafter(cutoff, np.inf) if inclusive else cutoff
    found = oracle.neighbor_list(inputs, {**params, "cutoff": at})
    some = np.asarray(params.get("sources", np.arange(len(inputs["positions"]))))
    i, j = (np.concatenate([found[k], some]) for k in ("source", "target"))
    vector = np.concatenate([found["vector"], np.zeros((len(some), 3))])
    return i, j, vector, np.concatenate([found["distance"], np.zeros(len(some))])


def labels(inputs, params):
    """The index of each atom's species among the sorted ones, and their number."""
    species, index = np.unique(inputs["numbers"], return_inverse=True)
    return index, len(species)


def density(rows, size, *tables):
    """Sums over the pairs of each row of the products of `tables`, [E, K] and [E, M]: [size, K, M]."""
    k, m = (t.shape[1] for t in tables)
    out = np.zeros((size, k * m))
    for a in range(0, len(rows), CHUNK):
        part = slice(a, a + CHUNK)
        np.add.at(out, rows[part], (tables[0][part, :, None] * tables[1][part, None, :]).reshape(-1, k * m))
    return out.reshape(size, k, m)


def kummer(a, b, z):
    """exp(-z) 1F1(a; b; z) by its series, all of whose terms are positive for a, b, z > 0."""
    if z.max(initial=0.0) > 600.0:
        raise ValueError(f"`width` must be such that (cutoff / width)^2 / 2 is at most 600, got {z.max():g}")
    term = total = np.exp(-z)
    for k in range(4000):
        term = term * (a + k) / (b + k) * z / (k + 1)
        total = total + term
        if (term <= 1e-17 * total).all():
            return total
    raise ValueError("`width` must be wider, the series of its radial integral did not end")


def featomic_radial(r, l, params):
    """Integrals of featomic's GTO with a Gaussian of unit L2 norm, [E, n]; `nmax` is its `max_radial`."""
    cutoff, n_max, width = params["cutoff"], params["nmax"] + 1, params["width"]
    n = np.arange(n_max)
    s = cutoff * np.maximum(np.sqrt(n), 1.0) / n_max
    norm = np.array([math.sqrt(2 / (x ** (2 * k + 3) * math.gamma(k + 1.5))) for k, x in zip(n, s)])
    d, c = 1 / (2 * s**2), 1 / (2 * width**2)
    half = (n[:, None] + n + 3) / 2
    overlap = norm[:, None] * norm * np.vectorize(math.gamma)(half) / 2 * (d[:, None] + d) ** -half
    columns = []
    for k in n:
        a, b = (k + l + 3) / 2, l + 1.5
        made = (math.pi / width**2) ** 0.75 * (c * r) ** l * (c + d[k]) ** -a * math.gamma(a) / math.gamma(b)
        columns.append(made * np.exp(-c * d[k] * r * r / (c + d[k])) * kummer(a, b, (c * r) ** 2 / (c + d[k])))
    return np.stack(columns, 1) * norm @ inverse_root(overlap)


def dscribe_radial(r, l, params):
    """Integrals of dscribe's GTO with exp(-r^2 / (2 width^2)), [E, n]; `nmax` is its `n_max`."""
    h, a = 1 / (2 * params["width"] ** 2), np.linspace(1.0, params["cutoff"], params["nmax"])
    alpha = -np.log(1e-3 / a**l) / a**2
    overlap = math.gamma(l + 1.5) / 2 * (alpha[:, None] + alpha) ** (-l - 1.5)
    x = r[:, None]
    integral = (np.pi / (alpha + h)) ** 1.5 * (h / (alpha + h)) ** l * x**l * np.exp(-alpha * h * x * x / (alpha + h))
    return integral @ inverse_root(overlap).T


def smooth(r, cutoff, width):
    """featomic's shifted cosine: 1 up to `cutoff - width`, 0 at the cutoff; a step without a width."""
    if not width:
        return np.ones_like(r)
    x = np.clip((r - cutoff + width) / width, 0.0, 1.0)
    return 0.5 * (1 + np.cos(np.pi * x))


def directions(vector, lmax):
    """Harmonics of the pairs; those of a zero vector are of some direction, what they multiply is zero but for l = 0."""
    from valence.bench.oracle import harmonics

    v = np.where((vector * vector).sum(1, keepdims=True) > 0, vector, [0.0, 0.0, 1.0])
    return harmonics(v, lmax)


def soap(inputs, params):
    """Power spectrum in featomic's order (pairs of species a <= b, then l, n, n'), or in dscribe's (n' >= n where a = b)."""
    own = params.get("basis", "featomic") == "featomic"
    cutoff, lmax = params["cutoff"], params["lmax"]
    reach = cutoff if own else cutoff + params["width"] * math.sqrt(-2 * math.log(1e-3))
    inputs = {**inputs, "positions": inputs["positions"].astype(np.float64)}
    i, j, vector, r = pairs(inputs, reach, params, inclusive=not own)
    index, s = labels(inputs, params)
    n_atoms = len(inputs["positions"])
    y, weight = directions(vector, lmax), smooth(r, cutoff, params.get("smoothing") if own else None)
    c = []
    for l in range(lmax + 1):
        radial = (featomic_radial if own else dscribe_radial)(r, l, params) * weight[:, None]
        made = density(i * s + index[j], n_atoms * s, radial, y[:, l * l : (l + 1) ** 2])
        c.append(made.reshape(n_atoms, s, *made.shape[1:]))
    blocks = []
    for a, b in itertools.combinations_with_replacement(range(s), 2):
        for l in range(lmax + 1):
            p = c[l][:, a] @ c[l][:, b].transpose(0, 2, 1)
            if own:
                p *= (1.0 if a == b else math.sqrt(2)) * (-1) ** l / math.sqrt(2 * l + 1)
                blocks.append(p.reshape(n_atoms, -1))
            else:
                rows, columns = np.triu_indices(p.shape[1]) if a == b else np.indices(p.shape[1:]).reshape(2, -1)
                blocks.append(math.pi * math.sqrt(8 / (2 * l + 1)) * p[:, rows, columns])
    out = np.concatenate(blocks, axis=1)
    return {"values": out[params["sources"]] if "sources" in params else out}


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


def rotations(q):
    """Matrices [N, 3, 3] of quaternions (w, x, y, z) of any norm; columns are the body's axes."""
    w, x, y, z = (q / np.sqrt((q * q).sum(1))[:, None]).T
    rows = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]  # fmt: skip
    return np.moveaxis(np.array(rows), 2, 0)


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
    lmax, s, nmax = params["lmax"], float(params["width"]), params.get("nmax")
    counts = [(lmax - l) // 2 + 1 if nmax is None else nmax + 1 for l in range(lmax + 1)]
    inputs = {**inputs, "positions": inputs["positions"].astype(np.float64)}
    i, j, r, _ = pairs(inputs, params["cutoff"], params)
    index, kinds = labels(inputs, params)
    n_atoms = len(inputs["positions"])
    turn, square = rotations(inputs["quaternion"].astype(np.float64)), inputs["semiaxes"].astype(np.float64) ** 2
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
        gamma = [[math.gamma(l + a + b + 1.5) for b in range(n)] for a in range(n)]
        own = np.sqrt(
            np.diag(np.array([[math.gamma(l + 2 * a + 1.5) if a == b else 0.0 for b in range(n)] for a in range(n)]))
        )
        root = norm[:, None] * inverse_root(np.array(gamma) / np.outer(own, own))
        made = np.einsum("xnm,nk->xkm", made, root).reshape(n_atoms, kinds, n, -1)
        flat = made.transpose(0, 2, 1, 3).reshape(n_atoms, n * kinds, -1)
        blocks.append(((-1) ** l / math.sqrt(2 * l + 1) * flat @ flat.transpose(0, 2, 1)).reshape(n_atoms, -1))
    out = np.concatenate(blocks, axis=1)
    return {"values": out[params["sources"]] if "sources" in params else out}


OPERATIONS = {"soap": soap, "anisoap": anisoap}
=======
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
>>>>>>> h-bench
