"""The frames that come with the package."""

import json
from importlib.resources import files

import numpy as np
import pytest
from valence.atoms import samples


def test_the_sets_hold_what_the_manifest_says():
    manifest = json.loads((files("valence") / "data" / "MANIFEST.json").read_text(encoding="utf-8"))["sets"]
    assert sorted(manifest) == samples()
    for name in samples():
        systems = samples(name)
        assert (len(systems), len(systems.numbers)) == (manifest[name]["systems"], manifest[name]["atoms"])
    assert sum(f.stat().st_size for f in (files("valence") / "data").iterdir()) < 300_000
    with pytest.raises(ValueError, match="`name` must be one of crystals, g2, s22, slabs, water, got x"):
        samples("x")


def test_the_water_box_is_a_liquid_density_and_no_atoms_touch():
    box = samples("water")[0]
    edge = box.cell[0, 0, 0]
    d = box.positions[:, None] - box.positions
    d -= edge * np.round(d / edge)
    r = np.sqrt((d**2).sum(-1))[np.triu_indices(len(d), 1)]
    assert r.min() > 0.95 and box.pbc.all()
    assert 0.95 < 64 * 18.015 * 1.66054 / edge**3 < 1.05


def test_g2_is_ases_collection():
    collection = pytest.importorskip("ase.collections").g2
    systems = samples("g2")
    for name, system in zip(collection.names, systems):
        assert system.info["name"][0] == name
        assert np.array_equal(system.positions, collection[name].positions)
