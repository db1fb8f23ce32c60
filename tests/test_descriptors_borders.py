"""What descriptors refuse or keep at their borders: third derivatives, cells without periodicity, copies, shapes in frameworks."""

import copy
import pickle

import numpy as np
import pytest
import valence as vl

NUMBERS = [1, 8, 8]
SOAP = {"cutoff": 2.6, "max_radial": 1, "lmax": 1, "width": 0.5}
ANISOAP = {"cutoff": 2.6, "lmax": 2, "width": 1.0}


@pytest.fixture
def shapes():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 2, (3, 3)), rng.normal(size=(3, 4)), rng.uniform(0.3, 1.0, (3, 3))


@pytest.mark.parametrize("which", ["Soap", "AniSoap"])
def test_a_third_derivative_in_torch_raises_and_is_never_zero(which, shapes):
    torch = pytest.importorskip("torch")
    import valence.torch as vt

    position, quaternion, axes = (torch.from_numpy(a) for a in shapes)
    x = position.requires_grad_()
    along = torch.linspace(-1, 2, 9, dtype=x.dtype).reshape(3, 3)
    values = vt.Soap(**SOAP)(x, NUMBERS) if which == "Soap" else vt.AniSoap(**ANISOAP)(x, NUMBERS, quaternion, axes)
    (g,) = torch.autograd.grad(values.square().sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * along).sum(), x, create_graph=True)
    assert h.abs().max() > 0
    for loss in ((h * along).sum(), (h * along).sum() + x.sum()):
        with pytest.raises(NotImplementedError, match=f"{which} must be differentiated at most twice"):
            torch.autograd.grad(loss, x, retain_graph=True)


def test_a_cell_in_jax_needs_periodicity(shapes):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        import valence.jax as vj

        cell = 3.0 * np.eye(3)
        with pytest.raises(ValueError, match="`pbc` must be given to `of` where there is a cell"):
            vj.Soap(**SOAP).of(NUMBERS)(shapes[0], cell)
        with pytest.raises(ValueError, match="`pbc` must be given to `bind` where there is a cell"):
            vj.AniSoap(**ANISOAP).bind(NUMBERS)(*shapes, cell)
        found = vj.Soap(**SOAP).of(NUMBERS, pbc=True)(shapes[0], cell)
        expected = vl.Soap(**SOAP).compute(vl.Systems.from_arrays(shapes[0], NUMBERS, cell=cell)).values
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-12)


def test_soap_and_its_results_are_copied_and_pickled(shapes):
    systems = vl.Systems.from_arrays(shapes[0], NUMBERS)
    soap = vl.Soap(**SOAP).fit(systems)
    values = soap.compute(systems)
    for twin in (pickle.loads(pickle.dumps(soap)), copy.deepcopy(soap)):
        assert twin.species_ == soap.species_ and twin.get_params() == soap.get_params()
        np.testing.assert_array_equal(twin.transform(systems), values.values)
    again = pickle.loads(pickle.dumps(values))
    np.testing.assert_array_equal(again.values, values.values)
    assert again.names.tolist() == values.names.tolist() and again.number.tolist() == NUMBERS


def test_columns_that_are_a_parameter_need_no_fit(shapes):
    systems = vl.Systems.from_arrays(shapes[0], NUMBERS)
    soap = vl.Soap(**SOAP, species=[1, 8])
    np.testing.assert_array_equal(soap.transform(systems), soap.fit(systems).transform(systems))
    with pytest.raises(ValueError, match="`species` must name an element at least, got none"):
        vl.Soap(**SOAP, species=[])
    with pytest.raises(ValueError, match="`centers` must be one list for each of the 2 systems, got 0 for system 0"):
        vl.Soap(**SOAP).compute(vl.concat([systems, systems]), centers=[0, 1])


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_shapes_are_checked_in_frameworks_too(framework, shapes):
    pytest.importorskip(framework)
    if framework == "torch":
        import torch
        import valence.torch as vt

        soap = vt.AniSoap(**ANISOAP)

        def call(*arrays):
            return soap(
                *(torch.from_numpy(np.array(a))[()] for a in arrays[:1]), NUMBERS, *map(torch.from_numpy, arrays[1:])
            ).numpy()

        run = call
    else:
        import jax
        import valence.jax as vj

        jax.config.update("jax_enable_x64", True)
        run = vj.AniSoap(**ANISOAP).bind(NUMBERS)
    x, q, a = shapes
    eye = np.broadcast_to(np.eye(3), (3, 3, 3)).copy()
    for bad in (2 * eye, 0 * eye, eye + 0.1):
        with pytest.raises(ValueError, match=r"`orientation` must be orthogonal matrices.*row 0"):
            run(x, bad, a)
    with pytest.raises(ValueError, match=r"`orientation` must be quaternions.*row 1"):
        run(x, np.where(np.arange(3)[:, None] == 1, 0.0, q), a)
    with pytest.raises(ValueError, match=r"`semiaxes` must be finite lengths.*row 2"):
        run(x, q, np.where(np.arange(3)[:, None] == 2, -1.0, a))
    for scale in (1e-170, 1e200):
        np.testing.assert_allclose(np.asarray(run(x, scale * q, a)), np.asarray(run(x, q, a)), rtol=1e-12, atol=1e-14)


def test_diameters_of_the_info_and_of_columns_are_not_both_taken(shapes):
    x, q, a = shapes
    systems = vl.Systems.from_arrays(x, NUMBERS, c_q=q, **{f"c_diameter[{k + 1}]": 2 * a[:, k] for k in range(3)})
    with pytest.raises(
        ValueError, match=r"`diameters_from_info` must be False where the atoms have a column c_diameter"
    ):
        vl.AniSoap(**ANISOAP).compute(systems, diameters_from_info=True)
