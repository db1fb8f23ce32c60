"""SchNet and PaiNN as schnetpack trains them: configuration, weights, heads, conversion."""

from valence.model.schnetpack.config import SchnetpackConfig
from valence.model.schnetpack.parts import Parts

__all__ = ["Parts", "SchnetpackConfig"]
