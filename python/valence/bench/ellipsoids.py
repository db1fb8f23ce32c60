"""Ellipsoids: of molecules by their gyration tensors, boxes without overlaps, scans of two. NumPy alone; lengths in Angstrom."""

from __future__ import annotations

import itertools

import numpy as np

from valence.bench.structures import lattice, random_quaternions, rotations

#: Standard atomic weights (IUPAC 2021, abridged) of the elements that the made data hold, in u.
MASSES = {1: 1.008, 3: 6.94, 4: 9.0122, 5: 10.81, 6: 12.011, 7: 14.007, 8: 15.999, 9: 18.998, 11: 22.990, 12: 24.305,
          13: 26.982, 14: 28.085, 15: 30.974, 16: 32.06, 17: 35.45, 35: 79.904, 53: 126.90}  # fmt: skip
#: Square of the semiaxis over the eigenvalue of the gyration tensor: a uniform solid ellipsoid, and two other conventions.
FACTORS = (5.0, 3.0, 2.0)
#: Diameters of the two shapes over sigma0.
SHAPES = {"prolate": (1.0, 1.0, 3.0), "oblate": (1.0, 1.0, 1.0 / 3.0)}
#: Smallest diameter of both, Angstrom.
SIGMA0 = 3.0


def quaternion(matrix):
    """The unit quaternion (w, x, y, z) of a rotation, its largest component positive (S. W. Shepperd, J. Guid. Control 1, 223,
    1978)."""
    m = np.asarray(matrix, dtype=np.float64)
    d = np.diagonal(m)
    squares = np.array([1 + d.sum(), 1 + d[0] - d[1] - d[2], 1 - d[0] + d[1] - d[2], 1 - d[0] - d[1] + d[2]])
    k = int(np.argmax(np.round(squares, 9)))  # of equal ones the first, whatever their rounding
    if k == 0:
        q = [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]
    else:
        a = k - 1
        b, c = (a + 1) % 3, (a + 2) % 3
        q = [m[c, b] - m[b, c], 0, 0, 0]
        q[1 + a], q[1 + b], q[1 + c] = squares[k], m[a, b] + m[b, a], m[a, c] + m[c, a]
    made = np.array(q, dtype=np.float64)
    return made / np.sqrt(made @ made)


def axes_of(tensor):
    """Eigenvalues [3], ascending, and a right-handed frame of eigenvectors (columns) of a symmetric tensor.

    Each axis has its largest component positive; where that leaves a left-handed frame, the last axis is turned round. Where
    eigenvalues agree to 1e-9 of the largest, the space that they share is spanned from the Cartesian axes: the one with the
    largest projection first, so that the frame does not depend on rounding or on a seed.
    """
    values, vectors = np.linalg.eigh(np.asarray(tensor, dtype=np.float64))
    values = np.maximum(values, 0.0)
    scale = 1e-9 * max(values[-1], 1e-300)
    start = 0
    for end in range(1, 4):
        if end < 3 and values[end] - values[end - 1] <= scale:
            continue
        if end - start > 1:
            space = vectors[:, start:end]
            left = space @ space.T
            for place in range(start, end):
                axis = left[:, int(np.argmax(np.round(np.diagonal(left), 9)))]
                axis = axis / np.sqrt(axis @ axis)
                vectors[:, place] = axis
                left = left - np.outer(axis, axis)
        start = end
    for k in range(3):
        axis = vectors[:, k]
        vectors[:, k] = axis * np.sign(axis[int(np.argmax(np.round(np.abs(axis), 9)))])
    if np.linalg.det(vectors) < 0:
        vectors[:, 2] *= -1.0
    return values, vectors


def of_molecule(numbers, positions, *, factor: float = 5.0, floor: float = 0.5):
    """Centre [3], quaternion [4] and semiaxes [3] of the ellipsoid of a molecule.

    With the centre of mass x0 and G = sum m (x - x0)(x - x0)^T / sum m, whose eigenvalues are g_k: semiaxis k is
    sqrt(factor g_k), at least `floor`; a uniform solid ellipsoid has factor 5.
    """
    if factor not in FACTORS:
        raise ValueError(f"`factor` must be one of {list(FACTORS)}, got {factor}")
    if not (np.isfinite(floor) and floor >= 0):
        raise ValueError(f"`floor` must be a length of at least 0 in Angstrom, got {floor}")
    unknown = sorted(set(np.asarray(numbers).tolist()) - set(MASSES))
    if unknown:
        raise ValueError(f"`numbers` must be elements with a mass in MASSES, got {unknown}")
    m = np.array([MASSES[z] for z in np.asarray(numbers).tolist()])
    x = np.asarray(positions, dtype=np.float64)
    centre = m @ x / m.sum()
    x = x - centre
    values, frame = axes_of((m[:, None] * x).T @ x / m.sum())
    return centre, quaternion(frame), np.maximum(np.sqrt(factor * values), floor)


def molecules_of(systems, reach: float = 1.2):
    """For each system the molecules, as rows of the batch and positions unwrapped across the cell: atoms nearer than `reach`
    times the sum of their covalent radii are bonded. A chain through the cell's wall back to itself is an error."""
    import valence as vl
    from valence.basis import COVALENT_RADII

    radii = np.asarray(COVALENT_RADII)[systems.numbers]
    edges = vl.find_edges(systems, 2 * reach * float(radii.max(initial=0.1)))
    near = edges.distance < reach * (radii[edges.source] + radii[edges.target])
    bonds: dict[int, list] = {}
    for i, j, v in zip(edges.source[near].tolist(), edges.target[near].tolist(), edges.vector[near], strict=True):
        bonds.setdefault(i, []).append((j, v))
    found = []
    for first, last in itertools.pairwise(systems.offsets.tolist()):
        place: dict[int, np.ndarray] = {}
        parts = []
        for start in range(first, last):
            if start in place:
                continue
            place[start] = systems.positions[start].astype(np.float64)
            rows = [start]
            for i in rows:
                for j, v in bonds.get(i, ()):
                    if j not in place:
                        place[j] = place[i] + v
                        rows.append(j)
                    elif np.abs(place[j] - place[i] - v).max() > 1e-6:
                        raise ValueError(f"systems must be made of molecules, got a chain without an end at row {i}")
            parts.append((np.array(rows), np.array([place[r] for r in rows])))
        found.append(parts)
    return found


def support(semiaxes, frames, directions):
    """Half the width of each ellipsoid along a unit direction, sqrt(sum_k (sigma_k a_k . d)^2)."""
    body = np.einsum("nab,na->nb", frames, directions)
    return np.sqrt(((semiaxes * body) ** 2).sum(axis=1))


def overlap(x, frames, semiaxes, inverse, cell, k, others):
    """How far particle `k` at `x` reaches into the others: the sum over nearest images of (h_k + h_j - r)^2 where positive."""
    d = others - x
    d -= np.round(d @ inverse) @ cell
    r = np.sqrt((d * d).sum(axis=1))
    r[k] = np.inf
    u = d / np.maximum(np.where(np.isfinite(r), r, 1.0), 1e-9)[:, None]
    reach = support(semiaxes, frames, u) + support(semiaxes[k], np.broadcast_to(frames[k], frames.shape), u)
    return float((np.maximum(reach - r, 0.0) ** 2).sum())


def gay_berne_box(
    rng, n: int, *, shape: str = "prolate", density: float = 0.003, skew: float = 0.15, sweeps: int = 200
):
    """`n` ellipsoids in a triclinic periodic box, of the shapes of the Gay-Berne model.

    A grid of `density` [1/Angstrom^3], jittered by a tenth of its spacing, sheared by `skew`; uniform random orientations; then
    `sweeps` sweeps that displace one particle after another at random and keep what lowers the overlap, measured by the support functions along the
    line of centres (touching there is sufficient for no overlap, not necessary: in dense boxes a rest may remain).

    Returns
    -------
    positions [n, 3], quaternions [n, 4], semiaxes [n, 3], cell [3, 3], the number of particles whose overlap remains.
    """
    if shape not in SHAPES:
        raise ValueError(f"`shape` must be one of {sorted(SHAPES)}, got {shape}")
    if not (isinstance(n, int) and n >= 1):
        raise ValueError(f"`particles` must be a whole number of at least 1, got {n}")
    if not (np.isfinite(density) and density > 0):
        raise ValueError(f"`density` must be a positive number per cubic Angstrom, got {density}")
    side = int(np.ceil(round(n ** (1 / 3), 9)))
    edge = (n / density) ** (1 / 3)
    sites, _ = lattice(n, edge / side)
    cell = edge * np.array([[1.0, 0.0, 0.0], [skew, 1.0, 0.0], [0.5 * skew, -skew, 1.0]])
    jitter = rng.uniform(-0.1, 0.1, (n, 3)) / side
    positions = (sites / edge + 0.5 / side + jitter) @ cell
    quaternions = random_quaternions(rng, n)
    frames = rotations(quaternions)
    semiaxes = np.broadcast_to(0.5 * SIGMA0 * np.array(SHAPES[shape]), (n, 3)).copy()
    inverse = np.linalg.inv(cell)
    worst = np.array([overlap(positions[k], frames, semiaxes, inverse, cell, k, positions) for k in range(n)])
    for _ in range(sweeps):
        touched = np.flatnonzero(worst > 0)
        if not len(touched):
            break
        for k in touched:
            was = overlap(positions[k], frames, semiaxes, inverse, cell, k, positions)
            trial = positions[k] + rng.uniform(-0.15, 0.15, 3) * SIGMA0
            now = overlap(trial, frames, semiaxes, inverse, cell, k, positions)
            if now < was:
                positions[k] = trial
                was = now
            worst[k] = was
    worst = np.array([overlap(positions[k], frames, semiaxes, inverse, cell, k, positions) for k in range(n)])
    return positions, quaternions, semiaxes, cell, int((worst > 0).sum())


HALF = float(np.sqrt(0.5))
#: Quaternions that turn the body's z axis (the unequal one) to z, x and y of the laboratory.
ALONG = {"z": (1.0, 0.0, 0.0, 0.0), "x": (HALF, 0.0, HALF, 0.0), "y": (HALF, -HALF, 0.0, 0.0)}
#: The two particles' unequal axes; the second particle stands along +x of the first.
PAIRS = {"side-side": ("z", "z"), "face-face": ("x", "x"), "side-face": ("z", "x")}


def turned(axis: str, angle: float):
    """The quaternion of a turn about an axis of the laboratory."""
    q = np.zeros(4)
    q[0], q[1 + "xyz".index(axis)] = np.cos(angle / 2), np.sin(angle / 2)
    return q


def product(p, q):
    """The quaternion of the turn q, then p."""
    (a, *u), (b, *v) = p, q
    u, v = np.array(u), np.array(v)
    return np.concatenate([[a * b - u @ v], a * v + b * u + np.cross(u, v)])


def scan(kind: str, shape: str = "prolate", steps: int = 36):
    """Frames of two particles, each (positions [2, 3], quaternions [2, 4], semiaxes [2, 3], coordinate).

    "side-side", "face-face", "side-face": distances from 1.25 to 3 sigma0 along x, the unequal axes as the name says (face: the unequal axis lies along the line of centres).
    "rotation-y", "rotation-z": the second particle at 3 sigma0, turned by 0 to 180 degrees about that axis; about z its unequal axis starts along x.
    """
    known = [*PAIRS, "rotation-y", "rotation-z"]
    if kind not in known:
        raise ValueError(f"`scan` must be one of {known}, got {kind}")
    if shape not in SHAPES:
        raise ValueError(f"`shape` must be one of {sorted(SHAPES)}, got {shape}")
    semiaxes = np.broadcast_to(0.5 * SIGMA0 * np.array(SHAPES[shape]), (2, 3)).copy()
    frames = []
    if kind in PAIRS:
        pair = np.array([ALONG[a] for a in PAIRS[kind]])
        for d in np.linspace(1.25, 3.0, steps):
            frames.append((np.array([[0.0, 0, 0], [d * SIGMA0, 0, 0]]), pair, semiaxes, float(d * SIGMA0)))
    else:
        axis = kind[-1]
        start = np.array(ALONG["z" if axis == "y" else "x"])
        for angle in np.linspace(0.0, np.pi, steps):
            second = product(turned(axis, angle), start)
            frames.append(
                (
                    np.array([[0.0, 0, 0], [3 * SIGMA0, 0, 0]]),
                    np.array([start, second]),
                    semiaxes,
                    float(np.degrees(angle)),
                )
            )
    return frames
