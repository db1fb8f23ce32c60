"""Where the time inside an op goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from valence import _native


@contextmanager
def time_stages() -> Iterator[dict[str, float]]:
    """Seconds of the stages of all ops that run within the block: neighbors, basis, moments, contract, power_spectrum, backward.

    The dict is filled when the block ends. Times are sums over the threads of the core, so with one thread they are parts of the
    wall time; what lies between the stages is in none. Results do not change; off, as ever but within such a block, a timer costs a
    nanosecond. The timers are of the whole process: blocks must not overlap in several Python threads.

    >>> import numpy as np
    >>> import valence as vl
    >>> with vl.time_stages() as stages:
    ...     edges = vl.find_edges(vl.samples("water"), cutoff=5.0)
    >>> list(stages)
    ['neighbors']
    """
    stages: dict[str, float] = {}
    _native.time_stages(True)
    try:
        yield stages
    finally:
        _native.time_stages(False)
        stages.update(_native.stage_seconds())
