"""A trained network, of copper: mace-torch's numbers, and the physics that it was fitted to."""

from pathlib import Path

import numpy as np
import pytest
import valence as vl

FOLDER = Path(__file__).parent / "data" / "mace" / "copper_16_emt"
GPA = 0.006241509074460763  # eV/Angstrom^3


@pytest.fixture(scope="module")
def peer():
    with np.load(FOLDER / "reference.npz") as file:
        return dict(file)


def crystal(a, strain=None):
    """The cubic cell of four atoms, strained."""
    turn = np.eye(3) if strain is None else np.eye(3) + strain
    x = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * a
    return vl.Systems.from_arrays(x @ turn, np.full(4, 29), cell=(a * turn)[None], pbc=np.ones((1, 3), bool))


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-11), ("float32", 3e-5)])
def test_a_trained_network_gives_energy_forces_and_stress_of_mace_torch(peer, dtype, tolerance):
    system = vl.Systems.from_arrays(peer["positions"], peer["numbers"], cell=peer["cell"][None], pbc=peer["pbc"][None])
    model = vl.load(FOLDER / "model.safetensors", dtype=dtype, radial="exact")
    found = model.compute(system, ("energy", "forces", "stress"))
    np.testing.assert_allclose(found.energy[0], peer["energy"], rtol=tolerance)
    np.testing.assert_allclose(found.forces, peer["forces"], atol=tolerance * np.abs(peer["forces"]).max())
    stress = peer["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    np.testing.assert_allclose(found.stress[0], stress, atol=tolerance * np.abs(stress).max())


def test_lattice_constant_and_elastic_constants_are_mace_torchs_and_near_those_of_the_fitted_potential(peer):
    model = vl.load(FOLDER / "model.safetensors", dtype="float64", radial="exact")
    a, *constants = peer["mace_torch"]

    def stress(strains):
        return model.compute(vl.concat([crystal(a, s) for s in strains]), ("stress",)).stress / GPA

    stretch, shear = np.zeros((3, 3)), np.zeros((3, 3))
    stretch[0, 0], shear[1, 2], shear[2, 1] = 1e-3, 5e-4, 5e-4
    none, up, down, right, left = stress([0 * stretch, stretch, -stretch, shear, -shear])
    assert np.abs(none).max() < 1e-6
    found = [(up - down)[0, 0] / 2e-3, (up - down)[1, 1] / 2e-3, (right - left)[1, 2] / 2e-3]
    np.testing.assert_allclose(found, constants, rtol=1e-7)
    np.testing.assert_allclose(a, peer["emt"][0], rtol=2e-3)
    np.testing.assert_allclose(constants, peer["emt"][1:], rtol=0.25)
