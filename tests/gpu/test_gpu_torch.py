"""torch's CUDA tensors: by address, on the current stream, differentiable twice."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import valence.torch as vt  # noqa: E402
from cuda_cases import graph, products  # noqa: E402


def on(device, given, *names, dtype=torch.float64):
    made = []
    for name in names:
        t = torch.from_numpy(np.ascontiguousarray(given[name])).to(device)
        made.append(t.to(dtype).requires_grad_() if t.is_floating_point() else t)
    return made


def message_passing(vectors, x, weights, source, target):
    return vt.fused_message_passing(vectors, x, weights, source, target, 8)


NAMES = ("vectors", "x", "weights", "source_idx", "target_idx")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_cpu(rng, dtype):
    given = graph(rng, 200, 10, 8, 3, 32, 16)
    results = []
    for device in ("cpu", "cuda"):
        tensors = on(device, given, *NAMES, dtype=dtype)
        out = message_passing(*tensors)
        grads = torch.autograd.grad(out.sin().sum(), tensors[:3], create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in grads), tensors[:3])
        results.append([t.detach().cpu() for t in (out, *grads, *second)])
    tolerance = 1e-10 if dtype is torch.float64 else 2e-3
    for here, there in zip(*results):
        assert there.dtype == dtype
        assert (here - there).abs().max() <= tolerance * (1 + here.abs().max())


def test_derivatives_pass_torchs_own_checks(rng):
    given = graph(rng, 6, 4, 8, 1, 2, 2)
    vectors, x, weights, source, target = on("cuda", given, *NAMES)
    assert torch.autograd.gradcheck(lambda *t: message_passing(*t, source, target), (vectors, x, weights))
    assert torch.autograd.gradgradcheck(lambda *t: message_passing(*t, source, target), (vectors, x, weights))
    assert torch.autograd.gradgradcheck(lambda v: vt.spherical_harmonics(v, lmax=3), (vectors,))


def test_work_is_queued_on_the_current_stream(rng):
    (vectors,) = on("cuda", graph(rng, 100_000, 4, 8, 1, 1, 1), "vectors")
    expected = vt.spherical_harmonics(vectors, lmax=3)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        scaled = vectors
        for _ in range(50):
            scaled = scaled * 2.0
        found = vt.spherical_harmonics(scaled, lmax=3)
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(found, expected)


def test_strided_and_empty_tensors_are_taken(rng):
    given = products(rng, 6, (3, 3, 3), 4, 5)
    x, y, weights = on("cuda", given, "x", "y", "weights")
    strided = x.detach().transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    torch.testing.assert_close(vt.tensor_product(strided, y, weights), vt.tensor_product(x, y, weights))
    assert vt.tensor_product(x[:0], y[:0], weights).shape == (0, 5, 16)


def test_operands_on_different_devices_are_refused_by_name(rng):
    given = products(rng, 6, (3, 3, 3), 4, 5)
    x, y, weights = on("cuda", given, "x", "y", "weights")
    with pytest.raises(ValueError, match=r"^`y` must be on cuda:0 as `x` is, got cpu$"):
        vt.tensor_product(x, y.cpu(), weights)
    with pytest.raises(ValueError, match=r"^`weights` must be on the CPU as `x` is, got cuda:0$"):
        vt.tensor_product(x.cpu(), y.cpu(), weights)


def test_an_index_out_of_range_is_named_with_its_row(rng):
    given = graph(rng, 20, 4, 8, 1, 2, 2)
    given["target_idx"][7] = 8
    with pytest.raises(ValueError, match=r"^`target_idx` must be in \[0, 8\), got 8 in row 7$"):
        message_passing(*on("cuda", given, *NAMES))


def test_an_index_that_is_written_to_is_sorted_anew(rng):
    given = graph(rng, 20, 4, 8, 1, 2, 2)
    tensors = on("cuda", given, *NAMES)
    message_passing(*tensors)
    tensors[4].fill_(3)
    given["target_idx"][:] = 3
    torch.testing.assert_close(message_passing(*tensors), message_passing(*on("cuda", given, *NAMES)))


def test_compiled_functions_run_on_cuda_tensors(rng):
    given = products(rng, 6, (1, 1, 1), 2, 2)
    x, y, weights = on("cuda", given, "x", "y", "weights")
    compiled = torch.compile(lambda a, b, w: vt.tensor_product(a, b, w) * 2.0, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y, weights), vt.tensor_product(x, y, weights) * 2.0)


def test_an_op_without_kernels_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^`device` must be cpu for cutoff_envelope, which has no GPU kernel"):
        vt.cutoff_envelope(torch.ones(3, device="cuda"), 5.0)
