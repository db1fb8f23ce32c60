"""`valence demo`: the main job on the frames that ship with the package.

Reads every sample, finds the edges, computes radial functions and spherical harmonics on them, prints a summary, and writes
tables (parquet) and a figure.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import valence as vl

__all__ = ["run"]

RADIAL = 8
LMAX = 3


def run(out: str | Path = "valence-demo", *, cutoff: float = 5.0) -> str:
    """Runs the demo, writes into the folder `out` and returns the summary as text.

    Parameters
    ----------
    out : folder; made if it is not there, files of an earlier demo are replaced.
    cutoff : Angstrom.

    Needs the extra `demo` (polars, matplotlib).
    """
    try:
        import matplotlib  # noqa: F401
        import polars as pl
    except ImportError as error:
        raise ImportError(
            f"the demo must have polars and matplotlib, got {error} (pip install 'valence[demo]')"
        ) from error
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    radial = vl.RadialBasis("bessel", RADIAL, cutoff, envelope="polynomial")
    rows, distances, batches = [], {}, []
    for name in vl.samples():
        started = time.perf_counter()
        systems = vl.samples(name)
        read = time.perf_counter()
        edges = vl.find_edges(systems, cutoff)
        found = time.perf_counter()
        basis = radial(edges.distance)
        harmonics = vl.spherical_harmonics(edges.vector, LMAX)
        done = time.perf_counter()
        assert len(basis) == len(harmonics) == len(edges.distance)
        rows.append(
            {
                "sample": name,
                "systems": len(systems),
                "atoms": len(systems.numbers),
                "edges": len(edges.distance),
                "edges/atom": round(len(edges.distance) / max(len(systems.numbers), 1), 1),
                "read ms": round(1e3 * (read - started), 2),
                "edges ms": round(1e3 * (found - read), 2),
                "features ms": round(1e3 * (done - found), 2),
            }
        )
        distances[name] = edges.distance
        batches.append(systems)
    systems = vl.concat(batches)
    edges = vl.neighbor_list(systems, cutoff)
    features = edges.select("system", "source", "target").with_columns(
        pl.Series("radial", radial(edges["distance"])),
        pl.Series("harmonics", vl.spherical_harmonics(edges["vector"], LMAX)),
    )
    tables = {"atoms": systems.atoms, "systems": systems.systems, "edges": edges, "features": features}
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    _figure(distances, cutoff, folder / "distances.png")
    summary = _text(rows)
    written = "\n".join(f"  {folder / name}.parquet   {len(table):,} rows" for name, table in tables.items())
    return (
        f"Edges within {cutoff:g} Å, {RADIAL} Bessel functions and {(LMAX + 1) ** 2} spherical harmonics on each:\n\n"
        f"{summary}\n\nWritten:\n{written}\n  {folder / 'distances.png'}   how often each distance occurs"
    )


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of text, numbers to the right."""
    header = list(rows[0])
    cells = [header] + [[f"{v:,}" if isinstance(v, (int, float)) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    lines = [
        "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths))) for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _figure(distances: dict[str, np.ndarray], cutoff: float, path: Path) -> None:
    """Histogram of the edge lengths of each sample, one panel a sample."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.5 * len(distances) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(distances), sharex=True, squeeze=False)[:, 0]
    bins = np.linspace(0.0, cutoff, 201)
    for panel, (name, lengths) in zip(panels, distances.items()):
        panel.hist(lengths, bins=bins, color="#0072B2")
        panel.set_title(f"{name}: {len(lengths):,} edges", loc="left", fontsize=9)
        panel.set_ylabel("edges")
    panels[-1].set_xlabel("distance (Å)")
    figure.savefig(path, dpi=160)
