"""Pixels to encoded bytes, with the metadata that the format can hold.

PNG and TIFF are written here in bands, which threads compress while the canvas is still being filled; OpenCV encodes
JPEG and Pillow WebP, by the numbers of `docs/decisions/0075`. The canvas is never copied, only changed in place.
"""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from . import metadata
from .backends import Levels
from .errors import BackendError, BadOption
from .metadata import Metadata
from .options import Format
from .png import PngWriter
from .tiff import TiffWriter

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
_LONGEST = {"jpeg": 65_500, "webp": 16_383}
_MOST_WEBP_PIXELS = 64_000_000
"""Beyond it `auto` leaves WebP: lossy may not hold the picture, and lossless takes six times the raw pixels."""
_AT_ONCE = 1 << 17
_PARTITION_OVERFLOW = 6
"""libwebp's error where lossy WebP cannot hold a picture's modes (512 KiB of them); lossless has no such limit."""
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Encoded:
    """Encoded bytes and what could not be kept: `alpha`, `depth`, `colour`, `icc`, `exif`."""

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
        heavy = source == "webp" and height * width > _MOST_WEBP_PIXELS
        return source if fits and not heavy and source != "bmp" else "png"
    if not fits:
        raise BadOption(f"{wanted} cannot hold {width}×{height} pixels; use png or tiff.")
    return wanted


class _BandWriter(Protocol):
    """Makes bands of rows in any thread and order, and joins them in order."""

    rows_per_band: int

    def make(self, first: int, last: int) -> Any: ...
    def add(self, band: Any) -> None: ...
    def finish(self) -> bytes: ...


class Encoding:
    """One image on its way into bytes, which may begin before its last rows are there.

    The thread that fills the canvas from the top says with `ready` how far it has come. Bytes depend neither on the
    number of threads nor on when `ready` is called.
    """

    def __init__(self, canvas: Levels, carried: Metadata, *, to: str, quality: int, threads: int = 1) -> None:
        """Prepare to encode.

        Args:
            canvas: H×W×C levels, uint8 or uint16, contiguous; grey, grey with alpha, RGB or RGBA. It may be used up.
            carried: ICC profile and EXIF block.
            to: png, jpeg, webp or tiff. JPEG lays alpha over white; JPEG and WebP reduce 16 bits to 8.
            quality: of JPEG and WebP, 1 to 100.
            threads: how many compress bands; JPEG and WebP use one.

        Raises:
            ValueError: the canvas is not contiguous.
        """
        if not canvas.flags.c_contiguous:
            raise ValueError("The canvas must be contiguous: bands are read from it while it is being filled.")
        self._canvas, self._carried, self._to, self._quality = canvas, carried, to, quality
        self._writer: _BandWriter | None = None
        if to in {"png", "tiff"}:
            self._writer = PngWriter(canvas, carried) if to == "png" else TiffWriter(canvas, carried)
            self._pool = ThreadPoolExecutor(threads, "encode")
        self._lost = ("colour",) if carried.png_colour and to != "png" else ()
        self._begun = 0
        self._pending: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self, rows: int) -> None:
        """Take note that rows [0, rows) of the canvas are final."""
        writer = self._writer
        if writer is None:
            return
        height = self._canvas.shape[0]
        while self._begun < height:
            last = min(self._begun + writer.rows_per_band, height)
            if last > rows:
                break
            self._pending.append(self._pool.submit(writer.make, self._begun, last))
            self._begun = last
        while self._pending and self._pending[0].done():
            writer.add(self._pending.popleft().result())

    def finish(self) -> Encoded:
        """Return the image; all rows of the canvas are final."""
        if self._writer is None:
            data, dropped = _whole(self._canvas, self._carried, self._to, self._quality)
            return Encoded(data, self._to, (*self._lost, *dropped))
        with self:
            self.ready(self._canvas.shape[0])
            while self._pending:
                self._writer.add(self._pending.popleft().result())
            return Encoded(self._writer.finish(), self._to, self._lost)

    def close(self) -> None:
        """Drop what has not been done; for when the canvas will never be complete."""
        if self._writer is not None:
            self._pool.shutdown(cancel_futures=True)


def encode_pixels(canvas: Levels, carried: Metadata, *, to: str, quality: int, threads: int = 1) -> Encoded:
    """Return a complete canvas as `to`; see `Encoding`."""
    return Encoding(np.ascontiguousarray(canvas), carried, to=to, quality=quality, threads=threads).finish()


def _whole(canvas: Levels, carried: Metadata, to: str, quality: int) -> tuple[bytes, tuple[str, ...]]:
    """Return a JPEG or WebP, and what it could not hold."""
    dropped: list[str] = []
    canvas = np.require(canvas, requirements=["C", "W"])
    if canvas.dtype == np.uint16:
        canvas = _in_8_bits(canvas)
        dropped.append("depth")
    if to == "webp":
        return _webp(canvas, carried, quality), tuple(dropped)
    if canvas.shape[2] in {2, 4}:
        canvas = _over_white(canvas)
        dropped.append("alpha")
    data, lost = metadata.into_jpeg(_jpeg(canvas, quality), carried)
    return data, (*dropped, *lost)


def _jpeg(canvas: Levels, quality: int) -> memoryview:
    import cv2

    if canvas.shape[2] == 3:
        for top in range(0, canvas.shape[0], _ROWS_AT_ONCE):  # in place costs OpenCV a copy of what it is given
            rows = canvas[top : top + _ROWS_AT_ONCE]
            cv2.cvtColor(rows, cv2.COLOR_RGB2BGR, dst=rows)
    try:
        done, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        raise
    if not done:
        raise BackendError(f"OpenCV could not encode {canvas.shape} pixels as jpeg.")
    return encoded.data


def _webp(canvas: Levels, carried: Metadata, quality: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(canvas[:, :, 0] if canvas.shape[2] == 1 else canvas)
    extras: dict[str, Any] = {"quality": quality, "method": 2}
    if carried.icc:
        extras["icc_profile"] = carried.icc
    if carried.exif:
        extras["exif"] = b"Exif\0\0" + carried.exif
    target = io.BytesIO()
    try:
        image.save(target, "WEBP", **extras)
    except ValueError as error:
        if not str(error).endswith(f" {_PARTITION_OVERFLOW}"):
            raise
        image.save(target, "WEBP", **extras | {"lossless": True, "quality": 0, "method": 0})
    return target.getvalue()


def _in_8_bits(canvas: Levels) -> Levels:
    """Return 16-bit levels rounded to 8 bits, in the first half of their own memory."""
    deep = canvas.reshape(-1)
    plain: Levels = deep.view(np.uint8)[: deep.size]
    for at in range(0, deep.size, _AT_ONCE):
        part = deep[at : at + _AT_ONCE].astype(np.uint32)
        plain[at : at + part.size] = (part + 128) // 257
    return plain.reshape(canvas.shape)


def _over_white(canvas: Levels) -> Levels:
    """Return 8-bit levels with alpha laid over white, in the first part of their own memory."""
    height, width, channels = canvas.shape
    pixels = canvas.reshape(-1, channels)
    laid: Levels = canvas.reshape(-1)[: height * width * (channels - 1)].reshape(-1, channels - 1)
    for at in range(0, len(pixels), _AT_ONCE):
        part = pixels[at : at + _AT_ONCE].astype(np.float32)
        share = part[:, -1:] / np.float32(255)
        laid[at : at + len(part)] = np.rint(part[:, :-1] * share + np.float32(255) * (1 - share))
    return laid.reshape(height, width, channels - 1)
