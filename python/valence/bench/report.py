"""Tables and the figure of a record."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from valence.bench.record import BASE, write_text

POINT_COLUMNS = [
    "workload", "room", "op", "backend", "backend_used", "version", "dtype", "threads", "batch", "N", "rows", "runs", "inner",
    "wall_median", "wall_iqr", "wall_min", "wall_mean", "wall_std", "cpu_mean", "per_item_ns", "ratio", "ratio_low",
    "ratio_high", "max_rss_kb", "call_rss_kb", "output_bytes", "checksum", "checksum_sq", "max_err", "startup_s", "status",
    "reason", "edges", "per_edge_ns", "species", "lmax", "nmax", "sweep", "alloc_bytes", "conv_in_s", "compute_s", "conv_out_s",
    "stages",
]  # fmt: skip
RATIO_COLUMNS = ["name", "workload", "dtype", "threads", "slow", "fast", "kind", "ratio", "low", "high", "at_least",
                 "at_most", "reached"]  # fmt: skip


def places(path) -> dict[str, Path]:
    """Where the files of a record go: beside results/metrics/<name>.json the folders tables and figures, else its own."""
    path = Path(path)
    root = path.parent.parent if path.parent.name == "metrics" else None
    return {
        "points": (root / "tables" if root else path.parent) / f"{path.stem}.csv",
        "ratios": (root / "tables" if root else path.parent) / f"{path.stem}_ratios.csv",
        "figure": (root / "figures" if root else path.parent) / f"{path.stem}.png",
    }


def csv_text(rows: list[dict], columns: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(c) for c in columns)
        writer.writerow(["" if v is None else f"{v:.9g}" if isinstance(v, float) else v for v in values])
    return out.getvalue()


def point_rows(record: dict) -> list[dict]:
    """One row a point; `ratio` is its median over that of our backend in the same group (the speed-up of ours)."""
    speed = {(r["workload"], r["dtype"], r["threads"], r["slow"]): r for r in record["ratios"] if r["fast"] == BASE}
    rows = []
    for p in record["points"]:
        row = dict(p)
        if p.get("checksum"):
            row["checksum"], row["checksum_sq"] = p["checksum"]
        if p.get("wall_median") and p.get("N"):
            row["per_item_ns"] = 1e9 * p["wall_median"] / p["N"]
        if p.get("wall_median") and p.get("edges"):
            row["per_edge_ns"] = 1e9 * p["wall_median"] / p["edges"]
        row["sweep"] = p["sweep"]["axis"] if p.get("sweep") else None
        for part, seconds in (p.get("parts") or {}).items():
            row[f"{part}_s"] = float(np.median(seconds))
        stages = {k: float(np.median(v)) for k, v in (p.get("stages") or {}).items()}
        row["stages"] = " ".join(f"{k}={v:.6g}" for k, v in stages.items()) or None
        r = speed.get((p["workload"], p["dtype"], p["threads"], p["backend"]))
        if r:
            row["ratio"], row["ratio_low"], row["ratio_high"] = r["ratio"], r["low"], r["high"]
        rows.append(row)
    return rows


def write_tables(record: dict, path) -> list[Path]:
    to = places(path)
    write_text(to["points"], csv_text(point_rows(record), POINT_COLUMNS))
    write_text(to["ratios"], csv_text(record["ratios"], RATIO_COLUMNS))
    return [to["points"], to["ratios"]]


def figure(record: dict):
    """Speed-ups as bars on a logarithmic axis, with their 95% intervals and targets. None where there is nothing to draw."""
    rows = [r for r in record["ratios"] if r["kind"] == "time"]
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.26 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels = [f"{r['name']} ({r['dtype']}, {r['threads']}t)" for r in rows]
    values = [r["ratio"] for r in rows]
    spread = [[r["ratio"] - r["low"] for r in rows], [r["high"] - r["ratio"] for r in rows]]
    spread = [[max(0.0, v) for v in side] for side in spread]
    places_ = range(len(rows))
    colours = ["tab:red" if r["reached"] is False else "tab:blue" for r in rows]
    axes.barh(places_, values, xerr=spread, color=colours, error_kw={"lw": 0.8})
    for y, r in zip(places_, rows, strict=True):
        for limit in (r["at_least"], r["at_most"]):
            if limit is not None:
                axes.plot([limit, limit], [y - 0.45, y + 0.45], color="black", lw=1.5)
    axes.axvline(1.0, color="grey", lw=0.8)
    axes.set_xscale("log")
    axes.set_yticks(list(places_), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("slower over faster (black: target, red: not reached, lines: 95 % interval)")
    cpu = record["environment"].get("cpu_model") or "unknown CPU"
    axes.set_title(f"{record['name']}: {cpu}", fontsize=9)
    return figure


def write_figure(record: dict, path) -> Path | None:
    """The figure at its place; None where there is nothing to draw."""
    made = figure(record)
    if made is None:
        return None
    to = places(path)["figure"]
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}")
    made.savefig(temporary, dpi=160, format="png")
    temporary.replace(to)
    return to


def text(record: dict) -> str:
    """The short form for a terminal."""
    lines = []
    for r in point_rows(record):
        time = f"{1e3 * r['wall_median']:11.4f} ms" if r.get("wall_median") else " " * 14
        ratio = f"{r['ratio']:8.2f}x" if r.get("ratio") else " " * 9
        note = r["status"] if r["status"] == "ok" else f"{r['status']}: {r['reason']}"
        lines.append(f"{r['workload']:<24} {r['backend']:<17} {r['dtype']:<8} {r['threads']}t {time} {ratio}  {note}")
    for r in record["ratios"]:
        if r["reached"] is not None:
            want = f">= {r['at_least']:g}" if r["at_least"] is not None else f"<= {r['at_most']:g}"
            if r["at_least"] is not None and r["at_most"] is not None:
                want = f"{r['at_least']:g} to {r['at_most']:g}"
            word = "reached" if r["reached"] else "NOT reached"
            lines.append(f"{r['name']}: {r['ratio']:.3g} [{r['low']:.3g}, {r['high']:.3g}], target {want}: {word}")
    return "\n".join(lines)
