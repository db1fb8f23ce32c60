"""Trained networks and their files."""

from __future__ import annotations

import os

from valence.model.file import ModelFile
from valence.model.mace.model import MaceModel
from valence.model.results import Results

__all__ = ["MaceModel", "ModelFile", "Results", "load"]


def load(
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    head: int | str | None = None,
    radial: str = "spline",
    memory: int | None = None,
) -> MaceModel:
    """A model of a file.

    Parameters
    ----------
    path : a safetensors file with a configuration (formats: MACE).
    dtype : "float32" or "float64" of weights and features; None: the file's. Energies are summed in float64.
    head : name or number of a head; None: the only one, or the one called "Default".
    radial : "exact", or "spline": radial functions from tables of each pair of elements, made at its first use. Their
        derivatives deviate by less than 1e-8 (float64) or 1e-7 (float32) of the largest one; forces by as much.
    memory : bytes of messages kept for the forces; beyond it they are made twice. None: 4 GiB.

    Raises
    ------
    OSError, if the file cannot be opened; ValueError, naming what is wrong with it.

    >>> model = load("mace.safetensors")  # doctest: +SKIP
    >>> model.compute(vl.read("frames.extxyz"), ("energy", "forces")).forces  # doctest: +SKIP
    """
    return MaceModel(ModelFile(path), dtype, head, radial, memory)
