"""A worker: times the backends of some adapters in an environment of its own. Runs as a file, needs NumPy alone.

    python worker.py NAME=adapter.py [NAME=adapter.py ...]

Each request is one JSON line on standard input, each answer one JSON line on standard output; arrays travel as files
(.npz in, one .npy per array out). What an adapter prints goes to standard error. An adapter is a Python file with

    PACKAGES = ["distribution", ...]                      # whose versions are recorded
    BACKENDS = {"backend": {"operation": prepare, ...}}   # prepare(inputs, params) -> (call, collect)

`prepare` does everything that is not to be timed and raises ImportError where its library is not there; `call()` is timed
and returns the library's own result; `collect(result)` turns it into a dict of arrays in the canonical form. In the place of
`prepare` may stand the text of a program: the call then starts an interpreter on it, with the file of inputs as its
argument, and reads the arrays as JSON from its last line.
`params` holds the workload's parameters and `threads`.

A `call` may carry `parts`, three functions whose composition it is: reading Python objects into arrays (`conv_in`, called without
an argument), `compute`, and making the result (`conv_out`); their times are kept with each sample and add up to it. It may carry
`stages`, a function that does the call once with the operation's own timers on and returns {stage: seconds}.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
import traceback
import tracemalloc
from importlib import metadata

import numpy as np

BLOCK_S = 0.020  # a call shorter than a quarter of this is timed in blocks at least this long
SHORT_S = 0.005
TRACED_S = 1.0  # a longer call is not made once more to count its bytes
PARTS = ("conv_in", "compute", "conv_out")


def load(spec):
    name, path = spec.split("=", 1)
    module_spec = importlib.util.spec_from_file_location(f"adapter_{name}", path)
    if module_spec is None or module_spec.loader is None:
        raise ImportError(f"`adapter` must be a Python file, got {path}")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def versions(packages):
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def memory_kb(field):
    """VmRSS or VmHWM of this process in KiB; None where the system has no /proc."""
    try:
        with open("/proc/self/status") as f:
            for line in f:
                if line.startswith(field):
                    return int(line.split()[1])
    except OSError:
        return None
    return None


def reset_peak():
    """Make VmHWM count from here on (Linux; elsewhere the whole life of the process counts)."""
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass


def program(text, inputs):
    """`call` and `collect` of a program in an interpreter of its own."""
    command = [sys.executable, "-P", "-c", text, inputs]

    def call():
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
            if "ModuleNotFoundError" in last:
                raise ImportError(last)
            raise RuntimeError(f"the program must end with 0, got {ended.returncode}: {last}")
        return ended.stdout

    return call, lambda out: {k: np.array(v) for k, v in json.loads(out.strip().splitlines()[-1]).items()}


class Worker:
    def __init__(self, adapters):
        self.backends = {}
        for adapter in adapters:
            for backend, operations in adapter.BACKENDS.items():
                self.backends[backend] = (adapter, operations)
        self.calls = {}

    def hello(self, _):
        return {"backends": {b: sorted(ops) for b, (_, ops) in self.backends.items()}, "python": sys.version.split()[0]}

    def setup(self, m):
        adapter, operations = self.backends[m["backend"]]
        if m["op"] not in operations:
            return {"missing": f"backend {m['backend']} has no operation {m['op']}"}
        with np.load(m["inputs"]) as f:
            inputs = {k: f[k] for k in f.files}
        try:
            prepare = operations[m["op"]]
            made = program(prepare, m["inputs"]) if isinstance(prepare, str) else prepare(inputs, m["params"])
        except ImportError as e:
            return {"missing": f"{type(e).__name__}: {e}"}
        self.calls[m["key"]] = made
        used = getattr(made[0], "backend_used", m["backend"])
        return {"backend_used": used, "versions": versions(["numpy", *adapter.PACKAGES])}

    def output(self, m):
        """One call whose memory is measured and whose canonical arrays are written for the check."""
        call, collect = self.calls[m["key"]]
        gc.collect()
        reset_peak()
        before = memory_kb("VmRSS")
        began = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - began
        peak = memory_kb("VmHWM")
        arrays = {k: np.ascontiguousarray(v) for k, v in collect(result).items()}
        del result
        for k, v in arrays.items():
            np.save(os.path.join(m["folder"], k + ".npy"), v, allow_pickle=False)
        return {
            "arrays": sorted(arrays),
            "output_bytes": int(sum(v.nbytes for v in arrays.values())),
            "call_rss_kb": None if peak is None or before is None else max(0, peak - before),
            "alloc_bytes": self.allocated(call) if seconds < TRACED_S else None,
        }

    @staticmethod
    def allocated(call):
        """The peak of what Python and NumPy allocate in one call; memory of other libraries is seen in `call_rss_kb` alone."""
        tracemalloc.start(1)
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def stages(self, m):
        """The operation's own timers in one call, {} where it has none."""
        call, _ = self.calls[m["key"]]
        function = getattr(call, "stages", None)
        return {"stages": {k: float(v) for k, v in function().items()} if function else {}}

    def warm(self, m):
        """`repeats` calls that are not kept; the answer says how many calls make a block."""
        call, _ = self.calls[m["key"]]
        for _ in range(max(0, m["repeats"] - 1)):
            call()
        wall, _ = self.block(call, 1)
        inner = 1
        if wall < SHORT_S:
            n = 1
            while True:
                wall, _ = self.block(call, n)
                if wall >= BLOCK_S / 2:
                    break
                n = n * 2 if wall < BLOCK_S / 8 else max(n + 1, int(n * BLOCK_S / wall))
            inner = max(1, int(np.ceil(n * BLOCK_S / wall)))
        return {"inner": inner}

    @staticmethod
    def block(call, inner):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(inner):
            call()
        return time.perf_counter() - wall, time.process_time() - cpu

    @staticmethod
    def block_of_parts(parts, inner):
        """The same with the seconds of each part; the wall time is their sum, read from one clock."""
        clock, (first, second, third) = time.perf_counter, parts
        spent, cpu = [0.0, 0.0, 0.0], time.process_time()
        for _ in range(inner):
            t0 = clock()
            made = first()
            t1 = clock()
            made = second(made)
            t2 = clock()
            made = third(made)
            t3 = clock()
            spent[0] += t1 - t0
            spent[1] += t2 - t1
            spent[2] += t3 - t2
        return sum(spent), time.process_time() - cpu, spent

    def time(self, m):
        call, _ = self.calls[m["key"]]
        parts = getattr(call, "parts", None)
        samples, cpu, split = [], [], {name: [] for name in PARTS} if parts else {}
        for _ in range(m["repeats"]):
            gc.collect()
            gc.disable()
            try:
                wall, busy, *spent = self.block_of_parts(parts, m["inner"]) if parts else self.block(call, m["inner"])
            finally:
                gc.enable()
            samples.append(wall / m["inner"])
            cpu.append(busy / m["inner"])
            for name, seconds in zip(PARTS, spent[0] if spent else ()):
                split[name].append(seconds / m["inner"])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"samples": samples, "cpu": cpu, "parts": split, "max_rss_kb": usage.ru_maxrss,
                "inblock": usage.ru_inblock, "oublock": usage.ru_oublock}  # fmt: skip

    def drop(self, m):
        self.calls.pop(m["key"], None)
        gc.collect()
        return {}


def main(specs):
    # The answers go to a copy of standard output, so that what a library prints cannot break the protocol.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker([load(s) for s in specs])
    verbs = {v: getattr(worker, v) for v in ("hello", "setup", "output", "warm", "time", "stages", "drop")}
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = verbs[message["verb"]](message)
        except MemoryError as e:
            answer = {"error": f"MemoryError: {e}"}
        except Exception as e:
            traceback.print_exc(file=sys.stderr)
            answer = {"error": f"{type(e).__name__}: {e}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
