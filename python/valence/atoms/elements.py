"""The 118 elements by atomic number."""

_TABLE = """
X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr
Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt
Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc
Lv Ts Og
"""

SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
"""`SYMBOLS[z]` is the symbol of atomic number z, 1 to 118; `SYMBOLS[0]` is "X", which no system may contain."""

NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}
"""The atomic number of each symbol."""


def formula(numbers) -> str:
    """The formula in Hill's order: C, H, then the rest by the alphabet ("C2H6O")."""
    counts: dict[str, int] = {}
    for number in numbers:
        symbol = SYMBOLS[int(number)]
        counts[symbol] = counts.get(symbol, 0) + 1
    order = sorted(counts)
    if "C" in counts:
        order = ["C"] + ["H"] * ("H" in counts) + [s for s in order if s not in ("C", "H")]
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order)
