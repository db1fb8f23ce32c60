"""Layers in JAX: the plain definition under jit, vmap and two derivatives, trees, errors, the numbers of torch's layers."""

from __future__ import annotations

import numpy as np
import pytest
from laws import random_rotation
from layer_peers import LINEAR, PRODUCTS, turn
from valence.equivariant import Irreps, norm_squared

jax = pytest.importorskip("jax", reason="jax is not installed")
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import valence.jax as vj  # noqa: E402

KEY = jax.random.key(7)
INSTRUCTIONS = ("2x0e + 3x1o", "2x1o", "2x1o + 6x2e", [(0, 0, 0, "uvw", True), (1, 0, 1, "uvuv", False)])


def contraction(layout):
    layer = vj.SymmetricContraction("3x0e + 3x1o + 3x2o", "3x1o + 3x0e", 3, 2, layout=layout, key=KEY)
    z = jnp.array([0, 1, 1, 0, 1])
    return layer, [layer.descriptor.operands[1].irreps], lambda layer, x, **kw: layer(x, z, **kw)


def gate(layout):
    layer = vj.Gate(
        "2x0e + 1x0o", ["silu", "tanh"], "5x0e + 2x0o", ["sigmoid", "abs"], "3x1o + 2x1o + 2x2e", layout=layout
    )
    return layer, [layer.irreps_in], lambda layer, x, **kw: layer(x, **kw)


def by_class(layout):
    layer = vj.Linear("3x0e + 2x1o + 3x1o", "4x1o + 2x0e", weight_classes=3, layout=layout, key=KEY)
    z = jnp.array([2, 0, 1, 2, 2])
    return layer, [layer.descriptor.operands[1].irreps], lambda layer, x, **kw: layer(x, weight_indices=z, **kw)


def harmonics(layout):
    return vj.SphericalHarmonics([0, 2, 3]), [Irreps("1o")], lambda layer, x, **kw: layer(x, **kw)


#: Fewer than torch's: XLA takes seconds to compile each of them.
MADE = [
    contraction,
    gate,
    by_class,
    harmonics,
    (vj.TensorProduct, INSTRUCTIONS),
    (vj.ChannelWiseTensorProduct, PRODUCTS[4][:2]),
    (vj.FullyConnectedTensorProduct, PRODUCTS[4]),
    (vj.Linear, LINEAR[3]),
]


def make(case, layout):
    """(layer, irreps of its inputs, call of the layer)"""
    if callable(case):
        return case(layout)
    kind, irreps = case
    layer = kind(*irreps, layout=layout, key=KEY)
    return layer, [o.irreps for o in layer.descriptor.inputs[1:]], lambda layer, *x, **kw: layer(*x, **kw)


def features(rng, irreps, rows=5):
    return [jnp.asarray(rng.normal(size=(rows, i.dim))) for i in irreps]


def close(found, expected, tolerance=1e-11):
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert f.shape == e.shape
        np.testing.assert_allclose(f, e, atol=tolerance * (1 + float(jnp.abs(e).sum())))


@pytest.mark.parametrize(
    "case, layout",
    list(zip(MADE, ["ir_mul", "mul_ir"] * len(MADE))),
    ids=lambda c: getattr(c, "__name__", None) or (c if isinstance(c, str) else c[0].__name__),
)
class TestEveryLayer:
    def test_turns_with_the_frame(self, case, layout, rng):
        layer, irreps, call = make(case, layout)
        rotation = random_rotation(rng)
        inputs = features(rng, irreps)
        for inverted in (False, True):
            turned = [jnp.asarray(turn(i, np.asarray(x), rotation, inverted, layout)) for i, x in zip(irreps, inputs)]
            expected = turn(layer.irreps_out, np.asarray(call(layer, *inputs)), rotation, inverted, layout)
            np.testing.assert_allclose(
                call(layer, *turned), expected, atol=1e-11 * (1 + np.abs(expected).max(initial=0))
            )

    def test_is_its_plain_definition_to_the_second_derivative(self, case, layout, rng):
        layer, irreps, call = make(case, layout)
        inputs = features(rng, irreps)

        def value(layer, inputs, use_fallback):
            return (call(layer, *inputs, use_fallback=use_fallback) ** 2).sum()

        def slope(layer, inputs, use_fallback):
            grads = jax.grad(value, argnums=(0, 1))(layer, inputs, use_fallback)
            return sum((g * jnp.cos(jnp.arange(g.size).reshape(g.shape))).sum() for g in jax.tree.leaves(grads))

        second = jax.jit(jax.grad(slope, argnums=(0, 1)), static_argnums=2)
        close(second(layer, inputs, False), second(layer, inputs, True), 1e-10)
        close(call(layer, *inputs), jax.jit(lambda l, x: call(l, *x, use_fallback=True))(layer, inputs))

    def test_vmap_is_a_loop(self, case, layout, rng):
        layer, irreps, call = make(case, layout)
        inputs = [jnp.stack([x, 2 * x]) for x in features(rng, irreps)]
        expected = jnp.stack([call(layer, *[x[n] for x in inputs]) for n in range(2)])
        close(jax.vmap(lambda *x: call(layer, *x))(*inputs), expected, 1e-13)

    def test_is_a_tree_of_its_weights(self, case, layout, rng):
        layer, irreps, call = make(case, layout)
        leaves, structure = jax.tree.flatten(layer)
        assert len(leaves) == (getattr(layer, "weight", None) is not None)
        again = jax.tree.unflatten(structure, leaves)
        assert type(again) is type(layer) and repr(again) == repr(layer)
        inputs = features(rng, irreps)
        close(call(again, *inputs), call(layer, *inputs), 0)
        if leaves:
            close(layer.replace(weight=2 * layer.weight).weight, 2 * leaves[0], 0)
            with pytest.raises(AttributeError):
                layer.weight = leaves[0]


class TestAgainstTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="torch is not installed")

    def same(self, torch, ours, theirs, inputs, *rest, **named):
        """Values, and gradients towards inputs and weights."""
        tensors = [torch.from_numpy(np.array(x)).requires_grad_() for x in inputs]
        given = [torch.from_numpy(np.array(r)) for r in rest]
        value = theirs(*tensors, *given, **{k: torch.from_numpy(np.array(v)) for k, v in named.items()})
        wanted = torch.autograd.grad((value**3).sum(), [*theirs.parameters(), *tensors])

        def cube(layer, inputs):
            return (layer(*inputs, *rest, **named) ** 3).sum()

        close(ours(*inputs, *rest, **named), jnp.asarray(value.detach().numpy()), 1e-13)
        found = jax.tree.leaves(jax.grad(cube, argnums=(0, 1))(ours, inputs))
        close(found, [jnp.asarray(g.numpy()) for g in wanted], 1e-12)

    def test_products_contraction_and_gate_give_its_numbers(self, torch, rng):
        import valence.torch as vt

        z = jnp.array([1, 0, 1, 1, 0])
        cases = [
            ("ChannelWiseTensorProduct", PRODUCTS[1][:2], {}, ()),
            ("FullyConnectedTensorProduct", PRODUCTS[2], {}, ()),
            ("TensorProduct", INSTRUCTIONS, {}, ()),
            ("Linear", (*LINEAR[1],), {}, ()),
            ("SymmetricContraction", ("2x0e + 2x1o", "2x1o + 2x0e", 3, 2), {"group": "O3_e3nn"}, (z,)),
            ("Gate", ("2x0e", ["silu"], "2x0o", ["tanh"], "2x1o"), {}, ()),
        ]
        for name, arguments, options, rest in cases:
            own = {} if name == "Gate" else {"key": KEY}
            ours, theirs = getattr(vj, name)(*arguments, **options, **own), getattr(vt, name)(*arguments, **options)
            if own:
                theirs = theirs.double()
                theirs.load_state_dict({"weight": torch.from_numpy(np.array(ours.weight))})
                irreps = [o.irreps for o in ours.descriptor.inputs[1:]]
            else:
                irreps = [ours.irreps_in]
            self.same(torch, ours, theirs, features(rng, irreps), *rest)

    def test_functions_without_a_name_are_scaled_by_their_own_moment(self, torch):
        gate = vj.Gate("2x0e", [jax.nn.softplus], "", [], "")
        assert gate.activations[0][0][1] == pytest.approx(1.0426436590527184, rel=2e-3)  # e3nn's draw
        assert vj.Gate("2x0e", [jnp.tanh], "", [], "", normalize2mom=False).activations[0][0][1] == 1.0


class TestCalls:
    def layer(self):
        return vj.ChannelWiseTensorProduct("4x0e + 4x1o", "0e + 1o", shared_weights=False)

    def operands(self, rng, edges=7):
        layer = self.layer()
        shapes = ((5, 16), (edges, 4), (edges, layer.weight_numel))
        return layer, [jnp.asarray(rng.normal(size=s)) for s in shapes]

    def test_edges_gather_and_scatter(self, rng):
        layer, (x, y, w) = self.operands(rng)
        source, target = jnp.array([0, 1, 2, 3, 4, 0, 1]), jnp.array([1, 0, 3, 3, 0, 0, 1])
        found = layer(x, y, w, indices_1=source, indices_out=target, size_out=5)
        close(found, jnp.zeros_like(found).at[target].add(layer(x[source], y, w)), 1e-13)

    def test_no_edges_give_zeros(self, rng):
        layer, (x, y, w) = self.operands(rng, 0)
        none = jnp.zeros(0, jnp.int32)
        for use_fallback in (False, True):

            def total(x, use_fallback=use_fallback):
                out = layer(x, y, w, indices_1=none, indices_out=none, size_out=5, use_fallback=use_fallback)
                assert out.shape == (5, layer.irreps_out.dim)
                return out.sum()

            assert total(x) == 0 and not jax.grad(total)(x).any()

    def test_float32_stays_float32(self):
        layer = vj.Linear("2x0e", "3x0e", key=KEY, dtype=jnp.float32)
        assert layer(jnp.ones((3, 2), jnp.float32)).dtype == jnp.float32

    def test_a_descriptor_is_a_layer(self, rng):
        norm = vj.TensorProduct(norm_squared("2x0e + 1x1o"))
        x = jnp.asarray(rng.normal(size=(5, 5)))
        assert norm.weight is None
        np.testing.assert_allclose(norm(x)[:, 2], (x[:, 2:] ** 2).sum(1))

    @pytest.mark.parametrize(
        "change, kind, message",
        [
            ({"x1": jnp.ones((5, 15))}, ValueError, "`x1` must be of shape [rows, 16] for 4x0e + 4x1o, got [5, 15]"),
            ({"x2": jnp.ones((6, 4))}, ValueError, "`x2` must have 7 rows as the index of `x1` has, got 6"),
            ({"weight": jnp.ones((7, 23))}, ValueError, "`weight` must be of shape [24] or [rows, 24], got [7, 23]"),
            ({"weight": None}, ValueError, "`weight` must be given to a layer without weights of its own, got None"),
            ({"indices_1": jnp.ones(7)}, TypeError, "`indices['x1']` must be integers, got float64"),
            ({"indices_1": jnp.ones((7, 1), int)}, ValueError, "`indices['x1']` must be of shape [rows], got [7, 1]"),
            ({"indices_out": jnp.arange(7)}, ValueError, "`size_out` must be given with an index of the output, got None"),
            ({"x1": jnp.ones((5, 16), int)}, TypeError, "`x1` must be float"),
            ({"x2": jnp.ones((7, 4), jnp.float32)}, TypeError, "`x2` must be float64 as `weight` is, got float32"),
        ],
    )  # fmt: skip
    def test_wrong_operands_are_refused_by_name(self, change, kind, message):
        given = {"x1": jnp.ones((5, 16)), "x2": jnp.ones((7, 4)), "weight": jnp.ones((7, 24))}
        given["indices_1"] = jnp.array([0, 1, 2, 3, 4, 0, 1])
        for use_fallback in (False, True):
            with pytest.raises(kind) as caught:
                self.layer()(**{**given, **change}, use_fallback=use_fallback)
            assert str(caught.value).startswith(message)

    def test_an_index_out_of_range_names_its_row(self, rng):
        layer, (x, y, w) = self.operands(rng)
        index = jnp.array([0, 1, 2, 3, 5, 0, 1])
        for use_fallback in (False, True):
            with pytest.raises(Exception, match=r"must be in \[0, 5\), got 5 in row 4"):
                layer(x, y, w, indices_1=index, use_fallback=use_fallback).block_until_ready()

    def test_weights_of_its_own_need_a_key(self):
        with pytest.raises(ValueError, match=r"^`key` must be given for a layer with weights of its own, got None"):
            vj.Linear("2x0e", "3x0e", internal_weights=True)
        with pytest.raises(ValueError, match=r"^`weight` must be None for a layer with weights of its own"):
            vj.Linear("2x0e", "3x0e", key=KEY)(jnp.ones((1, 2)), jnp.ones((1, 6)))


def test_an_index_beyond_int32_does_not_come_round():
    layer = vj.Linear("1x0e", "1x0e", key=jax.random.key(0), dtype=jnp.float64)
    x = jnp.arange(4.0)[:, None]
    with pytest.raises(Exception, match=r"must be in \[0, 4\), got -1 in row 0"):
        jax.block_until_ready(layer(x, indices_1=jnp.array([2**32 + 1, 2])))
