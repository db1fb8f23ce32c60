"""`python -m valence.bench env` with the arguments given here."""

import sys

from valence.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["env", *sys.argv[1:]]))
