"""Irreps, Clebsch-Gordan coefficients and tensor products of features that turn with the frame."""

from valence.equivariant.coupling import clebsch_gordan, wigner_3j, wigner_d
from valence.equivariant.irreps import Irrep, Irreps, ir_mul_to_mul_ir, mul_ir_to_ir_mul
from valence.equivariant.paths import tp_num_paths, tp_path_info
from valence.equivariant.products import (
    fused_message_passing,
    fused_sh_tp_simple,
    tensor_product,
    tensor_product_simple,
)

__all__ = [
    "Irrep",
    "Irreps",
    "clebsch_gordan",
    "fused_message_passing",
    "fused_sh_tp_simple",
    "ir_mul_to_mul_ir",
    "mul_ir_to_ir_mul",
    "tensor_product",
    "tensor_product_simple",
    "tp_num_paths",
    "tp_path_info",
    "wigner_3j",
    "wigner_d",
]
