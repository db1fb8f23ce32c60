"""Edges of moving atoms: derivatives, strain, the skin."""

from __future__ import annotations

import numpy as np
import pytest
import valence
from edges_data import CASES, OPS, Batch, expected_rows, liquid, load, one, rotation, rows, same
from valence import _native
from valence._op import REGISTRY
from valence.edges import NeighborList, atomic_virial, edge_vectors, find_edges, strain_gradient, stress

NAMES = [n for n in OPS if n != "species_cutoffs"]


def graph(case):
    shift = case["S"].astype(np.int32)
    return case["i"], case["j"], shift, np.zeros(len(shift), np.int32)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_with_lengths_are_those_of_brute_force(name):
    case = OPS[name]
    x, cell, (s, t, shift, system) = case["positions"], case["cell"][None], graph(case)
    bwd, length_bwd = REGISTRY["edge_vectors"].bwd.kernel(), REGISTRY["edge_length"].bwd.kernel()
    second, length_second = (REGISTRY[n].bwd.bwd.kernel() for n in ("edge_vectors", "edge_length"))
    r = edge_vectors(x, cell, s, t, shift, system)
    g = case["gr"] + length_bwd(r, case["gd"])
    dx, dh = bwd(x, cell, s, t, shift, system, g)
    np.testing.assert_allclose(dx, case["bwd_positions"], atol=1e-11)
    np.testing.assert_allclose(dh[0], case["bwd_cell"], atol=1e-10)
    assert np.abs(dx.sum(axis=0)).max() < 1e-11
    edges = find_edges(one(case), float(case["cutoff"]))
    np.testing.assert_allclose(strain_gradient(edges, g)[0], case["bwd_strain"], atol=1e-10)
    np.testing.assert_allclose(atomic_virial(edges, g).sum(axis=0), -case["bwd_strain"], atol=1e-10)
    # The stored second derivatives have the strain among the first ones' results; the op does not, so it is added here.
    zx, zh, w = second(x, cell, s, t, shift, system, g, case["v_positions"], case["v_cell"][None])
    assert not zx.any() and not zh.any()
    np.testing.assert_allclose(w + r @ case["v_strain"], case["bwd_bwd_gr"], atol=1e-10)
    to_r, to_gd = length_second(r, case["gd"], w + r @ case["v_strain"])
    np.testing.assert_allclose(to_gd, case["bwd_bwd_gd"], atol=1e-10)
    to_r = to_r + g @ case["v_strain"].T
    cx, ch = bwd(x, cell, s, t, shift, system, to_r)
    np.testing.assert_allclose(cx, case["bwd_bwd_positions"], atol=1e-9)
    np.testing.assert_allclose(ch[0], case["bwd_bwd_cell"], atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_op_gives_the_vectors_of_the_list_and_any_order_of_edges_the_same_gradient(dtype, rng):
    x, cell = liquid(500, 0.1, 4)
    x = x.astype(dtype)
    cell = cell.astype(dtype)
    e = find_edges(Batch.of((x, cell, True)), 4.0)
    graph = (e.source, e.target, e.shift, e.system)
    np.testing.assert_array_equal(edge_vectors(x, cell[None], *graph), e.vector)
    bwd = REGISTRY["edge_vectors"].bwd.kernel()
    g = rng.normal(size=(len(e), 3)).astype(dtype)
    order = rng.permutation(len(e))
    shuffled = [a[order] for a in (*graph, g)]
    results = []
    for threads in (1, 2):
        valence.set_num_threads(threads)
        results.append((bwd(x, cell[None], *graph, g), bwd(x, cell[None], *shuffled[:4], shuffled[4])))
    for a, b in zip(results[0], results[1]):
        for c, d in zip(a, b):
            np.testing.assert_array_equal(c, d)
    for a, b in zip(*results[0]):
        np.testing.assert_allclose(a, b, atol=(1e-10 if dtype == np.float64 else 1e-2))
    expected = np.zeros((500, 3))
    np.add.at(expected, e.target, g.astype(float))
    np.subtract.at(expected, e.source, g.astype(float))
    np.testing.assert_allclose(results[0][0][0], expected, atol=(1e-11 if dtype == np.float64 else 1e-5))


def test_an_index_out_of_range_is_named_with_its_row():
    i = np.zeros(2, np.int32)
    with pytest.raises(ValueError, match=r"^`target` must be in \[0, 2\), got 2 in row 1$"):
        edge_vectors(np.zeros((2, 3)), np.zeros((1, 3, 3)), i, np.array([0, 2]), np.zeros((2, 3), np.int32), i)


def test_stress_is_the_strain_derivative_of_a_pair_energy_over_the_volume():
    x, cell = liquid(30, 0.08, 9, [[1, 0.2, 0], [0, 1.1, -0.1], [0.3, 0, 0.9]])

    def energy(eps):
        strain = np.eye(3) + eps
        e = find_edges(Batch.of((x @ strain, cell @ strain, True)), 4.0)
        return ((4.0 - e.distance) ** 3).sum(), e

    _, e = energy(np.zeros((3, 3)))
    g = -3 * ((4.0 - e.distance) ** 2 / e.distance)[:, None] * e.vector
    found = stress(e, g, cell)[0]
    for a in range(3):
        for c in range(3):
            h = np.zeros((3, 3))
            h[a, c] = 1e-5
            quotient = (energy(h)[0] - energy(-h)[0]) / 2e-5 / abs(np.linalg.det(cell))
            np.testing.assert_allclose(found[a, c], quotient, rtol=1e-7, atol=1e-7)
    s = stress(e, g, cell, voigt=True)[0]
    np.testing.assert_array_equal(s, found[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    with pytest.raises(ValueError, match=r"^`cell` must have a volume"):
        stress(e, g, np.zeros((3, 3)))


def frames():
    data = load("verlet.npz")
    count = sum(1 for k in data if k.startswith("frame"))
    return [data[f"frame{t}"] for t in range(count)], float(data[""]["cutoff"]), float(data[""]["skin"])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_kept_list_is_the_fresh_list_at_every_frame_and_built_where_it_must(threads):
    valence.set_num_threads(threads)
    walk, cutoff, skin = frames()
    neighbors = NeighborList(cutoff, skin=skin)
    for frame in walk:
        batch = Batch.of((frame["positions"], frame["cell"], True))
        found = neighbors.update(batch)
        np.testing.assert_array_equal(rows(found), expected_rows(frame))
        same(found, find_edges(batch, cutoff))
        assert neighbors.rebuilt == (bool(frame["must_rebuild"]) or neighbors.n_builds + neighbors.n_reuses == 1)
    assert neighbors.n_builds + neighbors.n_reuses == len(walk)
    assert neighbors.n_builds <= 1 + sum(bool(f["must_rebuild"]) for f in walk)


@pytest.mark.parametrize("half", [False, True])
def test_a_batch_with_open_and_slab_systems_is_kept_exactly(half, rng):
    names = ["molecule_open", "rotated_ortho_slab_TTF", "empty", "triclinic", "one_atom_open"]
    batch = Batch.of(*[(CASES[n]["positions"], CASES[n]["cell"], CASES[n]["pbc"]) for n in names])
    neighbors = NeighborList(3.0, skin=0.6, half=half)
    x = batch.positions
    for step in range(12):
        x = x + rng.normal(0, 0.03, x.shape)
        if step == 5:
            inside = slice(*batch.offsets[3:5])
            x[inside] += np.array([1, 0, -2]) @ batch.cell[3]
        now = batch.replace(positions=x)
        same(neighbors.update(now), find_edges(now, 3.0, half=half))
    assert 1 <= neighbors.n_builds < 6
    wide = neighbors.update(now, filtered=False)
    assert len(wide) > len(find_edges(now, 3.0, half=half))


def test_a_rotation_of_everything_builds_nothing_and_changes_of_the_batch_build():
    x, cell = liquid(80, 0.1, 6)
    neighbors = NeighborList(3.0, skin=0.4)
    turn = rotation(1)
    neighbors.update(Batch.of((x, cell, True)))
    turned = Batch.of((x @ turn, cell @ turn, True))
    same(neighbors.update(turned), find_edges(turned, 3.0))
    assert (neighbors.rebuilt, neighbors.n_builds, neighbors.n_reuses) == (False, 1, 1)
    for changed in [
        Batch.of((x[:-1], cell, True)),
        Batch.of((x[:-1], cell, [True, True, False])),
        Batch.of((x[:-1], cell * [[1.0], [1.0], [2.0]], [True, True, False])),
    ]:
        builds = neighbors.n_builds
        same(neighbors.update(changed), find_edges(changed, 3.0))
        assert neighbors.n_builds == builds + (changed.cell[0, 2, 2] == cell[2, 2])
    bent = changed.replace(cell=changed.cell * [[1.001], [1.0], [1.0]])
    same(neighbors.update(bent), find_edges(bent, 3.0))
    assert neighbors.rebuilt
    broken = changed.replace(positions=np.full_like(x[:-1], np.nan))
    with pytest.raises(ValueError, match=r"^`positions` must be finite"):
        neighbors.update(broken)
    same(neighbors.update(changed), find_edges(changed, 3.0))


def test_filtering_again_is_the_same_without_simd(rng):
    for dtype in (np.float64, np.float32):
        x, cell = liquid(300, 0.1, 8)
        x = x.astype(dtype)
        stored = find_edges(Batch.of((x, cell, True)), 4.5)
        x = x + rng.normal(0, 0.05, x.shape).astype(dtype)
        graph = (stored.target, stored.shift, stored._row_ptr)
        moved = rng.integers(-2, 3, x.shape, dtype=np.int32)
        for m in (None, moved):
            given = (x, stored.offsets, cell[None], np.ones((1, 3), bool), 4.0, *graph, m)
            for a, b in zip(_native.refilter_edges(*given), _native.refilter_edges(*given, portable=True)):
                np.testing.assert_array_equal(a, b)


def test_wrong_skins_and_pointers_are_refused():
    for bad in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^`skin` must be a finite length in Angstrom, not negative"):
            NeighborList(3.0, skin=bad)
    with pytest.raises(ValueError, match=r"^`cutoff` must be a positive finite length"):
        NeighborList(0.0)
    i, s, rows_ = np.zeros(2, np.int32), np.zeros((2, 3), np.int32), np.array([0, 3])
    with pytest.raises(ValueError, match=r"^`row_ptr` must be ascending from 0 to 2"):
        _native.reverse_edges(i, i, s, rows_)
