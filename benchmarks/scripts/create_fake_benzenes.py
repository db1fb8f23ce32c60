"""`python -m valence.bench make-data species` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["make-data", "species", *sys.argv[1:]]))
