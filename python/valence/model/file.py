"""A model's file: named tensors and a configuration, checked before anything is computed."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from valence import _native

__all__ = ["ModelFile"]

#: `format` of a file -> its family.
FORMATS = {"mace-export-1": "mace", "valence-schnetpack-1": "schnetpack"}
#: Family -> module and class of its models, made of (file, dtype, head).
MODELS = {
    "mace": ("valence.model.mace.model", "MaceModel"),
    "schnetpack": ("valence.model.schnetpack.model", "SchnetpackModel"),
}


def _is_checkpoint(path: str) -> bool:
    """Whether a file starts as torch.save's archives (zip) and older pickles do."""
    with open(path, "rb") as file:
        start = file.read(4)
    return start == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


class ModelFile:
    """The tensors and the configuration of a safetensors file.

    Parameters
    ----------
    path : a file whose metadata has `format` and `config` (YAML).

    Raises
    ------
    OSError, if it cannot be opened; ValueError, if it is no such file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            metadata, config, self.tensors = _native.read_model(self.path, "config")
        except ValueError:
            if _is_checkpoint(self.path):
                raise ValueError(
                    f"`path` must be a safetensors file, got {self.path}, a pickle of another program; "
                    f"`valence convert {self.path} model.safetensors` makes one of it"
                ) from None
            raise
        kind = metadata.get("format")
        if kind not in FORMATS:
            raise ValueError(f"`format` of {self.path} must be one of {', '.join(FORMATS)}, got {kind!r}")
        self.format, self.family = str(kind), FORMATS[kind]
        self.config: dict[str, Any] = json.loads(config)
        if not isinstance(self.config, dict):
            raise ValueError(f"`config` of {self.path} must be a mapping, got {type(self.config).__name__}")

    def tensor(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """One tensor, of the shape that the configuration asks for; a tensor of one value may lack its axes."""
        if name not in self.tensors:
            raise ValueError(f"`{name}` must be a tensor of {self.path}, got a file without it")
        found = self.tensors[name]
        if found.shape != shape and not (found.size == 1 and shape in ((), (1,))):
            raise ValueError(f"`{name}` must be of shape {list(shape)}, got {list(found.shape)}")
        found = found.reshape(shape)
        if dtype is not None:
            if found.dtype.kind != np.dtype(dtype).kind:
                raise TypeError(f"`{name}` must be of a kind like {np.dtype(dtype)}, got {found.dtype}")
            found = found.astype(dtype)
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"`{name}` must be finite, got {found[~np.isfinite(found)].flat[0]}")
        return found
