"""How a notebook shows a batch."""

from __future__ import annotations

from html import escape

from .elements import formula
from .systems import Systems

_ROWS = 8


def html(systems: Systems) -> str:
    """A table of the first systems: formula, atoms, cell lengths, periodic directions, energy and charge if any."""
    energy, charge = systems.info.get("energy"), systems.charge
    heads = ["", "formula", "atoms", "cell / Å", "periodic"]
    heads += ["energy / eV"] * (energy is not None) + ["charge / e"] * (charge is not None)
    rows = []
    for row in range(min(len(systems), _ROWS)):
        first, last = systems.offsets[row], systems.offsets[row + 1]
        lengths = (systems.cell[row] ** 2).sum(axis=1) ** 0.5
        cells = [
            str(row),
            formula(systems.numbers[first:last]) or "(empty)",
            str(last - first),
            " × ".join(f"{v:.2f}" for v in lengths) if lengths.any() else "none",
            "".join(axis for axis, on in zip("abc", systems.pbc[row]) if on) or "open",
        ]
        cells += [str(energy[row])] if energy is not None else []
        cells += [str(charge[row])] if charge is not None else []
        rows.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    head = "<tr>" + "".join(f"<th>{escape(h)}</th>" for h in heads) + "</tr>"
    more = f"<p>… {len(systems) - _ROWS} more</p>" if len(systems) > _ROWS else ""
    return f"<div><p>{escape(repr(systems))}</p><table>{head}{''.join(rows)}</table>{more}</div>"
