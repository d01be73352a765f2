"""Writes one TIFF page: 8 or 16 bits, 1 to 4 channels, deflate with the horizontal predictor, ICC and EXIF.

Neither Pillow (no 16-bit colour, no EXIF directory beside a compression) nor OpenCV (no metadata) writes all of these.
An EXIF block is a TIFF file without an image, whose offsets count from its start: so the file begins with the block as
it is, pixels follow, and a new first directory joins the block's descriptive entries with those of the image.
Source: TIFF revision 6.0; predictor and deflate: Adobe's technical notes 1995 and 2002.
"""

from __future__ import annotations

import struct
import zlib
from typing import Literal

from .backends import Levels
from .metadata import DESCRIPTIVE_TAGS, Metadata, directory_entries

_STRIP_BYTES = 1 << 20
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_FORMATS = {_SHORT: "H", _LONG: "I", _UNDEFINED: "B"}


def write_tiff(pixels: Levels, carried: Metadata) -> bytes:
    """Return H×W×C levels (uint8 or uint16; grey, grey with alpha, RGB or RGBA) as a TIFF file."""
    height, width, channels = pixels.shape
    block = carried.exif or b"II*\0\0\0\0\0"
    order: Literal["<", ">"] = "<" if block[:2] == b"II" else ">"
    out = bytearray(block)
    bits = pixels.dtype.itemsize * 8
    rows = max(1, _STRIP_BYTES // (width * channels * pixels.dtype.itemsize))
    offsets, counts = [], []
    for top in range(0, height, rows):
        strip = _deflate(pixels[top : top + rows], order)
        offsets.append(_append(out, strip))
        counts.append(len(strip))
    entries = {tag: entry for tag, entry in directory_entries(carried.exif).items() if tag in DESCRIPTIVE_TAGS}
    fields: dict[int, tuple[int, list[int] | bytes]] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [bits] * channels),
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [2 if channels > 2 else 1]),  # RGB or black is zero
        273: (_LONG, offsets),
        274: (_SHORT, [1]),
        277: (_SHORT, [channels]),
        278: (_LONG, [rows]),
        279: (_LONG, counts),
        284: (_SHORT, [1]),  # channels interleaved
        317: (_SHORT, [2]),  # horizontal predictor
        339: (_SHORT, [1] * channels),  # unsigned
    }
    if channels in {2, 4}:
        fields[338] = (_SHORT, [2])  # the last channel is alpha, not premultiplied
    if carried.icc:
        fields[34675] = (_UNDEFINED, carried.icc)
    for tag, (kind, values) in fields.items():
        entries[tag] = _entry(out, order, tag, kind, values)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    start = _append(out, directory + struct.pack(order + "I", 0))
    struct.pack_into(order + "I", out, 4, start)
    return bytes(out)


def _deflate(strip: Levels, order: Literal["<", ">"]) -> bytes:
    differences = strip.copy()
    differences[:, 1:] -= strip[:, :-1]  # wraps around, as the predictor is defined
    return zlib.compress(differences.astype(strip.dtype.newbyteorder(order), copy=False).tobytes(), level=1)


def _entry(out: bytearray, order: str, tag: int, kind: int, values: list[int] | bytes) -> bytes:
    """Return the 12 bytes of a directory entry; what does not fit into 4 bytes is appended to the file."""
    content = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)
    head = struct.pack(order + "HHI", tag, kind, len(values))
    if len(content) <= 4:
        return head + content.ljust(4, b"\0")
    return head + struct.pack(order + "I", _append(out, content))


def _append(out: bytearray, content: bytes) -> int:
    """Append at an even offset and return it."""
    out += b"\0" * (len(out) % 2)
    offset = len(out)
    out += content
    return offset
