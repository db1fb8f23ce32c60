"""`python -m valence.bench stress`: many molecules of random sizes, many threads, again and again.

Every molecule is first run alone on one thread. Then come rounds: for each number of threads of the pool, several callers (Python
threads) take parts of a new random order of all molecules, and run each part as one batch. It is asserted that

- each molecule is answered once, and none that should be refused is answered (`lost`, `twice`),
- each answer has the bits of the molecule's own run, whatever its batch, its place in it and the threads (`changed`); MACE,
  whose dense products round by the place of an edge in the batch, is given a tolerance,
- the resident memory between the rounds does not grow: its median over the last third of the rounds is at most `growth_mib`
  above that over the third before it; nor does the number of the process's threads, which are memory too.
"""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from valence.bench import environment, record
from valence.bench.arguments import add_report, keep, place_of, whole_numbers
from valence.bench.memory import canvas
from valence.bench.runner import end_on_terminate
from valence.bench.worker import memory_kb

KIND = "stress"
HELP = "many molecules, random sizes, many threads, repeated; exit code 2: a result changed or was lost, 1: memory grew"
#: An element that no example network knows: its molecules must be refused, each by an error in its own place.
UNKNOWN = 79


@dataclass
class Settings:
    molecules: int = 1000
    atoms: tuple[int, int] = (1, 60)  # the least and the most of a molecule
    threads: tuple[int, ...] = (1, 2, 4)  # of the pool
    callers: int = 4
    rounds: int = 9
    growth_mib: float = 16.0
    seed: int = 0

    def check(self) -> Settings:
        for name, least in (("molecules", 1), ("callers", 1), ("rounds", 3), ("growth_mib", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}")
        if not 1 <= self.atoms[0] <= self.atoms[1]:
            raise ValueError(f"`atoms` must be two numbers, 1 <= least <= most, got {list(self.atoms)}")
        if not self.threads or min(self.threads) < 1:
            raise ValueError(f"`threads` must be whole numbers of at least 1, got {list(self.threads)}")
        return self


def add_arguments(p) -> None:
    add_report(p, "stress")
    d = Settings()
    p.add_argument(
        "--model", help="a file for valence.load: energies and forces (default the example weights of ValenceEngine)"
    )
    for option, what in (
        ("molecules", ""),
        ("callers", "Python threads that call at a time "),
        ("rounds", "at least 3 "),
    ):
        p.add_argument(f"--{option}", type=int, default=getattr(d, option), help=f"{what}(default %(default)s)")
    p.add_argument(
        "--atoms", type=whole_numbers, default=list(d.atoms), help="least and most of a molecule (default 1,60)"
    )
    p.add_argument("--threads", type=whole_numbers, default=list(d.threads), help="of the pool (default 1,2,4)")
    p.add_argument(
        "--growth-mib",
        type=float,
        default=d.growth_mib,
        help="of resident memory that is allowed (default %(default)s)",
    )


def main(a) -> int:
    out = place_of(a)
    if len(a.atoms) != 2:
        raise ValueError(f"`atoms` must be two numbers by comma, got {len(a.atoms)}")
    settings = Settings(
        a.molecules, (a.atoms[0], a.atoms[1]), tuple(a.threads), a.callers, a.rounds, a.growth_mib, a.seed
    ).check()
    subject = Model(a.model) if a.model else Engine()
    end_on_terminate()
    made = run(subject, settings, lambda said: print(f"[stress] {said}", file=sys.stderr, flush=True))
    keep(a, write_figure, text, made, out)
    return exit_code(made)


class Subject(Protocol):
    """What is put under stress: `run` gives the answers of molecules in their order, arrays or the text of an error."""

    name: str
    elements: Sequence[int]
    refuses: bool  # whether some molecules are to be of an unknown element
    tolerance: float  # of an answer, relative to its largest number; 0: the bits must be the same

    def run(self, mols: list[Any]) -> list[Any]: ...


class Engine:
    """The small engine with the weights that come with the package."""

    name, refuses, tolerance = "ValenceEngine.example()", True, 0.0
    elements: Sequence[int] = (1, 6, 7, 8, 9)

    def __init__(self) -> None:
        import valence as vl

        self._engine = vl.ValenceEngine.example()

    def run(self, mols: list[Any]) -> list[Any]:
        found = self._engine.run_batch(mols, cutoff=3.0, k=16, on_error="return")
        return [str(f) if isinstance(f, Exception) else (f,) for f in found]


class Model:
    """Energy and forces of a file that `vl.load` takes."""

    refuses = False

    def __init__(self, path: Any) -> None:
        import valence as vl
        from valence.model.schnetpack.model import SchnetpackModel

        self._model = vl.load(path)
        self.name = str(path)
        known = [int(z) for z in self._model.elements]
        common = [z for z in (1, 6, 7, 8, 9) if z in known]
        self.elements: Sequence[int] = common if len(common) > 1 else known
        same = isinstance(self._model, SchnetpackModel)
        self.tolerance = 0.0 if same else {"float32": 1e-4, "float64": 1e-12}[self._model.dtype]

    def run(self, mols: list[Any]) -> list[Any]:
        import valence as vl

        batch = vl.concat(mols)
        found = self._model.compute(batch, ("energy", "forces"))
        rows = np.split(found.forces, batch.offsets[1:-1])
        return [(np.asarray(found.energy[k]), rows[k]) for k in range(len(mols))]


def molecules(rng: np.random.Generator, settings: Settings, subject: Subject) -> list[Any]:
    """Open clusters on jittered grids of 1.6 Angstrom, of random sizes and elements; one in fifty of an unknown element where
    the subject refuses those."""
    import valence as vl

    made = []
    for k in range(settings.molecules):
        n = int(rng.integers(settings.atoms[0], settings.atoms[1] + 1))
        m = int(np.ceil(n ** (1 / 3)))
        sites = rng.permutation(m**3)[:n]
        grid = np.stack(np.unravel_index(sites, (m, m, m)), axis=1)
        numbers = rng.choice(np.asarray(subject.elements), n)
        if subject.refuses and k % 50 == 49:
            numbers[rng.integers(n)] = UNKNOWN
        made.append(vl.Systems.from_arrays(1.6 * (grid + 0.2 * rng.uniform(-1, 1, (n, 3))), numbers))
    return made


def differs(answer: Any, wanted: Any, tolerance: float) -> bool:
    """Whether an answer is another one: in kind, shape, dtype, or a number by more than the tolerance allows."""
    if isinstance(answer, str) or isinstance(wanted, str):
        return answer is not wanted and answer != wanted
    for a, w in zip(answer, wanted, strict=True):
        if a.shape != w.shape or a.dtype != w.dtype:
            return True
        if tolerance:
            if not np.abs(a - w).max(initial=0.0) <= tolerance * np.abs(w).max(initial=0.0):
                return True
        elif np.ascontiguousarray(a).tobytes() != np.ascontiguousarray(w).tobytes():
            return True
    return False


def one_round(
    subject: Subject, mols: list[Any], wanted: list[Any], callers: int, rng: np.random.Generator
) -> dict[str, int]:
    """All molecules once, in random order and parts, by several callers at a time."""
    order = rng.permutation(len(mols))
    parts: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    start = 0
    while start < len(order):
        size = int(rng.integers(1, max(2, len(order) // (2 * callers)) + 1))
        parts.put(order[start : start + size])
        start += size
    answers: list[list[bool]] = [[] for _ in mols]  # whether each is another than is wanted
    failures: list[BaseException] = []

    def caller() -> None:
        while not failures:
            try:
                part = parts.get_nowait()
            except queue.Empty:
                return
            try:
                for index, answer in zip(part, subject.run([mols[i] for i in part])):  # a short answer is a loss
                    answers[index].append(differs(answer, wanted[index], subject.tolerance))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
    return {
        "lost": sum(not a for a in answers),
        "twice": sum(len(a) > 1 for a in answers),
        "changed": sum(any(a) for a in answers),
    }


def run(subject: Subject, settings: Settings, progress: Callable[[str], None] | None = None) -> dict:
    """The record of a run; its `failures` say what did not hold."""
    import valence as vl

    settings.check()
    rng = np.random.default_rng(settings.seed)
    mols = molecules(rng, settings, subject)
    before = vl.get_num_threads()
    rounds: list[dict] = []
    began = time.perf_counter()
    try:
        vl.set_num_threads(1)
        alone = [subject.run([m]) for m in mols]
        missing = sum(len(a) != 1 for a in alone)
        wanted = [a[0] if a else "" for a in alone]
        refused = sum(bool(a) and isinstance(a[0], str) for a in alone)
        for r in range(settings.rounds):
            for threads in settings.threads:
                vl.set_num_threads(threads)
                started = time.perf_counter()
                found = one_round(subject, mols, wanted, settings.callers, rng)
                seconds = time.perf_counter() - started
                gc.collect()
                rounds.append({
                    "round": r, "threads": threads, "t_s": time.perf_counter() - began, "seconds": seconds, **found,
                    "resident_kb": memory_kb("VmRSS"), "peak_kb": memory_kb("VmHWM"),
                    "os_threads": os_threads(),
                })  # fmt: skip
            if progress is not None:
                last = rounds[-1]
                progress(f"round {r + 1} of {settings.rounds}: resident {(last['resident_kb'] or 0) / 1024:.1f} MiB")
    finally:
        vl.set_num_threads(before)
    made = {
        "schema": record.SCHEMA,
        "kind": KIND,
        "name": "stress",
        "subject": subject.name,
        "tolerance": subject.tolerance,
        "environment": environment.report(ask_torch=False),
        "settings": asdict(settings),
        "atoms": int(sum(len(m.numbers) for m in mols)),
        "answers": len(mols) * len(rounds),
        "refused": refused,
        "rounds": rounds,
    }
    return judge(made, missing, sum(UNKNOWN in m.numbers for m in mols))


def judge(made: dict, missing: int, unknown: int) -> dict:
    """Adds the sums, the growth of memory and the sentences of what failed."""
    rounds, settings = made["rounds"], made["settings"]
    total = {k: sum(r[k] for r in rounds) for k in ("lost", "twice", "changed")}
    total["lost"] += missing
    total["unrefused"] = abs(unknown - made["refused"])
    growth = growth_kb([r["resident_kb"] for r in rounds], len(settings["threads"]))
    failures = [
        f"{count} {what}"
        for count, what in (
            (total["lost"], "answers must be there, they are lost"),
            (total["twice"], "molecules must be answered once, they have two answers"),
            (total["changed"], "answers must be those of the molecule's own run, they are others"),
        )
        if count
    ]
    if total["unrefused"]:
        failures.append(f"{unknown} molecules must be refused, got {made['refused']}")
    if growth is None:
        failures.append("resident memory must be known (/proc), got none")
    elif growth > 1024 * settings["growth_mib"]:
        failures.append(
            f"resident memory must grow by at most {settings['growth_mib']:g} MiB, got {growth / 1024:.1f} MiB"
        )
    third = max(1, len(rounds) // 3)
    counts = [r["os_threads"] or 0 for r in rounds]
    more = max(counts[-third:]) - max(counts[-2 * third : -third])
    if more > 0:
        failures.append(f"threads of the process must not grow in number, got {more} more")
    return {**made, **total, "growth_kb": growth, "growth_threads": more, "failures": failures}


def os_threads() -> int | None:
    """The threads of this process; None where the system has no /proc."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return None


def growth_kb(resident: list[int | None], step: int) -> int | None:
    """The median over the last third of the rounds (of `step` samples each) less that over the third before it."""
    known = [r for r in resident if r is not None]
    if len(known) != len(resident):
        return None
    third = step * (len(known) // step // 3)
    return int(np.median(known[-third:]) - np.median(known[-2 * third : -third]))


def exit_code(made: dict) -> int:
    """2 where a result is wrong or lost, 1 where memory grew, else 0."""
    if any(made[k] for k in ("lost", "twice", "changed", "unrefused")):
        return 2
    return int(bool(made["failures"]))


def write_figure(made: dict, path) -> Any:
    """Resident and peak memory after each round, and molecules per second by the number of threads."""
    rounds = made["rounds"]
    figure, save = canvas(path, (9, 5.4))
    above, below = figure.subplots(2, 1, height_ratios=[3, 2], sharex=True)
    place = np.arange(1, len(rounds) + 1)
    if all(r["resident_kb"] is not None for r in rounds):
        for key, colour, style, label in (
            ("resident_kb", "tab:blue", "-", "resident"),
            ("peak_kb", "tab:red", "--", "peak so far"),
        ):
            above.plot(place, [r[key] / 1024 for r in rounds], style, marker=".", ms=4, color=colour, label=label)
        above.set_ylim(0, 1.12 * max(r["peak_kb"] for r in rounds) / 1024)
        above.legend(frameon=False, loc="lower right")
    above.set_ylabel("memory after a pass (MiB)")
    for k, threads in enumerate(made["settings"]["threads"]):
        mine = [i for i, r in enumerate(rounds) if r["threads"] == threads]
        speed = [made["settings"]["molecules"] / rounds[i]["seconds"] for i in mine]
        below.plot(place[mine], speed, ".-", color=f"C{k + 2}", label=f"{threads} thread{'s' * (threads > 1)}")
    below.set_ylim(0, None)
    below.set(ylabel="molecules per second", xlabel=f"pass over {made['settings']['molecules']:,} molecules")
    below.legend(frameon=False, ncol=4, loc="lower right")
    said = "; ".join(made["failures"]) or f"{made['answers']:,} answers, none changed, none lost, memory does not grow"
    above.set_title(f"{made['subject']}, {made['settings']['callers']} callers: {said}", fontsize=9)
    return save()


def text(made: dict) -> str:
    seconds = sum(r["seconds"] for r in made["rounds"])
    growth = "unknown" if made["growth_kb"] is None else f"{made['growth_kb'] / 1024:+.2f} MiB"
    lines = [
        f"{made['subject']}: {made['answers']:,} answers in {seconds:.1f} s ({made['answers'] / seconds:,.0f} molecules/s), "
        f"{made['refused']} molecules refused as they must be",
        f"changed {made['changed']}, lost {made['lost']}, twice {made['twice']}, growth of memory {growth}, of threads {made['growth_threads']:+d}",
    ]
    return "\n".join([*lines, *(f"FAILED: {f}" for f in made["failures"]), *([] if made["failures"] else ["passed"])])
