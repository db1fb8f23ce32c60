"""What is asked of a run beside its suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from valence.bench.progress import wanted


@dataclass
class Settings:
    """What the command line adds to a suite; None leaves the suite's own word."""

    out: Path
    backends: list[str] | None = None
    workloads: list[str] | None = None
    threads: list[int] | None = None
    repeats: int | None = None
    warmup: int | None = None
    rounds: int | None = None
    resume: bool = False
    force: bool = False
    seed: int = 0
    timeout: float = 600.0
    peers: str | None = None
    environments: str | None = None
    pin: bool = False
    progress: bool = field(default_factory=wanted)
    passes: int | None = None
    isolate: bool = False
    profile: bool = False
    frames: int | None = None
    data: Path | None = None
