"""MACE layers in torch, trained on energies and forces: the loss is differentiated through the forces.

    python examples/mace_layer_torch.py --steps 40

Batatia et al., NeurIPS 2022. Each layer: linear_up, channel-wise tensor product with radial weights, gathered from the
neighbours and summed into the centre, linear_down, symmetric contraction by element, linear, self connection, readout.
`mace_layer_jax.py` is the same model with the same numbers.
"""

from __future__ import annotations

import argparse
import itertools

import mace_frames as frames
import torch
import valence.torch as vt
from torch import nn


class RadialNetwork(nn.Module):
    """A perceptron without bias from radial functions to the weights of the tensor product."""

    def __init__(self, sizes):
        super().__init__()
        self.w = nn.ParameterList([torch.empty(a, b) for a, b in itertools.pairwise(sizes)])

    def forward(self, x):
        for n, w in enumerate(self.w):
            x = (nn.functional.silu(x) * 1.679177 if n else x) @ w / len(w) ** 0.5
        return x


class MaceLayer(nn.Module):
    def __init__(self, irreps_in, irreps_out, num_elements, avg_num_neighbors):
        super().__init__()
        self.avg_num_neighbors = avg_num_neighbors
        self.linear_up = vt.Linear(irreps_in, irreps_in)
        self.product = vt.ChannelWiseTensorProduct(irreps_in, frames.SPHERE, frames.TARGET, shared_weights=False)
        self.radial = RadialNetwork((*frames.HIDDEN, self.product.weight_numel))
        self.linear_down = vt.Linear(self.product.irreps_out, frames.TARGET)
        self.contraction = vt.SymmetricContraction(frames.TARGET, irreps_out, 3, num_elements)
        self.linear = vt.Linear(irreps_out, irreps_out)
        self.self_connection = vt.Linear(irreps_in, irreps_out, weight_classes=num_elements)
        self.readout = vt.Linear(irreps_out, "1x0e")

    def forward(self, x, harmonics, radial, element, source, target):
        """Features of the next layer and node energies, from features of this one."""
        messages = self.product(
            self.linear_up(x),
            harmonics,
            self.radial(radial),
            indices_1=target,
            indices_out=source,
            size_out=len(x),
        )
        messages = self.linear_down(messages / self.avg_num_neighbors)
        x = self.linear(self.contraction(messages, element)) + self.self_connection(x, weight_indices=element)
        return x, self.readout(x)[:, 0]


class Mace(nn.Module):
    def __init__(self, num_elements, avg_num_neighbors):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_elements, frames.CHANNELS))
        self.harmonics = vt.SphericalHarmonics([0, 1, 2])
        pairs = zip(frames.FEATURES, frames.FEATURES[1:])
        self.layers = nn.ModuleList([MaceLayer(a, b, num_elements, avg_num_neighbors) for a, b in pairs])
        self.scale = 0.05  # eV

    def forward(self, positions, data):
        """Energies of the frames."""
        edges = data["source"], data["target"]
        vector = vt.edge_vectors(positions, data["cell"], *edges, data["shift"], data["system"])
        radial = vt.radial(vt.edge_length(vector), spec=frames.RADIAL.spec)
        harmonics = self.harmonics(vector)
        x, node_energy = self.embedding[data["element"].long()], torch.zeros(len(positions), dtype=positions.dtype)
        for layer in self.layers:
            x, energy = layer(x, harmonics, radial, data["element"], *edges)
            node_energy = node_energy + self.scale * energy
        return torch.zeros(len(data["count"]), dtype=positions.dtype).index_add(0, data["frame"].long(), node_energy)


def energy_and_forces(model, data, create_graph=False):
    positions = data["positions"].clone().requires_grad_()
    energy = model(positions, data)
    (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)
    return energy, -slope


def loss_of(model, data):
    energy, forces = energy_and_forces(model, data, create_graph=True)
    energy_error = (energy - data["energy"]) / data["count"]
    return frames.ENERGY_WEIGHT * energy_error.pow(2).mean() + (forces - data["forces"]).pow(2).mean()


def build():
    arrays = frames.load()
    data = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model = Mace(int(arrays["element"].max()) + 1, frames.avg_num_neighbors(arrays)).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(frames.draw(name, tuple(parameter.shape))))
    return model, data


def train(steps, rate=0.01):
    """The losses of `steps` steps of Adam."""
    model, data = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, data)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step:3d}: loss {loss.item():.5f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    losses = train(parser.parse_args().steps)
    assert losses[-1] < losses[0], "the loss must fall"
