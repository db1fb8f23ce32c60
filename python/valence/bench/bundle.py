"""`python -m valence.bench bundle`: results with all that is needed to make them again, in one archive, or back out of one.

The same files make the same bytes: members are sorted by name, their times, owners and modes are fixed.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from valence.bench.record import write_bytes

HELP = "results and harness in one archive, byte for byte the same from the same files; --import unpacks one"
#: The archives' names, and the folders that each takes by default.
ARTIFACTS = {
    "profiling_artifacts.tgz": ("results", "benchmarks", "env", "configs"),
    "profiling_local.zip": ("results/tables", "results/metrics", "benchmarks", "configs"),
}
#: What no archive takes: caches, environments of peers, weights, files of a run that goes on.
LEFT_OUT = re.compile(r"(^|/)(\.[^/]+|__pycache__|[^/]+\.rows)(/|$)")
#: Endings of the files of an archive without folders, and where `--import` puts them.
LAYOUT = ((".metrics.json", "results/logs"), (".wall", "results/logs"), (".out", "results/logs"), (".prof", "results/logs"),
          (".svg", "results/logs"), (".err", "results/logs"), (".log", "results/logs"), (".sub", "results/logs"),
          (".csv", "results/tables"), (".csv.gz", "results/tables"), (".parquet", "results/tables"), ("env_report.json", "results/tables"),
          (".png", "results/figures"), (".pdf", "results/figures"), (".json", "results/metrics"))  # fmt: skip
#: No member is read beyond this size.
LARGEST = 1 << 30


def add_arguments(p) -> None:
    p.add_argument(
        "archives", nargs="*", type=Path, metavar="ARCHIVE",
        help=f"of {', '.join(ARTIFACTS)} or names of your own, .tgz, .tar.gz or .zip (default both)",
    )  # fmt: skip
    p.add_argument("--root", type=Path, default=Path("."), help="the folder of results/ and benchmarks/ (default .)")
    p.add_argument("--include", action="append", default=[], help="a further file or folder below the root")
    p.add_argument("--import", dest="unpack", action="store_true", help="unpack into the root instead of packing")
    p.add_argument("--chtc", type=Path, help="with --import: the archive of a cluster's run")
    p.add_argument("--local", type=Path, help="with --import: the archive of a local run")
    p.add_argument("--force", action="store_true", help="replace archives, or with --import files that differ")


def members(root: Path, folders) -> dict[str, bytes]:
    """Name and content of all files below some folders of the root, sorted by name."""
    found = {}
    for folder in folders:
        top = root / folder
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not LEFT_OUT.search(name):
                found[name] = path.read_bytes()
    return dict(sorted(found.items()))


def tar_bytes(files: dict[str, bytes]) -> bytes:
    raw, out = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=9) as f:
        f.write(raw.getvalue())
    return out.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            z.writestr(info, content)
    return out.getvalue()


def is_zip(path: Path) -> bool:
    if path.name.endswith(".zip"):
        return True
    if path.name.endswith((".tgz", ".tar.gz")):
        return False
    raise ValueError(f"`archive` must end with .tgz, .tar.gz or .zip, got {path}")


def pack(path: Path, root: Path, folders) -> int:
    """Write an archive of the files below some folders; returns their number."""
    files = members(root, folders)
    if not files:
        raise ValueError(f"`root` must hold one of {list(folders)}, got {root}")
    write_bytes(path, (zip_bytes if is_zip(path) else tar_bytes)(files))
    return len(files)


def safe_name(name: str, archive: Path) -> PurePosixPath:
    """The name of a member as a path below the root; refuses one that leads elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise ValueError(f"{archive}: a member must have a relative name without `..`, got {name}")
    return path


def contents(archive: Path) -> dict[PurePosixPath, bytes]:
    """The plain files of an archive. Links and devices are refused, as are names that lead out of the folder."""
    found = {}
    if not archive.is_file():
        raise FileNotFoundError(f"`archive` must be a file, got {archive}")
    try:
        if is_zip(archive):
            with zipfile.ZipFile(archive) as z:
                for info in z.infolist():
                    name = safe_name(info.filename, archive)
                    kind = (info.external_attr >> 16) & 0o170000
                    if kind not in (0, 0o100000, 0o040000):
                        raise ValueError(f"{archive}: a member must be a plain file, got {info.filename}")
                    if not info.is_dir():
                        found[name] = limited(z.open(info), info.file_size, archive, info.filename)
        else:
            with tarfile.open(archive, "r:gz") as tar:
                for info in tar:
                    name = safe_name(info.name, archive)
                    if not (info.isfile() or info.isdir()):
                        raise ValueError(f"{archive}: a member must be a plain file, got {info.name}")
                    if info.isfile():
                        found[name] = limited(tar.extractfile(info), info.size, archive, info.name)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as e:
        raise ValueError(f"{archive} must be a .tgz or .zip archive: {e}") from None
    return found


def limited(stream, size: int, archive: Path, name: str) -> bytes:
    if size > LARGEST:
        raise ValueError(f"{archive}: a member must be of at most {LARGEST} bytes, got {name} with {size}")
    with stream:
        return stream.read()


def place_of(name: PurePosixPath) -> PurePosixPath:
    """Where a member goes: as it is named below results/ and benchmarks/, else by its ending."""
    for k, part in enumerate(name.parts):
        if part in ("results", "benchmarks", "configs", "env"):
            return PurePosixPath(*name.parts[k:])
    for ending, folder in LAYOUT:
        if name.name.endswith(ending):
            return PurePosixPath(folder, name.name)
    return PurePosixPath("results/logs", name.name)


def unpack(archive: Path, root: Path, *, force: bool = False, chtc: bool = False) -> list[Path]:
    """Write the files of an archive into the layout below `root`. All names and all files that are there are checked before the
    first is written. `chtc` gives its table of timings that name.

    Raises ValueError for names that lead out of the root and links, FileExistsError for a file that differs from the one there.
    """
    made: dict[Path, bytes] = {}
    for name, content in contents(archive).items():
        place = place_of(name)
        if chtc and re.fullmatch(r"timings(_local)?\.csv(\.gz)?", place.name):
            place = place.with_name("timings_chtc.csv" + (".gz" if place.name.endswith(".gz") else ""))
        to = root / place
        if to in made and made[to] != content:
            raise ValueError(f"{archive}: two members go to {place}, the second is {name}")
        if to.exists() and to.read_bytes() != content and not force:
            raise FileExistsError(f"{to} exists and differs: add --force to replace it")
        made[to] = content
    for to, content in made.items():
        write_bytes(to, content)
    return sorted(made)


def main(a) -> int:
    if a.unpack:
        given = [(p, False) for p in [*a.archives, *([a.local] if a.local else [])]] + (
            [(a.chtc, True)] if a.chtc else []
        )
        if not given:
            raise ValueError("`--import` must have an archive, --chtc or --local, got none")
        for archive, chtc in given:
            print(f"{archive}: {len(unpack(archive, a.root, force=a.force, chtc=chtc))} files")
        return 0
    if a.chtc or a.local:
        raise ValueError("`--chtc` and `--local` must stand beside --import")
    for path in a.archives or [a.root / name for name in ARTIFACTS]:
        if path.exists() and not a.force:
            raise FileExistsError(f"{path} exists: add --force to replace it")
        folders = ARTIFACTS.get(path.name, ARTIFACTS["profiling_artifacts.tgz"])
        print(f"{path}: {pack(path, a.root, [*folders, *a.include])} files")
    return 0
