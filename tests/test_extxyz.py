"""Extended XYZ files: against ASE's reader, against their own writer, and damaged."""

import gzip

import numpy as np
import pytest
from valence import _native, set_num_threads
from valence.atoms import Systems, as_systems, iread, read, write


def same_value(x, y):
    if isinstance(x, (np.ndarray, float)) and np.asarray(x).dtype.kind == "f":
        return np.array_equal(x, np.asarray(y, float), equal_nan=True)
    return np.array_equal(x, y) if isinstance(x, np.ndarray) or isinstance(y, np.ndarray) else x == y


def assert_same(a, b):
    for name in ("positions", "numbers", "offsets", "cell", "pbc"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for x, y in ((a.columns, b.columns), (a.info, b.info)):
        assert set(x) == set(y)
        for k in x:
            assert x[k].shape == y[k].shape, k
            assert all(same_value(i, j) for i, j in zip(x[k], y[k])), k


def file(tmp_path, text, name="a.xyz"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def ase_frames():
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(0)
    frames = []
    for k in range(20):
        n = int(rng.integers(1, 9))
        a = Atoms(numbers=rng.integers(1, 119, n), positions=rng.normal(size=(n, 3)) * 10)
        a.set_cell(rng.normal(size=(3, 3)) * 5)
        a.pbc = rng.integers(0, 2, 3).astype(bool)
        a.set_array("label", np.array([f"l{i}" for i in range(n)]))
        a.set_array("flag", rng.integers(0, 2, n).astype(bool))
        a.set_array("kind", rng.integers(-5, 5, n))
        a.set_array("velocity", rng.normal(size=(n, 3)))
        a.info.update(
            step=k,
            time=0.5 * k,
            name=f"frame {k}",
            quote='say "hi" {there} [x]',
            on=bool(k % 2),
            vector=rng.normal(size=4),
            ints=np.arange(3),
            matrix=rng.normal(size=(2, 2)),
            virial=rng.normal(size=(3, 3)),
            nested={"a": [1, {"b": None}]},
            flags=np.array([True, False]),
        )
        results = {"energy": rng.normal(), "forces": rng.normal(size=(n, 3)), "stress": rng.normal(size=6)}
        results.update(charges=rng.normal(size=n), magmoms=rng.normal(size=n), dipole=rng.normal(size=3))
        a.calc = SinglePointCalculator(a, **results)
        frames.append(a)
    return frames


def test_ases_own_files_are_read_as_ase_reads_them(tmp_path):
    io = pytest.importorskip("ase.io")
    io.write(tmp_path / "a.xyz", ase_frames())
    ours, theirs = read(tmp_path / "a.xyz"), as_systems(io.read(tmp_path / "a.xyz", ":"))
    assert_same(ours, theirs)
    assert ours.info["stress"].shape == (20, 3, 3) and ours.info["virial"].shape == (20, 3, 3)


def test_our_files_are_read_by_ase_and_by_us_bit_for_bit(tmp_path):
    io = pytest.importorskip("ase.io")
    systems = as_systems(ase_frames())
    for name in ("b.xyz", "b.extxyz.gz"):
        write(tmp_path / name, systems)
        assert_same(read(tmp_path / name), systems)
    back = as_systems(io.read(tmp_path / "b.xyz", ":"))
    # ASE's results hold six numbers of a stress: equal to the last bit only where the matrix was symmetric.
    assert_same(back, systems)


NASTY = [
    '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 energy=-1\nC 0 0 0\nO 0 0 1.2\n',
    "1\nProperties=Z:I:1:pos:R:3 a='x y' b={1 2} c=[1.5,2] d=T e=\"T F\" f f2=\nAu".replace("Au", "79") + " 1 2 3\n",
    "1\r\nProperties=species:S:1:pos:R:3:x:R:1 key=value\r\n\tH\t1e-3  +2.0\t-3E+2 nan\r\n\r\n\r\n",
    '1\nProperties=species:S:1:pos:R:3:on:L:2:w:S:2:i:I:3 text="a \\"b\\" c" pbc="T F T" Lattice="1 0 0 0 2 0 0 0 3"\n'
    "cl 0 0 0 T F ab cd 1 -2 3\n",
    "1\nE = -1.5 big=123456789012345678901 uid=007 "
    'j="_JSON {\\"a\\": [1, 2]}" m="_JSON [[1, 2], [3, 4]]" pbc="F F F"\nH 0 0 0',
    '1\nvirial="1 2 3 4 5 6 7 8 9" stress="1 2 3 2 4 5 3 5 6" dipole="1 2 3" a=b=c "my key"=5\nH 0 0 0\n',
    "1\nProperties=species:S:1:pos:R:3:Z:I:1 exp=1e5 inf=inf pbc=F\nH 0 0 0 8\n",
]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_files_are_read_as_ase_reads_them(tmp_path, text):
    io = pytest.importorskip("ase.io")
    path = file(tmp_path, text.replace(" f2=\n", "\n"))
    assert_same(read(path), as_systems(io.read(path, ":")))


def test_what_ase_does_not_read_is_read(tmp_path):
    text = (
        "1\nLattice=[[5,0,0],[0,6,0],[0,0,7]] pbc=[T,T,F] m=[[1,2],[3,4]] x=1.5D2\n6 0 1.0D-1 2d0\n\n\n"
        "1\nwater at 300 K\nH 0 0 0 0.5 7\n"
    )
    s = read(file(tmp_path, text))
    assert s.numbers.tolist() == [6, 1] and s.positions[0].tolist() == [0, 0.1, 2]
    assert s.cell[0].tolist() == np.diag([5.0, 6, 7]).tolist() and s.pbc[0].tolist() == [True, True, False]
    assert s.info["comment"].tolist() == [None, "water at 300 K"] and s.info["x"][0] == 150.0
    assert s.info["m"][0].tolist() == [[1, 2], [3, 4]]
    assert s.columns["extra"].shape == (2, 2) and s.columns["extra"][1].tolist() == [0.5, 7]
    vectors = read(file(tmp_path, "1\nfree = text\nH 0 0 0\nVEC1 1 0 0\nVEC2 0 2 0\n1\n\nH 0 0 0\n"))
    assert vectors.pbc[0].tolist() == [True, True, False] and len(vectors) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1\n\nH 0 0 0\n2\n\nH 0 0 0\n",
            "line 7 (frame 1): the frame must have 2 atoms, got the end of the file after 1",
        ),
        ("1\n\nH 0 0 0\n1\n\nH 0 x 0\n", "line 6 (frame 1): `pos` must be real numbers, got x"),
        (
            "1\n\nQq 0 0 0\n",
            "line 3 (frame 0): `species` must be an element's symbol or a number from 1 to 118, got Qq",
        ),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 0 1\n", "line 3 (frame 0): an atom line must have 4 values"),
        ("1\nProperties=species:S:1:pos:R:3:on:L:1\nH 0 0 0 yes\n", "line 3 (frame 0): `on` must be T or F, got yes"),
        ("1\nProperties=species:S:1:pos:R:3:i:I:1\nH 0 0 0 1.5\n", "`i` must be integers of 64 bits, got 1.5"),
        (
            "1\nProperties=species:S:1:pos:R:3:a:R:16777216\nH 0 0 0 1\n",
            "line 3 (frame 0): an atom line must have 16777220",
        ),
        ("1\nProperties=species:Q:1\nH 0 0 0\n", "line 2 (frame 0): `Properties` must be of types R, I, S and L"),
        ('1\nLattice="1 0 0"\nH 0 0 0\n', "line 2 (frame 0): `Lattice` must be nine numbers, got 1 0 0"),
        ("1\npbc=maybe\nH 0 0 0\n", "line 2 (frame 0): `pbc` must be one or three of T and F, got maybe"),
        ("-1\n\n", "line 1 (frame 0): the frame's first line must be the number of atoms, got -1"),
        ("9999999999999999\n\n", "line 3 (frame 0): the frame must have 9999999999999999 atoms"),
        ("1\n\nH 0 0 nan\n", "`positions` must be finite, got nan in row 0, axis z"),
        (b"1\n\xff=\xfe\nH 0 0 0\n", "line 2 (frame 0): a comment must be UTF-8"),
    ],
)
def test_wrong_lines_are_named_by_line_and_frame(tmp_path, text, message):
    path = file(tmp_path, text)
    with pytest.raises(ValueError) as caught:
        read(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_frames_that_differ_are_joined_or_refused(tmp_path):
    with_q = "1\nProperties=species:S:1:pos:R:3:q:R:1 e=1.5 s=a\nH 0 0 0 2\n"
    with_i = "1\nProperties=species:S:1:pos:R:3:i:I:1\nH 0 0 0 2\n"
    plain = "1\n\nH 0 0 0\n"
    s = read(file(tmp_path, with_q + plain + with_q))
    assert np.isnan(s.columns["q"][1]) and np.isnan(s.info["e"][1]) and s.info["s"].tolist() == ["a", None, "a"]
    with pytest.raises(ValueError, match=r"line 5 \(frame 1\): `i` must be in all frames or in none"):
        read(file(tmp_path, with_i + plain))
    assert [sorted(f.columns) for f in iread(file(tmp_path, with_i + plain))] == [["i"], []]


def test_index_means_what_it_means_in_ase(tmp_path):
    path = file(tmp_path, "".join(f"1\nk={k}\nH 0 0 {k}\n" for k in range(12)))
    for index in (":", "::-1", "3:10:2", "-4:", ":-2", "10:3:-3", "5:5", "::5", "20:", slice(2, 4)):
        text = index if isinstance(index, slice) else slice(*[int(p) if p else None for p in index.split(":")])
        assert read(path, index).positions[:, 2].tolist() == list(range(12))[text], index
    assert read(path, 3).positions[0, 2] == 3 and read(path, -1).positions[0, 2] == 11 and len(read(path, "-2")) == 1
    for wrong in (12, -13):
        with pytest.raises(IndexError):
            read(path, wrong)
    with pytest.raises(ValueError, match="`index` must be an integer, a slice"):
        read(path, "last")
    assert [len(s) for s in iread(path, "1:", batch=4)] == [4, 4, 3]


def test_gzip_is_recognised_by_its_bytes_and_damage_is_an_error(tmp_path):
    data = gzip.compress(b"1\n\nH 0 0 0\n" * 1000)
    assert len(read(file(tmp_path, data))) == 1000
    with pytest.raises(OSError):
        read(file(tmp_path, data[: len(data) // 2]))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.xyz")


def test_no_frame_and_no_atom_are_read_and_written(tmp_path):
    assert len(read(file(tmp_path, ""))) == 0 and len(read(file(tmp_path, "\n\n"))) == 0
    s = Systems.from_arrays([[0.0, 0, 0]], [1], counts=[0, 1, 0])
    write(tmp_path / "e.xyz", s)
    assert_same(read(tmp_path / "e.xyz"), s)
    write(tmp_path / "n.xyz", s[:0])
    assert (tmp_path / "n.xyz").read_text() == ""


def test_all_reals_and_hard_texts_survive_writing_and_reading(tmp_path):
    bits = np.random.default_rng(4).integers(0, 2**64, 30_000, dtype=np.uint64).view(np.float64)
    x = bits[np.isfinite(bits)][:27_000].reshape(-1, 3)
    texts = [
        "5",
        "T",
        "1 2",
        "",
        " a",
        "a\\b",
        'q"q',
        "new\nline",
        "ümlaut",
        "=",
        "[1]",
        "[[1, 2]]",
        "_JSON 1",
        "nan",
        "3d5",
    ]
    s = Systems.from_arrays(x, [1] * len(x), counts=[len(x) - 14] + [1] * 14, info={"t": np.array(texts, object)})
    write(tmp_path / "x.xyz", s)
    back = read(tmp_path / "x.xyz")
    assert back.positions.tobytes() == x.tobytes() and back.info["t"].tolist() == texts
    half = Systems.from_arrays(x[:10].clip(-1e30, 1e30).astype(np.float32), [1] * 10)
    write(tmp_path / "x.xyz", half)
    assert np.array_equal(read(tmp_path / "x.xyz").positions.astype(np.float32), half.positions)


def test_what_a_file_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path):
    path = file(tmp_path, "1\n\nH 0 0 0\n")
    for columns, message in [
        ({"a b": [1.0]}, "`columns` must be names of columns without blanks"),
        ({"w": ["two words"]}, "`w` must be words without blanks"),
        ({"pos": [1.0]}, "`columns` must be names of columns"),
    ]:
        with pytest.raises(ValueError, match=message):
            write(path, Systems.from_arrays([[0.0, 0, 0]], [1], **columns))
    assert len(read(path)) == 1 and [p.name for p in tmp_path.iterdir()] == ["a.xyz"]


def test_any_number_of_threads_gives_the_same_bits(tmp_path):
    rng = np.random.default_rng(5)
    s = Systems.from_arrays(rng.normal(size=(40_000, 3)), rng.integers(1, 119, 40_000), counts=[1] * 20_000 + [20_000])
    before = _native.get_num_threads()
    texts, batches = [], []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        write(tmp_path / "t.xyz", s)
        texts.append((tmp_path / "t.xyz").read_bytes())
        batches.append(read(tmp_path / "t.xyz"))
    set_num_threads(before)
    assert texts[0] == texts[1] == texts[2]
    assert_same(batches[0], s)
    assert_same(batches[0], batches[2])


def test_other_formats_go_through_ase(tmp_path):
    io = pytest.importorskip("ase.io")
    s = Systems.from_arrays([[0.0, 0, 0], [0, 0, 1]], [6, 8], cell=np.diag([5.0, 5, 5]))
    write(tmp_path / "POSCAR", s, format="vasp")
    assert read(tmp_path / "POSCAR").numbers.tolist() == io.read(tmp_path / "POSCAR").numbers.tolist()


def test_a_value_may_be_called_as_a_column_of_the_tables(tmp_path):
    s = read(
        file(tmp_path, "1\nProperties=species:S:1:pos:R:3:number:I:1 system=water cell=5 multiplicity=2.0\nH 0 0 0 7\n")
    )
    assert (
        s.info["system"].tolist() == ["water"]
        and s.columns["number"].tolist() == [7]
        and s.multiplicity.tolist() == [2]
    )
    pytest.importorskip("polars")
    assert s.systems["system_"].to_list() == ["water"] and s.atoms["number_"].to_list() == [7]
