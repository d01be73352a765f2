"""Writes PNG: 8 or 16 bits, 1 to 4 channels, in bands that several threads may make.

Every row is filtered with the average of left and up, which suits what an upscaling network answers better than what
libpng takes by default. Source: PNG 3rd edition, chapters 5, 9 and 11.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backends import Levels
from .deflate import HEADER, LAST_BLOCK, joined_adler, part_of_stream
from .metadata import Metadata, png_chunk, png_chunks

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_AVERAGE = 3
BAND_BYTES = 1 << 18
"""Raw bytes of a band: it and what its filter needs fit into a core's cache."""


@dataclass(frozen=True)
class Band:
    """Some rows, compressed; `adler` and `length` are those of their filtered bytes."""

    data: bytes
    adler: int
    length: int


class PngWriter:
    """Writes one canvas (H×W×C levels). `make` may run in any thread and order, `add` takes bands in order."""

    def __init__(self, canvas: Levels, carried: Metadata) -> None:
        height, width, channels = canvas.shape
        self._rows = canvas.reshape(height, width * channels)
        self._pixel_bytes = channels * canvas.dtype.itemsize
        self.rows_per_band = max(1, BAND_BYTES // (width * self._pixel_bytes))
        self._adler = 1  # of nothing
        self._begun = False
        self._out = io.BytesIO()
        kind = (canvas.dtype.itemsize * 8, _COLOUR_TYPES[channels], 0, 0, 0)
        self._out.write(_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind)))
        self._out.write(png_chunks(carried))

    def make(self, first: int, last: int) -> Band:
        """Return rows [first, last) filtered and compressed; the row above them must be final too."""
        filtered = self._filter(first, last)
        return Band(part_of_stream(filtered), zlib.adler32(filtered.data), filtered.nbytes)

    def add(self, band: Band) -> None:
        """Append the next band."""
        self._out.write(png_chunk(b"IDAT", band.data if self._begun else HEADER + band.data))
        self._begun = True
        self._adler = joined_adler(self._adler, band.adler, band.length)

    def finish(self) -> bytes:
        """Return the file."""
        self._out.write(png_chunk(b"IDAT", LAST_BLOCK + struct.pack(">I", self._adler)))
        self._out.write(png_chunk(b"IEND", b""))
        return self._out.getvalue()

    def _bytes(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return rows as bytes in the file's order: the high byte of 16 bits first."""
        rows = self._rows[first:last]
        return rows if rows.dtype == np.uint8 else rows.astype(">u2").view(np.uint8)

    def _filter(self, first: int, last: int) -> NDArray[np.uint8]:
        step = self._pixel_bytes
        rows = self._bytes(first, last)
        up = np.empty_like(rows)
        up[0] = self._bytes(first - 1, first)[0] if first else 0
        up[1:] = rows[:-1]
        left = np.zeros_like(rows)
        left[:, step:] = rows[:, :-step]
        filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _AVERAGE
        differing = left ^ up
        left &= up
        left += differing >> 1  # the average, rounded down, of two bytes without a ninth bit
        np.subtract(rows, left, out=filtered[:, 1:])
        return filtered
