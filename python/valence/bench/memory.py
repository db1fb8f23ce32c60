"""`python -m valence.bench memory`: resident and peak memory of a job over time, from the system's own counters.

The job is a workload of a suite, called again and again in a worker of its own, or any command. What is read is
/proc/<pid>/status of the process and all that descend from it: the sum of VmRSS, and the peak, which is the largest of the
sums seen and of any process's VmHWM, the kernel's own high-water mark, so that a peak between two samples is not missed in a
job of one process. Pages that processes share count once for each of them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from valence.bench import data, environment, record, suite
from valence.bench.arguments import add_peers, add_report, keep, place_of
from valence.bench.peers import Worker, WorkerFailed, families
from valence.bench.runner import end_on_terminate
from valence.bench.worker import load

KIND = "memory"
HELP = "resident and peak memory over time, of a workload of a suite or of any command; exit code 1: it failed"


def add_arguments(p) -> None:
    add_report(p, "memory")
    p.add_argument("--interval", type=float, default=0.01, help="seconds between samples (default %(default)s)")
    p.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for one answer of the worker, or for the command"
    )
    p.add_argument("--preset", help="name of a suite (see list)")
    p.add_argument("--config", type=Path, help="a suite of your own, YAML")
    p.add_argument("--workload", help="of the suite")
    p.add_argument("--backend", default="cpu")
    p.add_argument("--dtype", help="(default the workload's first)")
    p.add_argument("--threads", type=int, help="(default the workload's first)")
    p.add_argument("--calls", type=int, default=20, help="of the workload (default %(default)s)")
    p.add_argument("command", nargs="*", metavar="-- COMMAND", help="a command to run instead")
    add_peers(p)


def main(a) -> int:
    out = place_of(a)
    end_on_terminate()
    if a.command:
        if a.preset or a.config or a.workload:
            raise ValueError("`command` must stand alone, got a suite beside it")
        made = of_command(a.command, name=a.name, interval=a.interval, timeout=a.timeout)
        keep(a, write_figure, text, made, out)
        return int(made["job"]["returncode"] != 0)
    if not (a.preset or a.config):
        raise ValueError("`memory` must have a job: --preset SUITE --workload NAME, or -- COMMAND, got none")
    work = suite.load(a.config or suite.find(a.preset))
    workloads = {w.name: w for w in work.workloads}
    w = workloads[suite.one_of("workload", a.workload, workloads)]
    try:
        made = of_workload(
            w, name=a.name, backend=a.backend, dtype=a.dtype, threads=a.threads, calls=a.calls, interval=a.interval,
            seed=a.seed, timeout=a.timeout, peers=a.peers, environments=a.envs,
        )  # fmt: skip
    except WorkerFailed as e:
        print(f"valence.bench: error: {e}", file=sys.stderr)
        return 1
    keep(a, write_figure, text, made, out)
    return 0


def status_kb(pid: int, *fields: str) -> list[int] | None:
    """Fields such as VmRSS and VmHWM of a process in KiB; None where it has ended or has no memory of its own."""
    try:
        with open(f"/proc/{pid}/status") as f:
            found = dict(line.split(":", 1) for line in f)
    except (OSError, ValueError):
        return None
    return [int(found[f].split()[0]) for f in fields] if all(f in found for f in fields) else None


def descendants(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found, left = [], [pid]
    while left:
        p = left.pop()
        found.append(p)
        for task in Path(f"/proc/{p}/task").glob("*/children"):
            try:
                left += [int(c) for c in task.read_text().split()]
            except OSError:
                continue
    return found


class Sampler:
    """Samples a tree of processes every `interval` seconds in a thread, from `with` to its end.

    `t_s`, `resident_kb`, `peak_kb` and `processes` are lists of one length; `marks` holds what :meth:`mark` was told.
    """

    def __init__(self, pid: int, interval: float = 0.01):
        if not Path("/proc/self/status").exists():
            raise OSError("`memory` must run where /proc says how much memory a process has (Linux)")
        if not 0.0005 <= interval <= 60.0:
            raise ValueError(f"`interval` must be from 0.0005 to 60 seconds, got {interval}")
        self.pid, self.interval, self.began = pid, interval, time.perf_counter()
        self.t_s: list[float] = []
        self.resident_kb: list[int] = []
        self.peak_kb: list[int] = []
        self.processes: list[int] = []
        self.marks: list[dict] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def take(self) -> None:
        rows = [r for p in descendants(self.pid) if (r := status_kb(p, "VmRSS", "VmHWM"))]
        if not rows:
            return
        resident = sum(r[0] for r in rows)
        self.t_s.append(round(time.perf_counter() - self.began, 6))
        self.resident_kb.append(resident)
        self.peak_kb.append(max([resident, *(r[1] for r in rows), *self.peak_kb[-1:]]))
        self.processes.append(len(rows))

    def mark(self, name: str) -> None:
        """Note that something begins."""
        self.marks.append({"t_s": round(time.perf_counter() - self.began, 6), "name": name})

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.take()
            self._stop.wait(self.interval)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def tree(self, name: str, job: dict) -> dict:
        """The record of a finished job."""
        if not self.t_s:
            raise RuntimeError(f"job {name} must live for one sample at least, got none")
        return {
            "schema": record.SCHEMA,
            "kind": KIND,
            "name": name,
            "job": job,
            "environment": environment.report(ask_torch=False),
            "interval_s": self.interval,
            "seconds": self.t_s[-1],
            "start_kb": self.resident_kb[0],
            "end_kb": self.resident_kb[-1],
            "peak_kb": self.peak_kb[-1],
            "marks": self.marks,
            "samples": {k: getattr(self, k) for k in ("t_s", "resident_kb", "peak_kb", "processes")},
        }


def of_command(command: list[str], *, name: str, interval: float = 0.01, timeout: float | None = None) -> dict:
    """Run a command and record its memory. Its output goes to standard error; `job.returncode` says how it ended."""
    process = subprocess.Popen(command, stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL)
    try:
        with Sampler(process.pid, interval) as sampler:
            code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the command must end within {timeout:g} s, it was stopped") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return sampler.tree(name, {"command": command, "returncode": code})


def _has_file(stream) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


def of_workload(
    w: suite.Workload, *, name: str, backend: str = "cpu", dtype: str | None = None, threads: int | None = None,
    calls: int = 20, interval: float = 0.01, seed: int = 0, timeout: float = 600.0, peers=None, environments=None,
) -> dict:  # fmt: skip
    """Set one backend up in a worker of its own, call it `calls` times, and record the worker's memory.

    `after_call_kb` is the resident memory after each call: `growth_kb` is its median over the last third less that over the
    third before it, which is nothing for a call that gives back what it takes.
    """
    if calls < 3:
        raise ValueError(f"`calls` must be a whole number of at least 3, got {calls}")
    where = {
        b: family
        for family in families(peers, environments).values()
        for adapter, path in family.adapters.items()
        for b in load(f"{adapter}={path}").BACKENDS
    }
    family = where[suite.one_of("backend", backend, where)]
    dtype = str(suite.one_of("dtype", dtype or w.dtype[0], suite.TOLERANCE))
    threads = threads or w.threads[0]
    after = []
    with tempfile.TemporaryDirectory() as folder:
        inputs, count = data.make(w.data, dtype, seed, folder)
        np.savez(Path(folder) / "inputs.npz", **inputs)
        with (
            Worker(family, threads=threads, timeout=timeout) as worker,
            Sampler(worker.process.pid, interval) as sampler,
        ):
            sampler.mark("setup")
            params = {**w.params, "threads": threads}
            made = worker.ask("setup", key="0", op=w.op, backend=backend, inputs=f"{folder}/inputs.npz", params=params)
            if "missing" in made:
                raise ImportError(made["missing"])
            for k in range(calls):
                sampler.mark(f"call {k + 1}")
                worker.ask("time", key="0", repeats=1, inner=1)
                after.append((status_kb(worker.process.pid, "VmRSS") or [0])[0])
    job = {
        "workload": w.name, "op": w.op, "backend": backend, "dtype": dtype, "threads": threads, "N": count, "calls": calls,
        "versions": made["versions"],
    }  # fmt: skip
    third = max(1, calls // 3)
    growth = int(np.median(after[-third:]) - np.median(after[-2 * third : -third]))
    return {**sampler.tree(name, job), "after_call_kb": after, "growth_kb": growth}


def write_figure(made: dict, path) -> Path:
    """Resident memory and its peak over time, with a line where each call begins."""
    samples = made["samples"]
    t, resident, peak = (np.asarray(samples[k]) for k in ("t_s", "resident_kb", "peak_kb"))
    figure, save = canvas(path, (9, 4))
    axes = figure.add_subplot()
    for m in made["marks"]:
        axes.axvline(m["t_s"], color="0.85", lw=0.7, zorder=0)
    axes.fill_between(t, resident / 1024, step="post", color="tab:blue", alpha=0.2, lw=0)
    axes.step(t, resident / 1024, where="post", color="tab:blue", lw=1.2, label="resident")
    axes.step(t, peak / 1024, where="post", color="tab:red", lw=1.2, ls="--", label="peak so far")
    lines = ", grey lines: where setup and each call begin" if made["marks"] else ""
    axes.set(xlabel=f"time (s){lines}", ylabel="memory (MiB)", xlim=(0, max(t[-1], 1e-6)))
    axes.set_ylim(0, 1.12 * peak[-1] / 1024)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(
        f"{made['name']}: peak {peak[-1] / 1024:.1f} MiB, at the end {resident[-1] / 1024:.1f} MiB", fontsize=9
    )
    return save()


def canvas(path, size):
    """A figure without a window, and the function that writes it whole to the place of the record's figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from valence.bench.report import places

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)

    def save() -> Path:
        to = places(path)["figure"]
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary = to.with_name(f".{to.name}")
        figure.savefig(temporary, dpi=160, format="png")
        temporary.replace(to)
        return to

    return figure, save


def text(made: dict) -> str:
    lines = [f"{made['name']}: {made['seconds']:.2f} s, {len(made['samples']['t_s'])} samples"]
    lines += [
        f"  {label:<22} {made[key] / 1024:10.1f} MiB"
        for key, label in (("start_kb", "first sample"), ("peak_kb", "peak"), ("end_kb", "last sample"),
                           ("growth_kb", "growth of late calls"))
        if key in made
    ]  # fmt: skip
    return "\n".join(lines)
