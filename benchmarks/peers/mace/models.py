"""Models for the suite of MACE in the formats of all, and the references of its cells, by mace-torch in float64.

    python models.py data_mace.py FOLDER

Writes FOLDER/<name>.model (mace-torch), <name>.safetensors (ours), <name>-<cell>.json (symmetrix, radial splines of element
pairs) and <name>.npz (energy, forces and stress of each cell). Weights are drawn at random from a fixed seed: energies are arbitrary, times are
not. Run by `python -m valence.bench models` in the environment of the family; needs mace-torch and symmetrix-xl there.
"""

import importlib.util
import re
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


def export(model, to):
    """A file of ours (docs/formats.md): tensors under mace-torch's names, the couplings sparse, the configuration as YAML."""
    import yaml
    from safetensors.numpy import save_file

    tensors = {}
    for key, value in model.state_dict().items():
        if re.search(r"(output_mask|_w3j_|conv_tp\.weight$|_zeroed$|\.bias$)", key) or value.numel() == 0:
            continue
        array = value.detach().numpy()
        if m := re.match(r"(.*)U_matrix_(\d+)$", key):
            u = array if array.ndim == int(m.group(2)) + 2 else array[None]
            index = np.argwhere(np.abs(u) > 1e-10)
            tensors[f"{m.group(1)}U_{m.group(2)}.index"] = np.ascontiguousarray(index.astype(np.int16))
            tensors[f"{m.group(1)}U_{m.group(2)}.value"] = np.ascontiguousarray(u[tuple(index.T)])
        else:
            tensors[key] = np.array(array, order="C")
    blocks, last = model.interactions, model.readouts[-1]
    config = {
        "model": type(model).__name__,
        "r_max": float(model.r_max),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "num_interactions": len(blocks),
        "max_ell": int(model.spherical_harmonics._lmax),
        "edge_sh_irreps": str(blocks[0].edge_attrs_irreps),
        "num_bessel": int(model.radial_embedding.out_dim),
        "radial_type": "bessel",
        "num_polynomial_cutoff": int(model.radial_embedding.cutoff_fn.p),
        "apply_cutoff": True,
        "distance_transform": "None",
        "pair_repulsion": False,
        "interaction_cls": [type(b).__name__ for b in blocks],
        "node_feats_irreps": [str(b.node_feats_irreps) for b in blocks],
        "target_irreps": [str(b.target_irreps) for b in blocks],
        "hidden_irreps": [str(b.hidden_irreps) for b in blocks],
        "radial_MLP": [[int(h) for h in b.conv_tp_weights.hs] for b in blocks],
        "avg_num_neighbors": [float(b.avg_num_neighbors) for b in blocks],
        "correlation": [len(p.symmetric_contractions.contractions[0].weights) + 1 for p in model.products],
        "product_irreps_out": [str(p.linear.irreps_out) for p in model.products],
        "product_use_sc": [bool(p.use_sc) for p in model.products],
        "use_agnostic_product": False,
        "use_last_readout_only": False,
        "readout_cls": [type(r).__name__ for r in model.readouts],
        "MLP_irreps": str(last.hidden_irreps),
        "gate": "silu",
        "heads": ["Default"],
        "dtype": "float64",
        "cg_convention": "e3nn04",
        "irrep_order": "e3nn",
        "normalize2mom_silu": 1.6791767923989418,
    }
    save_file(tensors, to, metadata={"format": "mace-export-1", "config": yaml.safe_dump(config, sort_keys=False)})


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

    torch.set_default_dtype(torch.float64)
    data = cells(path)
    to = Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    for name, hidden in MODELS.items():
        model = build(hidden, data)
        torch.save(model, to / f"{name}.model")
        export(model, to / f"{name}.safetensors")
        for cell, make in data.CELLS.items():  # splines of the elements in hand alone: those of all fill a gigabyte
            numbers = [str(z) for z in sorted(set(make()[0]))]
            common = ["-m", str(to / f"{name}.model"), "-Z", *numbers, "--radial-format", "pair-splines"]
            extract([*common, "-o", str(to / f"{name}-{cell}.json")])
        np.savez(to / f"{name}.npz", **references(model, data))


if __name__ == "__main__":
    main(*sys.argv[1:])
