"""Edges in plain NumPy."""

from __future__ import annotations

import numpy as np


def edge_length(vector: np.ndarray) -> np.ndarray:
    """r_e = |v_e|, [E, 3] -> [E]."""
    return np.sqrt((vector * vector).sum(axis=1))
