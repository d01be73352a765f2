"""ICC profiles, a PNG's colour chunks and EXIF blocks: read, corrected, and put into encoded bytes.

Sources: PNG 3rd edition (chunks iCCP, cICP, sRGB, gAMA, cHRM, eXIf), ICC.1:2010 annex B (APP2 segments),
Exif 2.32 (APP1).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .integrity import png_part

if TYPE_CHECKING:
    from PIL import Image

_EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_SEGMENT = 65_533
_ICC_NAME = b"ICC_PROFILE\0"
_COLOUR_CHUNKS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_SRGB = {
    b"gAMA": struct.pack(">I", 45_455),
    b"cHRM": struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000),
}
DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432, 34665, 34853)
"""Description, make, model, software, date, artist, copyright, EXIF and GPS directories."""


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels. `exif` starts at the TIFF header; its orientation is 1.

    `png_colour` are the chunks, whole, by which a PNG names its colours without a profile, or beside one (cICP); empty
    where they say sRGB, which is what everyone takes for granted.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    png_colour: bytes = b""


def read(image: Image.Image, data: bytes, *, keep_icc: bool) -> Metadata:
    """Return the metadata of an image opened from these bytes.

    The EXIF orientation is reset, as pixels are turned when decoded.
    """
    icc = image.info.get("icc_profile") if keep_icc else None
    if image.format == "TIFF":
        exif: bytes | None = _tiff_exif(image)
    elif image.format == "PNG":
        exif = png_part(data, b"eXIf")  # it may follow the rows, which Pillow has not reached yet
    else:
        exif = image.info.get("exif")
    colour = _png_colour(data, with_icc=bool(icc)) if image.format == "PNG" else b""
    return Metadata(icc=icc or None, exif=_upright(exif) if exif else None, png_colour=colour)


def _png_colour(data: bytes, *, with_icc: bool) -> bytes:
    """Return what outranks the profile, or all where there is none, unless it is sRGB (PNG 3rd edition, 4.3)."""
    found: dict[bytes, bytes] = {}
    for name in (b"cICP", b"sRGB", b"gAMA", b"cHRM"):
        body = png_part(data, name)
        if body is not None and len(body) == _COLOUR_CHUNKS[name]:
            found[name] = body
    if with_icc:
        found = {name: body for name, body in found.items() if name == b"cICP"}
    if b"cICP" not in found and (b"sRGB" in found or all(_SRGB[name] == body for name, body in found.items())):
        return b""
    return b"".join(png_chunk(name, body) for name, body in found.items())


def _tiff_exif(image: Image.Image) -> bytes | None:
    from PIL import Image as Pillow

    source, kept = image.getexif(), Pillow.Exif()
    for tag in DESCRIPTIVE_TAGS:
        if tag in {34665, 34853}:
            if directory := source.get_ifd(tag):
                kept[tag] = dict(directory)
        elif tag in source:
            kept[tag] = source[tag]
    return kept.tobytes() if len(kept) else None


def _upright(exif: bytes) -> bytes | None:
    """Return the block with orientation 1, changed in place so that nothing else moves; None when it is broken."""
    block = exif.removeprefix(_EXIF_PREFIX)
    try:
        found = directory_entries(block).get(_ORIENTATION)
    except struct.error:
        return None
    if found is None:
        return block
    order = _BYTE_ORDERS[block[:2]]
    return block.replace(found, struct.pack(order + "HHIHH", _ORIENTATION, 3, 1, 1, 0), 1)


def directory_entries(exif: bytes | None) -> dict[int, bytes]:
    """Return tag → 12 bytes of the first directory of an EXIF block (or TIFF file).

    Raises:
        struct.error: the block is no EXIF block.
    """
    if exif is None:
        return {}
    order = _BYTE_ORDERS.get(exif[:2])
    if order is None:
        raise struct.error("no byte order mark")
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    entries: dict[int, bytes] = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (entry,) = struct.unpack_from("12s", exif, at)
        (tag,) = struct.unpack_from(order + "H", entry)
        entries[tag] = entry
    return entries


def png_chunks(metadata: Metadata) -> bytes:
    """Return the chunks of colour and the eXIf chunk; they stand between IHDR and IDAT."""
    chunks = metadata.png_colour
    if metadata.icc:
        chunks += png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc))
    if metadata.exif:
        chunks += png_chunk(b"eXIf", metadata.exif)
    return chunks


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk: length, name, body, checksum."""
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))))


def into_jpeg(encoded: bytes | memoryview, metadata: Metadata) -> tuple[bytes, tuple[str, ...]]:
    """Return the JPEG with APP1 and APP2 segments after its start, and what did not fit."""
    segments, dropped = b"", []
    if metadata.exif:
        body = _EXIF_PREFIX + metadata.exif
        if len(body) <= _SEGMENT:
            segments += _segment(0xE1, body)
        else:
            dropped.append("exif")
    if metadata.icc:
        size = _SEGMENT - len(_ICC_NAME) - 2
        parts = [metadata.icc[at : at + size] for at in range(0, len(metadata.icc), size)]
        if len(parts) <= 255:
            for number, part in enumerate(parts, start=1):
                segments += _segment(0xE2, _ICC_NAME + bytes([number, len(parts)]) + part)
        else:
            dropped.append("icc")
    plain = memoryview(encoded)
    return b"".join((plain[:2], segments, plain[2:])), tuple(dropped)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
