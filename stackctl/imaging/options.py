"""What a caller may ask for, checked once at the edge."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import BadOption

Format = Literal["png", "jpeg", "webp", "tiff", "bmp"]
OutputFormat = Literal["auto", "png", "jpeg", "webp", "tiff"]
Precision = Literal["auto", "fp32", "bf16"]
Alpha = Literal["bicubic", "network"]

FORMATS: tuple[Format, ...] = get_args(Format)
"""Formats that are read."""

MAX_OUTSCALE = 16.0
_ALIASES = {"jpg": "jpeg", "tif": "tiff"}


@dataclass(frozen=True)
class Limits:
    """What is refused before any pixel is decoded.

    Attributes:
        max_bytes: of the encoded input.
        max_input_pixels: width × height.
        max_output_pixels: of the output and of what the network makes.
        max_memory: bytes that one image may need at its peak by `peak_bytes`; 0 is no limit.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_input_pixels: int = 4096 * 4096
    max_output_pixels: int = 16384 * 16384
    max_memory: int = 0


@dataclass(frozen=True)
class Options:
    """How one image is upscaled.

    Attributes:
        outscale: output size over input size; 0 is the network's own scale.
        format: the output's format; `auto` keeps the input's (BMP becomes PNG).
        tile: side of a tile's core in input pixels; 0 chooses it.
        precision: arithmetic of the network; `auto` is what the network was loaded with.
        quality: of JPEG and WebP, 1 to 100.
        alpha: what enlarges the alpha channel, `bicubic` or the `network` (as a grey picture).
        limits: what is refused.

    Raises:
        BadOption: for a value outside its range.
    """

    outscale: float = 0.0
    format: str = "auto"
    tile: int = 0
    precision: str = "auto"
    quality: int = 95
    alpha: str = "bicubic"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not math.isfinite(self.outscale) or not 0 <= self.outscale <= MAX_OUTSCALE:
            raise BadOption(
                f"outscale must lie between 0 (the network's own scale) and {MAX_OUTSCALE:g}, not {self.outscale}"
            )
        if self.output_format not in get_args(OutputFormat):
            raise BadOption(f"format must be one of {', '.join(get_args(OutputFormat))}, not {self.format!r}")
        if self.tile < 0 or 0 < self.tile < MIN_TILE:
            raise BadOption(f"tile must be 0 (automatic) or at least {MIN_TILE} pixels, not {self.tile}")
        if self.precision not in get_args(Precision):
            raise BadOption(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")
        if not 1 <= self.quality <= 100:
            raise BadOption(f"quality must lie between 1 and 100, not {self.quality}")
        if self.alpha not in get_args(Alpha):
            raise BadOption(f"alpha must be one of {', '.join(get_args(Alpha))}, not {self.alpha!r}")

    @property
    def output_format(self) -> str:
        """Return `format` in lower case with `jpg` and `tif` spelt out."""
        name = self.format.lower()
        return _ALIASES.get(name, name)


MIN_TILE = 16
