"""Descriptors of environments: SOAP and AniSOAP."""

from ._results import Block, Descriptors, Jacobian
from .anisoap import AniSoap
from .anisoap_results import AniSoapCoefficients, AniSoapSpectrum
from .soap import Soap

__all__ = ["AniSoap", "AniSoapCoefficients", "AniSoapSpectrum", "Block", "Descriptors", "Jacobian", "Soap"]
