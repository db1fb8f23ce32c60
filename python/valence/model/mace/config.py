"""What a MACE file says of its network. What is not known here is refused by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from valence.equivariant.irreps import Irrep, Irreps
from valence.model.reading import Reader

__all__ = ["Interaction", "MaceConfig"]


@dataclass(frozen=True)
class Interaction:
    """A kind of interaction block: whether it divides by the density, whether its input skips to after the product, whether
    its messages pass through a gate and its radial network sees both elements.
    """

    density: bool
    residual: bool
    nonlinear: bool = False


INTERACTIONS = {
    "RealAgnosticInteractionBlock": Interaction(False, False),
    "RealAgnosticResidualInteractionBlock": Interaction(False, True),
    "RealAgnosticDensityInteractionBlock": Interaction(True, False),
    "RealAgnosticDensityResidualInteractionBlock": Interaction(True, True),
    "RealAgnosticResidualNonLinearInteractionBlock": Interaction(True, True, True),
}
MODELS = ("MACE", "ScaleShiftMACE")
RADIAL = ("bessel", "gaussian", "chebyshev")
TRANSFORMS = ("None", "Agnesi", "Soft")
READOUTS = ("LinearReadoutBlock", "NonLinearReadoutBlock")
#: Activation -> what it is multiplied with, so that a normal variable keeps its second moment (e3nn's sampled constants).
GATES = {"silu": 1.6791767923989418, "tanh": 1.5937334472592695, "sigmoid": 1.8467055342154763, "None": 1.0}


@dataclass(frozen=True)
class MaceConfig:
    """The hyper-parameters of one network, all checked. Lists have an entry a layer."""

    model: str
    r_max: float
    atomic_numbers: tuple[int, ...]
    max_ell: int
    group: str
    edge_irreps: Irreps
    num_basis: int
    radial_type: str
    power: int
    apply_cutoff: bool
    distance_transform: str
    pair_repulsion: bool
    interactions: tuple[Interaction, ...]
    node_irreps: tuple[Irreps, ...]
    #: Of the features that travel along edges: those of the nodes unless the file says others.
    up_irreps: tuple[Irreps, ...]
    target_irreps: tuple[Irreps, ...]
    hidden_irreps: tuple[Irreps, ...]
    radial_mlp: tuple[tuple[int, ...], ...]
    avg_num_neighbors: tuple[float, ...]
    correlation: tuple[int, ...]
    agnostic_product: bool
    last_readout_only: bool
    readouts: tuple[str, ...]
    readout_width: int
    gate: str
    heads: tuple[str, ...]
    dtype: str
    convention: str

    @property
    def channels(self) -> int:
        """C, the scalar channels of the node features."""
        return self.node_irreps[0][0][0]

    @property
    def num_layers(self) -> int:
        return len(self.interactions)

    def radial_inputs(self, t: int) -> int:
        """Numbers of an edge that the radial network of a layer takes."""
        return self.num_basis + (2 * self.channels if self.interactions[t].nonlinear else 0)

    @classmethod
    def parse(cls, config: dict[str, Any]) -> MaceConfig:
        """Reads the mapping of a file.

        Raises
        ------
        ValueError, naming the key, where a value is missing, of the wrong kind, or not known.
        """
        get = Reader(config)
        names = get.several("interaction_cls", str, INTERACTIONS)
        layers = len(names)
        if get.one("num_interactions", int) != layers:
            raise ValueError(
                f"`num_interactions` must be {layers} as `interaction_cls` has, got {config['num_interactions']}"
            )
        so3 = "e" not in get.one("edge_sh_irreps", str) and "o" not in config["edge_sh_irreps"]
        group = "SO3" if so3 else "O3_e3nn"
        irreps = {k: tuple(Irreps(t, group) for t in get.several(k, str, length=layers)) for k in IRREPS}
        up = irreps["node_feats_irreps"]
        if "edge_irreps" in config:
            up = tuple(Irreps(t, group) for t in get.several("edge_irreps", str, length=layers))
        found = cls(
            model=get.one("model", str, MODELS),
            r_max=get.number("r_max", lambda r: 0 < r <= 100, "positive and at most 100"),
            atomic_numbers=get.several("atomic_numbers", int),
            max_ell=get.one("max_ell", int),
            group=group,
            edge_irreps=Irreps(config["edge_sh_irreps"], group),
            num_basis=get.one("num_bessel", int),
            radial_type=get.one("radial_type", str, RADIAL),
            power=get.one("num_polynomial_cutoff", int),
            apply_cutoff=get.one("apply_cutoff", bool),
            distance_transform=get.one("distance_transform", str, TRANSFORMS),
            pair_repulsion=get.one("pair_repulsion", bool),
            interactions=tuple(INTERACTIONS[n] for n in names),
            node_irreps=irreps["node_feats_irreps"],
            up_irreps=up,
            target_irreps=irreps["target_irreps"],
            hidden_irreps=irreps["hidden_irreps"],
            radial_mlp=tuple(tuple(sizes) for sizes in get.several("radial_MLP", list, length=layers)),
            avg_num_neighbors=tuple(float(x) for x in get.several("avg_num_neighbors", (int, float), length=layers)),
            correlation=get.several("correlation", int, range(1, 5), layers),
            agnostic_product=get.one("use_agnostic_product", bool),
            last_readout_only=get.one("use_last_readout_only", bool),
            readouts=get.several("readout_cls", str, READOUTS),
            readout_width=Irreps(get.one("MLP_irreps", str), group).dim,
            gate=get.one("gate", str, GATES),
            heads=get.several("heads", str),
            dtype=get.one("dtype", str, ("float32", "float64")),
            convention=get.one("cg_convention", str, ("e3nn04", "e3nn05")),
        )
        get.finish(also=("product_irreps_out", "product_use_sc", "irrep_order", "normalize2mom_silu"))
        found._check(config, irreps)
        return found

    def _check(self, config: dict[str, Any], irreps: dict[str, tuple[Irreps, ...]]) -> None:
        def rule(holds: bool, key: str, what: str, got: Any) -> None:
            if not holds:
                raise ValueError(f"`{key}` must be {what}, got {got}")

        layers = self.num_layers
        rule(0 <= self.max_ell <= 8, "max_ell", "from 0 to 8", self.max_ell)
        rule(1 <= self.num_basis <= 1000, "num_bessel", "from 1 to 1000", self.num_basis)
        rule(
            len(set(self.atomic_numbers)) == len(self.atomic_numbers) > 0,
            "atomic_numbers",
            "distinct",
            self.atomic_numbers,
        )
        rule(all(1 <= z <= 118 for z in self.atomic_numbers), "atomic_numbers", "from 1 to 118", self.atomic_numbers)
        rule(all(n > 0 for n in self.avg_num_neighbors), "avg_num_neighbors", "positive", self.avg_num_neighbors)
        rule(config.get("irrep_order") == "e3nn", "irrep_order", "e3nn", config.get("irrep_order"))
        rule(len(self.heads) > 0, "heads", "at least one name", self.heads)
        even, natural = [1] * (self.max_ell + 1), [(-1) ** l for l in range(self.max_ell + 1)]
        known = [[(1, Irrep(l, p)) for l, p in enumerate(ps)] for ps in (natural, even, [0] * len(even))]
        rule(
            list(self.edge_irreps) in known,
            "edge_sh_irreps",
            f"one irrep of each degree to {self.max_ell}, of natural or of even parity",
            self.edge_irreps,
        )
        scalars = Irreps(config["MLP_irreps"], self.group)
        rule(all(ir == self.edge_irreps[0][1] for _, ir in scalars), "MLP_irreps", "even scalars", scalars)
        wanted = 1 if self.last_readout_only else layers
        rule(len(self.readouts) == wanted, "readout_cls", f"{wanted} names", self.readouts)
        parts = self.edge_irreps.sort("e3nn")[0]
        for key, lists in irreps.items():
            for t, found in enumerate(lists):
                rule(
                    all(mul == self.channels for mul, _ in found), f"{key}[{t}]", f"of {self.channels} channels", found
                )
                rule(all(ir.l <= 8 for _, ir in found), f"{key}[{t}]", "of degree 8 at most", found)
        for t in range(layers):
            expected = Irreps([(self.channels, ir) for _, ir in parts], self.group)
            rule(self.target_irreps[t] == expected, f"target_irreps[{t}]", str(expected), self.target_irreps[t])
            previous = self.hidden_irreps[t - 1] if t else Irreps([(self.channels, parts[0][1])], self.group)
            rule(self.node_irreps[t] == previous, f"node_feats_irreps[{t}]", str(previous), self.node_irreps[t])
            sizes, first = self.radial_mlp[t], self.radial_inputs(t)
            rule(len(sizes) >= 2 and sizes[0] == first, f"radial_MLP[{t}]", f"sizes from {first} on", sizes)
            up = self.up_irreps[t]
            same = len({mul for mul, _ in up}) == 1 and all(ir.l <= 8 for _, ir in up)
            rule(same, f"edge_irreps[{t}]", "of one number of channels and degree 8 at most", up)
            rule(all(isinstance(n, int) and 0 < n < 2**20 for n in sizes), f"radial_MLP[{t}]", "whole numbers", sizes)
        use_sc = [block.residual for block in self.interactions]
        rule(config.get("product_use_sc") == use_sc, "product_use_sc", f"{use_sc}", config.get("product_use_sc"))
        found = config.get("normalize2mom_silu")
        rule(found == GATES["silu"], "normalize2mom_silu", str(GATES["silu"]), found)


IRREPS = ("node_feats_irreps", "target_irreps", "hidden_irreps")
