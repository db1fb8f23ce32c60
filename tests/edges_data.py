"""What the tests of the edges room share: reference cases, a batch of plain arrays, liquids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data" / "edges"


def load(name: str) -> dict[str, dict[str, np.ndarray]]:
    """An npz of keys `case/array` as {case: {array: values}}; keys without a case are under ""."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / name) as data:
        for key in data:
            case, _, array = key.rpartition("/")
            cases.setdefault(case, {})[array] = data[key]
    return cases


CASES = load("edges_cases.npz")
OPS = load("edges_ops.npz")


@dataclass(frozen=True)
class Batch:
    """A batch of systems as plain arrays."""

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    offsets: np.ndarray
    numbers: np.ndarray | None = None

    @classmethod
    def of(cls, *systems: tuple) -> Batch:
        positions = [np.asarray(s[0]).reshape(-1, 3) for s in systems]
        cell = np.stack([np.asarray(s[1], float) for s in systems])
        pbc = np.stack([np.broadcast_to(np.asarray(s[2], bool), 3) for s in systems])
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in positions])]).astype(np.int64)
        return cls(np.concatenate(positions), cell, pbc, offsets)

    def replace(self, **changes: Any) -> Batch:
        return replace(self, **changes)


def one(case: dict[str, np.ndarray]) -> Batch:
    return Batch.of((case["positions"], case["cell"], case["pbc"]))


def rows(edges: Any) -> np.ndarray:
    """[E, 5]: source, target, shift."""
    return np.column_stack([edges.source, edges.target, edges.shift])


def expected_rows(case: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack([case["i"], case["j"], case["S"]]).reshape(-1, 5)


def same(a: Any, b: Any) -> None:
    """Equal to the last bit."""
    for name in ("source", "target", "shift", "vector", "distance", "row_ptr"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def liquid(n: int, density: float, seed: int, cell: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a jittered grid, as make_edges_more.py has them."""
    rng = np.random.default_rng(seed)
    side = (n / density) ** (1 / 3)
    m = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] * (side / m)
    grid = grid + rng.normal(0, 0.35, (n, 3))
    if cell is None:
        return grid, np.eye(3) * side
    h = np.array(cell, float)
    h *= side / abs(np.linalg.det(h)) ** (1 / 3)
    return (grid / side) @ h, h


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))
