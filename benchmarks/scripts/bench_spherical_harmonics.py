"""`python -m valence.bench run` of harmonics of lmax 3 and 6, values and gradients, with the arguments given here."""

import sys

from valence.bench.cli import main

WORKLOADS = "harmonics-l3,harmonics-l6,harmonics-vjp-l3,harmonics-vjp-l6"
WORDS = ["run", "--preset", "basis", "--workload", WORKLOADS, "--out", "results/metrics/spherical_harmonics.json"]

if __name__ == "__main__":
    sys.exit(main([*WORDS, *sys.argv[1:]]))
