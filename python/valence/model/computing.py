"""`valence compute`: a model over a file of frames, batch by batch, into a table or a file of frames."""

from __future__ import annotations

import gzip
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from valence.model.sinks import sink

__all__ = ["Progress", "compute_file"]

#: Frames that are read at a time, and atoms of one call of the model, where the caller does not say.
_FRAMES, _ATOMS = 64, 4096


class Progress:
    """A line on a terminal: frames done of all, atoms, frames a second. Silent where the stream is no terminal."""

    def __init__(self, total: int | None, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.shown = self.stream.isatty()
        self.total, self.frames, self.atoms = total, 0, 0
        self.start = self.last = time.monotonic()

    def add(self, frames: int, atoms: int) -> None:
        self.frames, self.atoms = self.frames + frames, self.atoms + atoms
        now = time.monotonic()
        if self.shown and (now - self.last > 0.1 or self.frames == self.total):
            self.last = now
            self.stream.write(f"\r{self.line(now)}\x1b[K")
            self.stream.flush()

    def line(self, now: float) -> str:
        rate = self.frames / max(now - self.start, 1e-9)
        text = f"{self.frames:,} frames, {self.atoms:,} atoms, {rate:.3g} frames/s"
        if not self.total:
            return text
        done = min(self.frames / self.total, 1.0)
        bar = "#" * int(30 * done)
        left = (self.total - self.frames) / rate if rate else 0.0
        return f"[{bar:<30}] {100 * done:3.0f} % {text}, {left:.0f} s left"

    def close(self) -> None:
        if self.shown:
            self.stream.write("\n")
            self.stream.flush()


def compute_file(
    frames: str | os.PathLike[str],
    model: Any,
    out: str | os.PathLike[str],
    properties: Sequence[str] = ("energy", "forces"),
    *,
    batch: int | None = None,
    progress: bool = True,
) -> int:
    """Computes properties of every frame of a file.

    Parameters
    ----------
    frames : a file that `valence.read` reads; (extended) XYZ is streamed, another format read whole.
    model : what `valence.load` gives.
    out : file to write: .parquet and .jsonl have one row a frame, with results of atoms as lists in it; .csv has one row a frame
        and a second file, `<name>.atoms.csv`, with one row an atom; .extxyz (also .gz) has the frames with their results,
        where a column of the frames that has a result's name is kept as `ref_<name>`.
    properties : names of `model.properties`, but the Hessian.
    batch : frames of one call; None: as many as make about 4,096 atoms.
    progress : a line on stderr if that is a terminal.

    Returns
    -------
    Frames computed. Memory is that of one batch.

    Raises
    ------
    OSError; ValueError, naming the frame of what is wrong. What was computed until then, or until Ctrl-C, is in `out`, whole.
    """
    import valence as vl

    known = [p for p in model.properties if p != "hessian"]
    unknown = [p for p in properties if p not in known]
    if unknown or not properties:
        raise ValueError(f"`properties` must be among {', '.join(known)}, got {', '.join(unknown) or 'none'}")
    if batch is not None and batch < 1:
        raise ValueError(f"`batch` must be one or more, got {batch}")
    path = os.fspath(frames)
    if Path(path).resolve() == Path(out).resolve():
        raise ValueError(f"`out` must be another file than the frames, got {out} for both")
    bar = Progress(None)
    if bar.shown and progress:
        bar.total = _count(path)
    bar.shown = bar.shown and progress
    none = vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, np.uint8), counts=np.zeros(0, np.int64))
    with sink(out, model.compute(none, properties)) as target:
        try:
            for systems in _batches(path, batch):
                target.write(_computed(model, systems, properties, path, bar.frames), bar.frames)
                bar.add(len(systems), len(systems.numbers))
        finally:
            bar.close()
    return bar.frames


def _computed(model: Any, systems: Any, properties: Sequence[str], path: str, first: int) -> Any:
    try:
        return model.compute(systems, properties)
    except (ValueError, TypeError):
        # Which frame it is: the batch's own message counts rows of the batch.
        for n, one in enumerate(systems):
            try:
                model.compute(one, properties)
            except (ValueError, TypeError) as error:
                raise type(error)(f"{path}, frame {first + n}: {error}") from None
        raise


def _batches(path: str, batch: int | None) -> Iterator[Any]:
    import valence as vl

    xyz = Path(path.lower().removesuffix(".gz")).suffix in (".xyz", ".extxyz", ".exyz")
    chunks = vl.iread(path, batch=batch or _FRAMES) if xyz else iter([vl.read(path)])
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            if batch is None:
                limit = chunk.offsets[start] + _ATOMS
                stop = max(start + 1, int(np.searchsorted(chunk.offsets, limit, side="right")) - 1)
            else:
                stop = start + batch
            yield chunk[start : min(stop, len(chunk))]
            start = stop


def _count(path: str) -> int | None:
    """Frames of an XYZ file by its counts of atoms, without reading what stands between; None for another file."""
    if Path(path.lower().removesuffix(".gz")).suffix not in (".xyz", ".extxyz", ".exyz"):
        return None
    count = 0
    with gzip.open(path, "rb") if path.lower().endswith(".gz") else open(path, "rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                lines = int(line) + 1
            except ValueError:
                return None  # reading the frames will say what is wrong
            next(itertools.islice(file, lines - 1, lines), None)
            count += 1
    return count
