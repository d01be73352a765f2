"""The one kind of PNG that neither Pillow nor OpenCV writes: grey with alpha in 16 bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .backends import Levels
from .metadata import Metadata, into_png, png_chunk

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_grey_alpha_16(levels: Levels, carried: Metadata) -> bytes:
    """Return H×W×2 uint16 levels (grey, alpha) as PNG with its metadata."""
    height, width, _ = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    rows = np.zeros((height, 1 + width * 4), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = levels.astype(">u2").view(np.uint8).reshape(height, width * 4)
    body = zlib.compress(rows.tobytes())
    plain = _SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    return into_png(plain, carried)
