"""Deflate for bands of an image: fast, and joinable, so that bands can be compressed by several threads.

zlib-ng halves the time where it is installed; zlib answers alike without it. Both release the interpreter's lock. The
strategy is run lengths at level 1: what a predictor leaves of a photo has runs of zeros but no repeated strings, and
looking for those costs time and bytes (`docs/decisions/0075`).
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

RAW, WRAPPED = -15, 15
"""Window bits of a bare deflate stream and of one with zlib's header and checksum."""
HEADER = b"\x78\x01"
"""What a zlib stream begins with."""
LAST_BLOCK = b"\x03\x00"
"""An empty last block: ends a stream that was made of flushed parts."""
_LEVEL, _MEMORY = 1, 9
_ADLER = 65_521


def whole_stream(content: bytes | NDArray[np.uint8]) -> bytes:
    """Return a complete zlib stream."""
    stream = _stream(WRAPPED)
    return bytes(stream.compress(content) + stream.flush())


def part_of_stream(content: bytes | NDArray[np.uint8]) -> bytes:
    """Return a part of a bare deflate stream that ends on a byte: parts and `LAST_BLOCK` in a row are a stream."""
    stream = _stream(RAW)
    return bytes(stream.compress(content) + stream.flush(zlib.Z_SYNC_FLUSH))


def joined_adler(first: int, second: int, length: int) -> int:
    """Return the Adler-32 of two contents in a row from that of each; `length` in bytes is the second's.

    Formula: zlib's `adler32_combine`.
    """
    low = ((first & 0xFFFF) + (second & 0xFFFF) - 1) % _ADLER
    high = ((first >> 16) + (second >> 16) + length * ((first & 0xFFFF) - 1)) % _ADLER
    return high << 16 | low


def inflater() -> Any:
    """Return a decompressor of one zlib stream, as `zlib.decompressobj` makes it."""
    return _library().decompressobj()


def _stream(window: int) -> Any:
    return _library().compressobj(_LEVEL, zlib.DEFLATED, window, _MEMORY, zlib.Z_RLE)


def _library() -> ModuleType:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    library: ModuleType = zlib_ng
    return library
