"""`python -m valence.bench plot`: the figures of a folder of results, each as PNG and SVG with its caption beside it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from valence.bench import environment, figure_rows, figures, roofline
from valence.bench.arguments import names
from valence.bench.figure_rows import Source, machine_of
from valence.bench.figures import Drawn
from valence.bench.record import write_text

HELP = "figures of the results: PNG and SVG, each with its caption <figure>.md"
#: What is drawn, and what to run where its data are missing.
FIGURES: dict[str, tuple[Callable[[Source], Drawn | None], str]] = {
    "wall_time_by_system": (figures.wall_time_by_system, "run --preset cpu"),
    "wall_time_vs_species": (figures.wall_time_vs_species, "run --preset cpu --sweep species"),
    "scaling_species": (figures.scaling_species, "run --preset cpu --sweep species"),
    "time_vs_size": (figures.time_vs_size, "run --preset cpu --sweep size"),
    "speedups": (figures.speedups, "run --preset tiny"),
    "thread_scaling": (figures.thread_scaling, "run --preset cpu --sweep threads --threads 1,2"),
    "roofline": (roofline.draw, "roofline"),
}
INPUTS = ["results/metrics/*.json", "results/tables/*.metrics.json"]


def add_arguments(p) -> None:
    p.add_argument("--table", type=Path, help="a CSV table of `aggregate` (default: the records themselves)")
    p.add_argument("--inputs", nargs="*", default=INPUTS, help=f"records, patterns (default {' '.join(INPUTS)})")
    p.add_argument("--figdir", type=Path, default=Path("results/figures"), help="folder (default %(default)s)")
    p.add_argument("--only", type=names, help=f"by comma, of {', '.join(FIGURES)}; one without data is then an error")
    p.add_argument("--suite", type=names, help="only rows of these suites, by comma")
    p.add_argument("--quiet", action="store_true", help="no text on standard output")


def save(figure, to: Path) -> None:
    """The figure under a temporary name, then renamed; the same figure gives the same bytes."""
    import matplotlib

    to.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}[to.suffix[1:]]
    handle, temporary = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)
    os.close(handle)
    try:
        with matplotlib.rc_context({"svg.hashsalt": "valence", "hatch.linewidth": 0.5}):
            figure.savefig(temporary, dpi=160, format=to.suffix[1:], metadata=metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, to)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def caption(name: str, drawn: Drawn, source: Source) -> str:
    machines = (
        "; ".join(source.machines)
        or machine_of(environment.report(ask_torch=False)) + " (this machine; the table names none)"
    )
    lines = [
        f"# {name}",
        "",
        f"- Dataset: {drawn.dataset}",
        f"- Hardware: {machines}",
        f"- Samples: {drawn.samples}",
        f"- Takeaway: {drawn.takeaway}",
    ]
    return "\n".join(lines) + "\n"


def draw(source: Source, figdir: Path, only: list[str] | None = None) -> tuple[list[Path], dict[str, str]]:
    """The files that were written, and for each figure without data what would give it."""
    made: list[Path] = []
    missing: dict[str, str] = {}
    for name in only or FIGURES:
        function, how = FIGURES[name]
        drawn = function(source)
        if drawn is None:
            missing[name] = how
            continue
        machine = (source.machines or [machine_of(environment.report(ask_torch=False))])[0]
        drawn.figure.supxlabel(f"{machine}; {drawn.samples}", fontsize=6, color="0.35", x=0.99, ha="right")
        for ending in (".png", ".svg"):
            save(drawn.figure, figdir / f"{name}{ending}")
        write_text(figdir / f"{name}.md", caption(name, drawn, source))
        made.append(figdir / f"{name}.png")
    return made, missing


def main(a) -> int:
    for name in a.only or []:
        if name not in FIGURES:
            raise ValueError(f"`only` must be of {', '.join(FIGURES)}, got {name}")
    source = figure_rows.read(a.table, a.inputs)
    if a.suite:
        source.rows = [r for r in source.rows if r.suite in a.suite]
        source.ratios = [r for r in source.ratios if r["suite"] in a.suite]
    if not (source.rows or source.ratios or source.roofline):
        raise ValueError(f"`inputs` must hold a timing, got none in {a.table or ' '.join(a.inputs)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        from valence.bench import aggregate, report

        print("no figures: install `matplotlib` (the extra `bench` has it); the tables are written", file=sys.stderr)
        if a.table is None:
            rows = aggregate.collect(source.files)
            for path, (made, columns) in aggregate.tables(
                rows, Path("results/tables/combined_from_metrics.csv")
            ).items():
                aggregate.write_csv(path, report.csv_text(made, columns))
        return 0
    made, missing = draw(source, a.figdir, a.only)
    if not a.quiet:
        for path in made:
            print(f"{path} (and .svg, .md)")
        if source.left_out:
            print(f"{source.left_out} rows that were skipped or are not right are left out")
    for name, how in missing.items():
        print(f"no {name}: nothing to draw it from; python -m valence.bench {how}", file=sys.stderr)
    return 1 if a.only and missing else 0
