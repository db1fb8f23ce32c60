"""`python -m valence.bench bundle --import` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["bundle", "--import", *sys.argv[1:]]))
