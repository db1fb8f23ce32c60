"""The neighbor list against other programs' lists, brute force, and the laws of its definition."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import valence
from edges_data import CASES, DATA, Batch, expected_rows, liquid, one, rotation, rows, same
from hypothesis import given, settings
from hypothesis import strategies as st
from valence import _native
from valence.edges import Edges, find_edges, search
from valence.reference import edges as reference


def raw(b: Batch, cutoff, **options) -> Edges:
    return Edges(_native.search_edges(b.positions, b.offsets, b.cell, b.pbc, cutoff, **options), b.offsets)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("method", ["auto", "brute", "bins"])
@pytest.mark.parametrize("name", CASES)
def test_every_case_is_what_ase_matscipy_and_vesin_find(name, method, portable, threads):
    valence.set_num_threads(threads)
    case = CASES[name]
    found = raw(one(case), float(case["cutoff"]), method=method, portable=portable)
    np.testing.assert_array_equal(rows(found), expected_rows(case))
    np.testing.assert_allclose(found.vector, case["D"], atol=1e-11)
    np.testing.assert_allclose(found.distance, case["d"], atol=1e-11)
    assert found.row_ptr[0] == 0 and found.row_ptr[-1] == len(found)


@pytest.mark.parametrize("name", CASES)
def test_float32_positions_are_decided_as_the_same_numbers_in_float64(name):
    case = CASES[name]
    single = one(case).replace(positions=case["positions"].astype(np.float32))
    cutoff = float(case["cutoff"])
    found = find_edges(single, cutoff)
    expected = reference.neighbor_list(single.positions.astype(float), case["cell"], case["pbc"], cutoff)
    np.testing.assert_array_equal(rows(found), np.column_stack(expected[:3]).reshape(-1, 5))
    assert found.vector.dtype == found.distance.dtype == np.float32
    np.testing.assert_array_equal(found.vector, expected[3].astype(np.float32))
    np.testing.assert_allclose(found.distance, expected[4], rtol=1e-7)


@pytest.mark.parametrize("spec", json.loads((DATA / "large.json").read_text()), ids=lambda s: f"{s['n']}-{s['seed']}")
@pytest.mark.parametrize("portable", [False, True])
def test_large_lists_have_the_digest_of_vesin_and_matscipy(spec, portable):
    x, cell = liquid(spec["n"], spec["rho"], spec["seed"], spec.get("cell"))
    found = raw(Batch.of((x, cell, spec["pbc"])), spec["rc"], portable=portable)
    digest = hashlib.sha256(rows(found).astype("<i4").tobytes()).hexdigest()
    assert (len(found), digest) == (spec["edges"], spec["sha256_ijS_rows_int32_le"])
    assert found.counts.max() == spec["max_neighbors"]
    np.testing.assert_allclose(np.sort(found.distance).sum(), spec["sum_d"], rtol=1e-12)


def random_system(seed: int, n: int):
    """Atoms in and around a cell that may be skewed, flat, left-handed or partly open."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + np.diag(rng.uniform(1.5, 5.0, 3))
    if rng.random() < 0.3:
        cell[1] += np.round(rng.normal(0, 2)) * cell[0]
    if rng.random() < 0.3:
        cell = cell[[1, 0, 2]]
    pbc = rng.random(3) < 0.7
    if abs(np.linalg.det(cell)) < 1.0:
        cell += 3.0 * np.eye(3)
    if abs(np.linalg.det(cell)) < 1.0:
        pbc = np.zeros(3, bool)
    return rng.uniform(-1.5, 2.5, (n, 3)) @ cell, cell, pbc, rng


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 9), cutoff=st.floats(0.5, 4.0))
def test_random_cells_agree_with_brute_force_to_the_bit(seed, n, cutoff):
    x, cell, pbc, _ = random_system(seed, n)
    expected = reference.neighbor_list(x, cell, pbc, cutoff)
    for method in ("brute", "bins"):
        for portable in (False, True):
            found = raw(Batch.of((x, cell, pbc)), cutoff, method=method, portable=portable)
            np.testing.assert_array_equal(rows(found), np.column_stack(expected[:3]).reshape(-1, 5))
            np.testing.assert_array_equal(found.vector, expected[3])
            np.testing.assert_array_equal(found.distance, expected[4])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40))
def test_invariances_of_the_definition(seed, n):
    x, cell, pbc, rng = random_system(seed, n)
    cutoff = 2.7
    base = search(x, cutoff, cell=cell, pbc=pbc)

    def bag(e):
        return sorted(zip(e.source.tolist(), e.target.tolist(), np.round(e.distance, 7).tolist()))

    order = rng.permutation(n)
    permuted = search(x[order], cutoff, cell=cell, pbc=pbc)
    back = np.column_stack([order[permuted.source], order[permuted.target], permuted.shift])
    np.testing.assert_array_equal(back[np.lexsort(back.T[::-1])], rows(base))

    whole = rng.integers(-3, 4, (n, 3)) * pbc
    moved = search(x + whole @ cell, cutoff, cell=cell, pbc=pbc)
    assert bag(moved) == bag(base)
    turn = rotation(seed)
    assert bag(search(x @ turn, cutoff, cell=cell @ turn, pbc=pbc)) == bag(base)
    garbage = np.where(pbc[:, None], cell, rng.normal(size=(3, 3)) * 100)
    same(search(x, cutoff, cell=garbage, pbc=pbc), base)
    if pbc.all():
        u = np.array([[1, 2, -1], [0, 1, 3], [0, 0, -1]])
        assert bag(search(x, cutoff, cell=u @ cell, pbc=True)) == bag(base)
        swapped = search(x, cutoff, cell=cell[[2, 0, 1]], pbc=True)
        assert bag(swapped) == bag(base)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 30))
def test_sum_rules(seed, n):
    x, cell, pbc, _ = random_system(seed, n)
    full, half = (search(x, 3.0, cell=cell, pbc=pbc, half=h) for h in (False, True))
    assert len(full) == 2 * len(half)
    both = np.concatenate([rows(half), np.column_stack([half.target, half.source, -half.shift])])
    np.testing.assert_array_equal(both[np.lexsort(both.T[::-1])], rows(full))
    np.testing.assert_array_equal(np.bincount(full.source, minlength=n), np.bincount(full.target, minlength=n))
    rev = full.reverse
    np.testing.assert_array_equal(rev[rev], np.arange(len(full)))
    assert not (rev == np.arange(len(full))).any()
    np.testing.assert_array_equal(full.vector[rev], -full.vector)
    assert (half.reverse == -1).all()
    near = search(x, 1.9, cell=cell, pbc=pbc)
    d2 = (full.vector**2) @ np.ones(3)
    if (np.abs(d2 - 1.9**2) > 1e-9).all():
        same(near, full.select(d2 < 1.9**2))
    with_self = search(x, 3.0, cell=cell, pbc=pbc, self_interaction=True)
    assert len(with_self) == len(full) + n


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_batch_is_the_concatenation_of_its_systems_for_any_number_of_threads(dtype):
    names = [n for n in CASES if CASES[n]["cutoff"] > 0] * 3
    big, cell = liquid(3000, 0.1, 5)
    systems = [(CASES[n]["positions"].astype(dtype), CASES[n]["cell"], CASES[n]["pbc"]) for n in names]
    systems[7:7] = [(big.astype(dtype), cell, True), (np.zeros((0, 3), dtype), np.eye(3), True)]
    batch = Batch.of(*systems)
    lists = []
    for threads in (1, 2, 3):
        valence.set_num_threads(threads)
        lists.append(find_edges(batch, 3.1))
    same(lists[0], lists[1])
    same(lists[0], lists[2])
    at = batch.offsets
    for b, system in enumerate(systems):
        alone = find_edges(Batch.of(system), 3.1)
        e0, e1 = lists[0].edge_ptr[b : b + 2]
        np.testing.assert_array_equal(lists[0].source[e0:e1] - at[b], alone.source)
        np.testing.assert_array_equal(lists[0].target[e0:e1] - at[b], alone.target)
        np.testing.assert_array_equal(lists[0].shift[e0:e1], alone.shift)
        np.testing.assert_array_equal(lists[0].vector[e0:e1], alone.vector)
        assert (lists[0].system[e0:e1] == b).all()


def test_atoms_of_equal_place_have_an_edge_of_length_zero():
    found = search(np.zeros((2, 3)), 1.0)
    np.testing.assert_array_equal(rows(found), [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert (found.distance == 0).all()


def test_no_atoms_give_empty_arrays_of_the_right_shapes():
    for dtype in (np.float32, np.float64):
        found = search(np.zeros((0, 3), dtype), 5.0)
        assert found.shift.shape == found.vector.shape == (0, 3) and found.vector.dtype == dtype
        assert found.source.dtype == found.shift.dtype == np.int32 and len(found.row_ptr) == 1
        assert len(found.reverse) == 0 and found.to_matrix().index.shape == (0, 1)
    assert (
        len(find_edges(Batch(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3), bool), np.array([0])), 1.0)) == 0
    )


def test_the_cutoff_is_strict():
    x = np.array([[0.0, 0, 0], [2.0, 0, 0]])
    assert len(search(x, 2.0)) == 0 and len(search(x, np.nextafter(2.0, 3))) == 2


def test_a_cell_smaller_than_the_cutoff_has_many_images():
    found = search(np.zeros((1, 3)), 3.01, cell=np.eye(3), pbc=True)
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = grid[((grid**2).sum(1) < 3.01**2) & grid.any(1)]
    np.testing.assert_array_equal(found.shift, inside)


def test_an_atom_a_million_cells_away_is_found():
    x = np.array([[0.5, 0.5, 0.5], [1.0 + 4.0 * 1e6, 0.5, 0.5]])
    found = search(x, 1.0, cell=np.eye(3) * 4.0, pbc=True)
    np.testing.assert_array_equal(found.shift, [[-1000000, 0, 0], [1000000, 0, 0]])


def test_a_nearly_empty_box_makes_no_grid_of_its_volume():
    x = np.random.default_rng(0).uniform(0, 1, (200, 3))
    x[100:] += 1e7
    found = raw(Batch.of((x, np.zeros((3, 3)), False)), 0.4, method="bins")
    expected = reference.neighbor_list(x, np.zeros((3, 3)), False, 0.4)
    np.testing.assert_array_equal(rows(found), np.column_stack(expected[:3]))
