"""Irreps, Clebsch-Gordan coefficients, Wigner 3j symbols and Wigner D."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from laws import random_rotation
from valence.equivariant import Irrep, ir_mul_to_mul_ir, mul_ir_to_ir_mul

DATA = Path(__file__).parent / "data" / "equivariant"


def triples(largest: int):
    for l1, l2 in itertools.product(range(largest + 1), repeat=2):
        for l3 in range(abs(l1 - l2), min(largest, l1 + l2) + 1):
            yield l1, l2, l3


def test_3j_symbols_are_those_of_e3nn_0_6():
    tables = np.load(DATA / "w3j.npz")
    for l1, l2, l3 in triples(4):
        np.testing.assert_allclose(vl.wigner_3j(l1, l2, l3), tables[f"w_{l1}_{l2}_{l3}"], atol=4e-16)


def test_3j_symbols_are_those_of_an_installed_e3nn_to_degree_6():
    o3 = pytest.importorskip("e3nn.o3", reason="e3nn is not installed")
    torch = pytest.importorskip("torch")
    for l1, l2, l3 in triples(6):
        theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy()
        np.testing.assert_allclose(vl.wigner_3j(l1, l2, l3), theirs, atol=1e-14)


def test_coefficients_are_orthonormal():
    for l1, l2 in itertools.product(range(6), repeat=2):
        whole = np.concatenate([vl.clebsch_gordan(l1, l2, l) for l in range(abs(l1 - l2), l1 + l2 + 1)], axis=2)
        square = whole.reshape((2 * l1 + 1) * (2 * l2 + 1), -1)
        np.testing.assert_allclose(square.T @ square, np.eye(len(square)), atol=1e-14)


def test_coefficients_stay_orthonormal_at_degree_12():
    c = vl.clebsch_gordan(12, 12, 12)
    np.testing.assert_allclose(np.einsum("ijk,ijn->kn", c, c), np.eye(25), atol=1e-13)


def test_exchange_and_cyclic_permutations_of_3j_symbols():
    for l1, l2, l3 in triples(5):
        w = vl.wigner_3j(l1, l2, l3)
        swapped = vl.wigner_3j(l2, l1, l3).transpose(1, 0, 2)
        np.testing.assert_allclose(swapped, (-1) ** (l1 + l2 + l3) * w, atol=1e-14)
        np.testing.assert_allclose(vl.wigner_3j(l2, l3, l1).transpose(2, 0, 1), w, atol=1e-14)


def test_the_vector_product_is_the_coupling_of_1_and_1_to_1(rng):
    a, b = rng.normal(size=(2, 3))
    found = np.einsum("ijk,i,j->k", vl.wigner_3j(1, 1, 1), a, b) * np.sqrt(6)
    np.testing.assert_allclose(np.abs(found), np.abs(np.cross(a, b)), atol=1e-14)


def test_the_old_signs_flip_the_listed_triples_alone():
    for l1, l2, l3 in triples(8):
        new, old = (vl.wigner_3j(l1, l2, l3, convention=c) for c in ("e3nn05", "e3nn04"))
        low, mid, high = sorted((l1, l2, l3))
        flips = (low == 1 and mid == high >= 2) or (low, mid, high) in {
            (3, 4, 6), (3, 5, 7), (3, 6, 8), (4, 4, 5), (4, 5, 6), (4, 6, 7), (4, 7, 8), (5, 5, 5), (5, 6, 6), (5, 7, 7), (5, 8, 8),
        }  # fmt: skip
        np.testing.assert_array_equal(old, -new if flips else new)
    with pytest.raises(ValueError, match='`l` must be at most 8 with convention="e3nn04", got 9'):
        vl.wigner_3j(4, 8, 9, convention="e3nn04")


@pytest.mark.parametrize("l", range(9))
def test_wigner_d_is_an_orthogonal_representation(l, rng):
    a, b = random_rotation(rng), random_rotation(rng)
    d = vl.wigner_d(l, np.stack([a, b, a @ b]))
    np.testing.assert_allclose(d[0] @ d[1], d[2], atol=1e-13)
    np.testing.assert_allclose(d[0] @ d[0].T, np.eye(2 * l + 1), atol=1e-13)
    np.testing.assert_array_equal(vl.wigner_d(l, -a, parity=-1), -d[0])
    np.testing.assert_array_equal(vl.wigner_d(l, -a, parity=1), d[0])


def test_wigner_d_of_degree_1_is_the_rotation(rng):
    turn = random_rotation(rng)
    np.testing.assert_allclose(vl.wigner_d(1, turn), turn, atol=1e-15)


def test_coupling_commutes_with_rotation(rng):
    turn = random_rotation(rng)
    for l1, l2, l3 in triples(4):
        d1, d2, d3 = (vl.wigner_d(l, turn) for l in (l1, l2, l3))
        w = vl.wigner_3j(l1, l2, l3)
        np.testing.assert_allclose(np.einsum("ijk,ia,jb,kc->abc", w, d1, d2, d3), w, atol=1e-13)


def test_there_are_34_paths_to_degree_3_in_the_order_of_the_loops():
    info = vl.tp_path_info()
    assert vl.tp_num_paths() == 34 and info.shape == (34, 3) and info.dtype == np.int32
    assert info[:6].tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 2], [0, 3, 3], [1, 0, 1], [1, 1, 0]]
    assert sum((vl.clebsch_gordan(*p) != 0).sum() for p in info.tolist()) == 611
    assert vl.tp_num_paths(0, 0, 0) == 1 and vl.tp_num_paths(1, 2, 2) == len(vl.tp_path_info(1, 2, 2))


def test_irreps_print_what_they_parse():
    irreps = vl.Irreps(" 32 x0e+ 32x1o+2e ")
    assert str(irreps) == "32x0e + 32x1o + 1x2e" and irreps.dim == 32 + 96 + 5
    assert vl.Irreps(str(irreps)) == irreps and irreps.num_irreps == 65 and irreps.lmax == 2
    assert str(vl.Irreps("4x0 + 4x1", group="SO3")) == "4x0 + 4x1"
    assert len(vl.Irreps("")) == 0 and vl.Irreps("0x3o").dim == 0
    assert irreps.slices == [slice(0, 32), slice(32, 128), slice(128, 133)]


def test_the_two_orders_of_sorting():
    mixed = "2e + 1e + 0o + 2o + 0e + 1o"
    assert str(vl.Irreps(mixed).sort()[0]) == "1x0e + 1x0o + 1x1o + 1x1e + 1x2e + 1x2o"
    found, inverse = vl.Irreps(mixed, group="O3_e3nn").sort()
    assert str(found) == "1x0o + 1x0e + 1x1o + 1x1e + 1x2o + 1x2e" and inverse == [2, 4, 5, 1, 3, 0]
    assert str(vl.Irreps(mixed).sort("e3nn")[0]) == str(found)


def test_irreps_simplify_filter_and_multiply():
    irreps = vl.Irreps("2x0e + 3x0e + 0x1o + 1x1o + 1x0e")
    assert str(irreps.simplify()) == "5x0e + 1x1o + 1x0e" and str(irreps.regroup()) == "6x0e + 1x1o"
    assert str(irreps.filter("1o")) == "0x1o + 1x1o" and irreps.filter(lmax=0).dim == 6
    assert str(vl.Irreps("2x1o") * vl.Irreps("3x1o")) == "6x0e + 6x1e + 6x2e"
    assert [str(ir) for ir in Irrep(1, -1) * Irrep(2, 1)] == ["1o", "2o", "3o"]
    assert str(vl.Irreps.spherical_harmonics(3)) == "1x0e + 1x1o + 1x2e + 1x3o"
    with pytest.raises(ValueError, match="`other` must be of the group O3, got SO3"):
        vl.Irreps("0e") * vl.Irreps("0", group="SO3")


@pytest.mark.parametrize(
    "text, group, message",
    [
        ("2x0e + 3y1o", "O3", "`irreps` must be terms such as 32x1o joined by +, got '3y1o' at place 7"),
        ("0e +", "O3", "`irreps` must be terms such as 32x1o joined by +, got '' at place 4"),
        ("0e + 1", "O3", "`irreps` must be with a parity e or o for O3, got '1' at place 5"),
        ("0 + 1o", "SO3", "`irreps` must be without a parity for SO3, got '1o' at place 4"),
        ("0e", "U1", "`group` must be one of SO3, O3, O3_e3nn, got 'U1'"),
    ],
)
def test_irreps_that_do_not_parse_are_refused_with_the_place(text, group, message):
    with pytest.raises(ValueError) as caught:
        vl.Irreps(text, group=group)
    assert str(caught.value) == message


def test_layouts_turn_into_each_other(rng):
    irreps = vl.Irreps("2x0e + 3x1o + 0x2e")
    x = rng.normal(size=(4, irreps.dim))
    turned = mul_ir_to_ir_mul(irreps, x)
    np.testing.assert_array_equal(turned[:, 2:].reshape(4, 3, 3), x[:, 2:].reshape(4, 3, 3).transpose(0, 2, 1))
    np.testing.assert_array_equal(ir_mul_to_mul_ir(irreps, turned), x)
    with pytest.raises(ValueError, match=r"`features` must be of shape \[..., 11\]"):
        mul_ir_to_ir_mul(irreps, x[:, :5])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: vl.clebsch_gordan(1, 1, 3), "`l3` must be from 0 to 2 for l1 = 1 and l2 = 1, got 3"),
        (lambda: vl.clebsch_gordan(-1, 1, 0), "`l1` must be a whole number from 0, got -1"),
        (lambda: vl.wigner_3j(1, 1, 0, convention="x"), '`convention` must be "e3nn05" or "e3nn04", got \'x\''),
        (lambda: vl.wigner_d(1, -np.eye(3)), "`parity` must be 1 or -1 for a rotation with determinant -1, got None"),
        (lambda: vl.wigner_d(1, np.eye(2)), "`rotation` must be of shape [..., 3, 3], got [2, 2]"),
        (lambda: vl.wigner_d(1, 2 * np.eye(3)), "`rotation` must be orthogonal, got a matrix with R R^T far from 1"),
        (lambda: vl.tp_num_paths(1, 2.5, 1), "`l2` must be a whole number from 0, got 2.5"),
    ],
)
def test_wrong_degrees_and_rotations_are_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
