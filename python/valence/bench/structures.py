"""Atoms that can be made from nothing but a seed, NumPy alone: fake benzenes, crystals, water. Lengths in Angstrom.

Each function returns (numbers [N], positions [N, 3], cell [3, 3]); a cell of zeros is an open system.
"""

from __future__ import annotations

import numpy as np

from valence.atoms.elements import NUMBERS

#: Bond lengths of the benzene of the species sweep.
CC, CH = 1.3968, 1.0857
#: Between the centres of its molecules.
SPACING = 7.0
#: Labels of the species sweep, in the order in which they come in.
LABELS = ("C", "H", "N", "O", "F", "S", "P", "Cl", "B", "Si", "Br", "I")
WORDS = {1: "one_species", 2: "benzenes", 3: "three_species", 4: "four_species"}
#: Atoms of the sweep's frame: two molecules.
PAIR = 24


def random_quaternions(rng, n):
    """`n` quaternions (w, x, y, z), uniform over all rotations (K. Shoemake, Graphics Gems III, p. 124, 1992)."""
    u, a, b = rng.uniform(0.0, 1.0, n), *(2 * np.pi * rng.uniform(0.0, 1.0, (2, n)))
    low, high = np.sqrt(1.0 - u), np.sqrt(u)
    return np.stack([high * np.cos(b), low * np.sin(a), low * np.cos(a), high * np.sin(b)], axis=1)


def rotations(quaternions):
    """Matrices [n, 3, 3] of unit quaternions (w, x, y, z); their columns are the body's axes."""
    w, x, y, z = np.asarray(quaternions, dtype=np.float64).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def lattice(n, spacing):
    """The first `n` sites of the smallest cubic grid that holds them, [n, 3], and the grid's edge."""
    side = int(np.ceil(round(n ** (1 / 3), 9)))
    steps = np.arange(side)
    sites = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return sites[:n] * float(spacing), side * float(spacing)


def benzene():
    """C6H6 in the plane z = 0 about the origin: regular hexagons of 1.3968 (C-C) and 1.3968 + 1.0857 (H)."""
    angle = np.pi / 3 * np.arange(6) + np.pi / 2
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], axis=1)
    return np.repeat([6, 1], 6), np.concatenate([CC * ring, (CC + CH) * ring])


def sweep_name(k: int, copies: int = 1) -> str:
    """The name of a frame of the species sweep, from which `aggregate` reads the number of species."""
    return WORDS.get(k, f"{k}_species") + (f"_x{copies}" if copies > 1 else "")


def fake_benzenes(rng, k: int, copies: int = 1):
    """The frame of `k` labels of the species sweep at constant N.

    `copies` times two benzene molecules, on a grid of 7 Angstrom; with more than one copy each is turned at random by
    `rng`, and the turns do not depend on `k`. Only the labels change with `k`: all carbon (1), benzene (2), and from 3 on
    C, H, N, O, F, S, P, Cl, B, Si, Br, I in turn, one after another, so that their counts differ by one at most.
    """
    if not (isinstance(k, int) and 1 <= k <= len(LABELS)):
        raise ValueError(f"`species` must be whole numbers from 1 to {len(LABELS)}, got {k}")
    if not (isinstance(copies, int) and copies >= 1):
        raise ValueError(f"`copies` must be a whole number of at least 1, got {copies}")
    numbers, x = benzene()
    sites, _ = lattice(2 * copies, SPACING)
    shapes = np.broadcast_to(x, (2 * copies, 12, 3))
    if copies > 1:
        shapes = np.einsum("kab,nb->kna", rotations(random_quaternions(rng, 2 * copies)), x)
    positions = (sites[:, None] + shapes).reshape(-1, 3)
    labels = np.array([NUMBERS[s] for s in LABELS])
    made = np.tile(numbers, 2 * copies) if k == 2 else labels[np.arange(len(positions)) % k]
    return made, positions, np.zeros((3, 3))


def benzene_box(rng, molecules: int = 27, spacing: float = 6.0):
    """Benzene molecules of random orientation on a grid in a periodic cube."""
    numbers, x = benzene()
    sites, edge = lattice(molecules, spacing)
    turned = np.einsum("kab,nb->kna", rotations(random_quaternions(rng, molecules)), x)
    positions = (sites[:, None] + 0.5 * spacing + turned).reshape(-1, 3)
    return np.tile(numbers, molecules), positions, edge * np.eye(3)


def water(rng, molecules: int = 64, spacing: float = 3.1):
    """Rigid water (0.9572, 104.52 degrees) of random orientation on a grid of 3.1 in a periodic cube; not equilibrated."""
    half = np.deg2rad(104.52) / 2
    x = 0.9572 * np.array([[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]])
    sites, edge = lattice(molecules, spacing)
    turned = np.einsum("kab,nb->kna", rotations(random_quaternions(rng, molecules)), x)
    positions = (sites[:, None] + 0.5 * spacing + turned).reshape(-1, 3)
    return np.tile([8, 1, 1], molecules), positions, edge * np.eye(3)


FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
#: Cubic cells: basis in parts of the edge, numbers, edge.
CRYSTALS = {
    "Si": (np.concatenate([FCC, FCC + 0.25]), [14] * 8, 5.431),
    "NaCl": (np.concatenate([FCC, FCC + np.array([0.5, 0, 0])]), [11] * 4 + [17] * 4, 5.640),
    # beta-cristobalite: silicon in the places of diamond, oxygen halfway along its bonds.
    "SiO2": (
        np.concatenate([FCC, FCC + 0.25, *(FCC + 0.125 * np.array(d) for d in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)))]),
        [14] * 8 + [8] * 16,
        7.160,
    ),
}  # fmt: skip


def cubic_cell(kind: str):
    if kind not in CRYSTALS:
        raise ValueError(f"`crystal` must be one of {sorted(CRYSTALS)}, got {kind}")
    return CRYSTALS[kind]


def crystal(rng, kind: str, repeats, displaced: float = 0.0):
    """A supercell of a cubic cell of "Si" (8 atoms), "NaCl" (8) or "SiO2" (24): `repeats` times along each axis, a number
    or three, atoms displaced by up to `displaced` along each axis."""
    basis, numbers, edge = cubic_cell(kind)
    counts = np.broadcast_to(np.asarray(repeats), 3)
    if not (counts.dtype.kind in "iu" and (counts >= 1).all()):
        raise ValueError(f"`repeats` must be whole numbers of at least 1, got {repeats}")
    shifts = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = ((shifts + basis % 1.0) * edge).reshape(-1, 3)
    if displaced:
        positions = positions + rng.uniform(-displaced, displaced, positions.shape)
    return np.tile(numbers, len(shifts)), positions, np.diag(counts * edge)


def repeats_of(kind: str, atoms: int):
    """The most cubic supercell of at least `atoms` atoms: whole numbers that differ by one at most."""
    cells = max(1, -(-atoms // len(cubic_cell(kind)[1])))
    side = int(np.floor(cells ** (1 / 3) + 1e-9))
    for counts in ((side, side, side), (side, side, side + 1), (side, side + 1, side + 1), (side + 1,) * 3):
        if min(counts) >= 1 and np.prod(counts) >= cells:
            return counts
    raise AssertionError
