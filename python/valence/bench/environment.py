"""What a run ran on: the machine, the versions, the thread variables."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from valence import cuda
from valence.bench.peers import THREAD_VARIABLES

PACKAGES = ("valence", "numpy", "polars", "jax", "ase")


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def torch_report(ask: bool) -> dict:
    """The keys about torch, null where it is absent; only its version unless it is to be imported and asked."""
    report: dict = dict.fromkeys(("pytorch", "cuda_available", "cuda_version", "cudnn", "devices"))
    report["pytorch"] = version("torch")
    if report["pytorch"] is None or not ask:
        return report
    import torch

    available = torch.cuda.is_available()
    return {
        "pytorch": torch.__version__,
        "cuda_available": available,
        "cuda_version": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if available else None,
        "devices": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if available else [],
    }


def field(path: str, name: str) -> str | None:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    except OSError:
        return None
    return None


def git_revision() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=Path.cwd())
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None if out.returncode == 0 else None


def wheel() -> dict:
    """The compiled module: its tag, the compiler that it names, and the instructions it is built for."""
    from valence import _native

    try:
        said = (metadata.distribution("valence").read_text("WHEEL") or "").splitlines()
    except metadata.PackageNotFoundError:
        said = []
    compiler = None
    if path := getattr(_native, "__file__", None):
        found = re.search(rb"rustc version [0-9.]+ \([0-9a-f]+ [0-9-]+\)", Path(path).read_bytes())
        compiler = found[0].decode() if found else None
    baseline = {"x86_64": ["sse", "sse2"], "aarch64": ["neon"]}.get(platform.machine(), [])
    chosen = ["avx2", "fma"] if platform.machine() == "x86_64" else []
    return {
        "tag": next((line.split(":", 1)[1].strip() for line in said if line.startswith("Tag:")), None),
        "compiler": compiler, "target_features": baseline, "chosen_at_run_time": chosen,
    }  # fmt: skip


def report(*, ask_torch: bool = True) -> dict:
    """The environment as a tree for JSON; the six keys of torch's own report come first."""
    flags = set((field("/proc/cpuinfo", "flags") or "").split())
    memory = field("/proc/meminfo", "MemTotal")
    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"] if isinstance(config, dict) else {}
    return {
        "python": sys.version.split()[0],
        **torch_report(ask_torch),
        "cpu_model": field("/proc/cpuinfo", "model name") or platform.processor() or None,
        "gpus": [d.name for d in cuda.devices()],
        "cores": os.cpu_count(),
        "memory_kb": int(memory.split()[0]) if memory else None,
        "os": platform.platform(),
        "cpu_features": sorted(flags & {"sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl"}),
        "wheel": wheel(),
        "thread_variables": {v: os.environ[v] for v in THREAD_VARIABLES if v in os.environ},
        "git": git_revision(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "blas": f"{blas.get('name', '?')} {blas.get('version', '?')}",
        "packages": {p: version(p) for p in PACKAGES},
        "backends": ["numpy", "cpu"],
    }
