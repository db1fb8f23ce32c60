"""MACE networks (Batatia et al., NeurIPS 2022): configuration, weights, the network from the package's own ops."""

from valence.model.mace.config import Interaction, MaceConfig
from valence.model.mace.parts import Layer, Parts

__all__ = ["Interaction", "Layer", "MaceConfig", "Parts"]
