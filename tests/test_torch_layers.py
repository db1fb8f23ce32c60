"""Layers in torch: the numbers and both derivatives of e3nn and cuEquivariance, the laws, the errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from layer_peers import LINEAR, PRODUCTS, cuequivariance, e3nn, e3nn_channelwise
from valence.equivariant import Irreps

torch = pytest.importorskip("torch", reason="torch is not installed")

import valence.torch as vt  # noqa: E402


@pytest.fixture(autouse=True)
def _double():
    """e3nn keeps its constants in the default dtype of the time it is made."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def random(rng, *shape, dtype=None):
    return torch.from_numpy(rng.normal(size=shape)).to(dtype or torch.float64).requires_grad_()


def three_orders(call, operands, rng_seed=0):
    """The value, its vjp and the vjp of that, all contracted with fixed random numbers."""
    rng = np.random.default_rng(rng_seed)
    value = call(*operands)
    cotangent = torch.from_numpy(rng.normal(size=value.shape)).requires_grad_()
    first = torch.autograd.grad(value, operands, cotangent, create_graph=True, allow_unused=True)
    first = [torch.zeros_like(o) if g is None else g for g, o in zip(first, operands)]
    weights = [torch.from_numpy(rng.normal(size=g.shape)) for g in first]
    total = sum((g * w).sum() for g, w in zip(first, weights))
    second = torch.autograd.grad(total, [*operands, cotangent], allow_unused=True)
    second = [torch.zeros_like(o) if g is None else g for g, o in zip(second, [*operands, cotangent])]
    return [value.detach(), *[g.detach() for g in first], *second]


def agree(ours, theirs, operands, tolerance=1e-10):
    found = three_orders(ours, operands)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = three_orders(theirs, operands)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        scale = max(1.0, float(e.abs().max())) if e.numel() else 1.0
        np.testing.assert_allclose(f.numpy(), e.numpy(), atol=tolerance * scale)


class TestAgainstE3nn:
    @pytest.mark.parametrize("irreps1, irreps2, _", PRODUCTS)
    def test_the_channelwise_product_and_both_derivatives(self, irreps1, irreps2, _, rng):
        package, convention = e3nn()
        if convention == "e3nn04" and "7o" in irreps1:
            pytest.skip("the old signs are known to l = 8 only")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = e3nn_channelwise(package.o3, irreps1, irreps2).double()
        ours = vt.ChannelWiseTensorProduct(
            irreps1, irreps2, shared_weights=False, group="O3_e3nn", convention=convention
        )
        assert ours.weight_numel == theirs.weight_numel and ours.irreps_out.dim == theirs.irreps_out.dim
        x, y = (random(rng, 6, Irreps(i).dim) for i in (irreps1, irreps2))
        agree(ours, theirs, [x, y, random(rng, 6, ours.weight_numel)])

    @pytest.mark.parametrize("irreps1, irreps2, irreps_out", PRODUCTS)
    def test_the_fully_connected_product_with_its_weights_and_both_derivatives(self, irreps1, irreps2, irreps_out, rng):
        package, convention = e3nn()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = package.o3.FullyConnectedTensorProduct(irreps1, irreps2, irreps_out).double()
        ours = vt.FullyConnectedTensorProduct(
            irreps1, irreps2, irreps_out, group="O3_e3nn", convention=convention, dtype=torch.float64
        )
        ours.load_state_dict(theirs.state_dict())
        agree(ours, theirs, [random(rng, 6, Irreps(i).dim) for i in (irreps1, irreps2)])

    @pytest.mark.parametrize("irreps_in, irreps_out", LINEAR)
    def test_the_linear_map_with_its_weights_and_both_derivatives(self, irreps_in, irreps_out, rng):
        package, _ = e3nn()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = package.o3.Linear(irreps_in, irreps_out).double()
        ours = vt.Linear(irreps_in, irreps_out, dtype=torch.float64)
        ours.load_state_dict(theirs.state_dict())
        agree(ours, theirs, [random(rng, 6, Irreps(irreps_in).dim)])

    def test_a_product_by_instructions_of_every_mode_and_both_derivatives(self, rng):
        package, convention = e3nn()
        one, two, out = "2x0e + 3x1o + 2x2o", "2x1o + 3x0e + 2x1e", "2x1o + 3x1o + 6x2e + 4x1e + 2x2e + 3x0e"
        instructions = [
            (0, 0, 0, "uvw", True, 0.5),
            (0, 0, 0, "uvu", False),
            (1, 1, 1, "uvv", True),
            (1, 0, 2, "uvuv", True, 2.0),
            (0, 2, 3, "uuw", True),
            (2, 0, 4, "uuu", True),
            (2, 0, 3, "uuw", True, 3.0),
            (1, 0, 5, "uvu", True),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = package.o3.TensorProduct(one, two, out, instructions).double()
        ours = vt.TensorProduct(one, two, out, instructions, convention=convention, dtype=torch.float64)
        ours.load_state_dict(theirs.state_dict())
        agree(ours, theirs, [random(rng, 5, Irreps(i).dim) for i in (one, two)])

    @pytest.mark.parametrize(
        "arguments",
        [
            ("8x0e", ["silu"], "4x0e + 2x0e", ["sigmoid", "tanh"], "4x1o + 2x2e"),
            ("3x0o + 2x0e", ["tanh", "silu"], "3x0o + 1x0e", ["abs", None], "2x1o + 2x3e"),
            ("4x0e", [None], "", [], ""),
        ],
    )
    def test_the_gate_and_both_derivatives(self, arguments, rng):
        package, _ = e3nn()
        scalars, act_scalars, gates, act_gates, gated = arguments
        functions = {"silu": torch.nn.functional.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "abs": torch.abs}
        known = [[functions.get(f) for f in side] for side in (act_scalars, act_gates)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = package.nn.Gate(scalars, known[0], gates, known[1], gated).double()
        for acts in (known, (act_scalars, act_gates)):  # functions, then names
            ours = vt.Gate(scalars, acts[0], gates, acts[1], gated, group="O3_e3nn")
            ours.load_state_dict(theirs.state_dict())
            assert str(ours.irreps_in).replace(" ", "") == str(theirs.irreps_in)
            assert str(ours.irreps_out).replace(" ", "") == str(theirs.irreps_out)
            agree(ours, theirs, [random(rng, 5, theirs.irreps_in.dim)], 1e-9)

    def test_spherical_harmonics_of_chosen_degrees(self, rng):
        package, _ = e3nn()
        for normalize, normalization in ((True, "component"), (False, "norm"), (True, "integral")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = package.o3.SphericalHarmonics([1, 3, 4], normalize, normalization)
            ours = vt.SphericalHarmonics([1, 3, 4], normalize, normalization=normalization)
            agree(ours, theirs, [random(rng, 7, 3)])


def quiet(make, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*args, **kwargs)


LAYOUTS = [("mul_ir", "mul_ir", "mul_ir"), ("ir_mul", "ir_mul", "ir_mul"), ("mul_ir", "ir_mul", "ir_mul")]


class TestAgainstCuEquivariance:
    @pytest.mark.parametrize("layouts", LAYOUTS)
    @pytest.mark.parametrize("irreps1, irreps2, irreps_out", PRODUCTS)
    def test_the_channelwise_product_and_both_derivatives(self, irreps1, irreps2, irreps_out, layouts, rng):
        cue, cuet = cuequivariance()
        names = dict(zip(("layout_in1", "layout_in2", "layout_out"), layouts))
        keep = sorted({ir for _, ir in Irreps(irreps_out)})
        theirs = quiet(
            cuet.ChannelWiseTensorProduct,
            cue.Irreps("O3", irreps1),
            cue.Irreps("O3", irreps2),
            [cue.O3(ir.l, ir.p) for ir in keep],
            shared_weights=False,
            dtype=torch.float64,
            method="naive",
            **names,
        )
        ours = vt.ChannelWiseTensorProduct(irreps1, irreps2, keep, shared_weights=False, **names)
        assert ours.weight_numel == theirs.weight_numel
        x, y = (random(rng, 6, Irreps(i).dim) for i in (irreps1, irreps2))
        agree(ours, theirs, [x, y, random(rng, 6, ours.weight_numel)])

    @pytest.mark.parametrize("layouts", LAYOUTS)
    @pytest.mark.parametrize("irreps1, irreps2, irreps_out", PRODUCTS)
    def test_the_fully_connected_product_with_its_weights(self, irreps1, irreps2, irreps_out, layouts, rng):
        cue, cuet = cuequivariance()
        names = dict(zip(("layout_in1", "layout_in2", "layout_out"), layouts))
        irreps = [cue.Irreps("O3", i) for i in (irreps1, irreps2, irreps_out)]
        theirs = quiet(cuet.FullyConnectedTensorProduct, *irreps, dtype=torch.float64, method="naive", **names)
        ours = vt.FullyConnectedTensorProduct(irreps1, irreps2, irreps_out, dtype=torch.float64, **names)
        ours.load_state_dict(theirs.state_dict())
        agree(ours, theirs, [random(rng, 6, Irreps(i).dim) for i in (irreps1, irreps2)])

    @pytest.mark.parametrize("irreps_in, irreps_out", LINEAR)
    def test_the_linear_map_by_classes_of_weights(self, irreps_in, irreps_out, rng):
        cue, cuet = cuequivariance()
        names = {"layout_in": "ir_mul", "layout_out": "mul_ir"}
        irreps = [cue.Irreps("O3", i) for i in (irreps_in, irreps_out)]
        theirs = quiet(cuet.Linear, *irreps, weight_classes=4, dtype=torch.float64, method="naive", **names)
        ours = vt.Linear(irreps_in, irreps_out, weight_classes=4, dtype=torch.float64, **names)
        ours.load_state_dict(theirs.state_dict())
        classes = torch.tensor([3, 0, 0, 2, 3, 1])
        x = random(rng, 6, Irreps(irreps_in).dim)
        agree(lambda x: ours(x, weight_indices=classes), lambda x: theirs(x, weight_indices=classes), [x])

    @pytest.mark.parametrize("group, irreps", [("SO3", "2x0 + 2x1 + 2x2"), ("O3", "2x0e + 2x1o + 2x2e")])
    def test_edges_gather_and_scatter(self, group, irreps, rng):
        cue, cuet = cuequivariance()
        sphere = "0 + 1" if group == "SO3" else "0e + 1o"
        theirs = quiet(
            cuet.ChannelWiseTensorProduct,
            cue.Irreps(group, irreps),
            cue.Irreps(group, sphere),
            layout=cue.mul_ir,
            shared_weights=False,
            dtype=torch.float64,
            method="naive",
        )
        ours = vt.ChannelWiseTensorProduct(irreps, sphere, group=group, shared_weights=False)
        source, target = (torch.from_numpy(rng.integers(0, 5, 11)) for _ in range(2))
        operands = [random(rng, 5, 18), random(rng, 11, 4), random(rng, 11, ours.weight_numel)]
        agree(
            lambda x, y, w: ours(x, y, w, indices_1=source, indices_out=target, size_out=5),
            lambda x, y, w: theirs(x, y, w, indices_1=source, indices_out=target, size_out=5),
            operands,
        )

    def test_spherical_harmonics(self, rng):
        _, cuet = cuequivariance()
        for ls, normalize in (([0, 1, 2, 3], True), ([0, 2], False), ([1], True)):
            theirs = quiet(cuet.SphericalHarmonics, ls, normalize, method="naive")
            agree(vt.SphericalHarmonics(ls, normalize), theirs, [random(rng, 7, 3)])

    @pytest.mark.parametrize("degree", [1, 2, 3])
    def test_the_symmetric_contraction_with_maces_weights(self, degree, rng):
        cue, cuet = cuequivariance()
        _, convention = e3nn()  # cuEquivariance takes this coupling from the e3nn that is there
        irreps_in, irreps_out = "3x0e + 3x1o + 3x2e", "3x0e + 3x1o"
        theirs = quiet(
            cuet.SymmetricContraction,
            cue.Irreps(_o3_e3nn(), irreps_in),
            cue.Irreps(_o3_e3nn(), irreps_out),
            degree,
            4,
            layout=cue.mul_ir,
            original_mace=True,
            dtype=torch.float64,
            method="naive",
        )
        ours = vt.SymmetricContraction(
            irreps_in, irreps_out, degree, 4, group="O3_e3nn", convention=convention, dtype=torch.float64
        )
        ours.load_state_dict(theirs.state_dict())
        z = torch.tensor([0, 3, 3, 1, 0, 2])
        agree(lambda x: ours(x, z), lambda x: theirs(x, z), [random(rng, 6, 27)])


class TestAgainstMace:
    @pytest.mark.parametrize("irreps_out, degree", [("3x0e + 3x1o", 3), ("3x0e + 3x2o", 2)])
    def test_the_symmetric_contraction_with_its_weights(self, irreps_out, degree, rng):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mace = pytest.importorskip(
                "mace.modules.symmetric_contraction", reason="mace-torch is not there; it needs another e3nn than CI's"
            )
        package, convention = e3nn()
        irreps_in = "3x0e + 3x1o + 3x2e + 3x3o"
        made = [package.o3.Irreps(i) for i in (irreps_in, irreps_out)]
        theirs = quiet(mace.SymmetricContraction, *made, degree, num_elements=4)
        arguments = irreps_in, irreps_out, degree, 4
        ours = vt.SymmetricContraction(*arguments, group="O3_e3nn", convention=convention, dtype=torch.float64)
        ours.load_state_dict(theirs.state_dict())
        z = torch.tensor([0, 3, 3, 1, 0, 2])
        starts = [(0, 1), (3, 3), (12, 5), (27, 7)]
        features = torch.cat([s + torch.arange(3 * d).reshape(3, d) for s, d in starts], 1)  # [C, M]
        agree(
            lambda x: ours(x, z),
            lambda x: theirs(x[:, features], torch.eye(4)[z]),
            [random(rng, 6, 48)],
        )
        if degree == 3:
            other = vt.SymmetricContraction(*arguments, group="O3_e3nn", convention="e3nn05", dtype=torch.float64)
            with pytest.raises(ValueError, match=r"^`state_dict` must have the couplings of this layer, got other U"):
                other.load_state_dict(theirs.state_dict())


def _o3_e3nn():
    from cuequivariance.group_theory.experimental.e3nn import O3_e3nn

    return O3_e3nn


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_that_would_keep_one_result_is_refused():
    layer = vt.Linear("1x0e", "1x0e", dtype=torch.float64).requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"^`torch.jit.trace` must not see polynomial_2"):
        torch.jit.trace(layer, (torch.ones(4, 1, dtype=torch.float64),))
