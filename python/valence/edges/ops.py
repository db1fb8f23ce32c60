"""The differentiable ops of the edges room."""

from __future__ import annotations

import numpy as np

from valence._op import REGISTRY, Op, Real
from valence.reference import edges as reference

__all__ = ["EDGE_LENGTH", "edge_length"]


def _vectors(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {"vector": rng.normal(size=(rows, 3))}


EDGE_LENGTH = REGISTRY.add(
    Op(
        name="edge_length",
        inputs={"vector": Real("E 3", unit="Å", rotates="vector")},
        outputs={"length": Real("E", unit="Å", rotates="scalar")},
        reference=reference.edge_length,
        sample=_vectors,
        doc="""Lengths of edge vectors, r_e = |v_e|.

        Parameters
        ----------
        vector : array [E, 3], float32 or float64, Angstrom, or an Arrow column. A strided array is copied once.
        out : contiguous array [E] of the same dtype that takes the result.

        Returns
        -------
        array [E] of the dtype of `vector`, Angstrom; a polars Series for a column.

        Raises
        ------
        ValueError, if the shape is not [E, 3].
        TypeError, if the dtype is neither of the two.

        Where r = 0 the gradient is zero by definition.

        >>> edge_length(np.array([[3.0, 4.0, 0.0]]))
        array([5.])
        """,
    )
)

edge_length = EDGE_LENGTH.kernel()
