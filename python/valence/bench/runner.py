"""Runs a suite: workers are set up group by group, checked, warmed, then timed in rotated rounds."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from valence.bench import check, data, environment, oracle, record, report, suite
from valence.bench.peers import Family, Worker, WorkerFailed, families
from valence.bench.statistics import summary
from valence.bench.worker import load

DONE = ("ok", "wrong")
EXIT = {"failed": 1, "wrong": 2, "mismatch": 3}


@dataclass
class Settings:
    """What the command line adds to a suite; None leaves the suite's own word."""

    out: Path
    backends: list[str] | None = None
    workloads: list[str] | None = None
    threads: list[int] | None = None
    repeats: int | None = None
    warmup: int | None = None
    rounds: int | None = None
    resume: bool = False
    force: bool = False
    seed: int = 0
    timeout: float = 600.0
    peers: str | None = None
    environments: str | None = None
    pin: bool = False
    progress: bool = field(default_factory=lambda: sys.stderr.isatty())


def run(work: suite.Suite, settings: Settings) -> dict:
    """The record of a suite; the file is written after every group, so that an interruption keeps what is done."""
    if work.device == "cuda":
        from valence import cuda

        if (why := cuda.why_not()) is not None:
            raise ValueError(f"suite {work.name} must run on a machine with a GPU, got {why}")
    runner = Runner(work, settings)
    try:
        runner.all()
    finally:
        runner.close()
        made = runner.save()
    report.write_tables(made, settings.out)
    return made


def exit_code(made: dict) -> int:
    """3 where another backend ran than was asked for, 2 where a result is wrong, 1 where a point failed, else 0."""
    return max((EXIT.get(p["status"], 0) for p in made["points"]), default=0)


class Runner:
    def __init__(self, work: suite.Suite, settings: Settings):
        self.work, self.settings = work, settings
        self.families = families(settings.peers, settings.environments)
        self.where = self.backends_by_name()
        for name in settings.backends or []:
            suite.one_of("backend", name, self.where)
        names = [w.name for w in work.workloads]
        for name in settings.workloads or []:
            suite.one_of("workload", name, names)
        self.workers: dict[tuple[str, int], Worker] = {}
        self.reference: tuple[str, dict] = ("", {})
        self.environment = environment.report(ask_torch=False)
        self.points = self.earlier()
        self.folder = tempfile.TemporaryDirectory(prefix="valence-bench-")

    def backends_by_name(self) -> dict[str, Family]:
        """Every backend of every adapter; only the adapters' tables are read, no library is imported."""
        found = {}
        for family in self.families.values():
            for name, path in family.adapters.items():
                for backend in load(f"{name}={path}").BACKENDS:
                    if backend in found:
                        raise ValueError(f"backend names must differ, got {backend} in {name} and another adapter")
                    found[backend] = family
        return found

    def earlier(self) -> dict[str, dict]:
        """Finished points of the file to resume; refuses a file that is there without --resume or --force."""
        out = self.settings.out
        if not out.exists() or self.settings.force:
            return {}
        if not self.settings.resume:
            raise FileExistsError(f"{out} exists: add --resume to run what is missing, or --force to replace it")
        return {
            record.key(p["workload"], p["backend"], p["dtype"], p["threads"]): p
            for p in record.read_json(out)["points"]
            if p["status"] in DONE
        }

    def plan(self):
        """Groups in the suite's order: (workload, dtype, threads, backends). A group is timed together."""
        s = self.settings
        for w in self.work.workloads:
            if s.workloads and w.name not in s.workloads:
                continue
            for change in ("repeats", "warmup", "rounds"):
                if getattr(s, change) is not None:
                    setattr(w, change, getattr(s, change))
            for dtype in w.dtype:
                for threads in s.threads or w.threads:
                    backends = [b for b in w.backends if not s.backends or b in s.backends]
                    yield w, dtype, threads, backends

    def definition(self, w: suite.Workload, dtype: str, threads: int) -> str:
        said = [w.op, w.data, w.params, dtype, threads, w.repeats, w.warmup, w.rounds, w.isolate, self.settings.seed]
        return check.fingerprint({}, repr(said))

    def all(self) -> None:
        order = []
        for w, dtype, threads, backends in list(self.plan()):
            definition = self.definition(w, dtype, threads)
            keys = {record.key(w.name, b, dtype, threads): b for b in backends}
            order += keys
            missing = {k: b for k, b in keys.items() if self.points.get(k, {}).get("definition") != definition}
            if missing:
                self.note(f"{w.name} {dtype} {threads} thread(s)")
                self.group(w, dtype, threads, missing, definition)
                self.save()
        # A resumed file lists its points in the suite's order, as an uninterrupted one does.
        rest = [k for k in self.points if k not in order]
        self.points = {k: self.points[k] for k in [*order, *rest] if k in self.points}

    def note(self, text: str) -> None:
        if self.settings.progress:
            print(f"[{self.work.name}] {text}", file=sys.stderr, flush=True)

    def group(self, w, dtype, threads, missing: dict[str, str], definition: str) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.folder.name))
        inputs, count = data.make(w.data, dtype, self.settings.seed, folder)
        np.savez(folder / "inputs.npz", **inputs)
        live = {}
        batch = len(inputs["offsets"]) - 1 if "offsets" in inputs else 1
        for k, backend in missing.items():
            point = {
                "workload": w.name, "room": w.room, "op": w.op, "backend": backend, "dtype": dtype, "threads": threads,
                "batch": batch, "N": count, "unit": w.unit, "status": "ok", "reason": None, "definition": definition,
                "isolate": w.isolate, "git": self.environment["git"],
            }  # fmt: skip
            if "num_edges" in inputs:
                point["edges"] = int(inputs["num_edges"])
            self.points[k] = point
            if backend not in self.where:
                self.absent(point, "no adapter of that name in the folder of peers")
                continue
            worker = None
            try:
                worker = self.worker(self.where[backend], threads, fresh=w.isolate)
                if self.prepare(worker, k, w, point, inputs, folder):
                    live[k] = worker
            except (WorkerFailed, OSError) as e:
                point.update(status="failed", reason=str(e))
            if w.isolate and worker is not None and k not in live:
                worker.close()
        self.time(w, live)
        for k, worker in live.items():
            if worker.alive:
                worker.ask("drop", key=k)
            if w.isolate:
                worker.close()

    def absent(self, point: dict, reason: str) -> None:
        """A backend that is not there: a failure if it was asked for by name, else skipped; the reason is kept."""
        asked = point["backend"] in (self.settings.backends or [])
        point.update(status="failed" if asked else "skipped", reason=reason)

    def worker(self, family: Family, threads: int, fresh: bool) -> Worker:
        s = self.settings
        if fresh:
            return Worker(family, threads=threads, timeout=s.timeout, pin=s.pin)
        name = (family.name, threads)
        if name not in self.workers or not self.workers[name].alive:
            self.workers[name] = Worker(family, threads=threads, timeout=s.timeout, pin=s.pin)
        return self.workers[name]

    def prepare(self, worker, k, w, point, inputs, folder) -> bool:
        """Set up, check and warm one backend; False where it has nothing to time."""
        params = {**w.params, "threads": point["threads"]}
        answer = worker.ask(
            "setup", key=k, op=w.op, backend=point["backend"], inputs=str(folder / "inputs.npz"), params=params
        )
        point["startup_s"] = worker.startup_s
        if "missing" in answer:
            self.absent(point, answer["missing"])
            return False
        own = self.where[point["backend"]].adapters
        versions = answer["versions"]
        names = [v for v in versions if v != "numpy"]
        version = versions.get(names[0]) if names else versions["numpy"]
        point.update(backend_used=answer["backend_used"], versions=versions, version=version, adapters=sorted(own))
        if answer["backend_used"] != point["backend"]:
            reason = f"`backend` must run as {point['backend']}, got {answer['backend_used']}"
            point.update(status="mismatch", reason=reason)
            return False
        self.verify(worker, k, w, point, inputs, folder)
        point["inner"] = worker.ask("warm", key=k, repeats=w.warmup)["inner"]
        point.update(samples_s=[], cpu_s=[], round=[])
        return True

    def verify(self, worker, k, w, point, inputs, folder) -> None:
        """One call against the NumPy reference: marks the point wrong, never stops it."""
        to = Path(tempfile.mkdtemp(dir=folder))
        answer = worker.ask("output", key=k, folder=str(to))
        point.update(output_bytes=answer["output_bytes"], call_rss_kb=answer["call_rss_kb"])
        arrays = check.load(to)
        params = dict(w.params)
        if w.check_rows:
            params["sources"] = np.random.default_rng(0).choice(point["N"], w.check_rows, replace=False)
        name = check.fingerprint(inputs, f"{w.op}{w.params}{w.check_rows}")
        if self.reference[0] != name:
            self.reference = (name, oracle.OPERATIONS[w.op](inputs, params))
        first = next(iter(self.reference[1]))
        point["rows"] = len(arrays[first]) if first in arrays and arrays[first].ndim else None
        if w.check_rows:
            arrays = check.rows_of(arrays, params["sources"])
        arrays = check.sort_edges(arrays)
        point["checksum"] = check.checksum(arrays)
        if not np.isfinite(point["checksum"]).all():
            point["checksum"] = None
        point["max_err"], wrong = check.compare(
            arrays, self.reference[1], **w.tolerance_of(point["dtype"], point["backend"])
        )
        if wrong:
            point.update(status="wrong", reason=wrong)
        arrays.clear()
        for file in to.glob("*.npy"):
            file.unlink()

    def time(self, w, live: dict[str, Worker]) -> None:
        """`rounds` rounds over all backends, each beginning one further, so that drift hits all alike."""
        keys = list(live)
        for r in range(w.rounds):
            start = r % max(1, len(keys))
            for k in keys[start:] + keys[:start]:
                point = self.points[k]
                if point["status"] not in DONE:
                    continue
                try:
                    answer = live[k].ask("time", key=k, repeats=w.repeats, inner=point["inner"])
                except WorkerFailed as e:
                    point.update(status="failed", reason=str(e))
                    continue
                point["samples_s"] += answer["samples"]
                point["cpu_s"] += answer["cpu"]
                point["round"] += [r] * w.repeats
                point["max_rss_kb"] = answer["max_rss_kb"]
        for k in keys:
            point = self.points[k]
            if point["status"] in DONE:
                point.update(summary(point["samples_s"]), cpu_mean=float(np.mean(point["cpu_s"])))

    def save(self) -> dict:
        """Write the finished points; those of a group that was interrupted are not among them."""
        started = ("wall_median", "reason")
        finished = {k: p for k, p in self.points.items() if any(p.get(s) is not None for s in started)}
        targets = {w.name: w.targets for w in self.work.workloads}
        made = {
            "schema": record.SCHEMA,
            "name": self.work.name,
            "title": self.work.title,
            "environment": self.environment,
            "settings": {"seed": self.settings.seed, "pin": self.settings.pin},
            "points": list(finished.values()),
            "ratios": record.ratios(finished, targets, self.work.relations),
        }
        record.write_json(self.settings.out, made)
        return made

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()


def end_on_terminate() -> None:
    """Treat SIGTERM as Ctrl-C, so that a killed run leaves a valid file as well."""

    def stop(*_):
        raise KeyboardInterrupt

    if os.name == "posix":
        signal.signal(signal.SIGTERM, stop)
