"""Columns in, columns out: how an op is called with Arrow columns (polars, pyarrow, DuckDB, pandas)."""

from __future__ import annotations

from typing import Any

from valence import _native


def to_array(column: Any, name: str) -> Any:
    """A column's numbers as an array [rows] or [rows, width], without a copy if it is one chunk."""
    return _native.ArrowIn(column, name).array(name)


def to_series(array: Any, name: str) -> Any:
    """An array as a polars Series that shares its memory."""
    import polars as pl

    return pl.Series(name, _native.Table([(name, array)], as_column=True))


def call(kernel: Any, names: list[str], given: tuple, out: Any) -> Any:
    """Runs `kernel` on arguments of which some are columns; results are polars Series named after the outputs."""
    import numpy as np

    if out is not None:
        raise TypeError("`out` must be None for columns, got an array")
    operands = []
    for name, value in zip(names, given):
        if isinstance(value, np.ndarray):
            operands.append(value)
        elif hasattr(value, "__arrow_c_stream__"):
            operands.append(to_array(value, name))
        else:
            library = type(value).__module__.split(".")[0]
            hint = {"torch": ": use valence.torch", "jax": ": use valence.jax", "jaxlib": ": use valence.jax"}
            raise TypeError(
                f"`{name}` must be a numpy array or an Arrow column, got {type(value)}{hint.get(library, '')}"
            )
    result = kernel(*operands)
    if isinstance(result, tuple):
        return tuple(to_series(r, n) for r, n in zip(result, kernel.output_names))
    return to_series(result, kernel.output_names[0])
