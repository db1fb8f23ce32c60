"""Descriptors of environments: SOAP and AniSOAP."""

from ._results import Block, Descriptors, Jacobian
from .soap import Soap

__all__ = ["Block", "Descriptors", "Jacobian", "Soap"]
