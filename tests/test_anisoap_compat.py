"""The class of anisoap 0.1.1 over ours, and that package itself where it is installed."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import valence as vl
from valence.compat.anisoap import EllipsoidalDensityProjection

DATA = Path(__file__).parent / "data" / "anisoap"
CASES = sorted(path.stem for path in DATA.glob("anisoap_*.npz") if "quaternion" in np.load(path))


def load(name):
    z = np.load(DATA / f"{name}.npz")
    columns = {f"c_diameter[{k + 1}]": z["diameters"][:, k] for k in range(3)}
    counts = np.diff(z["frame_ptr"])
    arrays = {"counts": counts, "cell": z["cells"], "pbc": z["pbc"], "c_q": z["quaternion"]}
    systems = vl.Systems.from_arrays(z["positions"], z["numbers"], **arrays, **columns)
    return z, json.loads(str(z["spec"])), systems


@pytest.mark.parametrize("name", CASES)
def test_mean_spectra_are_those_of_the_reference(name):
    z, spec, systems = load(name)
    found = EllipsoidalDensityProjection(**spec["hypers"], rotation_key="c_q").power_spectrum(systems)
    wanted = z["power_spectrum_mean"].squeeze()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


def test_blocks_are_laid_out_as_the_peers_with_right_labels():
    pytest.importorskip("metatensor")
    z, spec, systems = load("anisoap_two_species_l4")
    projection = EllipsoidalDensityProjection(**spec["hypers"], rotation_key="c_q")
    made, raw = projection.transform(systems), projection.transform(systems, normalize=False)
    assert made.keys.names == ["types_center", "angular_channel"] and len(made) == 10
    offset = {l: sum((2 * k + 1) * spec["num_radial"][k] for k in range(l)) for l in range(5)}
    for key, block in made.items():
        l = int(key["angular_channel"])
        rows = z["frame_ptr"][np.asarray(block.samples["type"])] + np.asarray(block.samples["center"])
        assert (z["numbers"][rows] == int(key["types_center"])).all()
        for k, (n, species) in enumerate(block.properties.values):
            from_to = slice(offset[l] + n * (2 * l + 1), offset[l] + (n + 1) * (2 * l + 1))
            column = spec["species"].index(species)
            wanted = z["coefficients"][rows, column, from_to]
            np.testing.assert_allclose(block.values[:, :, k], wanted, rtol=0, atol=1e-12)
        assert raw.block(key).values.shape == block.values.shape
    spectrum = projection.power_spectrum(systems, mean_over_samples=False)
    assert spectrum.keys.names == ["order_nu", "angular_channel", "types_center"]
    np.testing.assert_allclose(
        spectrum.block(0).values[:, 0], z["power_spectrum"][z["numbers"] == 1], rtol=0, atol=1e-12
    )


def test_arguments_that_the_peer_refuses_are_refused():
    with pytest.raises(NotImplementedError, match="`compute_gradients` must be False here"):
        EllipsoidalDensityProjection(2, "gto", 4.0, compute_gradients=True, radial_gaussian_width=1.0)
    with pytest.raises(NotImplementedError, match='`radial_basis_name` must be "gto" or "monomial"'):
        EllipsoidalDensityProjection(2, "bessel", 4.0)
    with pytest.raises(ValueError, match='`rotation_type` must be "quaternion" or "matrix", got \'euler\''):
        EllipsoidalDensityProjection(2, "gto", 4.0, radial_gaussian_width=1.0, rotation_type="euler")
    with pytest.raises(ValueError, match="`width` must be given for Gaussian-type functions"):
        EllipsoidalDensityProjection(2, "gto", 4.0)
    assert EllipsoidalDensityProjection(2, "gto", 4, radial_gaussian_width=1).num_ns == [2, 1, 1]


def test_a_column_of_another_name_is_read_by_its_rotation_key():
    _, spec, systems = load("anisoap_dimer_l4")
    wanted = EllipsoidalDensityProjection(**spec["hypers"]).power_spectrum(systems)
    renamed = systems.replace(c_q=None, turn=systems.columns["c_q"])
    projection = EllipsoidalDensityProjection(**spec["hypers"], rotation_key="turn")
    assert np.array_equal(projection.power_spectrum(renamed), wanted)
    with pytest.raises(ValueError, match="`orientation` must be given, or be in a column turn of the atoms"):
        projection.power_spectrum(systems)


def test_the_peer_gives_our_numbers_for_one_species():
    metatensor = pytest.importorskip("metatensor")
    pytest.importorskip("anisoap")
    ase = pytest.importorskip("ase")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # anisoap 0.1.1 calls a method that metatensor 0.2 removed.
        metatensor.TensorMap.blocks_matching = lambda self, *, selection: [int(i) for i in self.keys.select(selection)]
        from anisoap.representations import EllipsoidalDensityProjection as Peer

        for name in ("anisoap_dimer_l4", "anisoap_triclinic_l6", "anisoap_spheres"):
            _, spec, systems = load(name)
            atoms = ase.Atoms(systems.numbers, systems.positions, cell=systems.cell[0], pbc=systems.pbc[0])
            for key, column in systems.columns.items():
                atoms.arrays[key] = column
            wanted = Peer(**spec["hypers"], rotation_key="c_q").power_spectrum([atoms])
            found = EllipsoidalDensityProjection(**spec["hypers"], rotation_key="c_q").power_spectrum([atoms])
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
