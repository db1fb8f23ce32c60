"""Model files written: safetensors with a configuration as YAML among the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_model", "yaml_text"]

_KINDS = {"f8": "F64", "f4": "F32", "i8": "I64", "i4": "I32", "i2": "I16", "u1": "U8", "b1": "BOOL"}


def yaml_text(config: Mapping[str, Any]) -> str:
    """A mapping as YAML, one key a line. Values are written as JSON, which YAML reads."""
    return "".join(f"{key}: {json.dumps(value, allow_nan=False)}\n" for key, value in config.items())


def write_model(
    path: str | os.PathLike[str], format: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Writes one safetensors file. It appears under its name when it is whole.

    Parameters
    ----------
    path : file name.
    format : the metadata's `format`, see docs/formats.md.
    config : values that JSON can hold.
    tensors : arrays of float64, float32, int64, int32, int16, uint8 or bool, of any strides.

    Raises
    ------
    OSError, if it cannot be written; TypeError, naming a tensor of another dtype.
    """
    header: dict[str, Any] = {"__metadata__": {"format": format, "config": yaml_text(config)}}
    start, ordered = 0, []
    for name, array in sorted(tensors.items()):
        kind = _KINDS.get(f"{array.dtype.kind}{array.dtype.itemsize}")
        if kind is None:
            raise TypeError(f"`{name}` must be of a dtype among {', '.join(_KINDS.values())}, got {array.dtype}")
        # `tobytes` follows the shape, not the memory, so that strided arrays are written as they read.
        ordered.append(array.astype(array.dtype.newbyteorder("<"), copy=False))
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in ordered:
                file.write(array.tobytes())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
