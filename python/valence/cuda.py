"""GPUs: what is there, and the check that every kernel of the package compiles.

No kernel of this version is called on a GPU yet; `is_available` tells whether one could be.
"""

from __future__ import annotations

from typing import NamedTuple

from valence import _native

__all__ = ["ARCHITECTURES", "Device", "compile_all", "devices", "is_available", "why_not"]

#: Every architecture that NVRTC 13 compiles for, from Turing on.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")


class Device(NamedTuple):
    """A GPU: its name, architecture ("sm_90") and memory in bytes."""

    name: str
    architecture: str
    memory: int


def is_available() -> bool:
    """True if a CUDA driver is installed and sees a GPU."""
    return why_not() is None


def why_not() -> str | None:
    """Why a GPU cannot be used on this machine, or None if one can."""
    return _native.cuda_why_not()


def devices() -> list[Device]:
    """The GPUs of this machine; an empty list where there is none."""
    return [Device(*d) for d in _native.cuda_devices()]


def _load_nvrtc() -> None:
    """Loads libnvrtc from its PyPI package, so that the engine's own look-up finds it without LD_LIBRARY_PATH."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:
        raise RuntimeError(
            "NVRTC must be installed to compile kernels, got no cuda-pathfinder (pip install 'valence[cuda]')"
        ) from error
    load_nvidia_dynamic_lib("nvrtc")


def compile_all(architectures: tuple[str, ...] = ARCHITECTURES) -> dict[tuple[str, str], int]:
    """Compiles every kernel for every architecture. Needs NVRTC (extra `cuda`), no GPU.

    Returns
    -------
    {(kernel file, architecture): bytes of the cubin}

    Raises
    ------
    RuntimeError, with NVRTC's own log, if a kernel does not compile or NVRTC is not installed.
    """
    _load_nvrtc()
    return {
        (name, arch): len(_native.cuda_cubin(text, name, arch, []))
        for name, text in _native.cuda_sources()
        for arch in architectures
    }
