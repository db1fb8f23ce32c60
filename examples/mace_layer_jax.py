"""MACE layers in JAX, trained on energies and forces: the loss is differentiated through the forces.

    python examples/mace_layer_jax.py --steps 40

Batatia et al., NeurIPS 2022. The same model with the same numbers as `mace_layer_torch.py`, which names its parts.
"""

from __future__ import annotations

import argparse
import itertools

import jax
import jax.numpy as jnp
import mace_frames as frames

jax.config.update("jax_enable_x64", True)

import valence.jax as vj  # noqa: E402

KEY = jax.random.key(0)  # layers draw weights; `build` replaces them by those of mace_frames.draw


def radial_network(weights, x):
    """A perceptron without bias from radial functions to the weights of the tensor product."""
    for n, w in enumerate(weights):
        x = (jax.nn.silu(x) * 1.679177 if n else x) @ w / len(w) ** 0.5
    return x


def make_layer(irreps_in, irreps_out, num_elements):
    product = vj.ChannelWiseTensorProduct(irreps_in, frames.SPHERE, frames.TARGET, shared_weights=False)
    sizes = (*frames.HIDDEN, product.weight_numel)
    return {
        "linear_up": vj.Linear(irreps_in, irreps_in, key=KEY),
        "product": product,
        "radial": {"w": [jnp.zeros(pair) for pair in itertools.pairwise(sizes)]},
        "linear_down": vj.Linear(product.irreps_out, frames.TARGET, key=KEY),
        "contraction": vj.SymmetricContraction(frames.TARGET, irreps_out, 3, num_elements, key=KEY),
        "linear": vj.Linear(irreps_out, irreps_out, key=KEY),
        "self_connection": vj.Linear(irreps_in, irreps_out, weight_classes=num_elements, key=KEY),
        "readout": vj.Linear(irreps_out, "1x0e", key=KEY),
    }


def apply_layer(layer, x, harmonics, radial, data, avg_num_neighbors):
    """Features of the next layer and node energies, from features of this one."""
    messages = layer["product"](
        layer["linear_up"](x),
        harmonics,
        radial_network(layer["radial"]["w"], radial),
        indices_1=data["target"],
        indices_out=data["source"],
        size_out=len(x),
    )
    messages = layer["linear_down"](messages / avg_num_neighbors)
    x = layer["linear"](layer["contraction"](messages, data["element"])) + layer["self_connection"](
        x, weight_indices=data["element"]
    )
    return x, layer["readout"](x)[:, 0]


def energies(model, positions, data, scale=0.05):
    """Energies of the frames; `scale` in eV."""
    vector = vj.edge_vectors(positions, data["cell"], data["source"], data["target"], data["shift"], data["system"])
    radial = vj.radial(vj.edge_length(vector), spec=frames.RADIAL.spec)
    harmonics = vj.SphericalHarmonics([0, 1, 2])(vector)
    avg_num_neighbors = len(data["source"]) / len(positions)
    x, node_energy = model["embedding"][data["element"]], 0.0
    for layer in model["layers"]:
        x, energy = apply_layer(layer, x, harmonics, radial, data, avg_num_neighbors)
        node_energy = node_energy + scale * energy
    return jnp.zeros(len(data["count"])).at[data["frame"]].add(node_energy)


@jax.jit
def energy_and_forces(model, data):
    def total(positions):
        energy = energies(model, positions, data)
        return energy.sum(), energy

    slope, energy = jax.grad(total, has_aux=True)(data["positions"])
    return energy, -slope


def loss_of(model, data):
    energy, forces = energy_and_forces(model, data)
    energy_error = (energy - data["energy"]) / data["count"]
    return frames.ENERGY_WEIGHT * (energy_error**2).mean() + ((forces - data["forces"]) ** 2).mean()


def name_of(path):
    """layers.0.linear_up.weight, as torch names it."""
    return ".".join(str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", None)))) for p in path)


def build():
    arrays = frames.load()
    num_elements = int(arrays["element"].max()) + 1
    pairs = zip(frames.FEATURES, frames.FEATURES[1:])
    model = {
        "embedding": jnp.zeros((num_elements, frames.CHANNELS)),
        "layers": [make_layer(a, b, num_elements) for a, b in pairs],
    }
    model = jax.tree_util.tree_map_with_path(lambda p, leaf: jnp.asarray(frames.draw(name_of(p), leaf.shape)), model)
    return model, {name: jnp.asarray(array) for name, array in arrays.items()}


@jax.jit
def adam_step(model, mean, square, step, data, rate=0.01, beta1=0.9, beta2=0.999, small=1e-8):
    """Kingma and Ba, ICLR 2015, algorithm 1."""
    loss, grads = jax.value_and_grad(loss_of)(model, data)
    mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, grads)
    square = jax.tree.map(lambda s, g: beta2 * s + (1 - beta2) * g**2, square, grads)
    one, two = 1 - beta1**step, 1 - beta2**step
    model = jax.tree.map(lambda p, m, s: p - rate * (m / one) / (jnp.sqrt(s / two) + small), model, mean, square)
    return model, mean, square, loss


def train(steps):
    """The losses of `steps` steps of Adam."""
    model, data = build()
    mean = square = jax.tree.map(jnp.zeros_like, model)
    losses = []
    for step in range(steps):
        model, mean, square, loss = adam_step(model, mean, square, step + 1.0, data)
        losses.append(float(loss))
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step:3d}: loss {losses[-1]:.5f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    losses = train(parser.parse_args().steps)
    assert losses[-1] < losses[0], "the loss must fall"
