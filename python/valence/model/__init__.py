"""Trained networks and their files."""

from __future__ import annotations

import os

from valence.model.converting import convert
from valence.model.file import ModelFile
from valence.model.mace.model import MaceModel
from valence.model.results import Results

__all__ = ["MaceModel", "ModelFile", "Results", "convert", "load"]


def load(path: str | os.PathLike[str], *, dtype: str | None = None, head: int | str | None = None) -> MaceModel:
    """A model of a file.

    Parameters
    ----------
    path : a safetensors file with a configuration (formats: MACE).
    dtype : "float32" or "float64" of weights and features; None: the file's. Energies are summed in float64.
    head : name or number of a head; None: the only one, or the one called "Default".

    Raises
    ------
    OSError, if the file cannot be opened; ValueError, naming what is wrong with it.

    >>> model = load("mace.safetensors")  # doctest: +SKIP
    >>> model.compute(vl.read("frames.extxyz"), ("energy", "forces")).forces  # doctest: +SKIP
    """
    return MaceModel(ModelFile(path), dtype, head)
