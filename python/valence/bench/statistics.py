"""Summaries of raw samples and bootstrap intervals of ratios of medians."""

from __future__ import annotations

import math

import numpy as np

DRAWS = 2000


def summary(samples) -> dict:
    """Order statistics and moments of wall-time samples [s]; `wall_std` is the sample deviation (n - 1).

    Raises ValueError where there is no sample, or one that is not a positive finite number.
    """
    s = np.asarray(samples, dtype=np.float64)
    if s.size == 0:
        raise ValueError("`samples` must hold at least one time, got 0")
    if not (np.isfinite(s).all() and (s > 0).all()):
        raise ValueError(f"`samples` must be positive finite times, got {samples}")
    low, high = np.percentile(s, [25, 75])
    return {
        "wall_min": float(s.min()),
        "wall_median": float(np.median(s)),
        "wall_iqr": float(high - low),
        "wall_mean": float(s.mean()),
        "wall_std": float(s.std(ddof=1)) if s.size > 1 else 0.0,
        "runs": int(s.size),
    }


def medians(samples, rng, draws=DRAWS, passes=None, drawn=None):
    """Medians of `draws` resamples with replacement, [draws].

    With `passes`, the pass of each sample, and `drawn`, passes [draws, P] to take, the samples are resampled within those:
    a bootstrap of two levels (A. Davison, D. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
    """
    s = np.asarray(samples, dtype=np.float64)
    if drawn is None or passes is None:
        return np.median(s[rng.integers(0, s.size, (draws, s.size))], axis=1)
    labels = np.asarray(passes)
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    within = rng.random((*drawn.shape, counts.max())) * counts[drawn][:, :, None]
    place = starts[drawn][:, :, None] + within.astype(np.int64)
    return np.median(s[order][place.reshape(draws, -1)], axis=1)


def draw_passes(rng, draws, *passes):
    """The same passes for all sets of samples, [draws, P]; None where they have not all the same passes, of two at least."""
    kinds = [np.unique(p) if p else np.zeros(0) for p in passes]
    if kinds[0].size < 2 or any(k.size != kinds[0].size or (k != kinds[0]).any() for k in kinds):
        return None
    return rng.integers(0, kinds[0].size, (draws, kinds[0].size))


def bootstrap_ratio(slow, fast, *, seed=0, draws=DRAWS, passes=(None, None)) -> dict:
    """median(slow) / median(fast) with its bootstrap 95% interval.

    Both sets are resampled independently (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13:
    percentile interval); where they come from several passes, so are the passes, together for both. A fixed seed makes the
    same file from the same samples.
    """
    rng = np.random.default_rng(seed)
    drawn = draw_passes(rng, draws, *passes)
    r = medians(slow, rng, draws, passes[0], drawn) / medians(fast, rng, draws, passes[1], drawn)
    low, high = np.percentile(r, [2.5, 97.5])
    return {"ratio": float(np.median(slow) / np.median(fast)), "low": float(low), "high": float(high)}


def change_of(a: dict, b: dict) -> dict:
    """Ratio `a` over ratio `b` with its 95% interval: above 1, B lost ground against its base.

    The logarithms of both are taken as normal, each of the width that its own interval has.
    """
    width = [(math.log(r["high"]) - math.log(r["low"])) / 2 for r in (a, b)]
    change, half = a["ratio"] / b["ratio"], math.hypot(*width)
    return {"change": change, "low": change * math.exp(-half), "high": change * math.exp(half)}
