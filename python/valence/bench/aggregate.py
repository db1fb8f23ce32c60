"""`python -m valence.bench aggregate`: records of runs as tables, CSV and parquet.

Beside the table that is asked for stand `timings_local.csv`, one row a sample, and `summary_local.csv`, one row a file and mode. All are
written whole. Files of the old harness are read as well, whatever they call their columns.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import sys
from pathlib import Path

import numpy as np

from valence.bench import measurements
from valence.bench.record import write_bytes
from valence.bench.report import csv_text
from valence.bench.statistics import summary

HELP = "records of runs as tables: combined_from_metrics, timings_local, summary_local, CSV and parquet"
COMBINED = ["file", "mode", "wall_s", "N", "species"]
TIMINGS = [
    "file",
    "mode",
    "rep",
    "N",
    "species_unique",
    "wall_s",
    "compute_s",
    "conv_in_s",
    "conv_out_s",
    "time_per_N2",
]
SUMMARY = ["file", "mode", "N", "species", "runs", "wall_mean", "wall_std", "tN2_mean", "conv_in_mean", "conv_out_mean"]
#: Our own columns, after those.
MORE = ["suite", "op", "backend", "dtype", "threads", "batch", "lmax", "nmax", "sweep", "edges", "runs", "wall_iqr", "wall_min",
        "time_per_N2", "time_per_edge", "version"]  # fmt: skip
MORE_SUMMARY = [
    "wall_median",
    "wall_iqr",
    "wall_min",
    "cpu_mean",
    "checksum",
    "max_err",
    "backend_used",
    "threads",
    "suite",
]


def add_arguments(p) -> None:
    p.add_argument(
        "--inputs", nargs="*", default=["results/metrics/*.json"],
        help="records, <job>.metrics.json, CSV tables of the old harness; patterns are expanded (default %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--out", type=Path, default=Path("results/tables/combined_from_metrics.csv"),
        help="the table, .csv or .csv.gz; the others are written beside it (default %(default)s)",
    )  # fmt: skip
    p.add_argument("--data", type=Path, help="folder of the data files, for missing N and species (default $DATA_ROOT)")
    p.add_argument("--host", help="the machine that the times are of, if not this one: writes timings_chtc.csv with it")
    p.add_argument("--no-parquet", action="store_true", help="CSV alone")
    p.add_argument("--quiet", action="store_true", help="no text on standard output")


def collect(inputs, folders=()) -> list[dict]:
    """Measurements of files and patterns, repeats joined, N and species filled in; sorted by file and mode."""
    paths = []
    for said in inputs:
        found = [Path(p) for p in sorted(glob.glob(str(said)))]
        if not found:
            raise FileNotFoundError(f"`inputs` must be files or patterns of files, got {said}")
        paths += [p for p in found if p not in paths]
    rows = measurements.merge([row for p in paths for row in measurements.read(p)])
    if not rows:
        raise ValueError(f"`inputs` must hold a timing, got none in {[str(p) for p in paths]}")
    for row in rows:
        near = Path(row["source"]).parent
        measurements.fill(row, [*folders, near, near.parent / "data"])
    return sorted(rows, key=lambda r: (r["file"], r["mode"], r["suite"]))


def per_square(seconds: float, n: int | None) -> float | None:
    return seconds / n**2 if n else None


def own(row: dict) -> dict:
    """What only our records say."""
    point = row["point"]
    kept = {k: point.get(k) for k in ("op", "backend", "dtype", "threads", "batch", "lmax", "nmax", "edges", "version")}
    sweep = point.get("sweep")
    return {**kept, "suite": row["suite"], "sweep": sweep["axis"] if sweep else None}


def combined_rows(rows: list[dict]) -> list[dict]:
    """One row a file and mode; `wall_s` is the median."""
    made = []
    for row in rows:
        s, mine = summary(row["samples"]), own(row)
        wall = s["wall_median"]
        made.append({
            "file": row["file"], "mode": row["mode"], "wall_s": wall, "N": row["N"], "species": row["species"], **mine,
            "runs": s["runs"], "wall_iqr": s["wall_iqr"], "wall_min": s["wall_min"],
            "time_per_N2": per_square(wall, row["N"]), "time_per_edge": wall / mine["edges"] if mine["edges"] else None,
        })  # fmt: skip
    return made


def timing_rows(rows: list[dict], host: str | None = None) -> list[dict]:
    """One row a sample. A call that is not read in parts is computation throughout."""
    made = []
    for row in rows:
        for k, wall in enumerate(row["samples"]):
            part = {p: row["parts"][p][k] if row["parts"].get(p) else 0.0 for p in ("conv_in", "conv_out")}
            compute = row["parts"]["compute"][k] if row["parts"].get("compute") else wall - sum(part.values())
            if compute > wall:
                raise ValueError(f"{row['source']}: `compute_s` must be at most `wall_s`, got {compute} of {wall}")
            made.append({
                "file": row["file"], "mode": row["mode"], "rep": k + 1, "N": row["N"], "species_unique": row["species"],
                "wall_s": wall, "compute_s": compute, "conv_in_s": part["conv_in"], "conv_out_s": part["conv_out"],
                "time_per_N2": per_square(wall, row["N"]), "suite": row["suite"], "host": host,
            })  # fmt: skip
    return made


def summary_rows(rows: list[dict]) -> list[dict]:
    """One row a file and mode with the moments of its samples; `wall_std` is the sample deviation (n - 1)."""
    made = []
    for row in rows:
        s, point = summary(row["samples"]), row["point"]
        conv = {
            f"{p}_mean": float(np.mean(row["parts"][p])) if row["parts"].get(p) else 0.0
            for p in ("conv_in", "conv_out")
        }
        made.append({
            **s, **conv, "file": row["file"], "mode": row["mode"], "N": row["N"], "species": row["species"],
            "tN2_mean": per_square(s["wall_mean"], row["N"]), "suite": row["suite"],
            "checksum": point["checksum"][0] if point.get("checksum") else None,
            **{k: point.get(k) for k in ("cpu_mean", "max_err", "backend_used", "threads")},
        })  # fmt: skip
    return made


def write_csv(path: Path, text: str) -> None:
    """The whole table, compressed where the name ends with .gz (without the time in its header: same table, same bytes)."""
    raw = text.encode()
    if path.suffix == ".gz":
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as f:
            f.write(raw)
        raw = out.getvalue()
    write_bytes(path, raw)


def write_parquet(path: Path, rows: list[dict], columns: list[str]) -> None:
    try:
        import polars as pl
    except ImportError:
        raise ImportError("parquet needs `polars` (the extra `bench` has it), or give --no-parquet") from None
    frame = pl.DataFrame([{c: r.get(c) for c in columns} for r in rows], infer_schema_length=None)
    out = io.BytesIO()
    frame.write_parquet(out)
    write_bytes(path, out.getvalue())


def stem_of(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def tables(rows: list[dict], out: Path, host: str | None = None) -> dict[Path, tuple[list[dict], list[str]]]:
    """What is written where: rows and columns by the path of each CSV."""
    end = out.name.removeprefix(stem_of(out))
    timings = "timings_chtc" if host else "timings_local"
    return {
        out: (combined_rows(rows), COMBINED + MORE),
        out.with_name(timings + end): (timing_rows(rows, host), TIMINGS + (["host"] if host else []) + ["suite"]),
        out.with_name("summary_local" + end): (summary_rows(rows), SUMMARY + MORE_SUMMARY),
    }


def main(a) -> int:
    if not a.out.name.endswith((".csv", ".csv.gz")):
        raise ValueError(f"`out` must end with .csv or .csv.gz, got {a.out}")
    folder = a.data or (Path(os.environ["DATA_ROOT"]) if os.environ.get("DATA_ROOT") else None)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"`data` must be a folder, got {folder}")
    rows = collect(a.inputs, [folder] if folder else [])
    for path, (made, columns) in tables(rows, a.out, a.host).items():
        write_csv(path, csv_text(made, columns))
        if not a.no_parquet:
            try:
                write_parquet(path.with_name(stem_of(path) + ".parquet"), made, columns)
            except ImportError as e:
                print(f"valence.bench: {e}", file=sys.stderr)
                return 1
        if not a.quiet:
            print(f"{path}: {len(made)} rows")
    return 0
