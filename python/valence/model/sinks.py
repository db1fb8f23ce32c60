"""Files that results are written to as they come. Each appears under its name when it is closed, whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from valence.atoms._tables import _polars as polars

__all__ = ["sink"]


def sink(path: str | os.PathLike[str], empty: Any) -> Sink:
    """The writer for a file's ending.

    Parameters
    ----------
    path : ends with .parquet, .csv, .jsonl, .ndjson, .extxyz or .xyz, the last two also with .gz.
    empty : results of an empty batch: names and types of the columns.
    """
    name = Path(path).name.lower()
    for endings, kind in _KINDS.items():
        if name.endswith(endings):
            return kind(Path(path), empty)
    known = ", ".join(e for endings in _KINDS for e in endings)
    raise ValueError(f"`out` must end with one of {known}, got {path}")


class Sink:
    """Keeps its parts in a folder beside the target. An error or Ctrl-C closes it too: what was written is kept."""

    def __init__(self, path: Path, empty: Any) -> None:
        self.path, self.empty = path, empty
        self.folder = Path()

    def __enter__(self) -> Sink:
        self.folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        try:
            self.open()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def open(self) -> None:
        pass

    def write(self, found: Any, first: int) -> None:
        """The next batch of results; `first` is the number of its first frame."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def _systems(found: Any, first: int) -> Any:
    """One row a frame: its number, its atoms, and results of systems."""
    import polars as pl

    batch = found.batch
    count = np.arange(first, first + len(batch), dtype=np.uint32)
    return pl.DataFrame(
        [pl.Series("frame", count), pl.Series("num_atoms", batch.counts.astype(np.uint32)), *_columns(found, "system")]
    )


def _atoms(found: Any, first: int) -> Any:
    """One row an atom: its frame, its number, and results of atoms."""
    pl = polars()
    frame = (found.batch.system + first).astype(np.uint32)
    return pl.DataFrame([pl.Series("frame", frame), pl.Series("number", found.batch.numbers), *_columns(found, "atom")])


def _columns(found: Any, per: str) -> list[Any]:
    pl = polars()
    arrays = found.arrays(per).items()
    return [pl.Series(name, v.reshape(len(v), 9) if v.ndim == 3 else v) for name, v in arrays]


def _nested(found: Any, first: int) -> Any:
    """One row a frame; results of atoms as lists."""
    systems = _systems(found, first)
    if not found.arrays("atom"):
        return systems
    lists = _atoms(found, first).group_by("frame", maintain_order=True).all()
    return systems.join(lists, on="frame", how="left", maintain_order="left")


class Parquet(Sink):
    """One row a frame, results of atoms as lists."""

    def open(self) -> None:
        self.parts: list[Path] = []
        self.write(self.empty, 0)

    def write(self, found: Any, first: int) -> None:
        part = self.folder / f"{len(self.parts)}.parquet"
        _nested(found, first).write_parquet(part)
        self.parts.append(part)

    def close(self) -> None:
        whole = self.folder / "whole.parquet"
        polars().scan_parquet(self.parts).sink_parquet(whole)
        os.replace(whole, self.path)


class _Appended(Sink):
    """Files that grow at their end."""

    def open(self) -> None:
        self.whole = self.folder / "whole"
        self.whole.touch()

    def append(self, path: Path, text: bytes) -> None:
        with open(path, "ab") as file:
            file.write(text)

    def close(self) -> None:
        os.replace(self.whole, self.path)


class Lines(_Appended):
    """JSON, one line a frame, results of atoms as lists."""

    def write(self, found: Any, first: int) -> None:
        self.append(self.whole, _nested(found, first).write_ndjson().encode())


class Csv(_Appended):
    """One row a frame; results of atoms in a second file, one row an atom. Components are columns, `forces_0` and so on."""

    def open(self) -> None:
        super().open()
        self.atoms = self.folder / "atoms"
        self.has_atoms = bool(self.empty.arrays("atom"))
        self._rows(self.empty, 0, header=True)

    def _rows(self, found: Any, first: int, header: bool) -> None:
        self.append(self.whole, _flat(_systems(found, first)).write_csv(include_header=header).encode())
        if self.has_atoms:
            self.append(self.atoms, _flat(_atoms(found, first)).write_csv(include_header=header).encode())

    def write(self, found: Any, first: int) -> None:
        self._rows(found, first, header=False)

    def close(self) -> None:
        super().close()
        if self.has_atoms:
            os.replace(self.atoms, self.path.with_name(f"{self.path.name[:-4]}.atoms.csv"))


def _flat(table: Any) -> Any:
    """Array columns as one column for each component."""
    pl = polars()
    columns = []
    for column in table.iter_columns():
        if isinstance(column.dtype, pl.Array):
            values = column.to_numpy().reshape(len(column), column.dtype.size)
            columns += [pl.Series(f"{column.name}_{k}", values[:, k]) for k in range(column.dtype.size)]
        else:
            columns.append(column)
    return pl.DataFrame(columns)


class Frames(_Appended):
    """The frames themselves with their results, as extended XYZ."""

    def write(self, found: Any, first: int) -> None:
        import valence as vl
        from valence.atoms.systems import Systems

        b = found.batch
        columns, info = (_beside(old, found.arrays(per)) for old, per in ((b.columns, "atom"), (b.info, "system")))
        part = self.folder / ("part.extxyz.gz" if self.path.name.lower().endswith(".gz") else "part.extxyz")
        vl.write(part, Systems._trusted(b.positions, b.numbers, b.offsets, b.cell, b.pbc, columns, info))
        self.append(self.whole, part.read_bytes())


def _beside(old: Any, new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results under their names; what the frames had under them is kept as `ref_<name>`."""
    return {**{f"ref_{k}" if k in new else k: v for k, v in old.items()}, **new}


_KINDS: dict[tuple[str, ...], type[Sink]] = {
    (".parquet",): Parquet,
    (".csv",): Csv,
    (".jsonl", ".ndjson"): Lines,
    (".extxyz", ".xyz", ".extxyz.gz", ".xyz.gz"): Frames,
}
