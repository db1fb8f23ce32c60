"""A MACE file trained further on energies and forces of a few frames, saved, and run by the engine.

    python examples/mace_finetune.py --steps 40

The file is one of the tests' (three layers, 4 channels, H and O, first weights drawn at random). The frames are water molecules
with the intramolecular energy of SPC/Fw (Wu, Tepper, Voth, J. Chem. Phys. 124, 024503, 2006): harmonic bonds and angle.
`python examples/mace_finetune.py --model my.safetensors` starts from a file of your own that knows H and O.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import valence as vl
from valence.torch import Mace

MODEL = Path(__file__).parent.parent / "tests" / "data" / "mace" / "options_4_three_layers" / "model.safetensors"
KCAL = 0.0433641  # eV
#: Weight of the squared energy error per atom (eV) against the squared force error (eV/Å).
ENERGY_WEIGHT = 10.0


def water_energy(positions: torch.Tensor) -> torch.Tensor:
    """SPC/Fw within molecules [M, 3 (O, H, H), 3], eV."""
    bonds = positions[:, 1:] - positions[:, :1]
    lengths = torch.linalg.vector_norm(bonds, dim=2)
    angle = torch.acos((bonds[:, 0] * bonds[:, 1]).sum(dim=1) / lengths.prod(dim=1))
    stretch = 0.5 * 1059.162 * (lengths - 1.012).square().sum(dim=1)
    return KCAL * (stretch + 0.5 * 75.90 * (angle - np.deg2rad(113.24)).square())


def frames(count: int = 8, seed: int = 0) -> vl.Systems:
    """Rattled molecules with `energy` [B] and `forces` [N, 3]."""
    equilibrium = np.array([[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]])
    positions = equilibrium + 0.06 * np.random.default_rng(seed).normal(size=(count, 3, 3))
    moved = torch.from_numpy(positions).requires_grad_()
    energy = water_energy(moved)
    (slope,) = torch.autograd.grad(energy.sum(), moved)
    return vl.Systems.from_arrays(
        positions.reshape(-1, 3),
        np.tile([8, 1, 1], count),
        counts=np.full(count, 3),
        forces=-slope.numpy().reshape(-1, 3),
        info={"energy": energy.detach().numpy()},
    )


def train(steps: int, model: str | Path = MODEL, out: str | Path | None = None, rate: float = 0.02) -> list[float]:
    """The losses of `steps` steps of Adam; the weights go to `out`."""
    network, data = Mace(model, dtype=torch.float64), frames()
    forces = torch.from_numpy(data.columns["forces"])
    with torch.no_grad():
        # Energies of single atoms stay those of the file, so the labels are shifted to where it starts.
        start, _ = network.energy_and_forces(data)
    energy = torch.from_numpy(data.info["energy"])
    energy = energy + (start - energy).mean()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        found, slope = network.energy_and_forces(data)
        errors = ENERGY_WEIGHT * ((found - energy) / 3).square().mean(), (slope - forces).square().mean()
        loss = errors[0] + errors[1]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step:3d}: loss {losses[-1]:.5f}, forces {errors[1].item() ** 0.5:.3f} eV/Å")
    if out is not None:
        network.save(out)
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", help="file for the trained weights (default: none is kept)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = chosen.out or Path(folder) / "trained.safetensors"
        losses = train(chosen.steps, chosen.model, target)
        assert losses[-1] < losses[0], "the loss must fall"
        found = vl.load(target).compute(frames(seed=1))
        error = np.abs(found.forces - frames(seed=1).columns["forces"]).mean()
        print(f"engine on new frames: mean error of forces {error:.3f} eV/Å")
