"""What the law tests share: samples of an op, difference quotients, rotations."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from valence._op import REGISTRY, Op


@dataclass(frozen=True)
class Case:
    """An op of some order with one set of static parameters."""

    op: Op
    root: Op
    parameters: dict[str, Any]

    def __str__(self) -> str:
        text = ",".join(f"{k}={short(v)}" for k, v in self.parameters.items())
        return f"{self.op.name}({text})"

    def kernel(self) -> Any:
        return self.op.kernel(self.op.static((), dict(self.parameters)))

    def sample(self, rng: np.random.Generator, rows: int = 7, dtype: type = np.float64) -> list[np.ndarray]:
        """Valid operands: those of the root op as it declares them, cotangents at random."""
        assert self.root.sample is not None
        wanted = inspect.signature(self.root.sample).parameters
        given = self.root.sample(rng, rows, **{k: v for k, v in self.parameters.items() if k in wanted})
        sizes = dict(self.op.static((), dict(self.parameters)).sizes)
        operands = []
        for name, declared in self.op.inputs.items():
            dims = declared.dims.split()
            if name in given:
                array = np.asarray(given[name])
                sizes.update((d, n) for d, n in zip(dims, array.shape) if not d.isdigit())
            else:
                array = rng.normal(size=[int(d) if d.isdigit() else sizes[d] for d in dims])
            operands.append(array.astype(dtype) if declared.kind == "real" else array.astype(np.int32))
        return operands


def short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 24 else f"{text[:16]}…{abs(hash(text)) % 1000}"


def cases(*orders: int) -> list[Case]:
    found = []
    for root in REGISTRY.values():
        for op in root.family():
            if op.order in orders:
                found += [Case(op, root, parameters) for parameters in root.variants]
    return found


def as_tuple(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def contract(results: Any, cotangents: list[np.ndarray]) -> float:
    return float(sum((r * c).sum() for r, c in zip(as_tuple(results), cotangents)))


def difference(function: Any, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """d function / d x by fourth-order central differences."""
    out = np.zeros_like(x)
    for k in np.ndindex(x.shape):
        values = []
        for step in (-2, -1, 1, 2):
            shifted = x.copy()
            shifted[k] += step * h
            values.append(function(shifted))
        out[k] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return out


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q
