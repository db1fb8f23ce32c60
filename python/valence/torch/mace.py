"""A MACE network as a torch module: the weights of a file as parameters, the package's ops between them.

The composition that defines what the network computes; forces come from autograd, twice differentiable, so it trains on
forces. Formulas: Batatia et al., MACE, NeurIPS 2022; the file's names are those of mace-torch's state_dict.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import valence.torch as ops
from valence.model._writing import write_model
from valence.model.checks import check_apart, check_elements
from valence.model.file import ModelFile
from valence.model.mace.config import GATES
from valence.model.mace.parts import Layer, Parts
from valence.torch._polynomial import polynomial

__all__ = ["Mace"]

#: Weights that training does not move.
_FIXED = ("atomic_energies_fn.", "scale_shift.", "pair_repulsion_fn.", "radial_embedding.")
_ZBL = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))


class Mace(nn.Module):
    """A MACE network with the weights of a file.

    Parameters
    ----------
    path : a file of the family "mace".
    dtype : of weights and features; None: the file's.

    The state_dict has the file's names. Parameters are all weights but energies of single atoms, scale, shift, pair repulsion and
    radial functions, which are buffers. `forward` takes the numbers and edges of a batch; :meth:`energy_and_forces` takes
    systems.

    >>> network = Mace("mace.safetensors")  # doctest: +SKIP
    >>> network.save("trained.safetensors")  # doctest: +SKIP
    >>> energy, forces = network.energy_and_forces(vl.samples("water"))  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._file = ModelFile(path)
        if self._file.family != "mace":
            raise ValueError(f"`path` must be a file of a MACE network, got one of the family {self._file.family}")
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"`dtype` must be torch.float32, torch.float64 or None, got {dtype!r}")
        self.parts = parts = Parts(self._file)
        self.config = parts.config
        dtype = dtype or {"float32": torch.float32, "float64": torch.float64}[parts.config.dtype]
        for name, array in parts.weights.items():
            tensor = torch.from_numpy(np.array(array)).to(dtype)
            _place(self, name, tensor if name.startswith(_FIXED) else nn.Parameter(tensor))
        rows = np.full(119, -1)
        rows[list(parts.config.atomic_numbers)] = np.arange(parts.elements)
        self._rows = rows

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, as `.float()` and `.double()` leave them."""
        return self.weight("node_embedding.linear.weight").dtype

    def weight(self, name: str) -> Tensor:
        """A weight by the file's name."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the present weights as a file that `valence.load` and this class read; the format of the file it came from.

        Parameters
        ----------
        path : the safetensors file. It appears under its name when it is whole.

        Raises
        ------
        OSError; ValueError, naming a weight that is not finite; TypeError, for weights of another precision than float32 or
        float64.
        """
        tensors = dict(self._file.tensors)
        for name in self.parts.weights:
            tensor = self.weight(name).detach().cpu()
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"`{name}` must be finite to be saved, got a weight that is not")
            tensors[name] = tensor.numpy().reshape(np.shape(tensors[name]))
        dtype = str(self.dtype).removeprefix("torch.")
        write_model(path, self._file.format, {**self._file.config, "dtype": dtype}, tensors)

    def elements(self, numbers: np.ndarray) -> Tensor:
        """The row of each atom's element on the axes of the weights."""
        check_elements(numbers, self.config.atomic_numbers)
        return torch.from_numpy(self._rows[numbers])

    def forward(
        self, elements: Tensor, vectors: Tensor, receiver: Tensor, sender: Tensor, head: Tensor | None = None
    ) -> Any:
        """Node energies and features.

        Parameters
        ----------
        elements : int64 [N], rows of the element axis (see :meth:`elements`).
        vectors : [E, 3], from receiver to sender, Angstrom. receiver, sender : int64 [E].
        head : int64 [N], the head of each atom; None: the first.

        Returns
        -------
        (node energies [N] in eV, interaction part of them [N], features [N, D] of all layers)
        """
        c = self.config
        n = len(elements)
        head = torch.zeros(n, dtype=torch.int64) if head is None else head
        r = torch.linalg.vector_norm(vectors, dim=1)
        harmonics = ops.spherical_harmonics(-vectors, lmax=c.max_ell)
        pair = (elements[receiver], elements[sender])
        radial, envelope = self._radial(r, *pair)
        total = torch.zeros(n, dtype=self.dtype)
        if c.pair_repulsion:
            total = total + self._repulsion(r, *pair, receiver, n)
        features = self.weight("node_embedding.linear.weight").view(self.parts.elements, -1)[elements] / math.sqrt(
            self.parts.elements
        )
        collected = []
        for t, layer in enumerate(self.parts.layers):
            run = self._nonlinear_layer if layer.kind.nonlinear else self._layer
            features = run(t, layer, features, harmonics, radial, envelope, elements, receiver, sender)
            collected.append(features)
            if not c.last_readout_only:
                total = total + self._readout(t, features, head)
        if c.last_readout_only:
            total = total + self._readout(0, features, head)
        if c.model == "ScaleShiftMACE":
            scale, shift = (self.weight(f"scale_shift.{k}") for k in ("scale", "shift"))
            total = total * (scale[head] if scale.ndim else scale) + (shift[head] if shift.ndim else shift)
        energies = self.weight("atomic_energies_fn.atomic_energies")
        own = energies[elements] if energies.ndim == 1 else energies[head, elements]
        return total + own, total, torch.cat(collected, dim=1)

    def energy_and_forces(self, systems: Any, head: int | str = 0) -> tuple[Tensor, Tensor]:
        """Energies [B] and forces [N, 3] of systems; both differentiable in the weights."""
        import valence as vl

        systems = vl.as_systems(systems)
        edges = vl.find_edges(systems, self.config.r_max)
        check_apart(edges)
        training, n = torch.is_grad_enabled(), len(systems.numbers)
        with torch.enable_grad():
            vectors = torch.from_numpy(np.ascontiguousarray(edges.vector)).to(self.dtype).requires_grad_()
            receiver, sender = (torch.from_numpy(np.asarray(i).astype(np.int64)) for i in (edges.source, edges.target))
            heads = torch.full((n,), self._head(head))
            node, _, _ = self(self.elements(np.asarray(systems.numbers)), vectors, receiver, sender, heads)
            (grad,) = torch.autograd.grad(node.sum(), vectors, create_graph=training)
        node = node if training else node.detach()
        of = torch.from_numpy(np.asarray(systems.system).astype(np.int64))
        energy = torch.zeros(len(systems), dtype=self.dtype).index_add(0, of, node)
        forces = torch.zeros(n, 3, dtype=self.dtype)
        return energy, forces.index_add(0, receiver, grad).index_add(0, sender, -grad)

    def _head(self, head: int | str) -> int:
        names = self.config.heads
        if isinstance(head, str) and head in names:
            return names.index(head)
        if isinstance(head, (int, np.integer)) and not isinstance(head, bool) and 0 <= head < len(names):
            return int(head)
        raise ValueError(f"`head` must be one of {', '.join(names)} or its number, got {head!r}")

    def _layer(
        self,
        t: int,
        layer: Layer,
        features: Tensor,
        harmonics: Tensor,
        radial: Tensor,
        envelope: Tensor,
        elements: Tensor,
        receiver: Tensor,
        sender: Tensor,
    ) -> Tensor:
        name, n = f"interactions.{t}", len(features)

        def linear(which: str, descriptor: Any, x: Tensor) -> Tensor:
            return polynomial(descriptor, self.weight(f"{which}.weight")[None], x)

        up = linear(f"{name}.linear_up", layer.up, features)
        weights = self._network(t, radial)
        if not self.config.apply_cutoff:
            weights = weights * envelope[:, None]
        summed = polynomial(layer.messages, weights, up, harmonics, indices={"x": sender, "out": receiver}, size_out=n)
        message = linear(f"{name}.linear", layer.down, summed)
        if layer.kind.density:
            density = (radial @ self.weight(f"{name}.density_fn.layer0.weight") / math.sqrt(radial.shape[1])) ** 2
            density = torch.tanh(density)[:, 0] * (1.0 if self.config.apply_cutoff else envelope)
            message = message / (1.0 + torch.zeros(n, dtype=self.dtype).index_add(0, receiver, density))[:, None]
        else:
            message = message / layer.norm
        skip = polynomial(
            layer.skip,
            self._skip_weights(t),
            features if layer.kind.residual else message,
            indices={"weight": elements},
        )
        coupled = self._contracted(t, layer, message if layer.kind.residual else skip, elements)
        out = linear(f"products.{t}.linear", layer.out, coupled)
        return out + skip if layer.kind.residual else out

    def _nonlinear_layer(
        self,
        t: int,
        layer: Layer,
        features: Tensor,
        harmonics: Tensor,
        radial: Tensor,
        envelope: Tensor,
        elements: Tensor,
        receiver: Tensor,
        sender: Tensor,
    ) -> Tensor:
        """The residual block whose radial network sees both elements and whose messages pass through a gate."""
        name, n = f"interactions.{t}", len(features)

        def linear(which: str, descriptor: Any, x: Tensor) -> Tensor:
            return polynomial(descriptor, self.weight(f"{which}.weight")[None], x)

        def embedded(which: str, rows: Tensor) -> Tensor:
            weights = self.weight(f"{name}.{which}_embedding.weight").view(self.parts.elements, -1)
            return weights[elements[rows]] / math.sqrt(self.parts.elements)

        up = linear(f"{name}.linear_up", layer.up, features)
        given = torch.cat([radial, embedded("source", sender), embedded("target", receiver)], dim=1)
        weights = self._normed_network(f"{name}.conv_tp_weights", given)
        density = torch.tanh(self._normed_network(f"{name}.density_fn", given) ** 2)
        if not self.config.apply_cutoff:
            weights, density = weights * envelope[:, None], density * envelope[:, None]
        summed = polynomial(layer.messages, weights, up, harmonics, indices={"x": sender, "out": receiver}, size_out=n)
        total = torch.zeros(n, 1, dtype=self.dtype).index_add(0, receiver, density)
        message = linear(f"{name}.linear_1", layer.down, summed)
        message = message / (total * self.weight(f"{name}.beta") + self.weight(f"{name}.alpha"))
        message = self._gated(t, message + linear(f"{name}.linear_res", layer.beside, up))
        message = linear(f"{name}.linear_2", layer.after, message)
        out = linear(f"products.{t}.linear", layer.out, self._contracted(t, layer, message, elements))
        return out + linear(f"{name}.skip_tp", layer.skip, features)

    def _gated(self, t: int, x: Tensor) -> Tensor:
        """silu of the scalars; each channel of a higher degree times the sigmoid of a scalar of its own."""
        (mul, _), *higher = self.config.target_irreps[t]
        silu = nn.functional.silu(x[:, :mul]) * GATES["silu"]
        place = mul + sum(m for m, _ in higher)
        gates = torch.sigmoid(x[:, mul:place]) * GATES["sigmoid"]
        parts, gate = [silu], 0
        for m, ir in higher:
            block = x[:, place : place + m * ir.dim].reshape(-1, m, ir.dim)
            parts.append((block * gates[:, gate : gate + m, None]).flatten(1))
            place, gate = place + m * ir.dim, gate + m
        return torch.cat(parts, dim=1)

    def _normed_network(self, name: str, x: Tensor) -> Tensor:
        """A perceptron with biases, layer norms and silu; nothing after the last map."""
        layers = self.get_submodule(f"{name}.net")
        count = (len(list(layers.children())) + 1) // 2
        for k in range(count):
            w, b = (self.weight(f"{name}.net.{3 * k}.{p}") for p in ("weight", "bias"))
            x = nn.functional.linear(x, w, b)
            if k < count - 1:
                scale, shift = (self.weight(f"{name}.net.{3 * k + 1}.{p}") for p in ("weight", "bias"))
                x = nn.functional.silu(nn.functional.layer_norm(x, scale.shape, scale, shift))
        return x

    def _skip_weights(self, t: int) -> Tensor:
        flat = self.weight(f"interactions.{t}.skip_tp.weight")
        parts = [
            flat[place].view(shape).transpose(0, 1).reshape(shape[1], -1) for place, shape in self.parts.skip_blocks(t)
        ]
        return torch.cat(parts, dim=1) * self.parts.skip_scale

    def _contracted(self, t: int, layer: Layer, x: Tensor, elements: Tensor) -> Tensor:
        weights = torch.cat([self.weight(n) for n in self.parts.contraction_names(t)], dim=1).flatten(1)
        index = torch.zeros_like(elements) if self.config.agnostic_product else elements
        return polynomial(layer.contraction, weights, x, indices={"weight": index})

    def _network(self, t: int, x: Tensor) -> Tensor:
        """The radial network of a layer, e3nn's FullyConnectedNet: silu between, nothing after the last."""
        count = len(self.config.radial_mlp[t]) - 1
        for k in range(count):
            w = self.weight(f"interactions.{t}.conv_tp_weights.layer{k}.weight")
            x = x @ w / math.sqrt(w.shape[0])
            if k < count - 1:
                x = nn.functional.silu(x) * GATES["silu"]
        return x

    def _radial(self, r: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Basis functions of each edge [E, K], and the envelope [E]."""
        c = self.config
        envelope = _envelope(r, c.r_max, c.power)
        t = self._transformed(r, a, b)[:, None]
        if c.radial_type == "bessel":
            basis = (
                math.sqrt(2.0 / c.r_max) * torch.sin(self.weight("radial_embedding.bessel_fn.bessel_weights") * t) / t
            )
        elif c.radial_type == "gaussian":
            width = c.r_max / (c.num_basis - 1)
            basis = torch.exp(-0.5 * ((t - self.weight("radial_embedding.bessel_fn.gaussian_weights")) / width) ** 2)
        else:
            previous, current = torch.ones_like(t), t
            columns = []
            for _ in range(c.num_basis):
                columns.append(current)
                previous, current = current, 2 * t * current - previous
            basis = torch.cat(columns, dim=1)
        return (basis * envelope[:, None] if c.apply_cutoff else basis), envelope

    def _transformed(self, r: Tensor, a: Tensor, b: Tensor) -> Tensor:
        c, name = self.config, "radial_embedding.distance_transform"
        if c.distance_transform == "None":
            return r
        radii = self.weight(f"{name}.covalent_radii")[list(c.atomic_numbers)]
        reach = radii[a] + radii[b]
        if c.distance_transform == "Agnesi":
            s = 2.0 * r / reach
            factor, q, p = (self.weight(f"{name}.{k}") for k in ("a", "q", "p"))
            return 1.0 / (1.0 + factor * s**q / (1.0 + s ** (q - p)))
        low, high = 0.75 * reach, 4.0 / 3.0 * reach
        steep = self.weight(f"{name}.alpha") / (high - low)
        return low + (r - low) * 0.5 * (1.0 + torch.tanh(steep * (r - 0.5 * (low + high))))

    def _repulsion(self, r: Tensor, a: Tensor, b: Tensor, receiver: Tensor, n: int) -> Tensor:
        """ZBL (Ziegler, Biersack, Littmark 1985), half of each directed edge to its receiver."""
        numbers = torch.tensor(self.config.atomic_numbers, dtype=self.dtype)
        za, zb = numbers[a], numbers[b]
        power = self.weight("pair_repulsion_fn.a_exp")
        length = self.weight("pair_repulsion_fn.a_prefactor") * 0.529 / (za**power + zb**power)
        screened = sum(c * torch.exp(-x * r / length) for (_, x), c in zip(_ZBL, self.weight("pair_repulsion_fn.c")))
        radii = self.weight("pair_repulsion_fn.covalent_radii")[list(self.config.atomic_numbers)]
        values = 0.5 * 14.3996 * za * zb / r * screened * _envelope(r, radii[a] + radii[b], self.parts.repulsion_power)
        return torch.zeros(n, dtype=self.dtype).index_add(0, receiver, values)

    def _readout(self, i: int, features: Tensor, head: Tensor) -> Tensor:
        c, scalars = self.config, features[:, : self.config.channels]
        heads = len(c.heads)
        if c.readouts[i] == "LinearReadoutBlock":
            w = self.weight(f"readouts.{i}.linear.weight").view(c.channels, heads)
            return (scalars @ w / math.sqrt(c.channels)).gather(1, head[:, None])[:, 0]
        width = c.readout_width
        x = scalars @ self.weight(f"readouts.{i}.linear_1.weight").view(c.channels, width) / math.sqrt(c.channels)
        x = x if c.gate == "None" else getattr(torch, c.gate, nn.functional.silu)(x) * GATES[c.gate]
        if heads > 1:
            owner = torch.arange(width) // (width // heads)
            x = x * (owner == head[:, None])
        w = self.weight(f"readouts.{i}.linear_2.weight").view(width, heads)
        return (x @ w / math.sqrt(width)).gather(1, head[:, None])[:, 0]


def _envelope(r: Tensor, cutoff: Any, p: int) -> Tensor:
    """1 - (p+1)(p+2)/2 u^p + p (p+2) u^(p+1) - p (p+1)/2 u^(p+2) for u = r / cutoff < 1, else 0."""
    u = r / cutoff
    value = 1.0 - 0.5 * (p + 1) * (p + 2) * u**p + p * (p + 2) * u ** (p + 1) - 0.5 * p * (p + 1) * u ** (p + 2)
    return torch.where(u < 1.0, value, torch.zeros_like(value))


def _place(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Under its dotted name, with a module for each part of it."""
    *path, last = name.split(".")
    for part in path:
        inner = getattr(module, part, None)
        if inner is None:
            inner = nn.Module()
            module.add_module(part, inner)
        module = inner
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(last, tensor)
    else:
        module.register_buffer(last, tensor)
