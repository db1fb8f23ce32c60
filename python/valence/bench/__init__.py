"""The benchmark harness, `python -m valence.bench`: suites are data, peers run in processes of their own.

`valence.bench.run(preset="tiny")` is the same from Python; the object it returns shows itself in a notebook.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valence.bench.interactive import Run, run

__all__ = ["Run", "run"]


def __getattr__(name: str):
    if name in __all__:
        from valence.bench import interactive

        return getattr(interactive, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
