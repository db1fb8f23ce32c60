"""AniSOAP in torch and JAX: values of the calculator, first and second derivatives against difference quotients."""

import numpy as np
import pytest
import valence as vl

PARAMETERS = {"cutoff": 3.5, "lmax": 2, "width": 1.1}


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = np.array([[0.0, 0, 0], [1.4, 0.3, 0.1], [0.2, 1.7, -0.4], [0.1, 0.2, 1.5]]) + rng.normal(size=(4, 3)) * 0.1
    cell = np.array([[[4.0, 0, 0], [0.3, 4.5, 0], [0, 0.2, 5.0]]])
    return x, rng.normal(size=(4, 4)), rng.uniform(0.3, 1.0, (4, 3)), cell, [6, 8, 6, 8]


def test_torch_gives_the_values_and_gradients_of_the_calculator():
    torch = pytest.importorskip("torch")
    from valence.torch import AniSoap

    x, q, s, cell, numbers = inputs()
    calculator = vl.AniSoap(**PARAMETERS)
    systems = vl.Systems.from_arrays(x, numbers, cell=cell)
    g = np.random.default_rng(3).normal(size=calculator.compute(systems, orientation=q, semiaxes=s).values.shape)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, q, s, cell)]
    values = AniSoap(**PARAMETERS)(tensors[0], numbers, tensors[1], tensors[2], cell=tensors[3])
    wanted = calculator.compute(systems, orientation=q, semiaxes=s).values
    np.testing.assert_allclose(values.detach().numpy(), wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
    (values * torch.tensor(g)).sum().backward()
    names = ("positions", "quaternion", "semiaxes", "cell")
    found = calculator.vjp(systems, g, names, orientation=q, semiaxes=s)
    for name, tensor in zip(names, tensors, strict=True):
        scale = np.abs(found[name]).max()
        np.testing.assert_allclose(tensor.grad.numpy(), found[name], rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("kind", ["gto", "monomial"])
def test_torch_differentiates_twice_in_everything(kind):
    torch = pytest.importorskip("torch")
    from valence.torch import AniSoap

    x, q, s, cell, numbers = inputs(1)
    soap = AniSoap(**{**PARAMETERS, "width": 1.1 if kind == "gto" else None, "radial_basis": kind}, unique=True)
    tensors = tuple(torch.tensor(a, requires_grad=True) for a in (x, q, s, cell))
    mix = torch.tensor(np.random.default_rng(5).normal(size=(soap(tensors[0], numbers, *tensors[1:3]).shape[1], 2)))

    def function(x, q, s, cell):
        return soap(x, numbers, q, s, cell=cell) @ mix * (1.0 if kind == "gto" else 1e-3)

    assert torch.autograd.gradcheck(function, tensors, eps=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, tensors, eps=1e-5, atol=1e-5)


def test_torch_trains_on_forces_in_single_precision_and_names_errors():
    torch = pytest.importorskip("torch")
    from valence.torch import AniSoap

    x, q, s, cell, numbers = inputs(2)
    soap = AniSoap(**PARAMETERS)
    x, q, s = (torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (x, q, s))
    weights = torch.randn(24, requires_grad=True)
    energy = torch.tanh(soap(x, numbers, q, s, cell=torch.tensor(cell)) @ weights).sum()
    (force,) = torch.autograd.grad(energy, x, create_graph=True)
    force.pow(2).sum().backward()
    assert weights.grad.dtype == torch.float32 and torch.isfinite(weights.grad).all() and x.grad.abs().max() > 0
    with pytest.raises(
        ValueError,
        match=r"`semiaxes` must be finite lengths in Angstrom, zero or more and at most 1e6, got .* in row 0",
    ):
        soap(x, numbers, q, -s)
    with pytest.raises(ValueError, match=r"`orientation` must be quaternions \(w, x, y, z\), finite and not zero"):
        soap(x, numbers, 0 * q, s)
    with pytest.raises(TypeError, match="`positions` must be a torch tensor, got list"):
        soap([[0.0, 0, 0]], numbers, q, s)
    with pytest.raises(ValueError, match="`mean_over_samples` must be False here"):
        AniSoap(**PARAMETERS, mean_over_samples=True)


def test_jax_differentiates_twice():
    jax = pytest.importorskip("jax")
    from valence.jax import AniSoap

    with jax.enable_x64(True):
        jnp = jax.numpy
        x, q, s, cell, numbers = inputs(4)
        calculator = vl.AniSoap(**PARAMETERS)
        systems = vl.Systems.from_arrays(x, numbers, cell=cell)
        wanted = calculator.compute(systems, orientation=q, semiaxes=s).values
        spectrum = jax.jit(AniSoap(**PARAMETERS).bind(numbers, pbc=True))
        arrays = tuple(map(jnp.asarray, (x, q, s, cell)))
        values = spectrum(*arrays)
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
        g = jnp.asarray(np.random.default_rng(3).normal(size=wanted.shape))

        def energy(*arrays):
            return jnp.tanh(spectrum(*arrays) * g).sum()

        def work(*arrays):
            return sum((a * jnp.cos(jnp.arange(a.size)).reshape(a.shape)).sum() for a in first(*arrays))

        first = jax.grad(energy, argnums=(0, 1, 2, 3))
        rng = np.random.default_rng(6)
        step = [jnp.asarray(rng.normal(size=a.shape)) for a in arrays]
        for function in (energy, work):
            found = sum((a * b).sum() for a, b in zip(jax.grad(function, argnums=(0, 1, 2, 3))(*arrays), step))
            h = 1e-4
            at = [function(*[a + k * h * b for a, b in zip(arrays, step)]) for k in (-2, -1, 1, 2)]
            quotient = (8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * h)
            assert abs(found - quotient) < 1e-7 * (1 + abs(quotient))


def test_an_ellipsoid_that_is_a_sphere_feels_no_torque_but_has_a_second_derivative():
    torch = pytest.importorskip("torch")
    from valence.torch import AniSoap

    x, q, _, cell, numbers = inputs(7)
    x, q = torch.tensor(x, requires_grad=True), torch.tensor(q, requires_grad=True)
    s = torch.full((4, 3), 0.6, dtype=torch.float64, requires_grad=True)
    energy = AniSoap(**PARAMETERS)(x, numbers, q, s, cell=torch.tensor(cell)).sum()
    torque, axes = torch.autograd.grad(energy, (q, s), create_graph=True)
    assert torque.abs().max() < 1e-13 * axes.abs().max()
    (mixed,) = torch.autograd.grad((torque * q.detach().roll(1, 0)).sum(), s)
    assert mixed.abs().max() > 1e-6
