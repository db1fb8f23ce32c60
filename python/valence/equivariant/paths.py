"""The paths of a tensor product: which degrees couple, in which order weights stand."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["tp_num_paths", "tp_path_info"]


@functools.lru_cache(maxsize=256)
def _paths(l1: int, l2: int, l_out: int) -> tuple[tuple[int, int, int], ...]:
    for name, l in (("l1", l1), ("l2", l2), ("l_out", l_out)):
        if isinstance(l, bool) or not isinstance(l, (int, np.integer)) or l < 0:
            raise ValueError(f"`{name}` must be a whole number from 0, got {l!r}")
    triples = ((a, b, c) for a in range(l1 + 1) for b in range(l2 + 1) for c in range(l_out + 1))
    return tuple((a, b, c) for a, b, c in triples if abs(a - b) <= c <= a + b)


def tp_path_info(l1: int = 3, l2: int = 3, l_out: int = 3) -> np.ndarray:
    """The paths (l1, l2, l_out) of a product of harmonics up to these degrees, [P, 3] int32, in the order of the weights.

    >>> tp_path_info(1, 1, 1).tolist()
    [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]]
    """
    return np.array(_paths(l1, l2, l_out), np.int32).reshape(-1, 3)


def tp_num_paths(l1: int = 3, l2: int = 3, l_out: int = 3) -> int:
    """P, how many paths `tp_path_info` lists: 34 for degrees up to 3.

    >>> tp_num_paths()
    34
    """
    return len(_paths(l1, l2, l_out))
