"""The symmetric contraction against its peers' numbers, under rotation and inversion, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from laws import random_rotation
from valence.equivariant import (
    Irrep,
    Irreps,
    symmetric_contraction,
    symmetric_contraction_from_tables,
    symmetric_contraction_projection,
    u_matrix_tables,
)
from valence.equivariant.couplings import full_couplings, monomials, reduced_couplings
from valence.equivariant.polynomial import OPS, plan

DATA = Path(__file__).parent / "data" / "equivariant"


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def check_all_orders(data, descriptor):
    """Forward, vjp and second vjp, the weights chosen by the index z."""
    inputs = [data["w"].reshape(len(data["w"]), -1), data["x"]]
    access, indices = plan(descriptor, [i.shape for i in inputs], {"weight": data["z"]}, None)
    given = [np.zeros(0, np.int32) if i is None else i for i in indices]
    static = OPS[2].static((), {"descriptor": descriptor, "access": access})
    op = OPS[2]
    close(op.kernel(static)(*inputs, *given), data["out"], 1e-12)
    for found, n, i in zip(op.bwd.kernel(static)(*inputs, *given, data["go"]), ("w", "x"), inputs):
        close(found, data[f"g_{n}"].reshape(i.shape), 1e-11)
    cotangents = [data["go"], data["h_w"].reshape(inputs[0].shape), data["h_x"]]
    results = op.bwd.bwd.kernel(static)(*inputs, *given, *cotangents)
    for found, n, i in zip(results, ("w", "x", "go"), (*inputs, data["go"]), strict=True):
        close(found, data[f"bb_{n}"].reshape(i.shape), 1e-10)


ORIGINAL = [
    ("e3nn05_0", "e3nn05"),
    ("e3nn05_1", "e3nn05"),
    ("e3nn05_2", "e3nn05"),
    ("0_original", "e3nn04"),
]


@pytest.mark.parametrize("name, convention", ORIGINAL)
def test_the_contraction_made_from_irreps_and_its_derivatives_are_the_peers(name, convention):
    data = np.load(DATA / f"symmetric_contraction_{name}.npz")
    meta = json.loads(str(data["meta"]))
    made = symmetric_contraction(
        meta["irreps_in"], meta["irreps_out"], meta["degree"], group="O3_e3nn", convention=convention
    )
    check_all_orders(data, made)


def peer_tables(data, degree):
    return [(data[f"op{k}_indices"], data[f"op{k}_coefficients"]) for k in range(degree)]


def test_the_contraction_made_from_tables_and_its_derivatives_are_the_peers():
    data = np.load(DATA / "symmetric_contraction_0_reduced.npz")
    meta = json.loads(str(data["meta"]))
    tables = peer_tables(data, meta["degree"])
    check_all_orders(data, symmetric_contraction_from_tables(meta["irreps_in"], meta["irreps_out"], tables))


def test_reduced_couplings_of_any_basis_span_what_the_peers_span():
    data = np.load(DATA / "symmetric_contraction_0_original.npz")
    meta = json.loads(str(data["meta"]))
    args = meta["irreps_in"], meta["irreps_out"], meta["degree"]
    ours = symmetric_contraction(*args, original_mace=False, convention="e3nn04")
    projection = symmetric_contraction_projection(*args, group="O3_e3nn", convention="e3nn04")
    assert projection.shape == data["projection"].shape
    w = np.einsum("zau,ab->zbu", data["w"], projection).reshape(3, -1)
    close(ours(w, data["x"], indices={"weight": data["z"]}), data["out"], 1e-12)
    # cuEquivariance's scale: the squares of a coupling's tensor sum to 1 / K' a component
    orders = np.array([len(set(m)) == 1 or 2 for m in monomials(9, 2).tolist()], float)
    table, _ = reduced_couplings(Irreps("0e + 1o + 2e"), Irrep(1, -1), 2)
    np.testing.assert_allclose((table**2 / orders).sum(axis=2), 1 / len(table), atol=1e-12)


@pytest.mark.parametrize(
    "l, degree, full, reduced, count",
    [
        *[(0, 1, 1, 1, 1), (0, 2, 4, 4, 16), (0, 3, 23, 8, 77)],
        *[(1, 1, 1, 1, 3), (1, 2, 6, 3, 35), (1, 3, 51, 12, 278)],
        *[(2, 1, 1, 1, 5), (2, 2, 7, 5, 74), (2, 3, 65, 14, 398)],
    ],
)
def test_the_numbers_of_couplings_and_monomials_are_those_of_mace(l, degree, full, reduced, count):
    irreps, out = Irreps("0e + 1o + 2e + 3o", "O3_e3nn"), Irrep(l, (-1) ** l)
    nested = full_couplings(irreps, out, degree)
    independent, projection = reduced_couplings(irreps, out, degree)
    assert (len(nested), len(independent)) == (full, reduced)
    assert (nested != 0).any(axis=0).sum() == count
    np.testing.assert_allclose(np.tensordot(projection, independent, axes=1), nested, atol=1e-12)


def dense_u():
    """U of degree 1 and 2 of 0e + 1o to 1o as MACE nests it: entries 0e x 1o and 1o x 0e at degree 2, then 1o alone."""
    second = np.zeros((3, 4, 4, 2))
    first = np.zeros((3, 4, 1))
    for m in range(3):
        second[m, 0, 1 + m, 0] = second[m, 1 + m, 0, 1] = first[m, 1 + m, 0] = 1.0
    return [first, second]


def test_u_matrices_dense_or_sparse_are_the_polynomial_of_their_irreps(rng):
    scalar = [np.zeros((4, 1)), np.zeros((4, 4, 2))]
    scalar[0][0, 0] = scalar[1][0, 0, 0] = 1.0
    scalar[1][[1, 2, 3], [1, 2, 3], 1] = 1 / np.sqrt(3)
    dense = [scalar, dense_u()]
    sparse = [
        [
            (np.stack(np.nonzero(u if u.ndim > n + 1 else u[None]), axis=1), u[np.nonzero(u)], u.shape[-1])
            for n, u in enumerate(side, 1)
        ]
        for side in dense
    ]
    wanted = symmetric_contraction("2x0e + 2x1o", "2x0e + 2x1o", 2, group="O3_e3nn")
    w, x = rng.normal(size=(1, 12)), rng.normal(size=(5, 8))
    for given in (dense, sparse):
        tables, rows = u_matrix_tables("0e + 1o", given)
        assert rows == 6
        made = symmetric_contraction_from_tables("2x0e + 2x1o", "2x0e + 2x1o", tables, num_weights=rows)
        np.testing.assert_allclose(made(w, x), wanted(w, x), atol=1e-12)


def turn_features(irreps, features, turn):
    """Each channel's irreps turned by its own D, layout mul_ir."""
    out = np.empty_like(features)
    for (mul, ir), place in zip(irreps, irreps.slices):
        block = features[:, place].reshape(-1, mul, ir.dim)
        out[:, place] = (block @ vl.wigner_d(ir.l, turn, parity=ir.p).T).reshape(len(features), -1)
    return out


@pytest.mark.parametrize(
    "irreps_in, irreps_out, degree",
    [
        ("3x0e + 3x1o + 3x2e + 3x3o", "3x0e + 3x1o + 3x2e", 3),
        ("2x0e + 2x1o + 2x2e", "2x0e + 2x1o", 4),
        ("2x1o + 2x1e + 2x0o", "2x0o + 2x1e + 2x2o + 2x1o", 3),
        ("3x2e + 3x0e + 3x2e", "3x3e + 3x4e", 2),
    ],
)
@pytest.mark.parametrize("original", [True, False])
def test_the_contraction_turns_with_the_frame_and_keeps_parity(irreps_in, irreps_out, degree, original, rng):
    made = symmetric_contraction(irreps_in, irreps_out, degree, original_mace=original)
    w, x = rng.normal(size=(2, made.weight_numel)), rng.normal(size=(5, made.inputs[1].size))
    turn, indices = -random_rotation(rng), {"weight": rng.integers(0, 2, 5)}
    before = made(w, x, indices=indices)
    after = made(w, turn_features(Irreps(irreps_in), x, turn), indices=indices)
    np.testing.assert_allclose(
        after, turn_features(Irreps(irreps_out), before, turn), atol=1e-11 * np.abs(before).max()
    )
    assert np.abs(before).max() > 0.1


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul", ("mul_ir", "ir_mul")])
def test_the_kernel_gives_the_definition_for_many_channels_and_layouts(dtype, tolerance, layout, rng):
    for channels in (1, 5, 8, 37):
        irreps = [f"{channels}x{part}" for part in ("0e", "1o", "2e")]
        made = symmetric_contraction(" + ".join(irreps), " + ".join(irreps[:2]), 3, layout=layout)
        w = rng.normal(size=(4, made.weight_numel)).astype(dtype)
        x = rng.normal(size=(23, made.inputs[1].size)).astype(dtype)
        for given, indices in ((w, {"weight": rng.integers(0, 4, 23)}), (w[:1], {}), (np.repeat(w, 6, 0)[:23], {})):
            found, plain = (made(given, x, indices=indices, use_fallback=f) for f in (False, True))
            np.testing.assert_allclose(found, plain, atol=tolerance * np.abs(plain).max())


def test_bits_do_not_depend_on_the_number_of_threads(rng):
    made = symmetric_contraction("16x0e + 16x1o + 16x2e", "16x0e + 16x1o", 3)
    w, x = (rng.normal(size=(n, o.size)).astype(np.float32) for n, o in zip((3, 300), made.inputs))
    z, none = rng.integers(0, 3, 300).astype(np.int32), np.zeros(0, np.int32)
    go = rng.normal(size=(300, made.output.size)).astype(np.float32)
    access, _ = plan(made, [w.shape, x.shape], {"weight": z}, None)
    static = OPS[2].static((), {"descriptor": made, "access": access})
    found, threads = [], vl.get_num_threads()
    try:
        for n in (1, 3):
            vl.set_num_threads(n)
            found.append(
                (OPS[2].kernel(static)(w, x, z, none, none), *OPS[2].bwd.kernel(static)(w, x, z, none, none, go))
            )
    finally:
        vl.set_num_threads(threads)
    for one, three in zip(*found):
        assert np.array_equal(one, three)


def test_no_atoms_give_no_rows_and_absent_elements_zero_gradients(rng):
    made = symmetric_contraction("3x0e + 3x1o", "3x0e", 3)
    none = np.zeros((0, made.inputs[1].size))
    w = rng.normal(size=(4, made.weight_numel))
    index = np.zeros(0, np.int32)
    assert made(w, none, indices={"weight": index}).shape == (0, 3)
    access, _ = plan(made, [w.shape, none.shape], {"weight": index}, None)
    static = OPS[2].static((), {"descriptor": made, "access": access})
    grad_w, grad_x = OPS[2].bwd.kernel(static)(w, none, index, index, index, np.zeros((0, 3)))
    assert grad_w.shape == w.shape and not grad_w.any() and grad_x.shape == none.shape


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: symmetric_contraction("4x0e", "4x0e", 5), "`degree` must be a whole number from 1 to 4, got 5"),
        (
            lambda: symmetric_contraction("4x0e + 2x1o", "4x0e", 2),
            "`irreps_in` and `irreps_out` must have one multiplicity, got 4x0e + 2x1o and 4x0e",
        ),
        (
            lambda: symmetric_contraction("4x0e + 4xp", "4x0e", 2),
            "`irreps_in`: `irreps` must be terms such as 32x1o joined by +, got '4xp' at place 7",
        ),
        (
            lambda: symmetric_contraction("2x0e", "2x0e", 2, layout="channels"),
            "`layout` must be one of mul_ir, ir_mul, got 'channels'",
        ),
        (
            lambda: symmetric_contraction("2x0e", "2x0e", 2, irrep_order="mace"),
            '`irrep_order` must be "cue" or "e3nn", got \'mace\'',
        ),
        (
            lambda: symmetric_contraction_from_tables("2x0e", "2x0e", [([[0, 0, 0], [0, 1, 0]], [1.0, 1.0])]),
            "`tables` must have indices below [1, 1, 1], got [0, 1, 0] in row 1",
        ),
        (
            lambda: u_matrix_tables("1o", [[np.zeros((3, 4))]]),
            "`u_matrices` must be of shape [3, M, K] at degree 1, got [3, 4]",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
