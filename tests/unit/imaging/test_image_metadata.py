"""Colour profiles and EXIF travel along; orientation is applied once and reset."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from support import pictures

from stackctl.imaging import Network, Options, probe, upscale
from stackctl.imaging.metadata import png_chunk

KINDS = ["PNG", "JPEG", "WEBP", "TIFF"]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 1, maker_note: bytes = b"") -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "a camera"
    block[0x8769] = {0x9003: "2026:01:02 03:04:05"} | ({0x927C: maker_note} if maker_note else {})
    return block.tobytes()


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("source", KINDS)
def test_profile_and_exif_are_carried_over(network: Network, source: str, target: str) -> None:
    given = pictures.encode(pictures.noise(10, 12), source, icc_profile=PROFILE, exif=exif())

    encoded, report = upscale(given, network, Options(format=target))

    image = pictures.opened(encoded)
    assert image.info["icc_profile"] == PROFILE
    assert image.getexif()[0x010F] == "a camera"
    assert image.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert report.dropped == ()


def test_exif_after_the_rows_of_a_png_survives_and_turns(network: Network) -> None:
    given = pictures.encode(pictures.noise(10, 12))
    late = given[:-12] + png_chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")) + given[-12:]

    encoded, _ = upscale(late, network)

    assert (probe(late).width, probe(late).orientation, probe(late).has_exif) == (10, 6, True)
    assert pictures.opened(encoded).size == (40, 48)
    assert pictures.opened(encoded).getexif()[0x010F] == "a camera"


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ({b"gAMA": struct.pack(">I", 100_000)}, True),
        ({b"cICP": bytes([9, 16, 0, 1]), b"gAMA": struct.pack(">I", 45_455)}, True),
        ({b"sRGB": b"\0", b"gAMA": struct.pack(">I", 45_455)}, False),  # says no more than no chunk at all
    ],
)
def test_colours_that_a_png_names_without_a_profile_are_kept_or_reported(
    network: Network, chunks: dict[bytes, bytes], kept: bool
) -> None:
    plain = pictures.encode(pictures.noise(10, 12))
    named = b"".join(png_chunk(name, body) for name, body in chunks.items())
    given = plain[:33] + named + plain[33:]

    encoded, report = upscale(given, network)
    _, as_jpeg = upscale(given, network, Options(format="jpeg"))

    assert (named in encoded, report.dropped) == (kept, ())
    assert as_jpeg.dropped == (("colour",) if kept else ())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_orientation_is_applied_and_its_tag_reset(network: Network, kind: str, orientation: int) -> None:
    levels = np.zeros((12, 20, 3), np.uint8)
    levels[:4, :4] = (255, 0, 0)
    levels[:4, -4:] = (0, 255, 0)
    levels[-4:, :4] = (0, 0, 255)
    target = io.BytesIO()
    Image.fromarray(levels).save(target, kind, exif=exif(orientation), **_FAITHFUL.get(kind, {}))
    seen = np.asarray(Image.open(io.BytesIO(upscale(target.getvalue(), network, Options(format="png"))[0])))
    upright = Image.fromarray(levels).transpose(_BACK[orientation]) if orientation > 1 else Image.fromarray(levels)

    shown = upscale(pictures.encode(np.asarray(upright)), network)[0]
    assert seen.shape == np.asarray(pictures.opened(shown)).shape
    assert np.abs(seen.astype(int) - np.asarray(pictures.opened(shown)).astype(int)).mean() < 6  # JPEG is not exact
    again = upscale(target.getvalue(), network)[0]
    assert probe(again).orientation == 1


_FAITHFUL: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def test_a_profile_of_more_than_one_segment_survives_jpeg(network: Network) -> None:
    large = PROFILE + bytes(range(256)) * 600

    encoded, _ = upscale(
        pictures.encode(pictures.noise(8, 8), "PNG", icc_profile=large), network, Options(format="jpeg")
    )

    assert pictures.opened(encoded).info["icc_profile"] == large


def test_exif_too_large_for_jpeg_is_reported(network: Network) -> None:
    given = pictures.encode(pictures.noise(8, 8), "PNG", exif=exif(maker_note=bytes(70_000)))

    encoded, report = upscale(given, network, Options(format="jpeg"))

    assert report.dropped == ("exif",)
    assert "exif" not in pictures.opened(encoded).info


def test_broken_exif_does_not_cost_the_picture(network: Network) -> None:
    encoded, report = upscale(
        pictures.encode(pictures.noise(8, 8), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), network
    )

    assert pictures.opened(encoded).size == (32, 32)
    assert report.out_width == 32


def test_a_palette_becomes_rgb_and_cmyk_becomes_rgb(network: Network) -> None:
    palette, cmyk = io.BytesIO(), io.BytesIO()
    source = Image.fromarray(np.asarray(pictures.noise(10, 12)))
    source.quantize(16).save(palette, "PNG")
    source.convert("CMYK").save(cmyk, "JPEG", quality=95)

    for data in (palette.getvalue(), cmyk.getvalue()):
        encoded, report = upscale(data, network)
        assert pictures.opened(encoded).mode == "RGB"
        assert report.mode == "rgb"


def test_cmyk_without_a_profile_looks_as_pillow_shows_it(network: Network) -> None:
    target = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 200, 200, 0)).save(target, "TIFF")

    out = pictures.pixels(upscale(target.getvalue(), network, Options(format="png"))[0])

    assert np.abs(out[20:40, 20:40].astype(int) - (255, 55, 55)).max() <= 12


def test_bilevel_images_become_grey(network: Network) -> None:
    target = io.BytesIO()
    Image.fromarray(np.asarray(pictures.noise(10, 12, 1))[:, :, 0]).convert("1").save(target, "PNG")

    assert pictures.opened(upscale(target.getvalue(), network)[0]).mode == "L"


def test_a_cmyk_image_with_a_profile_that_does_not_fit_is_still_read(network: Network) -> None:
    target = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 200, 200, 0)).save(target, "JPEG", icc_profile=PROFILE)

    encoded, _ = upscale(target.getvalue(), network)

    assert pictures.opened(encoded).mode == "RGB"
    assert "icc_profile" not in pictures.opened(encoded).info  # it described CMYK


def test_a_jpeg_with_further_pictures_is_its_first(network: Network) -> None:
    pair = [Image.fromarray(np.asarray(pictures.noise(10, 12, seed=seed))) for seed in (1, 2)]
    target = io.BytesIO()
    pair[0].save(target, "MPO", save_all=True, append_images=pair[1:])

    encoded, report = upscale(target.getvalue(), network)

    assert (report.source_format, report.out_width, report.out_height) == ("jpeg", 48, 40)
    assert probe(encoded).format == "jpeg"
