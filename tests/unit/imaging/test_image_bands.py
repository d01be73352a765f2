"""What happens between the tiles and the output: seams, padding, other sizes, failures; and what it costs in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import pictures

from stackctl.imaging import BackendError, Limits, Network, Options, peak_bytes, probe, upscale
from stackctl.imaging.backends import Backend, BackendPrecision, Levels
from stackctl.imaging.errors import ImageTooLarge
from stackctl.imaging.graph import GraphFacts
from stackctl.imaging.resample import resize, resize_rows, rows_needed, rows_ready

RELAXED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Repeating:
    """A backend that repeats every pixel `scale` times, adds what its caller gives, and counts its tiles."""

    name = "repeating"
    precision: BackendPrecision = "fp32"

    def __init__(self, scale: int, multiple: int = 1) -> None:
        self.scale, self.multiple = scale, multiple
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, tile: Levels) -> Levels:
        assert tile.shape[0] % self.multiple == 0
        assert tile.shape[1] % self.multiple == 0
        self.shapes.append(tile.shape)
        return tile.repeat(self.scale, axis=0).repeat(self.scale, axis=1)


def network_of(backend: Backend, scale: int, halo: int | None, multiple: int = 1) -> Network:
    return Network(GraphFacts(scale, halo, multiple), "fp32", lambda _: backend)


@RELAXED
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), halo=st.sampled_from([0, 3, None]), tile=st.integers(16, 60),
    channels=st.sampled_from([1, 2, 3, 4]), multiple=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_every_pixel_lands_where_it_belongs_whatever_the_tiles(
    height: int, width: int, halo: int | None, tile: int, channels: int, multiple: int
) -> None:
    levels = pictures.noise(height, width, channels)
    backend = Repeating(2, multiple)

    options = Options(tile=tile, alpha="network")
    encoded, report = upscale(pictures.encode(levels), network_of(backend, 2, halo, multiple), options)

    out = pictures.opened(encoded)
    assert np.array_equal(np.asarray(out).reshape(height * 2, width * 2, channels), levels.repeat(2, 0).repeat(2, 1))
    assert report.tiles * (2 if channels in {2, 4} else 1) == len(backend.shapes)


class Numbering(Repeating):
    """Answers a flat tile whose level is the number of the call: what is left of each tile shows."""

    def infer(self, tile: Levels) -> Levels:
        answer = super().infer(tile)
        answer[:] = 100 * (len(self.shapes) % 2)
        return answer


def test_tiles_that_disagree_fade_into_each_other_and_covered_ones_are_cut() -> None:
    data = pictures.encode(np.zeros((40, 300, 3), np.uint8))

    faded, report = upscale(data, network_of(Numbering(1), 1, None), Options(tile=100))
    cut, exact = upscale(data, network_of(Numbering(1), 1, 10), Options(tile=100))

    def steps(encoded: bytes) -> int:
        return int(np.abs(np.diff(pictures.pixels(encoded)[20, :, 0].astype(int))).max())

    assert (report.exact, exact.exact) == (False, True)
    assert steps(faded) <= 4  # 100 levels over 32 pixels
    assert steps(cut) == 100


class Failing(Repeating):
    """Fails on its third tile, as a full memory would have it."""

    def infer(self, tile: Levels) -> Levels:
        if len(self.shapes) == 2:
            raise BackendError("out of memory")
        return super().infer(tile)


class Wrong(Repeating):
    """Answers its third tile with one of another size."""

    def infer(self, tile: Levels) -> Levels:
        answer = super().infer(tile)
        return answer[:-1] if len(self.shapes) == 3 else answer


@pytest.mark.parametrize("kind", [Failing, Wrong])
def test_one_tile_that_fails_fails_the_image(kind: type[Repeating]) -> None:
    with pytest.raises(BackendError):
        upscale(pictures.encode(pictures.noise(90, 90)), network_of(kind(2), 2, 3), Options(tile=20))


@RELAXED
@given(
    before=st.integers(1, 120), after=st.integers(1, 200), width=st.integers(1, 20), band=st.integers(1, 80),
    depth=st.sampled_from([8, 16]),
)  # fmt: skip
def test_rows_resized_in_bands_are_those_of_the_whole(
    before: int, after: int, width: int, band: int, depth: int
) -> None:
    levels = pictures.noise(before, width, depth=depth)
    size = (after, max(1, width * after // before))
    whole = resize(levels, *size)

    made: list[NDArray[Any]] = []
    for first in range(0, after, band):
        last = min(after, first + band)
        top, bottom = rows_needed(before, after, first, last)
        assert rows_ready(before, after, bottom) >= last
        made.append(resize_rows(levels[top:bottom], top, before, size, first, last))

    assert np.abs(np.concatenate(made).astype(int) - whole).max() <= (1 if depth == 8 else 8)


@pytest.mark.parametrize("outscale", [1.0, 1.7, 2.0, 3.0, 6.5])
def test_another_outscale_made_in_bands_is_that_made_at_once(network: Network, outscale: float) -> None:
    data = pictures.encode(pictures.noise(150, 131))

    tiled, whole = (
        pictures.pixels(upscale(data, network, Options(outscale=outscale, tile=tile))[0]).astype(int)
        for tile in (24, 1000)
    )

    assert np.abs(tiled - whole).max() <= 2  # each tile within 1, and what resampling makes of it


def test_alpha_by_the_network_is_its_answer_to_the_alpha_as_a_grey_picture(network: Network) -> None:
    levels = pictures.noise(30, 37, 4)

    out = pictures.pixels(upscale(pictures.encode(levels), network, Options(alpha="network", tile=16))[0])
    grey = pictures.pixels(upscale(pictures.encode(levels[:, :, 3:]), network)[0])

    assert np.abs(out[:, :, 3].astype(int) - grey).max() <= 1


def test_the_estimate_of_memory_grows_with_the_output_and_refuses_before_decoding(network: Network) -> None:
    small, large = (probe(pictures.lying_png(side, side)) for side in (500, 3000))

    assert peak_bytes(small, scale=4) < peak_bytes(large, scale=4)
    assert peak_bytes(large, scale=4, outscale=2) < peak_bytes(large, scale=4)
    assert peak_bytes(large, scale=4) > 3000 * 3000 * 16
    with pytest.raises(ImageTooLarge, match="memory"):
        upscale(pictures.lying_png(3000, 3000), network, Options(limits=Limits(max_memory=400 * 2**20)))


def test_the_report_tells_the_tiles_and_every_phase(network: Network) -> None:
    report = upscale(pictures.encode(pictures.noise(90, 70)), network, Options(tile=32, outscale=3))[1]

    assert (report.tiles, report.tile) == (6, (52, 52))
    assert set(report.seconds) == {"probe", "decode", "infer", "assemble", "resample", "encode", "total"}
    assert sum(report.seconds.values()) - report.seconds["total"] <= report.seconds["total"]
    assert report.to_dict()["tile"] == [52, 52]
