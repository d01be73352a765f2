"""Every kind of pixels that a file may hold has one defined answer: these very levels, or a refusal that names it."""

from __future__ import annotations

import io
import struct
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from support import broken, pictures

from stackctl.imaging import CorruptImage, UnsupportedFormat, probe
from stackctl.imaging.decode import decode

HEIGHT, WIDTH = 12, 20
DEEP = pictures.noise(HEIGHT, WIDTH, 4, depth=16)
PLAIN = pictures.noise(HEIGHT, WIDTH, 4)
GREY, GREY_ALPHA, RGB, RGBA, PALETTE = 0, 4, 2, 6, 3


def decoded(data: bytes) -> pictures.Levels:
    """Return H×W×C levels, alpha last."""
    image = decode(data, probe(data))
    return image.colour if image.alpha is None else np.dstack([image.colour, image.alpha])


def png(levels: pictures.Levels, colour: int, extra: bytes = b"") -> bytes:
    return broken.png((WIDTH, HEIGHT, levels.dtype.itemsize * 8, colour), broken.unfiltered(levels), extra)


def packed(levels: pictures.Levels, depth: int) -> bytes:
    """Return H×W levels below 2**depth as PNG rows."""
    bits = np.unpackbits(levels.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
    return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.reshape(levels.shape[0], -1))


def tiff(
    levels: pictures.Levels,
    *,
    photometric: int,
    order: Literal["<", ">"] = "<",
    planar: bool = False,
    **changed: tuple[int, ...],
) -> bytes:
    """Return an uncompressed TIFF of one strip (or plane); `changed` replaces tags by number, as `tag_339=(3,)`."""
    height, width, channels = levels.shape
    stored = np.moveaxis(levels, 2, 0) if planar else levels
    body = stored.astype(levels.dtype.newbyteorder(order)).tobytes()
    planes = channels if planar else 1
    tags: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (levels.dtype.itemsize * 8,) * channels, 259: (1,), 262: (photometric,),
        273: tuple(8 + len(body) // planes * plane for plane in range(planes)), 277: (channels,), 278: (height,),
        279: (len(body) // planes,) * planes, 284: (2 if planar else 1,),
    }  # fmt: skip
    tags |= {int(name.removeprefix("tag_")): values for name, values in changed.items()}
    extra, entries, at = b"", b"", 8 + len(body)
    for tag, values in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(content) > 4:
            content, extra = struct.pack(order + "I", at + len(extra)), extra + content
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + content
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at + len(extra))
    return head + body + extra + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("colour", "bands"), [(GREY, [0]), (GREY_ALPHA, [0, 3]), (RGB, [0, 1, 2]), (RGBA, [0, 1, 2, 3])]
)
@pytest.mark.parametrize("levels", [PLAIN, DEEP], ids=["8", "16"])
def test_png_levels_arrive_as_they_are(levels: pictures.Levels, colour: int, bands: list[int]) -> None:
    assert np.array_equal(decoded(png(levels[:, :, bands], colour)), levels[:, :, bands])


def test_16_bits_are_told_by_the_header_and_not_by_bright_pixels() -> None:
    dark = (DEEP[:, :, :3] % 200).astype(np.uint16)

    assert probe(png(dark, RGB)).bit_depth == 16
    assert np.array_equal(decoded(png(dark, RGB)), dark)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey_are_stretched_to_8(depth: int) -> None:
    levels = (PLAIN[:, :, 0] >> (8 - depth)).astype(np.uint8)
    step = 255 // (2**depth - 1)
    key = int(levels[0, 0])
    header, rows = (WIDTH, HEIGHT, depth, GREY), packed(levels, depth)

    assert np.array_equal(decoded(broken.png(header, rows))[:, :, 0], levels * step)
    keyed = decoded(broken.png(header, rows, broken.chunk(b"tRNS", struct.pack(">H", key))))
    assert np.array_equal(keyed[:, :, 0], levels * step)
    assert np.array_equal(keyed[:, :, 1], np.where(levels == key, 0, 255))


@pytest.mark.parametrize("levels", [PLAIN, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("colour", [GREY, RGB])
def test_a_transparent_level_becomes_alpha(levels: pictures.Levels, colour: int) -> None:
    opaque = levels[:, :, :1] if colour == GREY else levels[:, :, :3]
    key = opaque[5, 7]
    data = png(opaque, colour, broken.chunk(b"tRNS", key.astype(">u2").tobytes()))
    expected = np.where((opaque == key).all(axis=2), 0, np.iinfo(levels.dtype).max)

    assert np.array_equal(decoded(data)[:, :, :-1], opaque)
    assert np.array_equal(decoded(data)[:, :, -1], expected)


def test_a_palette_becomes_its_colours_and_its_transparency_alpha() -> None:
    colours = pictures.noise(16, 16, 3, seed=5).reshape(256, 3)
    table, indices = broken.chunk(b"PLTE", colours.tobytes()), PLAIN[:, :, :1]

    assert np.array_equal(decoded(png(indices, PALETTE, table)), colours[indices[:, :, 0]])
    faded = decoded(png(indices, PALETTE, table + broken.chunk(b"tRNS", bytes(range(256)))))
    assert np.array_equal(faded, np.dstack([colours[indices[:, :, 0]], indices]))


def test_a_palette_that_is_not_there_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="palette"):
        probe(png(PLAIN[:, :, :1], PALETTE))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
def test_tiff_levels_arrive_as_they_are(order: Literal["<", ">"], planar: bool) -> None:
    colour = PLAIN[:, :, :3]
    assert np.array_equal(decoded(tiff(colour, photometric=2, order=order, planar=planar)), colour)
    if not planar:
        assert np.array_equal(decoded(tiff(DEEP[:, :, :3], photometric=2, order=order)), DEEP[:, :, :3])
        assert np.array_equal(decoded(tiff(DEEP[:, :, :1], photometric=1, order=order)), DEEP[:, :, :1])


@pytest.mark.parametrize("levels", [PLAIN, DEEP], ids=["8", "16"])
def test_a_tiff_where_white_is_zero_is_not_shown_inverted(levels: pictures.Levels) -> None:
    assert np.array_equal(decoded(tiff(levels[:, :, :1], photometric=0)), ~levels[:, :, :1])


def test_16_bit_tiff_alpha_is_kept_divided_out_or_ignored_as_its_tag_says() -> None:
    assert np.array_equal(decoded(tiff(DEEP, photometric=2, tag_338=(2,))), DEEP)
    assert np.array_equal(decoded(tiff(DEEP, photometric=2, tag_338=(0,))), DEEP[:, :, :3])
    multiplied = DEEP.copy()
    multiplied[:, :, :3] = np.rint(DEEP[:, :, :3] * (DEEP[:, :, 3:] / 65535.0))
    shown = decoded(tiff(multiplied, photometric=2, tag_338=(1,))).astype(int)
    visible = DEEP[:, :, 3] > 6000
    assert np.abs(shown - DEEP.astype(int))[visible].max() <= 6


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (tiff(DEEP[:, :, :3], photometric=2, planar=True), "16 bits"),
        (tiff(DEEP[:, :, :2], photometric=1, tag_338=(2,)), "16 bits"),
        (tiff(DEEP, photometric=5), "CMYK"),
        (tiff(DEEP[:, :, :1], photometric=1, tag_258=(12,)), "12"),
        (tiff(DEEP[:, :, :1], photometric=1, tag_339=(2,)), "signed"),
        (tiff(PLAIN[:, :, :3], photometric=8), "colour model 8"),
        (tiff(PLAIN[:, :, :3], photometric=6, tag_259=(7,)), "compression 7"),
    ],
)
def test_a_tiff_that_would_be_shown_wrongly_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named):
        probe(data)


def test_a_tiff_without_all_of_its_strips_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="lacks"):
        probe(tiff(PLAIN[:, :, :3], photometric=2, tag_278=(HEIGHT // 2,)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_the_content_decides_whatever_the_name_says(kind: str) -> None:
    # Bytes have no name here: a JPEG called .png is a JPEG, and that is what comes back.
    assert probe(pictures.encode(PLAIN[:, :, :3], kind)).format == kind.lower()


def test_cmyk_is_rgb_when_decoded_and_its_mode_is_told() -> None:
    target = io.BytesIO()
    Image.fromarray(PLAIN[:, :, :3]).convert("CMYK").save(target, "TIFF")
    info = probe(target.getvalue())

    assert (info.mode, info.source_mode) == ("rgb", "CMYK")
    assert np.abs(decoded(target.getvalue()).astype(int) - PLAIN[:, :, :3]).max() <= 1
