"""`python -m valence.bench profile benzenes` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["profile", "benzenes", *sys.argv[1:]]))
