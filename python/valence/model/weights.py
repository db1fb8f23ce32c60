"""Arrays of a weights file (.npy, .npz, .safetensors): read without executing anything, every rule that breaks is named."""

from __future__ import annotations

import io
import os
import zipfile
from typing import IO, Any

import numpy as np

from valence import _native

__all__ = ["check_array", "read_arrays"]

#: Largest array of a weights file, bytes.
_LARGEST = 1 << 34


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """{name: array} of a file; the one array of a .npy is called "weights".

    Raises
    ------
    OSError, if it cannot be opened; ValueError, naming what is wrong with it.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".npy":
        with open(path, "rb") as file:
            return {"weights": _read(file, os.path.getsize(path), path)}
    if suffix == ".npz":
        return _archive(path)
    if suffix == ".safetensors":
        return dict(_native.read_tensors(path))
    raise ValueError(f"`weights` must be a .npy, .npz or .safetensors file, got {path}")


def _archive(path: str) -> dict[str, np.ndarray]:
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if entry.file_size > _LARGEST:
                    raise ValueError(f"`{name}` of {path} must be at most {_LARGEST} bytes, got {entry.file_size}")
                data = archive.read(entry)
                found[name] = _read(io.BytesIO(data), len(data), f"{name} of {path}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise ValueError(f"`weights` must be a readable .npz file, got {path}: {error}") from None
    return found


def _read(file: IO[bytes], size: int, name: str) -> np.ndarray:
    """One array in NumPy's format, by its header; pickled objects are never looked at."""
    try:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = header(file)
    except (ValueError, SyntaxError, TypeError, KeyError, EOFError) as error:
        raise ValueError(f"`weights` must be in NumPy's array format, got {name}: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"`weights` must hold numbers, got pickled objects in {name}")
    if fortran and len(shape) > 1:
        raise ValueError(f"`weights` must be in C order, got Fortran order in {name}")
    count = 1
    for n in shape:
        count *= int(n)
    expected = count * dtype.itemsize
    left = size - file.tell()
    if left != expected:
        rule = f"{expected} bytes of data for shape {list(shape)} and dtype {dtype}"
        raise ValueError(f"`weights` must hold {rule}, got {left} in {name}")
    return np.frombuffer(file.read(expected), dtype).reshape(shape)


def check_array(name: str, array: Any, dimensions: tuple[int, ...]) -> np.ndarray:
    """A contiguous float32 or float64 array of finite numbers.

    Raises
    ------
    TypeError, for another dtype; ValueError, for another number of axes, or a value that is not finite.
    """
    array = np.asarray(array)
    kind: np.dtype = array.dtype
    if kind not in (np.float32, np.float64) or not kind.isnative:
        raise TypeError(f"`{name}` must be of dtype float32 or float64, got {array.dtype}")
    if array.ndim not in dimensions:
        rule = " or ".join(map(str, dimensions))
        raise ValueError(f"`{name}` must have {rule} axes, got shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return np.ascontiguousarray(array)
