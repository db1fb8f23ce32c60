"""`python -m valence.bench memory` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["memory", *sys.argv[1:]]))
