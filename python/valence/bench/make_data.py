"""`make-data`: the files that benchmarks read, made from a seed, each with a line in MANIFEST.json."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from valence.bench import ellipsoids, structures
from valence.bench.record import write_text

HELP = "make the files that benchmarks read, from a seed: species sweep, ellipsoids, boxes, scans, molecules, crystals, water"
#: The manifest's name, and the folder of the files that come with the package.
MANIFEST = "MANIFEST.json"
SHIPPED = Path(__file__).parents[1] / "data" / "bench"
ELEMENT_OF_AN_ELLIPSOID = 6
#: Decimals that are written: 1e-8 Angstrom, above what another processor's sine changes.
DECIMALS = 8


def numbers_of(text: str) -> list[int]:
    return [int(v) for v in text.split(",")]


def words_of(text: str) -> list[str]:
    return [v for v in text.split(",") if v]


def add_arguments(p) -> None:
    p.add_argument("kind", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}, all, presets (default presets)")
    p.add_argument("--out", type=Path, default=Path("data"), help="folder (default %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--force", action="store_true", help="replace files that differ")
    p.add_argument("--species", type=numbers_of, default=[1, 2, 3, 4], help="of the species sweep (default 1,2,3,4)")
    p.add_argument("--copies", type=int, default=1, help="of its 24 atoms, turned at random where more than one")
    p.add_argument(
        "--from", dest="source", type=Path, help="molecules for the ellipsoids (default a box of 27 benzenes)"
    )
    p.add_argument("--factor", type=float, default=5.0, help="of the square of a semiaxis: 5 (solid ellipsoid), 3 or 2")
    p.add_argument("--floor", type=float, default=0.5, help="least semiaxis in Å (default %(default)s)")
    p.add_argument("--particles", type=numbers_of, default=[27, 125], help="of the Gay-Berne boxes (default 27,125)")
    p.add_argument("--shape", type=words_of, default=["prolate", "oblate"], help="prolate,oblate")
    p.add_argument("--density", type=float, default=0.003, help="of the boxes, 1/Å^3 (default %(default)s)")
    p.add_argument(
        "--sizes", type=numbers_of, default=[64, 512, 4096], help="atoms of the supercells (default 64,512,4096)"
    )
    p.add_argument("--crystal", type=words_of, default=sorted(structures.CRYSTALS), help="Si,NaCl,SiO2")
    p.add_argument("--molecules", type=numbers_of, default=[64, 216], help="of the water boxes (default 64,216)")


def frame(numbers, positions, cell, **columns):
    """One system, its reals rounded to the decimals that are written."""
    import valence as vl

    made = {name: np.round(v, DECIMALS) + 0.0 if np.asarray(v).dtype.kind == "f" else v for name, v in columns.items()}
    return vl.Systems.from_arrays(
        np.round(positions, DECIMALS) + 0.0, numbers, cell=np.round(cell, DECIMALS), pbc=bool(cell.any()), **made
    )


def ellipsoid_frame(positions, quaternions, semiaxes, cell):
    """A system of ellipsoids: the columns c_q (w, x, y, z) and c_diameter1..3, whole axes in Angstrom."""
    diameters = 2.0 * np.asarray(semiaxes)
    columns = {f"c_diameter{k + 1}": diameters[:, k] for k in range(3)}
    numbers = np.full(len(positions), ELEMENT_OF_AN_ELLIPSOID)
    return frame(numbers, np.asarray(positions), cell, c_q=np.asarray(quaternions), **columns)


def species(a, rng):
    for k in a.species:
        # The same turns for every k.
        made = structures.fake_benzenes(np.random.default_rng(a.seed), k, a.copies)
        yield (
            f"{structures.sweep_name(k, a.copies)}.xyz",
            frame(*made),
            "species sweep at constant N: labels alone differ",
        )


def coarse(a, rng):
    import valence as vl

    systems = vl.read(a.source) if a.source else frame(*structures.benzene_box(rng))
    made = []
    for parts, cell in zip(ellipsoids.molecules_of(systems), systems.cell, strict=True):
        shapes = [ellipsoids.of_molecule(systems.numbers[r], x, factor=a.factor, floor=a.floor) for r, x in parts]
        centres, quaternions, semiaxes = (np.array(v) for v in zip(*shapes, strict=True))
        made.append(ellipsoid_frame(centres, quaternions, semiaxes, cell))
    note = f"one ellipsoid a molecule, semiaxes sqrt({a.factor:g} g) of its gyration tensor, at least {a.floor:g} Å"
    yield "ellipsoids.xyz", vl.concat(made), note


def gay_berne(a, rng):
    for shape in a.shape:
        for n in a.particles:
            x, q, semiaxes, cell, rest = ellipsoids.gay_berne_box(rng, n, shape=shape, density=a.density)
            note = f"{shape} 3:1 ellipsoids of sigma0 = {ellipsoids.SIGMA0:g} Å, {rest} that still overlap"
            yield f"gay_berne_{shape}_{n}.xyz", ellipsoid_frame(x, q, semiaxes, cell), note


def scans(a, rng):
    import valence as vl

    for shape in a.shape:
        for kind in ("side-side", "face-face", "side-face", "rotation-y", "rotation-z"):
            frames = ellipsoids.scan(kind, shape)
            coordinates = np.array([f[3] for f in frames])
            made = vl.concat([ellipsoid_frame(x, q, semiaxes, np.zeros((3, 3))) for x, q, semiaxes, _ in frames])
            unit = "distance in Å" if kind in ellipsoids.PAIRS else "angle in degrees"
            note = f"two {shape}s, {unit} from {coordinates[0]:.4g} to {coordinates[-1]:.4g} in {len(frames)} steps"
            yield f"scan_{kind}_{shape}.xyz", made, note


def ase_of(what: str):
    try:
        import ase.build
        import ase.collections
    except ImportError:
        raise ImportError(f"`make-data {what}` needs ASE: pip install 'valence[ase]'") from None
    return ase


def molecules(a, rng):
    import valence as vl

    ase = ase_of("molecules")
    for name in ("g2", "s22", "dcdft"):
        collection = getattr(ase.collections, name)
        plain = []
        for atoms in collection:
            plain.append(frame(atoms.numbers, atoms.positions, np.array(atoms.cell) * atoms.pbc[:, None]))
        yield f"{name}.xyz", vl.concat(plain), f"ase.collections.{name} of ASE {ase.__version__}"
    build = ase.build
    built = [
        build.molecule("C6H6"),
        build.bulk("Cu", cubic=True),
        build.fcc111("Al", (2, 2, 3), vacuum=8.0),
        build.nanotube(6, 0, length=2),
        build.graphene(size=(3, 3, 1), vacuum=8.0),
    ]
    systems = [
        vl.Systems.from_arrays(np.round(b.positions, DECIMALS) + 0.0, b.numbers, cell=np.round(np.array(b.cell), DECIMALS) + 0.0, pbc=b.pbc)
        for b in built
    ]  # fmt: skip
    note = "benzene, copper, Al(111), nanotube (6, 0), graphene"
    yield "built.xyz", vl.concat(systems), f"{note} of ase.build of ASE {ase.__version__}"


def crystals(a, rng):
    for kind in a.crystal:
        for atoms in a.sizes:
            made = structures.crystal(rng, kind, structures.repeats_of(kind, atoms), displaced=0.05)
            yield (
                f"{kind}_{len(made[0])}.xyz",
                frame(*made),
                "supercell, atoms displaced by up to 0.05 Å along each axis",
            )


def water(a, rng):
    for n in a.molecules:
        made = structures.water(rng, n)
        yield (
            f"water_{n}.xyz",
            frame(*made),
            "rigid molecules of random orientation on a grid of 3.1 Å, not equilibrated",
        )


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "species": species, "ellipsoids": coarse, "gay-berne": gay_berne, "scans": scans, "molecules": molecules,
    "crystals": crystals, "water": water,
}  # fmt: skip
#: What comes with the package; made without ASE.
PRESETS = ("species", "ellipsoids", "gay-berne", "water")


def spelled(a, kind: str) -> str:
    """The command that makes one kind again."""
    used = {
        "species": ("species", "copies"), "ellipsoids": ("source", "factor", "floor"),
        "gay-berne": ("particles", "shape", "density"), "scans": ("shape",), "molecules": (), "crystals": ("sizes", "crystal"),
        "water": ("molecules",),
    }[kind]  # fmt: skip
    words = [f"python -m valence.bench make-data {kind} --seed {a.seed}"]
    for name in used:
        value = getattr(a, name)
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"--{'from' if name == 'source' else name} {text}")
    return " ".join(words)


def read_manifest(folder: Path) -> dict[str, dict]:
    """The manifest's entries by name; none where there is no manifest."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    return {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["files"]}


def make(a) -> list[dict]:
    """Make the files of some kinds and their manifest entries; a file that is there and differs needs `force`."""
    import valence as vl
    from valence.atoms.elements import SYMBOLS

    kinds = a.kind or ["presets"]
    unknown = sorted(set(kinds) - {*KINDS, "all", "presets"})
    if unknown:
        raise ValueError(f"`kind` must be one of {[*KINDS, 'all', 'presets']}, got {', '.join(unknown)}")
    wanted = [k for k in KINDS if k in kinds or "all" in kinds or ("presets" in kinds and k in PRESETS)]
    a.out.mkdir(parents=True, exist_ok=True)
    known, made = read_manifest(a.out), []
    with tempfile.TemporaryDirectory(dir=a.out, prefix=".make-data-") as folder:
        for kind in wanted:
            for name, systems, note in KINDS[kind](a, np.random.default_rng(a.seed)):
                part, to = Path(folder) / name, a.out / name
                vl.write(part, systems)
                if "c_q" in systems.columns:
                    # The names of LAMMPS and of anisoap; readers of extended XYZ drop the brackets again.
                    text = part.read_text(encoding="utf-8")
                    part.write_text(re.sub(r"c_diameter([123]):R:1", r"c_diameter[\1]:R:1", text), encoding="utf-8")
                digest = hashlib.sha256(part.read_bytes()).hexdigest()
                if to.exists() and not a.force and hashlib.sha256(to.read_bytes()).hexdigest() != digest:
                    raise FileExistsError(f"{to} is there and differs: add --force to replace it")
                part.replace(to)
                entry = {
                    "name": name, "command": spelled(a, kind), "seed": a.seed, "sha256": digest,
                    "N": len(systems.numbers), "frames": len(systems),
                    "species": sorted({SYMBOLS[z] for z in systems.numbers.tolist()}, key=SYMBOLS.index), "note": note,
                }  # fmt: skip
                known[name] = entry
                made.append(entry)
    lines = ",\n".join(json.dumps(known[name], ensure_ascii=False) for name in sorted(known))
    write_text(a.out / MANIFEST, f'{{"files": [\n{lines}\n]}}\n')
    return made


def main(a) -> int:
    for entry in make(a):
        print(f"{a.out / entry['name']}: {entry['N']} atoms, {entry['frames']} frame(s), {' '.join(entry['species'])}")
    return 0
