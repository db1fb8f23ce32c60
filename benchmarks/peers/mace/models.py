"""Models for the suite of MACE in the formats of all, and the references of its cells, by mace-torch in float64.

    python models.py data_mace.py FOLDER

Writes FOLDER/<name>.model (mace-torch), <name>.safetensors (ours), <name>-<cell>.json (symmetrix, radial splines of element
pairs) and <name>.npz (energy, forces and stress of each cell). Weights are drawn at random from a fixed seed: energies are arbitrary, times are
not. Run by `python -m valence.bench models` in the environment of the family; needs mace-torch and symmetrix-xl there.
"""

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np

#: Hidden irreps; all else is that of the published medium models without pair repulsion and distance transform.
MODELS = {"medium": "128x0e + 128x1o", "small": "32x0e + 32x1o"}
SEED = 7


def cells(path):
    spec = importlib.util.spec_from_file_location("data_mace", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(hidden, data):
    import torch
    from e3nn import o3
    from mace import modules

    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    torch.manual_seed(SEED)
    model = modules.ScaleShiftMACE(
        r_max=data.R_MAX,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(data.ELEMENTS),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=-1.5 * np.arange(1.0, len(data.ELEMENTS) + 1),
        avg_num_neighbors=60.0,
        atomic_numbers=list(data.ELEMENTS),
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=30.0,  # forces of some 0.3 eV per Angstrom
        atomic_inter_shift=0.0,
        radial_MLP=[64, 64, 64],
    )
    with torch.no_grad():  # so that float32 and float64 run the same weights
        for p in model.parameters():
            p.copy_(p.float().double())
    return model


def references(model, data):
    """Energy, forces and stress (zero for an open cell), as mace-torch's own calculator gives them."""
    from ase import Atoms
    from mace.calculators import MACECalculator

    found = {}
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    for name, cell in data.CELLS.items():
        numbers, positions, frame = cell()
        atoms = Atoms(numbers, positions, cell=frame, pbc=frame.any())
        calculator.calculate(atoms)
        results = calculator.results
        stress = results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3) if frame.any() else np.zeros((3, 3))
        found.update({
            f"{name}/positions": positions,
            f"{name}/num_edges": np.array(calculator._atoms_to_batch(atoms).edge_index.shape[1]),
            f"{name}/energy": np.array(results["energy"]),
            f"{name}/forces": results["forces"],
            f"{name}/stress": stress,
        })  # fmt: skip
    return found


def main(path, folder):
    warnings.filterwarnings("ignore")
    import torch
    from symmetrix.cli.extract_mace import main as extract
    from valence.model import convert

    torch.set_default_dtype(torch.float64)
    data = cells(path)
    to = Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    for name, hidden in MODELS.items():
        model = build(hidden, data)
        torch.save(model, to / f"{name}.model")
        convert(model, to / f"{name}.safetensors")
        for cell, make in data.CELLS.items():  # splines of the elements in hand alone: those of all fill a gigabyte
            numbers = [str(z) for z in sorted(set(make()[0]))]
            common = ["-m", str(to / f"{name}.model"), "-Z", *numbers, "--radial-format", "pair-splines"]
            extract([*common, "-o", str(to / f"{name}-{cell}.json")])
        np.savez(to / f"{name}.npz", **references(model, data))


if __name__ == "__main__":
    main(*sys.argv[1:])
