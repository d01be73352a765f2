"""What holds for every size, kind of pixels, depth, tile and output: a few draws each time, many in the slow run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import pictures

from stackctl.imaging import Network, Options, probe, upscale
from stackctl.imaging.decode import decode
from stackctl.imaging.encode import encode_pixels
from stackctl.imaging.metadata import Metadata

_QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
FEW = settings(max_examples=8, **_QUIET)
MANY = settings(max_examples=40, **_QUIET)
SHORT, LONG = st.integers(1, 70), st.one_of(st.integers(1, 20), st.integers(1, 300))
CHANNELS = st.integers(1, 4)
DEPTHS = st.sampled_from([8, 16])
TILES = st.one_of(st.just(0), st.integers(16, 120))


def sources(levels: pictures.Levels) -> bytes:
    """Return the levels as PNG, whatever their channels and depth."""
    return encode_pixels(levels.copy(), Metadata(), to="png", quality=95).data


def levels_of(data: bytes) -> pictures.Levels:
    """Return H×W×C levels, alpha last."""
    image = decode(data, probe(data))
    return image.colour if image.alpha is None else np.dstack([image.colour, image.alpha])


def check_shape_depth_and_sameness(
    network: Network, height: int, width: int, channels: int, depth: int, tile: int, outscale: float, alpha: str
) -> None:
    levels = pictures.noise(height, width, channels, depth=depth, seed=height + width)
    data, options = sources(levels), Options(tile=tile, outscale=outscale, alpha=alpha)
    factor = outscale or network.scale

    encoded, report = upscale(data, network, options)

    out = levels_of(encoded)
    assert out.shape == (max(1, round(height * factor)), max(1, round(width * factor)), channels)
    assert out.dtype == levels.dtype
    assert (report.out_height, report.out_width, report.bit_depth, report.dropped) == (*out.shape[:2], depth, ())
    assert upscale(data, network, options)[0] == encoded


def check_tiled_is_untiled(network: Network, height: int, width: int, channels: int, depth: int, tile: int) -> None:
    data = sources(pictures.noise(height, width, channels, depth=depth, seed=height * width))

    whole, tiled = (levels_of(upscale(data, network, Options(tile=side))[0]).astype(int) for side in (1000, tile))

    assert np.abs(whole - tiled).max() <= (1 if depth == 8 else 8)  # 8 of 65535: float rounding


def shapes(lengths: st.SearchStrategy[int]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Draw every argument of `check_shape_depth_and_sameness`."""
    scales = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.3, 4.0])
    alphas = st.sampled_from(["bicubic", "network"])
    drawn = {"height": lengths, "width": lengths, "channels": CHANNELS, "depth": DEPTHS, "tile": TILES}
    return given(**drawn, outscale=scales, alpha=alphas)


def tilings(lengths: st.SearchStrategy[int]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Draw every argument of `check_tiled_is_untiled`."""
    return given(height=lengths, width=lengths, channels=CHANNELS, depth=DEPTHS, tile=st.integers(16, 120))


@FEW
@shapes(SHORT)
def test_shape_depth_and_channels_survive_and_answers_repeat(network: Network, **drawn: Any) -> None:
    check_shape_depth_and_sameness(network, **drawn)


@FEW
@tilings(SHORT)
def test_tiled_equals_untiled_on_every_pixel(network: Network, **drawn: Any) -> None:
    check_tiled_is_untiled(network, **drawn)


@pytest.mark.slow
@MANY
@shapes(LONG)
def test_shape_depth_and_channels_survive_and_answers_repeat_for_many(network: Network, **drawn: Any) -> None:
    check_shape_depth_and_sameness(network, **drawn)


@pytest.mark.slow
@MANY
@tilings(LONG)
def test_tiled_equals_untiled_on_every_pixel_of_many(network: Network, **drawn: Any) -> None:
    check_tiled_is_untiled(network, **drawn)


@FEW
@given(height=LONG, width=LONG, channels=CHANNELS, depth=DEPTHS, kind=st.sampled_from(["png", "tiff"]))
def test_lossless_formats_give_back_what_was_written(
    height: int, width: int, channels: int, depth: int, kind: str
) -> None:
    levels = pictures.noise(height, width, channels, depth=depth, seed=width)
    if (kind, channels, depth) == ("tiff", 2, 16):
        return  # written, but read by nothing here

    assert np.array_equal(levels_of(encode_pixels(levels.copy(), Metadata(), to=kind, quality=95).data), levels)
