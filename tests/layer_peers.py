"""What the tests of layers in torch and JAX share: irreps, features that turn, the same layers of other packages."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from valence.equivariant import Irreps

#: (irreps1, irreps2, irreps_out): a MACE layer, several channels on both sides, wrong parities and missing degrees, high
#: degrees, multiplicity 0 and terms that no path makes.
PRODUCTS = [
    ("4x0e + 4x1o + 4x2e", "0e + 1o + 2e + 3o", "4x0e + 4x1o + 4x2e"),
    ("3x0e + 2x1o + 5x1e", "1x0e + 2x1o", "2x0e + 3x1o + 1x1e + 2x2e"),
    ("2x0o + 3x1e + 1x2o", "2x1o + 1x3e", "2x1o + 3x2e + 1x4o + 2x0o"),
    ("1x5e + 2x7o", "1x4o", "2x3o + 1x11e + 1x6e"),
    ("0x0e + 2x1o + 1x0e", "1x1o + 0x2e", "2x0e + 0x1o + 3x1e + 2x5o"),
]
LINEAR = [
    ("4x0e + 4x1o + 4x2e", "8x0e + 2x1o + 4x2e"),
    ("3x0e + 2x1o + 5x0e + 1x1e", "2x1o + 3x0e + 4x1e + 1x1o"),
    ("2x0o + 1x9e", "3x9e + 2x0e + 1x0o"),
    ("0x0e + 2x1o", "3x1o + 0x2e"),
]


def e3nn():
    """The package, with the convention of signs that its version has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("e3nn", reason="e3nn is not installed")
        for part in ("o3", "nn"):
            importlib.import_module(f"e3nn.{part}")
    return package, "e3nn04" if package.__version__.startswith(("0.3", "0.4")) else "e3nn05"


def cuequivariance():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cue = pytest.importorskip("cuequivariance", reason="cuequivariance is not installed")
        cuet = pytest.importorskip("cuequivariance_torch", reason="cuequivariance_torch is not installed")
    return cue, cuet


def turn(irreps: Irreps, features: np.ndarray, rotation: np.ndarray, inverted: bool, layout: str) -> np.ndarray:
    """Features [rows, dim] after the rotation, and the inversion if `inverted`."""
    return features @ irreps.rotation_matrix(-rotation if inverted else rotation, layout=layout).T


def e3nn_channelwise(o3, irreps1: str, irreps2: str):
    """The product as MACE makes it with e3nn: a path an output term, sorted."""
    one, two = o3.Irreps(irreps1), o3.Irreps(irreps2)
    terms, paths = [], []
    for a, (mul1, ir1) in enumerate(one):
        for b, (mul2, ir2) in enumerate(two):
            for ir in sorted(ir1 * ir2, key=lambda ir: ir.l):
                terms.append((mul1 * mul2, ir))
                paths.append((a, b, len(terms) - 1, "uvuv", True))
    out, p, _ = o3.Irreps(terms).sort()
    paths = sorted([(a, b, p[c], mode, train) for a, b, c, mode, train in paths], key=lambda path: path[2])
    return o3.TensorProduct(one, two, out, paths, internal_weights=False, shared_weights=False)
