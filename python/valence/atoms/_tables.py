"""Atoms and systems tables in and out, through polars, which reads any `__arrow_c_stream__`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .systems import Systems

_MAX_IDS = 100_000_000
ATOMS = ("system", "number", "position")
SYSTEMS = ("system", "cell", "pbc")


def _polars():
    try:
        import polars
    except ImportError as error:  # pragma: no cover
        raise ImportError("tables need polars: pip install 'valence[table]'") from error
    return polars


def from_tables(atoms: Any, systems: Any = None) -> Systems:
    """See `Systems.from_tables`."""
    table = _frame("atoms", atoms)
    ids = _integers("system", _need(table, "atoms", "system"))
    number = _integers("number", _need(table, "atoms", "number"))
    position = _vectors("position", _need(table, "atoms", "position"), 3)
    if len(ids) and ids.min() < 0:
        row = int(np.argmax(ids < 0))
        raise ValueError(f"`system` must be zero or more, got {ids[row]} in row {row}")
    falls = np.flatnonzero(np.diff(ids) < 0)
    if len(falls):
        row = int(falls[0]) + 1
        raise ValueError(
            f"`system` must not decrease from row to row, got {ids[row]} after {ids[row - 1]} in row {row}"
        )
    if systems is None:
        num_systems = int(ids[-1]) + 1 if len(ids) else 0
        where, cell, pbc, info = None, None, None, {}
    else:
        where, num_systems, cell, pbc, info = _systems(_frame("systems", systems))
        stray = np.flatnonzero(~np.isin(ids, where))
        if len(stray):
            row = int(stray[0])
            raise ValueError(f"`system` must be in the systems table, got {ids[row]} in row {row} of the atoms table")
    if num_systems > _MAX_IDS:
        raise ValueError(f"`system` must be the number of a system, below {_MAX_IDS}, got {num_systems - 1}")
    special = ("charges", "orientation", "semiaxes")
    columns = {
        name: _column(table[name]) if name not in special else _special(name, table[name])
        for name in table.columns
        if name not in ("system", "number", "position")
    }
    return Systems.from_arrays(
        position,
        number,
        counts=np.bincount(ids, minlength=num_systems) if num_systems else np.zeros(0, np.int64),
        cell=cell,
        pbc=False if cell is None else pbc,
        info=info,
        **columns,
    )


def _systems(table: Any):
    """Ids and columns of a systems table, each scattered to the row of its id."""
    ids = _integers("system", _need(table, "systems", "system"))
    if len(ids) and ids.min() < 0:
        row = int(np.argmax(ids < 0))
        raise ValueError(f"`system` must be zero or more, got {ids[row]} in row {row}")
    if len(np.unique(ids)) != len(ids):
        _, first = np.unique(ids, return_index=True)
        row = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        raise ValueError(f"`system` must be one row a system in the systems table, got {ids[row]} again in row {row}")
    num_systems = int(ids.max()) + 1 if len(ids) else 0
    if num_systems > _MAX_IDS:
        raise ValueError(f"`system` must be the number of a system, below {_MAX_IDS}, got {num_systems - 1}")

    def scatter(values: np.ndarray, fill: Any) -> np.ndarray:
        if len(ids) == num_systems and np.array_equal(ids, np.arange(num_systems)):
            return values
        result = np.full((num_systems, *values.shape[1:]), fill, dtype=values.dtype)
        result[ids] = values
        return result

    cell = pbc = None
    info = {}
    for name in table.columns:
        column = table[name]
        if name == "cell":
            cell = scatter(_cells(column), 0.0)
        elif name == "pbc":
            pbc = scatter(_fixed("pbc", column, 3), False)
        elif name == "charge":
            info[name] = scatter(column.cast(_polars().Float64).fill_null(float("nan")).to_numpy(), np.nan)
        elif name == "multiplicity":
            info[name] = scatter(column.fill_null(0).to_numpy(), 0)
        elif name != "system":
            values = _column(column)
            if len(ids) != num_systems and values.dtype.kind not in "fO":
                values = values.astype(object)
            info[name] = scatter(values, np.nan if values.dtype.kind == "f" else None)
    if pbc is not None and cell is None:
        if pbc.any():
            got = ", ".join(table.columns)
            raise ValueError(f"`systems` must have a column `cell` where `pbc` is true, got columns {got}")
        pbc = None
    if cell is not None and pbc is None:
        raise ValueError(f"`systems` must have a column `pbc` beside `cell`, got columns {', '.join(table.columns)}")
    return ids, num_systems, cell, pbc, info


def _frame(name: str, table: Any):
    pl = _polars()
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if not hasattr(table, "__arrow_c_stream__"):
        raise TypeError(f"`{name}` must be a table with __arrow_c_stream__, got {type(table).__name__}")
    return pl.DataFrame(table)


def _need(table: Any, name: str, column: str):
    if column not in table.columns:
        raise ValueError(f"`{name}` must have a column `{column}`, got columns {', '.join(table.columns) or 'none'}")
    return table[column]


def _no_nulls(column: Any) -> None:
    if column.null_count():
        row = int(column.is_null().arg_max())
        got = f"{column.null_count()} nulls, the first in row {row}"
        raise ValueError(f"`{column.name}` must be without nulls, got {got}")


def _integers(name: str, column: Any) -> np.ndarray:
    _no_nulls(column)
    if not column.dtype.is_integer():
        raise TypeError(f"`{name}` must be a column of integers, got {column.dtype}")
    return column.to_numpy().astype(np.int64) if name == "system" else column.to_numpy()


def _fixed(name: str, column: Any, width: int) -> np.ndarray:
    """An Array(_, width) column as an array (rows, width)."""
    pl = _polars()
    _no_nulls(column)
    if not (isinstance(column.dtype, pl.Array) and int(np.prod(column.dtype.shape)) == width):
        advice = f"; cast it: .cast(pl.Array(pl.Float64, {width}))" if isinstance(column.dtype, pl.List) else ""
        raise TypeError(f"`{name}` must be a column of Array(_, {width}), got {column.dtype}{advice}")
    flat: Any = column
    while isinstance(flat.dtype, pl.Array):
        flat = flat.explode() if len(flat) else pl.Series(name, [], dtype=flat.dtype.inner)
    if flat.null_count():
        row = int(flat.is_null().arg_max() or 0) // width
        raise ValueError(f"`{name}` must be without nulls, got {flat.null_count()} nulls, the first in row {row}")
    return flat.to_numpy().reshape(len(column), width)


def _vectors(name: str, column: Any, width: int) -> np.ndarray:
    array = _fixed(name, column, width)
    if array.dtype not in (np.float64, np.float32):
        raise TypeError(f"`{name}` must be a column of Array(Float64, {width}), got {column.dtype}")
    return array


def _cells(column: Any) -> np.ndarray:
    return _vectors("cell", column, 9).reshape(-1, 3, 3)


def _special(name: str, column: Any) -> np.ndarray:
    if name == "charges":
        _no_nulls(column)
        return column.to_numpy()
    return _vectors(name, column, 4 if name == "orientation" else 3)


def _column(column: Any) -> np.ndarray:
    """A further column: arrays of fixed width as (rows, ...), numbers as they are, all else as objects."""
    pl = _polars()
    if isinstance(column.dtype, pl.Array) and not column.null_count():
        width = int(np.prod(column.dtype.shape))
        return _fixed(column.name, column, width).reshape(len(column), *column.dtype.shape)
    if column.dtype.is_float():
        return column.fill_null(float("nan")).to_numpy()
    if (column.dtype.is_integer() or column.dtype == pl.Boolean) and not column.null_count():
        return column.to_numpy()
    values = np.empty(len(column), dtype=object)
    for row, value in enumerate(column.to_list()):
        values[row] = value
    return values


def series(name: str, values: np.ndarray):
    """A column of a table from an array [rows, ...]."""
    pl = _polars()
    if values.dtype.kind in "iufb":
        return pl.Series(name, values)
    items = values.tolist()
    if all(item is None or isinstance(item, str) for item in items):
        return pl.Series(name, items, dtype=pl.String)
    try:
        return pl.Series(name, [i.tolist() if isinstance(i, np.ndarray) else i for i in items], strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        import json

        text = [None if i is None else json.dumps(i, default=_plain) for i in items]
        return pl.Series(name, text, dtype=pl.String)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _free(name: str, taken: tuple[str, ...]) -> str:
    """A file may call a value "system" or "cell" too: the table's own column keeps the name."""
    return f"{name}_" if name in taken else name


def atoms_table(systems: Systems):
    """The atoms table of a batch."""
    pl = _polars()
    return pl.DataFrame(
        [
            pl.Series("system", systems.system.astype(np.uint32)),
            pl.Series("number", systems.numbers),
            pl.Series("position", systems.positions),
            *[series(_free(name, ATOMS), values) for name, values in systems.columns.items()],
        ]
    )


def systems_table(systems: Systems):
    """The systems table of a batch."""
    pl = _polars()
    columns = [
        pl.Series("system", np.arange(len(systems), dtype=np.uint32)),
        pl.Series("cell", systems.cell.reshape(len(systems), 9)),
        pl.Series("pbc", systems.pbc),
    ]
    for name, values in systems.info.items():
        column = series(_free(name, SYSTEMS), values)
        if name == "charge":
            column = column.fill_nan(None)
        elif name == "multiplicity":
            column = pl.Series(name, values).replace(0, None)
        columns.append(column)
    return pl.DataFrame(columns)
