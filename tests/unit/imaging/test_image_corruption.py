"""Whatever happens to a file ends in a typed error or in an answer of the right size, never in anything else."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from support import broken, pictures

from stackctl.imaging import CorruptImage, ImageTooLarge, ImagingError, Limits, probe
from stackctl.imaging.decode import decode

PHOTO = pictures.noise(40, 40)
SOURCES = {
    "png": pictures.encode(PHOTO),
    "png-interlaced": broken.interlaced_png(PHOTO),
    "png-16": pictures.encode_deep(pictures.noise(40, 40, depth=16)),
    "png-grey-alpha": pictures.encode(pictures.noise(40, 40, 2)),
    "jpeg": pictures.encode(PHOTO, "JPEG"),
    "jpeg-progressive": pictures.encode(PHOTO, "JPEG", progressive=True),
    "jpeg-restarts": pictures.encode(PHOTO, "JPEG", restart_marker_blocks=2),
    "webp": pictures.encode(PHOTO, "WEBP"),
    "webp-lossless": pictures.encode(PHOTO, "WEBP", lossless=True),
    "webp-alpha": pictures.encode(pictures.noise(40, 40, 4), "WEBP"),
    "tiff": pictures.encode(PHOTO, "TIFF"),
    "tiff-lzw": pictures.encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff-packbits": pictures.encode(PHOTO, "TIFF", compression="packbits"),
    "tiff-deflate": pictures.encode(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-16": pictures.encode_deep(pictures.noise(40, 40, depth=16), ".tiff"),
    "bmp": pictures.encode(PHOTO, "BMP"),
    "bmp-grey": pictures.encode(pictures.noise(40, 40, 1), "BMP"),
}
LIMITS = Limits(max_input_pixels=1_000_000)
JPEGS = [name for name in SOURCES if name.startswith("jpeg")]
REFUSALS = {"corrupt_image", "unsupported_format", "too_large"}


def pixels(data: bytes) -> pictures.Levels:
    """Return decoded pixels, which must be as many and as deep as the header promised."""
    info = probe(data, LIMITS)
    decoded = decode(data, info)
    assert decoded.colour.shape[:2] == (info.height, info.width)
    assert decoded.colour.dtype.itemsize * 8 == info.bit_depth
    assert (decoded.alpha is not None) == info.has_alpha
    return decoded.colour


def outcome(data: bytes) -> str:
    """Return the error's code, or `ok` when there are pixels."""
    try:
        pixels(data)
    except ImagingError as error:
        return error.code
    return "ok"


def cuts(data: bytes) -> Iterator[int]:
    """Yield lengths: every one of the first bytes and of the last, and many between."""
    yield from range(min(60, len(data)))
    yield from range(60, len(data) - 60, max(1, len(data) // 80))
    yield from range(max(60, len(data) - 60), len(data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_a_file_cut_anywhere_is_refused_or_lacks_nothing(name: str) -> None:
    data = SOURCES[name]
    whole = pixels(data)

    for length in cuts(data):
        if (said := outcome(data[:length])) == "ok":  # a file may end in bytes that no reader needs
            assert np.array_equal(pixels(data[:length]), whole)
        else:
            assert said in {"corrupt_image", "unsupported_format"}


@pytest.mark.parametrize("name", JPEGS)
def test_a_cut_jpeg_that_was_given_an_end_again_is_refused(name: str) -> None:
    data = SOURCES[name]
    start = data.index(b"\xff\xda")

    for length in range(start, len(data) - 3, 7):
        assert outcome(data[:length] + b"\xff\xd9") == "corrupt_image", length


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_flipped_bits_end_in_a_typed_error_or_an_answer(name: str) -> None:
    draw = random.Random(name)
    for _ in range(60):
        data = bytearray(SOURCES[name])
        reach = len(data) if draw.random() < 0.5 else 120
        for _ in range(draw.choice((1, 1, 2, 5))):
            data[draw.randrange(min(reach, len(data)))] ^= 1 << draw.randrange(8)

        assert outcome(bytes(data)) in {"ok", *REFUSALS}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_thousands_of_damaged_files_end_in_a_typed_error_or_an_answer(name: str) -> None:
    draw = random.Random(f"many {name}")
    for _ in range(3000):
        assert outcome(broken.damaged(SOURCES[name], draw)) in {"ok", *REFUSALS}


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("png")])
def test_no_flipped_bit_of_a_png_goes_unnoticed(name: str) -> None:
    draw = random.Random(name)
    for _ in range(60):
        data = bytearray(SOURCES[name])
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)

        assert outcome(bytes(data)) != "ok"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(200, 40), (40, 120), (80, 40), (300, 300)])
@pytest.mark.parametrize("name", SOURCES)
def test_a_header_that_promises_more_pixels_than_there_are_is_refused(name: str, size: tuple[int, int]) -> None:
    lying = broken.resized_header(SOURCES[name], *size)

    assert probe(lying, LIMITS).height == size[0] if name.startswith(("jpeg", "bmp")) else True
    assert outcome(lying) in {"corrupt_image", "unsupported_format"}


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("png")])
def test_a_png_header_that_promises_fewer_pixels_is_refused_too(name: str) -> None:
    assert outcome(broken.resized_header(SOURCES[name], 20, 40)) == "corrupt_image"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_a_bomb_is_refused_by_its_header_alone(name: str) -> None:
    bomb = broken.resized_header(SOURCES[name], 16_000, 16_000)

    with pytest.raises((ImageTooLarge, CorruptImage)):
        probe(bomb, LIMITS)


def test_rows_that_inflate_without_end_are_given_up_after_what_the_header_promises() -> None:
    assert outcome(broken.png_of_zeros(40, 40, inflated=20_000_000)) == "corrupt_image"


def test_absurdly_many_parts_are_given_up() -> None:
    assert outcome(broken.png_with_chunks(PHOTO, 6_000)) == "corrupt_image"
    assert outcome(broken.jpeg_with_scans(SOURCES["jpeg-progressive"], 300)) == "corrupt_image"


def test_a_jpeg_frame_of_another_coding_is_unsupported() -> None:
    arithmetic = SOURCES["jpeg"].replace(b"\xff\xc0", b"\xff\xc9", 1)
    deep = bytearray(SOURCES["jpeg"])
    deep[deep.index(b"\xff\xc0") + 4] = 12

    assert outcome(arithmetic) in {"unsupported_format", "corrupt_image"}
    assert outcome(bytes(deep)) in {"unsupported_format", "corrupt_image"}


def test_a_tiff_whose_pages_form_a_ring_does_not_hang() -> None:
    data = bytearray(SOURCES["tiff"])
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)

    assert outcome(bytes(data)) == "unsupported_format"


def test_genuine_jpegs_of_every_kind_are_accepted() -> None:
    for size in ((1, 1), (8, 8), (17, 9), (40, 40), (3, 120)):
        for channels in (1, 3):
            for options in (
                {},
                {"progressive": True},
                {"subsampling": 0},
                {"restart_marker_blocks": 3},
                {"quality": 5},
            ):
                levels = pictures.noise(*size, channels, seed=size[0])
                assert outcome(pictures.encode(levels, "JPEG", **options)) == "ok"
                flat = np.full_like(levels, 255)
                assert outcome(pictures.encode(flat, "JPEG", **options)) == "ok"
