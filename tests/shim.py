"""GPU plans carried out on the CPU: the kernel texts through rust/cuda/shim/cuda_shim.h, launch by launch as a GPU would."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import valence.cuda
from valence import _native

SHIM = Path(__file__).parent.parent / "rust" / "cuda" / "shim"


OPTIONS = ["-O1", "-std=c++17", "-w", "-fPIC"]


def entries(text: str) -> str:
    """A plain function for each kernel of a text: grid, block, and the arguments as pointers to them."""
    made = []
    kernel = r"extern \"C\" __global__ void (?:__launch_bounds__\(\w+\))?\s*(\w+)\(([^)]+)\)"
    for name, signature in re.findall(kernel, text):
        types = [re.sub(r"\s*\b\w+$", "", argument.strip()) for argument in signature.split(",")]
        given = ", ".join(f"*({t}*)a[{n}]" for n, t in enumerate(types))
        made.append(
            f'extern "C" void run_{name}(unsigned x, unsigned y, unsigned z, unsigned block, void** a) {{\n'
            f"    shim::launch(dim3(x, y, z), dim3(block), {name}, {given});\n}}\n"
        )
    return "".join(made)


class Shim:
    """Kernel texts compiled with g++, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.libraries: dict[str, ctypes.CDLL] = {}
        header = folder / "cuda_shim.h"  # precompiled: it takes longer than most kernels
        shutil.copy(SHIM / "cuda_shim.h", header)
        subprocess.run(["g++", *OPTIONS, "-x", "c++-header", str(header), "-o", f"{header}.gch"], check=True)
        (folder / "empty").mkdir()
        (folder / "empty" / "cuda_shim.h").touch()

    def compile(self, text: str) -> Path:
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
        if not path.exists():
            # Conditions resolved, the shim's own words kept: its header is empty there.
            raw, cpp = self.folder / "empty" / "text.cpp", path.with_suffix(".cpp")
            raw.write_text(text)
            command = ["g++", "-E", "-P", str(raw)]
            plain = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            cpp.write_text(f'#include "cuda_shim.h"\n{plain}\n{entries(plain)}')
            subprocess.run(["g++", *OPTIONS, "-shared", str(cpp), "-o", str(path)], check=True)
        return path

    def library(self, text: str) -> ctypes.CDLL:
        if text not in self.libraries:
            self.libraries[text] = ctypes.CDLL(str(self.compile(text)))
        return self.libraries[text]

    def run(self, op, static, operands: list[np.ndarray], budget: int = 64 << 20) -> list[np.ndarray]:
        """The op's results by its GPU plan; results and scratch memory start as NaN."""
        dtype = next(o.dtype for o in operands if o.dtype.kind == "f")
        operands = [np.ascontiguousarray(o, dtype if o.dtype.kind == "f" else np.int32) for o in operands]
        shapes = [list(o.shape) for o in operands]
        results = [np.full(s, np.nan, dtype) for s in valence.cuda.output_shapes(op, static, shapes)]
        out_shapes = [list(r.shape) for r in results]
        plan = _native.CudaPlan(op.name, list(static.params), shapes, out_shapes, dtype.name, budget)
        sorts = [valence.cuda.sort_array(operands[which], groups) for which, groups in plan.sorts]
        scratch = np.full(plan.scratch // dtype.itemsize + 1, np.nan, dtype)
        sources = dict(plan.sources)
        memory = {
            "input": lambda n: operands[n].ctypes.data,
            "output": lambda n: results[n].ctypes.data,
            "order": lambda n: sorts[n][0].ctypes.data,
            "ends": lambda n: sorts[n][1].ctypes.data,
            "scratch": lambda n: scratch.ctypes.data + n,
            "null": lambda n: None,
        }
        for text, kernel, grid, block, arguments in plan.steps:
            values = [
                ctypes.c_int(value) if kind == "size" else ctypes.c_void_p(memory[kind](value))
                for kind, value in arguments
            ]
            pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
            getattr(self.library(sources[text]), f"run_{kernel}")(*grid, block, pointers)
        return results
