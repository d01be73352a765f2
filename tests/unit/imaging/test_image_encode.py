"""What is written must be read back by others, level for level, small, and the same whoever compresses it."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
from support import pictures

from stackctl.imaging import probe
from stackctl.imaging.decode import decode
from stackctl.imaging.encode import Encoding, choose_format, encode_pixels
from stackctl.imaging.metadata import Metadata
from stackctl.imaging.options import Format

NOTHING = Metadata()
KINDS = [(channels, depth) for channels in (1, 2, 3, 4) for depth in (8, 16)]


def written(canvas: pictures.Levels, to: str = "png", **options: Any) -> bytes:
    return encode_pixels(canvas, NOTHING, to=to, quality=95, **options).data


def read_back(data: bytes) -> pictures.Levels:
    """Return H×W×C levels as OpenCV reads them; as Pillow does where OpenCV drops or multiplies alpha."""
    info = probe(data)
    if info.mode == "grey_alpha" or (info.mode == "rgba" and info.format == "tiff"):
        image = decode(data, info)
        assert image.alpha is not None
        return np.dstack([image.colour, image.alpha])
    levels = pictures.pixels(data)
    return levels[:, :, None] if levels.ndim == 2 else levels


@pytest.mark.parametrize(("channels", "depth"), KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (77, 1), (300, 257)])
def test_png_and_tiff_hold_every_level(channels: int, depth: int, size: tuple[int, int]) -> None:
    levels = pictures.noise(*size, channels, depth=depth)

    assert np.array_equal(read_back(written(levels.copy())), levels)
    if (channels, depth) != (2, 16):  # such a TIFF is written, but nothing here reads it
        assert np.array_equal(read_back(written(levels.copy(), "tiff")), levels)


@pytest.mark.parametrize("to", ["png", "tiff"])
def test_the_bytes_do_not_depend_on_threads_or_on_when_rows_are_ready(to: str) -> None:
    levels = pictures.noise(900, 700)
    alone = written(levels, to)

    assert written(levels, to, threads=4) == alone
    filling = np.zeros_like(levels)
    with Encoding(filling, NOTHING, to=to, quality=95, threads=2) as coding:
        for last in (1, 130, 131, 500, 899):
            filling[:last] = levels[:last]
            coding.ready(last)
        filling[:] = levels
        assert coding.finish().data == alone


def test_an_encoding_that_is_given_up_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Encoding(pictures.noise(900, 700), NOTHING, to="png", quality=95, threads=2) as coding:
        coding.ready(500)
        assert threading.active_count() > before

    assert threading.active_count() == before


def test_a_canvas_that_would_have_to_be_copied_is_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        Encoding(pictures.noise(20, 20)[:, ::2], NOTHING, to="png", quality=95)


def test_without_zlib_ng_the_standard_library_writes_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = pictures.noise(400, 300)
    fast = written(levels)
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    slow = written(levels)

    assert np.array_equal(read_back(slow), read_back(fast))
    assert abs(len(slow) - len(fast)) < len(fast) // 20


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_photographic_png_is_no_larger_than_opencvs_by_a_tenth(channels: int) -> None:
    smooth = cv2.resize(pictures.noise(120, 160, channels), (640, 480), interpolation=cv2.INTER_CUBIC)
    levels = smooth.reshape(480, 640, channels).astype(np.uint8)

    assert len(written(levels.copy())) <= 1.1 * len(cv2.imencode(".png", levels)[1])


def test_flat_areas_cost_next_to_nothing() -> None:
    assert len(written(np.full((1000, 1000, 3), 200, np.uint8))) < 40_000


@pytest.mark.parametrize("to", ["jpeg", "webp"])
def test_16_bits_are_rounded_to_8_where_the_format_ends_there(to: str) -> None:
    flat = np.full((64, 64, 3), 257 * 90 + 100, np.uint16)

    encoded = encode_pixels(flat, NOTHING, to=to, quality=95)

    assert encoded.dropped == ("depth",)
    assert np.abs(pictures.pixels(encoded.data).astype(int) - 90).max() <= 1


@pytest.mark.parametrize(("channels", "depth"), [(2, 8), (4, 8), (2, 16), (4, 16)])
def test_jpeg_lays_alpha_over_white(channels: int, depth: int) -> None:
    peak = 2**depth - 1
    canvas = np.zeros((32, 32, channels), np.uint8 if depth == 8 else np.uint16)
    canvas[:, 16:, -1] = peak
    canvas[8:16, :, -1] = peak // 2

    shown = pictures.pixels(encode_pixels(canvas, NOTHING, to="jpeg", quality=100).data).astype(int)

    assert shown.shape[:2] == (32, 32)
    assert shown[20:, :14].min() >= 250
    assert shown[20:, 18:].max() <= 5
    assert np.abs(shown[10:14] - 128).max() <= 6


@pytest.mark.parametrize(
    ("to", "channels", "depth"),
    [("png", 3, 8), ("png", 4, 16), ("tiff", 3, 8), ("jpeg", 3, 8), ("jpeg", 4, 16)],
)
def test_the_canvas_is_not_copied(to: str, channels: int, depth: int) -> None:
    canvas = np.repeat(pictures.noise(40, 2500, channels, depth=depth), 50, axis=0)
    tracemalloc.start()
    try:
        data = encode_pixels(canvas, NOTHING, to=to, quality=95).data
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2.5 * len(data) + canvas.nbytes // 8 + 24_000_000
    assert peak < canvas.nbytes


@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        ("webp", (8000, 8000), "webp"),
        ("webp", (8001, 8000), "png"),
        ("webp", (10, 16_384), "png"),
        ("jpeg", (8001, 8000), "jpeg"),
        ("bmp", (10, 10), "png"),
    ],
)
def test_auto_keeps_the_format_that_holds_the_result_at_a_bearable_cost(
    source: Format, size: tuple[int, int], expected: str
) -> None:
    assert choose_format("auto", source, *size) == expected
