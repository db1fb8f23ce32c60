"""mace-torch's checkpoints as files of the format `mace-export-1`.

The one place that needs torch and mace-torch. A checkpoint is a pickle: reading it runs code that it names, so read only
checkpoints whose origin you trust. The file that is written holds tensors and text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from valence.model._writing import write_model
from valence.model.file import ModelFile
from valence.model.mace.config import GATES, INTERACTIONS, MODELS
from valence.model.mace.parts import Parts

__all__ = ["convert", "export"]

_BASES = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
_TRANSFORMS = {"NoneType": "None", "AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}
#: Entries of a state_dict that carry no weight: masks, coupling constants, code made of them, flags.
_CONSTANT = re.compile(
    r"output_mask|_w3j|(^|\.)conv_tp\.|_zeroed$|\._compiled|graph_opt|\.cst$|equivariant_nonlin\.|\.f\.|\.transpose_(in|out)\."
)
#: Buffers that the configuration says, or that follow from it.
_SAID = re.compile(
    r"^(r_max|atomic_numbers|num_interactions)$"
    r"|^radial_embedding\.(cutoff_fn\.(p|r_max)|bessel_fn\.(r_max|prefactor|n))$|^pair_repulsion_fn\.(p|r_max)$"
)


def convert(source: Any, target: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes a mace-torch model as a file that `valence.load` reads.

    Parameters
    ----------
    source : path of a file that `torch.save(model)` wrote (`*.model`), or the model itself.
    target : the safetensors file.

    Returns
    -------
    The configuration that was written.

    Raises
    ------
    ImportError, without torch or mace-torch; OSError; ValueError, naming the class or option that is not known.
    """
    model = source if _is_module(source) else _unpickled(source)
    config, tensors = export(model)
    target = Path(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.unchecked")
    try:
        write_model(part, "mace-export-1", config, tensors)
        _check(part, tensors)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return config


def _is_module(source: Any) -> bool:
    return hasattr(source, "state_dict") and hasattr(source, "parameters")


def _unpickled(path: Any) -> Any:
    try:
        import torch

        # e3nn 0.4.4 unpickles a table with slices when it is imported, which torch 2.6 and newer must be told to allow.
        torch.serialization.add_safe_globals([slice])
        import mace.modules  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"converting a MACE model needs torch and mace-torch: {error}") from error
    found = torch.load(os.fspath(path), map_location="cpu", weights_only=False)
    if not _is_module(found):
        raise ValueError(
            f"`source` must be a whole model as mace-torch saves it (*.model), got {type(found).__name__} in {path}"
        )
    return found


def _check(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """The file is read back: every tensor must be one that the engine uses."""
    known = Parts(ModelFile(path)).shapes()
    unknown = [
        name
        for name in tensors
        if name not in known and not _SAID.search(name) and not re.search(r"\.U_\d\.(index|value)$", name)
    ]
    if unknown:
        raise ValueError(f"`source` must hold weights of known blocks only, got {', '.join(unknown[:5])}")


def _one_of(name: str, value: Any, known: Any) -> Any:
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, known))}, got {value}")
    return value


def _kind(module: Any) -> str:
    return type(module).__name__


def export(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and tensors of a mace-torch module."""
    _one_of("model", getattr(model, "original_name", _kind(model)), MODELS)
    for option in ("joint_embedding", "embedding_readout"):
        if hasattr(model, option):
            raise ValueError(f"`model` must have no {option} (charge and spin embeddings), got one that has")
    for i, block in enumerate(model.interactions):
        _one_of(f"interactions.{i}", _kind(block), INTERACTIONS)
        _network(f"interactions.{i}.conv_tp_weights", block.conv_tp_weights)
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1].startswith(("linear", "skip_tp")) and "e3nn" not in type(module).__module__:
            _one_of(name, type(module).__module__.split(".")[0], ("e3nn", "cuequivariance_torch"))
    tensors = _tensors(model)
    return _config(model, tensors), tensors


def _network(name: str, network: Any) -> None:
    """A radial network: e3nn's with silu between its layers, or that of a non-linear block."""
    if _one_of(name, _kind(network), ("FullyConnectedNet", "RadialMLP")) == "RadialMLP":
        kinds = [_kind(m) for m in network.net]
        expected = ["Linear", "LayerNorm", "SiLU"] * (len(kinds) // 3) + ["Linear"]
        _one_of(name, kinds, (expected,))
        return
    for layer in list(network)[:-1]:
        act = getattr(layer, "act", None)
        _one_of(f"{name}.act", getattr(getattr(act, "f", act), "__name__", str(act)), ("silu",))


def _config(model: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    radial, last, harmonics = model.radial_embedding, model.readouts[-1], model.spherical_harmonics
    _one_of("radial_embedding.cutoff_fn", _kind(radial.cutoff_fn), ("PolynomialCutoff",))
    _one_of("spherical_harmonics.normalization", harmonics.normalization, ("component",))
    if hasattr(model, "pair_repulsion_fn"):
        _one_of("pair_repulsion_fn", _kind(model.pair_repulsion_fn), ("ZBLBasis",))
    blocks = list(model.interactions)
    node = [str(b.node_feats_irreps) for b in blocks]
    edge = [str(getattr(b, "edge_irreps", None) or n) for b, n in zip(blocks, node)]
    residual = [INTERACTIONS[_kind(b)].residual for b in blocks]
    transform = getattr(radial, "distance_transform", None)
    return {
        "model": _kind(model),
        "r_max": float(model.r_max),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "num_interactions": len(blocks),
        "max_ell": int(harmonics._lmax),
        "edge_sh_irreps": str(blocks[0].edge_attrs_irreps),
        "num_bessel": int(radial.out_dim),
        "radial_type": _BASES[_one_of("radial_embedding.bessel_fn", _kind(radial.bessel_fn), _BASES)],
        "num_polynomial_cutoff": int(radial.cutoff_fn.p),
        "apply_cutoff": bool(getattr(radial, "apply_cutoff", True)),
        "distance_transform": _TRANSFORMS[_one_of("distance_transform", _kind(transform), _TRANSFORMS)],
        "pair_repulsion": hasattr(model, "pair_repulsion_fn"),
        "interaction_cls": [_kind(b) for b in blocks],
        "node_feats_irreps": node,
        **({"edge_irreps": edge} if edge != node else {}),
        "target_irreps": [str(b.target_irreps) for b in blocks],
        "hidden_irreps": [str(b.hidden_irreps) for b in blocks],
        "radial_MLP": [[int(n) for n in b.conv_tp_weights.hs] for b in blocks],
        "avg_num_neighbors": [float(np.asarray(b.avg_num_neighbors)) for b in blocks],
        "correlation": [_correlation(p.symmetric_contractions) for p in model.products],
        "product_irreps_out": [str(b.hidden_irreps) for b in blocks],
        # mace-torch says `use_sc` also where the block gives nothing to add.
        "product_use_sc": [bool(p.use_sc) and r for p, r in zip(model.products, residual)],
        "use_agnostic_product": bool(getattr(model, "use_agnostic_product", False)),
        "use_last_readout_only": bool(getattr(model, "use_last_readout_only", False)),
        "readout_cls": [_kind(r) for r in model.readouts],
        "MLP_irreps": str(getattr(last, "hidden_irreps", "")),
        "gate": _gate(last),
        "heads": [str(h) for h in getattr(model, "heads", None) or ["Default"]],
        "dtype": str(tensors["node_embedding.linear.weight"].dtype),
        "cg_convention": "e3nn04",
        "irrep_order": "e3nn",
        "normalize2mom_silu": GATES["silu"],
    }


def _gate(readout: Any) -> str:
    """The name of the activation of a non-linear readout, whose factor e3nn wraps around it."""
    acts = getattr(getattr(readout, "non_linearity", None), "acts", None)
    if not acts or acts[0] is None:
        return "None"
    return _one_of("gate", getattr(getattr(acts[0], "f", acts[0]), "__name__", str(acts[0])), GATES)


def _correlation(contraction: Any) -> int:
    if hasattr(contraction, "contractions"):
        return len(contraction.contractions[0].weights) + 1
    return int(contraction.contraction_degree)


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _tensors(model: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    ours = [
        (f"products.{t}.symmetric_contractions.", p.symmetric_contractions)
        for t, p in enumerate(model.products)
        if not hasattr(p.symmetric_contractions, "contractions")
    ]
    for name, tensor in model.state_dict().items():
        if not tensor.numel() or _CONSTANT.search(name) or name.startswith(tuple(prefix for prefix, _ in ours)):
            continue
        if str(tensor.dtype) in ("torch.float16", "torch.bfloat16"):
            raise ValueError(f"`{name}` must be of dtype float32 or float64, got {tensor.dtype}")
        array = _array(tensor)
        if match := re.match(r"(.*)U_matrix_(\d+)$", name):
            found.update(_couplings(match[1], int(match[2]), array))
        elif re.search(r"(^|\.)(linear\w*|skip_tp|source_embedding|target_embedding)\.weight$", name):
            found[name] = array.reshape(-1)  # cuEquivariance keeps a row axis
        else:
            found[name] = array
    for prefix, contraction in ours:
        _one_of(prefix[:-1], type(contraction).__module__.split(".")[0], ("cuequivariance_torch",))
        found.update(_of_cuequivariance(prefix, contraction))
    return found


def _couplings(prefix: str, nu: int, u: np.ndarray) -> dict[str, np.ndarray]:
    """A dense U as its nonzero entries; mace-torch drops the axis of m for a scalar output."""
    u = u.astype(np.float64)
    u = u[None] if u.ndim == nu + 1 else u
    index = np.argwhere(np.abs(u) > 1e-10)
    return {f"{prefix}U_{nu}.index": index.astype(np.int16), f"{prefix}U_{nu}.value": u[tuple(index.T)]}


def _of_cuequivariance(prefix: str, contraction: Any) -> dict[str, np.ndarray]:
    """Couplings and weights of a converted model, from the polynomial that it computes.

    Its paths are (weight k; components i_1 … i_nu of x; component m of the result). Weights of all nested couplings
    (`original_mace`) come with their projection onto the polynomial's own, independent ones.
    """
    weight = _array(contraction.weight)
    if getattr(contraction, "projection", None) is not None:
        weight = np.einsum("zau,ab->zbu", weight, _array(contraction.projection))
    degree = int(contraction.contraction_degree)
    paths: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for _, product in contraction.etp.polynomial.operations:
        nu = product.num_operands - 2
        places = np.array([p.indices for p in product.paths], np.int64).reshape(-1, nu + 2)
        paths[nu] = places, np.array([float(np.asarray(p.coefficients)) for p in product.paths])
    found: dict[str, np.ndarray] = {}
    start = 0
    for o, (_, ir) in enumerate(contraction.irreps_out):
        name = f"{prefix}contractions.{o}"
        for nu in range(1, degree + 1):
            places, value = paths.get(nu, (np.zeros((0, nu + 2), np.int64), np.zeros(0)))
            own = (places[:, -1] >= start) & (places[:, -1] < start + ir.dim)
            rows, local = np.unique(places[own, 0], return_inverse=True)
            index = np.concatenate([places[own, -1:] - start, places[own, 1:-1], local.reshape(-1, 1)], axis=1)
            found[f"{name}.U_{nu}.index"] = index.astype(np.int16)
            found[f"{name}.U_{nu}.value"] = value[own].astype(np.float64)
            # A coupling that cannot be made keeps one weight, as mace-torch has it.
            chosen = weight[:, rows] if len(rows) else np.zeros_like(weight[:, :1])
            found[f"{name}.weights_max" if nu == degree else f"{name}.weights.{degree - 1 - nu}"] = chosen
        start += ir.dim
    return found
