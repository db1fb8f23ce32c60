"""Suites as data: YAML files that say what is run, checked key by key."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from valence.bench import data, oracle

PRESETS = Path(__file__).parent / "presets"
SUITE_KEYS = {"name", "title", "workloads", "relations", "backends", "threads", "batch", "repeats", "warmup", "rounds",
              "dtype", "tolerance", "device"}  # fmt: skip
WORKLOAD_KEYS = {"name", "room", "op", "data", "params", "backends", "threads", "repeats", "warmup", "rounds", "dtype",
                 "tolerance", "targets", "isolate", "check_rows", "unit"}  # fmt: skip
RELATION_KEYS = {"name", "slow", "fast", "per_item", "of", "memory", "seconds", "at_least", "at_most"}
DEFAULTS = {"backends": ["numpy", "cpu"], "threads": [1], "repeats": 1, "warmup": 2, "rounds": 7, "dtype": ["float64"],
            "tolerance": {}}  # fmt: skip
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


def load(path) -> Suite:
    """Read and check a suite. Unknown keys, operations, data kinds and dtypes are errors that list the known ones."""
    try:
        import yaml
    except ImportError:
        raise ImportError("suites are YAML files: install `pyyaml` (the extra `bench` has it)") from None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`config` must be a YAML file, got {path}")
    return parse(yaml.safe_load(path.read_text()), path.stem)


def parse(tree: dict, name: str) -> Suite:
    for key in tree:
        one_of(f"key of suite {name}", key, SUITE_KEYS)
    common = {**DEFAULTS, **{k: tree[k] for k in DEFAULTS if k in tree}}
    workloads = []
    for w in tree.get("workloads") or []:
        title = w.get("name", "?")
        for key in w:
            one_of(f"key of workload {title}", key, WORKLOAD_KEYS)
        for key in ("name", "op", "data"):
            if key not in w:
                raise ValueError(f"workload {title} must have the key `{key}`, got {sorted(w)}")
        one_of(f"op of workload {title}", w["op"], oracle.OPERATIONS)
        one_of(f"data kind of workload {title}", w["data"].get("kind"), data.GENERATORS)
        fields = {"room": "", "params": {}, **common, **w}
        for key in ("threads", "dtype", "backends"):
            fields[key] = fields[key] if isinstance(fields[key], list) else [fields[key]]
        for dtype in fields["dtype"]:
            one_of(f"dtype of workload {title}", dtype, TOLERANCE)
        for key, least in (("repeats", 1), ("rounds", 1), ("warmup", 0)):
            if not (isinstance(fields[key], int) and fields[key] >= least):
                raise ValueError(f"`{key}` must be a whole number of at least {least}, got {fields[key]}")
        workloads.append(Workload(**fields))
    names = [w.name for w in workloads]
    for a, b in itertools.pairwise(sorted(names)):
        if a == b:
            raise ValueError(f"workload names must differ, got {a} twice")
    for r in tree.get("relations") or []:
        for key in r:
            one_of(f"key of relation {r.get('name', '?')}", key, RELATION_KEYS)
        for end in ("slow", "fast", "memory", "seconds"):
            if end in r:
                one_of(f"workload of relation {r.get('name', '?')}", r[end]["workload"], names)
    device = one_of(f"device of suite {name}", tree.get("device", "cpu"), ("cpu", "cuda"))
    return Suite(tree.get("name", name), tree.get("title", ""), workloads, tree.get("relations") or [], device)
