"""Irreps, Clebsch-Gordan coefficients and tensor products of features that turn with the frame."""

from valence.equivariant.coupling import clebsch_gordan, wigner_3j, wigner_d
from valence.equivariant.irreps import Irrep, Irreps, ir_mul_to_mul_ir, mul_ir_to_ir_mul
from valence.equivariant.paths import tp_num_paths, tp_path_info

__all__ = [
    "Irrep",
    "Irreps",
    "clebsch_gordan",
    "ir_mul_to_mul_ir",
    "mul_ir_to_ir_mul",
    "tp_num_paths",
    "tp_path_info",
    "wigner_3j",
    "wigner_d",
]
