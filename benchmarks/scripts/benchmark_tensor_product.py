"""`python -m valence.bench run` of tensor products, weighted and not, values and gradients, with the arguments given here."""

import sys

from valence.bench.cli import main

WORKLOADS = "tp-1000,tp-10000,tp-vjp-1000,tp-vjp-10000,tp-simple-32000,tp-simple-vjp-32000"
WORDS = ["run", "--preset", "equivariant", "--workload", WORKLOADS, "--out", "results/metrics/tensor_product.json"]

if __name__ == "__main__":
    sys.exit(main([*WORDS, *sys.argv[1:]]))
