"""Tensor products against the peer's numbers, under rotation and inversion, and their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import valence as vl
from laws import random_rotation
from valence._op import REGISTRY

DATA = Path(__file__).parent / "data" / "equivariant"


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def check_all_orders(data, op, names, indices=(), **parameters):
    """Forward, vjp and second vjp: `names` are the file's names of the real operands, in the op's order."""
    static = op.static((), parameters)
    inputs = [data[n].reshape(len(data[n]), 1, -1) if n == "x" and data[n].ndim == 2 else data[n] for n in names]
    shaped = [i.shape for i in inputs]
    inputs += [data[i] for i in indices]
    out_shape = op.kernel(static)(*inputs).shape
    close(op.kernel(static)(*inputs), data["out"].reshape(out_shape), 1e-12)
    cotangent = data["go"].reshape(out_shape)
    for found, n, shape in zip(op.bwd.kernel(static)(*inputs, cotangent), names, shaped):
        close(found, data[f"g_{n}"].reshape(shape), 1e-11)
    weights = [data[f"h_{n}"].reshape(s) for n, s in zip(names, shaped)]
    results = op.bwd.bwd.kernel(static)(*inputs, cotangent, *weights)
    for found, n, shape in zip(results, (*names, "go"), (*shaped, out_shape), strict=True):
        close(found, data[f"bb_{n}"].reshape(shape), 1e-10)


@pytest.mark.parametrize("degrees", [(3, 3, 3), (1, 2, 2)])
def test_the_weighted_product_and_its_derivatives_are_the_peers(degrees):
    data = np.load(DATA / f"tp_{''.join(map(str, degrees))}.npz")
    parameters = dict(zip(("lmax1", "lmax2", "lmax_out"), degrees))
    check_all_orders(data, REGISTRY["tensor_product"], ("x", "y", "W"), **parameters)
    close(vl.tensor_product(data["x"], data["y"], data["W"], lmax_out=degrees[2]), data["out"], 1e-12)


def test_the_simple_product_and_its_derivatives_are_the_peers():
    data = np.load(DATA / "tp_simple_333.npz")
    check_all_orders(data, REGISTRY["tensor_product_simple"], ("x", "y"))
    close(vl.tensor_product_simple(data["x"], data["y"]), data["out"], 1e-12)


def test_the_fused_product_and_its_derivatives_are_the_peers():
    data = np.load(DATA / "fused_sh_tp_simple.npz")
    check_all_orders(data, REGISTRY["fused_sh_tp_simple"], ("v", "x"), ("source_idx",))
    target = np.arange(12) % 5
    found = vl.fused_sh_tp_simple(data["v"], data["x"], data["source_idx"], target_idx=target, n_nodes=5)
    sums = np.zeros_like(found)
    np.add.at(sums, target, data["out"])
    close(found, sums, 1e-12)
    one = vl.fused_sh_tp_simple(data["v"], data["x"][:, 1], data["source_idx"])
    close(one, data["out"][:, 1], 1e-12)


def test_message_passing_and_its_derivatives_are_the_peers():
    data = np.load(DATA / "fused_message_passing.npz")
    op = REGISTRY["fused_message_passing"]
    check_all_orders(data, op, ("v", "x", "W"), ("source_idx", "dst_idx"), n_nodes=5)
    found = vl.fused_message_passing(data["v"], data["x"], data["W"], data["source_idx"], data["dst_idx"], 5)
    close(found, data["out"], 1e-12)


def turn_features(x, turn, parity=False):
    """Blocks of degree l turned by D_l; with `parity` each as (-1)^l under inversion."""
    out = np.empty_like(x)
    for l in range(int(np.sqrt(x.shape[-1]))):
        d = vl.wigner_d(l, turn, parity=(-1) ** l if parity else 1)
        out[..., l * l : (l + 1) ** 2] = x[..., l * l : (l + 1) ** 2] @ d.T
    return out


def test_the_weighted_product_turns_with_the_frame(rng):
    x, y = rng.normal(size=(5, 3, 16)), rng.normal(size=(5, 9))
    weights = rng.normal(size=(vl.tp_num_paths(3, 2, 4), 3, 2))
    turn = random_rotation(rng)
    after = vl.tensor_product(turn_features(x, turn), turn_features(y, turn), weights, lmax_out=4)
    np.testing.assert_allclose(after, turn_features(vl.tensor_product(x, y, weights, lmax_out=4), turn), atol=1e-11)


def test_even_paths_keep_parity_under_inversion(rng):
    x, y = rng.normal(size=(5, 3, 16)), rng.normal(size=(5, 16))
    weights = rng.normal(size=(34, 3, 2)) * (vl.tp_path_info().sum(axis=1) % 2 == 0)[:, None, None]
    inversion = -random_rotation(rng)
    after = vl.tensor_product(turn_features(x, inversion, True), turn_features(y, inversion, True), weights)
    np.testing.assert_allclose(after, turn_features(vl.tensor_product(x, y, weights), inversion, True), atol=1e-11)


def test_message_passing_turns_with_the_frame_and_permutes_with_the_edges(rng):
    vectors, x, weights = rng.normal(size=(60, 3)), rng.normal(size=(7, 9, 16)), rng.normal(size=(34, 9, 4))
    source, target = rng.integers(0, 7, 60), rng.integers(0, 6, 60)
    turn, order = random_rotation(rng), rng.permutation(60)
    before = vl.fused_message_passing(vectors, x, weights, source, target, 6)
    after = vl.fused_message_passing(vectors @ turn.T, turn_features(x, turn), weights, source, target, 6)
    np.testing.assert_allclose(after, turn_features(before, turn), atol=1e-9 * np.abs(before).max())
    permuted = vl.fused_message_passing(vectors[order], x, weights, source[order], target[order], 6)
    np.testing.assert_allclose(permuted, before, atol=1e-12 * np.abs(before).max())


def test_many_channels_are_many_single_ones(rng):
    x, y = rng.normal(size=(40, 64, 16)), rng.normal(size=(40, 16))
    whole = vl.tensor_product_simple(x, y)
    for c in (0, 17, 63):
        np.testing.assert_allclose(whole[:, c], vl.tensor_product_simple(x[:, c], y), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_edges_and_no_rows_give_zeros(dtype):
    none, index = np.zeros((0, 3), dtype), np.zeros(0, np.int32)
    x, weights = np.ones((2, 3, 16), dtype), np.ones((34, 3, 2), dtype)
    assert not vl.fused_message_passing(none, x, weights, index, index, 4).any()
    assert vl.fused_message_passing(none, x, weights, index, index, 4).shape == (4, 2, 16)
    assert vl.fused_sh_tp_simple(none, x, index).shape == (0, 3, 16)
    assert vl.tensor_product(x[:0], np.ones((0, 16), dtype), weights).shape == (0, 2, 16)


@pytest.mark.parametrize(
    "op, names", [("tensor_product", ("x", "y", "weights")), ("tensor_product_simple", ("x", "y"))]
)
@pytest.mark.parametrize("rows, channels, degrees", [(1, 1, (3, 3, 3)), (7, 5, (2, 1, 3)), (25, 13, (1, 2, 0)),
                                                     (61, 40, (3, 3, 3)), (33, 8, (0, 0, 0)), (9, 3, (6, 6, 6))])  # fmt: skip
def test_tiles_of_any_size_agree_with_the_reference_and_the_trilinear_law(rng, op, names, rows, channels, degrees):
    a, b, c = degrees if op == "tensor_product" else (degrees[0],) * 3
    weights = rng.normal(size=(vl.tp_num_paths(a, b, c), channels, 3))
    x, y = rng.normal(size=(rows, channels, (a + 1) ** 2)), rng.normal(size=(rows, (b + 1) ** 2))
    given = {"x": x, "y": y, "weights": weights}
    inputs = [given[n] for n in names]
    found = getattr(vl, op)(*inputs, **({"lmax_out": c} if op == "tensor_product" else {}))
    parameters = dict(zip(("lmax1", "lmax2", "lmax_out"), (a, b, c))) if op == "tensor_product" else {"lmax": a}
    close(found, REGISTRY[op].reference(*inputs, **parameters), 1e-12)
    g = rng.normal(size=found.shape)
    kernel = REGISTRY[op].bwd.kernel(REGISTRY[op].static((), parameters))
    grads = kernel(*inputs, g)
    # The form is linear in each factor: <grad, factor> is the form itself, for every one of them.
    for grad, factor in zip(grads, inputs, strict=True):
        np.testing.assert_allclose((grad * factor).sum(), (found * g).sum(), rtol=1e-10, atol=1e-10)
    single = kernel(*[i.astype(np.float32) for i in (*inputs, g)])
    for f32, f64 in zip(single, grads):
        close(f32.astype(np.float64), f64, 2e-5)


def test_no_channels_give_zeros_and_zero_gradients(rng):
    x, y = rng.normal(size=(4, 3, 16)), rng.normal(size=(4, 16))
    bwd = REGISTRY["tensor_product"].bwd
    for c, d in ((0, 2), (3, 0), (0, 0)):
        weights = np.ones((34, c, d))
        assert vl.tensor_product(x[:, :c], y, weights).shape == (4, d, 16)
        assert not vl.tensor_product(x[:, :c], y, weights).any()
        for grad, factor in zip(bwd(x[:, :c], y, weights, np.ones((4, d, 16))), (x[:, :c], y, weights)):
            assert grad.shape == factor.shape and not grad.any()
    assert vl.tensor_product_simple(x[:, :0], y).shape == (4, 0, 16)


def test_strided_and_transposed_operands_are_read_as_they_are(rng):
    x, y, w = rng.normal(size=(9, 6, 32)), rng.normal(size=(16, 9)), rng.normal(size=(4, 6, 34))
    expected = vl.tensor_product(x[:, :, ::2].copy(), y.T.copy(), w.T.copy())
    np.testing.assert_array_equal(vl.tensor_product(x[:, :, ::2], y.T, w.T), expected)
    np.testing.assert_array_equal(vl.tensor_product_simple(x[:, ::-1, ::2], y.T)[:, ::-1],
                                  vl.tensor_product_simple(x[:, :, ::2].copy(), y.T.copy()))  # fmt: skip


@pytest.mark.parametrize("name, channels", [("tensor_product", 8), ("tensor_product_simple", 1)])
def test_large_products_have_the_same_bits_for_any_number_of_threads(rng, name, channels):
    x, y, g = rng.normal(size=(1500, channels, 16)), rng.normal(size=(1500, 16)), rng.normal(size=(1500, channels, 16))
    inputs = (x, y, rng.normal(size=(34, channels, channels)))[: len(REGISTRY[name].inputs)]
    results = []
    for threads in (1, 2, 3):
        vl.set_num_threads(threads)
        results.append((REGISTRY[name](*inputs), *REGISTRY[name].bwd(*inputs, g)))
    vl.set_num_threads(1)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, y, w, i: vl.tensor_product(x, y, w[:5]), "`weights` must be of shape [P, C, D] = [34, 2, D], got [5, 2, 3]"),
        (lambda x, y, w, i: vl.tensor_product(x[:, :, :5], y, w), "`x` must be an array [..., (lmax + 1)^2], got shape [4, 2, 5]"),
        (lambda x, y, w, i: vl.tensor_product(x, y[:, :15], w), "`y` must be an array [..., (lmax + 1)^2], got shape [4, 15]"),
        (lambda x, y, w, i: vl.tensor_product(x, y[:, :9], w), "`weights` must be of shape [P, C, D] = [24, 2, D], got [34, 2, 3]"),
        (lambda x, y, w, i: vl.tensor_product(x[:, :1], y, w), "`weights` must be of shape [P, C, D] = [34, 1, D], got [34, 2, 3]"),
        (lambda x, y, w, i: vl.tensor_product(x, y, w, lmax_out=-1), "`lmax_out` must be a whole number from 0 to 20, got -1"),
        (lambda x, y, w, i: vl.tensor_product_simple(x, y[:, :9]), "`y` must be of shape [N, M] = [4, 16], got [4, 9]"),
        (lambda x, y, w, i: vl.tensor_product(x, y[:3], w), "`y` must be of shape [N, M2] = [4, 16], got [3, 16]"),
        (lambda x, y, w, i: vl.fused_sh_tp_simple(y[:, :3], x, i + 1), "`source_idx` must be in [0, 4), got 4 in row 3"),
        (
            lambda x, y, w, i: vl.fused_message_passing(y[:, :3], x, w, i, i, 3),
            "`target_idx` must be in [0, 3), got 3 in row 3",
        ),
        (lambda x, y, w, i: vl.fused_sh_tp_simple(y[:, :3], x, i, n_nodes=3), "`target_idx` must be given with `n_nodes`, got None"),
    ],
)  # fmt: skip
def test_wrong_operands_are_refused(call, message, rng):
    x, y, w = rng.normal(size=(4, 2, 16)), rng.normal(size=(4, 16)), rng.normal(size=(34, 2, 3))
    with pytest.raises(ValueError) as caught:
        call(x, y, w, np.arange(4))
    assert str(caught.value) == message


def test_torch_and_jax_take_the_arguments_of_numpy(rng):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    import valence.jax
    import valence.torch

    x, y, v = rng.normal(size=(5, 2, 9)), rng.normal(size=(5, 4)), rng.normal(size=(6, 3))
    w, messages = rng.normal(size=(vl.tp_num_paths(2, 1, 3), 2, 3)), rng.normal(size=(vl.tp_num_paths(2, 2, 2), 2, 3))
    source, target = np.arange(6) % 5, np.arange(6) % 4
    calls = {
        "tensor_product": ((x, y, w), {"lmax_out": 3}),
        "tensor_product_simple": ((x[:, 0], x[:, 1]), {}),
        "fused_sh_tp_simple": ((v, x, source), {}),
        "fused_message_passing": ((v, x, messages, source, target, 4), {}),
    }
    for name, (operands, given) in calls.items():
        expected = getattr(vl, name)(*operands, **given)
        for library, of in ((valence.torch, torch.from_numpy), (valence.jax, jax.numpy.asarray)):
            turned = [of(o) if isinstance(o, np.ndarray) else o for o in operands]
            np.testing.assert_array_equal(np.asarray(getattr(library, name)(*turned, **given)), expected)
    summed = {"target_idx": target, "n_nodes": 4}
    expected = vl.fused_sh_tp_simple(v, x[:, 0], source, **summed)
    found = jax.jit(lambda v, x: valence.jax.fused_sh_tp_simple(v, x, source, **summed))(v, x[:, 0])
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_the_public_form_compiles_without_a_graph_break(rng):
    torch = pytest.importorskip("torch")
    import valence.torch

    v, x = torch.from_numpy(rng.normal(size=(6, 3))).requires_grad_(), torch.from_numpy(rng.normal(size=(5, 9)))
    source, target = torch.arange(6) % 5, torch.arange(6) % 4

    def energy(v, x):
        sums = valence.torch.fused_sh_tp_simple(v, x, source, target_idx=target, n_nodes=4)
        return (valence.torch.tensor_product_simple(sums, sums) ** 2).sum()

    compiled = torch.compile(energy, fullgraph=True, backend="aot_eager")
    (found,), (expected,) = (torch.autograd.grad(f(v, x), v) for f in (compiled, energy))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("degrees", [(0, 0, 2), (1, 0, 3), (2, 1, 0), (0, 2, 1)])
def test_degrees_that_no_path_leads_to_are_zero_with_both_derivatives(degrees, rng):
    op = REGISTRY["tensor_product"]
    static = op.static((), dict(zip(("lmax1", "lmax2", "lmax_out"), degrees)))
    (m1, m2, m3), paths = [(l + 1) ** 2 for l in degrees], vl.tp_num_paths(*degrees)
    operands = [rng.normal(size=s) for s in ((5, 2, m1), (5, m2), (paths, 2, 3))]
    forward, backward, twice = (o.kernel(static) for o in op.family())
    found = forward(*operands)
    reached = {c for _, _, c in vl.tp_path_info(*degrees).tolist()}
    for l in set(range(degrees[2] + 1)) - reached:
        assert not found[:, :, l * l : (l + 1) ** 2].any()
    grad = rng.normal(size=(5, 3, m3))
    grads = backward(*operands, grad)
    exact = op.reference(*operands, *degrees)
    np.testing.assert_allclose(found, exact, atol=1e-12)
    # The product is linear in each operand: <operand, its gradient> is the value each time.
    for operand, g in zip(operands, grads):
        assert (operand * g).sum() == pytest.approx((found * grad).sum(), abs=1e-10)
    seconds = twice(*operands, grad, *grads)
    assert all(np.isfinite(s).all() for s in seconds)
