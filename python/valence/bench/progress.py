"""A bar with the time that remains, on a terminal or in a notebook; nothing elsewhere."""

from __future__ import annotations

import sys
import time


def wanted() -> bool:
    """Whether somebody looks: standard error is a terminal, or this is a notebook's kernel."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts steps of about the same work; the remaining time is that of the finished ones, scaled."""

    WIDTH = 24

    def __init__(self, name: str, total: int, shown: bool):
        self.name, self.total, self.shown, self.done = name, total, shown and total > 0, 0
        self.began = time.monotonic()

    def line(self, what: str) -> str:
        part = min(1.0, self.done / max(1, self.total))
        bar = "#" * round(self.WIDTH * part)
        spent = time.monotonic() - self.began
        left = clock(spent * (1 - part) / part) if part > 0 else "?"
        return f"[{self.name}] {bar:.<{self.WIDTH}} {100 * part:3.0f}%  {clock(spent)} spent, {left} left  {what}"

    def step(self, what: str, steps: int = 0) -> None:
        """Say what is done now, after `steps` more steps."""
        self.done += steps
        if self.shown:
            print(f"\r{self.line(what)[:110]:<110}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown:
            print(f"\r{'':<110}\r", end="", file=sys.stderr, flush=True)
            self.shown = False
