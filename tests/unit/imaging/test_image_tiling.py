"""Tiles must cover the image once, carry their halo and come in few shapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.imaging.tiling import MAX_WINDOW, Span, plan

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


@given(st.integers(MAX_WINDOW + 1, 6000), st.integers(0, 40))
def test_chosen_tiles_are_bounded_and_of_few_sizes(length: int, halo: int) -> None:
    window = spans(length, halo, 0)[0].stop

    assert window <= MAX_WINDOW
    assert window % 16 == 0


@pytest.mark.parametrize(("halo", "most"), [(10, 1.10), (18, 1.15)])
def test_tiling_a_square_of_1024_costs_little_more_than_its_area(halo: int, most: float) -> None:
    tiles = plan(1024, 1024, halo)
    computed = sum((row.stop - row.start) * (column.stop - column.start) for row, column in tiles)

    assert computed / 1024**2 <= most


@pytest.mark.parametrize("halo", [None, 348])
def test_a_field_that_no_tile_can_carry_is_overlapped_and_said_to_be_inexact(halo: int | None) -> None:
    tiles = plan(1000, 1000, halo)

    assert not tiles.exact
    assert tiles.rows[0].stop - tiles.rows[1].start >= 64
    assert plan(100, 100, halo).exact


def test_a_field_that_tiles_carry_is_exact() -> None:
    assert plan(1000, 1000, 10).exact
