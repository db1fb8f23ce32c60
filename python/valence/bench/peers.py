"""Families of backends: where their adapters and environments are, and the pipe to a worker of one."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
OURS = "valence"
OUR_ADAPTER = HERE / "ours.py"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS",
                    "NUMEXPR_NUM_THREADS", "VALENCE_NUM_THREADS")  # fmt: skip


class WorkerFailed(RuntimeError):
    """The worker ended, answered nothing in time, or reported an exception."""


@dataclass
class Family:
    """Adapters that share one environment: a folder with `bin/python`, or this interpreter where there is none."""

    name: str
    adapters: dict[str, Path]
    python: str = sys.executable
    own_environment: bool = False
    requirements: list[Path] = field(default_factory=list)


def peers_folder(given=None) -> Path | None:
    """The folder of adapters: the argument, $VALENCE_BENCH_PEERS, or ./benchmarks/peers."""
    named = given or os.environ.get("VALENCE_BENCH_PEERS")
    if named:
        path = Path(named)
        if not path.is_dir():
            raise FileNotFoundError(f"`peers` must be a folder of adapters, got {named}")
        return path
    path = Path("benchmarks/peers")
    return path if path.is_dir() else None


def environments_folder(given=None) -> Path:
    """The folder of environments: the argument, $VALENCE_BENCH_ENVS, or ./benchmarks/.envs (ignored by git)."""
    return Path(given or os.environ.get("VALENCE_BENCH_ENVS") or "benchmarks/.envs")


def families(peers=None, environments=None) -> dict[str, Family]:
    """Our own family, and those that `environments.json` in the folder of peers puts together."""
    found = {OURS: Family(OURS, {OURS: OUR_ADAPTER})}
    folder = peers_folder(peers)
    if folder is None:
        return found
    table = json.loads((folder / "environments.json").read_text())
    for name, libraries in table.items():
        family = Family(name, {lib: folder / lib / "adapter.py" for lib in libraries})
        family.requirements = [p for lib in libraries if (p := folder / lib / "requirements.txt").exists()]
        python = environments_folder(environments) / name / "bin" / "python"
        if python.exists():
            # Not resolved: the link's own place is what makes it the environment's interpreter.
            family.python, family.own_environment = str(python.absolute()), True
        found[name] = family
    return found


def make_environment(name, *, peers=None, environments=None) -> Path:
    """Create the environment of a family and install its pinned requirements. Returns its folder."""
    known = families(peers, environments)
    if name not in known or name == OURS:
        raise ValueError(f"`make` must be one of {sorted(set(known) - {OURS})}, got {name}")
    folder = environments_folder(environments) / name
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for path in known[name].requirements:
        command += ["-r", str(path)]
    subprocess.run(command, check=True)
    return folder


class Worker:
    """A child process that answers requests; see worker.py for the protocol."""

    def __init__(self, family: Family, *, threads: int = 1, timeout: float = 600.0, pin: bool = False):
        self.family, self.timeout, self._data = family, timeout, b""
        started = time.perf_counter()
        env = {**os.environ, "PYTHONHASHSEED": "0", **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        specs = [f"{name}={path}" for name, path in family.adapters.items()]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
        self.process = subprocess.Popen(
            # -P: the worker's own folder must not stand before the standard library, whose `statistics` it would hide.
            [family.python, "-P", str(HERE / "worker.py"), *specs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=env,
            start_new_session=True,  # Ctrl-C reaches the harness alone, which then ends its workers
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        if pin and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, set(sorted(os.sched_getaffinity(0))[:threads]))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        try:
            self.about = self.ask("hello")
        except BaseException:
            self.close()
            raise
        self.startup_s = time.perf_counter() - started

    def ask(self, verb, **message) -> dict:
        """Send one request and wait for its answer; WorkerFailed where none comes or it reports an error."""
        try:
            self._in.write((json.dumps({"verb": verb, **message}) + "\n").encode())
            self._in.flush()
        except BrokenPipeError:
            raise WorkerFailed(f"worker {self.family.name} ended: {self.last_words()}") from None
        answer = json.loads(self._line())
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def _line(self) -> bytes:
        end = time.monotonic() + self.timeout
        while b"\n" not in self._data:
            if not self._selector.select(max(0.0, end - time.monotonic())):
                self.close()
                raise WorkerFailed(f"worker {self.family.name} gave no answer within {self.timeout:g} s")
            more = os.read(self._out.fileno(), 1 << 16)
            if not more:
                self.process.wait()
                raise WorkerFailed(
                    f"worker {self.family.name} ended with code {self.process.returncode}: {self.last_words()}"
                )
            self._data += more
        line, self._data = self._data.split(b"\n", 1)
        return line

    def last_words(self) -> str:
        """The last line that the worker wrote to standard error."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        if self.alive:
            self.process.kill()
        self.process.wait()
        self._selector.close()
        self._in.close()
        self._out.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
