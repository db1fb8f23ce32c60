"""`python -m valence.bench roofline`: this machine's bandwidth and arithmetic, and where our kernels stand below both.

The roofline of S. Williams, A. Waterman, D. Patterson, Commun. ACM 52, 65 (2009), on one thread: arithmetic over traffic against
arithmetic a second. The bandwidth is the best of STREAM's copy and add on arrays of 64 MiB, the peak NumPy's matrix product of 384 rows: calls of a few milliseconds, so
that a busy machine interrupts few of them. The operations
of a kernel are counted from its definition, the traffic is each input once and the output once: a kernel that does less than
its definition, or keeps data in the cache, may stand above what it could.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from valence.bench import environment, record
from valence.bench.figure_rows import Source
from valence.bench.figures import COLOURS, MARKERS, Drawn, canvas
from valence.bench.peers import THREAD_VARIABLES

HELP = "measure the bandwidth and the arithmetic of this machine, and our kernels below them, on one thread"
MIB = 1 << 20
ROUNDS = 5


def add_arguments(p) -> None:
    p.add_argument("--out", type=Path, default=Path("results/metrics/roofline.json"), help="(default %(default)s)")
    p.add_argument("--force", action="store_true", help="replace the file")
    p.add_argument("--seconds", type=float, default=0.3, help="for each measurement (default %(default)s)")
    p.add_argument("--size", type=float, default=1.0, help="factor of the sizes of all arrays (default 1)")


def best(call, seconds: float) -> float:
    """The least time of a call within `seconds`, at least three."""
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def bandwidth(seconds: float, size: float) -> float:
    """Bytes a second of the memory, counted as STREAM counts them."""
    n = int(64 * MIB * size) // 8
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    return max(16 * n / best(lambda: np.copyto(a, b), seconds), 24 * n / best(lambda: np.add(b, c, out=a), seconds))


def peak(dtype: str, seconds: float, size: float) -> float:
    """Operations a second of a matrix product."""
    n = max(64, int(384 * size ** (1 / 3)))
    a = np.ones((n, n), dtype=dtype)
    out = np.empty_like(a)
    return 2 * n**3 / best(lambda: np.matmul(a, a, out=out), seconds)


def harmonics_operations(lmax: int) -> int:
    """Additions, products, roots and divisions for the harmonics of one normalised vector by the recurrence in l."""
    count = 10
    for m in range(lmax + 1):
        count += 6 if m else 0
        for l in range(m, lmax + 1):
            count += (0, 1, 4)[min(l - m, 2)] + (3 if m else 1)
    return count


def coupled(lmax: int) -> list[tuple[int, int, int, int]]:
    """l1, l2, l3 of the paths to degree `lmax`, and the number of their coefficients that are not zero."""
    import valence as vl

    paths = []
    for l1, l2, l3 in vl.tp_path_info(lmax, lmax, lmax):
        c = np.asarray(vl.clebsch_gordan(int(l1), int(l2), int(l3)))
        paths.append((int(l1), int(l2), int(l3), int((np.abs(c) > 1e-12).sum())))
    return paths


def soap_kernel(dtype: str, size: float):
    """SOAP of silicon, 8 radial functions, lmax 6: 782 fused operations a pair (table, harmonics, product), 49 n (n + 1) / 2 a centre."""
    import valence as vl
    from valence.bench import structures

    side = max(1, round(4 * size ** (1 / 3)))
    numbers, x, cell = structures.crystal(np.random.default_rng(0), "Si", side, displaced=0.1)
    systems = vl.Systems.from_arrays(x.astype(dtype), numbers, cell=cell, pbc=True)
    soap = vl.Soap(cutoff=5.0, max_radial=7, lmax=6, width=0.5)
    pairs, n = len(vl.find_edges(systems, 5.0).source), len(numbers)
    width = np.dtype(dtype).itemsize
    return lambda: soap.compute(systems), 2 * (782 * pairs + 49 * 36 * n), width * (3 * n + 448 * n)


def kernels(size: float):
    """name, dtype, call, operations, bytes of each kernel."""
    import valence as vl
    from valence import equivariant as eq

    rng = np.random.default_rng(0)
    for dtype in ("float64", "float32"):
        w = np.dtype(dtype).itemsize
        n = int(1_000_000 * size)
        v = rng.normal(size=(n, 3)).astype(dtype)
        for lmax in (1, 3, 6):
            m = (lmax + 1) ** 2
            rows = v[: max(1, 4 * n // m)].copy() if 4 * n // m < n else v
            out = np.empty((len(rows), m), dtype=dtype)
            call = lambda rows=rows, lmax=lmax, out=out: vl.spherical_harmonics(rows, lmax, out=out)  # noqa: E731
            yield (
                f"harmonics, lmax {lmax}",
                dtype,
                call,
                len(rows) * harmonics_operations(lmax),
                w * len(rows) * (3 + m),
            )
        paths, channels, rows = coupled(3), 32, max(1, int(4000 * size))
        x = rng.normal(size=(rows, channels, 16)).astype(dtype)
        y = rng.normal(size=(rows, 16)).astype(dtype)
        simple = 3 * sum(c for *_, c in paths) * rows * channels
        yield (
            "product, no weights",
            dtype,
            lambda x=x, y=y: vl.tensor_product_simple(x, y),
            simple,
            w * (2 * x.size + y.size),
        )
        weights = rng.normal(size=(len(paths), channels, channels)).astype(dtype)
        few = max(1, rows // 4)
        operations = few * sum(2 * channels**2 * (2 * l3 + 1) + 2 * channels * c for *_, l3, c in paths)
        part, turned = x[:few].copy(), y[:few].copy()
        call = lambda part=part, turned=turned, weights=weights: vl.tensor_product(part, turned, weights)  # noqa: E731
        yield "product, weighted", dtype, call, operations, w * (few * (2 * channels * 16 + 16) + weights.size)
        irreps, atoms = "128x0e + 128x1o + 128x2e", max(1, int(8000 * size))
        linear = eq.linear(irreps, irreps)
        f = rng.normal(size=(atoms, 128 * 9)).astype(dtype)
        mix = rng.normal(size=(1, linear.weight_numel)).astype(dtype)
        yield "linear, 128 channels", dtype, lambda linear=linear, mix=mix, f=f: linear(mix, f), 2 * 128**2 * 9 * atoms, w * (2 * f.size + mix.size)  # fmt: skip
        if hasattr(vl, "Soap"):
            yield "SOAP, n 8, lmax 6", dtype, *soap_kernel(dtype, size)


def measure(seconds: float = 0.3, size: float = 1.0, rounds: int = ROUNDS) -> dict:
    """All of it in this process, which should have one thread (see `main`): in `rounds` rounds, of which each keeps its best, so that
    another job on the machine hits the roofs and the kernels alike."""
    import valence as vl

    vl.set_num_threads(1)
    made = list(kernels(size))
    part = seconds / rounds
    roofs: dict[str, float] = {}
    times = [float("inf")] * len(made)
    for _ in range(rounds):
        found = {"bandwidth": bandwidth(part, size), **{d: peak(d, part, size) for d in ("float64", "float32")}}
        roofs = {k: max(v, roofs.get(k, 0.0)) for k, v in found.items()}
        times = [min(t, best(call, part)) for t, (_, _, call, _, _) in zip(times, made, strict=True)]
    return {
        "schema": record.SCHEMA, "kind": "roofline", "name": "roofline", "environment": environment.report(ask_torch=False),
        "ceilings": roofs,
        "kernels": [
            {"name": name, "dtype": dtype, "seconds": t, "operations": int(operations), "bytes": int(traffic)}
            for t, (name, dtype, _, operations, traffic) in zip(times, made, strict=True)
        ],
    }  # fmt: skip


def roof(ceilings: dict, dtype: str, intensity: float) -> float:
    return min(ceilings[dtype], ceilings["bandwidth"] * intensity)


def main(a) -> int:
    if not (a.seconds > 0 and a.size > 0):
        raise ValueError(f"`seconds` and `size` must be positive, got {a.seconds} and {a.size}")
    if a.out.exists() and not a.force:
        raise FileExistsError(f"`out` must be a new file (or give --force), {a.out} is there")
    text = f"import json; from valence.bench import roofline; print(json.dumps(roofline.measure({a.seconds!r}, {a.size!r})))"
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    ended = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        print(f"valence.bench: error: the measurement ended with {ended.returncode}: {last}", file=sys.stderr)
        return 1
    made = json.loads(ended.stdout.splitlines()[-1])
    record.write_json(a.out, made)
    c = made["ceilings"]
    print(
        f"bandwidth {c['bandwidth'] / 1e9:.1f} GB/s; peak {c['float64'] / 1e9:.1f} (float64), {c['float32'] / 1e9:.1f} (float32) Gflop/s"
    )
    for k in made["kernels"]:
        rate, intensity = k["operations"] / k["seconds"], k["operations"] / k["bytes"]
        share = rate / roof(c, k["dtype"], intensity)
        print(
            f"{k['name']:<24} {k['dtype']:<8} {rate / 1e9:8.2f} Gflop/s at {intensity:7.2f} flop/B: {100 * share:5.1f} % of the roof"
        )
    return 0


def draw(source: Source) -> Drawn | None:
    """Both roofs of each precision, and the kernels below them."""
    made = source.roofline
    if made is None:
        return None
    figure, axes = canvas(7.2, 4.4)
    ax, c = axes[0, 0], made["ceilings"]
    x = [k["operations"] / k["bytes"] for k in made["kernels"]]
    grid = np.geomspace(min(*x, 0.1) / 1.6, max(*x, 10) * 2, 200)
    shade = {"float64": COLOURS[0], "float32": COLOURS[1]}
    for dtype, colour in shade.items():
        y = np.array([roof(c, dtype, g) for g in grid]) / 1e9
        ax.plot(grid, y, color=colour, lw=1.4, ls="-" if dtype == "float64" else "--")
        corner, below = c[dtype] / c["bandwidth"], dtype == "float64"
        ax.annotate(
            f"peak {dtype}: {c[dtype] / 1e9:.0f} Gflop/s", (corner, c[dtype] / 1e9), xytext=(8, -11 if below else 4),
            textcoords="offset points", fontsize=7, color=colour,
        )  # fmt: skip
    start = grid[3]
    ax.annotate(
        f"memory: {c['bandwidth'] / 1e9:.1f} GB/s",
        (start, c["bandwidth"] * start / 1e9),
        xytext=(14, -4),
        textcoords="offset points",
        fontsize=7,
    )
    names = list(dict.fromkeys(k["name"] for k in made["kernels"]))
    for k, intensity in zip(made["kernels"], x, strict=True):
        marker = MARKERS[names.index(k["name"]) % len(MARKERS)]
        full = k["dtype"] == "float64"
        ax.plot(intensity, k["operations"] / k["seconds"] / 1e9, marker, ms=7, mec=shade[k["dtype"]], mfc=shade[k["dtype"]] if full else "white",
                label=k["name"] if full else None)  # fmt: skip
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="operations over bytes of traffic (flop/B)",
        ylabel="operations a second (Gflop/s)",
    )
    ax.grid(axis="x", lw=0.4, color="0.88")
    ax.legend(fontsize=7, frameon=False, loc="lower right", title="filled float64, open float32", title_fontsize=7)
    shares = {
        f"{k['name']} {k['dtype']}": k["operations"] / k["seconds"] / roof(c, k["dtype"], i)
        for k, i in zip(made["kernels"], x, strict=True)
    }
    says = "share of the roof: " + ", ".join(f"{name} {100 * s:.0f} %" for name, s in shares.items())
    return Drawn(
        figure,
        "our kernels on one thread; operations of the definition, traffic of inputs and output once",
        "least time of each; bandwidth by STREAM's copy and add, peak by NumPy's matrix product",
        says,
    )
