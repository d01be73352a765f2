"""Encoded bytes to pixels: turned upright, bit depth kept, grey kept grey.

Pillow decodes 8 bits and 16-bit grey, because it refuses truncated files; OpenCV decodes 16-bit colour, which Pillow
would reduce. PNG checksums are verified here: both decoders skip them.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import metadata
from .errors import CorruptImage
from .probe import ImageInfo, open_lazily, orientation_of

if TYPE_CHECKING:
    from PIL import Image

    from .backends import Levels

_WANTED = {"grey": "L", "grey_alpha": "LA", "rgb": "RGB", "rgba": "RGBA"}


@dataclass(frozen=True)
class Decoded:
    """Pixels of one image.

    Attributes:
        colour: H×W×1 (grey) or H×W×3 (RGB in the colour space of `metadata.icc`, sRGB without one), uint8 or uint16.
        alpha: H×W of the same dtype, not premultiplied; None without.
        metadata: ICC profile and EXIF block to carry over.
    """

    colour: Levels
    alpha: Levels | None
    metadata: metadata.Metadata


def decode(data: bytes, info: ImageInfo) -> Decoded:
    """Return the pixels of bytes that `probe` described as `info`.

    Raises:
        CorruptImage: the bytes end early, fail their checksums or contradict their header.
    """
    if info.format == "png":
        _check_png(data)
    image = open_lazily(data, info.format)
    deep_colour = info.bit_depth == 16 and info.source_mode not in {"I;16", "I;16B", "I;16L", "I;16N"}
    try:
        carried = metadata.read(image, keep_icc=info.source_mode != "CMYK")
        pixels = _deep(data, info, image) if deep_colour else _plain(image, info)
    except CorruptImage:
        raise
    except Exception as error:  # whatever a decoder raises on broken bytes means that they are broken
        raise CorruptImage(f"The {info.format} image cannot be decoded: {error}") from error
    if deep_colour or orientation_of(image) == info.orientation:  # Pillow turns TIFF files by itself and drops the tag
        pixels = _turn(pixels, info.orientation)
    if pixels.shape != (info.height, info.width, info.channels):
        raise CorruptImage(f"The {info.format} image has {pixels.shape} pixels, not what its header says.")
    if not info.has_alpha:
        return Decoded(np.ascontiguousarray(pixels), None, carried)
    return Decoded(np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1]), carried)


def _plain(image: Image.Image, info: ImageInfo) -> Levels:
    image.load()
    if info.bit_depth == 16:
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    elif image.mode != _WANTED[info.mode]:
        image = image.convert(_WANTED[info.mode])
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Return the sRGB image: by its own profile through LittleCMS, or by Pillow's plain formula without one."""
    profile = image.info.get("icc_profile")
    if profile:
        from PIL import ImageCms

        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _deep(data: bytes, info: ImageInfo, image: Image.Image) -> Levels:
    import cv2

    if info.format == "tiff":
        image.load()  # OpenCV fills what is missing; Pillow, which loses the depth, refuses it
    read = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16:
        raise CorruptImage(f"The 16-bit {info.format} image cannot be decoded.")
    pixels = read[:, :, None] if read.ndim == 2 else read
    if info.mode == "grey_alpha":
        pixels = pixels[:, :, [0, pixels.shape[2] - 1]]
    elif pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return np.asarray(pixels, dtype=np.uint16)


def _turn(pixels: Levels, orientation: int) -> Levels:
    """Return the pixels as they are meant to be seen (EXIF 2.32, tag 0x0112)."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


def _check_png(data: bytes) -> None:
    """Walk the chunks up to IEND and compare their checksums."""
    at = 8
    view = memoryview(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise CorruptImage(f"The png image is damaged: the checksum at byte {end} is wrong.")
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4
    raise CorruptImage("The png image ends before its last part.")
