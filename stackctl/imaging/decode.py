"""Encoded bytes to pixels: turned upright, bit depth kept, grey kept grey.

Pillow decodes 8 bits and 16-bit grey, because it refuses truncated files; OpenCV decodes 16-bit colour, which Pillow
would reduce. What neither notices, `integrity` does.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import metadata
from .errors import CorruptImage, ImageTooLarge, ImagingError
from .integrity import check_png, read_jpeg, with_other_end
from .probe import ImageInfo, open_lazily, orientation_of
from .tiff_header import ASSOCIATED, EXTRA, PHOTOMETRIC, read_directory

if TYPE_CHECKING:
    from PIL import Image

    from .backends import Levels

_WORKING_BYTES = {8: 14, 16: 20}
"""Bytes per pixel while decoding: Pillow takes 4 for any colour, and a JPEG is decoded twice."""
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
        UnsupportedFormat: a JPEG with another coding than baseline or progressive.
        ImageTooLarge: there is not enough memory.
    """
    _check_memory(info)
    if info.format == "png":
        check_png(data)
    image = open_lazily(data, info.format)
    deep_colour = info.bit_depth == 16 and info.source_mode not in {"I;16", "I;16B", "I;16L", "I;16N"}
    try:
        carried = metadata.read(image, data, keep_icc=info.source_mode != "CMYK")
        pixels = _deep(data, info, image) if deep_colour else _plain(data, image, info)
    except ImagingError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"There is not enough memory to decode {info.width}×{info.height} pixels.") from error
    except Exception as error:  # whatever a decoder raises on broken bytes means that they are broken
        raise CorruptImage(f"The {info.format} image cannot be decoded: {error}") from error
    # Pillow turns TIFF files by itself and drops the tag.
    if deep_colour or orientation_of(image, data) == info.orientation:
        pixels = _turn(pixels, info.orientation)
    if pixels.shape != (info.height, info.width, info.channels):
        raise CorruptImage(f"The {info.format} image has {pixels.shape} pixels, not what its header says.")
    if not info.has_alpha:
        return Decoded(np.ascontiguousarray(pixels), None, carried)
    return Decoded(np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1]), carried)


def _check_memory(info: ImageInfo) -> None:
    """Refuse what there is no memory for: some decoders then say that the file is broken."""
    try:
        np.empty(info.width * info.height * _WORKING_BYTES[info.bit_depth], np.uint8)  # reserved, not touched
    except MemoryError as error:
        raise ImageTooLarge(f"There is not enough memory to decode {info.width}×{info.height} pixels.") from error


def _plain(data: bytes, image: Image.Image, info: ImageInfo) -> Levels:
    image.load()
    if info.format == "jpeg":
        _check_jpeg(data, image)
    if info.bit_depth == 16:
        return _deep_grey(image, info)
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    elif image.mode != _WANTED[info.mode]:
        if info.format == "png" and info.mode == "grey_alpha":
            _widen_key(data, image)
        image = image.convert(_WANTED[info.mode])
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _deep_grey(image: Image.Image, info: ImageInfo) -> Levels:
    levels = np.asarray(image).astype(np.uint16)
    if info.format == "tiff" and image.tag_v2.get(PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        levels = ~levels  # white is zero, which Pillow minds in 8 bits only
    if info.mode == "grey_alpha":
        opaque = np.where(levels == image.info["transparency"], 0, 65535).astype(np.uint16)
        return np.dstack([levels, opaque])
    return levels[:, :, None]


def _widen_key(data: bytes, image: Image.Image) -> None:
    """Stretch the transparent level of 2 and 4 bits as the pixels were: Pillow compares it as it stands in the file."""
    depth, key = data[24], image.info.get("transparency")
    if depth in {2, 4} and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)


def _check_jpeg(data: bytes, image: Image.Image) -> None:
    """Refuse a JPEG with missing bits: libjpeg makes up flat ones."""
    other = open_lazily(with_other_end(data, read_jpeg(data)), "jpeg")
    other.load()
    if image.tobytes() != other.tobytes():
        raise CorruptImage("The jpeg image holds fewer pixels than its header promises.")


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
    pixels: Levels = np.asarray(read, dtype=np.uint16)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if info.mode == "grey_alpha":
        pixels = pixels[:, :, [0, pixels.shape[2] - 1]]
    elif pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: info.channels]]
    if info.format == "tiff" and info.has_alpha and read_directory(data).one(EXTRA, 0) == ASSOCIATED:
        pixels = _divided_by_alpha(pixels)
    return pixels


def _divided_by_alpha(pixels: Levels) -> Levels:
    """Return 16-bit pixels whose colours are no longer multiplied by their alpha."""
    alpha = np.maximum(pixels[:, :, -1:], 1).astype(np.float32)
    colour = np.minimum(np.rint(pixels[:, :, :-1] * (np.float32(65535) / alpha)), 65535)
    return np.dstack([colour.astype(np.uint16), pixels[:, :, -1]])


def _turn(pixels: Levels, orientation: int) -> Levels:
    """Return the pixels as they are meant to be seen (EXIF 2.32, tag 0x0112)."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels
