"""What figures are drawn from: the rows of records or of a table, and the ratios of records, in one form each."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from valence.bench import measurements
from valence.bench.statistics import summary


@dataclass
class Row:
    """One system and mode: its median and quartile distance [s], and what it is plotted against."""

    file: str
    mode: str
    wall: float
    iqr: float = 0.0
    runs: int = 1
    N: int | None = None
    species: int | None = None
    edges: int | None = None
    backend: str = ""
    threads: int = 1
    dtype: str = ""
    op: str = ""
    suite: str = ""
    batch: int | None = None
    sweep: str | None = None

    @property
    def family(self) -> str:
        """The name of the system with its first number as #: rows of one line share it."""
        return re.sub(r"\d+", "#", self.file, count=1)


@dataclass
class Source:
    """All rows and ratios that were read, the machines they were measured on, and how many rows were left out."""

    rows: list[Row] = field(default_factory=list)
    ratios: list[dict] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    left_out: int = 0
    roofline: dict | None = None


def machine_of(environment: dict) -> str:
    """The machine in a line: processor, cores, vector instructions, memory, system."""
    parts = [environment.get("cpu_model") or "unknown CPU", f"{environment.get('cores') or '?'} cores"]
    features = environment.get("cpu_features") or []
    best = next((f for f in ("avx512f", "avx2", "avx") if f in features), None)
    if best:
        parts.append({"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}[best])
    if environment.get("memory_kb"):
        parts.append(f"{environment['memory_kb'] / 1024**2:.0f} GiB")
    if environment.get("gpus"):
        parts.append(", ".join(environment["gpus"]))
    return ", ".join(parts)


def of_point(point: dict, suite: str) -> Row | None:
    if point.get("status", "ok") != "ok" or not point.get("samples_s"):
        return None
    s = summary(point["samples_s"])
    # The rows of a neighbour list are its edges.
    edges = point.get("edges") or (point.get("rows") if point["op"] in ("neighbor_list", "verlet") else None)
    sweep = point.get("sweep")
    dtype = point.get("dtype", "float64")
    mode = point["backend"] + (" f32" if dtype == "float32" else "")
    return Row(
        point["workload"], mode, s["wall_median"], s["wall_iqr"], s["runs"], point.get("N"),
        point.get("species") or measurements.species_of(point["workload"]), edges, point["backend"], point["threads"],
        dtype, point["op"], suite, point.get("batch"), sweep["axis"] if isinstance(sweep, dict) else sweep,
    )  # fmt: skip


def add_record(source: Source, path: Path, tree: dict) -> None:
    machine = machine_of(tree.get("environment", {}))
    if machine not in source.machines:
        source.machines.append(machine)
    for point in tree["points"]:
        row = of_point(point, tree["name"])
        if row is None:
            source.left_out += 1
        else:
            source.rows.append(row)
    source.ratios += [{**r, "suite": tree["name"]} for r in tree.get("ratios", [])]


def number(text, kind):
    return None if text in (None, "") else kind(float(text))


def add_table(source: Source, path: Path) -> None:
    """A table of `aggregate`, or one with the old harness's columns."""
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", newline="", encoding="utf-8") as f:
        for r in csv.DictReader(f):
            wall = measurements.first(r, measurements.WALL)
            if not r.get("file") or wall is None:
                raise ValueError(
                    f"{path} must have the columns `file` and one of {list(measurements.WALL)}, got {list(r)}"
                )
            mode = r.get("mode") or r.get("backend") or ""
            source.rows.append(Row(
                r["file"], mode, measurements.seconds(wall, f"{path}: {r['file']} {mode}"), number(r.get("wall_iqr"), float) or 0.0,
                number(r.get("runs"), int) or 1, number(measurements.first(r, measurements.ATOMS), int),
                number(measurements.first(r, measurements.SPECIES), int) or measurements.species_of(r["file"]), number(r.get("edges"), int),
                r.get("backend") or mode, number(r.get("threads"), int) or 1, r.get("dtype") or "", r.get("op") or "",
                r.get("suite") or "", number(r.get("batch"), int), r.get("sweep") or None,
            ))  # fmt: skip


def read(table: Path | None, inputs: list[str]) -> Source:
    """Rows of `table`, and rows and ratios of records and of <job>.metrics.json among `inputs` (patterns)."""
    source = Source()
    if table is not None:
        if not table.is_file():
            raise FileNotFoundError(f"`table` must be a CSV table of `aggregate`, got {table}")
        add_table(source, table)
        source.files.append(str(table))
    for said in inputs:
        for name in sorted(glob.glob(said)):
            path = Path(name)
            try:
                tree = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError as e:
                raise ValueError(f"{path} must be JSON, line {e.lineno} is not") from None
            if isinstance(tree, dict) and "ceilings" in tree:
                source.roofline = tree
                machine = machine_of(tree.get("environment", {}))
                source.machines += [machine] if machine not in source.machines else []
            elif isinstance(tree, dict) and "points" in tree:
                if table is not None:
                    # The table has the times; what it lacks are ratios and the machine.
                    part = Source()
                    add_record(part, path, tree)
                    source.ratios += part.ratios
                    source.machines += [m for m in part.machines if m not in source.machines]
                    continue
                add_record(source, path, tree)
            elif isinstance(tree, dict) and ("mode" in tree or "xyz" in tree) and table is None:
                for m in measurements.read(path):
                    s = summary(m["samples"])
                    source.rows.append(
                        Row(m["file"], m["mode"], s["wall_median"], s["wall_iqr"], s["runs"], m["N"],
                            m["species"] or measurements.species_of(m["file"]), suite=m["suite"])
                    )  # fmt: skip
            else:
                continue
            source.files.append(str(path))
    return source
