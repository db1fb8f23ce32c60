"""`from valence.compat.batteries.autograd import SphericalHarmonics, TensorProduct`: differentiable twice."""

from __future__ import annotations

from valence.compat import batteries

__all__ = ["SphericalHarmonics", "TensorProduct"]


class SphericalHarmonics:
    """`apply(edge_vectors, L_max=3)`."""

    apply = staticmethod(batteries.spherical_harmonics)


class TensorProduct:
    """`apply(input1, input2, weights)`."""

    apply = staticmethod(batteries.tensor_product)
