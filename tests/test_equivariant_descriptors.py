"""Descriptors: agreement with cuEquivariance to the second derivative, executors against the definition, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from valence import equivariant as eq
from valence._op import REGISTRY
from valence.equivariant import polynomial

DATA = Path(__file__).parent / "data" / "equivariant"
FILES = [
    f"{name}_{n}" for name, count in (("channelwise", 3), ("fully_connected", 2), ("linear", 2)) for n in range(count)
]


def gap(found, expected) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300))


def described(meta: dict, layout: str = "mul_ir") -> eq.Descriptor:
    group, order = meta["group"], {"layout": layout, "group": meta["group"]}
    if "filter" in meta:
        return eq.channelwise_tensor_product(meta["irreps1"], meta["irreps2"], meta["filter"], **order)
    if "irreps1" in meta:
        return eq.fully_connected_tensor_product(meta["irreps1"], meta["irreps2"], meta["irreps_out"], **order)
    return eq.linear(meta["irreps_in"], meta["irreps_out"], layout=layout, group=group)


def kernels(descriptor, operands, indices, size_out):
    """The three kernels of this call and their operands, indices included."""
    access, given = polynomial.plan(descriptor, [o.shape for o in operands], indices, size_out)
    none = np.zeros(0, np.int32)
    arguments = [*operands, *[none if i is None else i.astype(np.int32) for i in given]]
    op = REGISTRY[f"polynomial_{len(operands)}"]
    static = op.static((), {"descriptor": descriptor, "access": access})
    return [o.kernel(static) for o in op.family()], arguments


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", [*FILES, "channelwise_gather_scatter"])
def test_values_and_both_derivatives_are_cuequivariances(name):
    data = np.load(DATA / f"{name}.npz")
    meta = json.loads(str(data["meta"]))
    meta.setdefault("group", "O3")
    descriptor = described(meta)
    names = [n for n in ("w", "x", "y") if n in data]
    lead = (lambda a: a[None]) if data["w"].ndim == 1 else (lambda a: a)
    operands = [lead(data["w"]), *[data[n] for n in names[1:]]]
    indices, size_out = {}, None
    if "sender" in data:
        indices, size_out = {"x": data["sender"], "out": data["receiver"]}, len(data["out"])
    (forward, backward, twice), arguments = kernels(descriptor, operands, indices, size_out)
    assert gap(forward(*arguments), data["out"]) < 1e-12
    for n, found in zip(names, backward(*arguments, data["go"])):
        assert gap(found.reshape(data[f"g_{n}"].shape), data[f"g_{n}"]) < 1e-11
    h = [lead(data["h_w"]), *[data[f"h_{n}"] for n in names[1:]]]
    for n, found in zip([*names, "go"], twice(*arguments, data["go"], *h)):
        assert gap(found.reshape(data[f"bb_{n}"].shape), data[f"bb_{n}"]) < 1e-10
    if "irreps_out" in meta:
        assert str(descriptor.irreps_out).replace(" ", "") == meta["irreps_out"].replace(" ", "")


CASES = {
    "channels of one width": (
        lambda lay: eq.channelwise_tensor_product("16x0e + 16x1o", "0e + 1o + 2e", layout=lay),
        3,
    ),
    "odd widths": (lambda lay: eq.channelwise_tensor_product("3x0e + 17x1o + 5x1e", "1x0e + 2x1o", layout=lay), 3),
    "many channels": (lambda lay: eq.channelwise_tensor_product("72x1o", "0e + 3o", "2e + 3o", layout=lay), 3),
    "no weights": (lambda lay: eq.channelwise_tensor_product("9x0e + 2x2e", "0e + 1o", layout=lay, weights=False), 2),
    "elementwise": (lambda lay: eq.elementwise_tensor_product("9x0e + 2x1o", "4x1o + 7x0e", layout=lay), 2),
    "gate": (lambda lay: eq.gate_product("9x0e + 2x1o", layout=lay), 2),
    "linear": (lambda lay: eq.linear("33x0e + 2x1o + 9x1o", "12x0e + 9x1o + 4x2e", layout=lay), 2),
    "fully connected": (
        lambda lay: eq.fully_connected_tensor_product("9x0e + 8x1o", "3x0e + 1o", "17x0e + 4x1o", layout=lay),
        3,
    ),
    "one channel each": (
        lambda lay: eq.fully_connected_tensor_product("0e + 1o", "0e + 1o", "0e + 1o + 1e", layout=lay),
        3,
    ),
}


@pytest.mark.parametrize("layout", eq.LAYOUTS)
@pytest.mark.parametrize("modes", ["ooo", "soo", "sii", "iio", "ois"])
@pytest.mark.parametrize("case", CASES)
def test_every_executor_gives_what_the_definition_gives(case, modes, layout, rng):
    make, count = CASES[case]
    descriptor, rows, nodes = make(layout), 601, 5
    modes = modes[:count]
    operands = [rng.normal(size=({"o": rows, "s": 1, "i": nodes}[m], o.size)) for m, o in zip(modes, descriptor.inputs)]
    indices = {n: rng.integers(0, nodes, rows) for n, m in enumerate(modes) if m == "i"}
    for extra, size_out in (({}, None), ({"out": rng.integers(0, nodes, rows)}, nodes)):
        if size_out is None and set(modes) == {"s"}:
            continue
        call = {"indices": {**indices, **extra}, "size_out": size_out}
        found, exact = descriptor(*operands, **call), descriptor(*operands, **call, use_fallback=True)
        assert found.shape == exact.shape
        assert gap(found, exact) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_a_scattered_sum_are_the_difference_quotient(case, rng):
    make, count = CASES[case]
    descriptor, rows, nodes = make("mul_ir"), 40, 3
    operands = [rng.normal(size=(rows, o.size)) for o in descriptor.inputs]
    operands[-1] = operands[-1][:nodes]
    indices = {count - 1: rng.integers(0, nodes, rows), "out": rng.integers(0, nodes, rows)}
    (forward, backward, _), arguments = kernels(descriptor, operands, indices, nodes)
    grad = rng.normal(size=(nodes, descriptor.output.size))
    for n, found in enumerate(backward(*arguments, grad)):
        step = rng.normal(size=operands[n].shape)
        values = []
        for sign in (1, -1):
            shifted = [*arguments]
            shifted[n] = operands[n] + sign * 1e-5 * step
            values.append((forward(*shifted) * grad).sum())
        assert (values[0] - values[1]) / 2e-5 == pytest.approx((found * step).sum(), rel=1e-7)


@pytest.mark.parametrize("layout", eq.LAYOUTS)
def test_products_turn_with_the_frame(layout, rng):
    descriptor = eq.fully_connected_tensor_product(
        "3x0e + 2x1o + 1x2e", "0e + 1o + 1e", "2x0e + 2x1o + 2x1e + 3o", layout=layout
    )
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    for rotation in (q * np.sign(np.linalg.det(q)), -np.eye(3) @ q):
        turns = [o.irreps.rotation_matrix(rotation, layout=layout) for o in (*descriptor.inputs[1:], descriptor.output)]
        w, x, y = (rng.normal(size=(n, o.size)) for n, o in zip((1, 4, 4), descriptor.inputs))
        turned = descriptor(w, x @ turns[0].T, y @ turns[1].T)
        np.testing.assert_allclose(turned, descriptor(w, x, y) @ turns[2].T, atol=1e-12)


def test_a_descriptor_is_data():
    descriptor = eq.channelwise_tensor_product("2x0e + 2x1o", "0e + 1o", "0e + 1o")
    assert descriptor == eq.channelwise_tensor_product("2x0e + 2x1o", "0e + 1o", "0e + 1o")
    assert descriptor != eq.channelwise_tensor_product("2x0e + 2x1o", "0e + 1o", "0e")
    assert [o.name for o in descriptor.operands] == ["weight", "x", "y", "out"]
    assert descriptor.weight_numel == 2 * len(descriptor.paths)
    flat = descriptor.flatten_coefficients()
    assert all(p.letters[1] == "" for p in flat.products)


@pytest.mark.parametrize("operand", ["weight", "x", "y"])
def test_the_vjp_of_a_descriptor_is_a_descriptor(operand, rng):
    descriptor = eq.channelwise_tensor_product("3x0e + 2x1o", "0e + 1o", "0e + 1o")
    operands = [rng.normal(size=(4, o.size)) for o in descriptor.inputs]
    grad = rng.normal(size=(4, descriptor.output.size))
    place = descriptor.place(operand)
    transposed = descriptor.vjp(operand)
    rest = [o for n, o in enumerate(operands) if n != place]
    (_, backward, _), arguments = kernels(descriptor, operands, {}, None)
    np.testing.assert_allclose(transposed(*rest, grad), backward(*arguments, grad)[place], atol=1e-12)
    flat = descriptor.flatten_coefficients()
    np.testing.assert_allclose(flat(*operands), descriptor(*operands), atol=1e-12)


def test_no_rows_give_zeros_of_the_right_shape():
    descriptor = eq.channelwise_tensor_product("3x0e + 2x1o", "0e + 1o")
    empty = [np.zeros((0, o.size), np.float32) for o in descriptor.inputs]
    assert descriptor(*empty).shape == (0, descriptor.output.size)
    none = np.zeros(0, np.int64)
    out = descriptor(empty[0], np.ones((4, 9), np.float32), empty[2], indices={"x": none, "out": none}, size_out=4)
    np.testing.assert_array_equal(out, np.zeros((4, descriptor.output.size), np.float32))


def test_no_channels_give_no_columns(rng):
    descriptor = eq.linear("0x0e + 2x1o", "3x0e + 0x1o")
    assert descriptor.weight_numel == 0
    np.testing.assert_array_equal(descriptor(np.zeros((1, 0)), rng.normal(size=(4, 6))), np.zeros((4, 3)))


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": (5, 8)}, ValueError, r"^`x` must be of shape \[rows, 9\] for 3x0e \+ 2x1o, got \[5, 8\]"),
        ({"weight": (4, 14)}, ValueError, "must have 4 rows as `weight` has, got 5"),
        (
            {"indices": {"x": np.array([0, 1, 2, 5, 0])}},
            ValueError,
            r"^`indices\['x'\]` must be in \[0, 5\), got 5 in row 3",
        ),
        ({"indices": {"x": np.array([0, -1, 2, 1, 0])}}, ValueError, "got -1 in row 1"),
        ({"indices": {"out": np.arange(5)}}, ValueError, "^`size_out` must be given"),
        ({"indices": {"z": np.arange(5)}}, ValueError, "^`operand` must be one of weight, x, y, out"),
        ({"indices": {"x": np.arange(5.0)}}, TypeError, r"^`indices\['x'\]` must be int32, int64 or uint32"),
        ({"dtype": np.int64}, TypeError, "^`weight` must be float32 or float64"),
    ],
)
def test_bad_operands_are_named(change, error, message):
    descriptor = eq.channelwise_tensor_product("3x0e + 2x1o", "0e + 1o")
    shapes = {o.name: (5, o.size) for o in descriptor.inputs}
    shapes.update({k: v for k, v in change.items() if k in shapes})
    operands = [np.ones(s, change.get("dtype", np.float64)) for s in shapes.values()]
    with pytest.raises(error, match=message):
        descriptor(*operands, indices=change.get("indices"))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: eq.linear("3x0q", "0e"), r"^`irreps_in`: `irreps` must be terms .* got '3x0q' at place 0"),
        (lambda: eq.linear("3x0e", "3x0e", layout="nope"), "^`layout` must be one of mul_ir, ir_mul, got 'nope'"),
        (
            lambda: eq.elementwise_tensor_product("3x0e", "2x1o"),
            "^`irreps2` must have 3 channels as `irreps1` has, got 2",
        ),
        (
            lambda: eq.channelwise_tensor_product("3x0e", eq.Irreps("0", "SO3")),
            "^`irreps2` must be of the group O3, got SO3",
        ),
    ],
)
def test_bad_descriptions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("use_fallback", [False, True])
@pytest.mark.parametrize(
    "change, error",
    [
        ({"indices": {"x": np.array([-1, 0])}}, ValueError),
        ({"indices": {"x": np.array([4, 0])}}, ValueError),
        ({"indices": {"x": np.array([0.0, 1.0])}}, TypeError),
        ({"indices": {"out": np.array([0, 1, 2, 0])}, "size_out": 2.5}, ValueError),
        ({"indices": {"out": np.array([0, 1, 2, 0])}, "size_out": -1}, ValueError),
        ({"indices": {"out": np.array([0, 1, 2, 0])}, "size_out": True}, ValueError),
        ({"dtype": np.float16}, TypeError),
        ({"dtype": np.int32}, TypeError),
    ],
)
def test_kernels_and_definition_refuse_the_same(change, error, use_fallback):
    descriptor, dtype = eq.linear("1x0e", "1x0e"), change.get("dtype", np.float64)
    change = {k: v for k, v in change.items() if k != "dtype"}
    with pytest.raises(error, match="must be"):
        descriptor(np.ones((1, 1), dtype), np.arange(4.0)[:, None].astype(dtype), **change, use_fallback=use_fallback)


def test_results_that_do_not_fit_into_memory_are_memory_errors():
    descriptor, index = eq.linear("1x0e", "16x0e"), np.zeros(1, np.int64)
    with pytest.raises((MemoryError, ValueError)):
        descriptor(np.ones((1, 16)), np.ones((1, 1)), indices={"x": index, "out": index}, size_out=2**31 - 1)


@pytest.mark.parametrize(
    "subscripts, segment, rows, coefficient, message",
    [
        ("uu,u+", eq.Segment(0, (2, 2), (2, 1)), [[0, 0]], 1.0, "^`subscripts` must name each axis"),
        ("u,v+", eq.Segment(0, (2,), (1,)), [[0, 0]], 1.0, "^`subscripts` must have the output's letters in an input"),
        (
            "u,u+",
            eq.Segment(0, (2,), (1,)),
            [[-1, 0]],
            1.0,
            "^`segments` must be rows of the 1 segments of `x`, got -1",
        ),
        ("u,u+", eq.Segment(0, (2,), (1,)), [[3, 0]], 1.0, "^`segments` must be rows of the 1 segments of `x`, got 3"),
        ("u,u+", eq.Segment(-1, (2,), (1,)), [[0, 0]], 1.0, "^`segments` of `x` must lie within its 4 values"),
        ("u,u+", eq.Segment(3, (2,), (1,)), [[0, 0]], 1.0, "^`segments` of `x` must lie within its 4 values"),
        ("u,u+", eq.Segment(0, (2,), (1,)), [[0, 0]], np.nan, "^`coefficients` must be finite"),
    ],
)
def test_descriptions_by_hand_are_checked(subscripts, segment, rows, coefficient, message):
    operands = (eq.Operand("x", 4, (segment,)), eq.Operand("out", 4, (eq.Segment(0, (2,), (1,)),)))
    with pytest.raises(ValueError, match=message):
        eq.Descriptor(operands, (eq.Product(subscripts, (0, 1), np.array(rows), np.array([coefficient])),))


def test_small_coefficients_are_kept():
    whole = eq.Segment(0, (2,), (1,))
    product = eq.Product("u,u+", (0, 1), np.array([[0, 0]]), np.array([1e-12]))
    descriptor = eq.Descriptor((eq.Operand("x", 2, (whole,)), eq.Operand("out", 2, (whole,))), (product,))
    np.testing.assert_allclose(descriptor(np.array([[1.0, 2.0]])), [[1e-12, 2e-12]])
