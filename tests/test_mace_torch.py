"""The MACE network as a torch module: mace-torch's energies, forces, features and training gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import valence as vl

torch = pytest.importorskip("torch", reason="torch is not installed")
from valence.torch.mace import Mace  # noqa: E402

DATA = Path(__file__).parent / "data" / "mace"
MODELS = ["residual_16_L1", "density_16_L1_heads2", "plain_8_L2", "options_4_three_layers"]


def cases() -> list[tuple[str, str]]:
    found = []
    for model in MODELS:
        with np.load(DATA / model / "reference.npz") as reference:
            found += [(model, name) for name in sorted({k.split("/")[0] for k in reference} - {"_batch"})]
    return found


def systems_of(case) -> vl.Systems:
    return vl.Systems.from_arrays(case["positions"], case["numbers"], cell=case["cell"], pbc=case["pbc"])


def read(model: str, name: str) -> dict[str, np.ndarray]:
    reference = np.load(DATA / model / "reference.npz")
    return {k.split("/")[1]: reference[k] for k in reference if k.startswith(f"{name}/")}


@pytest.fixture(scope="module")
def networks():
    return {model: Mace(DATA / model / "model.safetensors") for model in MODELS}


@pytest.mark.parametrize("model, name", cases())
def test_energies_forces_and_features_are_mace_torchs(model, name, networks):
    case, network = read(model, name), networks[model]
    systems = systems_of(case)
    edges = vl.find_edges(systems, network.config.r_max)
    assert len(edges) == case["n_edges"]
    energy, forces = network.energy_and_forces(systems, head=int(case["head"]))
    np.testing.assert_allclose(energy.detach().numpy(), case["energy"][None], rtol=1e-11)
    scale = max(np.abs(case["forces"]).max(), 1e-3)
    np.testing.assert_allclose(forces.detach().numpy(), case["forces"], atol=1e-9 * scale)
    vectors = torch.from_numpy(edges.vector)
    receiver, sender = (torch.from_numpy(i.astype(np.int64)) for i in (edges.source, edges.target))
    head = torch.full((len(case["numbers"]),), int(case["head"]))
    node, interaction, features = network(network.elements(case["numbers"]), vectors, receiver, sender, head)
    np.testing.assert_allclose(node.detach().numpy(), case["node_energy"], rtol=1e-10, atol=1e-10)
    assert float(interaction.sum().detach()) == pytest.approx(float(case["interaction_energy"]), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(features.detach().numpy(), case["node_feats"], rtol=1e-10, atol=1e-10)


def test_training_gradients_are_mace_torchs(networks):
    network = networks["options_4_three_layers"]
    with np.load(DATA / "options_4_three_layers" / "training.npz") as training:
        energy, forces = network.energy_and_forces(systems_of(training), head=int(training["head"]))
        loss = energy.sum() + (forces * torch.from_numpy(training["G"])).sum()
        assert float(loss.detach()) == pytest.approx(float(training["loss"]), rel=1e-11)
        names = [k.removeprefix("grad/") for k in training if k.startswith("grad/")]
        grads = torch.autograd.grad(loss, [network.weight(n) for n in names])
        assert len(names) > 30
        for name, grad in zip(names, grads):
            exact = training[f"grad/{name}"]
            np.testing.assert_allclose(grad.numpy(), exact, atol=1e-8 * np.abs(exact).max(), err_msg=name)


def test_training_on_energies_and_forces_lowers_the_loss():
    network = Mace(DATA / "residual_16_L1" / "model.safetensors")
    frames = [systems_of(read("residual_16_L1", name)) for name in ("cubic8", "triclinic4")]
    goals = [
        torch.from_numpy(0.1 * np.random.default_rng(n).normal(size=f.positions.shape)) for n, f in enumerate(frames)
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for frame, goal in zip(frames, goals):
            energy, forces = network.energy_and_forces(frame)
            loss = loss + ((forces - goal) ** 2).mean() + 1e-4 * (energy / len(goal)).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_an_unknown_element_is_named(networks):
    with pytest.raises(ValueError, match=r"^`numbers` must be of the elements 8, 14, got 6 in row 1"):
        networks["residual_16_L1"].elements(np.array([8, 6]))


def test_it_runs_without_gradients_in_either_precision_and_refuses_atoms_in_one_place():
    network, case = Mace(DATA / "residual_16_L1" / "model.safetensors"), read("residual_16_L1", "cubic8")
    exact = network.energy_and_forces(systems_of(case))[1].detach().numpy()
    with torch.no_grad():
        energy, forces = network.energy_and_forces(systems_of(case))
        assert not energy.requires_grad and not forces.requires_grad
        np.testing.assert_allclose(forces.numpy(), exact, atol=1e-14)
        single = network.float().energy_and_forces(systems_of(case))[1]
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), exact, atol=1e-5 * np.abs(exact).max())
        with pytest.raises(ValueError, match=r"^`positions` must be apart"):
            network.energy_and_forces(vl.Systems.from_arrays(np.zeros((2, 3)), [8, 14]))
        with pytest.raises(ValueError, match=r"^`head` must be one of Default or its number, got 5"):
            network.energy_and_forces(systems_of(case), head=5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_saved_network_is_the_engines_and_its_own(model, dtype, tmp_path):
    network = Mace(DATA / model / "model.safetensors", dtype=getattr(torch, dtype))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    network.save(tmp_path / "saved.safetensors")
    engine, again = (
        vl.load(tmp_path / "saved.safetensors", head=0, radial="exact"),
        Mace(tmp_path / "saved.safetensors"),
    )
    assert engine.dtype == dtype and again.dtype == network.dtype
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    systems = systems_of(read(model, next(n for m, n in cases() if m == model)))
    energy, forces = (x.detach().numpy() for x in network.energy_and_forces(systems))
    found = engine.compute(systems)
    exact = dtype == "float64"
    np.testing.assert_allclose(found.energy, energy, rtol=1e-12 if exact else 1e-5)
    np.testing.assert_allclose(found.forces, forces, atol=(1e-11 if exact else 1e-4) * max(np.abs(forces).max(), 1e-2))
    before = vl.load(DATA / model / "model.safetensors", head=0, radial="exact").compute(systems).energy
    assert abs(found.energy[0] - before[0]) > 1e-6


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = Mace(DATA / "options_4_three_layers" / "model.safetensors")
    with torch.no_grad():
        network.weight("interactions.0.linear_up.weight")[2] = float("nan")
    with pytest.raises(ValueError, match=r"^`interactions.0.linear_up.weight` must be finite to be saved"):
        network.save(tmp_path / "saved.safetensors")
    assert not list(tmp_path.iterdir())
