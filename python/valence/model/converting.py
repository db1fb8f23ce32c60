"""Other programs' checkpoints as model files of this package."""

from __future__ import annotations

import importlib
import io
import os
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["CONVERTERS", "convert"]

#: Package whose classes a checkpoint names -> module with `convert(source, target)`.
CONVERTERS = {"mace": "valence.model.mace.convert", "schnetpack": "valence.model.schnetpack.convert"}
#: A file of torch before 1.6 is a few pickles (a magic number, versions, the object) and then raw weights.
_PICKLES = 5


def convert(
    source: Any,
    target: str | os.PathLike[str],
    *,
    family: str | None = None,
    units: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Writes a checkpoint of another program as a safetensors file that :func:`valence.load` reads.

    Parameters
    ----------
    source : path of a mace-torch model (`*.model`) or of one of schnetpack (`best_model`), or the model itself.
    target : the file to write. It appears under its name when it is whole and was read back.
    family : "mace" or "schnetpack"; None: by the packages that the checkpoint names, or the model is of, which are read without
        executing anything.
    units : {"energy": ..., "length": ...} of a schnetpack model, which its checkpoint does not say; None: eV and Angstrom.

    Returns
    -------
    The configuration that was written.

    Raises
    ------
    ImportError, if the program that wrote the checkpoint is not installed; OSError; ValueError, naming a class or an option
    that is not known.

    A checkpoint is a pickle, and loading one runs code that it names: convert only what you trust. The file that is written is
    tensors and text, and loading it never runs code.

    >>> from valence.model import convert
    >>> convert("my.model", "mace.safetensors")  # doctest: +SKIP
    """
    if family is None:
        found = set(_packages(source))
        known = [name for name in CONVERTERS if name in found]
        if len(known) != 1:
            got = ", ".join(sorted(found)) or "no class at all"
            raise ValueError(f"`source` must be a checkpoint of {' or '.join(CONVERTERS)}, got one of {got}")
        family = known[0]
    if family not in CONVERTERS:
        raise ValueError(f"`family` must be one of {', '.join(CONVERTERS)} or None, got {family!r}")
    if units is None:
        return importlib.import_module(CONVERTERS[family]).convert(source, target)
    if family != "schnetpack":
        raise ValueError(f"`units` must be None for a {family} model, which is in eV and Angstrom, got {dict(units)!r}")
    return importlib.import_module(CONVERTERS[family]).convert(source, target, units=units)


def _packages(source: Any) -> Iterator[str]:
    """Names of the packages whose classes a pickle, or an object, is made of."""
    if not isinstance(source, (str, os.PathLike)):
        yield type(source).__module__.split(".")[0]
        return
    with open(source, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if not zipped:
            yield from _named(file.read())
            return
        try:
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        yield from _named(archive.read(name))
                    if name.endswith("constants.pkl") or "/code/" in name:
                        yield "TorchScript"
        except zipfile.BadZipFile as error:
            raise ValueError(f"`source` must be a whole checkpoint, got {source}: {error}") from None


def _named(data: bytes) -> Iterator[str]:
    """Packages of the globals of the pickles that `data` starts with; they are parsed, not loaded."""
    stream = io.BytesIO(data)
    try:
        for _ in range(_PICKLES):
            texts: list[str] = []
            for code, value, _ in pickletools.genops(stream):
                if code.name == "GLOBAL":
                    yield str(value).split(" ")[0].split(".")[0]
                elif code.name == "STACK_GLOBAL" and len(texts) > 1:
                    yield texts[-2].split(".")[0]
                elif isinstance(value, str):
                    texts.append(value)
    except (ValueError, IndexError, UnicodeDecodeError):
        return  # no pickle any more: raw weights
