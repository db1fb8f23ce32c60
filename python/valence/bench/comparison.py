"""Compare two runs by their ratios: seconds of two machines or days are not comparable, speed-ups over a peer are."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from valence.bench.record import BASE, read_json
from valence.bench.statistics import bootstrap_ratio, change_of

HELP = "ratios of two records or tables; exit code 1 where B lost ground"
#: Columns by which a table is known, and the reader of each.
KINDS = "a record (.json), <suite>.csv, <suite>_ratios.csv or timings_*.csv"


def add_arguments(p) -> None:
    p.add_argument("a", type=Path, nargs="?", help=f"the run before: {KINDS}")
    p.add_argument("b", type=Path, nargs="?", help="the run after, of any of these kinds")
    p.add_argument(
        "--fail-above", type=float, default=1.10, help="a regression has its whole interval above (default %(default)s)"
    )
    p.add_argument("--base", default=BASE, help="the backend whose speed it is about (default %(default)s)")
    p.add_argument(
        "--absolute", action="store_true", help="times of B over those of A, for two runs of one quiet machine"
    )
    p.add_argument(
        "--self-check",
        nargs="?",
        type=Path,
        const=Path("results"),
        metavar="RESULTS",
        help="check records and tables of a folder in themselves instead (default results)",
    )


def main(a) -> int:
    if a.self_check is not None:
        from valence.bench import validation

        if a.a or a.b:
            raise ValueError(f"`compare` must have two files or --self-check, got {a.a or a.b} beside it")
        return validation.main(a.self_check)
    if a.a is None or a.b is None:
        raise ValueError("`compare` must have two files, A and B, or --self-check, got fewer")
    sides = read(a.a, a.base), read(a.b, a.base)
    rows = (compare_times if a.absolute else compare_sides)(*sides, fail_above=a.fail_above, base=a.base)
    print(text(rows))
    worse = sum(r["regression"] for r in rows)
    print(f"{len(rows)} compared, {worse} worse by more than {a.fail_above:g}")
    return int(worse > 0)


@dataclass
class Side:
    """What one of the two says: a group is (workload, dtype, threads)."""

    ours: dict[tuple, str] = field(default_factory=dict)  # group to the status of our row
    ratios: dict[tuple, dict] = field(default_factory=dict)  # (*group, peer) to ratio, low, high
    samples: dict[tuple, list[float]] = field(default_factory=dict)  # (*group, backend) to times [s]
    absent: dict[tuple, str] = field(
        default_factory=dict
    )  # (*group, backend) to the status where there is no right result
    is_whole: bool = True  # whether it has our rows without a peer too


def read(path: Path, base: str = BASE) -> Side:
    """A record, or a table known by its columns."""
    if path.suffix == ".json":
        return of_record(read_json(path), base)
    with path.open(newline="") as f:
        rows = list(csv.DictReader(f))
    columns = set(rows[0]) if rows else set()
    if {"workload", "slow", "fast", "kind", "ratio", "low", "high"} <= columns:
        return of_ratios(rows, base)
    if {"workload", "backend", "ratio", "ratio_low", "ratio_high"} <= columns:
        return of_points(rows, base)
    if {"file", "mode", "rep", "wall_s"} <= columns:
        return of_timings(rows, base)
    raise ValueError(f"{path} must be {KINDS}, got the columns {sorted(columns)}")


def of_record(made: dict, base: str = BASE) -> Side:
    side, rows = Side(), {}
    for p in made["points"]:
        group = p["workload"], p["dtype"], p["threads"]
        rows[*group, p["backend"]] = p
        if p["backend"] == base:
            side.ours[group] = p["status"]
        if p["status"] == "ok":
            side.samples[*group, p["backend"]] = p["samples_s"]
        else:
            side.absent[*group, p["backend"]] = p["status"]
    for at, p in rows.items():
        ours = rows.get((*at[:3], base))
        if at[3] != base and p["status"] == "ok" and ours and ours["status"] == "ok":
            passes = p.get("passes"), ours.get("passes")
            side.ratios[at] = bootstrap_ratio(p["samples_s"], ours["samples_s"], passes=passes)
    return side


def number(row: dict, column: str) -> float:
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"`{column}` must be a number, got {row[column]!r}") from None


def of_ratios(rows: list[dict], base: str) -> Side:
    side = Side(is_whole=False)
    for r in rows:
        if r["kind"] == "time" and r["fast"] == base:
            group = r["workload"], r["dtype"], int(r["threads"])
            side.ours[group] = "ok"
            side.ratios[*group, r["slow"]] = {k: number(r, k) for k in ("ratio", "low", "high")}
    return side


def of_points(rows: list[dict], base: str) -> Side:
    side = Side()
    for r in rows:
        group = r["workload"], r["dtype"], int(r["threads"])
        if r["backend"] == base:
            side.ours[group] = r["status"]
        elif r["ratio"]:
            names = (("ratio", "ratio"), ("low", "ratio_low"), ("high", "ratio_high"))
            side.ratios[*group, r["backend"]] = {k: number(r, c) for k, c in names}
    return side


def of_timings(rows: list[dict], base: str) -> Side:
    """Raw times; the backend of a mode is what stands before its dtype and threads."""
    side = Side()
    for r in rows:
        dtype = "float32" if "-float32" in r["mode"] else "float64"
        backend = r["mode"].replace("-float32", "")
        head, _, last = backend.rpartition("-")
        threads = 1
        if head and last.endswith("t") and last[:-1].isdigit():
            backend, threads = head, int(last[:-1])
        side.samples.setdefault((r["file"], dtype, threads, backend), []).append(number(r, "wall_s"))
    for at, samples in side.samples.items():
        group = at[:3]
        if at[3] == base:
            side.ours[group] = "ok"
        elif (*group, base) in side.samples:
            side.ratios[at] = bootstrap_ratio(samples, side.samples[*group, base])
    return side


def compare(a: dict, b: dict, *, fail_above: float = 1.10, base: str = BASE) -> list[dict]:
    """:func:`compare_sides` of two records."""
    return compare_sides(of_record(a, base), of_record(b, base), fail_above=fail_above, base=base)


def check_limit(fail_above: float) -> None:
    if not fail_above > 0:
        raise ValueError(f"`fail_above` must be positive, got {fail_above}")


def compare_sides(a: Side, b: Side, *, fail_above: float = 1.10, base: str = BASE) -> list[dict]:
    """Rows of every group that ran in A: the change (peer / ours in A) / (peer / ours in B) with its 95% interval.

    Above 1, B lost ground. `regression` is True where the whole interval lies above `fail_above`, or where a point that
    was right in A is missing, failed or wrong in B.

    Raises ValueError where A and B have no ratio in common.
    """
    check_limit(fail_above)
    rows = []
    for group, status in a.ours.items():
        if status != "ok":
            continue
        common = dict(zip(("workload", "dtype", "threads"), group))
        if not b.is_whole and not any(at[:3] == group for at in a.ratios):
            continue
        was = b.ours.get(group, "missing")
        if was != "ok":
            rows.append({**common, "against": base, "regression": True, "note": f"{base} is {was} in B"})
            continue
        for at, ratio in a.ratios.items():
            if at[:3] != group:
                continue
            if at not in b.ratios:
                # A peer that is not there says nothing about us.
                rows.append({**common, "against": at[3], "regression": False, "note": "peer absent in B"})
                continue
            change = change_of(ratio, b.ratios[at])
            rows.append({**common, "against": at[3], **change, "regression": change["low"] > fail_above, "note": ""})
    if not any("change" in r or r["regression"] for r in rows):
        raise ValueError(
            f"A must hold a right point of {base} and one to compare it with in each of two records, got none "
            "(--absolute compares times)"
        )
    return rows


def compare_times(a: Side, b: Side, *, fail_above: float = 1.10, base: str = BASE) -> list[dict]:
    """Rows of every point of A: median time in B over that in A, with its bootstrap 95% interval.

    Raises ValueError where A and B have no samples of one point in common.
    """
    check_limit(fail_above)
    rows = []
    for at, samples in a.samples.items():
        common = {**dict(zip(("workload", "dtype", "threads"), at)), "against": f"{at[3]} in A"}
        if at not in b.samples:
            was = b.absent.get(at, "missing")
            rows.append({**common, "regression": was != "skipped", "note": f"{at[3]} is {was} in B"})
            continue
        r = bootstrap_ratio(b.samples[at], samples)
        change = {"change": r["ratio"], "low": r["low"], "high": r["high"]}
        rows.append({**common, **change, "regression": r["low"] > fail_above, "note": ""})
    if not any("change" in r for r in rows):
        raise ValueError("A and B must hold samples of one point in common, got none")
    return rows


def text(rows: list[dict]) -> str:
    lines = []
    for r in rows:
        number = f"{r['change']:6.3f} [{r['low']:.3f}, {r['high']:.3f}]" if "change" in r else ""
        mark = "REGRESSION" if r["regression"] else ""
        left = f"{r['workload']:<24} {r['dtype']:<8} {r['threads']}t against {r['against']:<17}"
        lines.append(f"{left} {number} {mark} {r['note']}".rstrip())
    return "\n".join(lines)
