"""schnetpack's models as files that need neither torch nor schnetpack."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from valence.model._writing import write_model

__all__ = ["convert", "import_schnetpack"]

FORMAT = "valence-schnetpack-1"
_BASES = {"GaussianRBF": "gaussian", "GaussianRBFCentered": "gaussian_centered", "BesselRBF": "bessel"}
_CUTOFFS = {"CosineCutoff": "cosine", "MollifierCutoff": "mollifier"}
_HEADS = {"Atomwise": "energy", "DipoleMoment": "dipole", "Polarizability": "polarizability"}
#: Modules that compute nothing which the engine does not compute by itself.
_INPUTS = ("PairwiseDistances", "Strain")
_DERIVED = ("Forces",)
#: Largest difference between the two programs on the test molecule, relative, in float64.
_AGREE = 1e-9


def convert(source: Any, target: str | os.PathLike[str], *, units: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Writes a SchNet or PaiNN model of schnetpack 2 as a safetensors file that :func:`valence.load` reads.

    Parameters
    ----------
    source : path of a model (`best_model`), or the model itself.
    target : the file to write.
    units : {"energy": ..., "length": ...} of the model, which a checkpoint does not say; None: eV and Angstrom.

    Returns
    -------
    The configuration that was written.

    Raises
    ------
    ImportError, if schnetpack is not installed; OSError; ValueError, naming a module or an option that is not known, or if the
    engine's results differ from schnetpack's on a molecule (then nothing is left behind).

    A checkpoint is a pickle, and loading one runs code that it names: convert only what you trust.
    """
    model = _loaded(source)
    config = _config(model)
    if units is not None:
        config["units"] = dict(units)
    tensors = {name: _array(tensor) for name, tensor in model.state_dict().items()}
    tensors = {name: array.reshape(-1) if name.endswith("atomref") else array for name, array in tensors.items()}
    path = os.fspath(target)
    part = f"{path}.{os.getpid()}.unchecked"
    try:
        write_model(part, FORMAT, config, tensors)
        _compare(model, part)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return config


def import_schnetpack() -> Any:
    """schnetpack 2, with a torch of its time or a newer one, which lacks a name that it imports for an annotation."""
    dataloader: Any = importlib.import_module("torch.utils.data.dataloader")
    if not hasattr(dataloader, "T_co"):
        T_co = TypeVar("T_co", covariant=True)
        dataloader.T_co = T_co
    return importlib.import_module("schnetpack")


def _loaded(source: Any) -> Any:
    try:
        import torch

        import_schnetpack()
    except ImportError as error:
        raise ImportError(f"`source` must be read by schnetpack, got {error} (pip install schnetpack)") from error
    model = source
    if isinstance(source, (str, os.PathLike)):
        model = torch.load(source, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"`source` must be a whole model (best_model), got a {type(model).__name__}")
    return model.cpu().eval()


def _name(module: Any) -> str:
    return type(module).__name__


def _known(module: Any, names: Any, what: str) -> str:
    if _name(module) not in names:
        raise ValueError(f"`{what}` must be one of {', '.join(names)}, got {_name(module)}")
    return _name(module)


def _activation(function: Any) -> str:
    name = getattr(function, "__name__", _name(function))
    found = {
        "shifted_softplus": "shifted_softplus",
        "ShiftedSoftplus": "shifted_softplus",
        "silu": "silu",
        "SiLU": "silu",
        "tanh": "tanh",
        "Tanh": "tanh",
    }
    if name not in found:
        raise ValueError(f"`activation` must be one of shifted_softplus, silu, tanh, got {name}")
    return found[name]


def _config(model: Any) -> dict[str, Any]:
    _known(model, ("NeuralNetworkPotential",), "model")
    network = model.representation
    kind = _known(network, ("SchNet", "PaiNN"), "representation")
    _known(network.embedding, ("Embedding",), "representation.embedding")
    for module in network.electronic_embeddings:
        raise ValueError(f"`representation.electronic_embeddings` must be empty, got {_name(module)}")
    for module in model.input_modules:
        _known(module, _INPUTS, "input_modules")
    layers = list(network.interactions)
    config: dict[str, Any] = {
        "model": kind.lower(),
        "n_atom_basis": int(network.n_atom_basis),
        "n_interactions": len(layers),
        "radial_basis": _BASES[_known(network.radial_basis, _BASES, "radial_basis")],
        "n_rbf": int(network.radial_basis.n_rbf),
        "cutoff": float(network.cutoff_fn.cutoff),
        "cutoff_fn": _CUTOFFS[_known(network.cutoff_fn, _CUTOFFS, "cutoff_fn")],
        "shared_interactions": len(layers) > 1 and layers[0] is layers[1],
    }
    if kind == "SchNet":
        config["n_filters"] = int(network.n_filters)
        config["activation"] = _activation(layers[0].f2out[0].activation)
    else:
        config["shared_filters"] = bool(network.share_filters)
        config["epsilon"] = float(network.mixing[0].epsilon)
        config["activation"] = _activation(layers[0].interatomic_context_net[0].activation)
    return {**config, **_outputs(model), **_offsets(model)}


def _outputs(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    heads = []
    for module in model.output_modules:
        if _name(module) in _DERIVED:
            continue
        name = _HEADS[_known(module, _HEADS, "output_modules")]
        blocks = list(module.outnet)
        own: dict[str, Any] = {"head_n_layers": len(blocks), "head_activation": "silu"}
        gated = hasattr(blocks[0], "scalar_net")
        if gated:
            own["head_n_hidden"] = [int(b.n_sout) for b in blocks[:-1]]
            own["head_activation"] = _activation(blocks[0].scalar_net[0].activation)
        else:
            own["head_n_hidden"] = [int(b.out_features) for b in blocks[:-1]]
            if len(blocks) > 1:
                own["head_activation"] = _activation(blocks[0].activation)
        if name == "energy":
            if module.n_out != 1 or module.aggregation_mode not in ("sum", "avg"):
                raise ValueError(f"`aggregation_mode` must be sum or avg of one output, got {module.aggregation_mode}")
            own["aggregation_mode"] = module.aggregation_mode
        if name == "dipole":
            if module.predict_magnitude:
                raise ValueError("`predict_magnitude` must be False, got True (take the norm of the dipole)")
            own["correct_charges"] = bool(module.correct_charges)
            own["use_vector_representation"] = bool(module.use_vector_representation)
        for key, value in own.items():
            if found.setdefault(key, value) != value:
                raise ValueError(f"`{key}` must be the same for all output modules, got {found[key]} and {value}")
        heads.append(name)
    return {"heads": heads, **found}


def _offsets(model: Any) -> dict[str, Any]:
    found = {"add_mean": False, "add_atomrefs": False, "is_extensive": True}
    if not model.do_postprocessing:
        raise ValueError("`do_postprocessing` must be True, got False")
    seen = 0
    for module in model.postprocessors:
        if _known(module, ("CastTo64", "AddOffsets"), "postprocessors") == "AddOffsets":
            energies = [m.output_key for m in model.output_modules if _name(m) == "Atomwise"]
            seen += 1
            if module._property not in energies or seen > 1:
                raise ValueError(f"`postprocessors` must add offsets to the energy once, got {module._property}")
            found = {k: bool(getattr(module, k)) for k in found}
    return found


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())


def _compare(model: Any, path: str) -> None:
    """Both programs on a molecule with neighbors at all distances, in float64.

    Raises
    ------
    ValueError, naming the property that differs.
    """
    import copy

    import torch

    import valence as vl

    names: Any = importlib.import_module("schnetpack.properties")
    engine = vl.load(path, dtype="float64")
    rng = np.random.default_rng(11)
    spread = 0.35 * engine._parts.config.cutoff
    numbers = rng.choice([1, 6, 7, 8], 9)
    positions = rng.normal(size=(9, 3)) * spread
    length = engine._parts.config.length_unit
    systems = vl.Systems.from_arrays(positions * length, numbers)
    edges = vl.find_edges(systems, engine.cutoff)
    inputs = {
        names.Z: torch.from_numpy(numbers.astype(np.int64)),
        names.R: torch.from_numpy(positions),
        names.cell: torch.zeros(1, 3, 3, dtype=torch.float64),
        names.idx_i: torch.from_numpy(np.asarray(edges.source).astype(np.int64)),
        names.idx_j: torch.from_numpy(np.asarray(edges.target).astype(np.int64)),
        names.offsets: torch.zeros(len(edges), 3, dtype=torch.float64),
        names.idx_m: torch.zeros(9, dtype=torch.int64),
        names.n_atoms: torch.tensor([9]),
    }
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        twin = copy.deepcopy(model).double()
        for module in (*twin.input_modules, twin.representation, *twin.output_modules):
            if _name(module) in (*_DERIVED, "Strain"):
                continue
            inputs = module(inputs)
        inputs = twin.postprocess(inputs)
    finally:
        torch.set_default_dtype(before)
    keys = {}
    for module in twin.output_modules:
        if _name(module) == "Atomwise":
            keys["energy"] = (module.output_key, engine._parts.config.energy_unit)
        elif _name(module) == "DipoleMoment":
            keys["dipole"] = (module.dipole_key, length)
        elif _name(module) == "Polarizability":
            keys["polarizability"] = (module.polarizability_key, 1.0)
    found = engine.compute(systems, tuple(keys))
    for name, (key, unit) in keys.items():
        expected = _array(inputs[key]).reshape(-1) * unit
        got = getattr(found, name).reshape(-1)
        gap = float(np.abs(got - expected).max())
        if not gap <= _AGREE * max(1.0, float(np.abs(expected).max())):
            raise ValueError(f"`{name}` of the engine must be schnetpack's, got a difference of {gap}")
