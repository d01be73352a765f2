"""Whatever happens to a file ends in a typed error or in an answer of the right size, never in anything else."""

from __future__ import annotations

import random

import pytest
from support import pictures

from stackctl.imaging import ImagingError, Limits, probe
from stackctl.imaging.decode import decode

SOURCES = {
    "png": pictures.encode(pictures.noise(40, 40)),
    "png-16": pictures.encode_deep(pictures.noise(40, 40, depth=16)),
    "png-grey-alpha": pictures.encode(pictures.noise(40, 40, 2)),
    "jpeg": pictures.encode(pictures.noise(40, 40), "JPEG"),
    "webp": pictures.encode(pictures.noise(40, 40), "WEBP"),
    "tiff": pictures.encode(pictures.noise(40, 40), "TIFF"),
    "tiff-16": pictures.encode_deep(pictures.noise(40, 40, depth=16), ".tiff"),
    "tiff-deflate": pictures.encode(pictures.noise(40, 40), "TIFF", compression="tiff_adobe_deflate"),
    "bmp": pictures.encode(pictures.noise(40, 40), "BMP"),
}
LIMITS = Limits(max_input_pixels=1_000_000)


def outcome(data: bytes) -> str:
    """Return the error's code, or `ok` when the pixels are those the header promised."""
    try:
        info = probe(data, LIMITS)
        decoded = decode(data, info)
    except ImagingError as error:
        return error.code
    assert decoded.colour.shape[:2] == (info.height, info.width)
    return "ok"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_a_file_cut_anywhere_is_never_taken_for_whole(name: str) -> None:
    data = SOURCES[name]
    # A TIFF or PNG may end in bytes that no reader needs; what must not happen is an answer from half the pixels.
    needed = len(data) * 9 // 10
    outcomes = {outcome(data[:length]) for length in range(0, needed, max(1, needed // 40))}

    assert outcomes <= {"corrupt_image", "unsupported_format"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_flipped_bits_end_in_a_typed_error_or_an_answer(name: str) -> None:
    draw = random.Random(name)
    for _ in range(60):
        data = bytearray(SOURCES[name])
        reach = len(data) if draw.random() < 0.5 else 120
        for _ in range(draw.choice((1, 1, 2, 5))):
            data[draw.randrange(min(reach, len(data)))] ^= 1 << draw.randrange(8)

        assert outcome(bytes(data)) in {"ok", "corrupt_image", "unsupported_format", "too_large"}


@pytest.mark.parametrize("name", ["png", "png-16", "png-grey-alpha"])
def test_no_flipped_bit_of_a_png_goes_unnoticed(name: str) -> None:
    draw = random.Random(name)
    for _ in range(60):
        data = bytearray(SOURCES[name])
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)

        assert outcome(bytes(data)) != "ok"
