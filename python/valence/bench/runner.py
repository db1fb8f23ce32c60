"""Runs a suite: workers are set up group by group, checked, warmed, then timed in rotated rounds."""

from __future__ import annotations

import datetime
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from valence.bench import check, data, environment, oracle, record, report, suite
from valence.bench.journal import Journal, key_of, write_logs
from valence.bench.peers import Family, Worker, WorkerFailed, families
from valence.bench.progress import Progress
from valence.bench.settings import Settings
from valence.bench.statistics import summary
from valence.bench.worker import load

DONE = ("ok", "wrong")
EXIT = {"failed": 1, "wrong": 2, "mismatch": 3}


def run(work: suite.Suite, settings: Settings) -> dict:
    """The record of a suite. Every row is a file of its own until the run ends, so that a killed one loses at most the row
    in flight; the record is written after every group."""
    if work.device == "cuda":
        from valence import cuda

        if (why := cuda.why_not()) is not None:
            raise ValueError(f"suite {work.name} must run on a machine with a GPU, got {why}")
    runner = Runner(work, settings)
    try:
        runner.all()
        made = runner.save()
        runner.journal.clear()
    except BaseException:
        if runner.finished():
            runner.save()
        raise
    finally:
        runner.close()
    report.write_tables(made, settings.out)
    if settings.out.parent.name == "metrics":
        for point in made["points"]:
            if point["status"] != "skipped":
                write_logs(point, settings.out.parent.parent / "logs")
    return made


def exit_code(made: dict) -> int:
    """3 where another backend ran than was asked for, 2 where a result is wrong, 1 where a point failed, else 0."""
    return max((EXIT.get(p["status"], 0) for p in made["points"]), default=0)


@dataclass
class Group:
    """Rows that are timed together: one workload, dtype and number of threads, all backends."""

    workload: suite.Workload
    dtype: str
    threads: int
    rows: dict[str, str]  # key to backend
    definition: str


class Runner:
    def __init__(self, work: suite.Suite, settings: Settings):
        self.work, self.settings = work, settings
        self.families = families(settings.peers, settings.environments)
        self.adapters: dict[str, str] = {}
        self.where = self.backends_by_name()
        self.libraries = self.asked_for()
        self.asked = [b for backends in self.libraries.values() for b in backends]
        names = [w.name for w in work.workloads]
        for name in settings.workloads or []:
            suite.one_of("workload", name, names)
        self.passes = settings.passes or work.passes
        self.workers: dict[tuple[str, int], Worker] = {}
        self.reference: tuple[str, dict] = ("", {})
        self.journal = Journal(settings.out)
        self.points = self.earlier()
        self.environment = environment.report(ask_torch=False)
        self.folder = tempfile.TemporaryDirectory(prefix="valence-bench-")
        self.progress = Progress(work.name, 0, False)

    def backends_by_name(self) -> dict[str, tuple[Family, dict]]:
        """Every backend of every adapter with its operations; only the adapters' tables are read, no library is imported."""
        found = {}
        for family in self.families.values():
            for name, path in family.adapters.items():
                for backend, operations in load(f"{name}={path}").BACKENDS.items():
                    if backend in found:
                        raise ValueError(f"backend names must differ, got {backend} in {name} and another adapter")
                    found[backend] = family, operations
                    self.adapters[backend] = name
        return found

    def asked_for(self) -> dict[str, list[str]]:
        """The backends that are asked for by name; the name of a library stands for all of its backends."""
        found = {}
        for name in self.settings.backends or []:
            suite.one_of("backend", name, {*self.where, *self.adapters.values()})
            found[name] = (
                [name] if name in self.where else [b for b, library in self.adapters.items() if library == name]
            )
        return found

    def earlier(self) -> dict[str, dict]:
        """Rows of the file to resume and of a run that was killed; refuses what is there without --resume or --force."""
        out, s = self.settings.out, self.settings
        if s.force:
            self.journal.clear()
            return {}
        if (out.exists() or self.journal.there()) and not s.resume:
            there = out if out.exists() else self.journal.folder
            raise FileExistsError(f"{there} exists: add --resume to run what is missing, or --force to replace it")
        points = {}
        if out.exists():
            points = {key_of(p): p for p in record.read_json(out)["points"] if p["status"] in DONE}
        for k, row in self.journal.read().items():
            if row["status"] in DONE and len(row["round"]) > len(points.get(k, {}).get("round", [])):
                points[k] = row
        return points

    def plan(self) -> list[Group]:
        """The groups in the suite's order. A backend that was asked for runs wherever its library has the operation; where it
        is in no workload at all, each has a row for it that fails with the reason."""
        s, groups = self.settings, []
        chosen = [w for w in self.work.workloads if not s.workloads or w.name in s.workloads]

        def has(w, backend):
            return backend in w.backends or w.op in self.where[backend][1]

        asked = self.libraries.values()
        nowhere = [b for backends in asked if not any(has(w, x) for w in chosen for x in backends) for b in backends]
        for w in chosen:
            for change in ("repeats", "warmup", "rounds"):
                if getattr(s, change) is not None:
                    setattr(w, change, getattr(s, change))
            w.isolate = w.isolate or s.isolate
            backends = w.backends
            if self.asked:
                backends = [b for b in w.backends if b in self.asked]
                backends += [b for b in self.asked if b not in backends and (has(w, b) or b in nowhere)]
            for dtype in w.dtype:
                for threads in s.threads or w.threads:
                    rows = {record.key(w.name, b, dtype, threads): b for b in backends}
                    groups.append(Group(w, dtype, threads, rows, self.definition(w, dtype, threads)))
        return groups

    def definition(self, w: suite.Workload, dtype: str, threads: int) -> str:
        s = self.settings
        said = [w.op, w.data, w.params, dtype, threads, w.repeats, w.warmup, w.rounds, w.isolate, s.seed]
        for more in (w.batch, s.frames, s.data and str(s.data)):
            said += [more] if more is not None else []
        return check.fingerprint({}, repr(said))

    def missing(self, group: Group, until: int) -> dict[str, list[int]]:
        """For each row of a group the rounds below `until` that have not been timed."""
        left = {}
        for k in group.rows:
            point = self.points.get(k)
            if point is None or point.get("definition") != group.definition:
                left[k] = list(range(until))
            elif point["status"] in DONE:
                left[k] = sorted(set(range(until)) - set(point["round"]))
        return {k: rounds for k, rounds in left.items() if rounds}

    def all(self) -> None:
        """`passes` times over all groups, each with its part of the rounds and new workers: what differs from one start of a
        process to the next is then in the samples."""
        groups = self.plan()
        for g in groups:  # a row that failed is tried again, one of another definition starts anew
            for k in g.rows:
                if k in self.points and self.points[k].get("definition") != g.definition:
                    del self.points[k]
        total = sum(len(r) for g in groups for r in self.missing(g, g.workload.rounds).values())
        self.progress = Progress(self.work.name, total, self.settings.progress)
        for p in range(self.passes):
            for g in groups:
                missing = self.missing(g, -(-g.workload.rounds * (p + 1) // self.passes))
                if missing:
                    self.group(g, missing, p)
                    self.save()
            self.close_workers()
        self.progress.close()
        # A resumed file lists its points in the suite's order, as an uninterrupted one does.
        order = [k for g in groups for k in g.rows]
        rest = [k for k in self.points if k not in order]
        self.points = {k: self.points[k] for k in [*order, *rest] if k in self.points}

    def new_point(self, g: Group, backend: str, inputs: dict, count: int) -> dict:
        w = g.workload
        point = {
            "workload": w.name, "room": w.room, "op": w.op, "backend": backend, "dtype": g.dtype, "threads": g.threads,
            "batch": len(inputs["offsets"]) - 1 if "offsets" in inputs else 1, "N": count, "unit": w.unit, "status": "ok",
            "reason": None, "definition": g.definition, "isolate": w.isolate, "git": self.environment["git"],
            "suite": self.work.preset or self.work.name, "sweep": w.swept,
            "lmax": w.params.get("lmax"), "nmax": w.params.get("nmax"), "species": None,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        if "numbers" in inputs:
            point["species"] = len(np.unique(inputs["numbers"]))
        if "num_edges" in inputs:
            point["edges"] = int(inputs["num_edges"])
        return point

    def group(self, g: Group, missing: dict[str, list[int]], p: int) -> None:
        w = g.workload
        folder = Path(tempfile.mkdtemp(dir=self.folder.name))
        inputs, count = data.make(
            w.data,
            g.dtype,
            self.settings.seed,
            folder,
            root=self.settings.data,
            batch=w.batch,
            frames=self.settings.frames,
        )
        np.savez(folder / "inputs.npz", **inputs)
        live = {}
        for k in missing:
            backend = g.rows[k]
            point = self.points.setdefault(k, self.new_point(g, backend, inputs, count))
            self.progress.step(f"{w.name} {backend}")
            if backend not in self.where:
                self.absent(point, "no adapter of that name in the folder of peers")
                self.progress.step(w.name, w.rounds)
                continue
            worker = None
            try:
                worker = self.worker(self.where[backend][0], g.threads, fresh=w.isolate)
                if self.prepare(worker, k, w, point, inputs, folder):
                    live[k] = worker
            except (WorkerFailed, OSError) as e:
                point.update(status="failed", reason=str(e))
            if k not in live:
                self.progress.step(w.name, w.rounds)
                if w.isolate and worker is not None:
                    worker.close()
        self.time(w, live, missing, p)
        for k, worker in live.items():
            if worker.alive:
                worker.ask("drop", key=k)
            if w.isolate:
                worker.close()

    def absent(self, point: dict, reason: str) -> None:
        """A backend that is not there: a failure if it was asked for by name, else skipped; the reason is kept."""
        asked = point["backend"] in self.asked
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
        fresh = "samples_s" not in point  # the first pass checks it
        answer = worker.ask(
            "setup", key=k, op=w.op, backend=point["backend"], inputs=str(folder / "inputs.npz"), params=params
        )
        point["startup_s"] = worker.startup_s
        if "missing" in answer:
            self.absent(point, answer["missing"])
            return False
        own = self.where[point["backend"]][0].adapters
        versions = answer["versions"]
        names = [v for v in versions if v != "numpy"]
        version = versions.get(names[0]) if names else versions["numpy"]
        point.update(backend_used=answer["backend_used"], versions=versions, version=version, adapters=sorted(own))
        if answer["backend_used"] != point["backend"]:
            reason = f"`backend` must run as {point['backend']}, got {answer['backend_used']}"
            point.update(status="mismatch", reason=reason)
            return False
        if fresh:
            self.verify(worker, k, w, point, inputs, folder)
        inner = worker.ask("warm", key=k, repeats=w.warmup)["inner"]
        if fresh:
            point.update(inner=inner, samples_s=[], cpu_s=[], round=[], passes=[], parts={}, stages={})
        if self.settings.profile:
            for stage, seconds in worker.ask("stages", key=k)["stages"].items():
                point["stages"].setdefault(stage, []).append(seconds)
        return True

    def verify(self, worker, k, w, point, inputs, folder) -> None:
        """One call against the NumPy reference: marks the point wrong, never stops it."""
        to = Path(tempfile.mkdtemp(dir=folder))
        answer = worker.ask("output", key=k, folder=str(to))
        point.update({n: answer[n] for n in ("output_bytes", "call_rss_kb", "alloc_bytes")})
        arrays = check.load(to)
        params = dict(w.params)
        if w.check_rows:
            params["sources"] = np.random.default_rng(0).choice(point["N"], w.check_rows, replace=False)
        name = check.fingerprint(inputs, f"{w.op}{w.params}{w.check_rows}")
        if self.reference[0] != name:
            self.reference = (name, oracle.OPERATIONS[w.op](inputs, params))
        first = next(iter(self.reference[1]))
        point["rows"] = len(arrays[first]) if first in arrays and arrays[first].ndim else None
        if set(check.EDGES) <= set(arrays):
            point["edges"] = point["rows"]
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

    def time(self, w, live: dict[str, Worker], missing: dict[str, list[int]], p: int) -> None:
        """The missing rounds over all backends, each beginning one further, so that drift hits all alike."""
        keys = list(live)
        for r in sorted({r for k in keys for r in missing[k]}):
            start = r % max(1, len(keys))
            for k in keys[start:] + keys[:start]:
                point = self.points[k]
                if point["status"] not in DONE or r not in missing[k]:
                    continue
                try:
                    answer = live[k].ask("time", key=k, repeats=w.repeats, inner=point["inner"])
                except WorkerFailed as e:
                    point.update(status="failed", reason=str(e))
                    continue
                point["samples_s"] += answer["samples"]
                point["cpu_s"] += answer["cpu"]
                for name, seconds in answer["parts"].items():
                    point["parts"].setdefault(name, []).extend(seconds)
                point["round"] += [r] * w.repeats
                point["passes"] += [p] * w.repeats
                point.update({n: answer[n] for n in ("max_rss_kb", "inblock", "oublock")})
                point.update(summary(point["samples_s"]), cpu_mean=float(np.mean(point["cpu_s"])))
                self.journal.write(point)
                self.progress.step(f"{w.name} {point['backend']}", 1)

    def finished(self) -> dict[str, dict]:
        """The rows that have a sample, or a reason for having none."""
        return {k: p for k, p in self.points.items() if p.get("wall_median") is not None or p.get("reason") is not None}

    def save(self) -> dict:
        """Write the finished rows; one that was interrupted has fewer `runs`."""
        finished = self.finished()
        targets = {w.name: w.targets for w in self.work.workloads}
        made = {
            "schema": record.SCHEMA,
            "name": self.work.name,
            "title": self.work.title,
            "environment": self.environment,
            "settings": {"seed": self.settings.seed, "pin": self.settings.pin, "passes": self.passes},
            "note": self.work.note,
            "points": list(finished.values()),
            "ratios": record.ratios(finished, targets, self.work.relations),
        }
        record.write_json(self.settings.out, made)
        return made

    def close_workers(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def close(self) -> None:
        self.progress.close()
        self.close_workers()
        self.folder.cleanup()


def end_on_terminate() -> None:
    """Treat SIGTERM as Ctrl-C, so that a killed run leaves a valid file as well."""

    def stop(*_):
        raise KeyboardInterrupt

    if os.name == "posix":
        signal.signal(signal.SIGTERM, stop)
