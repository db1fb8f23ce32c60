"""Parameters of featomic 0.6.7 and dscribe 2.1.2 as ours, and featomic's blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._results import Block, columns_of, numbers_of
from ._soap_text import choice, number, whole

if TYPE_CHECKING:
    from .soap import Soap

__all__ = ["featomic_blocks", "from_dscribe", "from_featomic"]


def _section(given: Any, name: str, known: tuple[str, ...], needed: tuple[str, ...]) -> dict:
    if hasattr(given, "get_hypers"):
        given = given.get_hypers()
    if not isinstance(given, Mapping):
        raise TypeError(f"`{name}` must be a dict, got {given!r}")
    for key in given:
        if key not in known:
            raise ValueError(f"`{name}` must have {', '.join(known)}, got {key!r}")
    for key in needed:
        if key not in given:
            raise ValueError(f"`{name}` must have {', '.join(needed)}, got none of `{key}`")
    return dict(given)


def _radial(given: Any, delta: bool) -> dict:
    known = ("type", "max_radial", "radius", "points", "center_contribution")
    text = _section(given, "radial", known, ("type",))
    kind = choice("radial type", text["type"], ("Gto", "Tabulated"))
    if kind == "Gto":
        if "max_radial" not in text:
            raise ValueError("`radial` must have type, max_radial, got none of `max_radial`")
        return {"type": "featomic_gto", "max_radial": text["max_radial"], "radius": text.get("radius")}
    if not delta:
        raise ValueError(
            '`radial` must be "Gto" with a Gaussian density (tabulated integrals go with DiracDelta), got "Tabulated"'
        )
    points = text.get("points") or []
    table = {
        "radius": [p["position"] for p in points],
        "values": [p["values"] for p in points],
        "derivatives": [p["derivatives"] for p in points],
    }
    return {"type": "tabulated", **{k: np.array(v, dtype=np.float64) for k, v in table.items()}}


def from_featomic(hypers: Mapping) -> dict[str, Any]:
    """Arguments of `Soap`."""
    whole_text = _section(hypers, "hypers", ("cutoff", "density", "basis"), ("cutoff", "density", "basis"))
    cutoff = _section(whole_text["cutoff"], "cutoff", ("radius", "smoothing"), ("radius",))
    smoothing = _section(cutoff.get("smoothing", {"type": "Step"}), "smoothing", ("type", "width"), ("type",))
    choice("smoothing type", smoothing["type"], ("Step", "ShiftedCosine"))
    density = _section(whole_text["density"], "density", ("type", "width", "center_atom_weight", "scaling"), ("type",))
    delta = choice("density type", density["type"], ("Gaussian", "DiracDelta")) == "DiracDelta"
    if not delta and "width" not in density:
        raise ValueError("`density` must have width for a Gaussian, got none of `width`")
    scaling = density.get("scaling")
    if scaling is not None:
        text = _section(
            scaling, "scaling", ("type", "rate", "scale", "exponent"), ("type", "rate", "scale", "exponent")
        )
        choice("scaling type", text["type"], ("Willatt2018",))
        scaling = {**text, "type": "willatt2018"}
    known = ("type", "max_angular", "radial", "by_angular", "spline_accuracy")
    given = whole_text["basis"]
    if isinstance(given, Mapping) and "radial" in given and not {"type", "max_angular"} & set(given):
        # The form of a radial spectrum.
        given = {"type": "TensorProduct", "max_angular": 0, **given}
    basis = _section(given, "basis", known, ("type",))
    if choice("basis type", basis["type"], ("TensorProduct", "Explicit")) == "TensorProduct":
        for key in ("max_angular", "radial"):
            if key not in basis:
                raise ValueError(f"`basis` must have max_angular and radial for TensorProduct, got none of `{key}`")
        lmax = whole("max_angular", basis["max_angular"], 0, 24)
        radial: Any = _radial(basis["radial"], delta)
    else:
        by_angular = basis.get("by_angular")
        if not isinstance(by_angular, Mapping) or not by_angular:
            raise ValueError(f"`by_angular` must have a basis for each degree, got {by_angular!r}")
        radial = {int(l): _radial(one, delta) for l, one in by_angular.items()}
        lmax = max(radial)
    accuracy = basis.get("spline_accuracy", 1e-8)
    return {
        "cutoff": cutoff["radius"],
        "lmax": lmax,
        "width": 0.0 if delta else density["width"],
        "radial_basis": radial,
        "smoothing": None
        if smoothing["type"] == "Step"
        else {"type": "shifted_cosine", "width": smoothing.get("width")},
        "scaling": scaling,
        "center_weight": density.get("center_atom_weight", 1.0),
        "accuracy": accuracy,
    }


def _weighting(given: Any) -> tuple[dict | None, float | None]:
    """A scaling, and the cutoff that it implies."""
    if not given:
        return None, None
    known = ("function", "r0", "c", "d", "m", "w0", "threshold")
    text = _section(given, "weighting", known, ())
    kind = text.pop("function", None)
    threshold = text.pop("threshold", None)
    threshold = 1e-2 if threshold is None else number("threshold", threshold)
    text = {k: v for k, v in text.items() if v is not None}
    if kind is None:
        return {"type": "none", **{k: v for k, v in text.items() if k == "w0"}}, None
    choice("weighting function", kind, ("poly", "pow", "exp"))
    used = {"poly": ("r0", "c", "m"), "pow": ("r0", "c", "d", "m"), "exp": ("r0", "c", "d")}[kind]
    for key in used:
        if key not in text:
            raise ValueError(f"`weighting` must have {', '.join(used)} for {kind}, got none of `{key}`")
    p = {k: number(f"weighting {k}", text[k]) for k in used}
    scaling = {"type": kind, **p, **({"w0": text["w0"]} if "w0" in text else {})}
    if kind == "poly":
        return scaling, p["r0"]
    rest = p["c"] / threshold - p["d"] if threshold > 0 else math.inf
    if not (math.isfinite(rest) and rest > 0) or (kind == "pow" and p["m"] == 0):
        return scaling, None
    return scaling, p["r0"] * rest ** (1.0 / p["m"]) if kind == "pow" else p["r0"] * math.log(rest)


def from_dscribe(arguments: Mapping) -> dict[str, Any]:
    """Arguments of `Soap`."""
    defaults: dict[str, Any] = {
        "r_cut": None,
        "n_max": None,
        "l_max": None,
        "sigma": 1.0,
        "rbf": "gto",
        "weighting": None,
        "average": "off",
        "compression": None,
        "species": None,
        "periodic": False,
        "sparse": False,
        "dtype": "float64",
    }
    for key in arguments:
        if key not in defaults:
            raise TypeError(f"arguments must be among {', '.join(defaults)}, got {key!r}")
    p = {**defaults, **arguments}
    for key in ("n_max", "l_max", "species"):
        if p[key] is None:
            raise ValueError(f"`{key}` must be given, got None")
    if p["sparse"]:
        raise ValueError("`sparse` must be False (results are NumPy arrays), got True")
    rbf = choice("rbf", p["rbf"], ("gto", "polynomial"))
    scaling, implied = _weighting(p["weighting"])
    cutoff = implied if p["r_cut"] is None else p["r_cut"]
    if cutoff is None:
        raise ValueError("`r_cut` must be given, or a weighting that falls below its threshold, got None")
    sigma = number("sigma", p["sigma"])
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"`sigma` must be a positive finite length in Angstrom, got {sigma}")
    text = _section(p["compression"] or {}, "compression", ("mode", "species_weighting"), ())
    mode = choice("compression mode", text.get("mode", "off"), ("off", "mu2", "mu1nu1", "crossover"))
    average = choice("average", p["average"], ("off", "inner", "outer"))
    return {
        "cutoff": cutoff,
        "lmax": whole("l_max", p["l_max"], 0, 20),
        "width": sigma,
        "max_radial": whole("n_max", p["n_max"], 1, 64) - 1,
        "radial_basis": f"dscribe_{rbf}",
        "scaling": scaling,
        "species_weights": text.get("species_weighting"),
        "species": numbers_of(p["species"]),
        "compression": None if mode == "off" else mode,
        "average": None if average == "off" else average,
        "convention": "dscribe",
        "periodic": None if p["periodic"] else False,
        "dtype": choice("dtype", p["dtype"], ("float32", "float64")),
    }


def _present(soap: Soap, systems: Any, columns: tuple[int, ...]) -> np.ndarray:
    """Whether an atom has the species within the cutoff, itself too: [N, S]."""
    from valence.edges import find_edges

    column = np.searchsorted(columns, systems.numbers)
    present = np.zeros((len(systems.numbers), len(columns)), bool)
    present[np.arange(len(column)), column] = True
    edges = find_edges(systems, soap.cutoff)
    present[edges.source, column[edges.target]] = True
    return present


def featomic_blocks(soap: Soap, systems: Any, kind: str, species: Any) -> list[Block]:
    """Sparse blocks in featomic's order."""
    if soap.convention != "featomic" or soap.compression is not None or (kind != "coefficients" and soap.average):
        raise ValueError(
            "`convention` must be featomic, without compression and average, for featomic's blocks, got another"
        )
    columns = columns_of(systems, species, soap.species)
    numbers, counts = np.asarray(systems.numbers), soap.num_radial
    present = _present(soap, systems, columns)
    where = np.stack([systems.system, np.arange(len(numbers)) - systems.offsets[systems.system]], axis=1)
    result = soap._compute(systems, kind, (), columns, None, True).values
    degrees = [l for l, n in enumerate(counts) if n]
    blocks = []
    centers = sorted(set(numbers.tolist()))
    if kind == "coefficients":
        start = np.cumsum([0, *((2 * l + 1) * n for l, n in enumerate(counts))])
        for z in centers:
            for a, other in enumerate(columns):
                rows = np.flatnonzero((numbers == z) & present[:, a])
                for l in degrees if len(rows) else []:
                    values = result[rows, a, start[l] : start[l + 1]].reshape(len(rows), counts[l], 2 * l + 1)
                    key = {"o3_lambda": l, "o3_sigma": 1, "center_type": z, "neighbor_type": other}
                    n = np.arange(counts[l])[:, None]
                    blocks.append(Block(key, where[rows], values.transpose(0, 2, 1), ("n",), n))
        return blocks
    if kind == "radial":
        n = np.arange(counts[0])[:, None]
        for z in centers:
            for a, other in enumerate(columns):
                rows = np.flatnonzero((numbers == z) & present[:, a])
                if len(rows):
                    key = {"center_type": z, "neighbor_type": other}
                    values = result[rows, a * counts[0] : (a + 1) * counts[0]]
                    blocks.append(Block(key, where[rows], values, ("n",), n))
        return blocks
    lnn = [(l, n, k) for l in degrees for n in range(counts[l]) for k in range(counts[l])]
    properties = np.array(lnn)
    pairs = [(a, b) for a in range(len(columns)) for b in range(a, len(columns))]
    for z in centers:
        for p, (a, b) in enumerate(pairs):
            rows = np.flatnonzero((numbers == z) & present[:, a] & present[:, b])
            if len(rows):
                key = {"center_type": z, "neighbor_1_type": columns[a], "neighbor_2_type": columns[b]}
                values = result[rows, p * len(lnn) : (p + 1) * len(lnn)]
                blocks.append(Block(key, where[rows], values, ("l", "n_1", "n_2"), properties))
    return blocks
