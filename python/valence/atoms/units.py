"""Units: inside Valence lengths are Angstrom, energies eV, charges e; others live at the borders of file formats.

A constant is the size of the unit in these: `5.0 * units.bohr` is 5 bohr in Angstrom, `energy / units.kcal_mol` an
energy in kcal/mol. Values are CODATA 2018 (Tiesinga, Mohr, Newell, Taylor, Rev. Mod. Phys. 93, 025010, 2021); those marked exact
follow from the definitions of the SI of 2019.

Examples
--------
>>> round(convert(1.0, "Hartree", "kcal/mol"), 6)
627.509474
"""

from __future__ import annotations

import math
from typing import TypeVar

E_CHARGE = 1.602176634e-19
"""Elementary charge in C, exact."""
AVOGADRO = 6.02214076e23
"""Avogadro constant in 1/mol, exact."""
BOLTZMANN = 1.380649e-23
"""Boltzmann constant in J/K, exact."""
PLANCK = 6.62607015e-34
"""Planck constant in J s, exact."""
LIGHT = 299792458.0
"""Speed of light in m/s, exact."""
EPSILON_0 = 8.8541878128e-12
"""Vacuum electric permittivity in F/m."""
ATOMIC_MASS = 1.66053906660e-27
"""Unified atomic mass unit in kg."""

angstrom = 1.0
bohr = 0.529177210903
nm = 10.0
pm = 0.01
metre = 1e10

eV = 1.0
meV = 1e-3
hartree = 27.211386245988
rydberg = hartree / 2
joule = 1.0 / E_CHARGE
kJ_mol = 1e3 / (AVOGADRO * E_CHARGE)
kcal_mol = 4.184 * kJ_mol
inverse_cm = PLANCK * LIGHT * 100 / E_CHARGE
k_B = BOLTZMANN / E_CHARGE
"""Boltzmann constant in eV/K: the energy of one kelvin."""

e = 1.0
coulomb = 1.0 / E_CHARGE
debye = 1e-21 / LIGHT / E_CHARGE * 1e10
"""1 D = 1e-21 C m^2/s / c, in e Angstrom."""

pascal = 1e-30 / E_CHARGE
GPa = 1e9 * pascal
bar = 1e5 * pascal
atm = 101325 * pascal

dalton = 1.0
electron_mass = 5.48579909065e-4
"""Electron mass in dalton."""
fs = 1.0
ps = 1e3

coulomb_constant = E_CHARGE / (4 * math.pi * EPSILON_0) * 1e10
"""e^2 / (4 pi epsilon_0) in eV Angstrom: 14.3996..."""

_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("Å", "A", "Angstrom", "angstrom"), ("length", angstrom)),
    **dict.fromkeys(("Bohr", "bohr", "a0"), ("length", bohr)),
    "nm": ("length", nm),
    "pm": ("length", pm),
    "m": ("length", metre),
    "eV": ("energy", eV),
    "meV": ("energy", meV),
    **dict.fromkeys(("Hartree", "hartree", "Ha", "Eh"), ("energy", hartree)),
    **dict.fromkeys(("Rydberg", "rydberg", "Ry"), ("energy", rydberg)),
    "J": ("energy", joule),
    "kJ/mol": ("energy", kJ_mol),
    "kcal/mol": ("energy", kcal_mol),
    "cm^-1": ("energy", inverse_cm),
    "K": ("energy", k_B),
    "eV/Å": ("force", 1.0),
    "eV/A": ("force", 1.0),
    "Hartree/Bohr": ("force", hartree / bohr),
    "kcal/mol/Å": ("force", kcal_mol),
    "kcal/mol/A": ("force", kcal_mol),
    "kJ/mol/nm": ("force", kJ_mol / nm),
    "eV/Å^3": ("pressure", 1.0),
    "eV/A^3": ("pressure", 1.0),
    "Pa": ("pressure", pascal),
    "GPa": ("pressure", GPa),
    "bar": ("pressure", bar),
    "atm": ("pressure", atm),
    "e": ("charge", e),
    "C": ("charge", coulomb),
    **dict.fromkeys(("e Å", "e A"), ("dipole", 1.0)),
    **dict.fromkeys(("Debye", "debye", "D"), ("dipole", debye)),
    "e Bohr": ("dipole", bohr),
    "fs": ("time", fs),
    "ps": ("time", ps),
    **dict.fromkeys(("Da", "u", "amu"), ("mass", dalton)),
    "electron mass": ("mass", electron_mass),
}

T = TypeVar("T")


def convert(value: T, source: str, target: str) -> T:
    """A value (number or array of floats) in another unit of the same quantity.

    Units: Å Bohr nm pm m · eV meV Hartree Ry J kJ/mol kcal/mol cm^-1 K · eV/Å Hartree/Bohr kcal/mol/Å kJ/mol/nm ·
    eV/Å^3 Pa GPa bar atm · e C · "e Å" "e Bohr" Debye · fs ps · Da "electron mass". "A" may stand for "Å".

    Raises
    ------
    ValueError for an unknown unit or units of different quantities.
    """
    for name, unit in (("source", source), ("target", target)):
        if unit not in _UNITS:
            raise ValueError(f"`{name}` must be one of {', '.join(_UNITS)}, got {unit}")
    (quantity, size), (wanted, other) = _UNITS[source], _UNITS[target]
    if quantity != wanted:
        raise ValueError(f"`target` must be a unit of {quantity} as {source} is, got {target}")
    return value * (size / other)  # type: ignore[operator]
