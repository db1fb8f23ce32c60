"""GPUs: what is there, ops on arrays (`device="cuda"`) and on torch's CUDA tensors, and the check that every kernel compiles.

An op on a GPU is a plan, a list of launches that follows from its name, parameters and shapes (`rust/cuda`). Kernels are
compiled by NVRTC (extra `cuda`) at their first use and kept in `VALENCE_CACHE_DIR`, else the user's cache folder. They are
deterministic: sums run over sorted edges, without atomic operations.

`python -m valence.cuda` lists the GPUs; `python -m valence.cuda --table kernels.csv` writes what each kernel takes.
"""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from valence import _native
from valence._op import REGISTRY, Op, Static

__all__ = [
    "ARCHITECTURES",
    "Device",
    "compile_all",
    "devices",
    "has_kernels",
    "is_available",
    "resources",
    "run_arrays",
    "run_tensors",
    "why_not",
]

#: Architectures that the kernels are checked for, from Turing to Blackwell. NVRTC 13 compiles for those between as well.
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")


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


@functools.cache
def _families() -> frozenset[str]:
    return frozenset(_native.cuda_families())


def has_kernels(op: Op) -> bool:
    """Whether the op and its derivatives run on a GPU."""
    return re.sub("(_bwd)+$", "", op.name) in _families()


@functools.cache
def _load_nvrtc() -> None:
    """Loads libnvrtc from its PyPI package, so that the engine's own look-up finds it without LD_LIBRARY_PATH; where there is
    none, the engine looks among the system's libraries and says so."""
    with contextlib.suppress(ImportError, RuntimeError, OSError):
        from cuda.pathfinder import load_nvidia_dynamic_lib

        load_nvidia_dynamic_lib("nvrtc")


def ordinal_of(device: Any) -> int:
    """The number of a GPU named "cuda" or "cuda:1"; RuntimeError with the reason where it cannot be used."""
    found = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    if found is None:
        raise ValueError(f"`device` must be cpu, cuda or cuda:<number>, got {device!r}")
    if (why := why_not()) is not None:
        raise RuntimeError(f"`device` must be one that this machine has, got {device} and {why}")
    return int(found[1] or 0)


def output_shapes(op: Op, static: Static, shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """Shapes of the results; ValueError naming the operand whose shape does not fit the declaration."""
    known = dict(static.sizes)
    for (name, declared), shape in zip(op.inputs.items(), shapes):
        dims = declared.dims.split()
        sizes = [int(d) if d.isdigit() else known.get(d, d) for d in dims]
        fits = len(dims) == len(shape) and all(isinstance(s, str) or s == n for s, n in zip(sizes, shape))
        if fits:
            known.update((d, n) for d, n in zip(dims, shape) if not d.isdigit())
            fits = all(d.isdigit() or known[d] == n for d, n in zip(dims, shape))
        if not fits:
            rule = f"[{', '.join(dims)}]"
            full = f"[{', '.join(map(str, sizes))}]"
            rule = rule if rule == full else f"{rule} = {full}"
            raise ValueError(f"`{name}` must be of shape {rule}, got {list(shape)}")
    return [[int(d) if d.isdigit() else known[d] for d in o.dims.split()] for o in op.outputs.values()]


@functools.lru_cache(maxsize=512)
def _plan(name: str, params: tuple, inputs: tuple, outputs: tuple, dtype: str) -> Any:
    return _native.CudaPlan(name, list(params), [list(s) for s in inputs], [list(s) for s in outputs], dtype)


def _planned(op: Op, static: Static, shapes: list[list[int]], dtype: str) -> tuple[Any, list[list[int]]]:
    outputs = output_shapes(op, static, shapes)
    _load_nvrtc()
    return _plan(op.name, static.params, tuple(map(tuple, shapes)), tuple(map(tuple, outputs)), dtype), outputs


def _limit(op: Op, static: Static, name: str, shapes: dict[str, Sequence[int]]) -> int:
    """The rows that an index operand may point into."""
    if name == "target_idx":
        return dict(static.sizes)["R"]
    return shapes["node_features" if "node_features" in op.inputs else "x"][0]


def _out_of_range(name: str, limit: int, row: int, value: int) -> ValueError:
    return ValueError(f"`{name}` must be in [0, {limit}), got {value} in row {row}")


def sort_array(index: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of `index` by its values, stable, and where each of the groups begins and the last ends; int32."""
    order = np.argsort(index, kind="stable").astype(np.int32)
    ends = np.zeros(groups + 1, np.int32)
    np.cumsum(np.bincount(index, minlength=groups), out=ends[1:])
    return order, ends


def run_arrays(op: Op, static: Static, operands: Sequence[Any], device: Any, out: np.ndarray | None = None) -> Any:
    """An op on NumPy arrays by a GPU: copied in, computed, copied out.

    Raises
    ------
    RuntimeError, if this machine has no such GPU; TypeError, ValueError, as on the CPU.
    """
    ordinal = ordinal_of(device)
    if not has_kernels(op):
        raise ValueError(f"`device` must be cpu for {op.name}, which has no GPU kernel, got {device}")
    lead = next(n for n, o in op.inputs.items() if o.kind == "real")
    dtype = getattr(operands[list(op.inputs).index(lead)], "dtype", None)
    arrays = []
    for (name, declared), given in zip(op.inputs.items(), operands):
        if not isinstance(given, np.ndarray):
            raise TypeError(f"`{name}` must be a numpy array for a GPU, got {type(given)}")
        if declared.kind == "real":
            if given.dtype not in (np.float32, np.float64) or given.dtype != dtype:
                rule = "float32 or float64" if name == lead else f"{dtype} as `{lead}` is"
                raise TypeError(f"`{name}` must be {rule}, got {given.dtype}")
            arrays.append(np.ascontiguousarray(given))
        else:
            if given.dtype not in (np.int32, np.int64, np.uint32):
                raise TypeError(f"`{name}` must be int32, int64 or uint32, got {given.dtype}")
            arrays.append(given)
    assert dtype is not None
    plan, shapes = _planned(op, static, [list(a.shape) for a in arrays], dtype.name)
    by_name = {n: a.shape for n, a in zip(op.inputs, arrays)}
    for k, (name, declared) in enumerate(op.inputs.items()):
        if declared.kind == "index":
            limit = _limit(op, static, name, by_name)
            wrong = np.flatnonzero((arrays[k] < 0) | (arrays[k] >= limit))
            if len(wrong):
                raise _out_of_range(name, limit, int(wrong[0]), int(arrays[k][wrong[0]]))
            arrays[k] = np.ascontiguousarray(arrays[k], np.int32)
    if out is not None and (
        len(shapes) != 1 or out.dtype != dtype or list(out.shape) != shapes[0] or not out.flags.c_contiguous
    ):
        raise ValueError(
            f"`out` must be a C-contiguous {dtype} array of shape {shapes[0]}, got {out.dtype} {out.shape}"
        )
    results = [np.empty(s, dtype) for s in shapes] if out is None else [out]
    sorts = [sort_array(arrays[which], groups) for which, groups in plan.sorts]

    def host(a: np.ndarray) -> tuple[int, int]:
        return a.ctypes.data, a.nbytes

    plan.run_host(
        ordinal, [host(a) for a in arrays], [host(r) for r in results], [(host(o), host(e)) for o, e in sorts]
    )
    return results[0] if len(results) == 1 else tuple(results)


class _Indices:
    """Checked and sorted index tensors, kept as long as the tensor lives and is not written to: layers, steps and
    derivatives share the same edges."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref, int, dict[Any, Any]]] = {}

    def _of(self, tensor: Any) -> dict[Any, Any]:
        if tensor.is_inference():  # does not tell when it is written to
            return {}
        key, found = id(tensor), self._kept.get(id(tensor))
        if found is None or found[0]() is not tensor or found[1] != tensor._version:
            ended = weakref.ref(tensor, lambda r: self._forget(key, r))
            found = self._kept[key] = (ended, tensor._version, {})
        return found[2]

    def _forget(self, key: int, ended: weakref.ref) -> None:
        if key in self._kept and self._kept[key][0] is ended:
            del self._kept[key]

    def narrow(self, name: str, tensor: Any, limit: int) -> Any:
        """As contiguous int32, checked to be in [0, limit): waits for the GPU once a tensor."""
        import torch

        kept = self._of(tensor)
        if limit not in kept:
            wrong = (tensor < 0) | (tensor >= limit)
            if bool(wrong.any()):
                row = int(wrong.nonzero()[0, 0])
                raise _out_of_range(name, limit, row, int(tensor[row]))
            kept[limit] = tensor.to(torch.int32).contiguous()
        return kept[limit]

    def sort(self, tensor: Any, narrow: Any, groups: int) -> tuple[Any, Any]:
        import torch

        kept = self._of(tensor)
        if ("sort", groups) not in kept:
            order = torch.argsort(narrow, stable=True)
            starts = torch.arange(groups + 1, device=narrow.device, dtype=torch.int32)
            ends = torch.searchsorted(narrow[order], starts, out_int32=True)
            kept["sort", groups] = order.to(torch.int32), ends
        return kept["sort", groups]


_indices = _Indices()


def run_tensors(op: Op, static: Static, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """An op on torch's CUDA tensors by their addresses, queued on torch's current stream; results and scratch are torch's."""
    import torch

    if not has_kernels(op):
        raise ValueError(f"`device` must be cpu for {op.name}, which has no GPU kernel, got {tensors[0].device}")
    names = list(op.inputs)
    lead = next(k for k, o in enumerate(op.inputs.values()) if o.kind == "real")
    device, dtype = tensors[lead].device, tensors[lead].dtype
    given = []
    for (name, declared), tensor in zip(op.inputs.items(), tensors):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"`{name}` must be a torch tensor, got {type(tensor)}")
        if tensor.device != device:
            raise ValueError(f"`{name}` must be on {device} as `{names[lead]}` is, got {tensor.device}")
        if declared.kind == "real":
            if dtype not in (torch.float32, torch.float64) or tensor.dtype is not dtype:
                rule = "float32 or float64" if name == names[lead] else f"{dtype} as `{names[lead]}` is"
                raise TypeError(f"`{name}` must be {rule}, got {tensor.dtype}")
            given.append(tensor.detach().contiguous())
        else:
            if tensor.dtype not in (torch.int32, torch.int64):
                raise TypeError(f"`{name}` must be int32 or int64, got {tensor.dtype}")
            given.append(tensor)
    plan, shapes = _planned(op, static, [list(t.shape) for t in given], str(dtype).removeprefix("torch."))
    by_name = {n: t.shape for n, t in zip(op.inputs, given)}
    with torch.cuda.device(device):
        for k, (name, declared) in enumerate(op.inputs.items()):
            if declared.kind == "index":
                given[k] = _indices.narrow(name, tensors[k], _limit(op, static, name, by_name))
        sorts = [_indices.sort(tensors[which], given[which], groups) for which, groups in plan.sorts]
        results = tuple(torch.empty(s, dtype=dtype, device=device) for s in shapes)
        scratch = torch.empty(plan.scratch, dtype=torch.uint8, device=device)
        plan.launch(
            (device.index, torch.cuda.current_stream(device).cuda_stream),
            [t.data_ptr() for t in given],
            [r.data_ptr() for r in results],
            [(o.data_ptr(), e.data_ptr()) for o, e in sorts],
            scratch.data_ptr(),
        )
    return results


def compile_all(architectures: tuple[str, ...] = ARCHITECTURES, texts: str = "") -> dict[tuple[str, str], int]:
    """Compiles the kernels of common sizes for every architecture, or the `texts` whose name that pattern finds. Needs NVRTC
    (extra `cuda`), no GPU.

    Returns
    -------
    {(kernel text, architecture): bytes of the cubin}

    Raises
    ------
    RuntimeError, with NVRTC's own log, if a kernel does not compile or NVRTC is not installed.
    """
    return {(name, arch): size for name, arch, size, _ in _compiled(architectures, texts)}


def resources(architectures: tuple[str, ...] = ARCHITECTURES, texts: str = "") -> list[dict[str, Any]]:
    """What each kernel takes on each architecture, a row each, as the compiler says: `source`, `kernel`, `architecture`,
    `registers` a thread, `shared_bytes` a block, `stack_bytes` and `spill_bytes` (stores and loads) a thread."""
    rows = []
    for name, arch, _, log in _compiled(architectures, texts):
        for entry in re.split(r"Compiling entry function ", log)[1:]:
            found = {k: re.search(p, entry) for k, p in _USAGE.items()}
            number = {k: int(m[1]) if m else 0 for k, m in found.items()}
            row = {"source": name, "kernel": entry.split("'")[1], "architecture": arch, **number}
            row["spill_bytes"] = row.pop("spill_stores") + row.pop("spill_loads")
            rows.append(row)
    return rows


_USAGE = {
    "registers": r"Used (\d+) registers",
    "shared_bytes": r"(\d+) bytes smem",
    "stack_bytes": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
}


@functools.cache
def _compiled(architectures: tuple[str, ...], texts: str) -> list[tuple[str, str, int, str]]:
    """(text's name, architecture, bytes of the cubin, the compiler's log)."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    _load_nvrtc()

    def one(job: tuple[str, str, str]) -> tuple[str, str, int, str]:
        name, text, arch = job
        image, log = _native.cuda_compile(text, name, arch)
        return name, arch, len(image), log

    jobs = [
        (name, text, arch) for name, text in _native.cuda_sources() if re.search(texts, name) for arch in architectures
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, jobs))


def write_table(path: Any, architectures: tuple[str, ...] = ARCHITECTURES, texts: str = "") -> list[dict[str, Any]]:
    """Writes `resources` as CSV."""
    import csv
    from pathlib import Path

    rows = resources(architectures, texts)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: GPUs of this machine, or the table of kernels."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m valence.cuda", description="GPUs, and what the kernels take of them."
    )
    parser.add_argument(
        "--table", metavar="CSV", help="compile every kernel and write registers, shared memory, spills"
    )
    table = parser.parse_args(arguments).table
    if table is None:
        for number, device in enumerate(devices()):
            print(f"cuda:{number} {device.name} {device.architecture} {device.memory / 2**30:.0f} GiB")
        if (why := why_not()) is not None:
            print(f"no GPU: {why}")
        print("ops with kernels:", ", ".join(n for n, op in REGISTRY.items() if has_kernels(op)))
        return 0
    rows = write_table(table)
    spilled = [r for r in rows if r["spill_bytes"]]
    print(f"{len(rows)} kernels for {len(ARCHITECTURES)} architectures, {len(spilled)} of them spill registers")
    return int(bool(spilled))


if __name__ == "__main__":
    import sys

    sys.exit(main())
