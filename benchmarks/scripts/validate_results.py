"""`python -m valence.bench compare --self-check` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", "--self-check", *sys.argv[1:]]))
