"""Fails if `import valence` finds the checkout instead of the installed package."""

import sys

import valence

if "site-packages" not in valence.__file__:
    sys.exit(f"valence must be the installed package, got {valence.__file__}")
