"""`compare --self-check`: are the records and tables of a folder right in themselves and in step with each other?"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from valence.bench import aggregate, comparison, record, report
from valence.bench.statistics import summary

#: A row's parts add up to its wall time within this part of it, or these seconds.
PARTS_RTOL, PARTS_ATOL = 0.05, 50e-6
COLUMNS = {
    "combined_from_metrics.csv": aggregate.COMBINED,
    "timings_local.csv": aggregate.TIMINGS,
    "timings_chtc.csv": [*aggregate.TIMINGS, "host"],
    "summary_local.csv": aggregate.SUMMARY,
}


def of_point(p: dict) -> list[str]:
    """What is wrong with a row."""
    found = []
    if p["status"] == "skipped":
        return [] if p.get("reason") else ["it is skipped without a reason"]
    if p["status"] != "ok":
        return [f"it is {p['status']}: {p['reason']}"]
    if p["backend_used"] != p["backend"]:
        found.append(f"`backend_used` must be {p['backend']}, got {p['backend_used']}")
    try:
        made = summary(p["samples_s"])
    except ValueError as e:
        return [*found, str(e)]
    for name, value in made.items():
        if not math.isclose(p[name], value, rel_tol=1e-9, abs_tol=1e-15):
            found.append(f"`{name}` must be that of its samples, {value:g}, got {p[name]:g}")
    if p.get("max_err") is None and p.get("checksum") is None:
        found.append("it must have been checked, there is neither max_err nor a checksum")
    parts = p.get("parts") or {}
    for k, wall in enumerate(p["samples_s"]):
        total = sum(v[k] for v in parts.values())
        if parts and abs(total - wall) > max(PARTS_ATOL, PARTS_RTOL * wall):
            found.append(f"the parts of sample {k} must add up to {wall:g} s, got {total:g}")
            break
    return found


def of_record(path: Path) -> list[str]:
    """What is wrong with a record: its rows, its tables, and its comparison with itself."""
    made = record.read_json(path)
    found = [
        f"{path}: {p['workload']} {p['backend']} {p['dtype']} {p['threads']}t: {what}"
        for p in made["points"]
        for what in of_point(p)
    ]
    to = report.places(path)
    for name, text in (
        ("points", report.csv_text(report.point_rows(made), report.POINT_COLUMNS)),
        ("ratios", report.csv_text(made["ratios"], report.RATIO_COLUMNS)),
    ):
        if not to[name].is_file():
            found.append(f"{to[name]} must be there, as {path} is")
        elif to[name].read_text() != text:
            found.append(f"{to[name]} must be the table of {path}, it is another")
    side = comparison.of_record(made)
    if side.ratios:
        worse = [r for r in comparison.compare_sides(side, side) if r["regression"] or r.get("change", 1.0) != 1.0]
        found += [f"{path}: {r['workload']} must not differ from itself" for r in worse]
    return found


def of_table(path: Path) -> list[str]:
    """What is wrong with one of the tables of `aggregate`."""
    with path.open(newline="") as f:
        table = list(csv.DictReader(f))
        f.seek(0)
        head = next(csv.reader(f), [])
    want = COLUMNS[path.name]
    if head[: len(want)] != want:
        return [f"{path} must begin with the columns {want}, got {head[: len(want)]}"]
    found, seen = [], set()
    for k, row in enumerate(table, 2):
        at = tuple(row.get(c, "") for c in ("suite", "file", "mode", "rep"))
        if at in seen:
            found.append(f"{path}: line {k}: {row['file']} {row['mode']} comes twice")
        seen.add(at)
        for column in ("wall_s", "wall_mean"):
            value = float(row.get(column) or 1.0)
            if not (math.isfinite(value) and value > 0):
                found.append(f"{path}: line {k}: `{column}` must be positive and finite, got {row[column]}")
        if row.get("compute_s") and float(row["compute_s"]) > float(row["wall_s"]) * (1 + 1e-8):
            found.append(f"{path}: line {k}: `compute_s` must be at most `wall_s`")
    return found


def check(folder: Path) -> tuple[list[str], int]:
    """(what is wrong, how many files were looked at)."""
    if not folder.is_dir():
        raise FileNotFoundError(f"`self-check` must be a folder of results, got {folder}")
    found, files = [], 0
    for path in sorted((folder / "metrics").glob("*.json")):
        if "points" in json.loads(path.read_text()):
            found += of_record(path)
            files += 1
    for name in COLUMNS:
        if (folder / "tables" / name).is_file():
            found += of_table(folder / "tables" / name)
            files += 1
    if not files:
        raise ValueError(f"`self-check` must have records in metrics/ or tables in tables/, got none in {folder}")
    return found, files


def main(folder: Path) -> int:
    found, files = check(folder)
    for line in found:
        print(line)
    print(f"{folder}: {files} files, {len(found)} faults")
    return int(bool(found))
