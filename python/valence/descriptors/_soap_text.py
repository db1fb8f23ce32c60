"""The parameters of `Soap`, checked and written as the kernel wants them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["choice", "kernel_text", "number"]

BASES = ("featomic_gto", "dscribe_gto", "dscribe_polynomial", "common_gto", "tabulated")
#: sqrt(-2 ln 1e-3): as far as dscribe follows a Gaussian beyond its cutoff, in widths.
PADDING = math.sqrt(-2.0 * math.log(1e-3))


def number(name: str, value: Any, rule: str = "a number") -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{name}` must be {rule}, got {value!r}")
    return float(value)


def whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{name}` must be an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, got {value}")
    return int(value)


def choice(name: str, value: Any, known: tuple) -> Any:
    if not any(value is k or (isinstance(k, str) and isinstance(value, str) and value == k) for k in known):
        raise ValueError(f"`{name}` must be among {', '.join(map(repr, known))}, got {value!r}")
    return value


def parameters(name: str, given: Any, kinds: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> dict:
    """A dict with "type" and the parameters of that type, needed ones and others."""
    if not isinstance(given, Mapping) or "type" not in given:
        raise TypeError(f'`{name}` must be None or a dict with "type", got {given!r}')
    kind = given["type"]
    if kind not in kinds:
        raise ValueError(f"`{name}` must be of type {', '.join(kinds)}, got {kind!r}")
    needed, optional = kinds[kind]
    for key in given:
        if key != "type" and key not in needed + optional:
            raise ValueError(f"`{name}` must have {', '.join(needed + optional)} for {kind}, got {key!r}")
    for key in needed:
        if given.get(key) is None:
            raise ValueError(f"`{name}` must have {', '.join(needed)} for {kind}, got none of `{key}`")
    return dict(given)


def functions(max_radial: Any, lmax: int) -> list[int]:
    """Radial functions of each degree."""
    if isinstance(max_radial, (list, tuple, np.ndarray)):
        if len(max_radial) != lmax + 1:
            raise ValueError(f"`max_radial` must be one number or lmax + 1 = {lmax + 1} of them, got {len(max_radial)}")
        return [whole("max_radial", n, 0, 63) + 1 for n in max_radial]
    return [whole("max_radial", max_radial, 0, 63) + 1] * (lmax + 1)


def basis(given: Any, count: int | None, cutoff: float, radial_width: float, l: int) -> tuple:
    """(name, number of functions, length, table) of one degree."""
    name = f"radial_basis[{l}]"
    if isinstance(given, str):
        given = {"type": given}
    kinds = {
        "featomic_gto": ((), ("max_radial", "radius")),
        "dscribe_gto": ((), ("max_radial", "radius")),
        "dscribe_polynomial": ((), ("max_radial", "radius")),
        "common_gto": ((), ("max_radial", "width")),
        "tabulated": (("radius", "values", "derivatives"), ("max_radial",)),
    }
    text = parameters("radial_basis", given, kinds)
    if text["type"] == "tabulated":
        radius = np.ascontiguousarray(text["radius"], dtype=np.float64)
        values, slopes = (np.ascontiguousarray(text[k], dtype=np.float64) for k in ("values", "derivatives"))
        if radius.ndim != 1 or values.ndim != 2 or values.shape != slopes.shape or len(values) != len(radius):
            shapes = f"{list(radius.shape)}, {list(values.shape)} and {list(slopes.shape)}"
            raise ValueError(f"`{name}` must have radius [G], values [G, n] and derivatives [G, n], got {shapes}")
        own = values.shape[1]
        if text.get("max_radial") is not None and whole("max_radial", text["max_radial"], 0, 63) + 1 != own:
            raise ValueError(f"`max_radial` must be {own - 1} for the table of l = {l}, got {text['max_radial']}")
        return ("tabulated", own, 0.0, (radius, values.ravel(), slopes.ravel()))
    if text.get("max_radial") is not None:
        count = whole("max_radial", text["max_radial"], 0, 63) + 1
    if count is None:
        raise ValueError(f"`max_radial` must be given, alone or in `{name}`, got None")
    length = text.get("width", radial_width) if text["type"] == "common_gto" else text.get("radius")
    length = cutoff if length is None else number(f"{name} length", length, "a length in Angstrom")
    return (text["type"], count, length, None)


def bases(radial_basis: Any, max_radial: Any, lmax: int, cutoff: float, radial_width: float) -> list:
    """One entry a degree, None where it is left out."""
    by_degree = isinstance(radial_basis, Mapping) and "type" not in radial_basis
    if by_degree:
        given = {}
        for l, one in radial_basis.items():
            try:
                given[whole("radial_basis", int(l) if isinstance(l, str) else l, 0, lmax)] = one
            except ValueError:
                raise ValueError(f"`radial_basis` must have degrees from 0 to lmax = {lmax}, got {l!r}") from None
        if not given:
            raise ValueError("`radial_basis` must have a basis for at least one degree, got {}")
    elif isinstance(radial_basis, (str, Mapping)):
        given = dict.fromkeys(range(lmax + 1), radial_basis)
    else:
        raise TypeError(f'`radial_basis` must be a name, a dict with "type" or a dict by degree, got {radial_basis!r}')
    if isinstance(radial_basis, str):
        choice("radial_basis", radial_basis, BASES[:-1])
    counts = [None] * (lmax + 1) if max_radial is None else functions(max_radial, lmax)
    return [basis(given[l], counts[l], cutoff, radial_width, l) if l in given else None for l in range(lmax + 1)]


def scaling(given: Any) -> tuple[tuple[str, list[float]], float | None]:
    """((name, parameters), weight of an atom on the centre itself)."""
    if given is None:
        return ("none", []), None
    kinds = {
        "willatt2018": (("rate", "scale", "exponent"), ()),
        "poly": (("r0", "c", "m"), ("w0",)),
        "pow": (("r0", "c", "d", "m"), ("w0",)),
        "exp": (("r0", "c", "d"), ("w0",)),
        "none": ((), ("w0",)),
    }
    text = parameters("scaling", given, kinds)
    values = {k: number(f"scaling {k}", v) for k, v in text.items() if k != "type" and v is not None}
    at_zero = values.get("w0")
    if at_zero is not None and not (at_zero >= 0 and math.isfinite(at_zero)):
        raise ValueError(f"`scaling w0` must be a finite number that is not negative, got {at_zero}")
    if text["type"] == "willatt2018":
        return ("willatt2018", [values["rate"], values["scale"], values["exponent"]]), at_zero
    return (text["type"], [values.get(k, 0.0) for k in ("c", "d", "m", "r0")]), at_zero


def kernel_text(p: Any) -> dict:
    """What `_native.SoapKernel` is made of, from an object with the attributes of `Soap`."""
    cutoff = number("cutoff", p.cutoff, "a length in Angstrom")
    width = number("width", p.width, "a length in Angstrom")
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"`cutoff` must be a positive finite length in Angstrom, got {cutoff}")
    if not (math.isfinite(width) and width >= 0):
        raise ValueError(f"`width` must be a positive finite length in Angstrom, or 0 for points, got {width}")
    lmax = whole("lmax", p.lmax, 0, 24)
    smoothing = None
    if p.smoothing is not None:
        kinds = {"shifted_cosine": (("width",), ())}
        smoothing = number("smoothing width", parameters("smoothing", p.smoothing, kinds)["width"])
        if not (math.isfinite(smoothing) and smoothing > 0):
            raise ValueError(f"`smoothing width` must be a positive finite length in Angstrom, got {smoothing}")
    if p.accuracy is not None:
        number("accuracy", p.accuracy)
    factor, at_zero = scaling(p.scaling)
    dscribe = choice("convention", p.convention, ("featomic", "dscribe")) == "dscribe"
    radial_width = width if p.radial_width is None else number("radial_width", p.radial_width, "a length in Angstrom")
    radial = bases(p.radial_basis, p.max_radial, lmax, cutoff, radial_width)
    if p.radial_width is not None and not any(one is not None and one[0] == "common_gto" for one in radial):
        raise ValueError(f"`radial_width` must be None for a basis other than common_gto, got {p.radial_width}")
    return {
        "bases": radial,
        "cutoff": cutoff,
        "smoothing": smoothing,
        "scaling": factor,
        "at_zero": at_zero,
        "reach": cutoff + PADDING * width if dscribe else cutoff,
        "inclusive": dscribe,
        "center_weight": number("center_weight", p.center_weight),
        "width": width,
        "normalised": not dscribe,
        "accuracy": p.accuracy,
    }
