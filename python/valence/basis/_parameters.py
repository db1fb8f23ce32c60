"""Static parameters of the basis ops: checked names and values, and the flat list of numbers that the kernels decode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from valence._op import Static

#: Kind -> (number in the list, its own parameters).
KINDS = {
    "gaussian": (0, ("start", "offsets", "widths", "coeff")),
    "gaussian_centered": (0, ("start", "widths")),
    "bessel": (1, ("prefactor", "frequencies")),
    "chebyshev": (2, ()),
    "bernstein": (3, ()),
    "exp_bernstein": (4, ("alpha",)),
    "expnorm": (5, ("lower", "alpha", "means", "betas")),
    "one": (6, ()),
    "identity": (7, ()),
}
#: Envelope -> (number, its parameters with their defaults; None has to be given).
ENVELOPES: dict[str, tuple[int, dict[str, Any]]] = {
    "none": (0, {}),
    "polynomial": (1, {"p": 6.0}),
    "cosine": (2, {"lower": 0.0}),
    "tanh3": (3, {"normalized": False}),
    "mollifier": (4, {}),
    "switch": (5, {"on": None}),
}
TRANSFORMS: dict[str, tuple[int, dict[str, float]]] = {
    "none": (0, {}),
    "agnesi": (1, {"q": 0.9183, "p": 4.5791, "a": 1.0805}),
    "soft": (2, {"alpha": 4.0}),
}
PREFACTORS = ("mace", "schnetpack", "nequip", "dimenet", "none")
NORMALIZATIONS = ("component", "norm", "integral")
AXES = ("y", "z")


def one_of(name: str, known: Any, got: Any) -> Any:
    if not isinstance(got, str) or got not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {got!r}")
    return got


def number(name: str, rule: str, got: Any, holds: Any) -> float:
    if isinstance(got, (bool, str)) or not np.isscalar(got):
        raise TypeError(f"`{name}` must be {rule}, got {got!r}")
    value = float(got)  # type: ignore[arg-type]
    if not (math.isfinite(value) and holds(value)):
        raise ValueError(f"`{name}` must be {rule}, got {got!r}")
    return value


def whole(name: str, got: Any, least: int) -> int:
    if isinstance(got, (bool, float, str)) or not isinstance(got, (int, np.integer)):
        raise TypeError(f"`{name}` must be a whole number of at least {least}, got {got!r}")
    if got < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {got!r}")
    return int(got)


def _only(kind: str, known: Any, given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"{kind} takes ({', '.join(known) or 'no parameters'}), got `{name}`")


def _choice(name: str, value: Any, table: Mapping[str, tuple[int, dict[str, Any]]]) -> tuple[str, int, dict[str, Any]]:
    """A name, or a mapping with `type` and parameters, completed by the defaults."""
    if value is None:
        value = "none"
    given = dict(value) if isinstance(value, Mapping) else {"type": value}
    kind = one_of(name, table, given.pop("type", None))
    code, defaults = table[kind]
    _only(f"{name} {kind}", tuple(defaults), given)
    completed = {**defaults, **given}
    for key, v in completed.items():
        if v is None:
            raise TypeError(f"`{key}` must be given for {name} {kind}, got None")
    return kind, code, completed


def _array(name: str, values: Any, n: int) -> list[float]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n, float(array))
    if array.shape != (n,):
        raise ValueError(f"`{name}` must be of shape [K] = [{n}], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {array[~np.isfinite(array)][0]}")
    return [float(x) for x in array]


def _envelope(value: Any, cutoff: float) -> list[float]:
    kind, code, p = _choice("envelope", value, ENVELOPES)
    below = f"from 0 to below the cutoff {cutoff}"
    slots = [0.0, 0.0, 0.0]
    if kind == "polynomial":
        slots[0] = number("p", "a number from 2 to 64", p["p"], lambda x: 2 <= x <= 64)
    elif kind == "cosine":
        slots[1] = number("lower", below, p["lower"], lambda x: 0 <= x < cutoff)
    elif kind == "switch":
        slots[1] = number("on", below, p["on"], lambda x: 0 <= x < cutoff)
    elif kind == "tanh3":
        slots[2] = float(bool(p["normalized"]))
    return [float(code), *slots]


def _transform(value: Any) -> list[float]:
    _, code, p = _choice("transform", value, TRANSFORMS)
    values = [number(k, "positive", v, lambda x: x > 0) for k, v in p.items()]
    return [float(code), *values, *[0.0] * (3 - len(values))]


def has_transform(value: Any) -> bool:
    return _choice("transform", value, TRANSFORMS)[0] != "none"


def _kind(kind: str, n: int, rc: float, given: dict[str, Any]) -> tuple[float, float, list[float]]:
    """The two scalars and the arrays of a kind, made from its defaults or taken as stored."""
    if kind in ("gaussian", "gaussian_centered"):
        start = number(
            "start", "a finite number", given.get("start", 0.0 if kind == "gaussian" else 1.0), lambda x: True
        )
        stored = "widths" in given or "coeff" in given
        if n < 2 and not (stored and "offsets" in given):
            raise ValueError(f"`n` must be at least 2 for {kind}, whose spacing it sets, got {n}")
        line = [float(x) for x in np.linspace(start, rc, n)]
        if kind == "gaussian_centered":
            offsets, widths = [0.0] * n, _array("widths", given.get("widths", line), n)
        else:
            offsets = _array("offsets", given.get("offsets", line), n)
            if "coeff" in given:
                if "widths" in given:
                    raise TypeError("gaussian takes `widths` or `coeff`, got both")
                return 0.0, 0.0, offsets + _array("coeff", given["coeff"], n)
            widths = _array("widths", given.get("widths", offsets[1] - offsets[0] if n > 1 else 0.0), n)
        for w in widths:
            number("widths", "non-zero", w, lambda x: x != 0)
        return 0.0, 0.0, offsets + [-0.5 / w**2 for w in widths]
    if kind == "bessel":
        chosen = given.get("prefactor", "mace")
        if isinstance(chosen, str):
            chosen = one_of("prefactor", PREFACTORS, chosen)
            chosen = {"mace": math.sqrt(2 / rc), "nequip": rc / math.pi, "dimenet": rc}.get(chosen, 1.0)
        factor = number("prefactor", f"a number or one of {', '.join(PREFACTORS)}", chosen, lambda x: True)
        omega = math.pi / rc
        return factor, 0.0, _array("frequencies", given.get("frequencies", [k * omega for k in range(1, n + 1)]), n)
    if kind == "exp_bernstein":
        return number("alpha", "positive", given.get("alpha", 0.944863062918464), lambda x: x > 0), 0.0, []
    if kind == "expnorm":
        lower = number("lower", "from 0 to below the cutoff", given.get("lower", 0.0), lambda x: 0 <= x < rc)
        alpha = number("alpha", "positive", given.get("alpha", 5.0 / (rc - lower)), lambda x: x > 0)
        first = math.exp(lower - rc)
        means = _array("means", given.get("means", np.linspace(first, 1.0, n)), n)
        return alpha, lower, means + _array("betas", given.get("betas", (2.0 / n * (1.0 - first)) ** -2), n)
    return 0.0, 0.0, []


def radial_static(kind: str, n: int, cutoff: float, envelope: Any, transform: Any, given: Mapping[str, Any]) -> Static:
    """The list that the radial kernels decode (`rust/core/src/basis/spec.rs`)."""
    public = tuple(k for k in KINDS if k not in ("one", "identity"))
    if kind not in ("one", "identity"):
        one_of("kind", public, kind)
    code, known = KINDS[kind]
    _only(f"kind {kind}", known, given)
    n = whole("n", n, 1)
    if n > 65536:
        raise ValueError(f"`n` must be at most 65536, got {n}")
    rc = number("cutoff", "a positive finite length in Angstrom", cutoff, lambda x: x > 0)
    a, b, arrays = _kind(kind, n, rc, dict(given))
    head = [float(code), float(n), rc, a, b, *_envelope(envelope, rc), *_transform(transform)]
    return Static((*head, *arrays), (("K", n),))


def harmonics_static(
    lmax: int, normalize: bool = True, normalization: str = "component", polar_axis: str = "y"
) -> Static:
    lmax = whole("lmax", lmax, 0)
    norm = NORMALIZATIONS.index(one_of("normalization", NORMALIZATIONS, normalization))
    axis = AXES.index(one_of("polar_axis", AXES, polar_axis))
    return Static((float(lmax), float(bool(normalize)), float(norm), float(axis)), (("M", (lmax + 1) ** 2),))
