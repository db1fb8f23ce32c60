"""The small engine: the reference's numbers and gradients, batches, what it refuses."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import valence as vl

DATA = Path(__file__).parent / "data" / "engine"
CASES = ["methane", "crystal_3layers", "single_atom"]
METHANE = [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]]


def case(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / "seed_layer.npz") as data:
        return {k.split("/")[1]: data[k] for k in data if k.startswith(f"{name}/")}


def frame(c) -> vl.Systems:
    return vl.Systems.from_arrays(c["positions"], np.ones(len(c["positions"]), int), cell=c["cell"], pbc=c["pbc"])


@pytest.mark.parametrize("name", CASES)
def test_features_and_gradients_are_the_references(name):
    c = case(name)
    options = {"cutoff": float(c["cutoff"]), "k": int(c["k"])}
    engine = vl.ValenceEngine(c["weights"].astype(np.float64))
    out = engine.run(frame(c), c["feats"], **options)
    np.testing.assert_allclose(out, c["out"], rtol=1e-12, atol=1e-13)
    found = engine.run_with_grad(frame(c), c["feats"], grad=c["grad"], **options)
    np.testing.assert_array_equal(found.out, out)
    for part, key in ((found.feats, "grad_feats"), (found.positions, "grad_positions"), (found.cell, "grad_cell")):
        np.testing.assert_allclose(part, c[key], rtol=1e-11, atol=1e-12)
    single = vl.ValenceEngine(c["weights"].astype(np.float32)).run(frame(c), c["feats"], **options)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, c["out"], atol=2e-5 * max(1, np.abs(c["out"]).max()))


def test_the_readme_s_methane_runs_from_a_file_of_weights():
    molecule = vl.Molecule(atomic_numbers=[6, 1, 1, 1, 1], positions=METHANE)
    c, engine = case("methane"), vl.ValenceEngine(DATA / "test_weights.npy")
    out = engine.run(molecule, c["feats"], cutoff=1.2, k=8)
    assert out.shape == (5, 6) and out.dtype == np.float32
    np.testing.assert_allclose(out, c["out"], atol=1e-5)
    assert len(vl.find_edges(molecule, 1.2)) == 8


def named(c, **extra) -> dict[str, np.ndarray]:
    stack = c["weights"] if c["weights"].ndim == 3 else c["weights"][None]
    width, k, found = c["feats"].shape[1], int(c["k"]), dict(extra)
    for l, layer in enumerate(stack):
        u, v, r, b = np.split(layer, [width, 2 * width, 2 * width + k])
        found.update({f"layers.{l}.U": u, f"layers.{l}.V": v, f"layers.{l}.R": r, f"layers.{l}.b": b[0]})
    return found


def write_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    header, data = {}, b""
    for name, array in arrays.items():
        kind = {"float64": "F64", "float32": "F32", "int64": "I64"}[str(array.dtype)]
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += np.ascontiguousarray(array).tobytes()
    text = __import__("json").dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_every_kind_of_file_gives_the_same_numbers(tmp_path):
    c = case("crystal_3layers")
    options = {"cutoff": float(c["cutoff"]), "k": int(c["k"])}
    np.save(tmp_path / "w.npy", c["weights"])
    np.savez(tmp_path / "w.npz", **named(c))
    np.savez_compressed(tmp_path / "z.npz", **named(c))
    write_safetensors(tmp_path / "w.safetensors", named(c))
    for source in ("w.npy", "w.npz", "z.npz", "w.safetensors"):
        engine = vl.ValenceEngine(tmp_path / source)
        np.testing.assert_array_equal(
            engine.run(frame(c), c["feats"], **options), vl.ValenceEngine(named(c)).run(frame(c), c["feats"], **options)
        )
        twin = pickle.loads(pickle.dumps(engine))
        np.testing.assert_array_equal(
            twin.run(frame(c), c["feats"], **options), engine.run(frame(c), c["feats"], **options)
        )


def molecules(rng, count: int) -> tuple[list[vl.Molecule], list[np.ndarray]]:
    mols, feats = [], []
    for _ in range(count):
        n = int(rng.integers(1, 40))
        x = rng.uniform(0, (n / 0.08) ** (1 / 3), size=(n, 3))
        mols.append(vl.Molecule(atomic_numbers=rng.choice([1, 6, 8], n), positions=x))
        feats.append(rng.normal(size=(n, 5)))
    return mols, feats


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("neighbors", [None, 3])
def test_a_batch_has_the_bits_of_its_molecules_for_any_number_of_threads(dtype, neighbors, rng):
    mols, feats = molecules(rng, 120)
    c = case("crystal_3layers")
    engine = vl.ValenceEngine(c["weights"].astype(dtype))
    options = {"cutoff": 3.5, "k": int(c["k"]), "max_neighbors": neighbors}
    single = [engine.run(m, f, **options) for m, f in zip(mols, feats, strict=True)]
    for threads in (1, 2, 3):
        vl.set_num_threads(threads)
        for many in (engine.run_batch(mols, feats, **options), vl.MolecularBatch(mols, feats).run(engine, **options)):
            assert len(many) == len(single)
            for a, b in zip(single, many, strict=True):
                np.testing.assert_array_equal(a, b)
    sums = engine.run_batch(mols, feats, readout="sum", **options)
    means = engine.run_batch(mols, feats, readout="mean", **options)
    np.testing.assert_array_equal(sums, [s.astype(float).sum(0) for s in single])
    np.testing.assert_array_equal(means, [s.astype(float).sum(0) / len(s) for s in single])


def test_a_bad_molecule_of_a_batch_is_named_or_returned():
    c, good = case("methane"), vl.Molecule(atomic_numbers=[6, 1, 1, 1, 1], positions=METHANE)
    engine = vl.ValenceEngine(c["weights"])
    batch = vl.MolecularBatch().add(good, c["feats"]).add(good, c["feats"][:4]).add(good, c["feats"])
    assert len(batch) == 3 and repr(batch) == "MolecularBatch(3 molecules)"
    with pytest.raises(ValueError, match=r"^molecule 1: `feats` must have 5 rows, one for each atom, got 4"):
        batch.run(engine, cutoff=1.2, k=8)
    found = batch.run(engine, cutoff=1.2, k=8, on_error="return")
    assert isinstance(found[1], ValueError)
    np.testing.assert_array_equal(found[0], found[2])
    read = batch.run(engine, cutoff=1.2, k=8, on_error="return", readout="sum")
    assert np.isnan(read[1]).all() and not np.isnan(read[[0, 2]]).any()
    assert vl.MolecularBatch().run(engine, cutoff=1.2, k=8) == []
    with pytest.raises(ValueError, match=r'^`readout` must be None, "sum" or "mean", got \'max\''):
        batch.run(engine, cutoff=1.2, k=8, readout="max")
    with pytest.raises(ValueError, match=r"^`feats_list` must have 1 entries as `mols` has, got 2"):
        engine.run_batch([good], [c["feats"]] * 2, cutoff=1.2, k=8)


def test_features_may_be_strided_read_only_or_of_the_other_precision():
    c, engine = case("methane"), vl.ValenceEngine(DATA / "test_weights.npy")
    expected = engine.run(frame(c), c["feats"].astype(np.float32), cutoff=1.2, k=8)
    wide = np.zeros((5, 8), np.float32)
    wide[:, ::2] = c["feats"]
    frozen = c["feats"].astype(np.float32)
    frozen.flags.writeable = False
    for feats in (np.asfortranarray(c["feats"].astype(np.float32)), wide[:, ::2], frozen, c["feats"]):
        np.testing.assert_array_equal(engine.run(frame(c), feats, cutoff=1.2, k=8), expected)


def test_no_atoms_and_atoms_without_neighbors():
    c, engine = case("methane"), vl.ValenceEngine(DATA / "test_weights.npy")
    none = vl.Systems.from_arrays(np.zeros((0, 3)), np.zeros(0, int))
    assert engine.run(none, np.zeros((0, 4)), cutoff=1.2, k=8).shape == (0, 6)
    w, h = c["weights"].astype(np.float64), c["feats"]
    lonely = vl.ValenceEngine(w).run(frame(c), h, cutoff=0.5, k=8)
    np.testing.assert_allclose(lonely, h @ w[:4] + w[-1], atol=1e-14)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda w: w.astype(np.float16), TypeError, "`weights` must be of dtype float32 or float64, got float16"),
        (lambda w: w.astype(np.int64), TypeError, "`weights` must be of dtype float32 or float64, got int64"),
        (lambda w: w.astype(">f8"), TypeError, "`weights` must be of dtype float32 or float64, got >f8"),
        (lambda w: w[0], ValueError, r"`weights` must have 2 or 3 axes, got shape \[6\]"),
        (lambda w: np.asfortranarray(w), ValueError, "`weights` must be in C order, got Fortran order in"),
        (lambda w: np.where(w == w[0, 0], np.nan, w), ValueError, "`weights` must be finite, got nan"),
        (lambda w: w.astype(object), ValueError, "`weights` must hold numbers, got pickled objects in"),
    ],
)
def test_bad_weights_are_refused_by_what_is_wrong(tmp_path, change, error, message):
    weights = change(np.load(DATA / "test_weights.npy"))
    np.save(tmp_path / "bad.npy", weights, allow_pickle=True)
    with pytest.raises(error, match=rf"^{message}"):
        vl.ValenceEngine(tmp_path / "bad.npy")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_pickles_are_never_executed(tmp_path):
    mark = tmp_path / "was-executed"
    pickle.loads(pickle.dumps(Bomb(mark))).close()
    assert mark.exists()
    mark.unlink()
    np.save(tmp_path / "bomb.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^`weights` must hold numbers, got pickled objects"):
        vl.ValenceEngine(tmp_path / "bomb.npy")
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match=r"^`weights` must be in NumPy's array format"):
        vl.ValenceEngine(tmp_path / "plain.npy")
    np.savez(tmp_path / "bomb.npz", a=np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^`weights` must hold numbers, got pickled objects"):
        vl.ValenceEngine(tmp_path / "bomb.npz")
    assert not mark.exists()


def test_truncated_and_trailing_bytes_are_errors(tmp_path):
    raw = (DATA / "test_weights.npy").read_bytes()
    path = tmp_path / "cut.npy"
    for n in [*range(0, len(raw), 13), len(raw) - 1]:
        path.write_bytes(raw[:n])
        with pytest.raises(ValueError, match=r"^`weights` must (be in NumPy's array format|hold \d+ bytes)"):
            vl.ValenceEngine(path)
    path.write_bytes(raw + b"x")
    with pytest.raises(ValueError, match=r"^`weights` must hold 408 bytes of data for shape \[17, 6\]"):
        vl.ValenceEngine(path)
    buffer = io.BytesIO()
    np.savez(buffer, **named(case("crystal_3layers")))
    archive = tmp_path / "cut.npz"
    for n in range(0, len(buffer.getvalue()) - 1, 97):
        archive.write_bytes(buffer.getvalue()[:n])
        with pytest.raises(ValueError, match=r"^`weights` must be a readable .npz file"):
            vl.ValenceEngine(archive)
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("layers.0.U.npy", b"no array")
    with pytest.raises(ValueError, match=r"^`weights` must be in NumPy's array format, got layers.0.U"):
        vl.ValenceEngine(archive)
    with pytest.raises(ValueError, match=r"^`weights` must be a .npy, .npz or .safetensors file"):
        vl.ValenceEngine(tmp_path / "weights.txt")
    with pytest.raises(OSError, match="nowhere"):
        vl.ValenceEngine(tmp_path / "nowhere.npy")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layers.0.b": None}, r"`layers.0.b` must be an array of the weights"),
        ({"layers.0.X": np.zeros(2)}, r"`weights` must hold layers.<l>.U, V, R and b, got layers.0.X"),
        ({"layers.1.U": np.zeros((4, 5))}, r"`layers.1.U` must be of shape \[5, 5\], got \[4, 5\]"),
        ({"layers.1.R": np.zeros((9, 5))}, r"`layers.1.R` must be of shape \[12, 5\], got \[9, 5\]"),
        ({"layers.2.V": np.zeros((5, 5), np.float32)}, r"`weights` must be of one dtype, got float32, float64"),
        ({"embedding": np.zeros((2, 5))}, r"`elements` must come with `embedding`"),
        (
            {"embedding": np.zeros((2, 4)), "elements": np.array([1, 6])},
            r"`embedding` must be of shape \[elements, 5\]",
        ),
        ({"embedding": np.zeros((2, 5)), "elements": np.array([1])}, r"`elements` must be 2 atomic numbers, got \[1\]"),
    ],
)
def test_named_weights_that_do_not_fit_are_refused(change, message):
    arrays = {**named(case("crystal_3layers")), **change}
    with pytest.raises(ValueError, match=rf"^{message}"):
        vl.ValenceEngine({k: v for k, v in arrays.items() if v is not None})


def test_bad_arguments_are_named():
    c = case("methane")
    engine, mol = vl.ValenceEngine(DATA / "test_weights.npy"), frame(c)
    rule = r"`weights` must have 2 C_in \+ k \+ 1 = 2 \* 4 \+ 7 \+ 1 = 16 rows, got shape \[17, 6\]"
    for feats, options, error, message in [
        (c["feats"], {"k": 7}, ValueError, rule),
        (c["feats"], {"k": 0}, ValueError, "`k` must be a whole number of radial functions, at least 2, got 0"),
        (c["feats"], {"k": 2.5}, ValueError, "`k` must be a whole number"),
        (c["feats"], {"cutoff": -1.0}, ValueError, "`cutoff` must be"),
        (
            c["feats"],
            {"max_neighbors": 0},
            ValueError,
            "`max_neighbors` must be a positive whole number or None, got 0",
        ),
        (c["feats"][:3], {}, ValueError, "`feats` must have 5 rows, one for each atom, got 3"),
        (c["feats"][:, :3], {}, ValueError, r"`weights` must have 2 C_in \+ k \+ 1 = 2 \* 3 \+ 8 \+ 1 = 15 rows"),
        (c["feats"][0], {}, ValueError, r"`feats` must have 2 axes, got shape \[4\]"),
        (c["feats"].astype(int), {}, TypeError, "`feats` must be of dtype float32 or float64, got int64"),
        (np.full((5, 4), np.inf), {}, ValueError, "`feats` must be finite, got inf"),
        (None, {}, ValueError, "`feats` must be given for weights without an embedding, got None"),
    ]:
        with pytest.raises(error, match=rf"^{message}"):
            engine.run(mol, feats, **{"cutoff": 1.2, "k": 8, **options})
    with pytest.raises(ValueError, match=r"^`mol` must be one molecule, got 2"):
        engine.run(vl.concat([mol, mol]), np.zeros((10, 4)), cutoff=1.2, k=8)
    with pytest.raises(ValueError, match=r"^`grad` must be of shape \[5, 6\], got \[5, 5\]"):
        engine.run_with_grad(mol, c["feats"], cutoff=1.2, k=8, grad=np.zeros((5, 5)))
    embedded = vl.ValenceEngine(named(c, embedding=np.zeros((2, 4), np.float32), elements=np.array([1, 6])))
    embedded.run(vl.Systems.from_arrays(METHANE, [6, 1, 1, 1, 1]), cutoff=1.2, k=8)
    with pytest.raises(ValueError, match=r"^`numbers` must be of the elements 1, 6, got 8 in row 2"):
        embedded.run(vl.Systems.from_arrays(METHANE, [6, 1, 8, 1, 1]), cutoff=1.2, k=8)
    with pytest.raises(ValueError, match=r"^`k` must be 8 as the weights have, got 9"):
        embedded.run(vl.Systems.from_arrays(METHANE, [6, 1, 1, 1, 1]), cutoff=1.2, k=9)


@pytest.mark.parametrize("cutoff", ["3", None, True, [1.2] * 5, {("C", "H"): 1.2}, np.nan, np.inf])
def test_a_cutoff_is_one_number(cutoff):
    engine, water = vl.ValenceEngine.example(), vl.samples("water")[0]
    for run in (engine.run, lambda mol, **o: engine.run_batch([mol], **o)):
        with pytest.raises(ValueError, match=r"^`cutoff` must be a positive finite length in Angstrom, got "):
            run(water, cutoff=cutoff, k=16)


def test_a_single_molecule_is_no_batch_and_a_table_is_one():
    engine, options = vl.ValenceEngine.example(), {"cutoff": 3.0, "k": 16}
    methane = vl.Molecule(atomic_numbers=[6, 1, 1, 1, 1], positions=METHANE)
    for call in (vl.MolecularBatch, lambda mol: engine.run_batch(mol, **options)):
        with pytest.raises(TypeError, match=r"^`mols` must be a list of molecules, got one Molecule"):
            call(methane)
        with pytest.raises(TypeError, match=r"^`mols` must be a list of molecules, got one int"):
            call(3)
    with pytest.raises(TypeError, match=r"^`engine` must be a ValenceEngine, got a NoneType"):
        vl.MolecularBatch([methane]).run(None, **options)
    pytest.importorskip("polars")
    two = vl.as_systems([methane, methane])
    for a, b in zip(engine.run_batch(two.atoms, **options), engine.run_batch(two, **options), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_readout_has_the_columns_of_the_weights_also_of_no_molecule():
    engine, options = vl.ValenceEngine.example(), {"cutoff": 3.0, "k": 16, "readout": "sum"}
    uranium = vl.Systems.from_arrays(np.zeros((1, 3)), [92])
    assert engine.run_batch([], **options).shape == (0, 1)
    found = engine.run_batch([uranium], on_error="return", **options)
    assert found.shape == (1, 1) and np.isnan(found).all()


@pytest.mark.parametrize("elements", [[1, 1], [-1, 6], [1, 200]])
def test_elements_of_an_embedding_are_distinct_and_of_the_table(elements):
    arrays = named(case("methane"), embedding=np.zeros((2, 4), np.float32), elements=np.array(elements))
    with pytest.raises(ValueError, match=r"^`elements` must be distinct numbers from 1 to 118, got \["):
        vl.ValenceEngine(arrays)


def test_a_file_of_another_model_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^`weights` must hold layers.<l>.U, V, R and b, got .{,400} and 53 more$"):
        vl.ValenceEngine(DATA.parent / "mace/residual_16_L1/model.safetensors")


def test_the_example_weights_count_bonds():
    engine = vl.ValenceEngine.example()
    methane = vl.Molecule(atomic_numbers=[6, 1, 1, 1, 1], positions=METHANE)
    np.testing.assert_allclose(engine.run(methane, cutoff=3.0, k=16).ravel(), [4, 1, 1, 1, 1], atol=0.3)


def test_the_torch_module_is_the_engine_and_trains_on_forces(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from valence.train import EngineNetwork

    torch.manual_seed(0)
    network = EngineNetwork([1, 6, 8], [7, 20, 3], cutoff=3.0, k=9, dtype=torch.float64)
    rng = np.random.default_rng(5)
    mols, _ = molecules(rng, 6)
    batch = vl.concat([vl.as_systems(m) for m in mols])
    expected = network(batch).detach().numpy()
    network.save(tmp_path / "w.npz")
    for engine in (network.engine(), vl.ValenceEngine(tmp_path / "w.npz")):
        np.testing.assert_allclose(
            np.concatenate(engine.run_batch(mols, cutoff=3.0, k=9)), expected, rtol=1e-11, atol=1e-11
        )
    positions = torch.tensor(np.asarray(batch.positions), requires_grad=True)
    out = network(batch, positions=positions)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-11, atol=1e-11)
    (slope,) = torch.autograd.grad(out[:, 0].sum(), positions, create_graph=True)
    grad = np.zeros((len(mols[0]), 3))
    grad[:, 0] = 1
    found = network.engine().run_with_grad(mols[0], cutoff=3.0, k=9, grad=grad)
    np.testing.assert_allclose(found.positions, slope.detach().numpy()[: len(grad)], rtol=1e-10, atol=1e-10)
    (slope**2).sum().backward()
    assert all(
        torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0
        for n, p in network.named_parameters()
        if n != "layers.1.b"
    )
    with pytest.raises(ValueError, match=r"^`path` must end with .npz"):
        network.save(tmp_path / "w.npy")
