"""The rows of a run as files, one a row: what a killed run goes on from, and the log files of each row."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path

import numpy as np

from valence.bench.record import key, write_text

#: Keys of `<job>.metrics.json` that come first, in this order.
LOG_KEYS = ("xyz", "mode", "returncode", "elapsed_s", "max_rss_kb", "inblock", "oublock")
OWN_KEYS = ("N", "species", "backend_used", "samples_s", "stages", "checksum", "max_err", "git", "dtype", "threads",
            "startup_s")  # fmt: skip
RETURNCODES = {"ok": 0, "failed": 1, "skipped": 1, "wrong": 2, "mismatch": 3}


def mode(point: dict) -> str:
    """The backend, with the dtype where it is not float64 and the threads where they are not one."""
    dtype = "" if point["dtype"] == "float64" else f"-{point['dtype']}"
    threads = "" if point["threads"] == 1 else f"-{point['threads']}t"
    return f"{point['backend']}{dtype}{threads}"


def job(point: dict) -> str:
    """`<workload>_<mode>`, fit for the name of a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{point['workload']}_{mode(point)}")


def key_of(point: dict) -> str:
    return key(point["workload"], point["backend"], point["dtype"], point["threads"])


class Journal:
    """A folder `<record>.rows` with one JSON file a row, each written whole after every sample. It goes when the run ends."""

    def __init__(self, out: Path):
        self.folder = out.with_suffix(".rows")

    def there(self) -> bool:
        return self.folder.is_dir() and any(self.folder.glob("*.json"))

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, point: dict) -> None:
        write_text(self.folder / f"{job(point)}.json", json.dumps(point, allow_nan=False))

    def read(self) -> dict[str, dict]:
        """The rows that are there; a file that is not JSON was not written by us, and is an error."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                point = json.loads(path.read_text())
                found[key_of(point)] = point
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(f"{path} must be a row of a run: delete it, or start anew with --force") from None
        return found


def metrics(point: dict) -> dict:
    """`<job>.metrics.json` of a row: the names of the old harness first, then our own, then the whole row."""
    named = {
        "xyz": f"{point['workload']}.xyz",
        "mode": mode(point),
        "returncode": RETURNCODES[point["status"]],
        "elapsed_s": point.get("wall_median"),
        "max_rss_kb": point.get("max_rss_kb"),
        "inblock": point.get("inblock"),
        "oublock": point.get("oublock"),
    }
    own = {k: point.get(k) for k in OWN_KEYS}
    own["stages"] = {k: float(np.median(v)) for k, v in (own["stages"] or {}).items()}
    rest = {k: v for k, v in point.items() if k not in named and k not in own}
    return {**named, **own, **rest}


def write_logs(point: dict, folder: Path) -> None:
    """`<job>.metrics.json`, `<job>.wall` (seconds, of a row that ran) and `<job>.out` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    name, made = job(point), metrics(point)
    write_text(folder / f"{name}.metrics.json", json.dumps(made, indent=1, allow_nan=False) + "\n")
    wall = made["elapsed_s"]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    head = f"{point.get('started') or now} file={made['xyz']} mode={made['mode']} jobtag={name}"
    value = point["checksum"][0] if point.get("checksum") else "nan"
    seconds = "nan" if wall is None else f"{wall:.6g}"
    mark = "OK" if point["status"] == "ok" else point["status"].upper()
    reason = f" reason={point['reason']}" if point.get("reason") else ""
    lines = [
        f"[START] {head}",
        f"[{mark}] backend={point.get('backend_used') or point['backend']} species={point.get('species') or ''} "
        f"value={value} elapsed={seconds}{reason}",
        f"[END] {now} file={made['xyz']} mode={made['mode']} wall={seconds}",
    ]
    write_text(folder / f"{name}.out", "\n".join(lines) + "\n")
    if wall is not None:
        write_text(folder / f"{name}.wall", f"{wall:.3f}\n")
