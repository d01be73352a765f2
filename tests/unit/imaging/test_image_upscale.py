"""From bytes to bytes: size, depth, colour, alpha, tiles, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import pictures

from stackctl.imaging import (
    BadOption,
    CorruptImage,
    ImageTooLarge,
    ImagingError,
    Limits,
    Network,
    Options,
    probe,
    upscale,
)


def test_grey_stays_one_channel_and_gains_no_colour(network: Network) -> None:
    levels = pictures.noise(24, 31, 1)

    grey = pictures.pixels(upscale(pictures.encode(levels), network)[0]).astype(int)
    colour = pictures.pixels(upscale(pictures.encode(np.repeat(levels, 3, axis=2)), network)[0]).astype(int)

    assert grey.ndim == 2
    assert np.abs(grey - colour @ [0.299, 0.587, 0.114]).max() <= 1


def test_16_bits_are_more_than_8_bits_scaled(network: Network) -> None:
    levels = pictures.noise(24, 31, depth=16)

    deep = pictures.pixels(upscale(pictures.encode_deep(levels), network)[0])
    plain = pictures.pixels(upscale(pictures.encode(((levels.astype(int) + 128) // 257).astype(np.uint8)), network)[0])

    assert len(np.unique(deep)) > 256
    assert np.abs(deep / 257.0 - plain).mean() < 1.5


def test_a_dark_16_bit_image_stays_16_bit(network: Network) -> None:
    dark = (pictures.noise(16, 16, depth=16) % 200).astype(np.uint16)

    out = pictures.pixels(upscale(pictures.encode_deep(dark), network)[0])

    assert out.dtype == np.uint16
    assert out.max() < 1000


def test_alpha_is_resampled_and_colour_below_it_is_not_darkened(network: Network) -> None:
    levels = pictures.noise(20, 20, 4)
    levels[:, :, 3] = np.where(np.arange(20) < 10, 255, 0)[None, :]

    out = pictures.pixels(upscale(pictures.encode(levels), network)[0])
    opaque = pictures.pixels(upscale(pictures.encode(levels[:, :, :3]), network)[0])

    assert np.array_equal(out[:, :, :3], opaque)
    assert (out[:, :30, 3] == 255).all()
    assert (out[:, 50:, 3] == 0).all()


def test_grey_with_alpha_keeps_both_in_8_and_16_bits(network: Network) -> None:
    deep = pictures.noise(12, 10, 2, depth=16)

    plain, report = upscale(pictures.encode((deep >> 8).astype(np.uint8)), network)
    assert (probe(plain).mode, report.mode) == ("grey_alpha", "grey_alpha")
    wide = probe(upscale(pictures.grey_alpha_png_16(deep), network)[0])
    assert (wide.mode, wide.bit_depth) == ("grey_alpha", 16)


@pytest.mark.parametrize(
    ("outscale", "size"), [(1, (30, 20)), (2, (60, 40)), (2.5, (75, 50)), (4, (120, 80)), (6, (180, 120))]
)
def test_any_outscale_gives_that_size(network: Network, outscale: float, size: tuple[int, int]) -> None:
    encoded, report = upscale(pictures.encode(pictures.noise(20, 30)), network, Options(outscale=outscale))

    assert pictures.opened(encoded).size == size
    assert (report.out_width, report.out_height) == size


def test_16_bits_survive_another_outscale(network: Network) -> None:
    data = pictures.encode_deep(pictures.noise(20, 30, depth=16))

    out = pictures.pixels(upscale(data, network, Options(outscale=2))[0])

    assert out.dtype == np.uint16
    assert out.shape == (40, 60, 3)
    assert len(np.unique(out)) > 256


def test_an_outscale_of_one_looks_like_the_input(network: Network) -> None:
    flat = np.full((16, 16, 3), (200, 90, 30), np.uint8)

    out = pictures.pixels(upscale(pictures.encode(flat), network, Options(outscale=1))[0])

    assert np.abs(out[6:10, 6:10].astype(int) - (200, 90, 30)).max() <= 12


@pytest.mark.parametrize(
    ("source", "wanted", "made"),
    [("PNG", "auto", "png"), ("JPEG", "auto", "jpeg"), ("WEBP", "auto", "webp"), ("TIFF", "auto", "tiff"),
     ("BMP", "auto", "png"), ("PNG", "jpg", "jpeg"), ("PNG", "TIF", "tiff"), ("JPEG", "webp", "webp")],
)  # fmt: skip
def test_the_format_is_the_inputs_own_or_the_one_asked_for(
    network: Network, source: str, wanted: str, made: str
) -> None:
    encoded, report = upscale(pictures.encode(pictures.noise(9, 7), source), network, Options(format=wanted))

    assert (probe(encoded).format, report.format) == (made, made)


def test_what_a_format_cannot_hold_is_reported(network: Network) -> None:
    transparent = pictures.encode(np.dstack([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)]))
    deep = pictures.encode_deep(pictures.noise(8, 8, depth=16))

    encoded, report = upscale(transparent, network, Options(format="jpeg"))
    assert report.dropped == ("alpha",)
    assert pictures.pixels(encoded).min() > 250  # laid over white
    assert upscale(deep, network, Options(format="webp"))[1].dropped == ("depth",)


def test_eight_threads_never_mix_their_images(network: Network) -> None:
    inputs = [pictures.encode(pictures.noise(40 + 3 * number, 37, seed=number)) for number in range(8)]
    options = Options(tile=24)
    alone = [upscale(data, network, options)[0] for data in inputs]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: upscale(data, network, options)[0], inputs * 4))

    assert together == alone * 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_corrupt_and_never_half_a_picture(network: Network, kind: str) -> None:
    data = pictures.encode(pictures.noise(40, 40), kind)

    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(ImagingError) as caught:
            upscale(data[: int(len(data) * share)], network)
        assert caught.value.code in {"corrupt_image", "unsupported_format"}


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_truncated_16_bit_file_is_corrupt(network: Network, suffix: str) -> None:
    data = pictures.encode_deep(pictures.noise(40, 40, depth=16), suffix)

    for share in (0.3, 0.6, 0.9):
        with pytest.raises(CorruptImage):
            upscale(data[: int(len(data) * share)], network)


def test_a_flipped_bit_in_a_png_is_noticed(network: Network) -> None:
    data = pictures.encode(pictures.noise(30, 30))

    for offset in range(40, len(data) - 1, len(data) // 7):
        damaged = bytearray(data)
        damaged[offset] ^= 0x10
        with pytest.raises(ImagingError):
            upscale(bytes(damaged), network)


def test_a_header_that_lies_about_its_size_is_corrupt(network: Network) -> None:
    with pytest.raises(CorruptImage):
        upscale(pictures.lying_png(300, 200), network)


def test_too_large_an_output_is_refused_before_decoding(network: Network) -> None:
    with pytest.raises(ImageTooLarge, match="would become"):
        upscale(pictures.lying_png(300, 200), network, Options(limits=Limits(max_output_pixels=300 * 200 * 16 - 1)))
    with pytest.raises(ImageTooLarge, match="would become"):
        upscale(
            pictures.lying_png(300, 200), network, Options(outscale=8, limits=Limits(max_output_pixels=300 * 200 * 16))
        )


@pytest.mark.parametrize(
    "values",
    [{"outscale": -1}, {"outscale": float("nan")}, {"outscale": 100}, {"format": "gif"}, {"tile": -8}, {"tile": 3},
     {"precision": "int8"}, {"quality": 0}],
)  # fmt: skip
def test_values_that_cannot_work_are_refused_at_once(values: dict[str, object]) -> None:
    with pytest.raises(BadOption):
        Options(**values)  # type: ignore[arg-type]


def test_the_report_is_plain_data(network: Network) -> None:
    report = upscale(pictures.encode(pictures.noise(9, 7)), network)[1].to_dict()

    assert (report["width"], report["height"], report["out_width"], report["out_height"]) == (7, 9, 28, 36)
    assert (report["backend"], report["precision"], report["tiles"], report["exact"]) == ("openvino", "fp32", 1, True)
    assert set(report["seconds"]) == {"probe", "decode", "infer", "assemble", "resample", "encode", "total"}
