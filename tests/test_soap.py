"""SOAP against featomic 0.6.7 and dscribe 2.1.2 (tests/data/soap)."""

import json
from pathlib import Path

import numpy as np
import pytest
import valence as vl

DATA = Path(__file__).parent / "data" / "soap"
FEATOMIC = ["ethanol", "triclinic", "scaling", "silicon", "explicit"]
DSCRIBE = [
    "gto",
    "gto_inner",
    "gto_outer",
    "gto_mu2",
    "gto_mu1nu1",
    "gto_crossover",
    "poly",
    "poly_weight",
    "pow_periodic",
    "centers",
]


def case(name):
    data = dict(np.load(DATA / f"soap_{name}.npz"))
    spec = json.loads(str(data["spec"]))
    counts = np.diff(data["frame_ptr"])
    systems = vl.Systems.from_arrays(
        data["positions"], data["numbers"], cell=data["cells"], pbc=data["pbc"], counts=counts
    )
    return data, spec, systems


def off(found, expected):
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", FEATOMIC)
def test_closed_forms_give_featomics_numbers(name):
    data, spec, systems = case(f"featomic_{name}")
    soap = vl.Soap.from_featomic(spec["hypers"])
    coefficients = soap.coefficients(systems, species=spec["species"]).values
    assert off(coefficients, data["coefficients"]) < 1e-10
    result = soap.compute(systems, species=spec["species"])
    assert off(result.values, data["power_spectrum"]) < 1e-10
    wrt = [n for n in ("positions", "cell", "strain") if f"grad_{n}" in data]
    found = soap.vjp(systems, data["cotangent_coefficients"], wrt=wrt, species=spec["species"], of="coefficients")
    assert sorted(found) == sorted(wrt)
    for key, value in found.items():
        assert off(value, data[f"grad_{key}"]) < 1e-10


@pytest.mark.parametrize("name", FEATOMIC)
def test_radial_tables_give_featomics_numbers(name):
    data, spec, systems = case(f"featomic_{name}")
    hypers = {**spec["hypers"], "basis": {**spec["hypers"]["basis"], "spline_accuracy": 1e-10}}
    soap = vl.Soap.from_featomic(hypers)
    assert soap.radial_table is not None and soap.radial_table["value"] <= 1e-10
    assert off(soap.coefficients(systems, species=spec["species"]).values, data["coefficients"]) < 1e-9
    found = soap.vjp(systems, data["cotangent_coefficients"], species=spec["species"], of="coefficients")["positions"]
    assert off(found, data["grad_positions"]) < 1e-8


@pytest.mark.parametrize("name", DSCRIBE)
@pytest.mark.parametrize("accuracy", [None, 1e-10])
def test_dscribes_parameters_give_its_numbers(name, accuracy):
    data, spec, systems = case(f"dscribe_{name}")
    soap = vl.Soap.from_dscribe(**spec["options"]).set_params(accuracy=accuracy)
    centers = data["centers"].tolist() if "centers" in data else None
    result = soap.compute(systems, centers=centers)
    assert off(result.values, data["features"]) < 1e-8
    assert len(result.labels) == result.values.shape[1]


def test_dscribes_derivatives_move_the_centre_or_leave_it():
    data, spec, systems = case("dscribe_gto")
    soap = vl.Soap.from_dscribe(**spec["options"])
    for attach, name in ((True, "grad_positions_attach"), (False, "grad_positions_fixed_centers")):
        found = soap.vjp(systems, data["cotangent"], attach=attach)["positions"]
        assert off(found, data[name]) < 1e-8
        jacobian = soap.compute(systems, gradients="positions", attach=attach).gradients["positions"].to_dense()
        assert off(np.einsum("cf,caxf->ax", data["cotangent"], jacobian), data[name]) < 1e-8


def test_indices_and_points_are_centres():
    data, spec, systems = case("dscribe_gto")
    soap = vl.Soap.from_dscribe(**spec["options"])
    whole = soap.compute(systems).values
    some = soap.compute(systems, centers=[3, 1, 3])
    assert np.array_equal(some.values, whole[[3, 1, 3]])
    assert some.atom.tolist() == [3, 1, 3] and some.number.tolist() == data["numbers"][[3, 1, 3]].tolist()
    mixed = soap.compute(systems, centers=[data["positions"][2].tolist(), 0])
    # A point at an atom sees the same density.
    assert off(mixed.values, whole[[2, 0]]) < 1e-12
    assert mixed.atom.tolist() == [-1, 0]
    point = soap.vjp(systems, np.ones_like(mixed.values), centers=[data["positions"][2].tolist(), 0])["positions"]
    assert point.shape == systems.positions.shape


def test_blocks_have_featomics_keys_samples_and_values():
    data, spec, systems = case("featomic_ethanol")
    soap = vl.Soap.from_featomic(spec["hypers"])
    blocks = soap.to_featomic_blocks(systems)
    keys = [tuple(b.key.values()) for b in blocks]
    assert keys == sorted(keys) and list(blocks[0].key) == ["center_type", "neighbor_1_type", "neighbor_2_type"]
    # Water alone has no carbon: its rows are in no block with carbon, and nothing but zeros is left out.
    assert all(6 not in k[1:] or not (b.samples[:, 0] == 1).any() for k, b in zip(keys, blocks))
    dense = np.zeros_like(data["power_spectrum"])
    species = spec["species"]
    pairs = [(a, b) for i, a in enumerate(species) for b in species[i:]]
    width = dense.shape[1] // len(pairs)
    for key, block in zip(keys, blocks):
        p = pairs.index(key[1:])
        rows = data["frame_ptr"][block.samples[:, 0]] + block.samples[:, 1]
        dense[rows, p * width : (p + 1) * width] = block.values
    assert off(dense, data["power_spectrum"]) < 1e-10
    expansion = soap.to_featomic_blocks(systems, of="coefficients")
    assert list(expansion[0].key) == ["o3_lambda", "o3_sigma", "center_type", "neighbor_type"]
    order = [(b.key["center_type"], b.key["neighbor_type"], b.key["o3_lambda"]) for b in expansion]
    assert order == sorted(order)
    first = soap.coefficients(systems).values
    block = next(b for b in expansion if b.key == {"o3_lambda": 1, "o3_sigma": 1, "center_type": 8, "neighbor_type": 1})
    rows = data["frame_ptr"][block.samples[:, 0]] + block.samples[:, 1]
    n = block.values.shape[2]
    assert np.array_equal(block.values, first[rows, 0, n : 4 * n].reshape(-1, n, 3).transpose(0, 2, 1))


def test_the_radial_spectrum_is_the_spherical_part():
    _, spec, systems = case("featomic_ethanol")
    soap = vl.Soap.from_featomic(spec["hypers"], spectrum="radial")
    values = soap.compute(systems).values
    n = soap.num_radial[0]
    expected = soap.coefficients(systems).values[:, :, :n].reshape(len(values), -1)
    assert np.array_equal(values, expected)
    assert soap.compute(systems).labels.shape == (3 * n, 2)
    # featomic's own hyper-parameters of a radial spectrum have no degrees.
    basis = {k: v for k, v in spec["hypers"]["basis"].items() if k not in ("type", "max_angular")}
    own = vl.Soap.from_featomic({**spec["hypers"], "basis": basis})
    assert off(own.compute(systems).values, values) < 1e-14
