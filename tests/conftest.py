"""Shared by all tests: seeds, number of threads, optional packages."""

from __future__ import annotations

import numpy as np
import pytest
import valence


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240117)


@pytest.fixture(autouse=True)
def _threads_as_before():
    """A test may set the number of threads; the next one starts as if it had not."""
    before = valence.get_num_threads()
    yield
    valence.set_num_threads(before)
