"""How much memory one image needs at its peak, known from its header alone."""

from __future__ import annotations

from .encode import choose_format
from .probe import ImageInfo
from .tiling import MEMORY, plan

RUNTIME = 300 * 1024 * 1024
"""What the process itself, the libraries and the tile in work take beside the pixels."""
_ENCODED_SHARE = {"png": 1.0, "tiff": 1.0, "jpeg": 0.5, "webp": 6.0}
"""Encoded bytes and the encoder's own buffers over raw bytes, at worst for photos (noise does not compress)."""


def peak_bytes(
    info: ImageInfo,
    *,
    scale: int,
    halo: int | None = None,
    outscale: float = 0.0,
    to: str = "auto",
    multiple: int = 1,
    bytes_per_pixel: int = 0,
) -> int:
    """Return the working memory in bytes of upscaling one image, estimated from its header.

    The sum of the decoded input, the raw output, the encoded output, what one tile takes beyond the usual, and what the
    process takes anyway.

    Args:
        info: what `probe` said.
        scale: of the network.
        halo: of the network in pixels; None when unbounded.
        outscale: output size over input size; 0 is the network's own scale.
        to: the output's format; `auto` keeps the input's.
        multiple: of the network, in pixels.
        bytes_per_pixel: of the network's values in one tile; see `Network.bytes_per_pixel`.
    """
    factor = outscale or scale
    height, width = max(1, round(info.height * factor)), max(1, round(info.width * factor))
    sample = info.bit_depth // 8
    given = info.height * info.width * info.channels * sample
    raw = height * width * info.channels * sample
    target = choose_format("auto", info.format, height, width) if to == "auto" else to
    return (
        RUNTIME
        + _tile_beyond(info, halo, multiple, bytes_per_pixel)
        + 2 * given
        + raw
        + int(raw * _ENCODED_SHARE.get(target, 1.0))
    )


def _tile_beyond(info: ImageInfo, halo: int | None, multiple: int, bytes_per_pixel: int) -> int:
    """Return what one tile takes beyond its usual budget: networks with a large field need large tiles."""
    height, width = (-(-side // multiple) * multiple for side in (info.height, info.width))
    rows, columns = plan(height, width, halo, multiple=multiple, bytes_per_pixel=bytes_per_pixel).shape
    return max(0, rows * columns * bytes_per_pixel * 3 // 2 - MEMORY)
