"""The figures of `plot`: each function takes what was read and gives a figure with its caption, or None where it has no data."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from valence.bench.figure_rows import Row, Source
from valence.bench.measurements import species_of

#: Okabe and Ito's colours, told apart by all kinds of colour vision (Color Universal Design, 2008), ours first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


@dataclass
class Drawn:
    """A figure, and the parts of its caption."""

    figure: Any
    dataset: str
    samples: str
    takeaway: str


def canvas(width, height, rows=1, columns=1):
    """A figure without a window and its axes [rows][columns], in the style of all figures here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for a in axes.ravel():
        plain(a, "y")
    return figure, axes


def plain(ax, grid: str) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, lw=0.4, color="0.88")
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_size(9)
    ax.yaxis.label.set_size(9)


def logarithmic(ax, axis: str) -> None:
    """A logarithmic axis with words at whole decades, and at 2 and 5 where there are fewer than two of those."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(ax, f"set_{axis}scale")("log")
    low, high = getattr(ax, f"get_{axis}lim")()
    decades = np.floor(np.log10(high)) - np.ceil(np.log10(low)) + 1
    this = getattr(ax, f"{axis}axis")
    if decades < 2:
        this.set_major_locator(LogLocator(subs=(1, 2, 5)))
        this.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    this.set_minor_formatter(NullFormatter())


def ordered(names) -> list[str]:
    """Our backends first, then the others by name."""
    ours = ("cpu", "cuda", "numpy")
    return sorted(
        set(names), key=lambda n: (next((k for k, o in enumerate(ours) if n.split()[0].split("@")[0] == o), 9), n)
    )


def styles(names) -> dict[str, dict]:
    made = {}
    for k, name in enumerate(ordered(names)):
        made[name] = {
            "color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)], "linestyle": LINES[k // len(COLOURS) % len(LINES)],
            "hatch": HATCHES[k % len(HATCHES)],
        }  # fmt: skip
    return made


def line(style: dict) -> dict:
    return {"lw": 1.3, "ms": 4, **{k: style[k] for k in ("color", "marker", "linestyle")}}


def runs_of(rows: list[Row]) -> str:
    low, high = min(r.runs for r in rows), max(r.runs for r in rows)
    counts = f"{low} to {high}" if low < high else str(low)
    return f"{counts} sample{'s' if high > 1 else ''} a point; medians, quartile distances"


def panels(rows: list[Row], limit: int = 6) -> list[tuple[str, list[Row]]]:
    """Rows by operation, those with the most rows first; at most `limit`."""
    by: dict[str, list[Row]] = defaultdict(list)
    for r in rows:
        by[r.op].append(r)
    return sorted(by.items(), key=lambda kv: (-len(kv[1]), kv[0]))[:limit]


def single(rows: list[Row]) -> list[Row]:
    """One row a file and mode: those of the fewest threads."""
    best: dict[tuple, Row] = {}
    for r in rows:
        key = (r.op, r.file, r.mode)
        if key not in best or r.threads < best[key].threads:
            best[key] = r
    return list(best.values())


def wall_time_by_system(source: Source) -> Drawn | None:
    """Bars: one group a system, one bar a mode, error bars of the quartile distance. Of records with a species sweep, its
    systems alone: all rows of all suites fill no page."""
    rows = single([r for r in source.rows if r.species and r.N])
    rows = [r for r in rows if r.sweep == "species"] or [r for r in rows if r.sweep is None] or rows
    if not rows:
        return None
    parts = panels(rows)
    heights = [0.9 + 0.17 * len(p) + 0.25 * len({r.file for r in p}) for _, p in parts]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    style = styles(r.mode for _, p in parts for r in p)
    for ax, (op, some) in zip(axes, parts, strict=True):
        systems = sorted(
            {r.file for r in some},
            key=lambda f: (
                next(r.species or 0 for r in some if r.file == f),
                next(r.N or 0 for r in some if r.file == f),
                f,
            ),
        )
        y, ticks = 0.0, []
        for name in systems:
            group = sorted(
                (r for r in some if r.file == name), key=lambda r: ordered([s.mode for s in some]).index(r.mode)
            )
            start = y
            for r in group:
                s = style[r.mode]
                ax.barh(
                    y,
                    1e3 * r.wall,
                    0.85,
                    xerr=5e2 * r.iqr,
                    color=s["color"],
                    hatch=s["hatch"],
                    edgecolor="white",
                    lw=0.3,
                    error_kw={"lw": 0.9, "ecolor": "0.25"},
                )
                y += 1
            ticks.append(((start + y - 1) / 2, f"{name} (N = {group[0].N})"))
            y += 0.8
        ax.set_yticks([t for t, _ in ticks], [label for _, label in ticks], fontsize=7)
        ax.set(xlabel="wall time of a call (ms)", ylim=(y - 0.4, -0.8))
        ax.set_xlim(10 ** np.floor(np.log10(5e2 * min(r.wall for r in some))), None)
        ax.set_title(op or "all", fontsize=9, loc="left")
        plain(ax, "x")
        logarithmic(ax, "x")
        ax.tick_params(axis="y", labelsize=7)
    handles = [figure_patch(style[m], m) for m in ordered(style)]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7, frameon=False)
    files = sorted({r.file for r in rows})
    fast = [r for r in rows if r.mode == "cpu"]
    says = f"{len(files)} systems, {len(style)} modes"
    if fast:
        top = max(fast, key=lambda r: r.wall)
        says += f"; the longest call of `cpu` is {1e3 * top.wall:.3g} ms ({top.file}, N = {top.N})"
    return Drawn(
        figure,
        f"{len(files)} systems: {', '.join(files[:8])}{' …' if len(files) > 8 else ''}; one thread",
        runs_of(rows),
        says,
    )


def figure_patch(style, label):
    from matplotlib.patches import Patch

    return Patch(facecolor=style["color"], hatch=style["hatch"], edgecolor="white", label=label)


def species_lines(source: Source) -> dict[tuple[str, str], list[Row]]:
    """Rows of the species sweep at constant N, by operation and mode, in the order of their species."""
    lines: dict[tuple, list[Row]] = defaultdict(list)
    for r in single(source.rows):
        named = species_of(r.file) is not None
        if r.species and r.N and (r.sweep == "species" or (named and r.sweep is None)):
            lines[(r.op, r.mode, r.N, None if named else r.family)].append(r)
    kept: dict[tuple[str, str], list[Row]] = {}
    for (op, mode, *_), rows in lines.items():
        if len({r.species for r in rows}) >= 3 and len(rows) > len(kept.get((op, mode), ())):
            kept[(op, mode)] = sorted(rows, key=lambda r: r.species or 0)
    return kept


def species_figure(source: Source, relative: bool) -> Drawn | None:
    lines = species_lines(source)
    if not lines:
        return None
    ops = sorted({op for op, _ in lines})
    columns = min(3, len(ops))
    figure, axes = canvas(3.2 * columns + 0.8, 3.1 * -(-len(ops) // columns), -(-len(ops) // columns), columns)
    style = styles(mode for _, mode in lines)
    growth = {}
    for ax, op in zip(axes.ravel(), ops, strict=False):
        for mode in ordered(m for o, m in lines if o == op):
            rows = lines[(op, mode)]
            x = np.array([r.species for r in rows], dtype=float)
            scale = [1 / rows[0].wall if relative else 1e9 / (r.N or 1) ** 2 for r in rows]
            y = np.array([r.wall * s for r, s in zip(rows, scale, strict=True)])
            e = np.array([0.5 * r.iqr * s for r, s in zip(rows, scale, strict=True)])
            ax.errorbar(x, y, yerr=e, label=mode, capsize=2, elinewidth=0.8, **line(style[mode]))
            growth[(op, mode)] = rows[-1].wall / rows[0].wall
        ax.set_title(f"{op or 'all'}, N = {lines[next(k for k in lines if k[0] == op)][0].N}", fontsize=9, loc="left")
        ax.set(
            xlabel="number of species",
            ylabel="time over that of the fewest species" if relative else "wall time / N² (ns)",
        )
        logarithmic(ax, "y")
        ax.set_xticks(sorted({r.species or 0 for (o, _), rows in lines.items() if o == op for r in rows}))
    for ax in axes.ravel()[len(ops) :]:
        ax.set_visible(False)
    legend(figure, axes)
    names = sorted({r.file for rows in lines.values() for r in rows})
    ours = {k: v for k, v in growth.items() if k[1] == "cpu"} or growth
    says = "; ".join(
        f"{op}: {mode} takes {g:.2f} times as long with the most species as with the fewest"
        for (op, mode), g in sorted(ours.items())[:6]
    )
    return Drawn(
        figure,
        f"species sweep at constant N ({', '.join(names[:8])}): labels alone differ",
        runs_of([r for rows in lines.values() for r in rows]),
        says,
    )


def legend(figure, axes) -> None:
    """One legend for all panels, above them."""
    found = {}
    for ax in np.asarray(axes).ravel():
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = [n for n in ordered(found) if n in found]
    figure.legend(
        [found[n] for n in names],
        names,
        loc="outside upper center",
        ncols=min(5, len(names)),
        fontsize=7,
        frameon=False,
    )


def wall_time_vs_species(source: Source) -> Drawn | None:
    """Lines: time over N² against the number of species, one line a mode."""
    return species_figure(source, relative=False)


def scaling_species(source: Source) -> Drawn | None:
    """The same, over the time of one species."""
    return species_figure(source, relative=True)


def time_vs_size(source: Source) -> Drawn | None:
    """Time over N² and time over the number of pairs against N: flat lines show which is the right measure of the cost."""
    lines: dict[tuple, list[Row]] = defaultdict(list)
    for r in single(source.rows):
        if r.N and r.edges and r.batch in (None, 1):
            lines[(r.op, r.family, r.mode)].append(r)
    lines = {k: sorted(v, key=lambda r: r.N or 0) for k, v in lines.items() if len({r.N for r in v}) == len(v) >= 3}
    if not lines:
        return None
    groups = sorted(
        {(op, family) for op, family, _ in lines}, key=lambda g: -max(len(v) for k, v in lines.items() if k[:2] == g)
    )[:4]
    figure, axes = canvas(7.2, 2.7 * len(groups) + 0.4, len(groups), 2)
    style = styles(k[2] for k in lines if k[:2] in groups)
    slopes = {}
    for (square, edge), group in zip(axes, groups, strict=True):
        for mode in ordered(k[2] for k in lines if k[:2] == group):
            rows = lines[(*group, mode)]
            n = np.array([r.N for r in rows], dtype=float)
            wall = np.array([r.wall for r in rows])
            square.plot(n, 1e9 * wall / n**2, label=mode, **line(style[mode]))
            edge.plot(n, 1e9 * wall / np.array([r.edges or 1 for r in rows]), label=mode, **line(style[mode]))
            slopes[(*group, mode)] = float(np.polyfit(np.log(n), np.log(wall), 1)[0])
        for ax, label in ((square, "wall time / N² (ns)"), (edge, "wall time / pairs (ns)")):
            ax.set(xlabel="number of atoms N", ylabel=label)
            logarithmic(ax, "x")
            logarithmic(ax, "y")
        square.set_title(f"{group[0]}, {group[1]}", fontsize=9, loc="left")
    legend(figure, axes)
    ours = {k: v for k, v in slopes.items() if k[2] == "cpu" and k[:2] in groups} or slopes
    says = "; ".join(
        f"time of {mode} on {family} ({op}) grows as N^{p:.2f}" for (op, family, mode), p in sorted(ours.items())
    )
    used = [r for k, v in lines.items() if k[:2] in groups for r in v]
    return Drawn(figure, f"{', '.join(sorted({r.file for r in used}))}; one thread", runs_of(used), says)


def named(ratio: dict) -> str:
    """Workload, peer, and what is not usual of a ratio."""
    more = [" f32"] if ratio["dtype"] == "float32" else []
    more += [f", {ratio['threads']} threads"] if ratio["threads"] > 1 else []
    return f"{ratio['workload']}: {ratio['slow']}{''.join(more)}"


def speedups(source: Source) -> Drawn | None:
    """Bars: time of the other over ours, for every ratio that has a target; black ticks are the targets."""
    rows = [r for r in source.ratios if r["kind"] == "time" and r.get("fast") == "cpu" and r["slow"] not in ("numpy",)]
    aimed = [r for r in rows if r.get("at_least") is not None]
    rows = aimed or rows
    if not rows:
        return None
    rows.sort(key=lambda r: (r["suite"], r["name"], r["dtype"]))
    suites = list(dict.fromkeys(r["suite"] for r in rows))
    half = -(-len(rows) // 2) if len(rows) > 24 else len(rows)
    columns = 2 if len(rows) > 24 else 1
    figure, axes = canvas(7.0 * columns, 1.0 + 0.19 * half, 1, columns)
    colour = {s: COLOURS[k % len(COLOURS)] for k, s in enumerate(suites)}
    for k, ax in enumerate(axes[0]):
        part = rows[k * half : (k + 1) * half]
        for y, r in enumerate(part):
            ax.barh(y, r["ratio"], 0.75, color=colour[r["suite"]], label=r["suite"])
            ax.plot([r["low"], r["high"]], [y, y], color="0.15", lw=0.9)
            if r.get("at_least") is not None:
                ax.plot([r["at_least"]] * 2, [y - 0.45, y + 0.45], color="black", lw=1.8)
        labels = [named(r) for r in part]
        ax.set_yticks(range(len(part)), labels, fontsize=6.5)
        ax.axvline(1.0, color="0.4", lw=0.8)
        ax.set(ylim=(len(part) - 0.4, -0.6), xlabel="time of the other over ours")
        logarithmic(ax, "x")
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", lw=0.4, color="0.88")
    legend(figure, axes)
    reached = sum(bool(r.get("reached")) for r in aimed)
    values = np.array([r["ratio"] for r in rows])
    says = f"geometric mean {np.exp(np.log(values).mean()):.2f}, from {values.min():.3g} to {values.max():.3g}"
    says += f"; {reached} of {len(aimed)} targets (black ticks) are reached" if aimed else ""
    return Drawn(
        figure,
        f"{len(rows)} pairs of workload and peer of the suites {', '.join(suites)}",
        "ratio of medians, lines: bootstrap 95 % intervals",
        says,
    )


def thread_scaling(source: Source) -> Drawn | None:
    """Time of the fewest threads over that of more, with the ideal. Sweeps of something else have systems of any size."""
    lines: dict[tuple, list[Row]] = defaultdict(list)
    for r in (r for r in source.rows if r.sweep in (None, "threads")):
        lines[(r.op, r.file, r.mode)].append(r)
    lines = {k: sorted(v, key=lambda r: r.threads) for k, v in lines.items() if len({r.threads for r in v}) > 1}
    if not lines:
        return None
    figure, axes = canvas(6.4, 4.0)
    ax = axes[0, 0]
    most, got = max(v[-1].threads for v in lines.values()), {}
    ax.plot([1, most], [1, most], color="0.6", lw=1, ls=":", label="ideal")
    keys = sorted(lines, key=lambda k: (k[2] != "cpu", k))
    for k, key in enumerate(keys[:16]):
        rows = lines[key]
        x = np.array([r.threads for r in rows])
        y = rows[0].wall / np.array([r.wall for r in rows]) * x[0]
        e = y * np.array([0.5 * r.iqr / r.wall for r in rows])
        ax.errorbar(
            x, y, yerr=e, label=f"{key[1]}, {key[2]}", capsize=2, lw=1.3, ms=4, marker=MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)],
            linestyle="-" if key[2].startswith("cpu") else "--",
        )  # fmt: skip
        got[key] = y[-1] / x[-1]
    ticks = sorted({r.threads for v in lines.values() for r in v})
    ax.set_xticks(ticks)
    ax.set(xlabel="threads", ylabel="speed over one thread", ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    ours = {k: v for k, v in got.items() if k[2].startswith("cpu")} or got
    worst, best = min(ours, key=lambda k: ours[k]), max(ours, key=lambda k: ours[k])
    says = f"of the ideal at the most threads, ours reach {100 * ours[worst]:.0f} % ({worst[1]}) to {100 * ours[best]:.0f} % ({best[1]})"
    used = [r for v in lines.values() for r in v]
    return Drawn(figure, f"{', '.join(sorted({r.file for r in used}))}", runs_of(used), says)
