"""The symmetric contraction of MACE as a torch module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from valence.equivariant import _layers
from valence.equivariant.descriptor import Descriptor
from valence.equivariant.irreps import Irreps
from valence.equivariant.symmetric import symmetric_contraction, symmetric_contraction_from_tables, u_matrix_tables
from valence.torch._polynomial import polynomial
from valence.torch.layers import _drop_constants

__all__ = ["SymmetricContraction"]


class SymmetricContraction(nn.Module):
    """Equivariant polynomials of each channel's own features, with weights for each element (Batatia et al., NeurIPS 2022).

    Parameters
    ----------
    irreps_in, irreps_out : all of one multiplicity C.
    contraction_degree : the largest number of factors, 1 to 4.
    num_elements : sets of weights.
    original_mace : True: all nested couplings in MACE's order; `weight` then has the rows of MACE's `weights_max`,
        `weights.0`, … of each contraction. False: independent couplings only, in a basis of this library's own.
    layout, layout_in, layout_out, dtype, device, group : as in :class:`valence.torch.ChannelWiseTensorProduct`.
    irrep_order, convention : MACE's own files need "e3nn" and "e3nn04"; None: as the group does.

    State dicts of mace-torch's `SymmetricContraction` load, and are refused if their U matrices are not this layer's
    couplings; those of reduced couplings load into :meth:`from_tables`.

    >>> SymmetricContraction("4x0e + 4x1o", "4x0e", 2, 3, group="O3_e3nn").weight.shape
    torch.Size([3, 3, 4])
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        contraction_degree: int,
        num_elements: int,
        *,
        layout: Any = None,
        layout_in: Any = None,
        layout_out: Any = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        original_mace: bool = True,
        group: str | None = None,
        irrep_order: str | None = None,
        convention: str = "e3nn05",
    ) -> None:
        super().__init__()
        made = symmetric_contraction(
            irreps_in,
            irreps_out,
            contraction_degree,
            original_mace=original_mace,
            layout=(
                _layers.layout_of("layout_in", layout_in, layout),
                _layers.layout_of("layout_out", layout_out, layout),
            ),
            group=group,
            irrep_order=irrep_order,
            convention=convention,
        )
        self.original_mace = original_mace
        self._make(made, num_elements, dtype, device)

    @classmethod
    def from_tables(
        cls,
        irreps_in: Any,
        irreps_out: Any,
        tables: Sequence[Any],
        num_elements: int,
        *,
        num_weights: int | None = None,
        layout: Any = None,
        layout_in: Any = None,
        layout_out: Any = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        group: str | None = None,
    ) -> SymmetricContraction:
        """The layer with explicit couplings: `tables` and `num_weights` of
        :func:`valence.equivariant.symmetric_contraction_from_tables`, such as a file carries with its weights."""
        layouts = _layers.layout_of("layout_in", layout_in, layout), _layers.layout_of("layout_out", layout_out, layout)
        made = symmetric_contraction_from_tables(
            irreps_in, irreps_out, tables, num_weights=num_weights, layout=layouts, group=group
        )
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer.original_mace = True
        layer._make(made, num_elements, dtype, device)
        return layer

    def _make(self, made: Descriptor, num_elements: int, dtype: torch.dtype | None, device: Any) -> None:
        self.descriptor = _layers.named(made, "weight", "x", "out")
        _, x, out = made.operands
        assert x.irreps is not None and out.irreps is not None
        self.irreps_in: Irreps = x.irreps
        self.irreps_out: Irreps = out.irreps
        self.num_elements = num_elements
        self.weight_shape = _layers.contraction_weights(made, num_elements)
        self.weight = nn.Parameter(torch.randn(num_elements, *self.weight_shape, dtype=dtype, device=device))

    def forward(self, x: Tensor, indices: Tensor, use_fallback: bool = False) -> Tensor:
        """Polynomials [rows, irreps_out.dim] of x [rows, irreps_in.dim]; indices [rows]: the element of each row."""
        weight = self.weight.reshape(self.num_elements, -1)
        return polynomial(self.descriptor, weight, x, indices={"weight": indices}, use_fallback=use_fallback)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        keys = [k[len(prefix) :] for k in state_dict if k.startswith(prefix)]
        if (
            any(k.startswith("f.") for k in keys)
            and f"{prefix}projection" not in state_dict
            and self.original_mace is False
        ):
            raise ValueError("`state_dict` must have couplings with its weights, got weights of another reduced basis")
        if any(k.startswith("contractions.") for k in keys):
            found = {k: state_dict.pop(prefix + k) for k in keys if k.startswith("contractions.")}
            state_dict[f"{prefix}weight"] = self._of_mace(found)
        state_dict.pop(f"{prefix}projection", None)
        _drop_constants(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _of_mace(self, found: dict[str, Tensor]) -> Tensor:
        """MACE's weights as one tensor [Z, K, C], after a check that its U matrices are the couplings of this layer."""
        blocks, matrices = [], []
        for n in range(len(self.irreps_out)):
            part = {k.split(".", 2)[2]: v for k, v in found.items() if k.startswith(f"contractions.{n}.")}
            u = {int(m[1]): v for k, v in part.items() if (m := re.fullmatch(r"U_matrix_(\d+)", k))}
            if sorted(u) != list(range(1, len(u) + 1)) or not u:
                raise ValueError(
                    f"`state_dict` must have U matrices of all degrees, got {sorted(u)} of contraction {n}"
                )
            names = ["weights_max", *[f"weights.{i}" for i in range(len(u) - 1)]]
            kept = []
            for nu, name in zip(range(len(u), 0, -1), names):
                matrix = u[nu].detach().cpu().double().numpy()
                if np.any(matrix):  # an output that no coupling makes has a dummy weight
                    blocks.append(part[name])
                else:
                    matrix = matrix[..., :0]
                kept.append(matrix)
            matrices.append(kept[::-1])
        tables, rows = u_matrix_tables(self.irreps_out, matrices)
        layouts = self.descriptor.operands[1].layout, self.descriptor.operands[2].layout
        theirs = symmetric_contraction_from_tables(
            self.irreps_in, self.irreps_out, tables, num_weights=rows, layout=layouts
        )
        if not _same(self.descriptor, theirs):
            raise ValueError(
                "`state_dict` must have the couplings of this layer, got other U matrices: make the layer with "
                'irrep_order="e3nn" and convention="e3nn04", or by SymmetricContraction.from_tables'
            )
        return torch.cat(blocks, dim=1)

    def extra_repr(self) -> str:
        return (
            f"{self.irreps_in} -> {self.irreps_out}, num_elements={self.num_elements}, weight_shape={self.weight_shape}"
        )


def _same(ours: Descriptor, theirs: Descriptor) -> bool:
    """Whether two descriptors give the same numbers, to the precision of single-precision couplings."""
    if [o.size for o in ours.operands] != [o.size for o in theirs.operands]:
        return False
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=(4, o.size)) for o in ours.inputs]
    a, b = ours(*operands), theirs(*operands)
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-5 * np.abs(a).max(initial=0.0))
