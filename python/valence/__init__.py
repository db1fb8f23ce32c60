"""Valence: neighbour lists, equivariant operators, descriptors and models for atomistic machine learning."""

from valence._native import get_num_threads, set_num_threads

__version__ = "0.1.0"
__all__ = ["get_num_threads", "set_num_threads"]
