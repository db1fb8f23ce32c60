"""AniSOAP: power spectra of the densities of ellipsoids, with all gradients in closed form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from valence import _native
from valence.atoms import Systems, as_systems

from . import _shapes
from ._estimator import Transformer
from ._results import columns_of
from .anisoap_results import AniSoapCoefficients, AniSoapSpectrum, features

__all__ = ["AniSoap"]

#: What a vjp knows: place in the native result, whether it needs cells, whether shapes.
_WRT = {
    "positions": (0, False, False),
    "cell": (1, True, False),
    "strain": (2, True, False),
    "rotation_vector": (4, False, True),
    "semiaxes": (5, False, True),
    "quaternion": (6, False, True),
}
#: Rounding is multiplied by the root of the overlap's condition: warn and refuse above these.
_WARN, _REFUSE = 1e-8, 1e-4


class AniSoap(Transformer):
    """Expansion of the density of ellipsoids about each particle, and its power spectrum.

    A particle j is a normalised Gaussian of semiaxes sigma_j along the columns of R_j; the density about particle i is expanded
    in orthonormal radial functions and real spherical harmonics (polar axis z), and
    p_l(n1 a1, n2 a2) = (-1)^l / sqrt(2l + 1) sum_m c_{n1 a1 l m} c_{n2 a2 l m}.

    Parameters
    ----------
    cutoff : Angstrom; a pair counts where its distance is below it (no smoothing).
    lmax : largest l, 0 or more.
    width : Angstrom, of the Gaussian-type functions r^(l + 2n) exp(-r^2 / (2 width^2)); required there, None for monomials.
    max_radial : None: (lmax - l) // 2 + 1 functions of each l; an integer k: k + 1; a list of lmax + 1 integers.
    radial_basis : "gto" or "monomial" (r^(l + 2n), orthonormal within the cutoff).
    self_pair : whether a particle's own ellipsoid is part of the density about it.
    orientation : "quaternion" or "matrix" if only that form is to be accepted; None: either.
    basis_rcond : overlap eigenvalues at or below it are dropped; 0 keeps all.
    basis_tol : largest Frobenius norm of what is dropped from an overlap.
    normalize : False gives coefficients of the functions as they stand, neither normalised nor orthogonal.
    unique : keep p <= q alone, with sqrt(2) off the diagonal: the same scalar products, half the features.
    mean_over_samples : the mean over the particles of each system, [B, D].
    allow_ill_conditioned : compute even where rounding is amplified to more than 1e-4 of the largest coefficient.

    Raises
    ------
    ValueError, TypeError for parameters that cannot be; ValueError for a basis that is numerically singular, with its l.

    Examples
    --------
    >>> import valence as vl
    >>> pair = vl.Systems.from_arrays([[0.0, 0.0, 0.0], [2.0, 0.5, 0.0]], [6, 6])
    >>> soap = vl.AniSoap(cutoff=4.0, lmax=2, width=1.0)
    >>> shape = {"orientation": [[1.0, 0.0, 0.0, 0.0]] * 2, "semiaxes": [[1.0, 0.5, 0.5]] * 2}
    >>> soap.compute(pair, **shape).values.shape
    (2, 6)

    Source: Lin, Fraux, Cersonsky et al., J. Chem. Phys. 161, 074112 (2024).
    """

    def __init__(
        self,
        *,
        cutoff: float,
        lmax: int,
        width: float | None = None,
        max_radial: int | Sequence[int] | None = None,
        radial_basis: str = "gto",
        self_pair: bool = True,
        orientation: str | None = None,
        basis_rcond: float = 0.0,
        basis_tol: float = 1e-8,
        normalize: bool = True,
        unique: bool = False,
        mean_over_samples: bool = False,
        allow_ill_conditioned: bool = False,
    ) -> None:
        # As given: scikit-learn clones an estimator by its parameters and compares them.
        self.cutoff, self.lmax, self.width, self.max_radial = cutoff, lmax, width, max_radial
        self.radial_basis, self.orientation = radial_basis, orientation
        self.basis_rcond, self.basis_tol = basis_rcond, basis_tol
        self.self_pair = _flag("self_pair", self_pair)
        self.normalize = _flag("normalize", normalize)
        self.unique = _flag("unique", unique)
        self.mean_over_samples = _flag("mean_over_samples", mean_over_samples)
        self.allow_ill_conditioned = _flag("allow_ill_conditioned", allow_ill_conditioned)
        self._unit = self._cutoff = _length("cutoff", cutoff)
        #: n_l.
        self.radial = _radial(max_radial, _count("lmax", lmax))
        if radial_basis not in ("gto", "monomial"):
            raise ValueError(f'`radial_basis` must be "gto" or "monomial", got {radial_basis!r}')
        if radial_basis == "gto":
            if width is None:
                raise ValueError("`width` must be given for Gaussian-type functions, got None")
            self._unit = _length("width", width)
        elif width is not None:
            raise ValueError(f"`width` must be None for monomials, got {width!r}")
        if orientation not in (None, "quaternion", "matrix"):
            raise ValueError(f'`orientation` must be "quaternion", "matrix" or None, got {orientation!r}')
        self._column: str | None = None
        rcond, tolerance = _not_negative("basis_rcond", basis_rcond), _not_negative("basis_tol", basis_tol)
        self._basis = _native.AniSoapBasis(
            radial_basis, list(self.radial), self._unit, rcond, tolerance, self.normalize
        )
        #: sqrt of the condition of the overlap of each l: what rounding errors are multiplied by.
        self.amplification = np.array(self._basis.amplification)
        self._check_condition(allow_ill_conditioned)

    def _check_condition(self, allowed: bool) -> None:
        l = int(np.argmax(self.amplification))
        error = float(self.amplification[l]) * 2e-16
        if error <= _WARN:
            return
        what = (
            f"{self.radial[l]} functions of l = {l}, which amplify rounding to {error:.1e} of the largest coefficient"
        )
        if error > _REFUSE and not allowed:
            raise ValueError(
                "`max_radial` must be smaller for a basis that is not numerically singular "
                f"(or `allow_ill_conditioned` True, or `basis_rcond` positive), got {what}"
            )
        warnings.warn(f"AniSoap with {what}", UserWarning, stacklevel=3)

    @classmethod
    def from_anisoap(
        cls,
        max_angular: int,
        radial_basis_name: str,
        cutoff_radius: float,
        compute_gradients: bool = False,
        subtract_center_contribution: bool = False,
        radial_gaussian_width: float | None = None,
        max_radial: int | list[int] | None = None,
        rotation_key: str = "quaternion",
        rotation_type: str = "quaternion",
        basis_rcond: float = 0,
        basis_tol: float = 1e-8,
    ) -> AniSoap:
        """The calculator of the parameters of anisoap 0.1.1's `EllipsoidalDensityProjection`.

        Integer lengths, which it refuses, are accepted; `compute_gradients` is, too (gradients are :meth:`vjp`).
        """
        if rotation_type not in ("quaternion", "matrix"):
            raise ValueError(f'`rotation_type` must be "quaternion" or "matrix", got {rotation_type!r}')
        made = cls(
            cutoff=cutoff_radius,
            lmax=max_angular,
            width=radial_gaussian_width,
            max_radial=max_radial,
            radial_basis=radial_basis_name,
            self_pair=not subtract_center_contribution,
            orientation=rotation_type,
            basis_rcond=basis_rcond,
            basis_tol=basis_tol,
        )
        # Its transform reads `rotation_key`, its power_spectrum c_q alone; either is found here.
        made._column = None if rotation_key in ("quaternion", "c_q") else rotation_key
        return made

    def __reduce__(self) -> Any:
        return _remade, (self.get_params(), self._column, getattr(self, "species_", None))

    @property
    def num_coefficients(self) -> int:
        """F."""
        return self._basis.width

    def radial_transform(self, l: int) -> np.ndarray:
        """W_l [n_l, n_l]: c_n' = sum_n c_n W[n, n'] of the functions r^(l + 2n) (with their Gaussian)."""
        weights = self._basis.weights(l)
        return weights / (self._unit ** (l + 2 * np.arange(len(weights))))[:, None]

    def compute(
        self,
        systems: Any,
        *,
        gradients: Iterable[str] = (),
        species: Any = None,
        orientation: Any = None,
        semiaxes: Any = None,
        diameters: Any = None,
        diameters_from_info: bool = False,
    ) -> AniSoapSpectrum:
        """The power spectrum of each particle, [N, D], or its mean over each system, [B, D].

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes.
        gradients : names among positions, cell, strain, rotation_vector, semiaxes: dense derivatives, which are large and cost
            three passes a particle (use :meth:`vjp` for the gradient of a scalar).
        species : atomic numbers or symbols of the columns (sorted by us); None: those of the call. An absent one gives zeros.
        orientation : quaternions w, x, y, z [N, 4] of any norm, or matrices [N, 3, 3] with body axes as columns; None: the
            column c_q, quaternion or orientation of the atoms.
        semiaxes, diameters : [N, 3], Angstrom, zero or more (semiaxes at most 1e6); None: the columns semiaxes or
            c_diameter[1], [2], [3] (which are diameters) of the atoms.
        diameters_from_info : take c_diameter[...] from the info of systems, one for all its particles.

        Raises
        ------
        ValueError for shapes that are missing, negative, not finite or not orthogonal (system and particle are named), and for
        a species that is not in `species`. A warning for two particles at one place.
        """
        s, call, species = self._call(systems, species, orientation, semiaxes, diameters, diameters_from_info)
        names = [gradients] if isinstance(gradients, str) else list(gradients)
        if names and self.mean_over_samples:
            raise ValueError("`gradients` must be () for a mean over samples, got " + ", ".join(names))
        values = call.power(self.unique, self.mean_over_samples)
        found: dict[str, Any] = {}
        if names:
            from ._anisoap_dense import dense_gradients

            shape = self._shape_of(s, orientation, semiaxes, diameters, diameters_from_info)
            found = dense_gradients(call, s, self.unique, names, *shape)
        return AniSoapSpectrum(values, s, species, self.radial, self.unique, self.mean_over_samples, found)

    def coefficients(
        self,
        systems: Any,
        *,
        species: Any = None,
        orientation: Any = None,
        semiaxes: Any = None,
        diameters: Any = None,
        diameters_from_info: bool = False,
    ) -> AniSoapCoefficients:
        """The expansion coefficients, [N, S, F], F ordered (l, n, m); arguments as for :meth:`compute`."""
        s, call, species = self._call(systems, species, orientation, semiaxes, diameters, diameters_from_info)
        return AniSoapCoefficients(call.coefficients(), s, species, self.radial)

    def vjp(
        self,
        systems: Any,
        cotangent: Any,
        wrt: Iterable[str] = ("positions",),
        *,
        species: Any = None,
        orientation: Any = None,
        semiaxes: Any = None,
        diameters: Any = None,
        diameters_from_info: bool = False,
    ) -> dict[str, np.ndarray]:
        """Gradients of E = sum(cotangent * values), by the adjoint of the expansion.

        Parameters
        ----------
        cotangent : of the spectrum [N, D] (of a mean [B, D]), or of the coefficients [N, S, F]; dtype of the positions.
        wrt : names among positions [N, 3]; cell [B, 3, 3], Cartesian positions fixed; strain [B, 3, 3], positions and cell times
            1 + strain, orientations held; rotation_vector [N, 3], R to exp([v]x) R; quaternion [N, 4], of the numbers as given;
            semiaxes [N, 3]; diameters [N, 3], half of that; matrix [N, 3, 3], the tangent 1/2 [tau]x R.

        Returns
        -------
        dict of name to array, in 1 / Angstrom where the variable is a length.
        """
        names = [wrt] if isinstance(wrt, str) else list(wrt)
        needed = {"diameters": "semiaxes", "matrix": "rotation_vector"}
        for name in names:
            if name not in _WRT and name not in needed:
                raise ValueError(f"`wrt` must be of {', '.join([*_WRT, *needed])}, got {name!r}")
        rows = [_WRT[needed.get(name, name)] for name in names]
        s, call, species = self._call(systems, species, orientation, semiaxes, diameters, diameters_from_info)
        g = np.asarray(cotangent)
        of_values = g.ndim != 3
        if of_values and self.mean_over_samples:
            if g.ndim != 2 or len(g) != len(s):
                raise ValueError(f"`cotangent` must be of shape [B, D], B = {len(s)}, got {list(g.shape)}")
            each = g / np.maximum(s.counts, 1)[:, None].astype(g.dtype)
            g = np.ascontiguousarray(np.repeat(each, s.counts, axis=0))
        found = call.vjp(g, self.unique if of_values else None, any(r[1] for r in rows), any(r[2] for r in rows))
        out = {}
        for name, row in zip(names, rows, strict=True):
            value = found[row[0]]
            if value is None:
                raise ValueError("`wrt` must not be quaternion where orientations are matrices, got quaternion")
            if name == "diameters":
                value = 0.5 * value
            elif name == "matrix":
                r = _shapes.orientation_of(s, orientation, self.orientation, self._column)
                if r.ndim != 3:
                    raise ValueError("`wrt` must not be matrix where orientations are quaternions, got matrix")
                value = 0.5 * np.cross(value[:, :, None], r, axis=1).astype(value.dtype)
            out[name] = value
        return out

    def _names(self, columns: tuple[int, ...]) -> np.ndarray:
        rows = features(self.radial, columns, self.unique)
        texts = [f"l={l} n_1={n} species_1={a} n_2={k} species_2={b}" for l, n, a, k, b in rows.tolist()]
        return np.array(texts, dtype=object)

    def _shape_of(self, s: Systems, orientation: Any, semiaxes: Any, diameters: Any, from_info: bool) -> Any:
        axes = _shapes.semiaxes_of(s, semiaxes, diameters, from_info)
        return _shapes.orientation_of(s, orientation, self.orientation, self._column), axes

    def _call(
        self, systems: Any, species: Any, orientation: Any, semiaxes: Any, diameters: Any, from_info: bool
    ) -> tuple[Systems, Any, tuple[int, ...]]:
        s = systems if isinstance(systems, Systems) else as_systems(systems)
        columns = columns_of(s, species)
        turned, axes = self._shape_of(s, orientation, semiaxes, diameters, from_info)
        try:
            call = _native.AniSoapCall(
                self._basis, s.positions, s.offsets, s.cell, s.pbc, s.numbers, np.array(columns, np.uint8),
                self._cutoff, self.self_pair,
                turned, axes,
            )  # fmt: skip
        except ValueError:
            _shapes.explain(s, turned, axes)
            raise
        twins = call.coincident()
        if twins is not None:
            i, j = twins
            warnings.warn(
                f"particles {_shapes.where(s, i)} and {_shapes.where(s, j)} are at one place", UserWarning, stacklevel=3
            )
        return s, call, columns


def _remade(parameters: dict[str, Any], column: str | None, species: tuple[int, ...] | None) -> AniSoap:
    made = AniSoap(**parameters)
    made._column = column
    if species is not None:
        made.species_ = species
    return made


def _length(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{name}` must be a number, got {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"`{name}` must be a positive finite length in Angstrom, got {value!r}")
    return float(value)


def _not_negative(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{name}` must be a number, got {value!r}")
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"`{name}` must be zero or a positive finite number, got {value!r}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be a bool, got {value!r}")
    return bool(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{name}` must be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"`{name}` must be zero or more, got {value}")
    return int(value)


def _radial(max_radial: Any, lmax: int) -> tuple[int, ...]:
    if max_radial is None:
        return tuple((lmax - l) // 2 + 1 for l in range(lmax + 1))
    if isinstance(max_radial, (list, tuple, np.ndarray)):
        if len(max_radial) != lmax + 1:
            raise ValueError(f"`max_radial` must be of length lmax + 1 = {lmax + 1}, got {len(max_radial)}")
        return tuple(_count("max_radial", k) + 1 for k in max_radial)
    return (_count("max_radial", max_radial) + 1,) * (lmax + 1)
