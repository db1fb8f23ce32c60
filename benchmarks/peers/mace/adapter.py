"""mace-torch (github.com/ACEsuit/mace): whole networks by its ASE calculator, eager and compiled, and without its list and its
batch; SymmetricContraction with all couplings, eager, with autograd; and cuEquivariance's module of the same weights on its
CPU path.

Of the contraction the canonical weights [Z, K, C] are cut into the modules' tensors before the timed call and joined after it.
"""

import os

import numpy as np

PACKAGES = ["mace-torch", "e3nn", "cuequivariance-torch", "torch"]


def irreps(names, channels):
    return "+".join(f"{channels}x{name}" for name in names)


def flat(x, names):
    """[N, C, M] to the blocks of each irrep, channels outermost in each."""
    ends = np.cumsum([2 * int(name[:-1]) + 1 for name in names])
    return np.concatenate([b.reshape(len(x), -1) for b in np.split(x, ends[:-1], axis=2)], axis=1)


def channels_first(x, names, channels):
    """The inverse of `flat`."""
    dims = [2 * int(name[:-1]) + 1 for name in names]
    blocks = np.split(x, np.cumsum([channels * d for d in dims])[:-1], axis=1)
    return np.concatenate([b.reshape(len(x), channels, d) for b, d in zip(blocks, dims)], axis=2)


def collect(params, channels, weights):
    def arrays(result):
        out, grad_x, *grads = result
        return {
            "values": channels_first(out.detach().numpy(), params["irreps_out"], channels),
            "grad_x": grad_x,
            "grad_weights": weights([g.numpy() for g in grads]),
        }

    return arrays


def mace(inputs, params):
    import mace.tools.cg  # noqa: F401  (lets e3nn 0.4.4 read its constants under torch 2.6 and later)
    import torch
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    torch.set_num_threads(params["threads"])
    x = torch.from_numpy(inputs["x"]).requires_grad_()
    z, channels = len(inputs["weights"]), x.shape[1]
    torch.set_default_dtype(x.dtype)
    names_in, names_out = params["irreps_in"], params["irreps_out"]
    module = SymmetricContraction(
        o3.Irreps(irreps(names_in, channels)),
        o3.Irreps(irreps(names_out, channels)),
        params["degree"],
        num_elements=z,
    )
    tensors = [w for c in module.contractions for w in (c.weights_max, *c.weights)]
    ends = np.cumsum([w.shape[1] for w in tensors])
    with torch.no_grad():
        for w, part in zip(tensors, np.split(inputs["weights"], ends[:-1], axis=1)):
            w.copy_(torch.from_numpy(part))
    y = torch.nn.functional.one_hot(torch.from_numpy(inputs["z"]).long(), z).to(x.dtype)
    grad = torch.from_numpy(flat(inputs["grad"], names_out))

    def call():
        out = module(x, y)
        return out, *torch.autograd.grad(out, [x, *tensors], grad)

    arrays = collect(params, channels, lambda grads: np.concatenate(grads, axis=1))
    return call, lambda result: arrays((result[0], result[1].numpy(), *result[2:]))


def cuequivariance(inputs, params):
    import cuequivariance as cue
    import cuequivariance_torch as cuet
    import torch
    from mace.tools.cg import O3_e3nn

    torch.set_num_threads(params["threads"])
    names_in, names_out = params["irreps_in"], params["irreps_out"]
    z, channels = len(inputs["weights"]), inputs["x"].shape[1]
    x = torch.from_numpy(flat(inputs["x"], names_in)).requires_grad_()
    module = cuet.SymmetricContraction(
        cue.Irreps(O3_e3nn, irreps(names_in, channels)),
        cue.Irreps(O3_e3nn, irreps(names_out, channels)),
        contraction_degree=params["degree"],
        num_elements=z,
        layout=cue.mul_ir,
        original_mace=True,
        dtype=x.dtype,
        math_dtype=x.dtype,
        method="naive",
    )
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(inputs["weights"]))
    index, grad = torch.from_numpy(inputs["z"]), torch.from_numpy(flat(inputs["grad"], names_out))

    def call():
        out = module(x, index)
        return out, *torch.autograd.grad(out, [x, module.weight], grad)

    arrays = collect(params, channels, lambda grads: grads[0])
    return call, lambda result: arrays((result[0], channels_first(result[1].numpy(), names_in, channels), *result[2:]))


def network(compile_mode=None, model_only=False):
    """From ASE's atoms: list, batch, network, gradient, as its users call it. With `model_only` the batch is made before the
    clock starts."""

    def prepare(inputs, params):
        os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # e3nn 0.4.4 reads its constants by pickle
        import torch
        from ase import Atoms
        from mace.calculators import MACECalculator

        torch.set_num_threads(params["threads"])
        atoms = Atoms(inputs["numbers"], inputs["positions"], cell=inputs["cell"][0], pbc=inputs["pbc"][0])
        calculator = MACECalculator(
            model_paths=f"{inputs['model']}.model",
            device="cpu",
            default_dtype=str(inputs["precision"].dtype),
            compile_mode=compile_mode,
        )
        periodic, n = bool(inputs["pbc"].all()), len(atoms)

        def call():
            calculator.calculate(atoms)
            return calculator.results

        batch = calculator._atoms_to_batch(atoms)

        def alone():
            out = calculator.models[0](calculator._clone_batch(batch).to_dict(), compute_stress=periodic)
            return {k: out[k].detach() for k in ("energy", "forces", *["stress"] * periodic)}

        def collect(result):
            found = {
                k: np.asarray(v, dtype=np.float64) for k, v in result.items() if k in ("energy", "forces", "stress")
            }
            made = {"energy": found["energy"].reshape(1) / n, "forces": found["forces"]}
            if periodic:
                stress = found["stress"].reshape(-1)
                stress = stress if stress.size == 9 else stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
                made["virial"] = stress.reshape(3, 3) * (atoms.get_volume() / n)
            return made

        return (alone if model_only else call), collect

    return prepare


FIRST = """
import json, os, sys
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
import numpy as np
from ase import Atoms
from mace.calculators import MACECalculator
with np.load(sys.argv[1]) as f:
    atoms = Atoms(f["numbers"], f["positions"], cell=f["cell"][0], pbc=f["pbc"][0])
    model, dtype = str(f["model"]) + ".model", str(f["precision"].dtype)
atoms.calc = MACECalculator(model_paths=model, device="cpu", default_dtype=dtype)
print(json.dumps({"energy": [atoms.get_potential_energy() / len(atoms)]}))
"""

BACKENDS = {
    "mace-torch": {"symmetric_contraction_vjp": mace, "mace": network(), "mace_start": FIRST},
    "mace-torch-compiled": {"mace": network("default")},
    "mace-torch-model": {"mace": network(model_only=True)},
    "mace-cuequivariance": {"symmetric_contraction_vjp": cuequivariance},
}
