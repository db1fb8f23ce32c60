"""What torch and JAX share to run a descriptor: its plain definition as a few einsums, messages in its names."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from valence.equivariant.descriptor import Descriptor
from valence.equivariant.polynomial import in_words

__all__ = ["Batch", "batches", "check_range", "harmonics", "renamed"]

#: Numbers that one einsum may hold for each row and factor; more paths go into the next.
_MOST = 1 << 14


class Batch(NamedTuple):
    """P paths of one shape: out[:, places[-1]] += einsum(text, x[:, places[0]], …, coefficients)."""

    operands: tuple[int, ...]
    text: str
    places: tuple[np.ndarray, ...]
    coefficients: np.ndarray


@functools.lru_cache(maxsize=256)
def batches(descriptor: Descriptor) -> tuple[Batch, ...]:
    """Every path of the descriptor, those of equal shapes together. Z is the row, Y the path."""
    found = []
    for product in descriptor.products:
        letters, extra = product.letters
        text = ",".join(f"ZY{group}" for group in letters[:-1]) + f",Y{extra}->ZY{letters[-1]}"
        groups: dict[tuple, list[tuple[list[np.ndarray], np.ndarray]]] = {}
        for row, coefficients in zip(product.segments.tolist(), product.coefficients):
            at = [descriptor.operands[o].segments[s].places for o, s in zip(product.operands, row)]
            groups.setdefault(tuple(p.shape for p in at), []).append((at, np.asarray(coefficients, np.float64)))
        for shapes, paths in groups.items():
            if any(0 in shape for shape in shapes):
                continue
            step = max(1, _MOST // max(int(np.prod(shape)) for shape in shapes))
            for first in range(0, len(paths), step):
                chosen = paths[first : first + step]
                places = tuple(np.stack([at[f] for at, _ in chosen]) for f in range(len(shapes)))
                found.append(Batch(product.operands[:-1], text, places, np.stack([c for _, c in chosen])))
    return tuple(found)


def renamed(descriptor: Descriptor, error: Exception) -> Exception:
    """The executing op's error in the descriptor's names."""
    return type(error)(in_words(descriptor, str(error)))


def check_range(name: str, index: np.ndarray, size: int) -> None:
    """Refuses an index of operand `name` that is not a row of it."""
    wrong = np.flatnonzero((index < 0) | (index >= size))
    if len(wrong):
        row = wrong[0]
        raise ValueError(f"`indices['{name}']` must be in [0, {size}), got {index[row]} in row {row}")


def harmonics(vectors: Any, lmax: int, normalization: str) -> list[Any]:
    """Columns Y_lm, l to lmax, of vectors [E, 3] as they are, in operations that every array library has.

    c_m + i s_m = (X + i Y)^m and Q by upward recursion in l, with X = z, Y = x, Z = y. A test by the other route than the
    kernels'; slower and less accurate at large l.
    """
    if normalization not in ("component", "norm", "integral"):
        raise ValueError(f"`normalization` must be one of component, norm, integral, got {normalization!r}")
    y, z, x = (vectors[:, n] for n in range(3))  # the textbook frame, polar axis z
    one, r2 = 0 * x + 1, x * x + y * y + z * z
    c, s = [one], [0 * x]
    for m in range(lmax):
        c, s = [*c, x * c[m] - y * s[m]], [*s, x * s[m] + y * c[m]]
    q = {(0, 0): one}
    for m in range(lmax + 1):
        if m:
            q[m, m] = (2 * m - 1) * q[m - 1, m - 1]
        for l in range(m + 1, lmax + 1):
            last = (l + m - 1) * r2 * q[l - 2, m] if l > m + 1 else 0.0
            q[l, m] = ((2 * l - 1) * z * q[l - 1, m] - last) / (l - m)
    found = []
    for l in range(lmax + 1):
        scale = {"component": 2 * l + 1, "norm": 1, "integral": (2 * l + 1) / (4 * math.pi)}[normalization]
        for m in range(-l, l + 1):
            a = abs(m)
            factor = math.sqrt((2 if m else 1) * scale * math.factorial(l - a) / math.factorial(l + a))
            found.append(factor * q[l, a] * (s[a] if m < 0 else c[a]))
    return found
