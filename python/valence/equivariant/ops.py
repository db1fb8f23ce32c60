"""The differentiable ops of the equivariant room. Weights, indices and harmonics as the Batteries package has them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from valence._op import REGISTRY, Index, Op, Real, Static
from valence.equivariant import products
from valence.equivariant.paths import tp_num_paths
from valence.reference import equivariant as reference

__all__ = [
    "FUSED_MESSAGE_PASSING",
    "FUSED_SH_TP_SCATTER",
    "FUSED_SH_TP_SIMPLE",
    "NUMPY",
    "TENSOR_PRODUCT",
    "TENSOR_PRODUCT_SIMPLE",
]

_NODES = 4


def _whole(name: str, value: int, largest: int = 20) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= largest:
        raise ValueError(f"`{name}` must be a whole number from 0 to {largest}, got {value!r}")
    return int(value)


def _product(lmax1: int = 3, lmax2: int = 3, lmax_out: int | None = None) -> Static:
    lmax_out = lmax1 if lmax_out is None else lmax_out
    degrees = [_whole(n, l) for n, l in (("lmax1", lmax1), ("lmax2", lmax2), ("lmax_out", lmax_out))]
    sizes = [("M1", "M2", "M3")[n] for n in range(3)]
    return Static(
        tuple(map(float, degrees)),
        (*zip(sizes, [(l + 1) ** 2 for l in degrees]), ("P", tp_num_paths(*degrees))),
    )


def _simple(lmax: int = 3) -> Static:
    lmax = _whole("lmax", lmax)
    return Static((float(lmax),) * 3, (("M", (lmax + 1) ** 2),))


def _scatter(n_nodes: int, lmax: int = 3) -> Static:
    lmax, n_nodes = _whole("lmax", lmax), _whole("n_nodes", n_nodes, 2**31 - 1)
    return Static((float(lmax),) * 3 + (float(n_nodes),), (("M", (lmax + 1) ** 2), ("R", n_nodes)))


def _messages(n_nodes: int, lmax: int = 3) -> Static:
    static = _scatter(n_nodes, lmax)
    return Static(static.params, (*static.sizes, ("P", tp_num_paths(lmax, lmax, lmax))))


def _simple_sample(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {"x": rng.normal(size=(rows, 2, 9)), "y": rng.normal(size=(rows, 9))}


def _product_sample(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    weights = rng.normal(size=(tp_num_paths(2, 1, 1), 2, 3))
    return {"x": rng.normal(size=(rows, 2, 9)), "y": rng.normal(size=(rows, 4)), "weights": weights}


def _edges_sample(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    source, target = rng.integers(0, [[3], [_NODES]], size=(2, rows)).astype(np.int32)
    vectors, features = rng.normal(size=(rows, 3)), rng.normal(size=(3, 2, 9))
    return {"vectors": vectors, "node_features": features, "source_idx": source, "target_idx": target}


def _messages_sample(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    sample = _edges_sample(rng, rows)
    return {**sample, "x": sample["node_features"], "weights": rng.normal(size=(tp_num_paths(2, 2, 2), 2, 3))}


TENSOR_PRODUCT_SIMPLE = REGISTRY.add(
    Op(
        name="tensor_product_simple",
        inputs={"x": Real("N C M"), "y": Real("N M")},
        outputs={"product": Real("N C M")},
        reference=reference.tensor_product_simple,
        public=products.tensor_product_simple,
        sample=_simple_sample,
        encode=_simple,
        variants=({"lmax": 2},),
        doc="""Product of features with harmonics, every path with weight 1: out[n,c,k] = C_p[i,j,k] x[n,c,i] y[n,j], summed over paths.

        Parameters
        ----------
        x : array [N, C, M], M = (lmax + 1)^2. y : array [N, M]. lmax : largest degree of all three.

        Returns
        -------
        array [N, C, M].
        """,
    )
)

TENSOR_PRODUCT = REGISTRY.add(
    Op(
        name="tensor_product",
        inputs={"x": Real("N C M1"), "y": Real("N M2"), "weights": Real("P C D")},
        outputs={"product": Real("N D M3")},
        reference=reference.tensor_product,
        public=products.tensor_product,
        sample=_product_sample,
        encode=_product,
        variants=({"lmax1": 2, "lmax2": 1, "lmax_out": 1},),
        rowwise=False,
        doc="""Weighted product of features with harmonics: out[n,d,k] = sum_p W[p,c,d] C_p[i,j,k] x[n,c,i] y[n,j].

        Parameters
        ----------
        x : array [N, C, M1]. y : array [N, M2]. weights : array [P, C, D], paths in the order of `vl.tp_path_info`.
        lmax1, lmax2, lmax_out : largest degrees; lmax_out is lmax1 unless given.

        Returns
        -------
        array [N, D, M3].
        """,
    )
)

FUSED_SH_TP_SIMPLE = REGISTRY.add(
    Op(
        name="fused_sh_tp_simple",
        inputs={"vectors": Real("E 3"), "node_features": Real("Z C M"), "source_idx": Index("E")},
        outputs={"product": Real("E C M")},
        reference=reference.fused_sh_tp_simple,
        public=products.fused_sh_tp_simple,
        uses=("fused_sh_tp_scatter",),
        sample=lambda rng, rows: {k: v for k, v in _edges_sample(rng, rows).items() if k != "target_idx"},
        encode=_simple,
        variants=({"lmax": 2},),
        rowwise=False,
        doc="""`tensor_product_simple` of node_features[source_idx] and the harmonics of the vectors as they are (not normalised).""",
    )
)

FUSED_SH_TP_SCATTER = REGISTRY.add(
    Op(
        name="fused_sh_tp_scatter",
        inputs={
            "vectors": Real("E 3"),
            "node_features": Real("Z C M"),
            "source_idx": Index("E"),
            "target_idx": Index("E"),
        },
        outputs={"sums": Real("R C M")},
        reference=reference.fused_sh_tp_scatter,
        sample=_edges_sample,
        encode=_scatter,
        variants=({"n_nodes": _NODES, "lmax": 2},),
        rowwise=False,
        doc="""`fused_sh_tp_simple` summed into n_nodes rows by target_idx, one writer a node.""",
    )
)

FUSED_MESSAGE_PASSING = REGISTRY.add(
    Op(
        name="fused_message_passing",
        inputs={
            "vectors": Real("E 3"),
            "x": Real("Z C M"),
            "weights": Real("P C D"),
            "source_idx": Index("E"),
            "target_idx": Index("E"),
        },
        outputs={"sums": Real("R D M")},
        reference=reference.fused_message_passing,
        public=products.fused_message_passing,
        sample=_messages_sample,
        encode=_messages,
        variants=({"n_nodes": _NODES, "lmax": 2},),
        rowwise=False,
        doc="""out[target] += tensor_product(x[source], Y(vectors), weights), the weights applied once a node.""",
    )
)

#: The ops of this room as functions of NumPy arrays, for the public forms.
NUMPY = SimpleNamespace(
    **{
        op.name: op
        for op in (
            TENSOR_PRODUCT_SIMPLE,
            TENSOR_PRODUCT,
            FUSED_SH_TP_SIMPLE,
            FUSED_SH_TP_SCATTER,
            FUSED_MESSAGE_PASSING,
        )
    }
)
