"""`python -m valence.bench run --preset anisoap-torch` with the arguments given here; `--data-root` is `--data`, `--json` is `--out`."""

import sys

from valence.bench.cli import main

NAMES = {"--data-root": "--data", "--json": "--out"}

if __name__ == "__main__":
    words = [word.partition("=") for word in sys.argv[1:]]
    sys.exit(main(["run", "--preset", "anisoap-torch", *(NAMES.get(a, a) + b + c for a, b, c in words)]))
