"""The device floor on a machine without a GPU: the probe, the compiler, and what is said where there is no GPU."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import valence
from valence import _native
from valence._op import REGISTRY

TABLE = Path(__file__).parent.parent / "results" / "tables" / "cuda_kernels.csv"


def compiler():
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed (extra `cuda`)")


#: Degree 3 for every architecture; the larger degree 4 takes a minute each, and its table is made by the command.
DEGREE_3 = "^(?!.*lmax=4)"


def test_every_kernel_compiles_for_every_architecture():
    compiler()
    sizes = valence.cuda.compile_all(texts=DEGREE_3)
    assert {name.split()[0] for name, _ in sizes} == {name.split()[0] for name, _ in _native.cuda_sources()}
    assert {arch for _, arch in sizes} == {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"}
    assert all(size > 1000 for size in sizes.values())


def test_no_kernel_spills_a_register_or_takes_more_shared_memory_than_any_gpu_has():
    compiler()
    rows = valence.cuda.resources(texts=DEGREE_3)
    assert [r for r in rows if r["spill_bytes"]] == []
    assert all(0 < r["registers"] <= 255 and r["shared_bytes"] <= 48 * 1024 for r in rows)
    kernels = {(r["source"], r["kernel"]) for r in rows}
    assert len(rows) == len(kernels) * len(valence.cuda.ARCHITECTURES)


def test_the_table_of_kernels_has_a_row_a_kernel_and_architecture(tmp_path):
    compiler()
    rows = valence.cuda.write_table(tmp_path / "kernels.csv", texts=DEGREE_3)
    with open(tmp_path / "kernels.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [r["kernel"] for r in read] == [r["kernel"] for r in rows]
    assert {r["architecture"] for r in read} == set(valence.cuda.ARCHITECTURES)


def test_the_table_of_the_repository_is_of_these_kernels_and_shows_no_spill():
    if not TABLE.exists():
        pytest.skip("the table is not here (it is in a source checkout)")
    with open(TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["source"] for r in rows} == {name for name, _ in _native.cuda_sources()}
    assert {r["spill_bytes"] for r in rows} == {"0"}


def test_a_kernel_that_does_not_compile_shows_the_compilers_log():
    compiler()
    valence.cuda._load_nvrtc()
    with pytest.raises(RuntimeError, match=r'kernel "bad.cu" for sm_90.*\n[^$]*undefined_name'):
        _native.cuda_compile("__global__ void f() { undefined_name(); }", "bad.cu", "sm_90")
    with pytest.raises(ValueError, match=r"^`arch` must be a real architecture"):
        _native.cuda_compile("__global__ void f() {}", "f.cu", "compute_90")


def test_the_probe_says_why_there_is_no_gpu():
    why = valence.cuda.why_not()
    assert valence.cuda.is_available() is (why is None)
    assert (why is None) == (len(valence.cuda.devices()) > 0)


def test_the_command_lists_gpus_or_says_why_there_is_none():
    done = subprocess.run([sys.executable, "-m", "valence.cuda"], capture_output=True, text=True, check=True)
    assert ("cuda:0" if valence.cuda.is_available() else f"no GPU: {valence.cuda.why_not()}") in done.stdout
    assert "tensor_product" in done.stdout


@pytest.mark.skipif(valence.cuda.is_available(), reason="this machine has a GPU")
def test_a_call_on_a_gpu_that_is_not_there_says_why():
    x, vectors = np.zeros((2, 4, 16)), np.zeros((2, 3))
    calls = [
        lambda: valence.spherical_harmonics(vectors, 3, device="cuda"),
        lambda: valence.tensor_product_simple(x, x[:, 0], device="cuda:0"),
        lambda: valence.tensor_product(x, x[:, 0], np.zeros((34, 4, 4)), device="cuda"),
        lambda: valence.fused_sh_tp_simple(vectors, x, np.zeros(2, np.int32), device="cuda"),
        lambda: REGISTRY["edge_length"](vectors, device="cuda"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=r"^`device` must be one that this machine has, got cuda(:0)? and "):
            call()


def test_a_device_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"^`device` must be cpu, cuda or cuda:<number>, got 'gpu'$"):
        valence.spherical_harmonics(np.zeros((2, 3)), 3, device="gpu")


def test_shapes_are_checked_against_the_declaration_by_name():
    op = REGISTRY["tensor_product"]
    static = op.encode(lmax1=1, lmax2=1, lmax_out=1)
    assert valence.cuda.output_shapes(op, static, [[5, 2, 4], [5, 4], [5, 2, 3]]) == [[5, 3, 4]]
    for shapes, name in (
        ([[5, 2, 9], [5, 4], [5, 2, 3]], r"`x` must be of shape \[N, C, M1\] = \[N, C, 4\], got \[5, 2, 9\]"),
        ([[5, 2, 4], [6, 4], [5, 2, 3]], r"`y` must be of shape \[N, M2\] = \[5, 4\], got \[6, 4\]"),
        ([[5, 2, 4], [5, 4], [4, 2, 3]], r"`weights` must be of shape \[P, C, D\] = \[5, 2, D\], got \[4, 2, 3\]"),
    ):
        with pytest.raises(ValueError, match=f"^{name}$"):
            valence.cuda.output_shapes(op, static, shapes)


def test_degrees_that_no_kernel_is_made_for_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^`lmax` must be a whole number from 0 to 4 on a GPU, got 5$"):
        _native.CudaPlan("tensor_product_simple", [5.0, 5.0, 5.0], [[2, 1, 36], [2, 36]], [[2, 1, 36]], "float32")
    with pytest.raises(ValueError, match=r"^`device` must be cpu for radial, which has no GPU kernel, got cuda$"):
        _native.CudaPlan("radial", [], [[2]], [[2, 3]], "float32")


@pytest.mark.skipif(valence.cuda.is_available(), reason="this machine has a GPU")
def test_the_suite_for_a_gpu_says_why_it_does_not_run(tmp_path, capsys):
    from valence.bench import cli, runner, suite

    suites = suite.PRESETS / "gpu.yaml"
    assert suite.load(suites).device == "cuda"
    assert cli.main(["run", "--config", str(suites), "--out", str(tmp_path / "gpu.json")]) == 1
    assert f"suite gpu must run on a machine with a GPU, got {valence.cuda.why_not()}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="must run on a machine with a GPU"):
        runner.run(suite.load(suites), runner.Settings(tmp_path / "gpu.json"))


def test_tensors_on_two_devices_are_refused_by_name():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `torch`)")
    import valence.torch as vt

    x, y, w = torch.zeros(2, 4, 16), torch.zeros(2, 16), torch.zeros(34, 4, 4)
    with pytest.raises(ValueError, match=r"^`y` must be on the CPU as `x` is, got meta$"):
        vt.tensor_product(x, y.to("meta"), w)
    with pytest.raises(ValueError, match=r"^`x` must be on the CPU or a CUDA GPU, got meta$"):
        vt.tensor_product(x.to("meta"), y, w)
