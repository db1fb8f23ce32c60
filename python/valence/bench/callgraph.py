"""The call graph of a profile as a picture: boxes of functions with their share of the time, arrows of calls. Drawn with
matplotlib, or with graphviz's `dot` where that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, int, str]


@dataclass
class Box:
    """A function: seconds in it and what it calls, seconds in it alone, calls."""

    key: Key
    cumulative: float
    own: float
    calls: int


@dataclass
class Graph:
    boxes: dict[Key, Box]
    arrows: dict[tuple[Key, Key], tuple[float, int]]  # caller, callee: seconds, calls
    total: float
    left_out: int


def title(key: Key) -> str:
    """module:line(function), as short as it stays clear."""
    path, line, name = key
    if path == "~":
        return name.replace("<built-in method ", "").replace("<method ", "").rstrip(">")
    parts = Path(path).with_suffix("").parts
    return f"{'/'.join(parts[-2:])}:{line}\n{name}"


def graph(stats, share: float = 0.01, limit: int = 28) -> Graph:
    """The functions that take at least `share` of the time, at most `limit`, and the calls among them."""
    table = stats.stats
    total = max((t[3] for t in table.values()), default=0.0)
    ranked = sorted(table.items(), key=lambda kv: -kv[1][3])
    kept = [k for k, v in ranked if v[3] >= share * total][:limit]
    boxes = {k: Box(k, table[k][3], table[k][2], table[k][1]) for k in kept}
    arrows = {}
    for callee in kept:
        for caller, said in table[callee][4].items():
            if caller in boxes and caller != callee:
                arrows[(caller, callee)] = (said[3], said[1])
    return Graph(boxes, arrows, total, len(table) - len(kept))


def layers(g: Graph) -> list[list[Key]]:
    """Functions by their distance from a root: below every caller that is not also called by them (cycles are cut)."""
    depth: dict[Key, int] = {}

    def visit(key: Key, path: tuple[Key, ...]) -> None:
        for caller, callee in g.arrows:
            if caller == key and callee not in path and depth.get(callee, -1) < depth[key] + 1 <= len(g.boxes):
                depth[callee] = depth[key] + 1
                visit(callee, (*path, callee))

    called = {callee for _, callee in g.arrows}
    for root in [k for k in g.boxes if k not in called] or list(g.boxes)[:1]:
        if root not in depth:
            depth[root] = 0
            visit(root, (root,))
    for key in g.boxes:
        depth.setdefault(key, 0)
    rows: list[list[Key]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key in g.boxes:
        rows[depth[key]].append(key)
    rows = [r for r in rows if r]
    place = {k: i - (len(rows[0]) - 1) / 2 for i, k in enumerate(rows[0])} if rows else {}
    for row in rows[1:]:
        row.sort(key=lambda k: mean([place[a] for a, b in g.arrows if b == k and a in place]))
        place.update({k: i - (len(row) - 1) / 2 for i, k in enumerate(row)})
    return rows


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def shade(share: float) -> tuple[float, float, float]:
    """From white to a blue that leaves black text readable."""
    low, high = (1.0, 1.0, 1.0), (0.42, 0.68, 0.87)
    return tuple(a + (b - a) * min(1.0, share) ** 0.7 for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def words(g: Graph, box: Box) -> str:
    lines = [part for line in title(box.key).splitlines() for part in textwrap.wrap(line, 30) or [""]]
    shares = f"{100 * box.cumulative / g.total:.1f} % (own {100 * box.own / g.total:.1f} %), {box.calls:,}x"
    return "\n".join([*lines, shares])


def draw(g: Graph, to: Path, caption: str) -> Path:
    """The picture, PNG: by `dot` where it is installed, else by matplotlib."""
    if g.total <= 0 or not g.boxes:
        raise ValueError("the profile must hold a call that took time, got none")
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}")
    if shutil.which("dot"):
        subprocess.run(
            ["dot", "-Tpng", "-Gdpi=160", "-o", str(temporary)], input=dot_text(g, caption), text=True, check=True
        )
    else:
        paint(g, temporary, caption)
    os.replace(temporary, to)
    return to


def dot_text(g: Graph, caption: str) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    names = {k: f"n{i}" for i, k in enumerate(g.boxes)}
    lines = [
        "digraph calls {",
        f"label={quoted(caption)}; labelloc=b; fontsize=9;",
        "node [shape=box, style=filled, fontsize=9];",
    ]
    for key, box in g.boxes.items():
        r, gr, b = (round(255 * v) for v in shade(box.cumulative / g.total))
        lines.append(f'{names[key]} [label={quoted(words(g, box))}, fillcolor="#{r:02x}{gr:02x}{b:02x}"];')
    for (caller, callee), (seconds, _) in g.arrows.items():
        lines.append(f'{names[caller]} -> {names[callee]} [label="{100 * seconds / g.total:.0f} %", fontsize=8];')
    return "\n".join([*lines, "}"])


def paint(g: Graph, to: Path, caption: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    rows = layers(g)
    # A row of more than five boxes takes several lines.
    lines = [row[i : i + 5] for row in rows for i in range(0, len(row), 5)]
    widest = max(len(r) for r in lines)
    step_x, step_y, width, height = 2.5, 1.15, 2.3, 0.72
    figure = Figure(figsize=(max(5.0, step_x * widest + 0.4), step_y * len(lines) + 0.5))
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    place = {
        k: (step_x * (i - (len(row) - 1) / 2), -step_y * y) for y, row in enumerate(lines) for i, k in enumerate(row)
    }
    for (caller, callee), (seconds, _) in g.arrows.items():
        (xa, ya), (xb, yb) = place[caller], place[callee]
        down = yb < ya
        share = seconds / g.total
        if share < 0.005:
            continue
        ends = ((xa, ya - height / 2), (xb, yb + height / 2)) if down else ((xa + width / 2, ya), (xb + width / 2, yb))
        ax.add_patch(FancyArrowPatch(
            *ends, arrowstyle="-|>", mutation_scale=8, lw=0.6 + 2.0 * min(1.0, share), color="0.45", shrinkA=0, shrinkB=0, zorder=1,
            connectionstyle="arc3,rad=0" if down else "arc3,rad=-0.4",
        ))  # fmt: skip
    for key, box in g.boxes.items():
        x, y = place[key]
        ax.add_patch(FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.08", lw=0.7, ec="0.25",
            fc=shade(box.cumulative / g.total), zorder=2,
        ))  # fmt: skip
        ax.text(x, y, words(g, box), ha="center", va="center", fontsize=6.5, zorder=3)
    half = max(step_x * widest, 5.0) / 2 + 0.2
    ax.set(xlim=(-half, half), ylim=(-step_y * (len(lines) - 1) - height / 2 - 0.45, height / 2 + 0.15))
    ax.text(
        half - 0.1,
        -step_y * (len(lines) - 1) - height / 2 - 0.36,
        caption,
        ha="right",
        va="bottom",
        fontsize=6.5,
        color="0.35",
    )
    ax.axis("off")
    figure.savefig(to, dpi=160, format="png", metadata={"Software": None})
