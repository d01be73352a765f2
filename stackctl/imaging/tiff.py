"""Writes one TIFF page: 8 or 16 bits, 1 to 4 channels, deflate with the horizontal predictor, ICC and EXIF.

Neither Pillow (no 16-bit colour, no EXIF directory beside a compression) nor OpenCV (no metadata) writes all of these.
An EXIF block is a TIFF file without an image, whose offsets count from its start: so the file begins with the block as
it is, pixels follow, and a new first directory joins the block's descriptive entries with those of the image.
Source: TIFF revision 6.0; predictor and deflate: Adobe's technical notes 1995 and 2002.
"""

from __future__ import annotations

import io
import struct
from typing import Literal

import numpy as np

from .backends import Levels
from .deflate import whole_stream
from .metadata import DESCRIPTIVE_TAGS, Metadata, directory_entries

_STRIP_BYTES = 1 << 18
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_FORMATS = {_SHORT: "H", _LONG: "I", _UNDEFINED: "B"}


class TiffWriter:
    """Writes one canvas (H×W×C levels). `make` may run in any thread and order, `add` takes strips in order."""

    def __init__(self, canvas: Levels, carried: Metadata) -> None:
        self._canvas = canvas
        self._carried = carried
        block = carried.exif or b"II*\0\0\0\0\0"
        self._order: Literal["<", ">"] = "<" if block[:2] == b"II" else ">"
        _, width, channels = canvas.shape
        self.rows_per_band = max(1, _STRIP_BYTES // (width * channels * canvas.dtype.itemsize))
        self._offsets: list[int] = []
        self._counts: list[int] = []
        self._out = io.BytesIO()
        self._out.write(block)

    def make(self, first: int, last: int) -> bytes:
        """Return rows [first, last) as a strip."""
        strip = self._canvas[first:last]
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]  # wraps around, as the predictor is defined
        ordered = differences.astype(strip.dtype.newbyteorder(self._order), copy=False)
        return whole_stream(ordered.view(np.uint8))

    def add(self, strip: bytes) -> None:
        """Append the next strip."""
        self._offsets.append(_append(self._out, strip))
        self._counts.append(len(strip))

    def finish(self) -> bytes:
        """Write the directory and return the file."""
        out, order = self._out, self._order
        kept = directory_entries(self._carried.exif).items()
        entries = {tag: entry for tag, entry in kept if tag in DESCRIPTIVE_TAGS}
        for tag, (kind, values) in self._fields().items():
            entries[tag] = _entry(out, order, tag, kind, values)
        directory = struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
        start = _append(out, directory + struct.pack(order + "I", 0))
        out.seek(4)
        out.write(struct.pack(order + "I", start))
        return out.getvalue()

    def _fields(self) -> dict[int, tuple[int, list[int] | bytes]]:
        height, width, channels = self._canvas.shape
        fields: dict[int, tuple[int, list[int] | bytes]] = {
            256: (_LONG, [width]),
            257: (_LONG, [height]),
            258: (_SHORT, [self._canvas.dtype.itemsize * 8] * channels),
            259: (_SHORT, [8]),  # deflate
            262: (_SHORT, [2 if channels > 2 else 1]),  # RGB or black is zero
            273: (_LONG, self._offsets),
            274: (_SHORT, [1]),
            277: (_SHORT, [channels]),
            278: (_LONG, [self.rows_per_band]),
            279: (_LONG, self._counts),
            284: (_SHORT, [1]),  # channels interleaved
            317: (_SHORT, [2]),  # horizontal predictor
            339: (_SHORT, [1] * channels),  # unsigned
        }
        if channels in {2, 4}:
            fields[338] = (_SHORT, [2])  # the last channel is alpha, not premultiplied
        if self._carried.icc:
            fields[34675] = (_UNDEFINED, self._carried.icc)
        return fields


def _entry(out: io.BytesIO, order: str, tag: int, kind: int, values: list[int] | bytes) -> bytes:
    """Return the 12 bytes of a directory entry; what does not fit into 4 bytes is appended to the file."""
    content = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)
    head = struct.pack(order + "HHI", tag, kind, len(values))
    if len(content) <= 4:
        return head + content.ljust(4, b"\0")
    return head + struct.pack(order + "I", _append(out, content))


def _append(out: io.BytesIO, content: bytes) -> int:
    """Append at an even offset and return it."""
    end = out.seek(0, io.SEEK_END)
    out.write(b"\0" * (end % 2))
    out.write(content)
    return end + end % 2
