"""A MACE file's weights in the form in which the network's products take them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from valence.equivariant.descriptor import Descriptor
from valence.equivariant.descriptors import channelwise_tensor_product, linear
from valence.equivariant.irreps import Irreps
from valence.equivariant.symmetric import symmetric_contraction_from_tables, u_matrix_tables
from valence.model.file import ModelFile
from valence.model.mace.config import Interaction, MaceConfig

__all__ = ["Layer", "Parts"]


@dataclass(frozen=True)
class Layer:
    """One layer: its products as descriptors, and the names of the tensors with their weights.

    skip : the element-selected linear map; of the message where the block is not residual, else of the block's input. Of a
        non-linear block: a plain linear map.
    beside, after : of a non-linear block: from the features on edges to what the gate takes, and the map of its result.
    """

    kind: Interaction
    up: Descriptor
    messages: Descriptor
    down: Descriptor
    skip: Descriptor
    contraction: Descriptor
    out: Descriptor
    norm: float
    beside: Descriptor | None = None
    after: Descriptor | None = None


def gate_input(target: Irreps) -> Irreps:
    """What the gate of a non-linear block takes to give `target`: scalars, a scalar more for each higher irrep, these."""
    (mul, scalar), *higher = target
    gates = sum(m for m, _ in higher)
    return Irreps([(mul + gates, scalar), *higher], target.group)


class Parts:
    """All products of a network, and its tensors checked against them.

    Parameters
    ----------
    file : a file of the family "mace".
    layout : of all features, "mul_ir" (the file's) or "ir_mul".
    """

    def __init__(self, file: ModelFile, layout: str = "mul_ir") -> None:
        self.config = config = MaceConfig.parse(file.config)
        self.layout, self._file = layout, file
        self.elements = len(config.atomic_numbers)
        self.layers = tuple(self._layer(t) for t in range(config.num_layers))
        self.weights = {name: file.tensor(name, shape, np.float64) for name, shape in self.shapes().items()}

    def _layer(self, t: int) -> Layer:
        c = self.config
        form = {"layout": self.layout}
        node, target, hidden = c.node_irreps[t], c.target_irreps[t], c.hidden_irreps[t]
        kind, up = c.interactions[t], c.up_irreps[t]
        messages = channelwise_tensor_product(
            up, c.edge_irreps, target, layout=self.layout, irrep_order="e3nn", convention=c.convention
        )
        assert messages.irreps_out is not None
        sizes = c.radial_mlp[t]
        if sizes[-1] != messages.weight_numel:
            raise ValueError(f"`radial_MLP[{t}]` must end with {messages.weight_numel}, got {sizes[-1]}")
        skip = linear(node, hidden, **form) if kind.residual else linear(target, target, **form)
        gated = gate_input(target) if kind.nonlinear else target
        return Layer(
            kind=kind,
            up=linear(node, up, **form),
            messages=messages,
            down=linear(messages.irreps_out, gated, **form),
            skip=skip,
            contraction=self._contraction(t, target, hidden),
            out=linear(hidden, hidden, **form),
            norm=c.avg_num_neighbors[t],
            beside=linear(up, gated, **form) if kind.nonlinear else None,
            after=linear(target, target, **form) if kind.nonlinear else None,
        )

    def _contraction(self, t: int, target: Irreps, hidden: Irreps) -> Descriptor:
        """From the file's own couplings: a network does not depend on anybody's sign convention then."""
        given = []
        for o, (_, ir) in enumerate(hidden):
            matrices = []
            for nu in range(1, self.config.correlation[t] + 1):
                name = f"products.{t}.symmetric_contractions.contractions.{o}"
                tensors = self._file.tensors
                if f"{name}.U_{nu}.index" not in tensors:
                    raise ValueError(f"`{name}.U_{nu}.index` must be a tensor of the file, got a file without it")
                index = tensors[f"{name}.U_{nu}.index"]
                value = self._file.tensor(f"{name}.U_{nu}.value", (len(index),), np.float64)
                rows = tensors.get(self._weight_name(t, o, nu))
                if index.ndim != 2 or index.shape[1] != nu + 2 or rows is None or rows.ndim != 3:
                    raise ValueError(f"`{name}.U_{nu}.index` must be of shape [n, {nu + 2}], got {list(index.shape)}")
                limits = np.array([ir.dim, *[sum(i.dim for _, i in target)] * nu, rows.shape[1]])
                if index.size and ((index < 0).any() or (index >= limits).any()):
                    raise ValueError(
                        f"`{name}.U_{nu}.index` must be below {limits.tolist()}, got {index.max(0).tolist()}"
                    )
                matrices.append((index, value, rows.shape[1]))
            given.append(matrices)
        tables, rows = u_matrix_tables(hidden, given)
        return symmetric_contraction_from_tables(target, hidden, tables, num_weights=rows, layout=self.layout)

    def _weight_name(self, t: int, o: int, nu: int) -> str:
        name, degree = f"products.{t}.symmetric_contractions.contractions.{o}", self.config.correlation[t]
        return f"{name}.weights_max" if nu == degree else f"{name}.weights.{degree - 1 - nu}"

    def contraction_names(self, t: int) -> list[str]:
        """The tensors [Z, K, C] whose concatenation over K are the weights of the symmetric contraction."""
        degrees = range(self.config.correlation[t], 0, -1)
        return [self._weight_name(t, o, nu) for o in range(len(self.config.hidden_irreps[t])) for nu in degrees]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every floating-point tensor that the network needs, with its shape."""
        c, z, channels, heads = self.config, self.elements, self.config.channels, len(self.config.heads)
        shapes: dict[str, tuple[int, ...]] = {"node_embedding.linear.weight": (z * channels,)}
        energies = self._file.tensors.get("atomic_energies_fn.atomic_energies")
        one_row = energies is not None and energies.ndim == 1
        shapes["atomic_energies_fn.atomic_energies"] = (z,) if one_row else (heads, z)
        if c.radial_type == "bessel":
            shapes["radial_embedding.bessel_fn.bessel_weights"] = (c.num_basis,)
        if c.radial_type == "gaussian":
            shapes["radial_embedding.bessel_fn.gaussian_weights"] = (c.num_basis,)
        if c.distance_transform != "None":
            names = ("a", "q", "p") if c.distance_transform == "Agnesi" else ("alpha",)
            shapes.update({f"radial_embedding.distance_transform.{n}": () for n in names})
            shapes["radial_embedding.distance_transform.covalent_radii"] = (119,)
        if c.pair_repulsion:
            shapes.update({f"pair_repulsion_fn.{n}": () for n in ("a_exp", "a_prefactor")})
            shapes["pair_repulsion_fn.c"] = (4,)
            shapes["pair_repulsion_fn.covalent_radii"] = (119,)
        if c.model == "ScaleShiftMACE":
            for n in ("scale", "shift"):
                tensor = self._file.tensors.get(f"scale_shift.{n}")
                shapes[f"scale_shift.{n}"] = () if tensor is None or tensor.size == 1 else (heads,)
        for t, layer in enumerate(self.layers):
            shapes.update(self._nonlinear_shapes(t) if layer.kind.nonlinear else self._block_shapes(t))
            shapes[f"products.{t}.linear.weight"] = (layer.out.weight_numel,)
            rows = 1 if c.agnostic_product else z
            for n in self.contraction_names(t):
                shapes[n] = (rows, self._file.tensors[n].shape[1], channels)
        for i, kind in enumerate(c.readouts):
            if kind == "LinearReadoutBlock":
                shapes[f"readouts.{i}.linear.weight"] = (channels * heads,)
            else:
                width = c.readout_width
                shapes[f"readouts.{i}.linear_1.weight"] = (channels * width,)
                shapes[f"readouts.{i}.linear_2.weight"] = (width * heads,)
        return shapes

    def _block_shapes(self, t: int) -> dict[str, tuple[int, ...]]:
        layer, name = self.layers[t], f"interactions.{t}"
        shapes: dict[str, tuple[int, ...]] = {}
        for k, pair in enumerate(itertools.pairwise(self.config.radial_mlp[t])):
            shapes[f"{name}.conv_tp_weights.layer{k}.weight"] = pair
        if layer.kind.density:
            shapes[f"{name}.density_fn.layer0.weight"] = (self.config.num_basis, 1)
        shapes[f"{name}.linear_up.weight"] = (layer.up.weight_numel,)
        shapes[f"{name}.linear.weight"] = (layer.down.weight_numel,)
        shapes[f"{name}.skip_tp.weight"] = (self.elements * layer.skip.weight_numel,)
        return shapes

    def _nonlinear_shapes(self, t: int) -> dict[str, tuple[int, ...]]:
        layer, name, sizes = self.layers[t], f"interactions.{t}", self.config.radial_mlp[t]
        assert layer.beside is not None and layer.after is not None
        shapes: dict[str, tuple[int, ...]] = {f"{name}.alpha": (), f"{name}.beta": ()}
        for net, widths in (("conv_tp_weights", sizes), ("density_fn", (sizes[0], 64, 1))):
            for k, (a, b) in enumerate(itertools.pairwise(widths)):
                linear, norm = f"{name}.{net}.net.{3 * k}", f"{name}.{net}.net.{3 * k + 1}"
                shapes.update({f"{linear}.weight": (b, a), f"{linear}.bias": (b,)})
                if k < len(widths) - 2:
                    shapes.update({f"{norm}.weight": (b,), f"{norm}.bias": (b,)})
        maps = {"linear_up": layer.up, "linear_1": layer.down, "linear_2": layer.after, "linear_res": layer.beside}
        for key, descriptor in {**maps, "skip_tp": layer.skip}.items():
            shapes[f"{name}.{key}.weight"] = (descriptor.weight_numel,)
        for key in ("source_embedding", "target_embedding"):
            shapes[f"{name}.{key}.weight"] = (self.elements * self.config.channels,)
        return shapes

    def skip_blocks(self, t: int) -> list[tuple[slice, tuple[int, int, int]]]:
        """For each irrep of the element-selected map: its part of the file's weights and their shape (C, Z, C')."""
        blocks, place = [], 0
        for segment in self.layers[t].skip.operands[0].segments:
            a, b = segment.shape
            size = a * self.elements * b
            blocks.append((slice(place, place + size), (a, self.elements, b)))
            place += size
        return blocks

    @property
    def repulsion_power(self) -> int:
        """p of the envelope of the pair repulsion."""
        return int(self._file.tensor("pair_repulsion_fn.p", (), np.int64))

    @property
    def skip_scale(self) -> float:
        """The element axis' part of the normalisation: the map's own is 1 / sqrt(C)."""
        return 1.0 / math.sqrt(self.elements)
