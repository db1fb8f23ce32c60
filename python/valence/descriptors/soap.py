"""SOAP: spherical expansion, radial and power spectrum of atomic environments."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from valence import _native

from ._centers import Centers
from ._estimator import Transformer
from ._results import Block, Descriptors, Jacobian, check_names, columns_of, not_empty, numbers_of
from ._soap_text import choice, kernel_text, number

__all__ = ["Soap"]

GRADIENTS = ("positions", "cell", "strain")


class Soap(Transformer):
    """Smooth overlap of atomic positions: the power or radial spectrum of a density of Gaussians around each atom.

    ``c_{i,a,nlm} = sum_j W(r_ij) I_nl(r_ij) Y_lm(r_ij)`` over the neighbors j of species a, with the radial integrals
    I_nl of the density in an orthonormal basis, and ``p = f (-1)^l / sqrt(2l+1) sum_m c_{a n lm} c_{b n' lm}``, f = sqrt(2)
    for a != b. Real spherical harmonics, m = -l..l, polar axis z. Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013).

    Parameters (all by name)
    ----------
    cutoff : Angstrom. Neighbors nearer than this count.
    max_radial : one less than the number of radial functions; one number, or one a degree.
    lmax : largest degree, to 24.
    width : standard deviation of the Gaussians, Angstrom; 0 is a density of points.
    radial_basis : "featomic_gto", "dscribe_gto", "dscribe_polynomial", "common_gto" (AniSOAP's r^(l+2n) exp(-r^2 / 2 s^2), s =
        `radial_width`), or a dict with "type" and its parameters ("radius" or "width" in place of the cutoff, "max_radial"),
        or {"type": "tabulated", "radius": [G], "values": [G, n], "derivatives": [G, n]}, or a dict of these by degree, which
        leaves out degrees that it does not name.
    radial_width : Angstrom, of "common_gto"; None is `width`.
    smoothing : None (a step) or {"type": "shifted_cosine", "width": w}: from 1 at cutoff - w to 0 at the cutoff. A w above
        the cutoff is legal; then no pair counts in full, nor does the centre.
    scaling : None, {"type": "willatt2018", "rate", "scale", "exponent"}, or a dscribe weighting {"type": "poly" | "pow" | "exp" |
        "none", "r0", "c", "d", "m", "w0"}.
    center_weight : multiplies what the centre itself adds.
    species_weights : None, or {species: weight}.
    species : columns, numbers or symbols; None: those of the systems of a call, or of `fit`.
    spectrum : "power" or "radial" (c_n00).
    compression : None, "mu2" (species summed before the product), "mu1nu1" (one with the sum), "crossover" (a = b alone).
    average : None, "inner" (of coefficients over a system's centres) or "outer" (of results).
    convention : "featomic", or "dscribe": its density (peak 1), prefactor pi sqrt(8 / (2l+1)), order of features, and neighbors
        up to cutoff + 3.7169 width.
    periodic : None: as the systems say; False: as if they were open.
    accuracy : of the radial tables, relative to the largest value; None evaluates closed forms.
    dtype : None: that of the positions; "float32" or "float64".

    Raises
    ------
    TypeError, ValueError, naming the parameter. A basis whose functions are nearly dependent warns.

    Examples
    --------
    >>> import valence as vl
    >>> water = vl.Systems.from_arrays([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]], [8, 1, 1])
    >>> vl.Soap(cutoff=4.0, max_radial=3, lmax=2, width=0.4).compute(water).values.shape
    (3, 144)
    """

    def __init__(
        self,
        *,
        cutoff: float,
        lmax: int,
        width: float,
        max_radial: Any = None,
        radial_basis: Any = "featomic_gto",
        radial_width: float | None = None,
        smoothing: Any = None,
        scaling: Any = None,
        center_weight: float = 1.0,
        species_weights: Mapping | None = None,
        species: Any = None,
        spectrum: str = "power",
        compression: str | None = None,
        average: str | None = None,
        convention: str = "featomic",
        periodic: bool | None = None,
        accuracy: float | None = 1e-10,
        dtype: str | None = None,
    ) -> None:
        self.cutoff, self.lmax, self.width = cutoff, lmax, width
        self.max_radial, self.radial_basis, self.radial_width = max_radial, radial_basis, radial_width
        self.smoothing, self.scaling, self.center_weight = smoothing, scaling, center_weight
        self.species_weights, self.species, self.spectrum = species_weights, species, spectrum
        self.compression, self.average, self.convention = compression, average, convention
        self.periodic, self.accuracy, self.dtype = periodic, accuracy, dtype
        choice("spectrum", spectrum, ("power", "radial"))
        choice("compression", compression, (None, "mu2", "mu1nu1", "crossover"))
        choice("average", average, (None, "inner", "outer"))
        choice("periodic", periodic, (None, False))
        choice("dtype", dtype, (None, "float32", "float64"))
        if compression is not None and spectrum != "power":
            raise ValueError(f'`compression` must be None for spectrum "radial", got {compression!r}')
        self._text = kernel_text(self)
        if spectrum == "radial" and self._text["bases"][0] is None:
            raise ValueError("`radial_basis` must have the degree 0 for a radial spectrum, got none")
        self._columns = None if species is None else not_empty("species", numbers_of(species))
        self._weights = self._species_weights()
        self._kernel = _native.SoapKernel(self._text)
        noise = self._kernel.amplification * 2e-16
        if noise > 1e-8:
            what = (
                f"radial functions are nearly dependent: coefficients have errors of about {noise:.0e} of the largest"
            )
            warnings.warn(f"{what}; use a smaller `max_radial`", stacklevel=2)
        self._portable = False

    def _species_weights(self) -> dict[int, float] | None:
        if self.species_weights is None:
            return None
        if not isinstance(self.species_weights, Mapping):
            raise TypeError(f"`species_weights` must be a dict of species and weights, got {self.species_weights!r}")
        found = {}
        for key, value in self.species_weights.items():
            w = number("species_weights", value)
            if not np.isfinite(w):
                raise ValueError(f"`species_weights` must be finite, got {w} for {key}")
            found[numbers_of([key], "species_weights")[0]] = w
        return found

    @classmethod
    def from_featomic(cls, hypers: Mapping, *, spectrum: str | None = None) -> Soap:
        """With featomic's own hyper-parameters, as text: the numbers of its `SoapPowerSpectrum` (`spectrum="radial"`: its
        `SoapRadialSpectrum`) and, by `coefficients`, of its `SphericalExpansion`; its blocks by `to_featomic_blocks`.

        `spline_accuracy` null evaluates closed forms. `spectrum` None: "radial" for hyper-parameters of a radial spectrum (a
        basis without degrees), else "power".
        """
        from ._peers import from_featomic

        given = from_featomic(hypers)
        if spectrum is None:
            spectrum = "power" if "type" in hypers["basis"] or "max_angular" in hypers["basis"] else "radial"
        return cls(**given, spectrum=spectrum)

    @classmethod
    def from_dscribe(cls, **arguments: Any) -> Soap:
        """With the arguments of dscribe's `SOAP`: its numbers in its layout."""
        from ._peers import from_dscribe

        return cls(**from_dscribe(arguments))

    def __reduce__(self) -> Any:
        return _remade, (self.get_params(), self._portable, getattr(self, "species_", None))

    @property
    def num_radial(self) -> tuple[int, ...]:
        """Radial functions of each degree; 0 where one is left out."""
        return tuple(0 if b is None else b[1] for b in self._text["bases"])

    @property
    def radial_table(self) -> dict[str, float] | None:
        """Intervals of the f64 radial table, and its largest errors of I and of dI/dr, relative to the largest of each."""
        found = self._kernel.table(False)
        return None if found is None else {"intervals": found[0], "value": found[1][0], "slope": found[1][1]}

    def compute(
        self, systems: Any, gradients: Any = (), species: Any = None, centers: Any = None, attach: bool = True
    ) -> Descriptors:
        """Descriptors of each atom, of each of `centers`, or of each system (with an `average`).

        Parameters
        ----------
        systems : anything that `valence.as_systems` takes.
        gradients : dense derivatives to be kept: "positions", "cell" (Cartesian positions fixed), "strain" (positions and
            cell). They are large; `vjp` does without them.
        species : columns, instead of those of the systems.
        centers : rows of atoms within their system, or points (Angstrom); a list of such lists for several systems.
        attach : whether a centre at an atom moves with it, for gradients.

        Returns
        -------
        Descriptors with `values` [rows, D], of the dtype of the positions unless `dtype` says otherwise.

        Raises
        ------
        ValueError, for an atom whose species is not among the columns (naming its row), for a centre that is not there, for
        gradients of an average.
        """
        return self._compute(systems, self.spectrum, gradients, species, centers, attach)

    def coefficients(
        self, systems: Any, species: Any = None, centers: Any = None, gradients: Any = (), attach: bool = True
    ) -> Descriptors:
        """The expansion coefficients, `values` [rows, S, F] with F ordered (l, n, m); never averaged."""
        return self._compute(systems, "coefficients", gradients, species, centers, attach)

    def _compute(
        self, systems: Any, kind: str, gradients: Any, species: Any, centers: Any, attach: bool
    ) -> Descriptors:
        call = Centers(self._systems(systems), centers)
        columns = columns_of(call.systems, species, self._columns)
        wanted = () if gradients == () else check_names("gradients", gradients, GRADIENTS)
        average = None if kind == "coefficients" else self.average
        given = self._given(call, columns, kind, attach)
        values = self._kernel.compute(given)
        found: dict[str, Any] = {}
        if wanted and average is not None:
            raise ValueError(f"`gradients` must be empty for an average (use vjp), got {', '.join(wanted)}")
        for name in wanted:
            if name == "positions":
                center, atom, data = self._kernel.position_jacobian(given)
                atom, keep = call.atoms_of(atom)
                shape = (len(values), call.num_atoms)
                found[name] = Jacobian(center[keep], atom[keep], data if keep.all() else data[keep], shape)
            else:
                found[name] = self._kernel.cell_jacobian(given, name == "strain")
        shape = (len(values), len(columns), -1) if kind == "coefficients" and len(columns) else values.shape
        rows = call.rows if average is None else call.systems_alone
        return Descriptors(values.reshape(shape), columns, rows, partial(self._labels, kind, columns), found)

    def vjp(
        self,
        systems: Any,
        cotangent: Any,
        wrt: Any = ("positions",),
        species: Any = None,
        centers: Any = None,
        attach: bool = True,
        of: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Gradients of ``sum(cotangent * values)``, without dense derivatives: "positions" [N, 3], "cell", "strain" [B, 3, 3].

        `cotangent` has the shape of `compute(...).values`, with `of="coefficients"` that of `coefficients(...).values`.
        "cell": Cartesian positions fixed; "strain": x (1 + eps) and cell (1 + eps).
        """
        call = Centers(self._systems(systems), centers)
        columns = columns_of(call.systems, species, self._columns)
        wanted = check_names("wrt", wrt, GRADIENTS)
        kind = self.spectrum if of is None else choice("of", of, ("power", "radial", "coefficients"))
        cotangent = np.asarray(cotangent)
        if cotangent.dtype != call.positions.dtype:
            raise TypeError(f"`cotangent` must be {call.positions.dtype}, got {cotangent.dtype}")
        if cotangent.ndim == 3:
            cotangent = cotangent.reshape(len(cotangent), cotangent.shape[1] * cotangent.shape[2])
        found = self._kernel.vjp(self._given(call, columns, kind, attach), cotangent, list(wanted))
        if "positions" in found:
            found["positions"] = call.of_atoms(found["positions"])
        return found

    def kernel(self, a: Any, b: Any = None, zeta: float = 1.0, *, normalize: bool = True) -> np.ndarray:
        """Similarities ``(a . b / |a| |b|)^zeta`` [rows of a, rows of b] of environments; b None: of a with itself.

        `a` and `b` are systems, results of `compute` or arrays [rows, D]. Systems are computed with the columns of both. A row
        of zeros is similar to nothing.
        """
        zeta = number("zeta", zeta)
        if not (zeta > 0 and np.isfinite(zeta)):
            raise ValueError(f"`zeta` must be a positive finite number, got {zeta}")
        given = [x for x in (a, b) if x is not None]
        batches = [self._systems(x) for x in given if not isinstance(x, (np.ndarray, Descriptors))]
        species = self._columns
        if species is None and batches:
            species = tuple(sorted(set().union(*(columns_of(s, None) for s in batches))))
        rows = []
        for x in given:
            values = x if isinstance(x, np.ndarray) else x.values if isinstance(x, Descriptors) else None
            values = self.compute(x, species=species).values if values is None else values
            if values.ndim != 2:
                raise ValueError(f"`a` and `b` must be rows of features [rows, D], got {list(values.shape)}")
            if normalize:
                norm = np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
                values = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
            rows.append(values)
        if rows[0].shape[1] != rows[-1].shape[1]:
            raise ValueError(f"`b` must have the D = {rows[0].shape[1]} features of `a`, got {rows[-1].shape[1]}")
        product = rows[0] @ rows[-1].T
        if zeta == 1.0:
            return product
        return product ** (int(zeta) if zeta.is_integer() else zeta)

    def to_featomic_blocks(self, systems: Any, of: str | None = None, species: Any = None) -> list[Block]:
        """The result as featomic's sparse blocks: its keys, samples, order and properties.

        `of` : "power", "radial" or "coefficients" (its spherical expansion, values [n, m, n_radial]); None: `spectrum`.
        """
        from ._peers import featomic_blocks

        kind = self.spectrum if of is None else choice("of", of, ("power", "radial", "coefficients"))
        return featomic_blocks(self, self._systems(systems), kind, species)

    def _systems(self, systems: Any) -> Any:
        from valence.atoms import as_systems

        batch = as_systems(systems)
        if self.dtype is not None and batch.positions.dtype != self.dtype:
            batch = batch.replace(positions=batch.positions.astype(self.dtype))
        return batch

    def _given(self, call: Centers, columns: tuple[int, ...], kind: str, attach: bool = True) -> tuple:
        """The arrays of a native call."""
        weights = [] if self._weights is None else [self._weights.get(z) for z in columns]
        if None in weights:
            missing = columns[weights.index(None)]
            raise ValueError(f"`species_weights` must name each species, got none for {missing}")
        s = call.systems
        pbc = s.pbc if self.periodic is None else np.zeros_like(s.pbc)
        layout = (kind, self.convention, self.compression or "none", self.average or "none")
        if kind == "coefficients":
            layout = (kind, "featomic", "none", "none")
        place = (call.positions, call.numbers, call.offsets, s.cell, pbc)
        return (*place, bytes(columns), weights, call.centers, layout, self._portable, attach)

    def _features(self, kind: str, columns: tuple[int, ...]) -> int:
        """D of a call (coefficients: S F), from a call of no atoms."""
        offsets, empty = np.zeros(1, np.int64), np.zeros((0, 3, 3))
        layout = (kind, self.convention, self.compression or "none", "none")
        atoms = (np.zeros((0, 3)), np.zeros(0, np.uint8), offsets, empty, np.zeros((0, 3), bool))
        return self._kernel.compute((*atoms, bytes(columns), [], None, layout, False, True)).shape[1]

    def _labels(self, kind: str, columns: tuple[int, ...]) -> dict[str, Any]:
        counts = self.num_radial
        if kind == "power":
            rows = _native.power_labels(list(counts), len(columns), self.convention, self.compression or "none")
            # A sum over species has no number.
            number_of = np.array([*columns, 0])
            names = ("l", "species_1", "species_2", "n_1", "n_2")
            values = (rows[:, 0], number_of[rows[:, 1]], number_of[rows[:, 2]], rows[:, 3], rows[:, 4])
            return dict(zip(names, values))
        if kind == "radial":
            return {"species": np.repeat(columns, counts[0]), "n": np.tile(np.arange(counts[0]), len(columns))}
        lnm = [(l, n, m) for l, k in enumerate(counts) for n in range(k) for m in range(-l, l + 1)]
        l, n, m = np.array(lnm).reshape(-1, 3).T
        names = {"l": l, "n": n, "m": m}
        tiled = {k: np.tile(v, len(columns)) for k, v in names.items()}
        return {"species": np.repeat(columns, len(l)), **tiled}

    def _names(self, columns: tuple[int, ...]) -> np.ndarray:
        labels = self._labels(self.spectrum, columns)
        rows = zip(*labels.values())
        return np.array([" ".join(f"{k}={v}" for k, v in zip(labels, row)) for row in rows], dtype=object)


def _remade(parameters: dict[str, Any], portable: bool, species: tuple[int, ...] | None) -> Soap:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was warned of when it was made
        made = Soap(**parameters)
    made._portable = portable
    if species is not None:
        made.species_ = species
    return made
