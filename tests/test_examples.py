"""The examples run, their loss falls, and the two floors of the MACE example are one model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name, package):
        pytest.importorskip(package, reason=f"{package} is not installed")
        return importlib.import_module(name)

    yield load
    for name in [n for n in sys.modules if n.startswith("mace_")]:
        del sys.modules[name]


def test_the_mace_layers_of_torch_and_jax_are_one_model_and_learn(example):
    first = example("mace_layer_torch", "torch")
    second = example("mace_layer_jax", "jax")
    found = [v.detach().numpy() for v in first.energy_and_forces(*first.build())]
    for a, b in zip(found, second.energy_and_forces(*second.build())):
        np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(a).max())
    losses = [module.train(6) for module in (first, second)]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_the_forces_of_the_mace_layer_are_the_difference_quotient_of_its_energy(example):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = example("mace_layer_torch", "torch")
    model, data = module.build()
    _, forces = module.energy_and_forces(model, data)
    step = torch.zeros_like(data["positions"])
    step[3, 1] = 1e-5
    ends = [model(data["positions"] + sign * step, data).sum() for sign in (1, -1)]
    slope = float((ends[0] - ends[1]).detach()) / 2e-5
    assert abs(slope + float(forces[3, 1])) < 1e-7


def test_the_energy_of_the_mace_layer_does_not_turn_with_the_frame(example):
    from laws import random_rotation

    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = example("mace_layer_torch", "torch")
    model, data = module.build()
    turn = torch.from_numpy(-random_rotation(np.random.default_rng(1)))
    turned = {**data, "positions": data["positions"] @ turn.T, "cell": data["cell"] @ turn.T}
    (energy, forces), (same, other) = (module.energy_and_forces(model, d) for d in (data, turned))
    np.testing.assert_allclose(same.detach(), energy.detach(), atol=1e-11)
    np.testing.assert_allclose(other.detach(), (forces @ turn.T).detach(), atol=1e-10)


def test_the_fine_tuned_mace_learns_and_the_engine_runs_its_file(example, tmp_path):
    import valence as vl

    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = example("mace_finetune", "torch")
    losses = module.train(32, out=tmp_path / "trained.safetensors")
    assert losses[-1] < 0.5 * losses[0]
    engine, fresh = vl.load(tmp_path / "trained.safetensors", radial="exact"), module.frames(3, seed=1)
    with torch.no_grad():
        energy, forces = module.Mace(tmp_path / "trained.safetensors").energy_and_forces(fresh)
    found = engine.compute(fresh)
    np.testing.assert_allclose(found.energy, energy.numpy(), rtol=1e-12)
    np.testing.assert_allclose(found.forces, forces.numpy(), atol=1e-10)


def test_the_labels_of_the_fine_tuning_are_the_slope_of_their_energy(example):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = example("mace_finetune", "torch")
    data = module.frames(2)
    x = torch.from_numpy(data.positions).reshape(2, 3, 3).clone()
    x[1, 2, 0] += 1e-5
    up = module.water_energy(x).sum()
    x[1, 2, 0] -= 2e-5
    assert float(up - module.water_energy(x).sum()) / 2e-5 == pytest.approx(-data.columns["forces"][5, 0], abs=1e-7)


def test_the_dynamics_of_a_mace_model_conserve_energy_to_second_order_in_the_step(example):
    pytest.importorskip("ase", reason="ase is not installed")
    module = example("mace_md", "valence")
    model = str(Path(__file__).parent / "data" / "mace" / "copper_16_emt" / "model.safetensors")
    spread = []
    for step in (5.0, 2.5):
        common = ["--dtype", "float64", "--step", str(step), "--steps", str(round(200 / step)), "--kelvin", "600"]
        rows = module.main([model, *common])
        assert rows[:, 2].min() < 0.7 * rows[0, 2]  # half of the heat goes into the lattice
        spread.append(np.ptp(rows[:, 1] + rows[:, 2]))
    assert spread[0] < 1e-3
    assert 3.0 < spread[0] / spread[1] < 5.0
