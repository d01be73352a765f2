"""Pixels to encoded bytes, with the metadata that the format can hold.

OpenCV encodes PNG and JPEG, Pillow WebP, `tiff` the rest, by the numbers of `docs/decisions/0010`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metadata
from .backends import Levels
from .errors import BackendError, BadOption
from .metadata import Metadata
from .options import Format
from .png import write_grey_alpha_16
from .tiff import write_tiff

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
_LONGEST = {"jpeg": 65_500, "webp": 16_383}


@dataclass(frozen=True)
class Encoded:
    """Encoded bytes and what could not be kept: `alpha`, `depth`, `icc`, `exif`."""

    data: bytes
    format: str
    dropped: tuple[str, ...] = ()


def choose_format(wanted: str, source: Format, height: int, width: int) -> str:
    """Return the output's format: the one asked for, or the source's own where it can hold the result, else PNG.

    Raises:
        BadOption: the format asked for cannot hold an image of this size.
    """
    fits = max(height, width) <= _LONGEST.get(source if wanted == "auto" else wanted, 2**31 - 1)
    if wanted == "auto":
        return source if fits and source != "bmp" else "png"
    if not fits:
        raise BadOption(f"{wanted} cannot hold {width}×{height} pixels; use png or tiff.")
    return wanted


def encode(colour: Levels, alpha: Levels | None, carried: Metadata, *, to: str, quality: int) -> Encoded:
    """Return the image as `to` (png, jpeg, webp, tiff). The arrays are used up: their levels may change places.

    Args:
        colour: H×W×1 or H×W×3, uint8 or uint16.
        alpha: H×W of the same dtype, or None.
        carried: ICC profile and EXIF block.
        to: the format. JPEG lays alpha over white; JPEG and WebP reduce 16 bits to 8.
        quality: of JPEG and WebP, 1 to 100.
    """
    dropped: list[str] = []
    if to in {"jpeg", "webp"} and colour.dtype == np.uint16:
        colour, alpha = _to_8_bits(colour), None if alpha is None else _to_8_bits(alpha)
        dropped.append("depth")
    if to == "jpeg" and alpha is not None:
        colour, alpha = _over_white(colour, alpha), None
        dropped.append("alpha")
    pixels = colour if alpha is None else np.concatenate([colour, alpha[:, :, None]], axis=2)
    match to:
        case "png":
            data = _png(pixels, carried)
        case "jpeg":
            plain = _opencv(".jpg", pixels, "IMWRITE_JPEG_QUALITY", quality)
            data, lost = metadata.into_jpeg(plain, carried)
            dropped += lost
        case "webp":
            data = _pillow(pixels, "WEBP", carried, quality=quality, method=2)
        case _:
            data = write_tiff(pixels, carried)
    return Encoded(data, to, tuple(dropped))


def _png(pixels: Levels, carried: Metadata) -> bytes:
    if pixels.shape[2] == 2:  # grey with alpha: OpenCV cannot
        if pixels.dtype == np.uint8:
            return metadata.into_png(_pillow(pixels, "PNG", Metadata(), compress_level=1), carried)
        return write_grey_alpha_16(pixels, carried)
    return metadata.into_png(_opencv(".png", pixels), carried)


def _opencv(suffix: str, pixels: Levels, parameter: str | None = None, value: int = 0) -> bytes:
    import cv2

    orders: dict[int, Any] = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    order = orders[pixels.shape[2]]
    # In place: a second copy of the largest array would double the peak of memory.
    pixels = np.require(pixels, requirements=["C", "W"])
    ready = pixels if order is None else cv2.cvtColor(pixels, order, dst=pixels)
    done, encoded = cv2.imencode(suffix, ready, [getattr(cv2, parameter), value] if parameter else [])
    if not done:
        raise BackendError(f"OpenCV could not encode {pixels.shape} pixels as {suffix[1:]}.")
    return encoded.tobytes()


def _pillow(pixels: Levels, kind: str, carried: Metadata, **options: Any) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    extras: dict[str, Any] = dict(options)
    if carried.icc:
        extras["icc_profile"] = carried.icc
    if carried.exif:
        extras["exif"] = b"Exif\0\0" + carried.exif
    target = io.BytesIO()
    image.save(target, kind, **extras)
    return target.getvalue()


def _to_8_bits(levels: Levels) -> Levels:
    rounded: Levels = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return rounded


def _over_white(colour: Levels, alpha: Levels) -> Levels:
    share = alpha[:, :, None].astype(np.float32) / np.float32(255)
    laid: Levels = np.rint(colour * share + np.float32(255) * (1 - share)).astype(np.uint8)
    return laid
