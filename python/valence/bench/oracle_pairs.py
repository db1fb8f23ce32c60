"""What the definitions of both descriptors begin with: pairs of atoms, and the root of an overlap."""

from __future__ import annotations

import numpy as np


def pairs(inputs, reach, sources=None):
    """Source, target and vector [E, 3] of all pairs nearer than `reach`, images too, and each atom with itself at zero; of some
    sources alone where they are given (in one system)."""
    from valence.bench.oracle import neighbor_list

    given = {} if sources is None else {"sources": np.asarray(sources)}
    found = neighbor_list(inputs, {"cutoff": reach, **given})
    own = np.arange(len(inputs["numbers"])) if sources is None else np.asarray(sources)
    source = np.concatenate([own, found["source"]]).astype(np.int64)
    target = np.concatenate([own, found["target"]]).astype(np.int64)
    return source, target, np.concatenate([np.zeros((len(own), 3)), found["vector"]])


def root(overlap):
    """S^(-1/2), the symmetric one."""
    values, vectors = np.linalg.eigh(overlap)
    return (vectors / np.sqrt(values)) @ vectors.T
