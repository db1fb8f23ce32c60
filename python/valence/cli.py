"""The command `valence`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import valence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["bench"]:  # the harness has a command line of its own
        from valence.bench.cli import main as bench

        return bench(arguments[1:])
    parser = argparse.ArgumentParser(prog="valence", description="Atoms in, tables of edges and features out.")
    parser.add_argument("--version", action="version", version=f"valence {valence.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="the shipped frames: edges, features, a summary, tables and a figure")
    demo.add_argument("-o", "--out", default="valence-demo", help="folder to write to (default: %(default)s)")
    demo.add_argument("--cutoff", type=float, default=5.0, help="in Angstrom (default: %(default)s)")
    info = commands.add_parser("info", help="what a file of atoms holds")
    info.add_argument("file")
    convert = commands.add_parser(
        "convert",
        help="a mace-torch or schnetpack model as a file that needs no torch",
        description="Writes a checkpoint of mace-torch (*.model) or schnetpack (best_model) as a safetensors file for "
        "`valence compute` and vl.load. Needs torch and the program that wrote it. The checkpoint is a pickle: loading it runs code that it names, so convert only what "
        "you trust. The file that is written holds tensors and text, and loading it never runs code.",
    )
    convert.add_argument("source", help="the checkpoint, as torch.save(model) wrote it")
    convert.add_argument("target", help="the safetensors file to write")
    convert.add_argument("--family", help="kind of the model (default: by the classes that the checkpoint names)")
    convert.add_argument(
        "--units", nargs=2, metavar=("ENERGY", "LENGTH"), help="of a schnetpack model (default: eV Angstrom)"
    )
    compute = commands.add_parser(
        "compute",
        help="energies, forces and more of every frame of a file",
        description="Runs a model over a file of frames, in batches of bounded memory. Ctrl-C leaves a valid file with the "
        "frames that were done.",
    )
    compute.add_argument("frames", help="extended XYZ (streamed, also .gz), or what ASE reads")
    compute.add_argument(
        "--model", required=True, nargs="+", metavar="FILE", help="a model's file; several: a committee"
    )
    compute.add_argument(
        "-o",
        "--out",
        required=True,
        help=".parquet, .csv, .jsonl or .extxyz; one row a frame, in .csv atoms in a second file",
    )
    compute.add_argument(
        "--properties", nargs="+", default=["energy", "forces"], metavar="NAME", help="default: energy forces"
    )
    compute.add_argument("--dtype", choices=["float32", "float64"], help="precision (default: the file's)")
    compute.add_argument(
        "--radial", choices=["exact", "spline"], help="radial functions of MACE (default: the package's)"
    )
    compute.add_argument("--head", help="name or number of a head")
    compute.add_argument("--batch", type=int, help="frames of one call (default: about 4,096 atoms)")
    compute.add_argument("--threads", type=int, help="default: all")
    commands.add_parser("bench", help="time Valence beside other packages (python -m valence.bench)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "demo":
            from valence.demo import run

            print(run(chosen.out, cutoff=chosen.cutoff))
        elif chosen.command == "compute":
            return _compute(chosen)
        elif chosen.command == "convert":
            from valence.model import convert as write

            units = {"energy": chosen.units[0], "length": chosen.units[1]} if chosen.units else None
            config = write(chosen.source, chosen.target, family=chosen.family, units=units)
            print(f"{chosen.target}: {config['model']}, {os.path.getsize(chosen.target):,} bytes")
        else:
            print(describe(chosen.file))
    except BrokenPipeError:
        return 1
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"valence: {error}", file=sys.stderr)
        return 1
    return 0


def _compute(chosen: argparse.Namespace) -> int:
    """Exit status 0, or 130 after Ctrl-C, as a shell has it."""
    from valence.model.computing import compute_file

    head = int(chosen.head) if chosen.head is not None and chosen.head.isdigit() else chosen.head
    options = {} if chosen.radial is None else {"radial": chosen.radial}
    model = valence.load(chosen.model, dtype=chosen.dtype, head=head, threads=chosen.threads, **options)
    properties = [name for text in chosen.properties for name in text.split(",") if name]
    try:
        count = compute_file(chosen.frames, model, chosen.out, properties, batch=chosen.batch)
    except KeyboardInterrupt:
        print(f"valence: stopped; {chosen.out} has the frames that were done", file=sys.stderr)
        return 130
    print(f"{chosen.out}: {count} frames")
    return 0


def describe(path: str) -> str:
    """What a file of atoms holds, in a few lines."""
    from valence.atoms.elements import SYMBOLS

    systems = valence.read(path)
    numbers = sorted(set(systems.numbers.tolist()))
    periodic = int(systems.pbc.all(axis=1).sum())
    lines = [
        f"{path}: {len(systems)} systems, {len(systems.numbers)} atoms",
        f"atoms in a system: {systems.counts.min()} to {systems.counts.max()}" if len(systems) else "no system",
        f"elements: {' '.join(SYMBOLS[z] for z in numbers) or 'none'}",
        f"periodic in all three directions: {periodic} of {len(systems)}",
        f"columns of atoms: {', '.join(systems.columns) or 'none beside positions and numbers'}",
        f"values of systems: {', '.join(systems.info) or 'none'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
