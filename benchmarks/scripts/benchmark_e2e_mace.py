"""`python -m valence.bench run --preset mace --out results/metrics/e2e_mace.json` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", "--preset", "mace", "--out", "results/metrics/e2e_mace.json", *sys.argv[1:]]))
