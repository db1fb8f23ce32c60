"""`valence compute`: what each kind of file holds, memory, errors by frame, Ctrl-C, the progress line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from valence.cli import main
from valence.model import computing

pl = pytest.importorskip("polars", reason="polars is not installed")
MODEL = Path(__file__).parent / "data" / "mace" / "residual_16_L1" / "model.safetensors"


def frames(count: int = 7) -> vl.Systems:
    rng, cell = np.random.default_rng(5), np.diag([6.0, 6.5, 7.0])
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.1
    parts = [
        vl.Systems.from_arrays(
            (grid + 0.2 * rng.normal(size=(8, 3)))[: 3 + n % 6], rng.choice([8, 14], 3 + n % 6), cell=cell, pbc=True
        )
        for n in range(count)
    ]
    return vl.concat(parts)


@pytest.fixture
def xyz(tmp_path) -> Path:
    vl.write(tmp_path / "frames.extxyz", frames())
    return tmp_path / "frames.extxyz"


def run(*arguments: object) -> int:
    return main(["compute", *map(str, arguments)])


def test_a_parquet_file_has_a_row_a_frame_and_lists_of_atoms(xyz, capsys):
    out, wanted = xyz.with_name("out.parquet"), ("energy", "forces", "stress", "node_energy")
    assert run(xyz, "--model", MODEL, "-o", out, "--properties", ",".join(wanted)) == 0
    assert "7 frames" in capsys.readouterr().out
    table, exact = pl.read_parquet(out), vl.load(MODEL).compute(vl.read(xyz), wanted)
    assert table.columns == ["frame", "num_atoms", "energy", "stress", "number", "node_energy", "forces"]
    np.testing.assert_allclose(table["energy"], exact.energy, rtol=1e-13)
    np.testing.assert_allclose(table["stress"].to_numpy().reshape(-1, 3, 3), exact.stress, atol=1e-13)
    forces = table.explode("number", "node_energy", "forces")["forces"].to_numpy()
    np.testing.assert_allclose(forces, exact.forces, atol=1e-12)
    assert [len(f) for f in table["forces"]] == table["num_atoms"].to_list()
    assert [p.name for p in sorted(xyz.parent.iterdir())] == ["frames.extxyz", "out.parquet"]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_do_not_change_the_numbers(xyz, batch):
    for out in (xyz.with_name("one.jsonl"), xyz.with_name("all.jsonl")):
        assert run(xyz, "--model", MODEL, "-o", out, *(["--batch", batch] if out.stem == "one" else [])) == 0
    one, whole = (
        [json.loads(line) for line in xyz.with_name(f"{n}.jsonl").read_text().splitlines()] for n in ("one", "all")
    )
    assert [row["frame"] for row in one] == list(range(7))
    for a, b in zip(one, whole):
        assert a["energy"] == pytest.approx(b["energy"], rel=1e-13)
        np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-12)


def test_csv_has_atoms_in_a_second_file(xyz):
    out, exact = xyz.with_name("out.csv"), vl.load(MODEL).compute(vl.read(xyz))
    assert run(xyz, "--model", MODEL, "-o", out, "--batch", 2) == 0
    table, atoms = pl.read_csv(out), pl.read_csv(xyz.with_name("out.atoms.csv"))
    assert table.columns == ["frame", "num_atoms", "energy"]
    np.testing.assert_allclose(table["energy"], exact.energy, rtol=1e-12)
    assert atoms.columns == ["frame", "number", "forces_0", "forces_1", "forces_2"]
    np.testing.assert_allclose(atoms.select("forces_0", "forces_1", "forces_2").to_numpy(), exact.forces, atol=1e-11)
    assert run(xyz, "--model", MODEL, "-o", out, "--properties", "energy") == 0


@pytest.mark.parametrize("ending", ["extxyz", "extxyz.gz"])
def test_frames_keep_what_they_had_beside_the_results(tmp_path, ending):
    given = frames(3)
    given = vl.Systems.from_arrays(
        given.positions, given.numbers, counts=given.counts, cell=given.cell, pbc=given.pbc,
        forces=np.ones((len(given.numbers), 3)), info={"energy": np.arange(3.0), "name": np.array(["a", "b", "c"])},
    )  # fmt: skip
    vl.write(tmp_path / "frames.extxyz", given)
    out = tmp_path / f"out.{ending}"
    wanted = ["energy", "forces", "stress"]
    assert run(tmp_path / "frames.extxyz", "--model", MODEL, "-o", out, "--batch", 1, "--properties", *wanted) == 0
    found, exact = vl.read(out), vl.load(MODEL).compute(given, wanted)
    np.testing.assert_allclose(found.info["energy"], exact.energy, rtol=1e-13)
    np.testing.assert_allclose(found.columns["forces"], exact.forces, atol=1e-12)
    np.testing.assert_allclose(found.info["stress"], exact.stress, atol=1e-12)
    np.testing.assert_array_equal(found.info["ref_energy"], np.arange(3.0))
    np.testing.assert_array_equal(found.columns["ref_forces"], 1.0)
    assert list(found.info["name"]) == ["a", "b", "c"]


def test_several_models_are_a_committee_with_its_spread(xyz):
    out = xyz.with_name("out.parquet")
    assert run(xyz, "--model", MODEL, MODEL, "-o", out, "--dtype", "float32", "--radial", "exact") == 0
    table = pl.read_parquet(out)
    assert set(table.columns) >= {"energy", "energy_std", "forces", "forces_std"}
    np.testing.assert_array_equal(table["energy_std"], np.zeros(7))


def test_an_error_names_the_frame_and_what_was_done_is_kept(tmp_path, capsys):
    good, bad = frames(5), vl.Systems.from_arrays([[0.0, 0, 0], [0, 0, 1.6]], [8, 6], cell=np.eye(3) * 9, pbc=True)
    vl.write(tmp_path / "frames.extxyz", vl.concat([good, bad, good]))
    out = tmp_path / "out.parquet"
    assert run(tmp_path / "frames.extxyz", "--model", MODEL, "-o", out, "--batch", 2) == 1
    error = capsys.readouterr().err
    assert "frames.extxyz, frame 5: `numbers` must be of the elements 8, 14, got 6 in row 1" in error
    assert len(pl.read_parquet(out)) == 4


def test_ctrl_c_leaves_a_whole_file(xyz, capsys, monkeypatch):
    batches = computing._batches

    def interrupted(path, batch):
        for n, systems in enumerate(batches(path, batch)):
            if n == 2:
                raise KeyboardInterrupt
            yield systems

    monkeypatch.setattr(computing, "_batches", interrupted)
    for out, read in (("out.parquet", pl.read_parquet), ("out.csv", pl.read_csv), ("out.extxyz", vl.read)):
        assert run(xyz, "--model", MODEL, "-o", xyz.with_name(out), "--batch", 2) == 130
        assert "stopped" in capsys.readouterr().err
        assert len(read(xyz.with_name(out))) == 4


def test_wrong_requests_are_named_before_anything_is_written(xyz, capsys):
    for arguments, message in (
        (["-o", xyz.with_name("out.parquet"), "--properties", "dipole"], "`properties` must be among energy"),
        (["-o", xyz.with_name("out.hdf5")], "`out` must end with one of .parquet"),
        (["-o", xyz.with_name("out.csv"), "--batch", 0], "`batch` must be one or more, got 0"),
        (["-o", xyz.with_name("out.csv"), "--head", "nope"], "`head` must be one of Default"),
        (["-o", xyz], "`out` must be another file"),
        (["-o", xyz.parent / "no" / "where.csv"], "where.csv"),
    ):
        assert run(xyz, "--model", MODEL, *arguments) == 1
        assert message in capsys.readouterr().err
    assert run(xyz.with_name("nowhere.xyz"), "--model", MODEL, "-o", xyz.with_name("out.csv")) == 1
    xyz.with_name("out.csv").unlink(missing_ok=True)
    xyz.with_name("out.atoms.csv").unlink(missing_ok=True)
    assert [p.name for p in xyz.parent.iterdir()] == ["frames.extxyz"]


def test_the_progress_line_is_for_terminals_alone(xyz, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert computing._count(str(xyz)) == 7
    shown = Terminal()
    bar = computing.Progress(7, shown)
    bar.add(3, 20)
    bar.add(4, 21)
    bar.close()
    assert "100 % 7 frames, 41 atoms" in shown.getvalue() and shown.getvalue().endswith("\n")
    run(xyz, "--model", MODEL, "-o", xyz.with_name("out.csv"))
    assert capsys.readouterr().err == ""


def test_empty_systems_and_files_of_other_formats(tmp_path):
    empty = vl.Systems.from_arrays(np.zeros((3, 3)) + np.arange(3)[:, None] * 2, [8, 8, 14], counts=[0, 2, 1])
    found = vl.load(MODEL).compute(empty, ("energy", "forces"))
    from valence.model.sinks import _nested

    assert _nested(found, 4)["frame"].to_list() == [4, 5, 6] and _nested(found, 4)["num_atoms"].to_list() == [0, 2, 1]
    ase_io = pytest.importorskip("ase.io", reason="ase is not installed")
    ase_io.write(tmp_path / "frames.traj", frames(2).to_ase())
    assert run(tmp_path / "frames.traj", "--model", MODEL, "-o", tmp_path / "out.jsonl") == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_of_the_process_leaves_a_whole_file(tmp_path):
    vl.write(tmp_path / "frames.extxyz", vl.concat([frames()] * 700))
    arguments = ["compute", tmp_path / "frames.extxyz", "--model", MODEL, "-o", tmp_path / "out.parquet", "--batch", 1]
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from valence.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.parquet.*/2.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stopped" in error
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert 0 < len(table) < 4900 and table["frame"].to_list() == list(range(len(table)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames.extxyz", "out.parquet"]
