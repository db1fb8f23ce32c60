"""Tests that need a GPU; elsewhere each is skipped with the reason."""

from __future__ import annotations

import pytest
import valence.cuda


def pytest_collection_modifyitems(items):
    why = valence.cuda.why_not()
    for item in items:
        if why is not None and "gpu" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {why}"))
