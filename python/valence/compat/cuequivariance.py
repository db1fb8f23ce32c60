"""The names of cuEquivariance that describe irreps and layouts, so that a script changes its import and nothing else.

    import valence.compat.cuequivariance as cue                  # import cuequivariance as cue
    import valence.compat.cuequivariance_torch as cuet           # import cuequivariance_torch as cuet

Irreps, layouts and the four descriptors that networks are made of; the polynomials themselves are
:class:`valence.equivariant.Descriptor`. Written for cuEquivariance 0.13.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

from valence import equivariant
from valence.equivariant import Descriptor, Irrep

__all__ = ["O3", "SO3", "Irreps", "IrrepsLayout", "O3_e3nn", "clebsch_gordan", "descriptors", "ir_mul", "mul_ir"]


class IrrepsLayout(enum.Enum):
    """`mul_ir`: channels, then components, as in e3nn; `ir_mul`: components, then channels."""

    mul_ir = "mul_ir"
    ir_mul = "ir_mul"


mul_ir = IrrepsLayout.mul_ir
ir_mul = IrrepsLayout.ir_mul


class O3(Irrep):
    """An irrep of rotations and inversion: degree l, parity p of 1 or -1. As a group: ``Irreps(O3, "4x0e")``."""

    def __new__(cls, l: int, p: int) -> Irrep:  # pyright: ignore[reportInconsistentConstructor]
        return Irrep(l, p)


class O3_e3nn(O3):
    """The same, sorted as e3nn sorts."""


class SO3(Irrep):
    """An irrep of rotations: degree l."""

    def __new__(cls, l: int) -> Irrep:  # pyright: ignore[reportInconsistentConstructor]
        return Irrep(l, 0)


_GROUPS = {"O3": O3, "SO3": SO3, "O3_e3nn": O3_e3nn}


class Irreps(equivariant.Irreps):
    """:class:`valence.Irreps` with the group first, by name or as :class:`O3`, :class:`SO3`, :class:`O3_e3nn`.

    >>> Irreps("O3", "4x0e + 1o").dim
    7
    """

    __slots__ = ()

    def __init__(self, irrep_class: Any, irreps: Any = None) -> None:
        if irreps is None:
            irrep_class, irreps = "O3", irrep_class
        super().__init__(irreps, irrep_class if isinstance(irrep_class, str) else irrep_class.__name__)

    @property
    def irrep_class(self) -> type:
        return _GROUPS[self.group]

    @property
    def muls(self) -> list[int]:
        return [mul for mul, _ in self]

    def set_mul(self, mul: int) -> Irreps:
        """The same irreps, each of this multiplicity."""
        return Irreps(self.group, [(mul, ir) for _, ir in self])


def as_irreps(irreps: Any) -> Any:
    """Irreps of this module, of Valence or of cuEquivariance itself; text is of O3."""
    if isinstance(irreps, equivariant.Irreps) or not hasattr(irreps, "irrep_class"):
        return irreps
    return equivariant.Irreps(str(irreps), irreps.irrep_class.__name__)


def as_filter(irreps: Iterable[Any] | None) -> list[Irrep] | None:
    """A sequence of irreps of any of the three packages."""
    return None if irreps is None else [Irrep(ir.l, getattr(ir, "p", 0)) for ir in irreps]


def clebsch_gordan(rep1: Any, rep2: Any, rep3: Any) -> Any:
    """Coefficients [1, 2l1+1, 2l2+1, 2l3+1], or [0, …] where the product of the two does not hold the third."""
    one, two, three = (Irrep(r.l, getattr(r, "p", 0)) for r in (rep1, rep2, rep3))
    if three not in set(one * two):
        return np.zeros((0, one.dim, two.dim, three.dim))
    return equivariant.clebsch_gordan(one.l, two.l, three.l)[None]


def _linear(irreps_in: Any, irreps_out: Any) -> Descriptor:
    return equivariant.linear(as_irreps(irreps_in), as_irreps(irreps_out), layout="ir_mul")


def _channelwise(irreps1: Any, irreps2: Any, irreps3_filter: Any = None) -> Descriptor:
    keep = as_filter(irreps3_filter)
    one = as_irreps(irreps1)
    kept = None if keep is None else equivariant.Irreps([(1, ir) for ir in keep], getattr(one, "group", "O3"))
    return equivariant.channelwise_tensor_product(one, as_irreps(irreps2), kept, layout="ir_mul")


def _fully_connected(irreps1: Any, irreps2: Any, irreps3: Any) -> Descriptor:
    irreps = [as_irreps(i) for i in (irreps1, irreps2, irreps3)]
    return equivariant.fully_connected_tensor_product(*irreps, layout="ir_mul")


def _elementwise(irreps1: Any, irreps2: Any) -> Descriptor:
    return equivariant.elementwise_tensor_product(as_irreps(irreps1), as_irreps(irreps2), layout="ir_mul")


#: The descriptors of networks, all in the layout ir_mul as there. They run on NumPy arrays; in torch and JAX by `polynomial`.
descriptors = SimpleNamespace(
    linear=_linear,
    channelwise_tensor_product=_channelwise,
    fully_connected_tensor_product=_fully_connected,
    elementwise_tensor_product=_elementwise,
)
