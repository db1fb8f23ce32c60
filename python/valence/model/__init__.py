"""Trained networks and their files."""

from valence.model.file import ModelFile

__all__ = ["ModelFile"]
