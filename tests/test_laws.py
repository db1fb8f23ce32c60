"""Laws that every op of the registry obeys, to the second derivative. A new op is tested here by being declared."""

from __future__ import annotations

import numpy as np
import pytest
import valence
from laws import Case, as_tuple, cases, contract, difference, random_rotation
from valence import _native
from valence._op import REGISTRY


def pytest_generate_tests(metafunc):
    """A test class says with `orders` which derivatives its laws are for."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(*metafunc.cls.orders), ids=str)


def gap(found, expected) -> float:
    """Largest difference relative to the largest expected value."""
    worst = 0.0
    for f, e in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert f.shape == e.shape
        if e.size:
            worst = max(worst, float(np.abs(f - e).max() / max(np.abs(e).max(), 1e-300)))
    return worst


class TestForward:
    orders = (0,)

    @pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
    def test_the_kernel_agrees_with_the_numpy_reference(self, case: Case, rng, dtype, tolerance):
        assert case.op.reference is not None, f"{case.op.name} needs a reference"
        operands = case.sample(rng, 50, dtype)
        found = case.kernel()(*operands)
        exact = [o.astype(np.float64) if o.dtype == np.float32 else o for o in operands]
        expected = case.op.reference(*exact, **case.parameters)
        assert all(f.dtype == dtype for f in as_tuple(found))
        assert gap(found, expected) < tolerance

    def test_it_turns_with_the_frame(self, case: Case, rng):
        kinds = [o.rotates for o in (*case.op.inputs.values(), *case.op.outputs.values())]
        if "vector" not in kinds or None in [o.rotates for o in case.op.outputs.values()]:
            return  # nothing in this op turns, there is no law to hold
        turn = random_rotation(rng)
        operands = case.sample(rng)
        turned = [o @ turn.T if i.rotates == "vector" else o for o, i in zip(operands, case.op.inputs.values())]
        kernel = case.kernel()
        for name, before, after in zip(case.op.outputs, as_tuple(kernel(*operands)), as_tuple(kernel(*turned))):
            kind = case.op.outputs[name].rotates
            if kind == "vector":
                np.testing.assert_allclose(after, before @ turn.T, atol=1e-12)
            elif kind == "harmonics":  # inner products within a degree do not change
                for l in range(int(np.sqrt(before.shape[1]))):
                    a, b = before[:, l * l : (l + 1) ** 2], after[:, l * l : (l + 1) ** 2]
                    np.testing.assert_allclose(
                        b @ b.T, a @ a.T, rtol=1e-9, atol=1e-11 * max(1.0, np.abs(a @ a.T).max())
                    )
            else:
                np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)


class TestDerivatives:
    orders = (0, 1)

    def test_the_vjp_is_the_difference_quotient(self, case: Case, rng):
        operands, kernel = case.sample(rng), case.kernel()
        cotangents = [rng.normal(size=r.shape) for r in as_tuple(kernel(*operands))]
        derivative = Case(case.op.bwd, case.root, case.parameters)
        found = as_tuple(derivative.kernel()(*operands, *cotangents))
        places = [k for k, i in enumerate(case.op.inputs.values()) if i.differentiable]
        assert len(found) == len(places)
        for place, gradient in zip(places, found):

            def value(x, place=place):
                return contract(kernel(*operands[:place], x, *operands[place + 1 :]), cotangents)

            expected = difference(value, operands[place])
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7 * scale)


class TestEveryOrder:
    orders = (0, 1, 2)

    def test_float32_is_float64_rounded(self, case: Case, rng):
        single = case.sample(rng, 50, np.float32)
        double = [o.astype(np.float64) if o.dtype == np.float32 else o for o in single]
        assert gap(case.kernel()(*single), case.kernel()(*double)) < 1e-4

    def test_rows_are_independent(self, case: Case, rng):
        if not case.op.rowwise:
            return  # a permutation law of its own, in the room's tests
        operands, kernel = case.sample(rng, 33), case.kernel()
        order = rng.permutation(33)
        for whole, permuted in zip(as_tuple(kernel(*operands)), as_tuple(kernel(*[o[order] for o in operands]))):
            np.testing.assert_array_equal(whole[order], permuted)

    def test_no_rows_give_no_rows(self, case: Case, rng):
        operands = case.sample(rng)
        if case.op.rowwise:
            operands = [o[:0] for o in operands]
            for result, declared in zip(as_tuple(case.kernel()(*operands)), case.op.outputs.values()):
                assert result.shape[0] == 0 and result.ndim == len(declared.dims.split())

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_layout_gives_what_its_copy_gives(self, case: Case, rng, dtype):
        operands, kernel = case.sample(rng, 20, dtype), case.kernel()
        expected = as_tuple(kernel(*operands))
        strided = [np.repeat(o, 2, axis=0)[::2] for o in operands]
        backwards = [np.ascontiguousarray(o[::-1])[::-1] for o in operands]
        for given in (strided, [np.asfortranarray(o) for o in operands], backwards):
            for found, exact in zip(as_tuple(kernel(*given)), expected):
                np.testing.assert_array_equal(found, exact)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_bits_do_not_depend_on_the_number_of_threads(self, case: Case, rng, dtype):
        operands, results = case.sample(rng, 20_011, dtype), []
        for threads in (1, 2, 3):
            valence.set_num_threads(threads)
            results.append(as_tuple(case.kernel()(*operands)))
        for other in results[1:]:
            for a, b in zip(results[0], other):
                np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("rows", [7, 4099])
    def test_out_takes_every_value_of_the_result(self, case: Case, rng, rows):
        operands, kernel = case.sample(rng, rows), case.kernel()
        expected = kernel(*operands)
        if isinstance(expected, tuple):
            with pytest.raises(TypeError, match="`out` for an op of several results"):
                kernel(*operands, out=np.empty(1))
            return
        out = np.full(expected.shape, np.nan)
        assert kernel(*operands, out=out) is out
        np.testing.assert_array_equal(out, expected)
        frozen = np.empty(expected.shape)
        frozen.flags.writeable = False
        wide = np.empty((*expected.shape[:-1], 2 * expected.shape[-1]))[..., ::2]
        for bad in (np.empty(expected.size + 1), out.astype(np.float32), frozen, wide, [1.0]):
            with pytest.raises(ValueError, match=r"^`out` must be a C-contiguous float64 array of shape \["):
                kernel(*operands, out=bad)

    def test_wrong_operands_are_refused_by_name(self, case: Case, rng):
        operands, kernel = case.sample(rng), case.kernel()
        real = [k for k, i in enumerate(case.op.inputs.values()) if i.kind == "real"]
        for place, (name, declared) in enumerate(case.op.inputs.items()):

            def refused(bad, kind, place=place, name=name):
                with pytest.raises(kind, match=f"^`{name}` must be "):
                    kernel(*operands[:place], bad, *operands[place + 1 :])

            good = operands[place]
            refused(good[..., None], ValueError)
            refused(good.astype(complex), TypeError)
            refused(good.tolist(), TypeError)
            refused(None, TypeError)
            refused(good.astype(good.dtype.newbyteorder(">")), TypeError)
            if declared.kind == "real":
                refused(good.astype(np.int64), TypeError)
            else:
                refused(good.astype(np.float64), TypeError)
            if place != real[0] and declared.kind == "real":
                refused(good.astype(np.float32), TypeError)
        with pytest.raises(TypeError, match="takes"):
            kernel(*operands, operands[0])
        with pytest.raises(TypeError, match="got no"):
            kernel(*operands[:-1])
        with pytest.raises(TypeError, match="got `nonsense`"):
            kernel(*operands, nonsense=1)

    def test_nan_in_one_row_stays_in_that_row(self, case: Case, rng):
        if not case.op.rowwise:
            return
        operands, kernel = case.sample(rng, 21), case.kernel()
        expected = as_tuple(kernel(*operands))
        poisoned = [o.copy() for o in operands]
        poisoned[0][13] = np.nan
        for found, clean in zip(as_tuple(kernel(*poisoned)), expected):
            np.testing.assert_array_equal(np.delete(found, 13, axis=0), np.delete(clean, 13, axis=0))

    def test_columns_in_columns_out(self, case: Case, rng):
        pl = pytest.importorskip("polars")
        operands, kernel = case.sample(rng, 9), case.kernel()
        if any(o.ndim > 2 for o in operands) or any(r.ndim > 2 for r in as_tuple(kernel(*operands))):
            return  # such an operand is no column
        columns = [pl.Series(n, _native.Table([(n, o)], as_column=True)) for n, o in zip(case.op.inputs, operands)]
        for series, array in zip(as_tuple(kernel(*columns)), as_tuple(kernel(*operands))):
            assert isinstance(series, pl.Series)
            np.testing.assert_array_equal(series.to_numpy(), array)


@pytest.fixture(scope="module")
def torch_ops():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import valence.torch

    return torch, valence.torch


class TestTorch:
    orders = (0,)

    def tensors(self, torch, case: Case, rng, rows=5):
        made = [torch.from_numpy(o) for o in case.sample(rng, rows)]
        return [t.requires_grad_() if i.differentiable else t for t, i in zip(made, case.op.inputs.values())]

    def test_torch_gives_the_numbers_of_numpy_and_twice_the_gradient(self, case: Case, rng, torch_ops):
        torch, ops = torch_ops
        function = ops.function(case.op)
        tensors = self.tensors(torch, case, rng)
        expected = as_tuple(case.kernel()(*[t.detach().numpy() for t in tensors]))
        for found, exact in zip(as_tuple(function(*tensors, **case.parameters)), expected):
            np.testing.assert_array_equal(found.detach().numpy(), exact)

        def call(*ts):
            return function(*ts, **case.parameters)

        assert torch.autograd.gradcheck(call, tensors)
        assert torch.autograd.gradgradcheck(call, tensors)

    def test_a_third_derivative_raises(self, case: Case, rng, torch_ops):
        torch, ops = torch_ops
        tensors = self.tensors(torch, case, rng)
        wanted = [t for t in tensors if t.requires_grad]
        value = sum((r**2).sum() for r in as_tuple(ops.function(case.op)(*tensors, **case.parameters)))
        for _ in range(2):
            grads = torch.autograd.grad(value, wanted, create_graph=True)
            value = sum((g**2).sum() for g in grads)
        with pytest.raises(NotImplementedError, match="at most twice"):
            torch.autograd.grad(value, wanted)

    @pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch's own check
    def test_opcheck_passes(self, case: Case, rng, torch_ops):
        torch, ops = torch_ops
        ops.function(case.op)  # registers the family
        static = case.op.static((), dict(case.parameters))
        for order in case.op.family():
            operands = Case(order, case.root, case.parameters).sample(rng, 5)
            tensors = [torch.from_numpy(o) for o in operands]
            for t, i in zip(tensors, order.inputs.values()):
                t.requires_grad_(i.differentiable and order.order < 2)
            call = (*tensors, list(static.params), [s for _, s in static.sizes])
            torch.library.opcheck(getattr(torch.ops.valence, order.name).default, call)

    def test_compiled_without_a_graph_break(self, case: Case, rng, torch_ops):
        torch, ops = torch_ops
        function = ops.function(case.op)
        tensors = self.tensors(torch, case, rng)

        def energy(*ts):
            return sum((r**2).sum() for r in as_tuple(function(*ts, **case.parameters)))

        torch._dynamo.reset()
        compiled = torch.compile(energy, fullgraph=True, backend="aot_eager")
        wanted = [t for t in tensors if t.requires_grad]
        found = torch.autograd.grad(compiled(*tensors), wanted)
        for a, b in zip(found, torch.autograd.grad(energy(*tensors), wanted)):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)

    def test_wrong_tensors_are_refused_by_name(self, case: Case, rng, torch_ops):
        torch, ops = torch_ops
        function, name = ops.function(case.op), next(iter(case.op.inputs))
        tensors = [t.detach() for t in self.tensors(torch, case, rng)]
        for bad in (tensors[0].bfloat16(), tensors[0].half(), tensors[0].to("meta"), [1.0]):
            with pytest.raises((TypeError, ValueError), match=f"^`{name}` must be "):
                function(bad, *tensors[1:], **case.parameters)


@pytest.fixture(scope="module")
def jax_ops():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jax.config.update("jax_enable_x64", True)
    import valence.jax

    return jax, valence.jax


class TestJax:
    orders = (0,)

    def test_jit_and_gradients_are_those_of_the_kernels(self, case: Case, rng, jax_ops):
        jax, ops = jax_ops
        operands = case.sample(rng)
        places = tuple(k for k, i in enumerate(case.op.inputs.values()) if i.differentiable)

        def call(*arrays):
            return ops.function(case.op)(*arrays, **case.parameters)

        results = as_tuple(case.kernel()(*operands))
        for found, exact in zip(as_tuple(jax.jit(call)(*operands)), results):
            np.testing.assert_array_equal(np.asarray(found), exact)
        cotangents = [rng.normal(size=r.shape) for r in results]

        def value(*arrays):
            return sum((r * c).sum() for r, c in zip(as_tuple(call(*arrays)), cotangents))

        first = Case(case.op.bwd, case.root, case.parameters)
        grads = as_tuple(first.kernel()(*operands, *cotangents))
        for found, exact in zip(jax.grad(value, places)(*operands), grads):
            np.testing.assert_array_equal(np.asarray(found), exact)
        weights = [rng.normal(size=g.shape) for g in grads]

        def nested(*arrays):
            return sum((g * w).sum() for g, w in zip(jax.grad(value, places)(*arrays), weights))

        second = Case(first.op.bwd, case.root, case.parameters)
        exact = as_tuple(second.kernel()(*operands, *cotangents, *weights))
        for found, expected in zip(jax.jit(jax.grad(nested, places))(*operands), exact):
            np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)

    def test_vmap_is_a_loop(self, case: Case, rng, jax_ops):
        jax, ops = jax_ops
        batches = [case.sample(rng) for _ in range(3)]
        reals = [k for k, i in enumerate(case.op.inputs.values()) if i.kind == "real"]
        axes = tuple(0 if k in reals else None for k in range(len(case.op.inputs)))
        stacked = [np.stack([b[k] for b in batches]) if k in reals else batches[0][k] for k in range(len(axes))]

        def call(*arrays):
            return ops.function(case.op)(*arrays, **case.parameters)

        found = as_tuple(jax.vmap(call, axes)(*stacked))
        for n in range(3):
            one = [stacked[k][n] if k in reals else stacked[k] for k in range(len(axes))]
            for f, exact in zip(found, as_tuple(case.kernel()(*one))):
                np.testing.assert_array_equal(np.asarray(f[n]), exact)

    def test_float32_stays_float32(self, case: Case, rng, jax_ops):
        _, ops = jax_ops
        operands = case.sample(rng, 7, np.float32)
        for found in as_tuple(ops.function(case.op)(*operands, **case.parameters)):
            assert found.dtype == np.float32

    def test_wrong_arrays_are_refused_by_name(self, case: Case, rng, jax_ops):
        _, ops = jax_ops
        operands, name = case.sample(rng), next(iter(case.op.inputs))
        for bad in (operands[0][..., None], operands[0].astype(int), operands[0].astype(np.float16)):
            with pytest.raises((TypeError, ValueError), match=f"^`{name}` must be "):
                ops.function(case.op)(bad, *operands[1:], **case.parameters)


def test_every_kernel_of_the_core_is_declared():
    declared = {op.name for root in REGISTRY.values() for op in root.family()}
    assert declared == set(_native.op_names())
