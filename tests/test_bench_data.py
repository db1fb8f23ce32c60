"""Files made for benchmarks: constant N of the species sweep, shapes of ellipsoids, boxes, the manifest."""

import hashlib
import json

import numpy as np
import pytest
import valence as vl
from valence.bench import data, ellipsoids, make_data, structures, suite
from valence.bench.cli import main


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def distances(x):
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))


def test_the_frames_of_a_species_sweep_differ_in_their_labels_alone():
    for copies in (1, 3):
        made = [structures.fake_benzenes(np.random.default_rng(5), k, copies) for k in range(1, 9)]
        for k, (numbers, x, cell) in enumerate(made, 1):
            assert len(numbers) == 24 * copies and not cell.any()
            np.testing.assert_array_equal(x, made[0][1])
            found, counts = np.unique(numbers, return_counts=True)
            assert len(found) == k and counts.max() - counts.min() <= 1
    assert [structures.sweep_name(k) for k in (1, 2, 3, 4, 7)] == [
        "one_species", "benzenes", "three_species", "four_species", "7_species"
    ]  # fmt: skip
    assert structures.sweep_name(3, 8) == "three_species_x8"


def test_two_species_are_benzene(rng):
    numbers, x, _ = structures.fake_benzenes(rng, 2)
    d = distances(x[:12])
    assert (numbers[:12] == [6] * 6 + [1] * 6).all()
    carbon = np.sort(d[:6, :6], axis=1)
    np.testing.assert_allclose(carbon[:, 1:3], structures.CC, atol=1e-12)
    np.testing.assert_allclose(d[np.arange(6), np.arange(6, 12)], structures.CH, atol=1e-12)
    np.testing.assert_allclose(x[12:] - x[:12], [[0, 0, 7]] * 12, atol=1e-12)


def test_copies_are_turned_but_keep_their_shape(rng):
    _, x, _ = structures.fake_benzenes(rng, 2, 4)
    want = distances(structures.benzene()[1])
    parts = x.reshape(8, 12, 3)
    for part in parts:
        np.testing.assert_allclose(distances(part), want, atol=1e-12)
    assert np.abs(parts[0, 0] - parts[0].mean(0) - (parts[1, 0] - parts[1].mean(0))).max() > 0.1


@pytest.mark.parametrize(
    ("kind", "first", "second"), [("Si", 4, 12), ("NaCl", 6, 12), ("SiO2", None, None)], ids=["Si", "NaCl", "SiO2"]
)
def test_crystals_have_the_shells_of_their_structure(rng, kind, first, second):
    numbers, x, cell = structures.crystal(rng, kind, 3)
    edges = vl.find_edges(vl.Systems.from_arrays(x, numbers, cell=cell, pbc=True), 4.2)
    shells = [np.isclose(edges.distance, d).sum() / len(x) for d in np.unique(np.round(edges.distance, 8))[:2]]
    if kind == "SiO2":  # each oxygen between two silicons, each silicon among four oxygens
        near = np.isclose(edges.distance, edges.distance.min())
        count = np.bincount(edges.source[near], minlength=len(x))
        assert set(count[numbers == 8]) == {2} and set(count[numbers == 14]) == {4}
    else:
        assert shells == [first, second]
    assert structures.repeats_of("Si", 216) == (3, 3, 3) and structures.repeats_of("NaCl", 32768) == (16, 16, 16)


def test_water_keeps_its_geometry_and_its_density(rng):
    numbers, x, cell = structures.water(rng, 27)
    d = distances(x[:3])
    np.testing.assert_allclose([d[0, 1], d[0, 2]], 0.9572, atol=1e-12)
    cosine = (x[1] - x[0]) @ (x[2] - x[0]) / 0.9572**2
    np.testing.assert_allclose(np.degrees(np.arccos(cosine)), 104.52, atol=1e-10)
    assert 18.015 * 27 / 0.60221 / np.linalg.det(cell) == pytest.approx(1.0, abs=0.01)  # g/cm^3
    assert (numbers == [8, 1, 1] * 27).all()


def test_random_quaternions_are_uniform_turns(rng):
    frames = structures.rotations(structures.random_quaternions(rng, 20000))
    np.testing.assert_allclose(np.einsum("nab,ncb->nac", frames, frames), np.broadcast_to(np.eye(3), frames.shape), atol=1e-12)  # fmt: skip
    assert np.abs(frames.mean(0)).max() < 0.02  # first and second moments of Haar's measure
    np.testing.assert_allclose((frames**2).mean(0), 1 / 3, atol=0.01)


def test_a_quaternion_gives_its_matrix_back_with_a_positive_largest_component(rng):
    frames = structures.rotations(structures.random_quaternions(rng, 200))
    half_turns = np.array([np.diag(d) for d in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1))], dtype=float)
    for frame in [*frames, *half_turns]:
        q = ellipsoids.quaternion(frame)
        np.testing.assert_allclose(structures.rotations(q[None])[0], frame, atol=1e-12)
        assert q[np.argmax(np.abs(q))] > 0


def test_the_ellipsoid_of_points_spread_in_a_solid_ellipsoid_is_that_ellipsoid(rng):
    x = rng.normal(size=(400000, 3))
    x *= (rng.uniform(size=len(x)) ** (1 / 3) / np.sqrt((x * x).sum(1)))[:, None]
    frame = structures.rotations(structures.random_quaternions(rng, 1))[0]
    centre, q, semiaxes = ellipsoids.of_molecule(np.full(len(x), 6), x * [3.0, 1.0, 2.0] @ frame.T + [1.0, 2, 3])
    np.testing.assert_allclose(semiaxes, [1, 2, 3], rtol=0.01)
    np.testing.assert_allclose(centre, [1, 2, 3], atol=0.02)
    found = structures.rotations(q[None])[0]
    np.testing.assert_allclose(np.abs(found.T @ frame[:, [1, 2, 0]]), np.eye(3), atol=0.05)


def test_a_flat_molecule_gets_the_floor_and_a_degenerate_frame_does_not_depend_on_rounding(rng):
    numbers, x = structures.benzene()
    _, q, semiaxes = ellipsoids.of_molecule(numbers, x)
    m = np.array([12.011] * 6 + [1.008] * 6)
    inertia = (m @ (x * x)) / m.sum()  # the in-plane eigenvalues by hand: half the mean squared radius
    np.testing.assert_allclose(semiaxes, [0.5, *np.sqrt(5 * inertia[:2])], rtol=1e-12)
    frame = structures.rotations(q[None])[0]
    np.testing.assert_allclose(frame, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-7)
    for noise in rng.uniform(-1e-13, 1e-13, (20, 12, 3)):
        _, other, _ = ellipsoids.of_molecule(numbers, x + noise)
        np.testing.assert_allclose(other, q, atol=1e-7)
    for factor in (2.0, 3.0):
        other = ellipsoids.of_molecule(numbers, x, factor=factor, floor=0.0)[2]
        np.testing.assert_allclose(other[1:], semiaxes[1:] * np.sqrt(factor / 5), rtol=1e-12)
        assert other[0] == 0


def test_a_molecule_across_the_cell_s_wall_is_one_molecule(rng):
    numbers, x, cell = structures.benzene_box(rng, 8, 7.0)
    wrapped = vl.Systems.from_arrays((x + np.array([5.0, 3.0, 1.0])) % np.diag(cell), numbers, cell=cell, pbc=True)
    plain = vl.Systems.from_arrays(x, numbers, cell=cell, pbc=True)
    shapes = [
        [ellipsoids.of_molecule(s.numbers[r], y)[1:] for r, y in ellipsoids.molecules_of(s)[0]]
        for s in (plain, wrapped)
    ]
    assert len(shapes[0]) == len(shapes[1]) == 8
    for (qa, a), (qb, b) in zip(*shapes):
        np.testing.assert_allclose(a, b, atol=1e-9)
        np.testing.assert_allclose(qa, qb, atol=1e-6)
    with pytest.raises(ValueError, match="a chain without an end"):
        ellipsoids.molecules_of(vl.Systems.from_arrays([[0.0, 0, 0]], [6], cell=1.5 * np.eye(3), pbc=True))


@pytest.mark.parametrize("shape", ["prolate", "oblate"])
def test_boxes_have_their_density_and_spheres_inside_that_do_not_meet(rng, shape):
    x, q, semiaxes, cell, rest = ellipsoids.gay_berne_box(rng, 27, shape=shape)
    assert abs(27 / np.linalg.det(cell) - 0.003) < 0.0001 and rest == 0
    assert abs(cell - np.diag(np.diagonal(cell))).max() > 1
    np.testing.assert_allclose((q * q).sum(1), 1, atol=1e-12)
    d = x[:, None] - x[None]
    d -= np.round(d @ np.linalg.inv(cell)) @ cell
    r = np.sqrt((d * d).sum(-1)) + 1e3 * np.eye(27)
    assert r.min() > 2 * semiaxes.min()
    ratio = semiaxes[0] / semiaxes[0, 0]
    np.testing.assert_allclose(ratio, [1, 1, 3] if shape == "prolate" else [1, 1, 1 / 3])


def test_scans_go_from_1_25_to_3_sigma0_and_half_a_turn_round():
    for kind, (first, second) in ellipsoids.PAIRS.items():
        frames = ellipsoids.scan(kind, "prolate", 8)
        lengths = [np.linalg.norm(x[1] - x[0]) for x, *_ in frames]
        np.testing.assert_allclose([lengths[0], lengths[-1]], np.array([1.25, 3.0]) * ellipsoids.SIGMA0)
        axes = structures.rotations(frames[0][1])[:, :, 2]
        np.testing.assert_allclose(np.abs(axes), [np.eye(3)["xyz".index(a)] for a in (first, second)], atol=1e-12)
    for axis in "yz":
        frames = ellipsoids.scan(f"rotation-{axis}", "oblate", 19)
        axes = np.array([structures.rotations(q)[:, :, 2] for _, q, *_ in frames])
        cosine = (axes[:, 0] * axes[:, 1]).sum(1)
        np.testing.assert_allclose(cosine, np.cos(np.radians([f[3] for f in frames])), atol=1e-12)
        assert np.abs(axes[:, 1, "xyz".index(axis)]).max() < 1e-12


def test_make_data_writes_files_and_their_manifest(tmp_path, capsys):
    out = tmp_path / "data"
    command = [
        "make-data",
        "species",
        "ellipsoids",
        "scans",
        "--species",
        "1,2,5",
        "--shape",
        "oblate",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    listed = {f["name"]: f for f in json.loads((out / "MANIFEST.json").read_text())["files"]}
    assert {p.name for p in out.glob("*.xyz")} == set(listed)
    assert {"one_species.xyz", "benzenes.xyz", "5_species.xyz", "ellipsoids.xyz", "scan_side-face_oblate.xyz"} <= set(
        listed
    )
    for name, entry in listed.items():
        assert set(entry) >= {"name", "command", "seed", "sha256", "N", "species"}
        assert entry["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert len(vl.read(out / name).numbers) == entry["N"]
    assert listed["5_species.xyz"]["species"] == ["H", "C", "N", "O", "F"] and listed["5_species.xyz"]["N"] == 24
    text = (out / "ellipsoids.xyz").read_text()
    assert "c_q:R:4:c_diameter[1]:R:1:c_diameter[2]:R:1:c_diameter[3]:R:1" in text
    # The same command again changes nothing; another seed is refused, then replaces.
    before = (out / "MANIFEST.json").read_bytes()
    assert main(command) == 0 and (out / "MANIFEST.json").read_bytes() == before
    capsys.readouterr()
    assert main([*command, "--seed", "1"]) == 1
    assert "is there and differs: add --force" in capsys.readouterr().err
    assert main([*command, "--seed", "1", "--force"]) == 0
    # The command of the manifest makes the same file.
    entry = json.loads((out / "MANIFEST.json").read_text())["files"][-1]
    words = entry["command"].split()[3:]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    assert hashlib.sha256((tmp_path / "again" / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]


def test_the_files_of_the_package_are_small_and_as_their_manifest_says(tmp_path):
    listed = make_data.read_manifest(make_data.SHIPPED)
    names = {p.name for p in make_data.SHIPPED.glob("*.xyz")}
    assert names == set(listed) and {"one_species.xyz", "benzenes.xyz", "three_species.xyz", "four_species.xyz", "ellipsoids.xyz"} <= names  # fmt: skip
    assert sum(p.stat().st_size for p in make_data.SHIPPED.iterdir()) < 200 * 1024
    for name, entry in listed.items():
        assert hashlib.sha256((make_data.SHIPPED / name).read_bytes()).hexdigest() == entry["sha256"]
    # Made again here; another processor's sine may move a last decimal.
    assert main(["make-data", "presets", "--out", str(tmp_path)]) == 0
    for name in names:
        new, old = vl.read(tmp_path / name), vl.read(make_data.SHIPPED / name)
        np.testing.assert_array_equal(new.numbers, old.numbers)
        np.testing.assert_allclose(new.positions, old.positions, atol=2e-8)


def test_anisoap_reads_the_shapes_of_the_files_as_they_are():
    for name in ("ellipsoids", "gay_berne_oblate_27"):
        box = vl.read(make_data.SHIPPED / f"{name}.xyz")
        given = {
            "orientation": box.columns["c_q"],
            "diameters": np.stack([box.columns[f"c_diameter{k}"] for k in (1, 2, 3)], axis=1),
        }
        plain = vl.Systems.from_arrays(box.positions, box.numbers, cell=box.cell, pbc=box.pbc)
        anisoap = vl.AniSoap(cutoff=7.0, lmax=3, width=1.5)
        np.testing.assert_array_equal(anisoap.compute(box).values, anisoap.compute(plain, **given).values)


def test_molecules_come_from_ase(tmp_path):
    pytest.importorskip("ase", reason="ase is not installed")
    assert main(["make-data", "molecules", "--out", str(tmp_path)]) == 0
    listed = make_data.read_manifest(tmp_path)
    assert (
        listed["g2.xyz"]["frames"] == 162 and listed["s22.xyz"]["frames"] == 22 and listed["built.xyz"]["frames"] == 5
    )
    assert "of ASE" in listed["dcdft.xyz"]["note"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sugar"], "`kind` must be one of"),
        (["species", "--species", "0"], "`species` must be whole numbers from 1 to 12, got 0"),
        (["species", "--copies", "0"], "`copies` must be a whole number of at least 1, got 0"),
        (["ellipsoids", "--factor", "4"], "`factor` must be one of [5.0, 3.0, 2.0], got 4.0"),
        (["ellipsoids", "--floor", "nan"], "`floor` must be a length of at least 0 in Angstrom, got nan"),
        (["gay-berne", "--shape", "cube"], "`shape` must be one of ['oblate', 'prolate'], got cube"),
        (["gay-berne", "--density", "-1"], "`density` must be a positive number per cubic Angstrom, got -1.0"),
        (["crystals", "--crystal", "ice"], "`crystal` must be one of ['NaCl', 'Si', 'SiO2'], got ice"),
        (["ellipsoids", "--from", "nowhere.xyz"], "nowhere.xyz"),
    ],
)
def test_bad_arguments_of_make_data_are_named(words, said, tmp_path, capsys):
    assert main(["make-data", *words, "--out", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("**/*.xyz"))


@pytest.mark.parametrize("preset,sweep", [("tiny", None), ("cpu", None), ("cpu", "batch"), ("cpu", "species")])
def test_the_data_of_the_presets_can_be_made(preset, sweep, tmp_path):
    path = suite.PRESETS / f"{preset}.yaml"
    for work in suite.load(path, sweep).workloads:
        if work.data.get("atoms", 0) > 2000 or work.data["kind"] == "extxyz":
            continue
        arrays, n = data.make(work.data, "float64", 0, tmp_path)
        assert n > 0 and arrays, work.name
