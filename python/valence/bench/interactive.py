"""`valence.bench.run`: a run from Python or a notebook, and its result as an object."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import Any

from valence.bench import record, report, runner
from valence.bench.progress import wanted
from valence.bench.running import prepare
from valence.bench.settings import Settings


class Run:
    """The rows of a run.

    Attributes
    ----------
    record : the whole record as a dict: `points`, `ratios`, `environment`, see benchmarks/README.md.
    exit_code : 0; 1 a row failed; 2 a result is wrong; 3 another backend ran than was asked for.
    interrupted : whether Ctrl-C ended the run; the rows that were finished are here.
    """

    def __init__(self, made: dict, interrupted: bool = False):
        self.record, self.interrupted = made, interrupted

    @classmethod
    def load(cls, path) -> Run:
        """The run of a record's file."""
        return cls(record.read_json(path))

    @property
    def exit_code(self) -> int:
        return runner.exit_code(self.record)

    @property
    def rows(self) -> list[dict]:
        """One dict a row, its keys those of `<suite>.csv`."""
        return report.point_rows(self.record)

    @property
    def table(self):
        """The rows as a polars.DataFrame."""
        import polars as pl

        kept = [{c: row.get(c) for c in report.POINT_COLUMNS} for row in self.rows]
        return pl.DataFrame(kept, infer_schema_length=None)

    def __len__(self) -> int:
        return len(self.record["points"])

    def __repr__(self) -> str:
        return report.text(self.record)

    def _repr_html_(self) -> str:
        head = (
            "workload",
            "backend",
            "dtype",
            "threads",
            "N",
            "median [ms]",
            "IQR [ms]",
            "speed-up of ours [95 %]",
            "max error",
            "",
        )
        cells = ["".join(f"<th>{h}</th>" for h in head)]
        for r in self.rows:
            timed = r.get("wall_median") is not None
            ratio = f"{r['ratio']:.3g} [{r['ratio_low']:.3g}, {r['ratio_high']:.3g}]" if r.get("ratio") else ""
            error = "" if r.get("max_err") is None else f"{r['max_err']:.1e}"
            note = "" if r["status"] == "ok" else f"{r['status']}: {r['reason']}"
            values = (r["workload"], r["backend"], r["dtype"], r["threads"], r["N"], f"{1e3 * r['wall_median']:.4g}" if timed else "",
                      f"{1e3 * r['wall_iqr']:.2g}" if timed else "", ratio, error, note)  # fmt: skip
            cells.append("".join(f"<td>{html.escape(str(v))}</td>" for v in values))
        made = self.record
        machine = made["environment"].get("cpu_model") or "unknown CPU"
        title = f"{made['name']}: {machine}" + (", interrupted" if self.interrupted else "")
        body = "".join(f"<tr>{c}</tr>" for c in cells)
        return f"<table><caption>{html.escape(title)}</caption>{body}</table>"

    def plot(self, path=None):
        """The speed-ups with their intervals and targets as a matplotlib Figure; written to `path` (.png) too, if given.

        Raises ValueError where the run has no ratio to draw.
        """
        figure = report.figure(self.record)
        if figure is None:
            raise ValueError("`plot` must have two right rows of one workload, got none")
        if path is not None:
            figure.savefig(path, dpi=160)
        return figure

    def save(self, path="results", *, force: bool = False) -> Path:
        """Write the record and its tables as the command line does: a JSON file, or a folder for metrics/ and tables/.

        Raises FileExistsError where the file is there and `force` is not given.
        """
        out = Path(path)
        if out.suffix != ".json":
            out = out / "metrics" / f"{self.record['name']}.json"
        if out.exists() and not force:
            raise FileExistsError(f"{out} exists: give force=True to replace it")
        record.write_json(out, self.record)
        report.write_tables(self.record, out)
        return out


def run(
    preset: str | None = None, *, config=None, sweep: str | None = None, out=None, data=None, progress: bool | None = None,
    **options: Any,
) -> Run:  # fmt: skip
    """Run a preset, a suite of your own or a sweep, as `python -m valence.bench run` does.

    Parameters
    ----------
    preset, config, sweep : what is run; a name of `python -m valence.bench list`, a YAML file, an axis.
    out : a JSON file or a folder to keep the results in; None keeps them in the object alone (see `Run.save`).
    data : folder of your own files, for workloads that read some.
    progress : a bar with the remaining time; None: on a terminal and in a notebook.
    **options : backends, workloads, threads (lists); repeats, warmup, rounds, passes, frames, seed; resume, force, pin, isolate,
        profile; timeout in seconds; peers, environments (folders).

    Returns
    -------
    Run, also after an interruption: with the rows that were finished.

    Raises
    ------
    ValueError for an unknown preset, sweep, backend or workload, with the known ones. FileExistsError where `out` is there and
    neither `resume` nor `force` is given.

    >>> import valence.bench
    >>> made = valence.bench.run(preset="tiny", workloads=["array-20"], rounds=2)
    >>> made.exit_code
    0
    """
    known = set(Settings.__dataclass_fields__) - {"out", "data", "progress"}
    for name in options:
        if name not in known:
            raise ValueError(f"option of `run` must be one of {sorted(known)}, got {name}")
    with tempfile.TemporaryDirectory(prefix="valence-bench-") as folder:
        place = Path(folder) / "run.json" if out is None else out
        options["progress"] = wanted() if progress is None else progress
        work, settings = prepare(preset, config, sweep, place, data, **options)
        try:
            return Run(runner.run(work, settings))
        except KeyboardInterrupt:
            if not settings.out.exists():
                raise
            return Run(record.read_json(settings.out), interrupted=True)
