"""What an image is must be known from its header, and refused before anything is decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support import pictures

from stackctl.imaging import AnimatedImage, CorruptImage, ImageTooLarge, Limits, UnsupportedFormat, probe
from stackctl.imaging.metadata import png_chunk


@pytest.mark.parametrize(
    ("kind", "name"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("TIFF", "tiff"), ("BMP", "bmp")]
)
def test_every_accepted_format_is_told_by_its_content(kind: str, name: str) -> None:
    info = probe(pictures.encode(pictures.noise(20, 30), kind))

    assert (info.format, info.width, info.height, info.mode, info.bit_depth) == (name, 30, 20, "rgb", 8)


@pytest.mark.parametrize(("channels", "mode"), [(1, "grey"), (2, "grey_alpha"), (3, "rgb"), (4, "rgba")])
def test_channels_are_read_from_the_header(channels: int, mode: str) -> None:
    info = probe(pictures.encode(pictures.noise(8, 8, channels)))

    assert (info.mode, info.channels, info.has_alpha) == (mode, channels, channels in {2, 4})


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_is_told_from_8_bit(suffix: str) -> None:
    info = probe(pictures.encode_deep(pictures.noise(8, 9, 3, depth=16), suffix))

    assert (info.mode, info.bit_depth, info.width, info.height) == ("rgb", 16, 9, 8)


def test_16_bit_grey_with_alpha_is_known_although_pillow_calls_it_rgba() -> None:
    info = probe(pictures.grey_alpha_png_16(pictures.noise(8, 9, 2, depth=16)))

    assert (info.mode, info.bit_depth) == ("grey_alpha", 16)


def test_a_palette_with_transparency_becomes_rgba() -> None:
    image = Image.fromarray(np.asarray(pictures.noise(8, 8))).quantize(8)
    target = io.BytesIO()
    image.save(target, "PNG", transparency=0)

    assert probe(target.getvalue()).mode == "rgba"


def test_sizes_are_those_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    info = probe(pictures.encode(pictures.noise(20, 30), "JPEG", exif=exif))

    assert (info.width, info.height, info.orientation, info.has_exif) == (20, 30, 6, True)


def test_no_row_of_a_png_is_read() -> None:
    header = pictures.encode(pictures.noise(10, 12))[:33]
    turned = Image.Exif()
    turned[0x0112] = 6
    parts = [(b"IDAT", b"no rows"), (b"eXIf", turned.tobytes().removeprefix(b"Exif\0\0")), (b"IEND", b"")]
    garbage = header + b"".join(png_chunk(*part) for part in parts)

    assert (probe(garbage).width, probe(garbage).height, probe(garbage).orientation) == (10, 12, 6)


def test_no_bytes_are_a_corrupt_image() -> None:
    with pytest.raises(CorruptImage, match="0 bytes"):
        probe(b"")


@pytest.mark.parametrize(
    "data", [b"hello, world", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"RIFF\0\0\0\0WAVEfmt "]
)
def test_other_files_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat):
        probe(data)


def test_a_gif_is_unsupported_even_though_pillow_could_read_it() -> None:
    with pytest.raises(UnsupportedFormat):
        probe(pictures.animated("GIF"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_frames_or_pages_are_refused(kind: str) -> None:
    with pytest.raises(AnimatedImage, match=r"2 frames|several pages"):
        probe(pictures.animated(kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_header_that_stops_early_is_corrupt(kind: str) -> None:
    data = pictures.encode(pictures.noise(20, 30), kind)

    for length in (1, 2, 7, 11):
        with pytest.raises((CorruptImage, UnsupportedFormat)):
            probe(data[:length])


def test_too_many_bytes_are_refused() -> None:
    data = pictures.encode(pictures.noise(20, 30))

    with pytest.raises(ImageTooLarge, match="bytes"):
        probe(data, Limits(max_bytes=len(data) - 1))


def test_too_many_pixels_are_refused_at_the_limit_and_not_below() -> None:
    data = pictures.encode(pictures.noise(20, 30))

    assert probe(data, Limits(max_input_pixels=600)).width == 30
    with pytest.raises(ImageTooLarge, match="30×20"):
        probe(data, Limits(max_input_pixels=599))


@pytest.mark.parametrize("side", [5_000, 30_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(ImageTooLarge):
        probe(pictures.lying_png(side, side))


def test_floating_point_pixels_are_unsupported() -> None:
    target = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(target, "TIFF")

    with pytest.raises(UnsupportedFormat, match="floating-point"):
        probe(target.getvalue())
