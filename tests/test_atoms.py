"""Systems, Molecule, as_systems, tables and units."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from valence.atoms import Molecule, Systems, as_systems, concat, units

WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])


def water(**more):
    return Systems.from_arrays(WATER, [8, 1, 1], **more)


def test_importing_the_room_needs_numpy_alone():
    code = "import sys, valence.atoms; print([m for m in ('polars', 'ase', 'pydantic', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_batch_has_the_shapes_and_dtypes_of_the_contract():
    s = Systems.from_arrays(
        np.zeros((5, 3), np.float32),
        np.arange(1, 6, dtype=np.int16),
        counts=[2, 0, 3],
        cell=np.eye(3),
        charge=[0, 1, -1],
    )
    assert s.positions.dtype == np.float32 and s.numbers.dtype == np.uint8
    assert s.offsets.dtype == np.int64 and s.offsets.tolist() == [0, 2, 2, 5] and s.counts.tolist() == [2, 0, 3]
    assert s.cell.shape == (3, 3, 3) and s.cell.dtype == np.float64
    assert s.pbc.shape == (3, 3) and s.pbc.dtype == bool and s.pbc.all()
    assert s.charge.tolist() == [0, 1, -1] and s.multiplicity is None and len(s) == 3
    assert s.system.tolist() == [0, 0, 2, 2, 2]
    assert "3 systems" in repr(s) and "<table>" in s._repr_html_()


def test_one_atom_no_atom_and_no_system_are_batches():
    assert len(Systems.from_arrays([[0.0, 0.0, 0.0]], [1])) == 1
    empty = Systems.from_arrays(np.zeros((0, 3)), [])
    assert len(empty) == 1 and empty.counts.tolist() == [0] and empty.positions.shape == (0, 3)
    none = Systems.from_arrays([], [], counts=[])
    assert len(none) == 0 and none.cell.shape == (0, 3, 3) and none.pbc.shape == (0, 3)
    assert len(as_systems([])) == 0 and len(concat([])) == 0
    assert len(concat([none, water()])) == 1
    none._repr_html_()


def test_strided_and_fortran_arrays_give_the_same_batch():
    big = np.random.default_rng(0).normal(size=(8, 6))
    for view in (big[::2, ::2], np.asfortranarray(big[:4, :3]), big[::-2, 3:]):
        s = Systems.from_arrays(view, [1] * 4)
        assert np.array_equal(s.positions, view) and s.positions.flags.c_contiguous


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"positions": [[0, 0, 0], [0, np.nan, 0]]},
            ValueError,
            "`positions` must be finite, got nan in row 1, axis y",
        ),
        (
            {"positions": [[0, 0, 0], [0, 0, np.inf]]},
            ValueError,
            "`positions` must be finite, got inf in row 1, axis z",
        ),
        ({"positions": np.zeros((2, 3), int)}, TypeError, "`positions` must be float32 or float64, got int64"),
        ({"positions": np.zeros((2, 3), ">f8")}, TypeError, "`positions` must be in native byte order, got >f8"),
        ({"positions": np.zeros((2, 2))}, ValueError, "`positions` must be of shape [N, 3], got [2, 2]"),
        ({"positions": [[0, 0, 0], [0]]}, ValueError, "`positions` must be an array of one shape, got rows of"),
        ({"numbers": [1, 0]}, ValueError, "`numbers` must be atomic numbers from 1 to 118, got 0 in row 1"),
        ({"numbers": [-6, 1]}, ValueError, "`numbers` must be atomic numbers from 1 to 118, got -6 in row 0"),
        ({"numbers": [1, 300]}, ValueError, "`numbers` must be atomic numbers from 1 to 118, got 300 in row 1"),
        ({"numbers": [1.0, 6.0]}, TypeError, "`numbers` must be integers, got float64"),
        ({"numbers": [1]}, ValueError, "`numbers` must be of shape [N] = [2], got [1]"),
        ({"counts": [1]}, ValueError, "`counts` must add up to the number of atoms 2, got 1"),
        ({"counts": [3, -1]}, ValueError, "`counts` must be zero or more, got -1 in row 1"),
        ({"cell": np.eye(2)}, ValueError, "`cell` must be of shape [3, 3] or [B, 3, 3] = [1, 3, 3], got [2, 2]"),
        ({"cell": np.full((3, 3), np.nan)}, ValueError, "`cell` must be finite, got nan in row 0, vector a, axis x"),
        ({"pbc": True}, ValueError, "singular along periodic directions: zero along a and b and c in row 0"),
        ({"cell": np.ones((3, 3)), "pbc": True}, ValueError, "a, b, c are linearly dependent in row 0"),
        ({"cell": np.diag([1.0, 1, 0]), "pbc": [True, False, True]}, ValueError, "zero along c in row 0"),
        (
            {"cell": np.eye(3), "pbc": [True, False]},
            ValueError,
            "`pbc` must be of shape [3] or [B, 3] = [1, 3], got [2]",
        ),
        ({"cell": np.eye(3), "pbc": [0.5, 1, 1]}, TypeError, "`pbc` must be bool, got float64"),
        ({"charge": [1, 2]}, ValueError, "`charge` must be of shape [B] = [1], got [2]"),
        ({"charge": np.inf}, ValueError, "`charge` must be finite, got inf in row 0"),
        ({"multiplicity": -1}, ValueError, "`multiplicity` must be from 1 to 255 (0: not said), got -1 in row 0"),
        ({"orientation": np.zeros((2, 4))}, ValueError, "`orientation` must be quaternions that are not zero"),
        ({"orientation": np.zeros((2, 3, 3))}, ValueError, "`orientation` must be orthogonal matrices"),
        (
            {"semiaxes": [[1.0, 1, 1], [1, -0.5, 1]]},
            ValueError,
            "`semiaxes` must be lengths in Angstrom, zero or more, got -0.5 in",
        ),
        ({"forces": np.zeros((3, 3))}, ValueError, "`forces` must be of shape [N, ...] = [2, ...], got [3, 3]"),
    ],
)
def test_bad_input_is_named_with_its_row(arguments, error, message):
    with pytest.raises(error) as caught:
        Systems.from_arrays(**{"positions": [[0.0, 0, 0], [1, 0, 0]], "numbers": [1, 1], **arguments})
    assert message in str(caught.value)


def test_a_cell_without_pbc_is_periodic_along_its_vectors_that_are_not_zero():
    assert water(cell=np.diag([5.0, 5, 0])).pbc.tolist() == [[True, True, False]]
    assert water(cell=np.eye(3), pbc=False).pbc.tolist() == [[False] * 3]
    assert not water().pbc.any() and not water(cell=np.zeros((3, 3))).pbc.any()


def test_matrices_become_quaternions_that_turn_the_same_way():
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation.random(50, random_state=0)
    sign = np.where(np.arange(50) % 2, -1.0, 1.0)[:, None, None]
    s = Systems.from_arrays(np.zeros((50, 3)), [1] * 50, orientation=sign * rotation.as_matrix())
    q = rotation.as_quat(scalar_first=True)
    np.testing.assert_allclose(s.orientation, q * np.where(q[:, :1] < 0, -1, 1), atol=1e-12)
    kept = np.array([[-2.0, 0, 0, 0]])
    assert Systems.from_arrays([[0.0, 0, 0]], [1], orientation=kept).orientation.tolist() == kept.tolist()


def test_indexing_slicing_and_concat_are_inverse():
    rng = np.random.default_rng(1)
    counts = [3, 0, 1, 5]
    s = Systems.from_arrays(rng.normal(size=(9, 3)), [1] * 9, counts=counts, charge=[0, 1, 2, 3], tags=np.arange(9))
    back = concat([s[i] for i in range(4)])
    assert np.array_equal(back.positions, s.positions) and back.counts.tolist() == counts
    assert back.columns["tags"].tolist() == list(range(9)) and back.charge.tolist() == [0, 1, 2, 3]
    assert s[::-1].columns["tags"].tolist() == [4, 5, 6, 7, 8, 3, 0, 1, 2]
    assert s[[3, 0]].counts.tolist() == [5, 3] and s[np.array([True, False, False, True])].counts.tolist() == [3, 5]
    assert s[-1].counts.tolist() == [5] and len(s[4:]) == 0 and len(list(s)) == 4 and len(s[[]]) == 0
    with pytest.raises(IndexError, match="`index` must be within 4 systems, got 4"):
        s[4]
    assert np.array_equal(pickle.loads(pickle.dumps(s)).columns["tags"], s.columns["tags"])


def test_concat_fills_reals_with_nan_and_refuses_missing_integers():
    mixed = concat([water(charge=1.0, q=[1.0, 2, 3]), water(multiplicity=2)])
    assert (
        np.isnan(mixed.columns["q"][3:]).all() and np.isnan(mixed.charge[1]) and mixed.multiplicity.tolist() == [0, 2]
    )
    with pytest.raises(ValueError, match="`tags` must be in all systems or in none"):
        concat([water(tags=[1, 2, 3]), water()])
    with pytest.raises(TypeError, match="`systems` must have positions of one dtype"):
        concat([water(), Systems.from_arrays(np.zeros((1, 3), np.float32), [1])])


def test_replace_checks_what_it_changes():
    moved = water(charges=[0.1, 0.2, 0.3]).replace(positions=WATER + 1)
    assert np.array_equal(moved.positions, WATER + 1) and moved.charges.tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="of 3 atoms, got 2"):
        water().replace(positions=WATER[:2])


def test_what_holds_no_atoms_is_refused_by_its_type():
    with pytest.raises(TypeError, match=r"`systems` must be .* got int"):
        as_systems(5)
    with pytest.raises(TypeError, match="got int in row 1"):
        as_systems([water(), 5])
    s = water()
    assert as_systems(s) is s and len(as_systems([s, s])) == 2


def test_a_molecule_is_checked_and_becomes_a_batch():
    pytest.importorskip("pydantic")
    m = Molecule(atomic_numbers=[8, 1, 1], positions=WATER, charge=1, multiplicity=2, name="water")
    assert m.formula == "H2O" and len(m) == 3
    s = as_systems([m, m])
    assert (
        s.charge.tolist() == [1, 1] and s.multiplicity.tolist() == [2, 2] and s.info["name"].tolist() == ["water"] * 2
    )
    assert Molecule.model_validate_json(m.model_dump_json()) == m
    periodic = Molecule(atomic_numbers=[1], positions=[[0, 0, 0]], cell=np.eye(3), pbc=True)
    assert as_systems(periodic).pbc.all()
    for arguments, message in [
        ({"atomic_numbers": [8, 1]}, "one number an atom, got 2 numbers for 3 positions"),
        ({"atomic_numbers": [8, 1, 200]}, "`atomic_numbers` must be atomic numbers from 1 to 118, got 200 in row 2"),
        ({"positions": WATER * np.nan}, "`positions` must be finite, got nan in row 0, axis x"),
        ({"pbc": True}, "singular along periodic directions"),
        ({"multiplicity": 0}, "multiplicity"),
        ({"spin": 1}, "spin"),
    ]:
        with pytest.raises(ValueError) as caught:
            Molecule(**{"atomic_numbers": [8, 1, 1], "positions": WATER, **arguments})
        assert message in str(caught.value)


def full_batch():
    return Systems.from_arrays(
        np.random.default_rng(2).normal(size=(5, 3)),
        [1, 6, 7, 8, 9],
        counts=[2, 0, 3],
        cell=np.diag([3.0, 4, 5]),
        charge=[0.0, 1, -1],
        multiplicity=[1, 2, 3],
        orientation=np.tile([1.0, 0, 0, 0], (5, 1)),
        semiaxes=np.ones((5, 3)),
        charges=np.arange(5.0),
        info={"energy": np.arange(3.0), "name": np.array(["a", "b", "c"], object)},
    )


def assert_same(a, b):
    for name in ("positions", "numbers", "offsets", "cell", "pbc"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for x, y in ((a.columns, b.columns), (a.info, b.info)):
        assert set(x) == set(y)
        assert all(np.array_equal(x[k], y[k]) for k in x)


def test_tables_of_any_library_give_the_batch_back():
    pl = pytest.importorskip("polars")
    s = full_batch()
    atoms, systems = s.to_tables()
    assert atoms.schema["system"] == pl.UInt32 and atoms.schema["number"] == pl.UInt8
    assert atoms.schema["position"] == pl.Array(pl.Float64, 3) and systems.schema["pbc"] == pl.Array(pl.Boolean, 3)
    assert_same(Systems.from_tables(atoms, systems), s)
    assert_same(as_systems((atoms, systems)), s)
    chunked = pl.concat([atoms[:2], atoms[2:]], rechunk=False)
    assert chunked.n_chunks() == 2
    assert_same(Systems.from_tables(chunked, systems[[2, 0, 1]]), s)
    pa = pytest.importorskip("pyarrow")
    tables = [pa.concat_tables([t.to_arrow()[:1], t.to_arrow()[1:]]) for t in (atoms, systems)]
    assert_same(Systems.from_tables(*tables), s)


def test_duckdb_and_pandas_frames_are_tables():
    pl = pytest.importorskip("polars")
    table = water().atoms
    duckdb = pytest.importorskip("duckdb")
    assert_same(as_systems(duckdb.from_arrow(table.to_arrow())), water())
    pd = pytest.importorskip("pandas", minversion="2.2")
    frame = table.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)
    assert isinstance(frame, pd.DataFrame) and pl is not None
    assert_same(as_systems(frame), water())


def test_ids_of_systems_are_kept_and_gaps_are_empty_systems():
    pl = pytest.importorskip("polars")
    atoms, systems = full_batch().to_tables()
    s = Systems.from_tables(atoms.filter(pl.col("system") == 2))
    assert s.counts.tolist() == [0, 0, 3]
    assert len(Systems.from_tables(atoms[:0])) == 0
    with pytest.raises(ValueError, match="`system` must be in the systems table, got 0 in row 0"):
        Systems.from_tables(atoms, systems[1:])


def test_wrong_tables_are_refused_by_column():
    pl = pytest.importorskip("polars")
    atoms = water().atoms
    for table, error, message in [
        (atoms.drop("number"), ValueError, "`atoms` must have a column `number`, got columns system, position"),
        (
            atoms.with_columns(position=pl.col("position").cast(pl.List(pl.Float64))),
            TypeError,
            "cast it: .cast(pl.Array",
        ),
        (
            atoms.with_columns(number=pl.Series([8, None, 1])),
            ValueError,
            "`number` must be without nulls, got 1 nulls, the first in row 1",
        ),
        (atoms.with_columns(number=pl.Series([8, 0, 1])), ValueError, "got 0 in row 1"),
        (
            atoms.with_columns(system=pl.Series([1, 0, 0])),
            ValueError,
            "`system` must not decrease from row to row, got 0 after 1 in row 1",
        ),
        (
            atoms.with_columns(system=pl.Series([0, 0, 2**32 - 1])),
            ValueError,
            "`system` must be the number of a system",
        ),
        (atoms.with_columns(system=pl.Series([0.0, 0, 0])), TypeError, "`system` must be a column of integers"),
    ]:
        with pytest.raises(error) as caught:
            as_systems(table)
        assert message in str(caught.value)


def test_units_are_those_of_codata_2018():
    assert units.convert(1.0, "Hartree", "eV") == 27.211386245988
    assert units.convert(1.0, "Bohr", "Å") == 0.529177210903
    assert units.convert(1.0, "eV/Å^3", "GPa") == pytest.approx(160.2176634, abs=1e-9)
    assert units.convert(1.0, "Hartree", "kcal/mol") == pytest.approx(627.5094740631, abs=1e-8)
    assert units.convert(1.0, "Debye", "e Å") == pytest.approx(0.20819433, abs=1e-8)
    assert units.coulomb_constant == pytest.approx(14.3996454785, abs=1e-8)
    with pytest.raises(ValueError, match="`target` must be a unit of energy as eV is, got Bohr"):
        units.convert(1.0, "eV", "Bohr")
    with pytest.raises(ValueError, match="`source` must be one of"):
        units.convert(1.0, "furlong", "Bohr")
    ase_units = pytest.importorskip("ase.units").create_units("2018")
    ours = [units.bohr, units.hartree, units.kcal_mol, units.kJ_mol, units.GPa, units.debye, units.k_B]
    theirs = [ase_units[k] for k in ("Bohr", "Hartree")]
    theirs += [ase_units["kcal"] / ase_units["mol"], ase_units["kJ"] / ase_units["mol"]]
    theirs += [ase_units[k] for k in ("GPa", "Debye", "kB")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_ase_atoms_come_back_with_their_results():
    ase = pytest.importorskip("ase")
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(3)
    frames = []
    for k in range(3):
        a = ase.Atoms(
            "CO", rng.normal(size=(2, 3)), cell=np.diag([4.0, 5, 6 + k]), pbc=[True, False, True], tags=[1, 2]
        )
        a.info.update(name=f"f{k}", vector=np.arange(3.0), charge=k - 1)
        results = {
            "energy": 1.5 * k,
            "forces": rng.normal(size=(2, 3)),
            "stress": rng.normal(size=6),
            "charges": rng.normal(size=2),
        }
        a.calc = SinglePointCalculator(a, **results)
        frames.append(a)
    s = as_systems(frames)
    assert s.info["stress"].shape == (3, 3, 3) and s.charge.tolist() == [-1, 0, 1] and s.charges.shape == (6,)
    for a, b in zip(frames, s.to_ase()):
        assert a == b and np.array_equal(a.get_tags(), b.get_tags())
        assert a.get_potential_energy() == b.get_potential_energy()
        assert np.array_equal(a.get_forces(), b.get_forces()) and np.array_equal(a.get_stress(), b.get_stress())
        assert np.array_equal(a.get_charges(), b.get_charges()) and a.info["name"] == b.info["name"]
    assert_same(as_systems(frames[1]), s[1])
    frames[0].positions += 1.0
    assert "energy" not in Systems.from_ase(frames[0]).info


def test_ase_atoms_are_copied_and_not_followed():
    ase = pytest.importorskip("ase")
    a = ase.Atoms("H", [[0, 0, 0]])
    s = as_systems(a)
    a.positions += 1
    assert not s.positions.any()
    with pytest.raises(ValueError, match="got 0 in row 0"):
        as_systems(ase.Atoms("X", [[0, 0, 0]]))
