"""Tables of records, their comparison and self-check, archives."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from valence.bench import aggregate, bundle, comparison, measurements, record, report, validation
from valence.bench.cli import main
from valence.bench.statistics import bootstrap_ratio, summary


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def point(workload, backend, samples, **keys):
    return {
        "workload": workload, "backend": backend, "backend_used": backend, "dtype": "float64", "threads": 1, "batch": 1, "N": 24,
        "species": 3, "status": "ok", "reason": None, "samples_s": samples, "cpu_s": samples, "round": list(range(len(samples))),
        "room": "", "op": "anisoap", "checksum": [1.5, 2.5], "max_err": 0.0, "cpu_mean": float(np.mean(samples)), "edges": 100,
        **summary(samples), **keys,
    }  # fmt: skip


def planted(name, factor=1.0, seed=0, noise=0.02, **keys):
    """A record of ours at `factor` ms and of the reference at 3 ms."""
    rng = np.random.default_rng(seed)
    points = [
        point("three_species", b, [float(t) for t in 1e-3 * wall * rng.lognormal(0, noise, 15)], **keys)
        for b, wall in (("cpu", factor), ("numpy", 3.0))
    ]
    ratios = record.ratios({f"{p['workload']}|{p['backend']}|float64|1": p for p in points}, {}, [])
    return {"schema": 1, "name": name, "environment": {}, "points": points, "ratios": ratios}


def write(made, folder="results"):
    path = Path(folder) / "metrics" / f"{made['name']}.json"
    record.write_json(path, made)
    report.write_tables(made, path)
    return path


def rows(path):
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", newline="") as f:
        return list(csv.DictReader(f))


def test_tables_of_a_record_have_the_columns_in_order_and_the_numbers_of_its_samples():
    made = planted("cpu", parts={"conv_in": [1e-5] * 15, "compute": [9e-4] * 15, "conv_out": [1e-6] * 15})
    write(made)
    assert main(["aggregate", "--quiet"]) == 0
    tables = {n: rows(f"results/tables/{n}.csv") for n in ("combined_from_metrics", "timings_local", "summary_local")}
    heads = {n: list(t[0]) for n, t in tables.items()}
    assert heads["combined_from_metrics"][:5] == ["file", "mode", "wall_s", "N", "species"]
    assert heads["timings_local"][:10] == [
        "file", "mode", "rep", "N", "species_unique", "wall_s", "compute_s", "conv_in_s", "conv_out_s", "time_per_N2"
    ]  # fmt: skip
    assert heads["summary_local"][:18] == [
        "file", "mode", "N", "species", "runs", "wall_mean", "wall_std", "tN2_mean", "conv_in_mean", "conv_out_mean",
        "wall_median", "wall_iqr", "wall_min", "cpu_mean", "checksum", "max_err", "backend_used", "threads",
    ]  # fmt: skip
    ours, other = tables["combined_from_metrics"]
    s = np.array(made["points"][0]["samples_s"])
    assert (ours["file"], ours["mode"], other["mode"]) == ("three_species", "cpu", "numpy")
    assert float(ours["wall_s"]) == pytest.approx(np.median(s)) and float(ours["time_per_edge"]) == pytest.approx(
        np.median(s) / 100
    )
    reps = [r for r in tables["timings_local"] if r["mode"] == "cpu"]
    assert [r["rep"] for r in reps] == [str(k) for k in range(1, 16)]
    for r, wall in zip(reps, s, strict=True):
        assert float(r["time_per_N2"]) == pytest.approx(wall / 24**2) and float(r["compute_s"]) == 9e-4
    summed = tables["summary_local"][0]
    assert float(summed["wall_std"]) == pytest.approx(s.std(ddof=1)) and float(summed["wall_mean"]) == pytest.approx(
        s.mean()
    )
    assert summed["checksum"] == "1.5" and summed["runs"] == "15"
    pl = pytest.importorskip("polars")
    frame = pl.read_parquet("results/tables/combined_from_metrics.parquet")
    assert frame.columns == heads["combined_from_metrics"] and frame["N"].to_list() == [24, 24]


def test_a_name_that_ends_with_gz_is_compressed_and_the_same_each_time():
    write(planted("cpu"))
    for _ in range(2):
        assert main(["aggregate", "--out", "t/combined.csv.gz", "--quiet", "--no-parquet"]) == 0
        raw = Path("t/combined.csv.gz").read_bytes()
        assert len(rows("t/combined.csv.gz")) == 2 and len(rows("t/timings_local.csv.gz")) == 30
    assert main(["aggregate", "--out", "t/combined.csv.gz", "--quiet", "--no-parquet"]) == 0
    assert Path("t/combined.csv.gz").read_bytes() == raw and not list(Path("t").glob("*.parquet"))


@pytest.mark.parametrize("name", ["wall_s", "wall", "time_s", "wall_time", "elapsed_s", "elapsed"])
def test_every_name_of_a_time_is_known(name):
    tree = {"xyz": "/data/three_species.xyz", "mode": "numpy", "returncode": 0, name: 2.5, "n_atoms": 24}
    Path("a.json").write_text(json.dumps(tree))
    Path("b.json").write_text(json.dumps([{**tree, "mode": "cpu"}]))
    Path("c.json").write_text(json.dumps({"results": [{**tree, "mode": "cuda"}]}))
    Path("d.csv").write_text(f"file,backend,{name},atoms,n_species\nbenzenes,x,0.5,12,2\n")
    found = aggregate.collect(["a.json", "b.json", "c.json", "d.csv"])
    assert [(r["file"], r["mode"], r["samples"], r["N"], r["species"]) for r in found] == [
        ("benzenes", "x", [0.5], 12, 2), ("three_species", "cpu", [2.5], 24, 3), ("three_species", "cuda", [2.5], 24, 3),
        ("three_species", "numpy", [2.5], 24, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, count",
    [("one_species", 1), ("benzenes", 2), ("soap-three_species", 3), ("four_species", 4), ("12_species", 12), ("benzenes-l6", 2),
     ("three_species_x8", 3), ("water", None), ("fake_benzenes2", None), ("benzenes_x4", 2)],
)  # fmt: skip
def test_species_are_inferred_from_names(name, count):
    assert measurements.species_of(name) == count


def test_missing_n_and_species_come_from_the_data_file():
    Path("data").mkdir()
    Path("data/mixture.xyz").write_text("3\nProperties=species:S:1:pos:R:3\nC 0 0 0\nH 1 0 0\nH 2 0 0\n")
    Path("a.json").write_text(json.dumps({"xyz": "mixture.xyz", "mode": "numpy", "elapsed_s": 1.0}))
    [row] = aggregate.collect(["a.json"], [Path("data")])
    assert row["N"] == 3 and row["species"] == 2


def test_a_headerless_table_of_four_columns_is_read_and_its_runs_are_repeats():
    Path("timings.csv").write_text(
        "r1,three_species.xyz,numpy,1.5\nr2,three_species.xyz,numpy,2.5\nr1,benzenes.xyz,numpy,1.0\n"
    )
    arguments = [
        "aggregate",
        "--inputs",
        "timings.csv",
        "--out",
        "t/c.csv",
        "--host",
        "node7",
        "--quiet",
        "--no-parquet",
    ]
    assert main(arguments) == 0
    made = rows("t/timings_chtc.csv")
    assert [(r["file"], r["rep"], r["wall_s"], r["host"]) for r in made] == [
        ("benzenes", "1", "1", "node7"), ("three_species", "1", "1.5", "node7"), ("three_species", "2", "2.5", "node7")
    ]  # fmt: skip
    assert made[1]["species_unique"] == "3"
    Path("timings.csv").write_text("r1,three_species.xyz,numpy,1.5\n" * 2)
    assert main(arguments) == 1


@pytest.mark.parametrize(
    "tree, message",
    [
        ({"xyz": "a.xyz", "mode": "cpu", "elapsed_s": 1.0, "returncode": 3}, "returncode 0, got 3"),
        ({"xyz": "a.xyz", "mode": "cpu", "elapsed_s": 0.0}, "positive and finite, got 0"),
        ({"xyz": "a.xyz", "mode": "cpu", "elapsed_s": "nan"}, "positive and finite, got nan"),
        ({"xyz": "a.xyz", "mode": "cpu"}, "positive and finite, got None"),
        ([{"xyz": "a.xyz", "mode": "cpu", "elapsed_s": 1.0}] * 2, "file and mode must come once, got a cpu twice"),
        ({"mode": "cpu", "elapsed_s": 1.0}, "must name its file"),
        ({"xyz": "a.xyz", "elapsed_s": 1.0}, "must have a `mode`"),
    ],
)
def test_a_row_that_is_not_right_fails_with_its_file_named(tree, message, capsys):
    Path("bad.json").write_text(json.dumps(tree))
    assert main(["aggregate", "--inputs", "bad.json"]) == 1
    err = capsys.readouterr().err
    assert "bad.json" in err and message in err and not Path("results").exists()


def test_records_of_different_suites_may_have_a_row_in_common_but_not_two_of_one():
    write(planted("cpu"))
    write(planted("species", seed=1))
    assert len(aggregate.collect(["results/metrics/*.json"])) == 4
    (Path("results/metrics") / "copy.json").write_text(Path("results/metrics/cpu.json").read_text())
    with pytest.raises(
        ValueError, match=r"copy\.json and .*cpu\.json: file and mode must come once|cpu\.json and .*copy\.json"
    ):
        aggregate.collect(["results/metrics/*.json"])
    wrong = planted("wrong")
    wrong["points"][0].update(status="wrong", reason="`values` must agree")
    write(wrong, "other")
    with pytest.raises(ValueError, match=r"wrong\.json: three_species cpu: the row must be right, it is wrong"):
        aggregate.collect(["other/metrics/wrong.json"])
    with pytest.raises(FileNotFoundError, match="`inputs` must be files or patterns"):
        aggregate.collect(["nothing/*.json"])


def test_tables_of_any_kind_are_compared_by_their_ratios(capsys):
    before, same, slower = write(planted("a")), write(planted("b", seed=7)), write(planted("c", 1.4, seed=8))
    for made in (before, same, slower):
        name = made.stem
        assert (
            main(["aggregate", "--inputs", str(made), "--out", f"{name}/combined.csv", "--quiet", "--no-parquet"]) == 0
        )
    for form in (
        "results/metrics/{}.json",
        "results/tables/{}.csv",
        "results/tables/{}_ratios.csv",
        "{}/timings_local.csv",
    ):
        assert main(["compare", form.format("a"), form.format("b")]) == 0
        assert main(["compare", form.format("a"), form.format("c")]) == 1
        assert main(["compare", form.format("a"), "results/metrics/c.json", "--fail-above", "1.6"]) == 0
        assert "REGRESSION" in capsys.readouterr().out
    assert main(["compare", "results/tables/a_ratios.csv", "results/metrics/c.json"]) == 1
    Path("t.csv").write_text("file,mode,wall_s\na,b,1\n")
    assert main(["compare", "t.csv", "t.csv"]) == 1 and "t.csv must be a record" in capsys.readouterr().err
    assert main(["compare", str(before)]) == 1 and "must have two files" in capsys.readouterr().err


def test_times_themselves_are_compared_on_request():
    a, b = comparison.of_record(planted("a")), comparison.of_record(planted("b", 1.3, seed=3))
    ours, other = comparison.compare_times(a, b)
    assert ours["regression"] and 1.25 < ours["change"] < 1.35 and ours["low"] < ours["change"] < ours["high"]
    assert not other["regression"] and 0.95 < other["change"] < 1.05
    with pytest.raises(ValueError, match="samples of one point in common"):
        comparison.compare_times(a, comparison.Side())


def test_the_interval_of_a_change_holds_it_in_about_95_of_100_pairs_of_runs():
    rng, held = np.random.default_rng(0), 0
    for k in range(200):
        sides = []
        for _ in range(2):
            slow, fast = 3.0 * rng.lognormal(0, 0.1, 25), rng.lognormal(0, 0.1, 25)
            sides.append(bootstrap_ratio(slow, fast, seed=k, draws=300))
        held += (lambda c: c["low"] <= 1.0 <= c["high"])(comparison.change_of(*sides))
    assert 180 <= held <= 200


def test_a_self_check_finds_what_was_changed_by_hand(capsys):
    path = write(planted("cpu"))
    assert main(["aggregate", "--quiet", "--no-parquet"]) == 0
    assert main(["compare", "--self-check"]) == 0
    made = json.loads(path.read_text())
    made["points"][0]["wall_median"] *= 0.5
    made["points"][1]["parts"] = {"conv_in": [1.0] * 15, "compute": [1.0] * 15, "conv_out": [0.0] * 15}
    path.write_text(json.dumps(made))
    assert main(["compare", "--self-check", "results"]) == 1
    out = capsys.readouterr().out
    assert (
        "`wall_median` must be that of its samples" in out
        and "must add up to" in out
        and "cpu.csv must be the table of" in out
    )
    table = Path("results/tables/timings_local.csv")
    table.write_text(table.read_text().replace("compute_s", "computed", 1))
    assert any("must begin with the columns" in v for v in validation.check(Path("results"))[0])
    with pytest.raises(FileNotFoundError, match="folder of results"):
        validation.check(Path("nowhere"))


def test_an_archive_of_the_same_files_has_the_same_bytes_and_comes_back_whole():
    write(planted("cpu"))
    Path("results/logs").mkdir()
    Path("results/logs/a_cpu.out").write_text("[START]\n")
    Path("results/metrics/cpu.rows").mkdir()
    Path("results/metrics/cpu.rows/x.json").write_text("{}")
    Path("benchmarks/.envs").mkdir(parents=True)
    Path("benchmarks/.envs/big").write_text("x")
    assert main(["bundle"]) == 0
    first = {n: Path(n).read_bytes() for n in bundle.ARTIFACTS}
    assert main(["bundle"]) == 1  # they are there
    Path("results/logs/a_cpu.out").touch()
    assert main(["bundle", "--force"]) == 0
    assert {n: Path(n).read_bytes() for n in bundle.ARTIFACTS} == first
    assert main(["bundle", "--import", "profiling_artifacts.tgz", "--root", "again"]) == 0
    for path in Path("results").rglob("*"):
        other = Path("again") / path
        assert other.exists() != ("cpu.rows" in path.parts) and (
            path.is_dir() or "cpu.rows" in path.parts or other.read_bytes() == path.read_bytes()
        )
    assert not Path("again/benchmarks").exists()
    with zipfile.ZipFile("profiling_local.zip") as z:
        assert z.namelist() == ["results/metrics/cpu.json", "results/tables/cpu.csv", "results/tables/cpu_ratios.csv"]


def tar(path, members):
    with tarfile.open(path, "w:gz") as t:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                t.addfile(info)
            else:
                info.size = len(content)
                t.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("name", ["/etc/x.csv", "../x.csv", "results/../../x.csv", "C:x.csv", "..\\x.csv"])
def test_names_that_lead_out_of_the_folder_are_refused(name):
    tar("a.tgz", {"results/tables/good.csv": b"1", name: b"2"})
    with zipfile.ZipFile("a.zip", "w") as z:
        z.writestr("results/tables/good.csv", b"1")
        z.writestr(zipfile.ZipInfo(name), b"2")
    for archive in (Path("a.tgz"), Path("a.zip")):
        with pytest.raises(ValueError, match="a member must have a relative name"):
            bundle.unpack(archive, Path("to"))
    assert not Path("to").exists()


def test_links_are_refused_and_loose_files_go_to_their_folders():
    tar("link.tgz", {"results/logs/a.out": None})
    with pytest.raises(ValueError, match=r"a member must be a plain file, got results/logs/a\.out"):
        bundle.unpack(Path("link.tgz"), Path("to"))
    tar(
        "chtc.tgz",
        {
            "timings.csv": b"t",
            "a_cpu.metrics.json": b"{}",
            "job/three_species_numpy.wall": b"1.0",
            "bench.svg": b"<svg/>",
        },
    )
    made = bundle.unpack(Path("chtc.tgz"), Path("to"), chtc=True)
    assert {p.relative_to("to").as_posix() for p in made} == {
        "results/tables/timings_chtc.csv", "results/logs/a_cpu.metrics.json", "results/logs/three_species_numpy.wall", "results/logs/bench.svg"
    }  # fmt: skip
    Path("to/results/logs/bench.svg").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and differs"):
        bundle.unpack(Path("chtc.tgz"), Path("to"), chtc=True)
    bundle.unpack(Path("chtc.tgz"), Path("to"), chtc=True, force=True)
    assert Path("to/results/logs/bench.svg").read_text() == "<svg/>"
    Path("broken.tgz").write_text("no archive")
    with pytest.raises(ValueError, match=r"broken\.tgz must be a \.tgz or \.zip archive"):
        bundle.unpack(Path("broken.tgz"), Path("to"))
