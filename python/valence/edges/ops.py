"""The differentiable ops of the edges room."""

from __future__ import annotations

import numpy as np

from valence._op import REGISTRY, Index, Op, Real
from valence.reference import edges as reference

__all__ = ["EDGE_LENGTH", "EDGE_VECTORS", "edge_length", "edge_vectors"]


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


def _graph(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """`rows` edges in no order among 5 atoms of 2 systems."""
    system = rng.integers(0, 2, rows)
    return {
        "positions": rng.normal(size=(5, 3)),
        "cell": rng.normal(size=(2, 3, 3)) + 4.0 * np.eye(3),
        "source": np.where(system == 0, rng.integers(0, 3, rows), rng.integers(3, 5, rows)),
        "target": np.where(system == 0, rng.integers(0, 3, rows), rng.integers(3, 5, rows)),
        "shift": rng.integers(-2, 3, (rows, 3)),
        "system": system,
    }


EDGE_VECTORS = REGISTRY.add(
    Op(
        name="edge_vectors",
        inputs={
            "positions": Real("N 3", unit="Å"),
            "cell": Real("B 3 3", unit="Å"),
            "source": Index("E"),
            "target": Index("E"),
            "shift": Index("E 3"),
            "system": Index("E"),
        },
        outputs={"vector": Real("E 3", unit="Å")},
        reference=reference.edge_vectors,
        sample=_graph,
        rowwise=False,
        doc="""Edge vectors, v_e = (x_t - x_s) + ((S0 a0 + S1 a1) + S2 a2).

        Parameters
        ----------
        positions : array [N, 3], float32 or float64, Angstrom, as given (not wrapped).
        cell : array [B, 3, 3] of the same dtype, Angstrom, rows are lattice vectors.
        source, target : integers [E], rows of `positions`.
        shift : integers [E, 3].
        system : integers [E], rows of `cell`.
        out : contiguous array [E, 3] of the same dtype that takes the result.

        Returns
        -------
        array [E, 3], Angstrom; computed in float64 and rounded once.

        Raises
        ------
        ValueError for a wrong shape or an index out of range, TypeError for a wrong dtype.
        """,
    )
)

edge_vectors = EDGE_VECTORS.kernel()
