"""Suites and presets as data: YAML files that say what is run, checked key by key.

A workload may have a `sweep`: for each axis the values along it, `{path of a key: list of values}`; several paths go together.
`size: [64, 512]` is short for `size: {data.atoms: [64, 512]}`. Each value makes a workload of its own, called `<name>-<axis><value>`
unless `name` is one of the paths; `threads` and `backend` make one of all their values.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from valence.bench import data, oracle

PRESETS = Path(__file__).parent / "presets"
SUITE_KEYS = {"name", "title", "workloads", "relations", "backends", "threads", "batch", "repeats", "warmup", "rounds",
              "dtype", "tolerance", "device", "passes", "isolate", "sweeps", "note"}  # fmt: skip
WORKLOAD_KEYS = {"name", "room", "op", "data", "params", "backends", "threads", "repeats", "warmup", "rounds", "dtype",
                 "tolerance", "targets", "isolate", "check_rows", "unit", "batch", "sweep"}  # fmt: skip
RELATION_KEYS = {"name", "slow", "fast", "per_item", "of", "memory", "seconds", "at_least", "at_most"}
DEFAULTS = {"backends": ["numpy", "cpu"], "threads": [1], "repeats": 1, "warmup": 2, "rounds": 7, "dtype": ["float64"],
            "tolerance": {}, "isolate": False, "batch": None}  # fmt: skip
#: Axes of the sweeps, and the key that a plain list of values is about.
AXES = {"species": "data.species", "size": "data.atoms", "threads": "threads", "batch": "batch", "backend": "backends",
        "lmax": "params.lmax", "nmax": "params.nmax"}  # fmt: skip
#: Axes whose values are rows of one workload.
ROWS = ("threads", "backend")
TOLERANCE = {"float64": {"rtol": 1e-6, "atol": 1e-8}, "float32": {"rtol": 1e-4, "atol": 1e-5}}


@dataclass
class Workload:
    name: str
    room: str
    op: str
    data: dict
    params: dict
    backends: list[str]
    threads: list[int]
    dtype: list[str]
    repeats: int
    warmup: int
    rounds: int
    tolerance: dict
    targets: dict = field(default_factory=dict)
    isolate: bool = False
    check_rows: int | None = None
    unit: str = "atom"
    batch: int | None = None
    swept: dict | None = None  # {axis, value} of a workload that a sweep has made

    def tolerance_of(self, dtype: str, backend: str = "") -> dict:
        """rtol and atol: those of the dtype, then the workload's, then what it says of this dtype, then of this backend."""
        common = {k: v for k, v in self.tolerance.items() if not isinstance(v, dict)}
        return {**TOLERANCE[dtype], **common, **self.tolerance.get(dtype, {}), **self.tolerance.get(backend, {})}


@dataclass
class Suite:
    name: str
    title: str
    workloads: list[Workload]
    relations: list[dict]
    device: str = "cpu"
    passes: int = 1
    note: str | None = None
    preset: str | None = None  # the file's own name, where a sweep alone is run


def one_of(name, value, known):
    if value not in known:
        raise ValueError(f"`{name}` must be one of {sorted(known)}, got {value}")
    return value


def suites_folders() -> list[Path]:
    """Where named suites are looked for: the presets of the package, then ./benchmarks/suites."""
    return [PRESETS, Path("benchmarks/suites")]


def known() -> dict[str, Path]:
    return {p.stem: p for folder in reversed(suites_folders()) for p in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a suite by its name."""
    return known()[one_of("preset", name, known())]


def load(path, sweep: str | None = None) -> Suite:
    """Read and check a suite; with `sweep` the workloads of that sweep alone. Unknown keys, operations, data kinds and dtypes
    are errors that list the known ones."""
    try:
        import yaml
    except ImportError:
        raise ImportError("suites are YAML files: install `pyyaml` (the extra `bench` has it)") from None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`config` must be a YAML file, got {path}")
    tree = yaml.safe_load(path.read_text())
    if not isinstance(tree, dict):
        raise ValueError(f"`config` must be a YAML file of keys and values, got {path}")
    return parse(tree, path.stem, sweep)


def place(entry: dict, path: str, value) -> None:
    """Set the key at `data.atoms` or the like."""
    *folders, last = path.split(".")
    for key in folders:
        entry = entry.setdefault(key, {})
    entry[last] = value


def expand(entry: dict, axis: str) -> list[dict]:
    """The workloads that a sweep makes of one."""
    title, said = entry["name"], entry["sweep"][axis]
    values = said if isinstance(said, dict) else {AXES[axis]: said}
    if axis in ROWS:
        values = {k: [v] for k, v in values.items()}
    if any(not isinstance(v, list) for v in values.values()) or len({len(v) for v in values.values()}) != 1:
        raise ValueError(f"sweep {axis} of workload {title} must have lists of one length, got {said}")
    made = []
    for k, value in enumerate(next(iter(values.values()))):
        one = copy.deepcopy({key: v for key, v in entry.items() if key != "sweep"})
        if axis in ROWS:
            one["name"] = f"{title}-{axis}"
        else:
            one["name"], one["swept"] = f"{title}-{axis}{value}", {"axis": axis, "value": value}
        for path, each in values.items():
            place(one, path, each[k])
        if axis in ROWS:
            one["swept"] = {"axis": axis, "value": None}
        elif AXES[axis] in values:
            one["swept"]["value"] = values[AXES[axis]][k]
        made.append(one)
    return made


def workload(entry: dict, common: dict) -> Workload:
    """Check the keys and values of one workload."""
    title = entry.get("name", "?")
    for key in ("name", "op", "data"):
        if key not in entry:
            raise ValueError(f"workload {title} must have the key `{key}`, got {sorted(entry)}")
    one_of(f"op of workload {title}", entry["op"], oracle.OPERATIONS)
    one_of(f"data kind of workload {title}", entry["data"].get("kind"), data.GENERATORS)
    fields = {"room": "", "params": {}, **common, **entry}
    for key in ("threads", "dtype", "backends"):
        fields[key] = fields[key] if isinstance(fields[key], list) else [fields[key]]
    for dtype in fields["dtype"]:
        one_of(f"dtype of workload {title}", dtype, TOLERANCE)
    counts: list[tuple[str, int]] = [("repeats", 1), ("rounds", 1), ("warmup", 0)]
    for key, least in counts + ([("batch", 1)] if fields["batch"] is not None else []):
        if not (isinstance(fields[key], int) and fields[key] >= least):
            raise ValueError(f"`{key}` must be a whole number of at least {least}, got {fields[key]}")
    return Workload(**fields)


def parse(tree: dict, name: str, sweep: str | None = None) -> Suite:
    if sweep is not None:
        one_of("sweep", sweep, AXES)
    for key in tree:
        one_of(f"key of suite {name}", key, SUITE_KEYS)
    common = {**DEFAULTS, **{k: tree[k] for k in DEFAULTS if k in tree}}
    sweeps = tree.get("sweeps") or []
    for axis in sweeps:
        one_of(f"sweep of suite {name}", axis, AXES)
    workloads, chosen = [], []
    for entry in tree.get("workloads") or []:
        for key in entry:
            one_of(f"key of workload {entry.get('name', '?')}", key, WORKLOAD_KEYS)
        base = {k: v for k, v in entry.items() if k != "sweep"}
        plain = workload(base, common)
        workloads.append(plain)
        if sweep is None:
            chosen.append(plain)
        for axis in entry.get("sweep") or {}:
            one_of(f"sweep of workload {entry['name']}", axis, AXES)
            made = [workload(e, common) for e in expand(entry, axis)]
            if sweep is None:  # a value that bears the name of the workload itself is the workload
                for own in (w for w in made if w.name == entry["name"] and axis in sweeps):
                    plain.swept = own.swept
                made = [w for w in made if w.name != entry["name"]]
            if axis == sweep or (sweep is None and axis in sweeps):
                chosen += made
            workloads += made
    if sweep is not None and not chosen:
        raise ValueError(f"`sweep` must be one that suite {name} has, got {sweep}")
    names = [w.name for w in chosen]
    for a, b in itertools.pairwise(sorted(names)):
        if a == b:
            raise ValueError(f"workload names must differ, got {a} twice")
    known = {w.name for w in workloads}
    relations = []
    for r in tree.get("relations") or []:
        for key in r:
            one_of(f"key of relation {r.get('name', '?')}", key, RELATION_KEYS)
        ends = [r[end]["workload"] for end in ("slow", "fast", "memory", "seconds") if end in r]
        for end in ends:
            one_of(f"workload of relation {r.get('name', '?')}", end, known)
        if set(ends) <= set(names):
            relations.append(r)
    device = one_of(f"device of suite {name}", tree.get("device", "cpu"), ("cpu", "cuda"))
    passes = tree.get("passes", 1)
    if not (isinstance(passes, int) and passes >= 1):
        raise ValueError(f"`passes` must be a whole number of at least 1, got {passes}")
    own = tree.get("name", name)
    called = own if sweep is None else sweep if own == "cpu" else f"{own}_{sweep}"
    return Suite(called, tree.get("title", ""), chosen, relations, device, passes, tree.get("note"), own)
