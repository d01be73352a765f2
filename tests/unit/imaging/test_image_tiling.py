"""Tiles must cover the image once, carry their halo and come in few shapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.imaging.tiling import FADE, MEMORY, WINDOWS, Span, plan

LENGTHS = st.integers(1, 3000)
HALOS = st.integers(0, 40)
TILES = st.one_of(st.just(0), st.integers(16, 700))


def spans(length: int, halo: int, tile: int) -> tuple[Span, ...]:
    return plan(length, 1, halo, tile).rows


@given(LENGTHS, HALOS, TILES)
def test_every_pixel_is_answered_exactly_once(length: int, halo: int, tile: int) -> None:
    covered = [pixel for span in spans(length, halo, tile) for pixel in range(span.first, span.last)]

    assert covered == list(range(length))


@given(LENGTHS, HALOS, TILES)
def test_every_tile_carries_its_halo_or_ends_at_the_image(length: int, halo: int, tile: int) -> None:
    for span in spans(length, halo, tile):
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.start == 0 or span.first - span.start >= halo
        assert span.stop == length or span.stop - span.last >= halo


@given(LENGTHS, HALOS, TILES)
def test_all_tiles_of_an_image_have_one_shape(length: int, halo: int, tile: int) -> None:
    assert len({span.stop - span.start for span in spans(length, halo, tile)}) == 1


@given(st.integers(max(WINDOWS) + 1, 6000), st.integers(max(WINDOWS) + 1, 6000), st.integers(0, 40))
def test_images_of_any_size_share_a_few_shapes_of_tiles(height: int, width: int, halo: int) -> None:
    assert set(plan(height, width, halo).shape) <= set(WINDOWS)


@given(LENGTHS, LENGTHS, HALOS, st.integers(200, 1500))
def test_a_tile_keeps_within_the_memory_budget(height: int, width: int, halo: int, bytes_per_pixel: int) -> None:
    rows, columns = plan(height, width, halo, bytes_per_pixel=bytes_per_pixel).shape

    assert rows * columns * bytes_per_pixel <= MEMORY


@pytest.mark.parametrize(("halo", "most"), [(10, 1.15), (18, 1.15), (34, 1.40)])
def test_tiling_a_square_of_1024_costs_little_more_than_its_area(halo: int, most: float) -> None:
    tiles = plan(1024, 1024, halo, bytes_per_pixel=576)

    assert len(tiles) * tiles.shape[0] * tiles.shape[1] / 1024**2 <= most


@given(st.integers(1, 600), HALOS, TILES, st.sampled_from([2, 4]))
def test_positions_and_sizes_are_multiples_where_the_network_needs_them(
    length: int, halo: int, tile: int, multiple: int
) -> None:
    tiles = plan(length * multiple, multiple, halo, tile, multiple=multiple)

    assert all(span.start % multiple == 0 and span.stop % multiple == 0 for span in tiles.rows)
    assert [span.first for span in tiles.rows[1:]] == [span.last for span in tiles.rows[:-1]]


@given(st.integers(1, 3000), TILES)
def test_what_two_tiles_fade_over_lies_inside_both_and_apart_from_the_next(length: int, tile: int) -> None:
    tiles = plan(length, 1, None, tile)
    fade = tiles.row_fade

    assert fade <= FADE
    for before, after in zip(tiles.rows, tiles.rows[1:], strict=False):
        assert after.start <= before.last - fade
        assert before.last + fade <= before.stop
        assert after.last - after.first >= 2 * fade or after is tiles.rows[-1]


@pytest.mark.parametrize("halo", [None, 348])
def test_a_field_that_no_tile_can_carry_is_overlapped_and_said_to_be_inexact(halo: int | None) -> None:
    tiles = plan(1000, 1000, halo)

    assert not tiles.exact
    assert tiles.rows[0].stop - tiles.rows[1].start >= 64
    assert plan(100, 100, halo).exact


def test_a_field_that_tiles_carry_is_exact() -> None:
    assert plan(1000, 1000, 10).exact
