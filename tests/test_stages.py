"""Timers of the stages of ops: what they add up to, and that they change nothing."""

import time

import numpy as np
import pytest
import valence as vl

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def one_thread():
    before = vl.get_num_threads()
    vl.set_num_threads(1)
    yield
    vl.set_num_threads(before)


def test_stages_are_parts_of_the_wall_time_of_the_block():
    systems = vl.Systems.from_arrays(RNG.uniform(0, 30, (3000, 3)), np.full(3000, 18), cell=30 * np.eye(3))
    began = time.perf_counter()
    with vl.time_stages() as stages:
        edges = vl.find_edges(systems, 5.0)
        vl.spherical_harmonics(edges.vector, 6)
        vl.tensor_product_simple(RNG.normal(size=(500, 16)), RNG.normal(size=(500, 16)))
        assert stages == {}
    wall = time.perf_counter() - began
    assert set(stages) == {"neighbors", "basis", "contract"}
    assert 0.3 * wall < sum(stages.values()) < wall and min(stages.values()) > 0


def test_timers_are_off_outside_of_a_block_and_start_from_zero():
    vectors = RNG.normal(size=(2000, 3))
    with vl.time_stages() as first:
        vl.spherical_harmonics(vectors, 3)
    vl.spherical_harmonics(vectors, 8)
    with vl.time_stages() as empty:
        pass
    assert set(first) == {"basis"} and empty == {}
    failed = vl.time_stages()
    with pytest.raises(ValueError, match="lmax"), failed:
        vl.spherical_harmonics(vectors, -1)
    with vl.time_stages() as again:
        pass
    assert again == {}


def test_results_have_the_same_bits_with_timers_on():
    vectors = RNG.normal(size=(1000, 3))
    plain = vl.spherical_harmonics(vectors, 5)
    with vl.time_stages():
        timed = vl.spherical_harmonics(vectors, 5)
    assert (plain == timed).all()
