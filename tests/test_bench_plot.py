"""Figures of results: which rows go where, what the captions say, what is missing, the roofline's counts."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from valence.bench import figure_rows, figures, plot, roofline
from valence.bench.cli import main
from valence.bench.record import write_json

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
ENVIRONMENT = {"cpu_model": "A processor", "cores": 4, "cpu_features": ["avx", "avx2"], "memory_kb": 8 * 1024**2}


def point(workload, backend, seconds, **more):
    times = [seconds * f for f in (0.9, 1.0, 1.1, 1.0, 1.2)]
    made = {
        "workload": workload,
        "op": "soap",
        "backend": backend,
        "dtype": "float64",
        "threads": 1,
        "status": "ok",
        "N": 24,
        "batch": 1,
    }
    return {**made, "samples_s": times, **more}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A record with a species sweep (cost grows as the square), a size sweep (linear), threads, and a wrong row."""
    points = []
    for k, name in enumerate(("one_species", "benzenes", "three_species", "four_species"), 1):
        points += [point(name, b, f * k * k, species=k) for b, f in (("cpu", 1e-4), ("peer", 1e-3))]
    for n in (10, 100, 1000):
        points += [
            point(f"grow-{n}", "cpu", 1e-6 * n, N=n, species=1, edges=20 * n, sweep={"axis": "size", "value": n})
        ]
    points += [point("busy", "cpu", 1e-3 / (0.5 + 0.5 * t), threads=t) for t in (1, 2)]
    points += [point("one_species", "broken", 1e-9, species=1, status="wrong")]
    ratio = {"name": "busy", "workload": "busy", "dtype": "float64", "threads": 1, "slow": "peer", "fast": "cpu", "kind": "time",
             "ratio": 8.0, "low": 7.0, "high": 9.0, "at_least": 10.0, "at_most": None, "reached": False}  # fmt: skip
    tree = {"schema": 1, "name": "made", "environment": ENVIRONMENT, "points": points, "ratios": [ratio]}
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "results" / "metrics" / "made.json", tree)
    return tmp_path / "results"


def test_plot_writes_png_svg_and_caption_of_every_figure_that_has_data(results, capsys):
    assert main(["plot"]) == 0
    said = capsys.readouterr()
    names = [
        "wall_time_by_system",
        "wall_time_vs_species",
        "scaling_species",
        "time_vs_size",
        "speedups",
        "thread_scaling",
    ]
    for name in names:
        assert (results / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(results / "figures" / f"{name}.svg")
        caption = (results / "figures" / f"{name}.md").read_text()
        assert all(f"- {part}: " in caption for part in ("Dataset", "Hardware", "Samples", "Takeaway"))
        assert "A processor, 4 cores, AVX2, 8 GiB" in caption
    assert "no roofline: nothing to draw it from; python -m valence.bench roofline" in said.err
    assert "1 rows that were skipped or are not right are left out" in said.out
    before = {p.name: p.read_bytes() for p in (results / "figures").iterdir()}
    assert main(["plot"]) == 0 and {p.name: p.read_bytes() for p in (results / "figures").iterdir()} == before


def test_captions_say_what_the_rows_say(results):
    source = figure_rows.read(None, ["results/metrics/*.json"])
    assert "cpu takes 16.00 times as long" in figures.scaling_species(source).takeaway
    assert "grows as N^1.00" in figures.time_vs_size(source).takeaway
    assert "0 of 1 targets" in figures.speedups(source).takeaway and "8.00" in figures.speedups(source).takeaway
    assert "75 %" in figures.thread_scaling(source).takeaway
    systems = figures.wall_time_by_system(source)
    assert systems.dataset.startswith("4 systems: benzenes, four_species, one_species, three_species")
    assert systems.samples.startswith("5 samples a point")


def test_the_axes_name_their_units_and_the_species_figure_is_over_the_square_of_n(results):
    source = figure_rows.read(None, ["results/metrics/*.json"])
    drawn = figures.wall_time_vs_species(source)
    (ax,) = [a for a in drawn.figure.axes if a.get_visible()]
    assert ax.get_ylabel() == "wall time / N² (ns)" and ax.get_xlabel() == "number of species"
    ours = next(c for c in ax.containers if c.get_label() == "cpu")
    np.testing.assert_allclose(ours[0].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(ours[0].get_ydata(), 1e9 * 1e-4 * np.array([1, 4, 9, 16]) / 24**2)


def test_a_table_of_aggregate_gives_the_same_figures_and_the_old_harness_s_columns_do_too(results, capsys):
    assert main(["aggregate", "--inputs", "results/metrics/none.json"]) == 1
    tree = json.loads((results / "metrics" / "made.json").read_text())
    tree["points"] = [p for p in tree["points"] if p["status"] == "ok" and p["workload"] != "busy"]
    write_json(results / "metrics" / "made.json", tree)
    assert main(["aggregate", "--no-parquet", "--quiet"]) == 0
    table = results / "tables" / "combined_from_metrics.csv"
    one = figure_rows.read(table, plot.INPUTS)
    two = figure_rows.read(None, plot.INPUTS)
    assert len(one.rows) == len(two.rows) and one.machines == two.machines and one.ratios
    assert figures.scaling_species(one).takeaway == figures.scaling_species(two).takeaway
    old = results / "old.csv"
    old.write_text(
        "file,mode,wall,n_atoms\n"
        + "".join(f"{n},numpy,{t},24\n" for n, t in (("one_species", 1.0), ("benzenes", 2.0), ("three_species", 4.5)))
    )
    assert (
        main(
            [
                "plot",
                "--table",
                str(old),
                "--inputs",
                "--figdir",
                str(results / "old"),
                "--only",
                "wall_time_vs_species",
            ]
        )
        == 0
    )
    assert "4.50 times" in (results / "old" / "wall_time_vs_species.md").read_text()


def test_a_job_of_the_old_harness_is_read(results):
    write_json(results / "tables" / "three_species_numpy.metrics.json", {"xyz": "three_species.xyz", "mode": "numpy", "returncode": 0, "elapsed_s": 2.5, "N": 24})  # fmt: skip
    source = figure_rows.read(None, ["results/tables/*.metrics.json"])
    (row,) = source.rows
    assert (row.file, row.mode, row.wall, row.species, row.N) == ("three_species", "numpy", 2.5, 3, 24)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "pie"], "`only` must be of wall_time_by_system"),
        (["--table", "nowhere.csv"], "`table` must be a CSV table of `aggregate`, got nowhere.csv"),
        (["--inputs", "nowhere/*.json"], "`inputs` must hold a timing, got none"),
        (["--only", "roofline"], "no roofline"),
    ],
)
def test_what_is_missing_is_said(words, said, results, capsys):
    assert main(["plot", *words]) == 1
    assert said in capsys.readouterr().err


def test_without_matplotlib_the_tables_are_written_and_it_is_said(results, capsys, monkeypatch):
    import builtins

    plain = builtins.__import__
    tree = json.loads((results / "metrics" / "made.json").read_text())
    tree["points"] = tree["points"][:8]
    write_json(results / "metrics" / "made.json", tree)

    def without(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["plot"]) == 0
    assert "no figures: install `matplotlib`" in capsys.readouterr().err
    assert (results / "tables" / "combined_from_metrics.csv").is_file() and not (results / "figures").exists()


def test_colours_and_marks_of_up_to_32_modes_differ():
    style = figures.styles([f"peer {k}" for k in range(32)] + ["cpu"])
    assert len({(s["color"], s["linestyle"]) for s in list(style.values())[:32]}) == 32
    assert style["cpu"]["color"] == figures.COLOURS[0]


def test_the_roofline_counts_operations_and_stays_below_itself(tmp_path, monkeypatch, capsys):
    assert roofline.harmonics_operations(0) == 10 + 1  # the normalisation and one product
    assert roofline.harmonics_operations(1) == 10 + (0 + 1) + (1 + 1) + 6 + 3
    assert len(roofline.coupled(3)) == 34 and roofline.coupled(0) == [(0, 0, 0, 1)]
    assert roofline.roof({"bandwidth": 10.0, "float64": 40.0}, "float64", 2.0) == 20.0
    assert roofline.roof({"bandwidth": 10.0, "float64": 40.0}, "float64", 8.0) == 40.0
    monkeypatch.chdir(tmp_path)
    assert main(["roofline", "--seconds", "0.005", "--size", "0.02"]) == 0
    made = json.loads((tmp_path / "results/metrics/roofline.json").read_text())
    assert set(made["ceilings"]) == {"bandwidth", "float64", "float32"} and min(made["ceilings"].values()) > 1e8
    assert {k["dtype"] for k in made["kernels"]} == {"float64", "float32"}
    assert main(["roofline"]) == 1 and "must be a new file" in capsys.readouterr().err
    assert main(["plot", "--only", "roofline"]) == 0
    assert "share of the roof: harmonics, lmax 1 float64" in (tmp_path / "results/figures/roofline.md").read_text()
