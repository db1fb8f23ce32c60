"""schnetpack (github.com/atomistic-machine-learning/schnetpack): SchNet and PaiNN with forces by autograd, torch on the CPU. The list
of edges is made before the clock starts."""

import numpy as np

PACKAGES = ["schnetpack", "torch"]
MARK = "weight "


def network(kind):
    def prepare(inputs, params):
        import schnetpack.nn as snn
        import schnetpack.properties as names
        import torch
        from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
        from schnetpack.model import NeuralNetworkPotential
        from schnetpack.representation import PaiNN, SchNet

        torch.set_num_threads(params["threads"])
        dtype = torch.from_numpy(inputs["precision"]).dtype
        tensors = {k.removeprefix(MARK): torch.from_numpy(np.array(v)) for k, v in inputs.items() if k.startswith(MARK)}
        channels = tensors["representation.embedding.weight"].shape[1]
        functions = len(tensors["representation.radial_basis.offsets"])
        cutoff = float(tensors["representation.cutoff_fn.cutoff"])
        module = {"schnet": SchNet, "painn": PaiNN}[kind](
            n_atom_basis=channels,
            n_interactions=3,
            radial_basis=snn.GaussianRBF(functions, cutoff),
            cutoff_fn=snn.CosineCutoff(cutoff),
        )
        model = NeuralNetworkPotential(
            representation=module,
            input_modules=[PairwiseDistances()],
            output_modules=[Atomwise(n_in=channels, output_key="energy"), Forces()],
        )
        model = model.to(dtype).eval()
        model.load_state_dict(tensors)
        counts = np.diff(inputs["offsets"])
        system = np.repeat(np.arange(len(counts)), counts)
        shift = np.einsum("ea,eab->eb", inputs["shift"], inputs["cell"][system[inputs["source"]]])
        fixed = {
            names.Z: torch.from_numpy(np.asarray(inputs["numbers"]).astype(np.int64)),
            names.cell: torch.from_numpy(np.array(inputs["cell"])).to(dtype),
            names.idx_i: torch.from_numpy(np.asarray(inputs["source"]).astype(np.int64)),
            names.idx_j: torch.from_numpy(np.asarray(inputs["target"]).astype(np.int64)),
            names.offsets: torch.from_numpy(shift).to(dtype),
            names.idx_m: torch.from_numpy(system),
            names.n_atoms: torch.from_numpy(counts.astype(np.int64)),
        }
        positions = torch.from_numpy(np.array(inputs["positions"])).to(dtype)

        def call():
            return model({**fixed, names.R: positions.clone()})

        def collect(result):
            energy, forces = (result[k].detach().numpy().astype(np.float64) for k in ("energy", "forces"))
            return {"energy": energy / counts, "forces": forces}

        return call, collect

    return prepare


BACKENDS = {"schnetpack": {kind: network(kind) for kind in ("schnet", "painn")}}
