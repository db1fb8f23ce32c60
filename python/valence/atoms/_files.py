"""Reading and writing files of frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from valence import _native

from . import checks
from ._ase import full_stress, info_column
from ._convert import as_systems
from .systems import Systems

_XYZ = (".xyz", ".extxyz", ".exyz")


def read(path: str | os.PathLike, index: int | slice | str = ":", *, format: str | None = None) -> Systems:
    """The frames of a file as one batch.

    (Extended) XYZ, also compressed by gzip, is read by Valence on all threads; any other format by `ase.io`, if ASE
    is installed. A file is XYZ if its name says so (.xyz, .extxyz, .exyz, with .gz or not) or `format` is "extxyz".

    Parameters
    ----------
    path : file name.
    index : frames as in ASE: an integer, a slice, or their text (":", "-1", "3:10:2"). Always a batch, also of one.
    format : "extxyz", or a format of `ase.io`.

    Returns
    -------
    Systems. Further columns of atoms are in `columns` (forces [N, 3], ...), values of comment lines in `info`
    (energy [B], stress [B, 3, 3], ...). Where frames differ, a real is NaN and a text empty in frames without it;
    a missing integer or logical column is an error. Values of a key that differ in kind make an array of objects, None
    where missing.

    Raises
    ------
    ValueError naming file, line and frame of what is wrong; IndexError if there is no such frame; OSError.

    Notes
    -----
    Agrees with ASE 3.29's reader, apart from these: a comment line without any "=" is free text (`info["comment"]`; ASE
    makes each word a true flag); what follows a blank line is read (ASE stops there without a word); words
    beyond the fourth of plain XYZ are the column `extra` (ASE drops them), words beyond `Properties` are an
    error (ASE drops them); an L column with a word other than true or false is an error (ASE: false); an
    empty value is the empty text (ASE: an empty array of integers); nested brackets are a matrix; without `pbc`,
    directions with a zero lattice vector are open. `move_mask` stays a column and does not become a constraint.
    """
    path, native = _which(path, format)
    if not native:
        return _through_ase(path, index, format)
    os.stat(path)
    start, stop, step, is_reversed = _frames(path, index)
    try:
        parts = _native.extxyz_read(path, start, stop, step, _json)
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None
    systems = _systems(path, parts)
    if isinstance(index, (int, np.integer)) and not len(systems):
        raise IndexError(f"`index` must be a frame of {path}, got {index}")
    return systems[::-1] if is_reversed else systems


def iread(path: str | os.PathLike, index: slice | str = ":", *, batch: int = 1) -> Iterator[Systems]:
    """The frames of an (extended) XYZ file one after another, in memory for a few megabytes of it.

    Parameters
    ----------
    path : file name, compressed by gzip or not.
    index : a slice as in `read`, with a positive step.
    batch : frames of each item; more are faster. Frames of one item share their columns as in `read`.

    Yields
    ------
    Systems of `batch` frames, the last of as many as are left.
    """
    if batch < 1:
        raise ValueError(f"`batch` must be one or more, got {batch}")
    path = os.fspath(path)
    os.stat(path)
    start, stop, step, is_reversed = _frames(path, index)
    if is_reversed:
        raise ValueError(f"`index` must be of a positive step, got {index}")
    reader = _native.ExtxyzReader(path, start, stop, step, _json)
    while True:
        try:
            parts = reader.next(batch)
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from None
        if parts is None:
            return
        yield _systems(path, parts)


def write(path: str | os.PathLike, systems: Any, *, format: str | None = None) -> None:
    """Writes a batch as extended XYZ; a name that ends with .gz is compressed. Other formats go through `ase.io`.

    Reals are written in the fewest digits that read back to the same bits. The file appears under its name when
    it is whole. Reals that are NaN for a whole frame are left out there, as `read` fills them in. Columns of more
    than two dimensions are read back flat, [N, k].

    Parameters
    ----------
    path : file name.
    systems : anything that `as_systems` accepts.
    format : "extxyz", or a format of `ase.io`.
    """
    systems = as_systems(systems)
    path, native = _which(path, format)
    if not native:
        _ase_io(path).write(path, systems.to_ase(), format=format)
        return
    columns = []
    for name, values in systems.columns.items():
        width = int(np.prod(values.shape[1:], dtype=np.int64))
        if width:
            columns.append((name, width, _writable(name, values)))
    info = [(name, _writable_info(name, values)) for name, values in systems.info.items()]
    _native.extxyz_write(
        path,
        np.ascontiguousarray(systems.positions),
        np.ascontiguousarray(systems.numbers),
        np.ascontiguousarray(systems.offsets),
        np.ascontiguousarray(systems.cell).reshape(-1, 9),
        np.ascontiguousarray(systems.pbc),
        columns,
        info,
    )


def _which(path: str | os.PathLike, format: str | None) -> tuple[str, bool]:
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    name = path.lower().removesuffix(".gz")
    return path, format in ("extxyz", "xyz") or (format is None and Path(name).suffix in _XYZ)


def _frames(path: str, index: int | slice | str) -> tuple[int, int | None, int, bool]:
    """start, stop, step of ascending frames, and whether they are wanted in reverse."""
    if isinstance(index, str):
        try:
            numbers = [int(part) if part else None for part in index.split(":")]
            index = slice(*numbers) if len(numbers) > 1 else int(index)
        except (ValueError, TypeError):
            rule = "`index` must be an integer, a slice, or their text such as '-1' or '3:10:2'"
            raise ValueError(f"{rule}, got {index!r}") from None
    if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
        i = int(index)
        if i < 0:
            num_frames = _count(path)
            if i + num_frames < 0:
                raise IndexError(f"`index` must be within {num_frames} frames, got {i}")
            i += num_frames
        return i, i + 1, 1, False
    if not isinstance(index, slice):
        raise TypeError(f"`index` must be an integer, a slice, or their text, got {type(index).__name__}")
    step = 1 if index.step is None else int(index.step)
    ends = [index.start or 0, index.stop or 0]
    if step > 0 and min(ends) >= 0:
        return ends[0], None if index.stop is None else ends[1], step, False
    frames = range(*index.indices(_count(path)))
    if step < 0:
        frames = frames[::-1]
    return frames.start, max(frames.start, frames.stop), frames.step, step < 0


def _count(path: str) -> int:
    try:
        return _native.extxyz_count(path)
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None


def _systems(path: str, parts: tuple) -> Systems:
    positions, numbers, offsets, cell, pbc, columns, info = parts
    try:
        positions = checks.positions(positions)
        self = Systems._trusted(positions, numbers, offsets, checks.cell(cell, len(cell)), checks.pbc(pbc, cell))
        stresses = columns.get("stresses")
        if stresses is not None and stresses.shape[1:] in ((6,), (9,)):
            columns["stresses"] = full_stress(stresses) if stresses.shape[1] == 6 else stresses.reshape(-1, 3, 3)
        stress = info.get("stress")
        if isinstance(stress, np.ndarray) and stress.shape[1:] == (6,):
            info["stress"] = full_stress(stress)
        self._columns = {name: self._atom_column(name, value) for name, value in columns.items()}
        values = {name: info_column(v, name) if isinstance(v, list) else v for name, v in info.items()}
        self._info = {name: self._system_column(name, value) for name, value in values.items()}
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None
    return self


def _json(text: str) -> Any:
    """What ASE makes of a `_JSON` value: an array if it is one of numbers, else as it is; text if it is no JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return f"_JSON {text}"
    try:
        array = np.array(value)
    except ValueError:
        return value
    return array if array.dtype.kind in "ifb" else value


def _writable(name: str, values: np.ndarray) -> Any:
    kind = values.dtype.kind
    if kind == "f":
        return np.ascontiguousarray(values if values.dtype.itemsize in (4, 8) else values.astype(np.float64))
    if kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"`{name}` must be within int64, got {values.max()}")
    if kind in "iu":
        return np.ascontiguousarray(values, dtype=np.int64)
    if kind == "b":
        return np.ascontiguousarray(values)
    words = values.ravel().tolist()
    for row, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"`{name}` must be numbers, bools or words, got {type(word).__name__} in row {row}")
    return words


def _writable_info(name: str, values: np.ndarray) -> Any:
    kind, row_shape = values.dtype.kind, values.shape[1:]
    is_flat = not row_shape or (len(row_shape) == 1 and row_shape[0] > 1)
    is_flat = is_flat or (name in ("stress", "virial") and row_shape == (3, 3))
    if name == "multiplicity":
        return [None if v == 0 else str(v) for v in values.tolist()]
    if kind in "iufb" and is_flat:
        if kind == "f":
            return np.ascontiguousarray(values, dtype=np.float64)
        return np.ascontiguousarray(values) if kind == "b" else np.ascontiguousarray(values, dtype=np.int64)
    if kind == "f":
        return [None if row.size and np.isnan(row).all() else _text(name, row) for row in values]
    return [None if value is None else _text(name, value) for value in values]


def _text(name: str, value: Any) -> str:
    """A value of a comment line as the file has it, before quotes."""
    if isinstance(value, str):
        return _native.extxyz_text(value)
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    array = np.asarray(value) if isinstance(value, np.ndarray) else None
    if array is not None and array.dtype.kind in "iufb":
        if name in ("stress", "virial") and array.shape == (3, 3):
            array = array.T.ravel()
        if array.ndim == 1 and len(array) > 1:
            return " ".join(_text("", item) for item in array)
    try:
        return "_JSON " + json.dumps(value, default=_plain)
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be numbers, texts, or what JSON can hold, got {type(value).__name__}"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _ase_io(path: str):
    try:
        import ase.io
    except ImportError as error:
        raise ImportError(f"{path} is not an XYZ file; other formats need ASE: pip install 'valence[ase]'") from error
    return ase.io


def _through_ase(path: str, index: Any, format: str | None) -> Systems:
    io = _ase_io(path)
    os.stat(path)
    return Systems.from_ase(io.read(path, index=index, format=format))
