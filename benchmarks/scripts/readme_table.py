"""Writes the table of README.md from results/tables/*_ratios.csv: every ratio that has a target.

python benchmarks/scripts/readme_table.py [--check]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->"
SUITES = ("mace", "engine", "soap", "anisoap", "edges", "basis", "equivariant", "layers", "symmetric", "io", "overhead")
#: Workloads of the suites in words.
WORDS = {
    "silica-64-f64:": "MACE 128x0e + 128x1o, energy, forces, stress of 64 atoms Si and O:",
    "silica-64-f32: symmetrix-f64": "MACE, 64 atoms: symmetrix in float64",
    "silica-64-f32:": "MACE, 64 atoms:",
    "hexane-20:": "MACE, one molecule of 20 atoms:",
    "silica-512:": "MACE, 512 atoms:",
    "cost per edge:": "MACE, our cost per edge:",
    "64 atoms: 1 thread over 2": "MACE, 64 atoms: 1 thread over 2",
    "512 atoms: 1 thread over 2": "MACE, 512 atoms: 1 thread over 2",
    "seconds from nothing to the first energy": "MACE, seconds from the start of Python to the first energy",
    "peak memory of 512 atoms:": "MACE, peak memory of 512 atoms:",
    "schnet-32x20:": "SchNet, energy and forces of 32 molecules of 20 atoms, edges given (float32):",
    "schnet-liquid-500:": "SchNet, liquid of 500 atoms:",
    "schnet-liquid-1000:": "SchNet, liquid of 1,000 atoms:",
    "painn-32x20:": "PaiNN, 32 molecules of 20 atoms:",
    "painn-liquid-500:": "PaiNN, liquid of 500 atoms:",
    "painn-liquid-1000:": "PaiNN, liquid of 1,000 atoms:",
    "si-216:": "SOAP power spectrum, n 8, l 6, 5 Å, 216 Si:",
    "nacl-216:": "SOAP, 216 Na and Cl:",
    "si-216-gto:": "SOAP, 216 Si, gto basis:",
    "nacl-216-gto:": "SOAP, 216 Na and Cl, gto basis:",
    "si-216-polynomial:": "SOAP, 216 Si, polynomial basis:",
    "nacl-216-polynomial:": "SOAP, 216 Na and Cl, polynomial basis:",
    "si-216-vjp:": "gradient of a function of SOAP to positions, 216 Si, dense gradients contracted by",
    "nacl-216-vjp:": "the same, 216 Na and Cl:",
    "Si: vjp over forward": "SOAP, 216 Si: gradient over values",
    "NaCl: vjp over forward": "SOAP, 216 Na and Cl: gradient over values",
    "Si of 8,000: 1 thread over 2": "SOAP, 8,000 Si: 1 thread over 2",
    "cost per atom, Si of 8,000 over 1,728": "SOAP, cost per atom, 8,000 Si over 1,728",
    "Si of 8,000: peak memory over its output": "SOAP, 8,000 Si: peak memory over that of its result",
    "cost per atom, Si of 1,728 over 216": "SOAP, cost per atom, 1,728 Si over 216",
    "Si of 1,728: peak memory over its output": "SOAP, 1,728 Si: peak memory over that of its result",
    "ellipsoids-27-l6:": "AniSOAP power spectrum, l 6, 27 ellipsoids:",
    "ellipsoids-125-l6:": "AniSOAP, 125 ellipsoids:",
    "125 ellipsoids: vjp": "AniSOAP, 125 ellipsoids: gradient",
    "27 ellipsoids: vjp": "AniSOAP, 27 ellipsoids: gradient",
    "8,000 ellipsoids: 1 thread over 2": "AniSOAP, 8,000 ellipsoids: 1 thread over 2",
    "cost per ellipsoid, 1,000 over 125": "AniSOAP, cost per ellipsoid, 1,000 over 125",
    "liquid-64:": "neighbour list, liquid of 64 atoms:",
    "liquid-1000:": "neighbour list, 1,000 atoms:",
    "liquid-100000:": "neighbour list, 100,000 atoms:",
    "molecules-10000x20:": "neighbour list, 10,000 molecules of 20 atoms in one call, in a loop by",
    "verlet-10000: cpu-rebuild": "neighbour list, 10,000 atoms: a rebuild over reuse with a skin",
    "cost per atom,": "neighbour list, cost per atom,",
    "1 thread over 2": "neighbour list, 100,000 atoms: 1 thread over 2",
    "memory of 1,000,000 atoms over its table": "neighbour list, 1,000,000 atoms: memory over that of its table",
    "harmonics-l3:": "spherical harmonics, lmax 3:",
    "harmonics-l6:": "spherical harmonics, lmax 6:",
    "harmonics-vjp-l3:": "spherical harmonics with gradient, lmax 3:",
    "harmonics-vjp-l6:": "spherical harmonics with gradient, lmax 6:",
    "gaussian-20:": "20 Gaussians with cosine and derivative:",
    "tp-1000:": "weighted tensor product to degree 3, 32 channels, 1,000 rows:",
    "tp-10000:": "weighted tensor product, 10,000 rows:",
    "tp-vjp-1000:": "weighted tensor product with its three gradients, 1,000 rows:",
    "tp-vjp-10000:": "weighted tensor product with its three gradients, 10,000 rows:",
    "tp-simple-32000:": "unweighted tensor product, 32,000 rows:",
    "tp-simple-vjp-32000:": "unweighted tensor product with gradients, 32,000 rows:",
    "scatter-1000x20: cpu-unfused": "harmonics, product and sum, 1,000 atoms x 20, 32 channels: our own ops one by one",
    "scatter-vjp-1000x20: cpu-unfused": "the same with gradients: our own ops one by one",
    "scatter-5000x30: cpu-unfused": "harmonics, product and sum, 5,000 atoms x 30, 64 channels: our own ops one by one",
    "channelwise-5000:": "channel-wise product, gathered and summed, 5,000 edges, 128x0e + 128x1o:",
    "channelwise-vjp-5000:": "the same with its three gradients:",
    "linear-5000:": "linear map, 5,000 atoms, 128x0e + 128x1o + 128x2e, its dense products alone:",
    "linear-by-element-5000:": "linear map by 89 elements:",
    "mace-layer-1000x20-32:": "MACE layer with gradients, 1,000 atoms x 20, 32 channels:",
    "mace-layer-250x20-128:": "MACE layer with gradients, 250 atoms x 20, 128 channels:",
    "contraction-vjp-01-10:": "symmetric contraction with gradients, 500 atoms, 128 channels, degree 3:",
    "extxyz-1000x100:": "extended XYZ, 1,000 frames of 100 atoms:",
    "extxyz-10000x20:": "extended XYZ, 10,000 frames of 20 atoms:",
    "extxyz-1x100000:": "extended XYZ, one frame of 100,000 atoms:",
    "array-20:": "length of 20 vectors, NumPy call:",
    "torch-20:": "length of 20 vectors and gradient, torch call:",
    "jax-20:": "length of 20 vectors, jitted JAX call:",
}


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
                prefix = next((p for p in WORDS if name.startswith(p)), "")
                name = WORDS.get(prefix, "") + name.removeprefix(prefix)
                kind = row["dtype"] if suite in ("basis", "mace", "soap") and row["dtype"] not in name else ""
                reached = "" if row["reached"] == "True" else "not reached"
                lines.append(
                    f"| {f'{name} ({kind})' if kind else name} | {ratio} [{low}, {high}] | {target(row)} | {reached} |"
                )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the table is another")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    made = text[:begin] + table() + text[end:]
    if check:
        print(json.dumps({"in_step": made == text}))
        return 0 if made == text else 1
    path.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
