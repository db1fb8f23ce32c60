"""Options of the neighbor list: pairs, k nearest, exclusions, padding, tables, ASE's call; and its errors."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import valence
from edges_data import CASES, DATA, OPS, Batch, expected_rows, liquid, one, rows
from valence.compat.ase import neighbor_list as compatible
from valence.edges import AdaptiveNeighborMatrix, find_edges, neighbor_list, neighbor_matrix, search, wrap

NAMES = [n for n in OPS if n != "species_cutoffs"]


@pytest.mark.parametrize("name", NAMES)
def test_half_lists_reverses_and_k_nearest_are_those_of_brute_force(name):
    case, batch = OPS[name], one(OPS[name])
    cutoff, full = float(case["cutoff"]), expected_rows(case)
    np.testing.assert_array_equal(rows(find_edges(batch, cutoff, half=True)), full[case["half"]])
    np.testing.assert_array_equal(find_edges(batch, cutoff).reverse, case["reverse"])
    for k in (1, 4, 8):
        found = find_edges(batch, cutoff, k=k)
        np.testing.assert_array_equal(rows(found), full[case[f"knn{k}"]])
        assert found.truncated == (len(found) < len(full))


@pytest.mark.parametrize("name", NAMES)
def test_the_matrix_is_that_of_brute_force(name):
    case = OPS[name]
    found = neighbor_matrix(one(case), float(case["cutoff"]))
    np.testing.assert_array_equal(found.index, case["nbmat"])
    np.testing.assert_array_equal(found.shift, case["nbmat_shifts"])
    np.testing.assert_array_equal(found.count, case["num_neighbors"])
    assert found.index.dtype == found.shift.dtype == found.count.dtype == np.int32


def test_species_cutoffs_give_no_edges_to_pairs_without_one():
    case = OPS["species_cutoffs"]
    batch = one(case).replace(numbers=case["numbers"])
    cutoff = {(int(a), int(b)): rc for a, b, rc in case["pairs"]}
    np.testing.assert_array_equal(rows(find_edges(batch, cutoff)), expected_rows(case))


def test_radii_and_self_interaction_are_those_of_ase():
    Atoms = pytest.importorskip("ase", reason="ase is not installed").Atoms
    of_ase = pytest.importorskip("ase.neighborlist").neighbor_list
    case = CASES["triclinic"]
    atoms = Atoms(f"H{len(case['positions'])}", case["positions"], cell=case["cell"], pbc=case["pbc"])
    radii = np.random.default_rng(3).uniform(0.5, 1.9, len(atoms))
    for cutoff, itself in [(radii, False), (3.4, True), (2.0, False)]:
        i, j, d, vector, shift = compatible("ijdDS", atoms, cutoff, itself)
        expected = of_ase("ijdDS", atoms, cutoff, self_interaction=itself)
        order = np.lexsort((*expected[4].T[::-1], expected[1], expected[0]))
        for a, b in zip((i, j, shift), (expected[0], expected[1], expected[4])):
            np.testing.assert_array_equal(a, b[order])
            assert a.dtype == b.dtype
        np.testing.assert_allclose(d, expected[2][order], atol=1e-12)
        np.testing.assert_allclose(vector, expected[3][order], atol=1e-12)
    assert isinstance(compatible("d", atoms, 2.0), np.ndarray)
    with pytest.raises(ValueError, match="`quantities` must be letters of"):
        compatible("ix", atoms, 2.0)


def test_ties_and_symmetric_choices_of_k():
    a = 4.0
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * a
    batch = Batch.of((fcc, np.eye(3) * a, True))
    assert len(find_edges(batch, 1.5 * a, k=5, ties="include")) == 4 * 12
    x, cell = liquid(60, 0.1, 1)
    batch = Batch.of((x, cell, True))
    chosen = {tuple(r) for r in rows(find_edges(batch, 4.0, k=6))}
    reversed_ = {(j, i, -a, -b, -c) for i, j, a, b, c in chosen}
    for symmetric, expected in [("union", chosen | reversed_), ("mutual", chosen & reversed_)]:
        found = find_edges(batch, 4.0, k=6, symmetric=symmetric)
        assert [tuple(r) for r in rows(found).tolist()] == sorted(expected)
        assert (found.reverse >= 0).all()
        np.testing.assert_array_equal(np.bincount(found.source, minlength=60), np.diff(found.row_ptr))


def test_exclusions_remove_the_nearest_images_or_the_named_one():
    x = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 2.5, 0]])
    cell = np.eye(3) * 5.0
    full = {tuple(r) for r in rows(search(x, 6.0, cell=cell, pbc=True)).tolist()}
    found = {tuple(r) for r in rows(search(x, 6.0, cell=cell, pbc=True, exclusions=[(0, 1)])).tolist()}
    assert full - found == {(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)}
    found = {tuple(r) for r in rows(search(x, 6.0, cell=cell, pbc=True, exclusions=[(0, 2)])).tolist()}
    both = {(0, 2, 0, 0, 0), (0, 2, 0, -1, 0)}
    assert full - found == both | {(2, 0, 0, 0, 0), (2, 0, 0, 1, 0)}
    found = {tuple(r) for r in rows(search(x, 6.0, cell=cell, pbc=True, exclusions=[(0, 1, -1, 0, 0)])).tolist()}
    assert full - found == {(0, 1, -1, 0, 0), (1, 0, 1, 0, 0)}


def test_the_table_has_the_agreed_columns_over_the_same_memory():
    case = CASES["liquid64"]
    edges = find_edges(one(case), float(case["cutoff"]))
    table = neighbor_list(one(case), float(case["cutoff"]))
    expected = {
        "system": pl.UInt32,
        "source": pl.UInt32,
        "target": pl.UInt32,
        "shift": pl.Array(pl.Int32, 3),
        "vector": pl.Array(pl.Float64, 3),
        "distance": pl.Float64,
    }
    assert dict(table.schema) == expected
    for name in expected:
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(edges, name))
    assert len(neighbor_list(one(CASES["empty"]), 5.0)) == 0


def test_the_capacity_follows_the_rule():
    for spec in json.loads((DATA / "capacity.json").read_text()):
        m = AdaptiveNeighborMatrix(spec["cutoff"], density=spec["density"])
        for step in spec["steps"]:
            retried = step["max_count"] > m.capacity
            assert m._fit(step["max_count"]) == step["capacity_used"]
            assert retried == bool(step["retried"])
        assert m.capacity == spec["capacity_after"]


def test_a_structure_that_oscillates_does_not_resize_every_step():
    m = AdaptiveNeighborMatrix(3.0)
    frames = [Batch.of((*liquid(40, rho, 2), True)) for rho in (0.12, 0.2)]
    for step in range(100):
        found = m.update(frames[step % 2])
        assert found.index.shape[1] == max(1, found.count.max())
    assert m.n_resizes <= 2


def test_wrapping_keeps_vectors_and_moves_atoms_into_the_cell():
    for name in ("rotated_triclinic_outside", "rotated_ortho_slab_TTF", "molecule_open", "empty"):
        case, batch = CASES[name], one(CASES[name])
        wrapped = wrap(batch)
        found = find_edges(wrapped, float(case["cutoff"]))
        np.testing.assert_array_equal(rows(found)[:, :2], expected_rows(case)[:, :2])
        if case["pbc"].all() and len(case["positions"]):
            f = wrapped.positions @ np.linalg.inv(case["cell"])
            assert f.min() > -1e-12 and f.max() < 1 + 1e-12


CUBE = np.eye(3) * 5.0


@pytest.mark.parametrize("bad, shown", [(0.0, "0.0"), (-2.0, "-2.0"), (np.nan, "NaN"), (np.inf, "inf")])
def test_a_cutoff_that_is_not_positive_is_refused(bad, shown):
    with pytest.raises(ValueError, match=rf"^`cutoff` must be a positive finite length in Angstrom, got {shown}$"):
        search(np.zeros((2, 3)), bad)


@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite_name_atom_and_axis(value, pbc):
    x = np.random.default_rng(0).uniform(0, 5, (9, 3))
    x[6, 1] = value
    with pytest.raises(ValueError, match=r"^`positions` must be finite, got .* at atom 6, axis y$"):
        search(x, 2.0, cell=CUBE, pbc=pbc)


def test_cells_that_are_not_finite_or_singular_say_where():
    x = np.zeros((1, 3))
    nan, flat, zero = CUBE.copy(), CUBE.copy(), CUBE.copy()
    nan[1, 2], flat[2], zero[1] = np.nan, [5.0, 5.0, 0.0], 0.0
    with pytest.raises(ValueError, match=r"^`cell` must be finite, got .* in direction 1 of system 0$"):
        search(x, 2.0, cell=nan, pbc=True)
    with pytest.raises(
        ValueError, match=r"vectors in directions \[0, 1, 2\].*cell is singular along periodic directions"
    ):
        search(x, 2.0, cell=flat, pbc=True)
    with pytest.raises(ValueError, match=r"zero vector in direction 1 .*cell is singular along periodic directions"):
        search(x, 2.0, cell=zero, pbc=True)
    with pytest.raises(ValueError, match="singular along periodic directions"):
        search(x, 2.0, pbc=True)
    assert len(search(x, 2.0, cell=zero, pbc=[True, False, True])) == 0


def test_wrong_shapes_and_types_are_refused_by_name():
    x = np.zeros((2, 3))
    for bad in (np.zeros(3), np.zeros((2, 2)), np.zeros((2, 3, 1))):
        with pytest.raises(ValueError, match=r"^`positions` must be of shape \[N, 3\], got "):
            search(bad, 2.0)
    with pytest.raises(TypeError, match=r"^`positions` must be an array of float32 or float64, got int64"):
        search(np.zeros((2, 3), np.int64), 2.0)
    with pytest.raises(ValueError, match=r"^`cell` must be of shape "):
        search(x, 2.0, cell=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"^`pbc` must be one flag or of shape "):
        search(x, 2.0, pbc=[True, False])
    for bad in ([0, 3, 2], [1, 2], [0, 1], [0, 2, 1, 2]):
        with pytest.raises(ValueError, match=r"^`offsets` must be ascending from 0 to the number of atoms, 2"):
            search(x, 2.0, offsets=bad)
    with pytest.raises(ValueError, match=r"^`positions` must be within 2"):
        search(np.array([[1e12, 0, 0]]), 2.0, cell=np.eye(3), pbc=True)
    with pytest.raises(ValueError, match=r"^`k` must be a count"):
        search(x, 2.0, k=-1)
    with pytest.raises(ValueError, match=r"^`exclusions` must be atoms in \[0, 2\)"):
        search(x, 2.0, exclusions=[(0, 2)])
    with pytest.raises(ValueError, match=r"^`cutoff` must be of shape \[N\] = \[2\]"):
        search(x, np.ones(3))


def test_mixed_precision_strided_and_list_input_are_accepted():
    case = CASES["triclinic"]
    x, cell, cutoff = case["positions"], case["cell"], float(case["cutoff"])
    wide = np.repeat(x, 2, axis=0)[::2]
    for given in (wide, np.asfortranarray(x)):
        np.testing.assert_array_equal(rows(search(given, cutoff, cell=cell, pbc=True)), expected_rows(case))
    found = search(x.astype(np.float32), cutoff, cell=cell, pbc=True)
    assert found.vector.dtype == np.float32
    assert len(search(x.tolist(), cutoff, cell=cell.tolist(), pbc=[True, True, True])) == len(case["i"])


def test_a_list_too_large_is_refused_before_it_is_made():
    x, cell = liquid(1_000_000, 0.1, 0)
    with pytest.raises(MemoryError, match=r"edges needs .* bytes .*`cutoff` = 50 Angstrom, density 1.000e-1"):
        search(x, 50.0, cell=cell, pbc=True)
    x, cell = liquid(3000, 0.1, 0)
    for pbc in (True, False, [True, True, False]):
        with pytest.raises(MemoryError, match="the limit is 100000 bytes"):
            search(x, 5.0, cell=cell, pbc=pbc, memory_limit=100_000)
    with pytest.raises(MemoryError, match="periodic images"):
        search(np.zeros((1, 3)), 1e5, cell=np.eye(3), pbc=True, memory_limit=1 << 62)


def test_a_million_atoms_take_the_memory_of_their_list():
    import resource

    x, cell = liquid(1_000_000, 0.1, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = search(x, 3.0, cell=cell, pbc=True)
    table = sum(a.nbytes for a in (found.source, found.target, found.shift, found.vector, found.distance))
    assert len(found) > 8_000_000
    # Sites and their bins are about 160 bytes an atom, beside 56 + 4 bytes an edge.
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 1.3 * table + 250e6
    del found
    valence.edges.release_memory()
