"""Is a backend's output right? Integers must be equal, numbers within the tolerance."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

EDGES = ("source", "target", "shift", "vector", "distance")


def load(folder) -> dict:
    """The arrays that a worker wrote, mapped, not read."""
    return {p.stem: np.load(p, mmap_mode="r") for p in sorted(Path(folder).glob("*.npy"))}


def sort_edges(arrays: dict) -> dict:
    """Edges in the order (source, target, shift); others as they are. Peers leave the order of a row's targets open."""
    if not set(EDGES) <= set(arrays):
        return arrays
    s = arrays["shift"]
    i, j = np.asarray(arrays["source"], dtype=np.int64), np.asarray(arrays["target"], dtype=np.int64)
    order = np.lexsort((s[:, 2], s[:, 1], s[:, 0], j, i))
    if (order[1:] > order[:-1]).all():
        return arrays
    return {k: (v[order] if k in EDGES else v) for k, v in arrays.items()}


def rows_of(arrays: dict, sources) -> dict:
    """The edges, or the rows, of some sources alone."""
    if not set(EDGES) <= set(arrays):
        return {k: np.asarray(v)[sources] for k, v in arrays.items()}
    keep = np.isin(arrays["source"], sources)
    return {k: (np.asarray(v)[keep] if k in EDGES else v) for k, v in arrays.items()}


def checksum(arrays: dict) -> list[float]:
    """Sum and sum of squares of all floating-point arrays in float64, in the order of their names and rows."""
    total = square = 0.0
    for name in sorted(arrays):
        if arrays[name].dtype.kind == "f":
            v = np.asarray(arrays[name], dtype=np.float64).ravel()
            total += float(v.sum())
            square += float(v @ v)
    return [total, square]


def compare(arrays: dict, reference: dict, rtol: float, atol: float) -> tuple[float | None, str | None]:
    """(largest absolute error, None) or (the same where there is one, what is wrong)."""
    missing = sorted(set(reference) - set(arrays))
    if missing:
        return None, f"output must hold {sorted(reference)}, {missing} missing"
    worst, wrong = 0.0, None
    for name, want in reference.items():
        got = arrays[name]
        if got.shape != want.shape:
            return None, f"`{name}` must be of shape {list(want.shape)}, got {list(got.shape)}"
        if want.dtype.kind in "iub":
            bad = np.asarray(got).astype(np.int64) != np.asarray(want).astype(np.int64)
            if bad.any():
                return None, f"`{name}` must equal the reference, {int(bad.sum())} of {bad.size} entries differ"
            continue
        error = np.abs(np.asarray(got, dtype=np.float64) - want)
        over = ~(error <= atol + rtol * np.abs(want))  # a NaN is over
        worst = max(worst, float(error.max(initial=0.0)))
        if over.any():
            largest = float(error[over].max()) if np.isfinite(error[over]).all() else float("nan")
            wrong = f"`{name}` must agree to rtol {rtol:g}, atol {atol:g}: {int(over.sum())} of {over.size} entries do not, error up to {largest:.3g}"
    return (worst if np.isfinite(worst) else None), wrong


def fingerprint(inputs: dict, extra: str = "") -> str:
    """A hash of arrays and a text: names a workload's reference in the cache of a run."""
    h = hashlib.sha256(extra.encode())
    for name in sorted(inputs):
        v = np.ascontiguousarray(inputs[name])
        h.update(f"{name}{v.dtype}{v.shape}".encode())
        h.update(v.tobytes())
    return h.hexdigest()[:16]
