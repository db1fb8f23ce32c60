"""Descriptors of environments: AniSOAP."""

from .anisoap import AniSoap
from .anisoap_results import AniSoapCoefficients, AniSoapSpectrum

__all__ = ["AniSoap", "AniSoapCoefficients", "AniSoapSpectrum"]
