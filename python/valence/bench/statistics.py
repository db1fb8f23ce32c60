"""Summaries of raw samples and bootstrap intervals of ratios of medians."""

from __future__ import annotations

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


def medians(samples, rng, draws=DRAWS):
    """Medians of `draws` resamples with replacement, [draws]."""
    s = np.asarray(samples, dtype=np.float64)
    return np.median(s[rng.integers(0, s.size, (draws, s.size))], axis=1)


def bootstrap_ratio(slow, fast, *, seed=0, draws=DRAWS) -> dict:
    """median(slow) / median(fast) with its bootstrap 95% interval.

    Both sets are resampled independently (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13:
    percentile interval). A fixed seed makes the same file from the same samples.
    """
    rng = np.random.default_rng(seed)
    r = medians(slow, rng, draws) / medians(fast, rng, draws)
    low, high = np.percentile(r, [2.5, 97.5])
    return {"ratio": float(np.median(slow) / np.median(fast)), "low": float(low), "high": float(high)}


def bootstrap_change(slow_a, fast_a, slow_b, fast_b, *, seed=0, draws=DRAWS) -> dict:
    """(slow_a / fast_a) / (slow_b / fast_b) of medians with its 95% interval: above 1, B lost ground against its base."""
    rng = np.random.default_rng(seed)
    r = medians(slow_a, rng, draws) / medians(fast_a, rng, draws)
    r /= medians(slow_b, rng, draws) / medians(fast_b, rng, draws)
    low, high = np.percentile(r, [2.5, 97.5])
    change = np.median(slow_a) / np.median(fast_a) / (np.median(slow_b) / np.median(fast_b))
    return {"change": float(change), "low": float(low), "high": float(high)}
