"""`python -m valence.bench plot` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["plot", *sys.argv[1:]]))
