"""`python -m valence.bench run` of harmonics, product and sum along edges, fused and in steps, with the arguments given here."""

import sys

from valence.bench.cli import main

WORKLOADS = "scatter-1000x20,scatter-vjp-1000x20,scatter-5000x30"
WORDS = ["run", "--preset", "equivariant", "--workload", WORKLOADS, "--out", "results/metrics/fused_sh_tp.json"]

if __name__ == "__main__":
    sys.exit(main([*WORDS, *sys.argv[1:]]))
