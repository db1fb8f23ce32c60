"""The differentiable ops of the basis room."""

from __future__ import annotations

from typing import Any

import numpy as np

from valence._op import REGISTRY, Op, Real, Static
from valence.basis._parameters import harmonics_static, radial_static
from valence.reference import basis as reference


def _vectors(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {"vector": rng.normal(size=(rows, 3))}


def _distances(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {"distance": rng.uniform(0.8, 4.7, size=rows)}


def _pairs(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {**_distances(rng, rows), "reference_distance": rng.uniform(0.6, 2.4, size=rows)}


def _radial(spec: Any) -> Static:
    """`spec` is a :class:`valence.RadialBasis` or the list that it makes; the second number is K."""
    numbers = tuple(getattr(spec, "spec", spec))
    return Static(numbers, (("K", int(numbers[1])),))


def _envelope(
    cutoff: float,
    kind: str = "polynomial",
    p: float = 6,
    lower: float | None = None,
    normalized: bool | None = None,
    on: float | None = None,
) -> Static:
    given = {"p": p if kind == "polynomial" else None, "lower": lower, "normalized": normalized, "on": on}
    chosen = {name: value for name, value in given.items() if value is not None}
    return Static(radial_static("one", 1, cutoff, {"type": kind, **chosen}, None, {}).params, ())


def _envelope_reference(distance: np.ndarray, **parameters: Any) -> np.ndarray:
    return reference.cutoff_envelope(distance, spec=_envelope(**parameters).params)


def _spec(kind: str, n: int = 5, envelope: Any = None, transform: Any = None, **given: Any) -> dict[str, Any]:
    return {"spec": radial_static(kind, n, 5.0, envelope, transform, given).params}


SPHERICAL_HARMONICS = REGISTRY.add(
    Op(
        name="spherical_harmonics",
        inputs={"vector": Real("E 3", unit="Å", rotates="vector")},
        outputs={"harmonics": Real("E M", rotates="harmonics")},
        reference=reference.spherical_harmonics,
        sample=_vectors,
        encode=harmonics_static,
        variants=(
            {"lmax": 3},
            {"lmax": 2, "normalize": False, "normalization": "norm"},
            {"lmax": 6, "polar_axis": "z", "normalization": "integral"},
            {"lmax": 8},
        ),
        doc="Real spherical harmonics of vectors [E, 3] -> [E, M]; see `valence.spherical_harmonics`.",
    )
)

_BASIS = {"basis": Real("E K", rotates="scalar")}
_ONE = {"distance": Real("E", unit="Å", rotates="scalar")}
_TWO = {**_ONE, "reference_distance": Real("E", unit="Å", differentiable=False, rotates="scalar")}

RADIAL = REGISTRY.add(
    Op(
        name="radial",
        inputs=_ONE,
        outputs=_BASIS,
        reference=reference.radial,
        sample=_distances,
        encode=_radial,
        variants=(
            _spec("gaussian", envelope="cosine"),
            _spec("bessel", envelope="polynomial"),
            _spec("expnorm", envelope="tanh3"),
            _spec("exp_bernstein", envelope="mollifier"),
        ),
        doc="Radial functions of distances [E] -> [E, K]: `radial(distance, spec)`, `spec` a `valence.RadialBasis`.",
    )
)

RADIAL_TRANSFORMED = REGISTRY.add(
    Op(
        name="radial_transformed",
        inputs=_TWO,
        outputs=_BASIS,
        reference=reference.radial_transformed,
        sample=_pairs,
        encode=_radial,
        variants=(
            _spec("bessel", envelope="polynomial", transform="agnesi"),
            _spec("chebyshev", envelope={"type": "switch", "on": 3.0}, transform="agnesi"),
            _spec("gaussian", transform="soft"),
        ),
        doc="Radial functions of transformed distances: `radial_transformed(distance, reference_distance, spec)`, `spec` a "
        "`valence.RadialBasis`.",
    )
)

CUTOFF_ENVELOPE = REGISTRY.add(
    Op(
        name="cutoff_envelope",
        inputs=_ONE,
        outputs={"envelope": Real("E", rotates="scalar")},
        reference=_envelope_reference,
        sample=_distances,
        encode=_envelope,
        variants=(
            {"cutoff": 5.0},
            {"cutoff": 5.0, "p": 4.5},
            {"cutoff": 5.0, "kind": "cosine", "lower": 0.5},
        ),
        doc="Cutoff envelope of distances [E] -> [E]; see `valence.cutoff_envelope`.",
    )
)


def _tables(root: Op, name: str, outputs: tuple[str, ...]) -> Op:
    """Tables of derivatives in one pass over the distances; the last order, not differentiated further."""
    return REGISTRY.add(
        Op(
            name=f"{root.name}_{name}",
            inputs=root.inputs,
            outputs={o: Real("E K", rotates="scalar") for o in outputs},
            sample=root.sample,
            encode=root.encode,
            variants=root.variants,
            doc=f"{', '.join(outputs)} of `{root.name}`, each [E, K], in one pass.",
            order=2,
        )
    )


WITH_DERIVATIVE, TRANSFORMED_WITH_DERIVATIVE = (
    _tables(root, "with_derivative", ("basis", "derivative")) for root in (RADIAL, RADIAL_TRANSFORMED)
)
DERIVATIVES, TRANSFORMED_DERIVATIVES = (
    _tables(root, "derivatives", ("derivative", "second_derivative")) for root in (RADIAL, RADIAL_TRANSFORMED)
)
