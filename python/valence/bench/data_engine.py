"""Molecules and a liquid for the suite of SchNet and PaiNN, with the weights of an untrained network; NumPy alone."""

from __future__ import annotations

import itertools

import numpy as np

#: Configuration of both networks, but `model` and `activation`: sizes of published ones.
CONFIG = {"n_atom_basis": 128, "n_interactions": 3, "radial_basis": "gaussian", "n_rbf": 20, "cutoff": 5.0,
          "cutoff_fn": "cosine", "heads": ["energy"], "aggregation_mode": "sum"}  # fmt: skip
#: What marks a weight among the arrays of a workload.
MARK = "weight "


def config_of(model: str) -> dict:
    return {"model": model, "activation": "shifted_softplus" if model == "schnet" else "silu", **CONFIG}


def weights(rng, dtype, model: str) -> dict[str, np.ndarray]:
    """Tensors under schnetpack's names, of the size that its own initialisation gives."""
    f, k, layers = CONFIG["n_atom_basis"], CONFIG["n_rbf"], CONFIG["n_interactions"]
    made: dict[str, np.ndarray] = {}

    def dense(name, inputs, outputs, bias=True):
        limit = (6.0 / (inputs + outputs)) ** 0.5
        made[f"{name}.weight"] = rng.uniform(-limit, limit, (outputs, inputs))
        if bias:
            made[f"{name}.bias"] = rng.uniform(-0.1, 0.1, outputs)

    root = "representation"
    made[f"{root}.embedding.weight"] = rng.normal(size=(100, f))
    offsets = np.linspace(0.0, CONFIG["cutoff"], k)
    made[f"{root}.radial_basis.offsets"] = offsets
    made[f"{root}.radial_basis.widths"] = np.full(k, offsets[1])
    made[f"{root}.cutoff_fn.cutoff"] = np.array([CONFIG["cutoff"]])
    if model == "painn":
        dense(f"{root}.filter_net", k, 3 * f * layers)
    for l in range(layers):
        name, mixing = f"{root}.interactions.{l}", f"{root}.mixing.{l}"
        if model == "schnet":
            dense(f"{name}.in2f", f, f, bias=False)
            dense(f"{name}.filter_network.0", k, f)
            for part in ("filter_network.1", "f2out.0", "f2out.1"):
                dense(f"{name}.{part}", f, f)
        else:
            dense(f"{name}.interatomic_context_net.0", f, f)
            dense(f"{name}.interatomic_context_net.1", f, 3 * f)
            dense(f"{mixing}.mu_channel_mix", f, 2 * f, bias=False)
            dense(f"{mixing}.intraatomic_context_net.0", 2 * f, f)
            dense(f"{mixing}.intraatomic_context_net.1", f, 3 * f)
    dense("output_modules.0.outnet.0", f, f // 2)
    dense("output_modules.0.outnet.1", f // 2, 1)
    return {name: array.astype(dtype) for name, array in made.items()}


def edges_of(positions, offsets, cell, periodic, cutoff):
    """Sources, targets and shifts [E, 3] in cells of every pair within the cutoff, by brute force over nearest images: the
    cells are wider than two cutoffs."""
    found = []
    for start, end in itertools.pairwise(offsets):
        x = positions[start:end]
        difference = x[None] - x[:, None]
        shift = -np.round(difference / np.diagonal(cell)) if periodic else np.zeros_like(difference)
        if periodic:
            difference = difference + shift * np.diagonal(cell)
        near = (difference**2).sum(axis=2) < cutoff**2
        np.fill_diagonal(near, False)
        i, j = np.nonzero(near)
        found.append((i + start, j + start, shift[i, j]))
    return tuple(np.concatenate(parts) for parts in zip(*found))


def graph_network(rng, dtype, *, model, systems, atoms, liquid=None):
    """`systems` molecules of `atoms` atoms in a box of 0.08 atoms per cubic Angstrom each, or one periodic `liquid` of 0.1 (what
    a single system is unless told otherwise), on jittered grids; the list of edges; weights."""
    liquid = systems == 1 if liquid is None else liquid
    side = (atoms / (0.1 if liquid else 0.08)) ** (1 / 3)
    m = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:atoms]
    jitter = rng.uniform(-0.25, 0.25, (systems, atoms, 3))
    positions = ((grid + jitter) * (side / m)).reshape(-1, 3)
    offsets = np.arange(systems + 1) * atoms
    cell = np.eye(3) * side
    if liquid and side < 2 * CONFIG["cutoff"]:
        raise ValueError(f"`atoms` must fill a cell of two cutoffs at least, got {atoms}")
    source, target, shift = edges_of(positions, offsets, cell, liquid, CONFIG["cutoff"])
    arrays = {
        "positions": positions,
        "numbers": rng.choice([1, 6, 7, 8], len(positions)),
        "offsets": offsets,
        "cell": np.broadcast_to(cell if liquid else np.zeros((3, 3)), (systems, 3, 3)).copy(),
        "pbc": np.full((systems, 3), liquid),
        "source": source.astype(np.int32),
        "target": target.astype(np.int32),
        "shift": shift.astype(np.int32),
        "precision": np.zeros(0, dtype),
    }
    named = {f"{MARK}{name}": array for name, array in weights(rng, dtype, model).items()}
    return {**arrays, **named}, len(positions)


def weights_of(inputs) -> dict[str, np.ndarray]:
    return {name.removeprefix(MARK): np.array(array) for name, array in inputs.items() if name.startswith(MARK)}


GENERATORS = {"graph_network": graph_network}
