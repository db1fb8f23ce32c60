"""Tensor products in plain NumPy, path by path."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence.equivariant.coupling import clebsch_gordan
from valence.equivariant.paths import tp_path_info


def tensor_product(x: Any, y: Any, weights: Any, lmax1: int = 3, lmax2: int = 3, lmax_out: int | None = None) -> Any:
    """out[n,d,k] = sum_p W[p,c,d] C_p[i,j,k] x[n,c,i] y[n,j]."""
    lmax_out = lmax1 if lmax_out is None else lmax_out
    out = np.zeros((len(x), weights.shape[2], (lmax_out + 1) ** 2))
    for w, (a, b, c) in zip(weights, tp_path_info(lmax1, lmax2, lmax_out).tolist()):
        x_a, y_b = x[:, :, a * a : (a + 1) ** 2], y[:, b * b : (b + 1) ** 2]
        coupled = np.einsum("ijk,nci,nj->nck", clebsch_gordan(a, b, c), x_a, y_b)
        out[:, :, c * c : (c + 1) ** 2] += np.einsum("nck,cd->ndk", coupled, w)
    return out


def tensor_product_simple(x: Any, y: Any, lmax: int = 3) -> Any:
    """The same with every weight 1 and channels apart."""
    out = np.zeros(x.shape)
    for a, b, c in tp_path_info(lmax, lmax, lmax).tolist():
        x_a, y_b = x[:, :, a * a : (a + 1) ** 2], y[:, b * b : (b + 1) ** 2]
        out[:, :, c * c : (c + 1) ** 2] += np.einsum("ijk,nci,nj->nck", clebsch_gordan(a, b, c), x_a, y_b)
    return out


def harmonics(vectors: Any, lmax: int) -> Any:
    """Polynomials Y of the vectors as they are: degree l from l - 1 and 1, scaled by the value along one axis."""
    first = np.sqrt(3.0) * vectors
    blocks = [np.ones((len(vectors), 1)), first]
    for l in range(2, lmax + 1):
        coupled = np.einsum("ijk,ni,nj->nk", clebsch_gordan(l - 1, 1, l), blocks[-1], first)
        # On the y axis only m = 0 is there, and component normalisation makes it sqrt(2 l + 1).
        scale = np.sqrt(2 * l + 1) / (np.sqrt(2 * l - 1) * np.sqrt(3.0) * clebsch_gordan(l - 1, 1, l)[l - 1, 1, l])
        blocks.append(coupled * scale)
    return np.concatenate(blocks[: lmax + 1], axis=1)


def fused_sh_tp_simple(vectors: Any, node_features: Any, source_idx: Any, lmax: int = 3) -> Any:
    return tensor_product_simple(node_features[source_idx], harmonics(vectors, lmax), lmax)


def fused_sh_tp_scatter(
    vectors: Any, node_features: Any, source_idx: Any, target_idx: Any, n_nodes: int, lmax: int = 3
) -> Any:
    out = np.zeros((n_nodes, *node_features.shape[1:]))
    np.add.at(out, target_idx, fused_sh_tp_simple(vectors, node_features, source_idx, lmax))
    return out


def fused_message_passing(
    vectors: Any, x: Any, weights: Any, source_idx: Any, target_idx: Any, n_nodes: int, lmax: int = 3
) -> Any:
    out = np.zeros((n_nodes, weights.shape[2], x.shape[2]))
    np.add.at(out, target_idx, tensor_product(x[source_idx], harmonics(vectors, lmax), weights, lmax, lmax, lmax))
    return out
