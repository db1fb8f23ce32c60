"""The lines of a cuEquivariance script, run by Valence and by cuEquivariance: the same numbers, the same state dicts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import valence.compat.cuequivariance as vcue
from layer_peers import cuequivariance

torch = pytest.importorskip("torch", reason="torch is not installed")

import valence.compat.cuequivariance_torch as vcuet  # noqa: E402


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def script(cue, cuet, irreps_of):
    """Layers of a message-passing step and what they give; `irreps_of` makes the irreps."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    features, sphere = irreps_of("O3", "4x0e + 4x1o + 4x2e"), irreps_of("O3", "1x0e + 1x1o")
    made = {
        "linear": cuet.Linear(features, features, layout=cue.ir_mul),
        "by_class": cuet.Linear(features, irreps_of("O3", "8x1o"), layout_in=cue.ir_mul, layout_out=cue.mul_ir, weight_classes=3),
        "channelwise": cuet.ChannelWiseTensorProduct(
            features, sphere, [cue.O3(0, 1), cue.O3(1, -1)], layout=cue.ir_mul, shared_weights=False, method="naive"
        ),
        "connected": cuet.FullyConnectedTensorProduct(features, sphere, features, layout=cue.mul_ir, method="naive"),
        "transpose": cuet.TransposeIrrepsLayout(features, source=cue.ir_mul, target=cue.mul_ir),
        "harmonics": cuet.SphericalHarmonics([0, 1]),
    }  # fmt: skip
    x, r, z = random(5, 36), random(9, 3), torch.tensor([0, 2, 1, 1, 0])
    source, target = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3]), torch.tensor([1, 1, 0, 4, 4, 2, 0, 0, 1])
    y = made["harmonics"](r)
    w = random(9, made["channelwise"].weight_numel)

    def run():
        given = {"indices_1": source, "indices_out": target, "size_out": 5}
        return {
            "linear": made["linear"](x),
            "by_class": made["by_class"](x, weight_indices=z),
            "channelwise": made["channelwise"](x, y, w, **given),
            "connected": made["connected"](x, y[:5]),
            "transpose": made["transpose"](x),
            "harmonics": y,
        }

    return made, run


@pytest.mark.parametrize("irreps", ["ours", "theirs"])
def test_a_script_gives_the_numbers_of_cuequivariance(irreps):
    cue, cuet = cuequivariance()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, run_theirs = script(cue, cuet, cue.Irreps)
        expected = run_theirs()
    ours, run_ours = script(vcue if irreps == "ours" else cue, vcuet, vcue.Irreps if irreps == "ours" else cue.Irreps)
    for name, layer in ours.items():
        layer.load_state_dict(theirs[name].state_dict(), strict=name not in ("transpose", "harmonics"))
    for name, value in run_ours().items():
        np.testing.assert_allclose(value.detach(), expected[name].detach(), atol=1e-12)
        assert name in ("transpose", "harmonics") or str(ours[name].irreps_out).replace(" ", "") == str(
            theirs[name].irreps_out
        ).replace(" ", "")


def test_a_script_runs_without_cuequivariance():
    _, run = script(vcue, vcuet, vcue.Irreps)
    assert {name: value.shape[1] for name, value in run().items()} == {
        "linear": 36,
        "by_class": 24,
        "channelwise": 4 + 4 + 3 * 12,
        "connected": 36,
        "transpose": 36,
        "harmonics": 4,
    }


def test_the_symmetric_contraction_runs_as_the_guide_has_it():
    feats, target = vcue.Irreps("O3", "8x0e + 8x1o + 8x2e"), vcue.Irreps("O3", "8x0e + 8x1o")
    layer = vcuet.SymmetricContraction(
        irreps_in=feats,
        irreps_out=target,
        contraction_degree=3,
        num_elements=10,
        layout_in=vcue.ir_mul,
        layout_out=vcue.mul_ir,
        original_mace=True,
        dtype=torch.float64,
        device="cpu",
    )
    index = torch.randint(0, 10, (16,), dtype=torch.int32)
    assert layer(torch.randn(16, feats.dim), index).shape == (16, target.dim)
    reduced = vcuet.SymmetricContraction(feats, target, 3, 10)
    assert reduced.weight_shape[0] < layer.weight_shape[0]


def test_weights_of_the_peers_reduced_basis_are_refused():
    cue, cuet = cuequivariance()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        irreps = cue.Irreps("O3", "2x0e + 2x1o")
        theirs = cuet.SymmetricContraction(irreps, irreps, 2, 3, layout=cue.mul_ir, method="naive")
    ours = vcuet.SymmetricContraction(irreps, irreps, 2, 3, layout=cue.mul_ir)
    with pytest.raises(ValueError, match=r"^`state_dict` must have couplings with its weights"):
        ours.load_state_dict(theirs.state_dict())


def test_irreps_and_coefficients_are_the_peers():
    cue, _ = cuequivariance()
    for group, text in (("O3", "4x0e + 2x1o + 1x3e"), ("SO3", "4x0 + 2x1")):
        ours, theirs = vcue.Irreps(group, text), cue.Irreps(group, text)
        assert (ours.dim, ours.muls, ours.irrep_class.__name__) == (theirs.dim, theirs.muls, group)
        assert str(ours.set_mul(2)).replace(" ", "") == str(theirs.set_mul(2)).replace(" ", "")
    for triple in ((0, 1, 1), (1, 1, 2), (1, 1, 1), (2, 1, 3), (1, 1, 3)):
        found = vcue.clebsch_gordan(*[vcue.SO3(l) for l in triple])
        expected = cue.clebsch_gordan(*[cue.SO3(l) for l in triple])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert vcue.clebsch_gordan(vcue.O3(1, -1), vcue.O3(1, -1), vcue.O3(1, -1)).shape == (0, 3, 3, 3)


def test_descriptors_are_in_the_layout_ir_mul(rng):
    e = vcue.descriptors.channelwise_tensor_product(
        vcue.Irreps("O3", "2x0e + 2x1o"), vcue.Irreps("O3", "1x1o"), [vcue.O3(1, -1)]
    )
    assert [o.layout for o in e.operands[1:]] == ["ir_mul"] * 3 and str(e.irreps_out) == "2x1o"
    for made in (vcue.descriptors.linear("2x0e", "3x0e"), vcue.descriptors.elementwise_tensor_product("2x1o", "2x1o")):
        assert made(*[rng.normal(size=(4, o.size)) for o in made.inputs]).shape == (4, made.output.size)
    assert vcue.descriptors.fully_connected_tensor_product("2x0e", "1x1o", "3x1o").weight_numel == 6


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"^`method` must be one of naive, uniform_1d, fused_tp"):
        vcuet.Linear("2x0e", "2x0e", method="quick")
    with pytest.raises(
        TypeError, match=r"^`math_dtype` must be the dtype of the numbers, torch.float64, got torch.float32"
    ):
        vcuet.Linear("2x0e", "2x0e", math_dtype="float32")(torch.ones(1, 2))
    r = torch.randn(4, 3)
    np.testing.assert_allclose(vcuet.SphericalHarmonics([1, 2])(r), vcuet.SphericalHarmonics([1, 2], method="naive")(r))
