"""Molecular dynamics with a MACE model and ASE: constant energy, the neighbour list kept between steps.

    python examples/mace_md.py model.safetensors [--atoms crystal.cif] [--steps 400] [--step 2.5] [--kelvin 300]

Without --atoms: 108 atoms of copper, which the model of tests/data/mace/copper_16_emt knows. Needs ase alone beside the package.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import valence as vl
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from ase.md.verlet import VelocityVerlet


def heat(atoms: Atoms, kelvin: float, seed: int = 0) -> None:
    """Momenta of a temperature, the crystal at rest as a whole."""
    width = np.sqrt(atoms.get_masses() * units.kB * kelvin)
    momenta = width[:, None] * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))


def run(atoms: Atoms, steps: int, step: float, every: int = 10) -> np.ndarray:
    """Rows of time (fs), potential and kinetic energy (eV/atom)."""
    md, rows = VelocityVerlet(atoms, timestep=step * units.fs), []

    def note() -> None:
        energies = atoms.get_potential_energy(), atoms.get_kinetic_energy()
        rows.append((md.get_time() / units.fs, *(e / len(atoms) for e in energies)))

    md.attach(note, interval=every)
    md.run(steps)
    return np.array(rows)


def main(arguments: list[str] | None = None) -> np.ndarray:
    p = argparse.ArgumentParser(description="Molecular dynamics with a MACE model.")
    p.add_argument("model")
    p.add_argument("--atoms", help="a file that ASE reads (default: a crystal of copper)")
    p.add_argument("--steps", type=int, default=400)
    p.add_argument("--step", type=float, default=2.5, help="fs")
    p.add_argument("--kelvin", type=float, default=300.0, help="at the start")
    p.add_argument("--dtype", choices=("float32", "float64"))
    a = p.parse_args(arguments)
    atoms = read(a.atoms) if a.atoms else bulk("Cu", a=3.59, cubic=True).repeat(3)
    assert isinstance(atoms, Atoms)
    atoms.calc = vl.load(a.model, dtype=a.dtype).calculator(skin=0.5)
    heat(atoms, a.kelvin)
    started = time.perf_counter()
    rows = run(atoms, a.steps, a.step)
    taken = time.perf_counter() - started
    total = rows[:, 1] + rows[:, 2]
    for t, potential, kinetic in rows:
        print(
            f"{t:8.1f} fs   potential {potential:12.6f}   kinetic {kinetic:9.6f} eV/atom   {kinetic / 1.5 / units.kB:6.1f} K"
        )
    print(
        f"total energy within {1e3 * np.ptp(total):.3f} meV/atom; {a.steps * len(atoms) / taken:,.0f} atom steps a second"
    )
    return rows


if __name__ == "__main__":
    main()
