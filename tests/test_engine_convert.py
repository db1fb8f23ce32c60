"""Models built with schnetpack, converted, give schnetpack's numbers; what is not known is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import valence as vl
from valence.model.schnetpack.convert import convert, import_schnetpack

torch = pytest.importorskip("torch", reason="torch is not installed")
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_schnetpack()
except ImportError:
    pytest.skip("schnetpack is not there; it pins an older sympy than torch's", allow_module_level=True)

import schnetpack.nn as snn  # noqa: E402
import schnetpack.transform as transform  # noqa: E402
from schnetpack.atomistic import (  # noqa: E402
    Atomwise,
    DipoleMoment,
    Forces,
    PairwiseDistances,
    Polarizability,
    Strain,
    ZBLRepulsionEnergy,
)
from schnetpack.model import NeuralNetworkPotential  # noqa: E402
from schnetpack.representation import PaiNN, SchNet  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
F = 24


def model(kind="painn", heads=("energy",), basis=None, cutoff=None, **options):
    torch.manual_seed(3)
    network = {"schnet": SchNet, "painn": PaiNN}[kind](
        n_atom_basis=F,
        n_interactions=2,
        radial_basis=basis or snn.GaussianRBF(15, 5.0),
        cutoff_fn=cutoff or snn.CosineCutoff(5.0),
        **options,
    )
    outputs = []
    if "energy" in heads:
        outputs += [Atomwise(n_in=F, output_key="energy", n_hidden=17, n_layers=3), Forces()]
    if "dipole" in heads:
        outputs.append(DipoleMoment(F, use_vector_representation=kind == "painn"))
    if "polarizability" in heads:
        outputs.append(Polarizability(F))
    post = [transform.CastTo64()]
    if "energy" in heads:
        offsets = transform.AddOffsets("energy", add_mean=True, add_atomrefs=True)
        offsets.atomref, offsets.mean = torch.randn(100, dtype=torch.float64), torch.tensor([-2.5])
        post.append(offsets)
    return NeuralNetworkPotential(
        representation=network,
        input_modules=[Strain(), PairwiseDistances()],
        output_modules=outputs,
        postprocessors=post,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "schnet"},
        {"kind": "schnet", "n_filters": 40, "shared_interactions": True},
        {"heads": ("dipole", "polarizability")},
        {"kind": "schnet", "heads": ("dipole",)},
        {"shared_filters": True, "shared_interactions": True, "basis": snn.BesselRBF(8, 5.0)},
        {"cutoff": snn.MollifierCutoff(5.0), "basis": snn.GaussianRBFCentered(9, 5.0), "activation": torch.tanh},
    ],
)
def test_a_converted_model_is_read_back(tmp_path, options):
    # Numbers are compared by `convert` itself, which refuses to write otherwise.
    torch.save(model(**options), tmp_path / "best_model")
    config = convert(tmp_path / "best_model", tmp_path / "out.safetensors")
    found = vl.load(tmp_path / "out.safetensors")
    assert config["heads"] == list(options.get("heads", ("energy",))) and found.dtype == "float32"


def test_units_are_of_the_file(tmp_path):
    convert(model(), tmp_path / "plain.safetensors")
    convert(model(), tmp_path / "atomic.safetensors", units={"energy": "Hartree", "length": "Bohr"})
    x, bohr, hartree = np.array([[0, 0, 0], [0.1, 0.9, 0.4]]), vl.atoms.units.bohr, vl.atoms.units.hartree
    plain = vl.load(tmp_path / "plain.safetensors").compute(vl.Systems.from_arrays(x, [8, 1]))
    atomic = vl.load(tmp_path / "atomic.safetensors").compute(vl.Systems.from_arrays(x * bohr, [8, 1]))
    np.testing.assert_allclose(atomic.energy, plain.energy * hartree, rtol=1e-6)
    np.testing.assert_allclose(atomic.forces, plain.forces * hartree / bohr, rtol=1e-4, atol=1e-5)


def test_modules_that_are_not_known_are_refused_by_name_and_nothing_is_left(tmp_path):
    zbl, scaled, magnitude = model(), model(), model(heads=("dipole",))
    zbl.output_modules.append(ZBLRepulsionEnergy("eV", "Ang", "zbl"))
    scaled.postprocessors.append(transform.ScaleProperty("energy"))
    magnitude.output_modules[0].predict_magnitude = True
    charged = model(electronic_embeddings=[snn.ElectronicEmbedding("total_charge", F, True)])
    for source, message in [
        (zbl, "^`output_modules` must be one of .* got ZBLRepulsionEnergy"),
        (scaled, "^`postprocessors` must be one of CastTo64, AddOffsets, got ScaleProperty"),
        (magnitude, "^`predict_magnitude` must be False, got True"),
        (charged, "^`representation.electronic_embeddings` must be empty, got ElectronicEmbedding"),
        (torch.nn.Linear(2, 2), "^`model` must be one of NeuralNetworkPotential, got Linear"),
    ]:
        with pytest.raises(ValueError, match=message):
            convert(source, tmp_path / "out.safetensors")
    torch.save(model().state_dict(), tmp_path / "state")
    with pytest.raises(ValueError, match=r"^`source` must be a whole model \(best_model\), got a OrderedDict"):
        convert(tmp_path / "state", tmp_path / "out.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
