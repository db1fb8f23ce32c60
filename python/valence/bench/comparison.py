"""Compare two records by their ratios: seconds of two machines or days are not comparable, speed-ups over a peer are."""

from __future__ import annotations

from pathlib import Path

from valence.bench.record import BASE, key, read_json
from valence.bench.statistics import bootstrap_change

HELP = "ratios of two records; exit code 1 where B lost ground"


def add_arguments(p) -> None:
    p.add_argument("a", type=Path)
    p.add_argument("b", type=Path)
    p.add_argument("--fail-above", type=float, default=1.10)


def main(a) -> int:
    rows = compare(read_json(a.a), read_json(a.b), fail_above=a.fail_above)
    print(text(rows))
    return int(any(r["regression"] for r in rows))


def by_key(made: dict) -> dict[str, dict]:
    return {key(p["workload"], p["backend"], p["dtype"], p["threads"]): p for p in made["points"]}


def compare(a: dict, b: dict, *, fail_above: float = 1.10, base: str = BASE) -> list[dict]:
    """Rows of every group that ran in A: the change (peer / ours in A) / (peer / ours in B) with its 95% interval.

    Above 1, B lost ground. `regression` is True where the whole interval lies above `fail_above`, or where a point that
    was right in A is missing, failed or wrong in B.

    Raises ValueError where A has no ratio to compare.
    """
    if not fail_above > 0:
        raise ValueError(f"`fail_above` must be positive, got {fail_above}")
    old, new = by_key(a), by_key(b)
    rows = []
    for name, ours in old.items():
        if ours["backend"] != base or ours["status"] != "ok":
            continue
        common = {k: ours[k] for k in ("workload", "dtype", "threads")}
        if new.get(name, {}).get("status") != "ok":
            was = new[name]["status"] if name in new else "missing"
            rows.append({**common, "against": base, "regression": True, "note": f"{base} is {was} in B"})
            continue
        for other, peer in old.items():
            if other == name or any(peer[k] != v for k, v in common.items()) or peer["status"] != "ok":
                continue
            if new.get(other, {}).get("status") != "ok":
                # A peer that is not there says nothing about us.
                rows.append({**common, "against": peer["backend"], "regression": False, "note": "peer absent in B"})
                continue
            change = bootstrap_change(
                peer["samples_s"], ours["samples_s"], new[other]["samples_s"], new[name]["samples_s"]
            )
            rows.append(
                {**common, "against": peer["backend"], **change, "regression": change["low"] > fail_above, "note": ""}
            )
    if not any("change" in r or r["regression"] for r in rows):
        raise ValueError(
            f"A must hold a right point of {base} and one to compare it with in each of two records, got none"
        )
    return rows


def text(rows: list[dict]) -> str:
    lines = []
    for r in rows:
        number = f"{r['change']:6.3f} [{r['low']:.3f}, {r['high']:.3f}]" if "change" in r else ""
        mark = "REGRESSION" if r["regression"] else ""
        left = f"{r['workload']:<24} {r['dtype']:<8} {r['threads']}t against {r['against']:<17}"
        lines.append(f"{left} {number} {mark} {r['note']}".rstrip())
    return "\n".join(lines)
