"""Records of a run: one JSON file, written whole or not at all, and the ratios drawn from its samples."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from valence.bench.statistics import bootstrap_ratio

SCHEMA = 1
BASE = "cpu"  # the backend whose speed the ratios are about


def write_text(path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path, raw: bytes) -> None:
    """Write a file under a temporary name beside it and rename: a reader or an interruption never sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(raw)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path, tree) -> None:
    write_text(path, json.dumps(tree, indent=1, allow_nan=False) + "\n")


def read_json(path) -> dict:
    try:
        tree = json.loads(Path(path).read_text())
    except json.JSONDecodeError as e:
        raise ValueError(f"{path} must be a JSON record of a run, line {e.lineno} is not JSON") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise ValueError(f"{path} must be a record of schema {SCHEMA}")
    return tree


def key(workload: str, backend: str, dtype: str, threads: int) -> str:
    """The name of a point; the same in every run of a suite."""
    return f"{workload}|{backend}|{dtype}|{threads}"


def select(points: dict, end: dict) -> dict | None:
    """The first point that agrees with {workload, backend, dtype, threads}, as far as those are given."""
    for p in points.values():
        if all(p[k] == v for k, v in end.items()):
            return p
    return None


def limits(ratio: dict, at_least, at_most) -> dict:
    """Whether a ratio reaches its target: None where there is none."""
    reached = None
    if at_least is not None or at_most is not None:
        reached = (at_least is None or ratio["ratio"] >= at_least) and (at_most is None or ratio["ratio"] <= at_most)
    return {**ratio, "at_least": at_least, "at_most": at_most, "reached": reached}


def ratios(points: dict, targets: dict, relations: list[dict]) -> list[dict]:
    """Speed-ups of our backend over every other of its group, then the suite's own relations; right points alone."""
    rows = []
    for p in points.values():
        if p["backend"] == BASE or p["status"] != "ok":
            continue
        ours = points.get(key(p["workload"], BASE, p["dtype"], p["threads"]))
        if ours is None or ours["status"] != "ok":
            continue
        name = f"{p['workload']}: {BASE} over {p['backend']}"
        r = bootstrap_ratio(p["samples_s"], ours["samples_s"], passes=(p.get("passes"), ours.get("passes")))
        rows.append({
            "name": name, "workload": p["workload"], "dtype": p["dtype"], "threads": p["threads"],
            "slow": p["backend"], "fast": BASE, "kind": "time",
            **limits(r, targets.get(p["workload"], {}).get(p["backend"]), None),
        })  # fmt: skip
    for relation in relations:
        rows += relate(points, relation)
    return rows


def relate(points: dict, relation: dict) -> list[dict]:
    """One row for a relation of the suite, none where one of its ends has not run rightly."""
    bounds = relation.get("at_least"), relation.get("at_most")
    common = {"name": relation["name"]}
    if "memory" in relation:
        p = select(points, relation["memory"])
        if p is None or p["status"] != "ok" or p.get("call_rss_kb") is None:
            return []
        value = 1024 * p["call_rss_kb"] / p["output_bytes"]
        r = {"ratio": value, "low": value, "high": value}
        ends = {"slow": "peak memory of the call", "fast": "bytes of the output", "kind": "memory"}
        return [{**common, **{k: p[k] for k in ("workload", "dtype", "threads")}, **ends, **limits(r, *bounds)}]
    if "seconds" in relation:
        p = select(points, relation["seconds"])
        if p is None or p["status"] != "ok":
            return []
        r = bootstrap_ratio(p["samples_s"], [1.0])
        ends = {"slow": f"{p['workload']} {p['backend']} {p['threads']}t", "fast": "one second", "kind": "time"}
        return [{**common, **{k: p[k] for k in ("workload", "dtype", "threads")}, **ends, **limits(r, *bounds)}]
    slow, fast = select(points, relation["slow"]), select(points, relation["fast"])
    if slow is None or fast is None or slow["status"] != "ok" or fast["status"] != "ok":
        return []
    scale = fast["N"] / slow["N"] if relation.get("per_item") else 1.0
    kind = relation.get("of", "time")
    if kind == "memory":
        if not (slow.get("call_rss_kb") and fast.get("call_rss_kb")):
            return []
        r = dict.fromkeys(("ratio", "low", "high"), scale * slow["call_rss_kb"] / fast["call_rss_kb"])
    else:
        passes = slow.get("passes"), fast.get("passes")
        r = {k: v * scale for k, v in bootstrap_ratio(slow["samples_s"], fast["samples_s"], passes=passes).items()}
    ends = {e: f"{p['workload']} {p['backend']} {p['threads']}t" for e, p in (("slow", slow), ("fast", fast))}
    return [{**common, **{k: fast[k] for k in ("workload", "dtype", "threads")}, **ends, "kind": kind,
             **limits(r, *bounds)}]  # fmt: skip
