"""Measurements from records of ours and from files of the old harness, in one form, for `aggregate`.

A measurement is a dict with `file`, `mode` (the backend and what sets it apart), `samples` (times [s]), `N`, `species`, `parts` (seconds of
conv_in, compute and conv_out of each sample, {} where they were not read), and where it came from (`source`, `suite`).
"""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

from valence.bench import journal

#: The names under which the old harness has a time, the number of atoms, and that of species.
WALL = ("wall_s", "wall", "time_s", "wall_time", "elapsed_s", "elapsed")
ATOMS = ("N", "n_atoms", "atoms")
SPECIES = ("species_unique", "species", "n_species")
FILE = ("file", "xyz")
WORDS = {"one_species": 1, "benzenes": 2, "three_species": 3, "four_species": 4}
#: Of a headerless table.
LEGACY = ("rep", "file", "mode", "wall_s")


def stem(name: str) -> str:
    """The name of a data file without its folder and endings."""
    return re.sub(r"\.(ext)?xyz(\.gz)?$", "", Path(name).name)


def species_of(name: str) -> int | None:
    """The number of species that the name of a file of the species sweep tells."""
    for word, count in WORDS.items():
        if re.search(rf"(^|[^A-Za-z0-9_]){word}($|[^A-Za-z0-9])", name):
            return count
    found = re.search(r"(?:^|[^A-Za-z0-9])(\d+)_species", name)
    return int(found[1]) if found else None


def first(row: dict, names: tuple[str, ...]):
    """The value under the first of some names that has one."""
    for name in names:
        if row.get(name) not in (None, ""):
            return row[name]
    return None


def whole(value) -> int | None:
    return None if value is None else int(float(value))


def seconds(value, where: str) -> float:
    """A time, which must be a positive finite number."""
    try:
        made = float(value)
    except (TypeError, ValueError):
        made = math.nan
    if not (math.isfinite(made) and made > 0):
        raise ValueError(f"{where}: the time must be positive and finite, got {value}")
    return made


def of_row(row: dict, path: Path) -> dict:
    """A row of the old harness, whatever it calls its columns."""
    name = first(row, FILE)
    if name is None:
        raise ValueError(f"{path}: a row must name its file under one of {list(FILE)}, got the columns {sorted(row)}")
    mode = first(row, ("mode", "backend"))
    if mode is None:
        raise ValueError(f"{path}: row {name} must have a `mode` or `backend`, got the columns {sorted(row)}")
    where = f"{path}: {name} {mode}"
    code = row.get("returncode")
    if code not in (None, "", 0, "0"):
        raise ValueError(f"{where}: the job must end with returncode 0, got {code}")
    samples = row.get("samples_s") or [first(row, WALL)]
    return {
        "file": stem(str(name)),
        "mode": str(mode),
        "samples": [seconds(s, where) for s in samples],
        "parts": row.get("parts") or {k: [float(row[f"{k}_s"])] for k in ("conv_in", "compute", "conv_out") if first(row, (f"{k}_s",))},
        "N": whole(first(row, ATOMS)),
        "species": whole(first(row, SPECIES)),
        "source": str(path),
        "suite": row.get("suite") or "",
        "rep": row.get("rep") or None,
        "point": row if "samples_s" in row else {},
    }  # fmt: skip


def of_point(point: dict, suite: str, path: Path) -> dict | None:
    """A row of one of our records; None where it was skipped. One that failed or is wrong is an error, as for any job."""
    mode = journal.mode(point)
    if point["status"] == "skipped":
        return None
    where = f"{path}: {point['workload']} {mode}"
    if point["status"] != "ok":
        raise ValueError(f"{where}: the row must be right, it is {point['status']}: {point['reason']}")
    return {
        "file": point["workload"],
        "mode": mode,
        "samples": [seconds(s, where) for s in point["samples_s"]],
        "parts": point.get("parts") or {},
        "N": point["N"],
        "species": point.get("species"),
        "source": str(path),
        "suite": suite,
        "rep": None,
        "point": point,
    }


def of_json(path: Path) -> list[dict]:
    try:
        tree = json.loads(path.read_text())
    except json.JSONDecodeError as e:
        raise ValueError(f"{path} must be JSON, line {e.lineno} is not") from None
    if isinstance(tree, dict) and "points" in tree:
        made = [of_point(p, tree["name"], path) for p in tree["points"]]
        return [m for m in made if m]
    if isinstance(tree, dict) and tree.get("kind"):
        return []  # a report of memory, stress or the like: no timing of a workload
    if isinstance(tree, dict):
        inner = next((tree[k] for k in ("results", "rows", "metrics", "runs") if isinstance(tree.get(k), list)), None)
        rows = inner if inner is not None else [tree]
    else:
        rows = tree
    if not (isinstance(rows, list) and all(isinstance(r, dict) for r in rows)):
        raise ValueError(f"{path} must hold rows of a run, got {type(tree).__name__}")
    return [of_row(r, path) for r in rows]


def of_csv(path: Path) -> list[dict]:
    with path.open(newline="") as f:
        table = list(csv.reader(f))
    if not table:
        return []
    known = {*WALL, *FILE, "mode", "backend"}
    if known & set(table[0]):
        return [of_row(dict(zip(table[0], row)), path) for row in table[1:] if row]
    if len(table[0]) != len(LEGACY):
        raise ValueError(f"{path} must have a header or the columns run id, file, backend, seconds, got {table[0]}")
    rows = [dict(zip(LEGACY, row)) for row in table if row]
    return [of_row(r, path) for r in rows]


def read(path: Path) -> list[dict]:
    """All measurements of a file; raises ValueError that names it where one is not right."""
    if not path.is_file():
        raise FileNotFoundError(f"`inputs` must be files, got {path}")
    return of_csv(path) if path.suffix == ".csv" else of_json(path)


def merge(rows: list[dict]) -> list[dict]:
    """Repeats of one job joined; anything else that comes twice is an error.

    Repeats are rows of one file with different `rep`, and rows of a headerless table, which has one for each run.
    """
    found: dict[tuple, dict] = {}
    for row in rows:
        at = row["suite"], row["file"], row["mode"]
        if at not in found:
            found[at] = {**row, "samples": list(row["samples"]), "reps": [row["rep"]]}
            continue
        kept = found[at]
        repeat = row["rep"] is not None and row["source"] == kept["source"] and row["rep"] not in kept["reps"]
        if not repeat:
            both = f"{kept['source']} and {row['source']}" if row["source"] != kept["source"] else row["source"]
            raise ValueError(f"{both}: file and mode must come once, got {row['file']} {row['mode']} twice")
        kept["samples"] += row["samples"]
        kept["reps"].append(row["rep"])
        kept["parts"] = {k: kept["parts"].get(k, []) + v for k, v in row["parts"].items()}
    return list(found.values())


def fill(row: dict, folders: list[Path]) -> None:
    """N and species where they are missing: from the data file, else species from the name of the file."""
    if row["N"] is not None and row["species"] is not None:
        return
    path = next((p for f in folders for end in ("xyz", "extxyz") if (p := f / f"{row['file']}.{end}").is_file()), None)
    if path is not None:
        import numpy as np

        import valence as vl

        systems = vl.read(path)
        if row["N"] is None and len(set(systems.counts.tolist())) == 1:
            row["N"] = int(systems.counts[0])
        if row["species"] is None:
            row["species"] = len(np.unique(systems.numbers))
    if row["species"] is None:
        row["species"] = species_of(row["file"])
