"""`python -m valence.bench stress` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["stress", *sys.argv[1:]]))
