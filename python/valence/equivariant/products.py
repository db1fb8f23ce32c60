"""Tensor products as users call them on NumPy, torch and JAX: the largest degrees are read from the shapes.

`ops` holds the ops of the array library at hand; see `public` of :class:`valence._op.Op`.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["fused_message_passing", "fused_sh_tp_simple", "tensor_product", "tensor_product_simple"]


def degree(name: str, array: Any) -> int:
    """lmax of an array [..., (lmax + 1)^2]; `name` is what errors call it."""
    shape: list[int] = list(getattr(array, "shape", []))
    width = shape[-1] if shape else 0
    lmax = math.isqrt(width) - 1
    if width < 1 or (lmax + 1) ** 2 != width:
        raise ValueError(f"`{name}` must be an array [..., (lmax + 1)^2], got shape {shape}")
    return lmax


def tensor_product_simple(ops: Any, x: Any, y: Any) -> Any:
    """Product of features with harmonics, every path with weight 1, channels apart.

    Parameters
    ----------
    x : array [N, M] or [N, C, M], float32 or float64. y : array [N, M] of the same dtype.

    Returns
    -------
    array of the shape and dtype of `x`.

    >>> tensor_product_simple(np.ones((2, 1)), np.full((2, 1), 3.0))
    array([[3.],
           [3.]])
    """
    lmax = degree("x", x)
    if x.ndim == 2:
        return ops.tensor_product_simple(x[:, None], y, lmax=lmax)[:, 0]
    return ops.tensor_product_simple(x, y, lmax=lmax)


def tensor_product(ops: Any, x: Any, y: Any, weights: Any, *, lmax_out: int | None = None) -> Any:
    """Weighted product of features with harmonics, out[n,d,k] = sum_p W[p,c,d] C_p[i,j,k] x[n,c,i] y[n,j].

    Parameters
    ----------
    x : array [N, C_in, M1]. y : array [N, M2]. weights : array [P, C_in, C_out], paths as in `tp_path_info(l1, l2, lmax_out)`.
    lmax_out : largest degree of the result, default that of x.

    Returns
    -------
    array [N, C_out, (lmax_out + 1)^2].

    Raises
    ------
    ValueError, if a shape does not fit; TypeError, if dtypes differ or are no float32 or float64.
    """
    return ops.tensor_product(x, y, weights, lmax1=degree("x", x), lmax2=degree("y", y), lmax_out=lmax_out)


def fused_sh_tp_simple(
    ops: Any, vectors: Any, node_features: Any, source_idx: Any, *, target_idx: Any = None, n_nodes: int | None = None
) -> Any:
    """`tensor_product_simple` of node_features[source_idx] and the harmonics of the vectors as they are.

    Parameters
    ----------
    vectors : array [E, 3]. node_features : array [N, M] or [N, C, M]. source_idx : array [E], rows of node_features.
    target_idx, n_nodes : array [E] and its bound; with both the result is summed into n_nodes rows.

    Returns
    -------
    array [E, M], [E, C, M], or the sums [n_nodes, M], [n_nodes, C, M].
    """
    if (target_idx is None) != (n_nodes is None):
        missing, given = ("n_nodes", "target_idx") if n_nodes is None else ("target_idx", "n_nodes")
        raise ValueError(f"`{missing}` must be given with `{given}`, got None")
    lmax, flat = degree("node_features", node_features), node_features.ndim == 2
    features = node_features[:, None] if flat else node_features
    if target_idx is None:
        out = ops.fused_sh_tp_simple(vectors, features, source_idx, lmax=lmax)
    else:
        out = ops.fused_sh_tp_scatter(vectors, features, source_idx, target_idx, n_nodes=n_nodes, lmax=lmax)
    return out[:, 0] if flat else out


def fused_message_passing(
    ops: Any, vectors: Any, x: Any, weights: Any, source_idx: Any, target_idx: Any, n_nodes: int
) -> Any:
    """out[target] += tensor_product(x[source], Y(vectors), weights); harmonics of the vectors as they are.

    Parameters
    ----------
    vectors : array [E, 3]. x : array [N, C_in, M]. weights : array [P, C_in, C_out]. source_idx, target_idx : arrays [E].
    n_nodes : rows of the result.

    Returns
    -------
    array [n_nodes, C_out, M].
    """
    return ops.fused_message_passing(vectors, x, weights, source_idx, target_idx, n_nodes=n_nodes, lmax=degree("x", x))
