"""Image bytes in, upscaled image bytes out: probe, decode, tile, infer, encode.

Pure: no network, no registry, nothing of the rest of the product, relative imports only. A copy of this package travels
inside every registered model version, so that a version answers the same after the product has moved on.
"""

from __future__ import annotations

from .errors import (
    AnimatedImage,
    BackendError,
    BadOption,
    CorruptImage,
    ImageTooLarge,
    ImagingError,
    UnsupportedFormat,
)
from .golden import GoldenResult, compare_answers, compare_golden
from .memory import peak_bytes
from .network import Network
from .options import FORMATS, Limits, Options
from .probe import ImageInfo, probe
from .upscale import Report, upscale

__all__ = [
    "FORMATS",
    "AnimatedImage",
    "BackendError",
    "BadOption",
    "CorruptImage",
    "GoldenResult",
    "ImageInfo",
    "ImageTooLarge",
    "ImagingError",
    "Limits",
    "Network",
    "Options",
    "Report",
    "UnsupportedFormat",
    "compare_answers",
    "compare_golden",
    "peak_bytes",
    "probe",
    "upscale",
]
