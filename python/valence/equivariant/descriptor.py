"""A polynomial of segmented operands: described once as data, then executed, differentiated and checked from that.

Each operand is a row of numbers cut into segments; each product multiplies one segment of several operands with a coefficient
tensor and adds to a segment of the output, in the notation of an einsum (formulas of cuEquivariance's segmented polynomials):

    out[seg_out] += einsum("uv,ui,vj,uvk+ijk", w[seg_w], x[seg_x], y[seg_y], C)
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from valence.equivariant.irreps import Irreps

__all__ = ["LAYOUTS", "Descriptor", "Operand", "Product", "Segment", "Term", "block_segments"]

LAYOUTS = ("mul_ir", "ir_mul")
#: Coefficients this far below the largest of their tensor are zeros that were rounded.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Segment:
    """A strided block of an operand's row: the value at index (a, b, …) is at offset + a strides[0] + b strides[1] + …."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def dense(cls, offset: int, shape: tuple[int, ...]) -> Segment:
        strides = [1] * len(shape)
        for n in range(len(shape) - 1, 0, -1):
            strides[n - 1] = strides[n] * shape[n]
        return cls(offset, shape, tuple(strides))

    @property
    def places(self) -> np.ndarray:
        """Index into the row of every value, of the segment's shape."""
        grid = np.full(self.shape, self.offset, np.int64)
        for axis, (n, stride) in enumerate(zip(self.shape, self.strides)):
            grid += (np.arange(n) * stride).reshape([-1 if a == axis else 1 for a in range(len(self.shape))])
        return grid


@dataclass(frozen=True)
class Operand:
    """An input or the output: its name (for messages), length, segments, and what it is made of."""

    name: str
    size: int
    segments: tuple[Segment, ...]
    irreps: Irreps | None = None
    layout: str | None = None


def block_segments(irreps: Irreps, layout: str) -> tuple[Segment, ...]:
    """One segment [mul, 2l+1] per term of the irreps, strided as the layout has it."""
    if layout not in LAYOUTS:
        raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    found = []
    for (mul, ir), place in zip(irreps, irreps.slices):
        strides = (ir.dim, 1) if layout == "mul_ir" else (1, mul)
        found.append(Segment(place.start, (mul, ir.dim), strides))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Product:
    """Paths that share their subscripts.

    subscripts : one group of letters per factor, the output last, then ``+`` and the letters of the coefficients.
    operands : which operand each factor is; one may come several times.
    segments : [P, F] the segment of each factor.
    coefficients : P arrays, or an array [P] where the coefficients have no letters.
    """

    subscripts: str
    operands: tuple[int, ...]
    segments: np.ndarray
    coefficients: Any

    @property
    def letters(self) -> tuple[list[str], str]:
        """The letters of each factor, those of the coefficients."""
        factors, _, coefficients = self.subscripts.partition("+")
        return factors.split(","), coefficients


@dataclass(frozen=True, eq=False)
class Term:
    """Paths in scalar form: coefficient times one number of each factor, for every index of the modes (u, v, w).

    strides : [F, modes]. offsets : [T, F]. coefficients : [T].
    """

    operands: tuple[int, ...]
    extents: tuple[int, ...]
    strides: np.ndarray
    offsets: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True, eq=False)
class Descriptor:
    """A polynomial of up to three inputs and one output. Calling it runs it on NumPy arrays.

    Made by :func:`~valence.equivariant.channelwise_tensor_product` and its companions, or by hand from operands and products.
    Two descriptors of the same content are equal.

    Parameters
    ----------
    operands : inputs, weights first, then the output.
    products : what is multiplied with what.
    """

    operands: tuple[Operand, ...]
    products: tuple[Product, ...]
    kind: str = "polynomial"
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.operands) <= 4:
            raise ValueError(f"`operands` must be one to three inputs and an output, got {len(self.operands)}")
        for operand in self.operands:
            for n, s in enumerate(operand.segments):
                last = s.offset + sum(stride * (size - 1) for size, stride in zip(s.shape, s.strides))
                inside = min((s.offset, *s.shape, *s.strides)) >= 0 and (0 in s.shape or last < operand.size)
                if not inside or len(s.shape) != len(s.strides):
                    raise ValueError(
                        f"`segments` of `{operand.name}` must lie within its {operand.size} values, got {s} as number {n}"
                    )
        for product in self.products:
            _check(product, self.operands)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        return self.operands[:-1]

    @property
    def output(self) -> Operand:
        return self.operands[-1]

    @property
    def paths(self) -> list[tuple[tuple[int, ...], Any]]:
        """(segments, coefficients) of every path, in order."""
        return [(tuple(s.tolist()), c) for p in self.products for s, c in zip(p.segments, p.coefficients)]

    @property
    def irreps_out(self) -> Irreps | None:
        return self.output.irreps

    @property
    def weight_numel(self) -> int:
        """Length of the weights, 0 if there are none."""
        return self.operands[0].size if self.operands[0].name == "weight" else 0

    @functools.cached_property
    def terms(self) -> tuple[Term, ...]:
        """All paths in scalar form, terms of equal modes and strides joined, each output's paths together."""
        return tuple(_flatten(self.products, self.operands))

    @functools.cached_property
    def digest(self) -> bytes:
        """Of the content in scalar form: what the engine knows this polynomial by."""
        h = hashlib.sha256(repr([o.size for o in self.operands]).encode())
        for t in self.terms:
            h.update(repr((t.operands, t.extents, t.strides.tolist())).encode())
            h.update(t.offsets.tobytes())
            h.update(t.coefficients.tobytes())
        return h.digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Descriptor):
            return NotImplemented
        return self.operands == other.operands and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def flatten_coefficients(self) -> Descriptor:
        """The same polynomial with one scalar path for each nonzero coefficient."""
        segments: list[list[Segment]] = [[] for _ in self.operands]
        products = []
        for t in self.terms:
            modes = "uvwabcd"[: len(t.extents)]
            rows = np.empty(t.offsets.shape, np.int64)
            used = [[n for n in range(len(modes)) if t.strides[f, n]] for f in range(len(t.operands))]
            for f, operand in enumerate(t.operands):
                known: dict[int, int] = {}
                shape = tuple(t.extents[n] for n in used[f])
                strides = tuple(int(t.strides[f, n]) for n in used[f])
                for p, offset in enumerate(t.offsets[:, f].tolist()):
                    if offset not in known:
                        known[offset] = len(segments[operand])
                        segments[operand].append(Segment(offset, shape, strides))
                    rows[p, f] = known[offset]
            subscripts = ",".join("".join(modes[n] for n in u) for u in used) + "+"
            products.append(Product(subscripts, t.operands, rows, t.coefficients))
        operands = [Operand(o.name, o.size, tuple(s), o.irreps, o.layout) for o, s in zip(self.operands, segments)]
        return Descriptor(tuple(operands), tuple(products), self.kind)

    def vjp(self, operand: int | str) -> Descriptor:
        """The polynomial towards one input: inputs (all inputs, the cotangent of the output), output that input's cotangent.

        Only for polynomials of two inputs or fewer factors than the executor takes (three inputs).
        """
        place = self.place(operand)
        cotangent = Operand(f"grad_{self.output.name}", *_rest(self.output))
        result = Operand(f"grad_{self.operands[place].name}", *_rest(self.operands[place]))
        inputs = list(self.inputs)
        products, last = [], len(inputs) + 1
        for product in self.products:
            letters, extra = product.letters
            for q, o in enumerate(product.operands[:-1]):
                if o != place:
                    continue
                order = [n for n in range(len(letters)) if n != q] + [q]
                ids = [product.operands[n] if n != len(letters) - 1 else last - 1 for n in order[:-1]] + [last]
                text = ",".join(letters[n] for n in order) + f"+{extra}"
                products.append(Product(text, tuple(ids), product.segments[:, order], product.coefficients))
        used = sorted({o for p in products for o in p.operands[:-1]})
        operands = [*inputs, cotangent]
        names = {o: n for n, o in enumerate(used)}
        renamed = [
            Product(p.subscripts, (*(names[o] for o in p.operands[:-1]), len(used)), p.segments, p.coefficients)
            for p in products
        ]
        return Descriptor((*(operands[o] for o in used), result), tuple(renamed), f"vjp of {self.kind}")

    def place(self, operand: int | str) -> int:
        """The number of an operand given by name or number."""
        names = [o.name for o in self.operands]
        if isinstance(operand, str) and operand in names:
            return names.index(operand)
        if isinstance(operand, int) and not isinstance(operand, bool) and -len(names) <= operand < len(names):
            return operand % len(names)
        raise ValueError(f"`operand` must be one of {', '.join(names)} or its number, got {operand!r}")

    def __call__(
        self,
        *operands: Any,
        indices: Mapping[Any, Any] | None = None,
        size_out: int | None = None,
        use_fallback: bool = False,
    ) -> np.ndarray:
        """Runs the polynomial.

        Parameters
        ----------
        operands : arrays [rows, size] in the order of `inputs`, float32 or float64. An operand of one row is shared by all rows.
        indices : operand's name or number -> integer array [rows]: row of the operand that each row reads, or (for the output)
            the row that it is added to.
        size_out : rows of the output where it has an index.
        use_fallback : run the plain definition in NumPy instead of the kernels.

        Returns
        -------
        array [rows or size_out, size of the output].

        Raises
        ------
        ValueError, if a shape does not fit the operand or an index is out of range (with its row); TypeError for dtypes.
        """
        from valence.equivariant import polynomial

        return polynomial.run(self, operands, indices or {}, size_out, use_fallback)

    def __repr__(self) -> str:
        sides = [f"{o.name}[{o.irreps if o.irreps is not None else o.size}]" for o in self.operands]
        return f"{self.kind}({', '.join(sides[:-1])}) -> {sides[-1]}, {len(self.paths)} paths"


def _rest(o: Operand) -> tuple[int, tuple[Segment, ...], Irreps | None, str | None]:
    return o.size, o.segments, o.irreps, o.layout


def _extents(product: Product, operands: Sequence[Operand], row: np.ndarray, coefficients: Any) -> dict[str, int]:
    """The size of every letter of one path; refuses letters that disagree."""
    letters, extra = product.letters
    sizes: dict[str, int] = {}
    blocks = [operands[o].segments[s].shape for o, s in zip(product.operands, row.tolist())]
    for text, shape in zip([*letters, extra], [*blocks, np.shape(coefficients)]):
        if len(text) != len(shape):
            raise ValueError(
                f"`subscripts` must have a letter per axis, got {text!r} for a segment of shape {list(shape)}"
            )
        for letter, n in zip(text, shape):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(
                    f"`segments` must agree in {letter!r} of {product.subscripts!r}, got {sizes[letter]} and {n}"
                )
    return sizes


def _check(product: Product, operands: Sequence[Operand]) -> None:
    letters, extra = product.letters
    if len(letters) != len(product.operands) or product.segments.shape[1:] != (len(letters),):
        raise ValueError(
            f"`subscripts` must have a group per operand, got {product.subscripts!r} for {product.operands}"
        )
    if product.operands[-1] != len(operands) - 1 or any(not 0 <= o < len(operands) - 1 for o in product.operands[:-1]):
        raise ValueError(f"`operands` of a product must be inputs, then the output, got {product.operands}")
    if len(product.segments) != len(product.coefficients):
        raise ValueError(
            f"`coefficients` must be one per path, got {len(product.coefficients)} for {len(product.segments)}"
        )
    inputs = "".join(letters[:-1])
    if any(len(set(text)) != len(text) for text in (*letters, extra)):
        raise ValueError(
            f"`subscripts` must name each axis of a segment by a letter of its own, got {product.subscripts!r}"
        )
    if not set(letters[-1]) <= set(inputs + extra):
        raise ValueError(f"`subscripts` must have the output's letters in an input, got {product.subscripts!r}")
    for column, place in zip(product.segments.T, product.operands):
        count = len(operands[place].segments)
        wrong = np.flatnonzero((column < 0) | (column >= count))
        if len(wrong):
            rule = f"rows of the {count} segments of `{operands[place].name}`"
            raise ValueError(f"`segments` must be {rule}, got {column[wrong[0]]} in path {wrong[0]}")
    for n, coefficients in enumerate(product.coefficients):
        if not np.isfinite(coefficients).all():
            raise ValueError(f"`coefficients` must be finite, got {coefficients} in path {n}")
    first = product.segments if extra else product.segments[:1]
    for row, coefficients in zip(first, product.coefficients):
        _extents(product, operands, row, coefficients)


def _add_scalar_paths(product: Product, operands: Sequence[Operand], groups: dict[tuple, tuple[list, list]]) -> None:
    """The paths of a product whose coefficients are numbers; those of equal shapes and strides at once."""
    letters, _ = product.letters
    modes = list(dict.fromkeys("".join(letters)))
    kinds, places = [], []
    for f, o in enumerate(product.operands):
        known: dict[tuple, int] = {}
        kind = [known.setdefault((s.shape, s.strides), len(known)) for s in operands[o].segments]
        kinds.append(np.array(kind, np.int64)[product.segments[:, f]])
        places.append(np.array([s.offset for s in operands[o].segments], np.int64)[product.segments[:, f]])
    offsets, values = np.stack(places, axis=1), np.asarray(product.coefficients, np.float64)
    _, first, inverse = np.unique(np.stack(kinds, axis=1), axis=0, return_index=True, return_inverse=True)
    for n in np.argsort(first):
        row = product.segments[first[n]]
        sizes = _extents(product, operands, row, values[first[n]])
        extents = tuple(sizes[m] for m in modes)
        blocks = [operands[o].segments[s] for o, s in zip(product.operands, row.tolist())]
        strides = tuple(tuple(dict(zip(text, b.strides)).get(m, 0) for m in modes) for text, b in zip(letters, blocks))
        if 0 not in extents:
            found = groups.setdefault((product.operands, extents, strides), ([], []))
            found[0].append(offsets[inverse.reshape(-1) == n])
            found[1].append(values[inverse.reshape(-1) == n])


def _flatten(products: Sequence[Product], operands: Sequence[Operand]) -> Iterator[Term]:
    groups: dict[tuple, tuple[list, list]] = {}
    for product in products:
        letters, extra = product.letters
        if not extra:
            _add_scalar_paths(product, operands, groups)
            continue
        modes = [m for m in dict.fromkeys("".join(letters)) if m not in extra]
        for row, coefficients in zip(product.segments, product.coefficients):
            sizes = _extents(product, operands, row, coefficients)
            blocks = [operands[o].segments[s] for o, s in zip(product.operands, row.tolist())]
            steps = [dict(zip(text, block.strides)) for text, block in zip(letters, blocks)]
            values = np.asarray(coefficients, np.float64)
            at = np.nonzero(np.abs(values) > ROUNDING * np.abs(values).max(initial=0.0))
            none = np.zeros(len(at[0]), int)
            offsets = np.stack(
                [
                    b.offset + sum((at[n] * s.get(letter, 0) for n, letter in enumerate(extra)), none)
                    for b, s in zip(blocks, steps)
                ],
                axis=1,
            )
            extents = tuple(sizes[m] for m in modes)
            if 0 in extents:
                continue
            strides = tuple(tuple(s.get(m, 0) for m in modes) for s in steps)
            found = groups.setdefault((product.operands, extents, strides), ([], []))
            found[0].append(offsets)
            found[1].append(values[at])
    for (ids, extents, strides), (offsets, values) in groups.items():
        flat, factors = np.concatenate(offsets), np.concatenate(values)
        merged, inverse = np.unique(flat[:, ::-1], axis=0, return_inverse=True)  # sorted by the output's place first
        sums = np.zeros(len(merged))
        np.add.at(sums, inverse.reshape(-1), factors)
        kept = np.abs(sums) > ROUNDING * np.abs(sums).max(initial=0.0)
        steps = np.array(strides, np.int64).reshape(len(ids), len(extents))
        yield Term(ids, extents, steps, np.ascontiguousarray(merged[kept, ::-1]), sums[kept])
