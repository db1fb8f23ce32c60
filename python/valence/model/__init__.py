"""Trained networks and their files."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterable
from typing import Any

from valence.model.committee import Committee
from valence.model.converting import convert
from valence.model.file import MODELS, ModelFile
from valence.model.mace.model import MaceModel
from valence.model.results import CommitteeResults, Results

__all__ = ["Committee", "CommitteeResults", "MaceModel", "ModelFile", "Results", "convert", "load"]


def load(
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    device: str = "cpu",
    dtype: str | None = None,
    head: int | str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Any:
    """A model of a file, or a committee of several.

    Parameters
    ----------
    path : a safetensors file with a configuration (docs/formats.md), or several of them: a `Committee`, which gives means
        and standard deviations from one neighbour list.
    device : "cpu", where all models run.
    dtype : "float32" or "float64" of weights and features; None: the file's. Energies are summed in float64.
    head : name or number of a head; None: the only one, or the one called "Default".
    threads : None, or the package's number of threads from here on, as `valence.set_num_threads` sets it for everything.
    options : further ones of the file's family. MACE: `radial` and `memory`, see `MaceModel`; SchNet and PaiNN:
        `filter_table`, see `SchnetpackModel`.

    Raises
    ------
    OSError, if the file cannot be opened; ValueError, naming what is wrong with it, or a device that is not there; TypeError, for
    an option that the family does not have.

    >>> model = load("mace.safetensors")  # doctest: +SKIP
    >>> model.compute(vl.read("frames.extxyz"), ("energy", "forces")).forces  # doctest: +SKIP
    >>> load(["a.safetensors", "b.safetensors"]).compute(frames).energy_std  # doctest: +SKIP
    """
    if device != "cpu":
        raise ValueError(f"`device` must be cpu, as models run on no other device yet, got {device!r}")
    paths: list[Any] = [path]
    if not isinstance(path, (str, bytes, os.PathLike)) and isinstance(path, Iterable):
        paths = list(path)
    if not paths:
        raise ValueError("`path` must be a file or several, got none")
    for one in paths:
        if not isinstance(one, (str, os.PathLike)):
            raise TypeError(f"`path` must be a file or several, got {one!r}")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 4096):
        raise ValueError(f"`threads` must be a number from 1 to 4096 or None, got {threads!r}")
    models = [_load(p, dtype, head, options) for p in paths]
    found = Committee(models) if len(models) > 1 else models[0]
    if threads is not None:
        from valence import set_num_threads

        set_num_threads(threads)
    return found


def _load(path: str | os.PathLike[str], dtype: str | None, head: int | str | None, options: dict[str, Any]) -> Any:
    file = ModelFile(path)
    module, name = MODELS[file.family]
    kind = getattr(importlib.import_module(module), name)
    known = [p for p in inspect.signature(kind).parameters if p not in ("file", "dtype", "head")]
    for option in options:
        if option not in known:
            raise TypeError(f"load takes {', '.join(known) or 'no option'} for a {file.family} file, got `{option}`")
    return kind(file, dtype, head, **options)
