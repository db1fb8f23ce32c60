"""Models built with mace-torch, converted, give mace-torch's numbers; what is not known is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import valence as vl
from valence.model import convert

torch = pytest.importorskip("torch", reason="torch is not installed")
torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 ships a pickle
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("mace", reason="mace-torch is not there; it needs another e3nn than CI's")
    from ase import Atoms
    from e3nn import o3
    from mace import data, modules
    from mace.tools import AtomicNumberTable, torch_geometric

pytestmark = pytest.mark.filterwarnings("ignore")
RESIDUAL = "RealAgnosticResidualInteractionBlock"
#: What each draw must have, so that every class and option is met; the rest is drawn.
DRAWS = [
    {"first": "RealAgnosticInteractionBlock", "correlation": 1, "radial_type": "bessel"},
    {"first": RESIDUAL, "correlation": 2, "radial_type": "gaussian", "distance_transform": "Soft"},
    {"first": "RealAgnosticDensityInteractionBlock", "correlation": 3, "pair_repulsion": True},
    {"first": "RealAgnosticDensityResidualInteractionBlock", "correlation": 4, "max_ell": 1},
    {"other": "RealAgnosticInteractionBlock", "max_ell": 4, "correlation": 2, "hidden_l": 2},
    {"other": "RealAgnosticDensityInteractionBlock", "radial_type": "chebyshev", "distance_transform": "Agnesi"},
    {"layers": 3, "correlation": [3, 2, 1], "heads": ["a", "b", "c"], "hidden_l": 1, "max_ell": 2},
    {"layers": 1, "model": "MACE", "correlation": 3, "heads": ["a", "b"], "max_ell": 3},
    {"use_so3": True, "hidden_l": 1, "correlation": 2, "max_ell": 2},
    {"use_agnostic_product": True, "use_last_readout_only": True, "layers": 2, "gate": None},
    {"use_reduced_cg": True, "hidden_l": 2, "correlation": 3, "max_ell": 2, "keep_last_layer_irreps": True},
    {"apply_cutoff": False, "gate": torch.tanh, "hidden_l": 3, "max_ell": 3, "correlation": 2},
]


@pytest.fixture(autouse=True)
def _double(monkeypatch):
    torch.set_default_dtype(torch.float64)
    # torch's function of these polynomials has no derivative, so that mace-torch's forces leave the radial part out.
    monkeypatch.setattr(modules.radial.ChebychevBasis, "forward", _chebyshev)
    yield
    torch.set_default_dtype(torch.float32)


def _chebyshev(basis, x):
    found = [torch.ones_like(x), x]
    for _ in range(basis.num_basis - 1):
        found.append(2 * x * found[-1] - found[-2])
    return torch.cat(found[1:], dim=1)


def drawn(seed: int, **fixed):
    """A small model of mace-torch with the options of `fixed`, the others drawn at random."""
    rng = np.random.default_rng(seed)

    def choice(name, *values):
        found = values[rng.integers(len(values))]
        return fixed.pop(name, found)

    classes = [f"RealAgnostic{kind}InteractionBlock" for kind in ("", "Residual", "Density", "DensityResidual")]
    channels, elements = int(rng.integers(2, 6)), choice("elements", [1, 8], [14, 6, 1], [29])
    max_ell, layers, heads = (
        choice("max_ell", 1, 2, 3),
        choice("layers", 2, 2, 3),
        choice("heads", ["Default"], ["x", "y"]),
    )
    hidden = "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(choice("hidden_l", 0, 1, 2) + 1))
    kind = choice("model", "MACE", "ScaleShiftMACE", "ScaleShiftMACE")
    count = len(heads)
    energies = rng.normal(size=(count, len(elements)))
    options = dict(
        r_max=float(rng.uniform(3.0, 5.0)),
        num_bessel=int(rng.integers(3, 9)),
        num_polynomial_cutoff=choice("power", 5, 6),
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes[choice("other", *classes)],
        interaction_cls_first=modules.interaction_classes[choice("first", *classes)],
        num_interactions=layers,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps(f"{rng.integers(1, 6)}x0e"),
        gate=choice("gate", torch.nn.functional.silu, torch.tanh),
        atomic_energies=energies if count > 1 else energies[0],
        avg_num_neighbors=float(rng.uniform(2.0, 20.0)),
        atomic_numbers=elements,
        correlation=choice("correlation", 2, 3) if max_ell < 3 else choice("correlation", 2),
        radial_MLP=[int(n) for n in rng.integers(3, 9, rng.integers(1, 4))],
        radial_type=choice("radial_type", "bessel", "gaussian"),
        distance_transform=choice("distance_transform", "None", "Agnesi", "Soft"),
        pair_repulsion=choice("pair_repulsion", False, True),
        apply_cutoff=choice("apply_cutoff", True, True, False),
        use_reduced_cg=choice("use_reduced_cg", False, True),
        heads=heads,
        **fixed,
    )
    if kind == "ScaleShiftMACE":
        options["atomic_inter_scale"] = rng.uniform(0.5, 2.0, count) if count > 1 else float(rng.uniform(0.5, 2.0))
        options["atomic_inter_shift"] = rng.normal(size=count) if count > 1 else float(rng.normal())
    torch.manual_seed(seed)
    return getattr(modules, kind)(**options)


def frames(model, seed: int) -> dict[str, Atoms]:
    rng = np.random.default_rng(seed)
    numbers = np.array([int(z) for z in model.atomic_numbers])

    def atoms(positions, **options):
        return Atoms(rng.choice(numbers, len(positions)), positions=positions, **options)

    triclinic = np.array([[3.4, 0.0, 0.0], [1.1, 3.6, 0.0], [-0.8, 0.9, 4.1]])
    fractional = np.array([[0.02, 0.0, 0.05], [0.31, 0.27, 0.4], [0.7, 0.66, 0.12], [0.45, 0.8, 0.75]])
    return {
        "molecule": atoms(np.array([[0, 0, 0], [1.1, 0.2, 0], [-0.4, 1.3, 0.3], [0.5, -0.9, 1.4], [2.0, 1.2, 0.9]])),
        "crystal": atoms(fractional @ triclinic, cell=triclinic, pbc=True),
        "slab": atoms(fractional @ triclinic, cell=triclinic, pbc=[True, True, False]),
        "lone": atoms(np.array([[1.0, 2.0, 3.0]])),
    }


def theirs(model, atoms, head: str):
    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    configuration = data.config_from_atoms(atoms)
    configuration.head = head
    item = data.AtomicData.from_config(configuration, z_table=table, cutoff=float(model.r_max), heads=model.heads)
    batch = next(iter(torch_geometric.dataloader.DataLoader([item], batch_size=1, shuffle=False)))
    found = model(batch.to_dict(), compute_force=True, compute_virials=True, compute_stress=True)
    return {k: v.detach().numpy() for k, v in found.items() if torch.is_tensor(v)}


def agree(model, converted, seed: int = 0, tolerance: float = 1.0) -> None:
    """Our numbers of every frame and head are those of `model`; mace-torch's own batch is the oracle."""
    for k, (name, atoms) in enumerate(frames(model, seed).items()):
        head = model.heads[k % len(model.heads)]
        expected = theirs(model, atoms, head)
        wanted = ["energy", "node_energy", "forces", "virial", "descriptors"]
        engine = vl.load(converted, head=head, dtype="float64", radial="exact")
        found = engine.compute(atoms, [*wanted, "stress"] if atoms.pbc.all() else wanted)
        scale = max(np.abs(expected["forces"]).max(), 1e-3) * tolerance
        np.testing.assert_allclose(found.energy, expected["energy"], rtol=1e-11 * tolerance, err_msg=name)
        np.testing.assert_allclose(found.node_energy, expected["node_energy"], atol=1e-10 * tolerance, err_msg=name)
        np.testing.assert_allclose(found.forces, expected["forces"], atol=1e-9 * scale, err_msg=name)
        np.testing.assert_allclose(found.descriptors, expected["node_feats"], atol=1e-10 * tolerance, err_msg=name)
        tables = vl.load(converted, head=head, dtype="float64").compute(atoms)
        np.testing.assert_allclose(tables.forces, expected["forces"], atol=1e-7 * scale, err_msg=name)
        if name != "lone":
            np.testing.assert_allclose(found.virial, expected["virials"], atol=1e-8 * scale, err_msg=name)
        if atoms.pbc.all():
            np.testing.assert_allclose(found.stress, expected["stress"], atol=1e-9 * scale)


@pytest.mark.parametrize("seed", range(len(DRAWS)), ids=lambda n: "-".join(map(str, DRAWS[n])))
def test_a_model_with_options_drawn_at_random_gives_mace_torchs_numbers(seed, tmp_path):
    model = drawn(seed, **DRAWS[seed])
    path = tmp_path / "model.safetensors"
    config = convert(model, path)
    assert config["interaction_cls"] == [type(i).__name__ for i in model.interactions]
    agree(model, path, seed)


def test_the_chebyshev_basis_of_the_oracle_is_torchs_function():
    basis, x = modules.radial.ChebychevBasis(4.0, 6), torch.linspace(0.05, 1.0, 9)[:, None]
    exact = torch.special.chebyshev_polynomial_t(x.repeat(1, 6), basis.n.repeat(9, 1))
    np.testing.assert_allclose(basis(x).numpy(), exact.numpy(), atol=1e-14)


@pytest.mark.parametrize("layout", ["ir_mul", "mul_ir"])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_model_converted_to_cuequivariance_gives_the_same_numbers(layout, reduced, tmp_path):
    pytest.importorskip("cuequivariance_torch", reason="cuequivariance_torch is not installed")
    from mace.cli import convert_e3nn_cueq

    options = dict(model="ScaleShiftMACE", layers=2, hidden_l=1, max_ell=1, correlation=2, gate=None)
    model = drawn(31, use_reduced_cg=reduced, **options, radial_type="bessel", elements=[1, 8])
    other = convert_e3nn_cueq.run(model, device="cpu", layout=layout)
    assert not hasattr(other.products[0].symmetric_contractions, "contractions")
    convert(other, tmp_path / "model.safetensors")
    agree(model, tmp_path / "model.safetensors", tolerance=10.0)


def test_a_checkpoint_of_an_older_mace_torch_is_read(tmp_path):
    fixed = dict(model="ScaleShiftMACE", heads=["Default"], apply_cutoff=True, layers=2, max_ell=2, correlation=2)
    model = drawn(32, **fixed)
    expected = {name: theirs(model, atoms, "Default") for name, atoms in frames(model, 0).items()}
    for name in ("heads", "apply_cutoff", "edge_irreps", "use_agnostic_product", "use_last_readout_only", "use_so3"):
        delattr(model, name)
    for block in (model.radial_embedding, *model.interactions, *model.products, *model.readouts):
        for name in ("apply_cutoff", "radial_MLP", "edge_irreps", "cueq_config", "use_agnostic_product", "num_heads"):
            block.__dict__.pop(name, None)
    model.radial_embedding.cutoff_fn.p = model.radial_embedding.cutoff_fn.p.double()
    assert model.atomic_energies_fn.atomic_energies.ndim == 1
    torch.save(model, tmp_path / "old.model")
    config = convert(tmp_path / "old.model", tmp_path / "model.safetensors")
    assert config["heads"] == ["Default"] and config["apply_cutoff"] is True
    engine = vl.load(tmp_path / "model.safetensors", radial="exact")
    for name, atoms in frames(model, 0).items():
        found = engine.compute(atoms)
        np.testing.assert_allclose(found.energy, expected[name]["energy"], rtol=1e-11)
        np.testing.assert_allclose(found.forces, expected[name]["forces"], atol=1e-9)


def test_a_model_in_single_precision_keeps_its_weights(tmp_path):
    torch.set_default_dtype(torch.float32)
    fixed = dict(heads=["Default"], pair_repulsion=False, distance_transform="None", correlation=3)
    model = drawn(33, layers=2, max_ell=2, hidden_l=1, **fixed)
    torch.set_default_dtype(torch.float64)
    assert convert(model, tmp_path / "model.safetensors")["dtype"] == "float32"
    assert vl.load(tmp_path / "model.safetensors").dtype == "float32"
    # In double precision both run the same rounded weights; mace-torch's own constants stay rounded to 1e-7.
    agree(model.double(), tmp_path / "model.safetensors", tolerance=1e4)


def test_the_command_converts_a_saved_model(tmp_path, capsys):
    from valence.cli import main

    model = drawn(34, layers=2, max_ell=1, correlation=2)
    torch.save(model, tmp_path / "my.model")
    assert main(["convert", str(tmp_path / "my.model"), str(tmp_path / "mace.safetensors")]) == 0
    assert "mace.safetensors" in capsys.readouterr().out
    agree(model, tmp_path / "mace.safetensors")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["mace.safetensors", "my.model"]
    assert main(["convert", str(tmp_path / "nowhere.model"), str(tmp_path / "out.safetensors")]) == 1
    assert "nowhere.model" in capsys.readouterr().err


class Stranger(torch.nn.Module):
    """A class that no version of mace-torch has."""


def _swap(path, module):
    def change(model):
        *outer, last = path.split(".")
        setattr(model.get_submodule(".".join(outer)), last, module)

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: setattr(m, "__class__", Stranger), "^`model` must be one of MACE, ScaleShiftMACE, got Stranger"),
        (lambda m: setattr(m.interactions[1], "__class__", Stranger), r"^`interactions.1` must be one of .*Stranger"),
        (_swap("radial_embedding.bessel_fn", Stranger()), r"^`radial_embedding.bessel_fn` must be one of .*Stranger"),
        (_swap("radial_embedding.distance_transform", Stranger()), "^`distance_transform` must be one of .*Stranger"),
        (_swap("readouts.1.linear_1", Stranger()), r"^`readouts.1.linear_1` must be one of e3nn"),
        (_swap("joint_embedding", Stranger()), "^`model` must have no joint_embedding"),
        (lambda m: setattr(m.readouts[1], "__class__", Stranger), r"^`readout_cls\[1\]` must be one of .*Stranger"),
        (_swap("interactions.1.conv_tp_weights", Stranger()), r"^`interactions.1.conv_tp_weights` must be one of"),
        (lambda m: setattr(m.readouts[1].non_linearity.acts[0], "f", torch.abs), "^`gate` must be one of .* got abs"),
        (lambda m: m.register_buffer("surprise", torch.ones(2)), "known blocks only, got surprise$"),
        (lambda m: m.half(), "must be of dtype float32 or float64, got torch.float16"),
    ],
)
def test_what_the_converter_does_not_know_is_refused_by_name(change, message, tmp_path):
    fixed = dict(heads=["Default"], layers=2, max_ell=1, correlation=1, radial_type="bessel", gate=torch.tanh)
    model = drawn(35, model="ScaleShiftMACE", distance_transform="None", **fixed)
    change(model)
    with pytest.raises(ValueError, match=message):
        convert(model, tmp_path / "model.safetensors", family="mace")
    assert not list(tmp_path.iterdir())


def test_files_that_hold_no_whole_model_are_named(tmp_path):
    model = drawn(36, layers=1, max_ell=1, correlation=1)
    torch.save({"model": model.state_dict()}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"^`source` must be a checkpoint of mace or schnetpack, got one of "):
        convert(tmp_path / "state.pt", tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match=r"^`source` must be a whole model .*, got dict in "):
        convert(tmp_path / "state.pt", tmp_path / "out.safetensors", family="mace")
    (tmp_path / "text.model").write_text("no pickle")
    with pytest.raises(ValueError, match="got one of no class at all"):
        convert(tmp_path / "text.model", tmp_path / "out.safetensors")
    torch.save(model, tmp_path / "legacy.model", _use_new_zipfile_serialization=False)
    (tmp_path / "cut.model").write_bytes((tmp_path / "state.pt").read_bytes()[:999])
    with pytest.raises(ValueError, match=r"^`source` must be a whole checkpoint, got .*cut.model"):
        convert(tmp_path / "cut.model", tmp_path / "out.safetensors")
    convert(tmp_path / "legacy.model", tmp_path / "out.safetensors")
    agree(model, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    "apply_cutoff, first, density", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_non_linear_residual_blocks_give_mace_torchs_numbers(apply_cutoff, first, density, tmp_path):
    from valence.torch import Mace

    kind = "RealAgnosticResidualNonLinearInteractionBlock"
    other = "RealAgnosticDensityResidualInteractionBlock" if density else kind
    fixed = dict(layers=2, max_ell=2, correlation=2, hidden_l=1, use_agnostic_product=True, apply_cutoff=apply_cutoff)
    model = drawn(40, first=kind, other=other, **fixed, edge_irreps=o3.Irreps("3x0e+3x1o"), use_edge_irreps_first=first)
    with torch.no_grad():
        for block in model.interactions:  # they start near zero
            for name in ("source_embedding", "target_embedding"):
                if hasattr(block, name):
                    getattr(block, name).weight.normal_()
                    block.beta.fill_(0.7)
    config = convert(model, tmp_path / "model.safetensors")
    assert config["edge_irreps"][1] == "3x0e+3x1o"
    agree(model, tmp_path / "model.safetensors")
    network = Mace(tmp_path / "model.safetensors")
    network.save(tmp_path / "saved.safetensors")
    agree(model, tmp_path / "saved.safetensors")
    network = Mace(tmp_path / "saved.safetensors")
    for k, (name, atoms) in enumerate(frames(model, 3).items()):
        head = model.heads[k % len(model.heads)]
        expected = theirs(model, atoms, head)
        energy, forces = network.energy_and_forces(atoms, head=head)
        np.testing.assert_allclose(energy.detach().numpy(), expected["energy"], rtol=1e-11, err_msg=name)
        scale = max(np.abs(expected["forces"]).max(), 1e-3)
        np.testing.assert_allclose(forces.detach().numpy(), expected["forces"], atol=1e-9 * scale, err_msg=name)


def test_messages_of_non_linear_blocks_made_twice_are_those_kept(tmp_path):
    kind = "RealAgnosticResidualNonLinearInteractionBlock"
    fixed = dict(layers=3, max_ell=2, correlation=2, hidden_l=1, heads=["Default"], apply_cutoff=False)
    convert(drawn(42, first=kind, other=kind, **fixed), tmp_path / "model.safetensors")
    for atoms in frames(drawn(42, first=kind, other=kind, **fixed), 3).values():
        kept, again = (vl.load(tmp_path / "model.safetensors", memory=memory).compute(atoms) for memory in (None, 0))
        np.testing.assert_array_equal(kept.forces, again.forces)


def test_other_irreps_on_edges_give_mace_torchs_numbers(tmp_path):
    fixed = dict(first=RESIDUAL, other=RESIDUAL, layers=2, max_ell=2, correlation=2, hidden_l=1, heads=["Default"])
    model = drawn(41, **fixed, edge_irreps=o3.Irreps("2x0e+2x1o"), use_edge_irreps_first=True)
    convert(model, tmp_path / "model.safetensors")
    agree(model, tmp_path / "model.safetensors")
