"""Irreps: what a feature vector is made of, "32x0e + 32x1o"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Irrep", "Irreps", "ir_mul_to_mul_ir", "irreps_of", "mul_ir_to_ir_mul"]

GROUPS = ("SO3", "O3", "O3_e3nn")
_TERM = re.compile(r"(?:(\d+)\s*x\s*)?(\d+)\s*([eo]?)")


class Irrep(NamedTuple):
    """Degree l and parity p: 1 even, -1 odd, 0 for the group SO3 that knows none."""

    l: int
    p: int = 0

    @property
    def dim(self) -> int:
        return 2 * self.l + 1

    def __str__(self) -> str:
        return f"{self.l}{'eo '[(1 - self.p) // 2] if self.p else ''}"

    def __mul__(self, other: Any) -> Iterator[Irrep]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The irreps of the product, each once: l from |l1 - l2| to l1 + l2, p = p1 p2."""
        return (Irrep(l, self.p * other.p) for l in range(abs(self.l - other.l), self.l + other.l + 1))


class Irreps:
    """An ordered list of (multiplicity, irrep), as written: nothing is sorted or merged unless asked.

    Parameters
    ----------
    irreps : text such as "32x0e + 32x1o" ("4x0 + 4x1" for SO3), another Irreps, or pairs (mul, irrep) or (mul, (l, p)).
    group : "O3" (cuEquivariance's order of sorting: 0e 0o 1o 1e 2e 2o), "O3_e3nn" (e3nn's: 0o 0e 1o 1e 2o 2e) or "SO3".

    Raises
    ------
    ValueError, if the text does not parse (with the place) or a parity is missing or too much.

    >>> irreps = Irreps("2x0e + 3x1o")
    >>> irreps.dim, str(irreps), irreps.slices
    (11, '2x0e + 3x1o', [slice(0, 2, None), slice(2, 11, None)])
    """

    __slots__ = ("group", "terms")

    def __init__(self, irreps: Any = "", group: str | None = None) -> None:
        group = group or (irreps.group if isinstance(irreps, Irreps) else "O3")
        if group not in GROUPS:
            raise ValueError(f"`group` must be one of {', '.join(GROUPS)}, got {group!r}")
        self.group = group
        if isinstance(irreps, str):
            self.terms = _parse(irreps, group)
            return
        terms = []
        for mul, ir in irreps.terms if isinstance(irreps, Irreps) else irreps:
            if isinstance(ir, str):
                ir = _parse(ir, group)[0][1]
            elif isinstance(ir, (int, np.integer)):
                ir = Irrep(int(ir))
            ir = Irrep(*ir)
            if mul < 0 or ir.l < 0 or (ir.p not in (1, -1) if group != "SO3" else ir.p != 0):
                raise ValueError(f"`irreps` must be pairs (mul, irrep) of the group {group}, got ({mul}, {tuple(ir)})")
            terms.append((int(mul), ir))
        self.terms = tuple(terms)

    @classmethod
    def spherical_harmonics(cls, lmax: int, group: str = "O3") -> Irreps:
        """One irrep a degree, of parity (-1)^l: "0e + 1o + 2e + …"."""
        return cls([(1, Irrep(l, 0 if group == "SO3" else (-1) ** l)) for l in range(lmax + 1)], group)

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return sum(mul * ir.dim for mul, ir in self.terms)

    @property
    def num_irreps(self) -> int:
        return sum(mul for mul, _ in self.terms)

    @property
    def lmax(self) -> int:
        if not self.terms:
            raise ValueError("`irreps` must hold an irrep to have an lmax, got none")
        return max(ir.l for _, ir in self.terms)

    @property
    def slices(self) -> list[slice]:
        """Where each term lies in a feature vector."""
        ends = np.cumsum([0] + [mul * ir.dim for mul, ir in self.terms]).tolist()
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    def rotation_matrix(self, rotation: np.ndarray, *, layout: str = "mul_ir") -> np.ndarray:
        """How a feature vector of these irreps turns with the frame: features(R v) = features(v) @ matrix.T.

        Parameters
        ----------
        rotation : array [3, 3], orthogonal; one with determinant -1 needs a group with parity.
        layout : "mul_ir" or "ir_mul".

        Returns
        -------
        array [dim, dim], float64, orthogonal and block-diagonal.

        >>> Irreps("1o").rotation_matrix(np.diag([1.0, -1.0, -1.0])).diagonal()
        array([ 1., -1., -1.])
        """
        from valence.equivariant.coupling import wigner_d

        if layout not in ("mul_ir", "ir_mul"):
            raise ValueError(f"`layout` must be one of mul_ir, ir_mul, got {layout!r}")
        found = np.zeros((self.dim, self.dim))
        for (mul, ir), place in zip(self, self.slices):
            turn, same = wigner_d(ir.l, rotation, parity=ir.p or None), np.eye(mul)
            found[place, place] = np.kron(same, turn) if layout == "mul_ir" else np.kron(turn, same)
        return found

    def _new(self, terms: Iterable[tuple[int, Irrep]]) -> Irreps:
        return Irreps(list(terms), self.group)

    def simplify(self) -> Irreps:
        """Neighbouring terms of the same irrep joined, empty ones dropped; the order stays."""
        joined: list[tuple[int, Irrep]] = []
        for mul, ir in self.terms:
            if mul and joined and joined[-1][1] == ir:
                joined[-1] = (joined[-1][0] + mul, ir)
            elif mul:
                joined.append((mul, ir))
        return self._new(joined)

    def sort(self, order: str | None = None) -> tuple[Irreps, list[int]]:
        """Stable sort, order "cue" or "e3nn" (default: the group's own).

        Returns the sorted irreps and `inverse`, such that term n of the sorted list is term ``inverse[n]`` of this one.
        """
        order = order or ("e3nn" if self.group == "O3_e3nn" else "cue")
        if order not in ("cue", "e3nn"):
            raise ValueError(f'`order` must be "cue" or "e3nn", got {order!r}')
        keys = {"e3nn": lambda ir: (ir.l, ir.p), "cue": lambda ir: (ir.l, -ir.p * (-1) ** ir.l)}
        inverse = sorted(range(len(self)), key=lambda n: keys[order](self.terms[n][1]))
        return self._new(self.terms[n] for n in inverse), inverse

    def regroup(self, order: str | None = None) -> Irreps:
        """Sorted and joined: one term an irrep."""
        return self.sort(order)[0].simplify()

    def filter(self, keep: Any = None, *, lmax: int | None = None) -> Irreps:
        """The terms whose irrep is in `keep` (irreps, text, or a function of the irrep) and of degree at most lmax."""
        if isinstance(keep, str):
            keep = Irreps(keep, self.group)
        chosen: Callable[[Irrep], Any]
        if keep is None or callable(keep):
            chosen = keep or (lambda ir: True)
        else:
            wanted = {ir for _, ir in keep.terms} if isinstance(keep, Irreps) else {Irrep(*ir) for ir in keep}
            chosen = wanted.__contains__
        return self._new((mul, ir) for mul, ir in self.terms if chosen(ir) and (lmax is None or ir.l <= lmax))

    def __mul__(self, other: Any) -> Irreps:
        """All products of irreps, multiplicities multiplied; sorted and joined. A number repeats the list."""
        if isinstance(other, int):
            return self._new(self.terms * other)
        if self.group != other.group:
            raise ValueError(f"`other` must be of the group {self.group}, got {other.group}")
        terms = [(m1 * m2, ir) for m1, a in self.terms for m2, b in other.terms for ir in a * b]
        return self._new(terms).regroup()

    def __add__(self, other: Irreps) -> Irreps:
        return self._new((*self.terms, *other.terms))

    def __iter__(self) -> Iterator[tuple[int, Irrep]]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __getitem__(self, n: Any) -> Any:
        return self._new(self.terms[n]) if isinstance(n, slice) else self.terms[n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Irreps) and self.group == other.group and self.terms == other.terms

    def __hash__(self) -> int:
        return hash((self.group, self.terms))

    def __str__(self) -> str:
        return " + ".join(f"{mul}x{ir}" for mul, ir in self.terms)

    def __repr__(self) -> str:
        return f"Irreps({str(self)!r}, group={self.group!r})"


def irreps_of(name: str, given: Any, group: str | None) -> Irreps:
    """The irreps of an argument; what is wrong with them is said under its name."""
    try:
        return Irreps(given, group)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None


def _parse(text: str, group: str) -> tuple[tuple[int, Irrep], ...]:
    if not text.strip():
        return ()
    terms, place = [], 0
    for part in text.split("+"):
        start, found = place + len(part) - len(part.lstrip()), _TERM.fullmatch(part.strip())
        place += len(part) + 1
        if found is None:
            raise ValueError(f"`irreps` must be terms such as 32x1o joined by +, got {part.strip()!r} at place {start}")
        mul, l, parity = found.groups()
        if (group == "SO3") == bool(parity):
            rule = "without a parity for SO3" if parity else f"with a parity e or o for {group}"
            raise ValueError(f"`irreps` must be {rule}, got {part.strip()!r} at place {start}")
        terms.append((int(mul or 1), Irrep(int(l), {"e": 1, "o": -1, "": 0}[parity])))
    return tuple(terms)


def _convert(irreps: Irreps, features: np.ndarray, swap: Callable[[int, int], tuple[int, int]]) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim == 0 or features.shape[-1] != irreps.dim:
        raise ValueError(f"`features` must be of shape [..., {irreps.dim}] for {irreps}, got {list(features.shape)}")
    out = np.empty_like(features, order="C")
    for (mul, ir), place in zip(irreps, irreps.slices):
        block = features[..., place].reshape(*features.shape[:-1], *swap(mul, ir.dim))
        out[..., place] = np.swapaxes(block, -1, -2).reshape(*features.shape[:-1], mul * ir.dim)
    return out


def mul_ir_to_ir_mul(irreps: Irreps, features: np.ndarray) -> np.ndarray:
    """Features [..., dim] with each block [mul, 2l+1] turned into [2l+1, mul]."""
    return _convert(irreps, features, lambda mul, dim: (mul, dim))


def ir_mul_to_mul_ir(irreps: Irreps, features: np.ndarray) -> np.ndarray:
    """The inverse of :func:`mul_ir_to_ir_mul`."""
    return _convert(irreps, features, lambda mul, dim: (dim, mul))
