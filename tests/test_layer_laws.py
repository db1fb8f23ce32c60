"""Laws of the layers in torch: rotation and inversion, plain definition, graphs, empty and strided input, errors."""

from __future__ import annotations

import numpy as np
import pytest
import valence as vl
from laws import random_rotation
from layer_peers import LINEAR, PRODUCTS, turn
from valence.equivariant import Irreps, channelwise_tensor_product, norm_squared

torch = pytest.importorskip("torch", reason="torch is not installed")

import valence.torch as vt  # noqa: E402

F64 = {"dtype": torch.float64}


def contraction(layout):
    layer = vt.SymmetricContraction("3x0e + 3x1o + 3x2o", "3x1o + 3x0e", 3, 2, layout=layout, **F64)
    z = torch.tensor([0, 1, 1, 0, 1])
    return layer, [layer.irreps_in], lambda x, **kw: layer(x, z, **kw)


def gate(layout):
    layer = vt.Gate(
        "2x0e + 1x0o", ["silu", "tanh"], "5x0e + 2x0o", ["sigmoid", "abs"], "3x1o + 2x1o + 2x2e", layout=layout
    )
    return layer, [layer.irreps_in], layer


def by_class(layout):
    layer = vt.Linear("3x0e + 2x1o + 3x1o", "4x1o + 2x0e", weight_classes=3, layout=layout, **F64)
    z = torch.tensor([2, 0, 1, 2, 2])
    return layer, [layer.irreps_in], lambda x, **kw: layer(x, weight_indices=z, **kw)


def harmonics(layout):
    layer = vt.SphericalHarmonics([0, 2, 3])
    return layer, [Irreps("1o")], layer


MADE = [
    contraction,
    gate,
    by_class,
    harmonics,
    *[(vt.ChannelWiseTensorProduct, case[:2]) for case in PRODUCTS],
    *[(vt.FullyConnectedTensorProduct, case) for case in PRODUCTS],
    *[(vt.Linear, case) for case in LINEAR],
]


def make(case, layout):
    """(layer, irreps of its inputs, call)"""
    if callable(case):
        return case(layout)
    kind, irreps = case
    layer = kind(*irreps, layout=layout, **F64)
    return layer, [o.irreps for o in layer.descriptor.inputs[1:]], layer


def features(rng, irreps, rows=5):
    return [torch.from_numpy(rng.normal(size=(rows, i.dim))).requires_grad_() for i in irreps]


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize(
    "case", MADE, ids=lambda c: c.__name__ if callable(c) else f"{c[0].__name__}({', '.join(c[1])})"
)
class TestEveryLayer:
    @pytest.mark.parametrize("inverted", [False, True])
    def test_turns_with_the_frame(self, case, layout, inverted, rng):
        layer, irreps, call = make(case, layout)
        rotation = random_rotation(rng)
        inputs = [t.detach() for t in features(rng, irreps)]
        turned = [torch.from_numpy(turn(i, t.numpy(), rotation, inverted, layout)) for i, t in zip(irreps, inputs)]
        expected = turn(layer.irreps_out, call(*inputs).detach().numpy(), rotation, inverted, layout)
        found = call(*turned).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-11 * max(1.0, np.abs(expected).max(initial=0)))

    def test_is_its_plain_definition(self, case, layout, rng):
        _, irreps, call = make(case, layout)
        inputs = features(rng, irreps)
        found, expected = call(*inputs), call(*inputs, use_fallback=True)
        np.testing.assert_allclose(
            found.detach(), expected.detach(), atol=1e-11 * (1 + float(expected.detach().abs().sum()))
        )
        for a, b in zip(*[torch.autograd.grad((r**2).sum(), inputs, allow_unused=True) for r in (found, expected)]):
            if a is not None and b is not None:
                np.testing.assert_allclose(a, b, atol=1e-10 * (1 + float(b.abs().sum())))

    def test_no_rows_give_no_rows_and_strided_rows_are_read(self, case, layout, rng):
        if case in (contraction, by_class):
            return  # their element index has the rows
        layer, irreps, call = make(case, layout)
        inputs = [t.detach() for t in features(rng, irreps)]
        assert call(*[t[:0] for t in inputs]).shape == (0, layer.irreps_out.dim)
        strided = [torch.stack([t, t], dim=2)[..., 0] for t in inputs]
        np.testing.assert_array_equal(call(*strided).detach(), call(*inputs).detach())


class TestCalls:
    def layer(self, **options):
        return vt.ChannelWiseTensorProduct("4x0e + 4x1o", "0e + 1o", shared_weights=False, **options)

    def test_shared_row_and_flat_weights_are_the_same(self, rng):
        layer = vt.ChannelWiseTensorProduct("4x0e + 4x1o", "0e + 1o", internal_weights=False)
        own = self.layer()
        w, x, y = (torch.from_numpy(rng.normal(size=s)) for s in ((layer.weight_numel,), (5, 16), (5, 4)))
        flat = layer(x, y, w)
        np.testing.assert_array_equal(layer(x, y, w[None]), flat)
        np.testing.assert_allclose(own(x, y, w.expand(5, -1)), flat, atol=1e-14)

    def test_no_edges_give_zeros(self):
        layer, none = self.layer(), torch.zeros(0, dtype=torch.int64)
        x, y = torch.ones(5, 16, requires_grad=True), torch.ones(0, 4, requires_grad=True)
        w = torch.ones(0, layer.weight_numel, requires_grad=True)
        for use_fallback in (False, True):
            out = layer(x, y, w, indices_1=none, indices_out=none, size_out=5, use_fallback=use_fallback)
            assert out.shape == (5, layer.irreps_out.dim) and not out.any()
            grads = torch.autograd.grad(out.sum(), [x, y, w])
            assert [g.shape for g in grads] == [x.shape, y.shape, w.shape] and not grads[0].any()

    def test_float32_stays_float32(self, rng):
        layer = vt.Linear("4x0e + 4x1o", "2x0e")
        assert layer(torch.ones(3, 16)).dtype == torch.float32

    def test_a_compiled_layer_takes_any_number_of_edges(self, rng):
        layer = self.layer()

        def message(x, y, w, source, target, size):
            return layer(x, y, w, indices_1=source, indices_out=target, size_out=size).pow(2).sum()

        torch._dynamo.reset()
        compiled = torch.compile(message, fullgraph=True, backend="aot_eager")
        for n in range(3, 16):
            source, target = (torch.from_numpy(rng.integers(0, n, 2 * n + 1)) for _ in range(2))
            shapes = ((n, 16), (2 * n + 1, 4), (2 * n + 1, layer.weight_numel))
            inputs = [torch.from_numpy(rng.normal(size=s)).requires_grad_() for s in shapes]
            found = torch.autograd.grad(compiled(*inputs, source, target, n), inputs)
            expected = torch.autograd.grad(message(*inputs, source, target, n), inputs)
            for f, e in zip(found, expected):
                np.testing.assert_allclose(f, e, atol=1e-12)

    def test_a_compiled_plain_definition_is_the_plain_definition(self, rng):
        layer = vt.Linear("4x0e + 4x1o", "2x0e + 3x1o", **F64)
        x = torch.from_numpy(rng.normal(size=(5, 16)))
        torch._dynamo.reset()
        compiled = torch.compile(lambda x: layer(x, use_fallback=True), fullgraph=True, backend="aot_eager")
        np.testing.assert_allclose(compiled(x).detach(), layer(x).detach(), atol=1e-13)

    def test_a_descriptor_is_a_layer(self, rng):
        x = torch.from_numpy(rng.normal(size=(5, 10)))
        norm = vt.TensorProduct(norm_squared("2x0e + 1x1o + 1x2e"))
        assert norm.weight is None and norm(x).shape == (5, 4)
        np.testing.assert_allclose(norm(x)[:, 2], (x[:, 2:5] ** 2).sum(1))
        weighted = vt.TensorProduct(channelwise_tensor_product("2x0e + 1x1o", "1o"), **F64)
        assert weighted(x[:, :5], x[:, :3]).shape[1] == weighted.irreps_out.dim

    def test_harmonics_of_any_kind_are_their_plain_definition_to_the_second_derivative(self, rng):
        vectors = torch.from_numpy(np.concatenate([rng.normal(size=(6, 3)), np.zeros((1, 3))])).requires_grad_()
        for normalize, normalization in ((True, "component"), (True, "norm"), (False, "integral")):
            layer = vt.SphericalHarmonics([0, 1, 2, 4], normalize, normalization=normalization)
            results = []
            for use_fallback in (False, True):
                value = layer(vectors, use_fallback=use_fallback)
                (first,) = torch.autograd.grad(value.pow(3).sum(), vectors, create_graph=True)
                results.append([value, first, *torch.autograd.grad(first.pow(2).sum(), vectors)])
            for found, expected in zip(*results):
                np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-9, atol=1e-9)

    def test_a_state_dict_goes_round(self):
        for layer in (self.layer(internal_weights=False), vt.Linear("2x0e", "3x0e"), gate("mul_ir")[0]):
            layer.load_state_dict(layer.state_dict())

    def test_a_third_derivative_raises_and_the_plain_one_is_there(self, rng):
        x = torch.from_numpy(rng.normal(size=(4, 10))).requires_grad_()
        layer = vt.TensorProduct(norm_squared("2x0e + 1x1o + 1x2e"))

        def third(use_fallback):
            value = layer(x, use_fallback=use_fallback).pow(2).sum()
            for _ in range(3):
                (grad,) = torch.autograd.grad(value, x, create_graph=True)
                value = grad.pow(2).sum()
            return value

        with pytest.raises(NotImplementedError, match="at most twice"):
            third(False)
        assert torch.isfinite(third(True))


class TestErrors:
    @pytest.mark.parametrize(
        "build, message",
        [
            (lambda: vt.Linear("4x0e + 4y1o", "0e"), "`irreps_in`: `irreps` must be terms such as 32x1o joined by +, got '4y1o' at place 7"),
            (lambda: vt.ChannelWiseTensorProduct("4x0e", "1"), "`irreps_in2`: `irreps` must be with a parity e or o for O3, got '1' at place 0"),
            (lambda: vt.Linear("4x0e", "0e", group="O4"), "`irreps_in`: `group` must be one of SO3, O3, O3_e3nn, got 'O4'"),
            (lambda: vt.Linear("4x0e", "0e", layout="mul"), "`layout_in` must be one of mul_ir, ir_mul, got 'mul'"),
            (lambda: vt.Linear("4x0e", "0e", shared_weights=False, internal_weights=True), "`internal_weights` must be False where `shared_weights` is, got True"),
            (lambda: vt.Linear("4x0e", "0e", weight_classes=0), "`weight_classes` must be 1, or more with shared weights, got 0"),
            (lambda: vt.SymmetricContraction("4x0e + 3x1o", "4x0e", 2, 3), "`irreps_in` and `irreps_out` must have one multiplicity, got 4x0e + 3x1o and 4x0e"),
            (lambda: vt.SymmetricContraction("4x0e", "4x0e", 2, 0), "`num_elements` must be a whole number of at least 1, got 0"),
            (lambda: vt.SphericalHarmonics([2, 1]), "`ls` must be increasing degrees, got [2, 1]"),
            (lambda: vt.Gate("2x0e", ["silu"], "1x0e", ["sigmoid"], "2x1o"), "`irreps_gates` must hold 2 scalars, one an irrep of 2x1o, got 1x0e"),
            (lambda: vt.Gate("2x0o", ["silu"], "", [], ""), "`act_scalars` must be even or odd for odd scalars, got neither for 2x0o"),
            (lambda: vt.Gate("2x0e", ["swish"], "", [], ""), "an activation must be a function or one of silu, tanh, sigmoid, gelu, relu, abs, got 'swish'"),
            (lambda: vt.Gate("2x0e", [], "", [], ""), "`act_scalars` must be one for each of 1 terms of 2x0e, got 0"),
            (lambda: vt.Gate("2x1e", [None], "", [], ""), "`irreps_scalars` must be scalars, got 2x1e"),
            (lambda: vt.TensorProduct("2x0e", "1o", "2x1o", [(0, 1, 0, "uvu", True)]), "`instructions` must name terms in [0, 1) of 1x1o, got 1 in row 0"),
            (lambda: vt.TensorProduct("2x0e", "1o", "2x1e", [(0, 0, 0, "uvu", True)]), "`instructions` must be paths that parity and degree allow, got 0e x 1o -> 1e in row 0"),
            (lambda: vt.TensorProduct("2x0e", "1o", "3x1o", [(0, 0, 0, "uvu", True)]), "`instructions` must have multiplicities that fit uvu, got 2, 1 -> 3 in row 0"),
            (lambda: vt.TensorProduct("2x0e", "1o", "2x1o", [(0, 0, 0, "uwu", True)]), "`instructions` must have a mode of uvw, uvu, uvv, uuw, uuu, uvuv, got 'uwu' in row 0"),
        ],
    )  # fmt: skip
    def test_at_construction_name_the_argument(self, build, message):
        with pytest.raises(ValueError) as caught:
            build()
        assert str(caught.value) == message

    def given(self, **change):
        given = {"x1": torch.ones(5, 16), "x2": torch.ones(7, 4), "weight": torch.ones(7, 24)}
        given["indices_1"] = torch.tensor([0, 1, 2, 3, 4, 0, 1])
        return {**given, **change}

    @pytest.mark.parametrize(
        "change, kind, message",
        [
            ({"x1": torch.ones(5, 15)}, ValueError, "`x1` must be of shape [rows, 16] for 4x0e + 4x1o, got [5, 15]"),
            ({"x2": torch.ones(7)}, ValueError, "`x2` must be of shape [rows, 4] for 1x0e + 1x1o, got [7]"),
            ({"x2": torch.ones(6, 4)}, ValueError, "`x2` must have 7 rows as the index of `x1` has, got 6"),
            ({"weight": torch.ones(7, 23)}, ValueError, "`weight` must be of shape [24] or [rows, 24], got [7, 23]"),
            ({"weight": None}, ValueError, "`weight` must be given to a layer without weights of its own, got None"),
            ({"indices_1": torch.tensor([0, 1, 2, 3, 5, 0, 1])}, ValueError, "`indices['x1']` must be in [0, 5), got 5 in row 4"),
            ({"indices_1": torch.tensor([0, 1, 2, -1, 0, 0, 1])}, ValueError, "`indices['x1']` must be in [0, 5), got -1 in row 3"),
            ({"indices_1": torch.ones(7)}, TypeError, "`indices['x1']` must be int32"),
            ({"indices_1": torch.ones(7, 1, dtype=torch.int64)}, ValueError, "`indices['x1']` must be of shape [rows], got [7, 1]"),
            ({"indices_out": torch.arange(7)}, ValueError, "`size_out` must be given with an index of the output, got None"),
            ({"indices_out": torch.arange(7), "size_out": 6}, ValueError, "`indices['out']` must be in [0, 6), got 6 in row 6"),
            ({"x1": torch.ones(5, 16).long()}, TypeError, "`x1` must be "),
            ({"x2": torch.ones(7, 4).double()}, TypeError, "`x2` must be "),
            ({"x2": torch.ones(7, 4, device="meta")}, ValueError, "`x2` must be on "),
            ({"x1": [1.0]}, TypeError, "`x1` must be a torch tensor, got <class 'list'>"),
        ],
    )  # fmt: skip
    def test_in_a_call_name_the_operand(self, change, kind, message):
        layer = vt.ChannelWiseTensorProduct("4x0e + 4x1o", "0e + 1o", shared_weights=False)
        for use_fallback in (False, True):
            with pytest.raises(kind) as caught:
                layer(**self.given(**change), use_fallback=use_fallback)
            assert str(caught.value).startswith(message)

    def test_own_weights_are_not_given_again(self):
        layer = vt.Linear("2x0e", "3x0e", weight_classes=2)
        with pytest.raises(
            ValueError, match=r"^`weight` must be None for a layer with weights of its own, got an array"
        ):
            layer(torch.ones(1, 2), torch.ones(2, 6), weight_indices=torch.tensor([0]))
        with pytest.raises(ValueError, match=r"^`weight_indices` must be given for 2 classes of weights, got None"):
            layer(torch.ones(1, 2))
        with pytest.raises(ValueError, match=r"^`indices\['weight'\]` must be in \[0, 2\), got 2 in row 0"):
            layer(torch.ones(1, 2), weight_indices=torch.tensor([2]))


def test_the_module_lists_its_layers():
    assert {"Linear", "polynomial", "SymmetricContraction", "edge_length"} <= set(dir(vt))
    with pytest.raises(AttributeError, match=r"the ops and layers are .*polynomial, .*Linear"):
        vt.Nonlinear  # noqa: B018
    assert vl.equivariant.Descriptor is not None
