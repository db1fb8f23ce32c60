"""What a schnetpack file says of its network. What is not known here is refused by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from valence.atoms.units import convert
from valence.model.reading import Reader

__all__ = ["Head", "SchnetpackConfig"]

MODELS = ("schnet", "painn")
BASES = ("gaussian", "gaussian_centered", "bessel")
CUTOFFS = ("cosine", "mollifier")
ACTIVATIONS = ("shifted_softplus", "silu", "tanh")
HEADS = ("energy", "dipole", "polarizability")
#: Of the script that made a network; they do not change what it computes.
NOTES = ("seed", "gain", "description")


@dataclass(frozen=True)
class Head:
    """An output module: its name, the widths of its layers (input and output included) and its activation."""

    name: str
    widths: tuple[int, ...]
    activation: str


@dataclass(frozen=True)
class SchnetpackConfig:
    """The hyper-parameters of one network, all checked."""

    model: str
    channels: int
    filters: int
    layers: int
    radial_basis: str
    num_basis: int
    cutoff: float
    envelope: str
    shared_interactions: bool
    shared_filters: bool
    epsilon: float
    activation: str
    heads: tuple[Head, ...]
    aggregation: str
    add_mean: bool
    add_atomrefs: bool
    extensive: bool
    stddev: float
    correct_charges: bool
    vector_dipole: bool
    energy_unit: float
    length_unit: float

    @classmethod
    def parse(cls, config: dict[str, Any]) -> SchnetpackConfig:
        """Reads the mapping of a file.

        Raises
        ------
        ValueError, naming the key, where a value is missing, of the wrong kind, or not known.
        """
        get = Reader(config)
        model = get.one("model", str, MODELS)
        channels = get.count("n_atom_basis", 4096)
        # SchNet's filters have their own width; PaiNN's do not, and files may still carry the key.
        filters = get.count("n_filters", 4096, default=channels)
        names = get.get("heads", ["energy"])
        if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
            raise ValueError(f"`heads` must be a list of distinct names, got {names!r}")
        heads = tuple(get.check("heads", name, str, HEADS) for name in names)
        energy = "energy" in heads
        units = get.get("units", {"energy": "eV", "length": "Angstrom"})
        if not isinstance(units, dict) or set(units) != {"energy", "length"}:
            raise ValueError(f"`units` must name energy and length, got {units!r}")
        widths = _widths(
            channels,
            get.one("head_n_hidden", (int, list, type(None)), default=None),
            get.count("head_n_layers", 64, default=2),
        )
        activation = get.one("head_activation", str, ACTIVATIONS, default="silu")
        found = cls(
            model=model,
            channels=channels,
            filters=filters if model == "schnet" else channels,
            layers=get.count("n_interactions", 64),
            radial_basis=get.one("radial_basis", str, BASES),
            num_basis=get.count("n_rbf", 4096),
            cutoff=get.number("cutoff", lambda r: 0 < r < 1e3, "positive and below 1000"),
            envelope=get.one("cutoff_fn", str, CUTOFFS),
            shared_interactions=get.one("shared_interactions", bool, default=False),
            shared_filters=get.one("shared_filters", bool, default=False),
            epsilon=get.number("epsilon", lambda e: e > 0, "positive", default=1e-8),
            activation=get.one("activation", str, ACTIVATIONS),
            heads=tuple(Head(name, widths, activation) for name in heads),
            aggregation=get.one("aggregation_mode", str, ("sum", "avg"), **({} if energy else {"default": "sum"})),
            add_mean=get.one("add_mean", bool, default=False),
            add_atomrefs=get.one("add_atomrefs", bool, default=False),
            extensive=get.one("is_extensive", bool, default=True),
            stddev=get.number("stddev", lambda s: s > 0, "positive", default=1.0),
            correct_charges=get.one("correct_charges", bool, default=True),
            vector_dipole=get.one("use_vector_representation", bool, default=model == "painn"),
            energy_unit=float(convert(1.0, str(units["energy"]), "eV")),
            length_unit=float(convert(1.0, str(units["length"]), "Angstrom")),
        )
        get.finish(also=NOTES)
        if model == "schnet" and (found.vector_dipole or "polarizability" in heads):
            raise ValueError("`heads` must not need vectors for schnet, got " + ", ".join(heads))
        if model == "schnet" and found.shared_filters:
            raise ValueError("`shared_filters` must be false for schnet, got True")
        return found


def _widths(channels: int, hidden: Any, layers: int) -> tuple[int, ...]:
    """schnetpack's rule: halved from layer to layer, one width, or a list."""
    if isinstance(hidden, list):
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 4096 for n in hidden):
            raise ValueError(f"`head_n_hidden` must be whole numbers from 1 to 4096, got {hidden!r}")
        return (channels, *hidden, 1)
    if hidden is not None:
        if not 1 <= hidden <= 4096:
            raise ValueError(f"`head_n_hidden` must be from 1 to 4096, got {hidden}")
        return (channels, *[hidden] * (layers - 1), 1)
    found = [channels]
    for _ in range(layers - 1):
        found.append(max(1, found[-1] // 2))
    return (*found, 1)
