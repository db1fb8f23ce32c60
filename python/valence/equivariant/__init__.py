"""Irreps, Clebsch-Gordan coefficients and tensor products of features that turn with the frame."""

from valence._op import on_device
from valence.equivariant import products
from valence.equivariant.coupling import clebsch_gordan, wigner_3j, wigner_d
from valence.equivariant.descriptor import LAYOUTS, Descriptor, Operand, Product, Segment
from valence.equivariant.descriptors import (
    channelwise_tensor_product,
    elementwise_tensor_product,
    fully_connected_tensor_product,
    gate_product,
    linear,
    norm_squared,
)
from valence.equivariant.instructions import instructed_tensor_product
from valence.equivariant.irreps import Irrep, Irreps, ir_mul_to_mul_ir, mul_ir_to_ir_mul
from valence.equivariant.ops import NUMPY
from valence.equivariant.paths import tp_num_paths, tp_path_info
from valence.equivariant.symmetric import (
    symmetric_contraction,
    symmetric_contraction_from_tables,
    symmetric_contraction_projection,
    u_matrix_tables,
)

__all__ = [
    "LAYOUTS",
    "Descriptor",
    "Irrep",
    "Irreps",
    "Operand",
    "Product",
    "Segment",
    "channelwise_tensor_product",
    "clebsch_gordan",
    "elementwise_tensor_product",
    "fully_connected_tensor_product",
    "fused_message_passing",
    "fused_sh_tp_simple",
    "gate_product",
    "instructed_tensor_product",
    "ir_mul_to_mul_ir",
    "linear",
    "mul_ir_to_ir_mul",
    "norm_squared",
    "symmetric_contraction",
    "symmetric_contraction_from_tables",
    "symmetric_contraction_projection",
    "tensor_product",
    "tensor_product_simple",
    "tp_num_paths",
    "tp_path_info",
    "u_matrix_tables",
    "wigner_3j",
    "wigner_d",
]

fused_message_passing = on_device(products.fused_message_passing, NUMPY)
fused_sh_tp_simple = on_device(products.fused_sh_tp_simple, NUMPY)
tensor_product = on_device(products.tensor_product, NUMPY)
tensor_product_simple = on_device(products.tensor_product_simple, NUMPY)
