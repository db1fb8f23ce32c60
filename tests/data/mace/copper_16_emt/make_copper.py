"""A small MACE network of copper, fitted to effective medium theory, and what mace-torch computes with it.

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python make_copper.py FOLDER [steps]

Frames: cells of 1, 4 and 32 atoms, strained and displaced at random, with energies, forces and stresses of ase.calculators.emt
(K. Jacobsen, P. Stoltze, J. Norskov, Surf. Sci. 366, 394, 1996). Writes FOLDER/copper.model; FOLDER/model.safetensors by the
package's converter; FOLDER/reference.npz: energy, forces and stress of a displaced cell in float64, and lattice constant and
elastic constants by finite strain, of mace-torch and of EMT. Made with mace-torch 0.3.16, e3nn 0.4.4, torch 2.14.1, ase 3.29.0.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

warnings.filterwarnings("ignore")
torch.set_default_dtype(torch.float64)
from e3nn import o3  # noqa: E402
from mace import data, modules  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402
from mace.tools import AtomicNumberTable, torch_geometric  # noqa: E402

R_MAX, TABLE = 5.0, AtomicNumberTable([29])


def frames(seed=0):
    """120 cells of 4 atoms, 60 of 32 and 100 of one atom (strained alone), with their results by EMT."""
    rng, made = np.random.default_rng(seed), []
    for k in range(280):
        atoms = bulk("Cu", a=3.60, cubic=k < 180)
        if 120 <= k < 180:
            atoms = atoms.repeat(2)
        strain = rng.normal(size=(3, 3)) * 0.02 * rng.uniform()
        stretch = np.eye(3) * (1 + rng.uniform(-0.04, 0.04)) + 0.5 * (strain + strain.T)
        atoms.set_cell(atoms.cell @ stretch, scale_atoms=True)
        if k < 180:
            atoms.positions += rng.normal(size=atoms.positions.shape) * rng.uniform(0.0, 0.15)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
        made.append(atoms)
    return made


def batch(chosen):
    keys = data.KeySpecification(
        info_keys={"energy": "REF_energy", "stress": "REF_stress"}, arrays_keys={"forces": "REF_forces"}
    )
    rows = [
        data.AtomicData.from_config(data.config_from_atoms(a, key_specification=keys), z_table=TABLE, cutoff=R_MAX)
        for a in chosen
    ]
    return next(iter(torch_geometric.dataloader.DataLoader(rows, batch_size=len(rows)))).to_dict()


def build(made):
    alone = bulk("Cu", a=30.0, cubic=True)[:1]
    alone.pbc = False
    alone.calc = EMT()
    own = alone.get_potential_energy()
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    torch.manual_seed(3)
    per_atom = np.array([a.info["REF_energy"] / len(a) - own for a in made])
    return modules.ScaleShiftMACE(
        r_max=R_MAX,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=1,
        hidden_irreps=o3.Irreps("16x0e + 16x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.array([own]),
        avg_num_neighbors=40.0,
        atomic_numbers=[29],
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=float(np.sqrt(np.mean([(a.arrays["REF_forces"] ** 2).mean() for a in made]))),
        atomic_inter_shift=float(per_atom.mean()),
        radial_MLP=[32, 32],
    )


def errors(model, b):
    b = {k: v.detach().clone() if torch.is_tensor(v) else v for k, v in b.items()}  # the model writes into it
    out = model(b, training=True, compute_force=True, compute_stress=True)
    counts = (b["ptr"][1:] - b["ptr"][:-1]).to(torch.get_default_dtype())
    return (out["energy"] - b["energy"]) / counts, out["forces"] - b["forces"], out["stress"] - b["stress"]


def train(model, made, steps):
    order = np.random.default_rng(1)
    small, large, test = made[:110], made[120:172], [*made[110:120], *made[172:180]]
    batches = [batch([small[i] for i in part]) for part in np.array_split(order.permutation(len(small)), 10)]
    batches += [batch(made[start : start + 25]) for start in range(180, 280, 25)]
    batches += [batch([large[i] for i in part]) for part in np.array_split(order.permutation(len(large)), 20)]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.05, final_div_factor=1e3)
    check, started = batch(test), time.time()
    for step in range(steps):
        e, f, s = errors(model, batches[order.integers(len(batches))])
        loss = 1e3 * e.pow(2).mean() + 10 * f.pow(2).mean() + 3e4 * s.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        plan.step()
        if step % 100 == 0 or step == steps - 1:
            e, f, s = (float(v.detach().pow(2).mean().sqrt()) for v in errors(model, check))
            print(
                f"{step} {time.time() - started:.0f} s: {1e3 * e:.2f} meV/atom {1e3 * f:.1f} meV/A {1e3 * s:.3f} meV/A^3",
                flush=True,
            )


def constants(calculator):
    """Lattice constant (A) where the stress is nought, and C11, C12, C44 (GPa) by central differences of the stress."""

    def stress(a, strain):
        atoms = bulk("Cu", a=a, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = calculator
        return atoms.get_stress()

    low, high = 3.4, 3.8
    for _ in range(45):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if stress(middle, np.zeros((3, 3)))[:3].sum() < 0 else (low, middle)
    stretch, shear = np.zeros((3, 3)), np.zeros((3, 3))
    stretch[0, 0], shear[1, 2], shear[2, 1] = 1e-3, 5e-4, 5e-4
    one = (stress(low, stretch) - stress(low, -stretch)) / 2e-3
    two = (stress(low, shear) - stress(low, -shear)) / 2e-3
    return np.array([low, one[0] / GPa, 0.5 * (one[1] + one[2]) / GPa, two[3] / GPa])


def main(folder, steps=1200):
    torch.set_num_threads(1)
    to = Path(folder)
    made = frames()
    model = build(made)
    train(model, made, int(steps))
    with torch.no_grad():  # the file holds float32
        for p in model.parameters():
            p.copy_(p.float().double())
    torch.save(model, to / "copper.model")
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    atoms = bulk("Cu", a=3.6, cubic=True).repeat(2)
    atoms.positions += np.random.default_rng(9).normal(size=(32, 3)) * 0.1
    calculator.calculate(atoms)
    results = calculator.results
    np.savez_compressed(
        to / "reference.npz",
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=np.array(atoms.cell),
        pbc=atoms.pbc,
        energy=results["energy"],
        forces=results["forces"],
        stress=results["stress"],
        mace_torch=constants(calculator),
        emt=constants(EMT()),
    )
    with np.load(to / "reference.npz") as f:
        print("mace-torch", f["mace_torch"], "EMT", f["emt"])


if __name__ == "__main__":
    main(*sys.argv[1:])
