"""Small encoded images of every kind for tests of the image engine, made here so that none has to be committed."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[np.unsignedinteger[Any]]


def noise(height: int, width: int, channels: int = 3, *, depth: int = 8, seed: int = 0) -> Levels:
    """Return smooth-ish random H×W×C levels of 8 or 16 bits."""
    draw = np.random.default_rng(seed)
    peak = 2**depth - 1
    coarse = draw.integers(0, peak, (height // 4 + 2, width // 4 + 2, channels)).astype(np.float32)
    rows, columns = np.arange(height) / 4, np.arange(width) / 4
    fine = np.stack([coarse[rows.astype(int)[:, None], columns.astype(int), band] for band in range(channels)], axis=2)
    grain = draw.integers(0, max(1, peak // 16), fine.shape)
    levels: Levels = np.clip(fine + grain, 0, peak).astype(np.uint8 if depth == 8 else np.uint16)
    return levels


def encode(levels: Levels, kind: str = "PNG", **options: Any) -> bytes:
    """Return H×W×C 8-bit levels (or one 16-bit channel) as Pillow writes them."""
    target = io.BytesIO()
    Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(target, kind, **options)
    return target.getvalue()


def encode_deep(levels: Levels, suffix: str = ".png") -> bytes:
    """Return H×W×3 or H×W×4 16-bit levels as OpenCV writes them."""
    order = [2, 1, 0, 3][: levels.shape[2]]
    done, encoded = cv2.imencode(suffix, np.ascontiguousarray(levels[:, :, order]))
    assert done
    return bytes(encoded)


def opened(data: bytes) -> Image.Image:
    """Return the image as Pillow sees it, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pixels(data: bytes) -> Levels:
    """Return the image's levels in OpenCV's view of them, RGB order, bit depth kept."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    if read.ndim == 3:
        read = read[:, :, [2, 1, 0, 3][: read.shape[2]]]
    return np.asarray(read)


def animated(kind: str) -> bytes:
    """Return two frames or pages as PNG, WEBP, TIFF or GIF."""
    frames = [Image.fromarray(np.asarray(noise(8, 8, seed=seed))) for seed in (1, 2)]
    target = io.BytesIO()
    frames[0].save(target, kind, save_all=True, append_images=frames[1:])
    return target.getvalue()


def lying_png(width: int, height: int) -> bytes:
    """Return a few bytes of PNG whose header announces width×height grey pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def grey_alpha_png_16(levels: Levels) -> bytes:
    """Return H×W×2 16-bit levels (grey, alpha) as PNG; neither Pillow nor OpenCV writes these."""
    height, width, _ = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
