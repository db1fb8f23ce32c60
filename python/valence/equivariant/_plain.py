"""What torch and JAX share to run a descriptor: its plain definition as a few einsums, messages in its names."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from valence.equivariant.descriptor import Descriptor
from valence.equivariant.polynomial import in_words

__all__ = ["Batch", "batches", "check_range", "renamed"]

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
