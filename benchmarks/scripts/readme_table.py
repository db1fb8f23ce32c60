"""Writes the table of README.md from results/tables/*_ratios.csv: every ratio that has a target.

python benchmarks/scripts/readme_table.py [--check]
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->"
SUITES = ("edges", "basis", "io", "overhead")


def target(row: dict[str, str]) -> str:
    low, high = row["at_least"], row["at_most"]
    if low and high:
        return f"{float(low):g} to {float(high):g}"
    return f"≥ {float(low):g}" if low else f"≤ {float(high):g}"


def table() -> str:
    lines = ["| what, time of the other over ours unless said | measured [95 %] | aim | |", "| --- | --- | --- | --- |"]
    for suite in SUITES:
        path = ROOT / "results" / "tables" / f"{suite}_ratios.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if not (row["at_least"] or row["at_most"]):
                    continue
                ratio, low, high = (f"{float(row[k]):.3g}" for k in ("ratio", "low", "high"))
                name = row["name"].replace("cpu over ", "")
                kind = row["dtype"] if suite == "basis" else ""
                reached = "" if row["reached"] == "True" else "not reached"
                lines.append(
                    f"| {f'{name} ({kind})' if kind else name} | {ratio} [{low}, {high}] | {target(row)} | {reached} |"
                )
    return "\n".join(lines) + "\n"


def main() -> int:
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    made = text[:begin] + table() + text[end:]
    if "--check" in sys.argv[1:]:
        print(json.dumps({"in_step": made == text}))
        return 0 if made == text else 1
    path.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
