"""Makes the sample frames of python/valence/data, always the same: `python scripts/make_samples.py`. Needs ASE."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, graphene_nanoribbon, molecule, nanotube
from ase.calculators.emt import EMT
from ase.collections import g2, s22
from ase.data import s22 as s22_data
from valence.atoms import Systems, write

DATA = Path(__file__).resolve().parents[1] / "python" / "valence" / "data"
EMT_METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
OTHERS = {
    "Si": {"crystalstructure": "diamond", "a": 5.43},
    "C": {"crystalstructure": "diamond", "a": 3.57},
    "NaCl": {"crystalstructure": "rocksalt", "a": 5.64},
    "MgO": {"crystalstructure": "rocksalt", "a": 4.21},
    "CsCl": {"crystalstructure": "cesiumchloride", "a": 4.12},
    "GaAs": {"crystalstructure": "zincblende", "a": 5.65},
    "Fe": {"crystalstructure": "bcc", "a": 2.87},
    "Na": {"crystalstructure": "bcc", "a": 4.23},
    "Mg": {"crystalstructure": "hcp", "a": 3.21, "c": 5.21},
    "Ti": {"crystalstructure": "hcp", "a": 2.95, "c": 4.68},
}


def molecules() -> list[Atoms]:
    frames = []
    for name in g2.names:
        atoms = molecule(name)
        unpaired = round(abs(atoms.get_initial_magnetic_moments().sum()))
        frames.append(Atoms(atoms.symbols, atoms.positions, info={"name": name, "charge": 0.0}))
        frames[-1].info["multiplicity"] = unpaired + 1
    return frames


def complexes() -> list[Atoms]:
    frames = []
    for name in s22.names:
        atoms = s22[name]
        info = {"name": name, "charge": 0.0, "multiplicity": 1}
        info["interaction_energy"] = float(s22_data.get_interaction_energy_s22(name))
        frames.append(Atoms(atoms.symbols, atoms.positions, info=info))
    return frames


def with_emt(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    atoms.get_potential_energy()
    if atoms.pbc.all():
        atoms.get_stress()
    atoms.calc.results = {k: v for k, v in atoms.calc.results.items() if k in ("energy", "forces", "stress")}
    return atoms


def crystals(rng: np.random.Generator) -> list[Atoms]:
    frames = []

    def add(atoms: Atoms, name: str, rattle: float) -> None:
        atoms.positions += np.round(rattle * rng.normal(size=(len(atoms), 3)), 6)
        atoms.info["name"] = name
        frames.append(with_emt(atoms) if set(atoms.symbols) <= set(EMT_METALS) else atoms)

    for metal in EMT_METALS:
        add(bulk(metal), f"{metal} primitive", 0.0)
        add(bulk(metal, cubic=True), f"{metal} cubic", 0.0)
        for size in (2, 3):
            add(bulk(metal).repeat(size), f"{metal} {size}x{size}x{size}, rattled by 0.05 Å", 0.05)
        strained = bulk(metal, cubic=True).repeat(2)
        strain = np.round(0.03 * rng.normal(size=(3, 3)), 6)
        strained.set_cell(strained.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        add(strained, f"{metal} cubic 2x2x2, strained and rattled by 0.05 Å", 0.05)
    for name, options in OTHERS.items():
        add(bulk(name, **options), f"{name} primitive", 0.0)
        add(bulk(name, **options).repeat((3, 2, 2)), f"{name} 3x2x2, rattled by 0.05 Å", 0.05)
    return frames


def slabs() -> list[Atoms]:
    frames = []
    for metal in ("Cu", "Pt", "Al"):
        slab = fcc111(metal, (2, 2, 3), vacuum=6.0)
        slab.info["name"] = f"{metal} (111) slab"
        frames.append(slab)
        slab = slab.copy()
        add_adsorbate(slab, "O", 1.2, "fcc")
        slab.info["name"] = f"O on {metal} (111)"
        frames.append(slab)
    for slab in frames:
        del slab.arrays["tags"]
        slab.set_pbc((True, True, False))
        slab.info = {"name": slab.info["name"]}
        with_emt(slab)
    ribbon = graphene_nanoribbon(3, 4, type="armchair", saturated=True, vacuum=4.0)
    ribbon.info["name"] = "graphene ribbon"
    tube = nanotube(5, 0, length=2)
    tube.info["name"] = "(5, 0) nanotube"
    for frame in (ribbon, tube):
        for name in set(frame.arrays) - {"numbers", "positions"}:
            del frame.arrays[name]
    return [*frames, ribbon, tube]


def water(rng: np.random.Generator, size: int) -> Atoms:
    """size^3 rigid waters (0.9572 Å, 104.52°) at 3.1 Å, turned so that hydrogens keep apart."""
    bond, angle = 0.9572, np.radians(104.52)
    body = np.array([[0, 0, 0], [bond, 0, 0], [bond * np.cos(angle), bond * np.sin(angle), 0]])
    edge = 3.1 * size
    placed = np.zeros((0, 3))
    for site in np.ndindex(size, size, size):
        origin = 3.1 * np.array(site) + 0.1 * rng.normal(size=3)
        best, best_gap = None, -1.0
        for _ in range(40):
            q, r = np.linalg.qr(rng.normal(size=(3, 3)))
            trial = body @ (q * np.sign(np.diag(r))) + origin
            d = trial[:, None] - placed[None]
            d -= edge * np.round(d / edge)
            gap = np.sqrt((d**2).sum(-1)).min() if len(placed) else 9.0
            if gap > best_gap:
                best, best_gap = trial, gap
            if gap > 1.6:
                break
        placed = np.concatenate([placed, best])
    name = f"{size**3} waters"
    return Atoms("OHH" * size**3, np.round(placed, 5), cell=[edge] * 3, pbc=True, info={"name": name})


def main() -> None:
    rng = np.random.default_rng(20)
    sets = {
        "g2": (molecules(), "ase.collections.g2: all molecules; multiplicity from ASE's magnetic moments"),
        "s22": (complexes(), "ase.collections.s22: all complexes; interaction_energy (eV) from ase.data.s22"),
        "crystals": (
            crystals(rng),
            "ase.build.bulk, primitive cells and supercells; energy, forces, stress of Al Cu Ag Au Ni Pd Pt by "
            "ase.calculators.emt.EMT, none for the rest",
        ),
        "slabs": (
            slabs(),
            "ase.build: fcc111 (pbc T T F) with energy and forces by ase.calculators.emt.EMT; a graphene ribbon and a "
            "nanotube (one periodic direction), without energies",
        ),
        "water": (
            [water(rng, 4), water(rng, 6)],
            "rigid waters on a 3.1 Å lattice with random orientations, periodic; a box for timing and tests, no "
            "equilibrated liquid; no energies",
        ),
    }
    manifest = {}
    for name, (frames, how) in sets.items():
        systems = Systems.from_ase(frames)
        path = DATA / f"{name}.xyz.gz"
        write(path, systems)
        manifest[name] = {"file": path.name, "systems": len(systems), "atoms": len(systems.numbers), "made": how}
    top = {"script": "scripts/make_samples.py", "ase": ase.__version__, "sets": manifest}
    (DATA / "MANIFEST.json").write_text(json.dumps(top, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
