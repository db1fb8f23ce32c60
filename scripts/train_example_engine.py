"""Trains the example weights of the small engine: coordination numbers of atoms in molecules.

The target is computed here: CN_i = sum_j 1 / (1 + exp(-16 ((R_i + R_j) 4/3 / d_ij - 1))) with Cordero's covalent radii, the
counting function of Grimme et al., J. Chem. Phys. 132, 154104 (2010), eq. 15. Molecules: those of the G2 set of ase
with H, C, N, O and F alone, each as it is and rattled; a fifth of them is held out.

    python scripts/train_example_engine.py

writes python/valence/model/data/coordination.npz with its loss curve beside it (coordination.csv, README.md).
"""

from __future__ import annotations

import csv
from pathlib import Path

import ase.build
import ase.collections
import numpy as np
import torch
import valence as vl
from valence.basis import COVALENT_RADII
from valence.train import EngineNetwork

ELEMENTS = (1, 6, 7, 8, 9)
CUTOFF, FUNCTIONS, SEED, STEPS = 3.0, 16, 7, 3000
OUT = Path(__file__).parent.parent / "python" / "valence" / "model" / "data"


def molecules(rng: np.random.Generator) -> tuple[vl.Systems, vl.Systems]:
    """Training and held-out molecules."""
    names = [n for n in ase.collections.g2.names if set(ase.build.molecule(n).numbers) <= set(ELEMENTS)]
    names = [names[i] for i in rng.permutation(len(names))]
    cut = len(names) // 5

    def frames(some: list[str], copies: int) -> vl.Systems:
        made = []
        for name in some:
            atoms = ase.build.molecule(name)
            for copy in range(copies):
                moved = atoms.positions + (0.08 * rng.normal(size=atoms.positions.shape) if copy else 0.0)
                made.append(vl.Systems.from_arrays(moved, atoms.numbers))
        return vl.concat(made)

    return frames(names[cut:], 8), frames(names[:cut], 4)


def coordination(systems: vl.Systems) -> np.ndarray:
    edges = vl.find_edges(systems, CUTOFF)
    radii = np.asarray(COVALENT_RADII)[np.asarray(systems.numbers)]
    reach = (radii[edges.source] + radii[edges.target]) * 4 / 3
    each = 1 / (1 + np.exp(-16 * (reach / edges.distance - 1)))
    return np.bincount(edges.source, each, len(radii))


def main() -> None:
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train, test = molecules(rng)
    network = EngineNetwork(ELEMENTS, [12, 24, 1], cutoff=CUTOFF, k=FUNCTIONS)
    data = [(s, network.edges(s), torch.from_numpy(coordination(s)).float()) for s in (train, test)]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    curve = []

    def loss(index: int) -> torch.Tensor:
        systems, edges, target = data[index]
        return ((network.run(edges, systems)[:, 0] - target) ** 2).mean()

    for step in range(STEPS + 1):
        optimizer.zero_grad()
        value = loss(0)
        value.backward()
        if step % 100 == 0:
            with torch.no_grad():
                curve.append((step, float(value) ** 0.5, float(loss(1)) ** 0.5))
            print(f"step {step:5d}  training {curve[-1][1]:.4f}  held out {curve[-1][2]:.4f}")
        optimizer.step()
        schedule.step()
    OUT.mkdir(exist_ok=True)
    network.save(OUT / "coordination.npz")
    with open(OUT / "coordination.csv", "w", newline="") as file:
        csv.writer(file).writerows([("step", "rmse_training", "rmse_held_out"), *curve])
    with torch.no_grad():
        worst = float((network.run(data[1][1], test)[:, 0] - data[1][2]).abs().max())
    text = f"""# Example weights of the small engine

`coordination.npz`: one number of each atom, its coordination number (Grimme et al., J. Chem. Phys. 132, 154104, 2010, eq. 15, with
Cordero's covalent radii), for cutoff={CUTOFF} and k={FUNCTIONS}, elements H, C, N, O, F. Made by
`scripts/train_example_engine.py` on {len(train)} molecules (the G2 set of ase, as they are and rattled by 0.08 Angstrom).

On {len(test)} held-out molecules: root mean square error {curve[-1][2]:.4f}, largest error {worst:.3f}. Loss curve:
`coordination.csv`.
"""
    (OUT / "README.md").write_text(text)


if __name__ == "__main__":
    main()
