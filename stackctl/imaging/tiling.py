"""Where tiles lie, so that a tiled answer equals the untiled one, memory keeps its bound and few shapes occur.

Tiles never reach beyond the image: a network pads every layer with zeros at the border it is given, so only a tile
whose border is the image's own border answers there as the whole image would. Inside, each tile carries a halo that is
cut off; where no tile can carry the whole field, neighbours overlap and fade into each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .errors import BadOption

WINDOWS = tuple(range(128, 545, 16))
"""Sides in input pixels of tiles with their halo: few shapes occur whatever the sizes of images."""
MEMORY = 172 * 1024 * 1024
"""What the network's values in one tile of a small image may take, in bytes."""
_LEAST_MEMORY = 96 * 1024 * 1024
_BESIDE_A_PIXEL = 6
"""Bytes per input pixel that the whole image takes beside its tiles: they leave less for one tile."""
LARGEST_HALO = 64
"""Beyond it a tile would be mostly halo: such networks overlap by less than their field, and plans say so."""
PARTIAL_HALO = 32
"""Overlap of networks whose field is too large or has no known bound."""
FADE = 16
"""Pixels to either side of the border between two such tiles in which one fades into the other."""
_LEAST_PIXELS = 256 * 256
"""Tiles of networks that overlap are not made smaller than this, whatever the budget: they would be all overlap."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis: it reads [start, stop) and answers for [first, last), all in input pixels."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """The tiles of an image: every row span with every column span.

    Attributes:
        rows: from the top.
        columns: from the left.
        exact: the tiled answer is the untiled one.
        row_fade: input pixels to either side of a border between rows that both tiles answer for; 0 is a clean cut.
        column_fade: likewise between columns.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    exact: bool
    row_fade: int = 0
    column_fade: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Return the (height, width) of every tile with its halo, in input pixels."""
        return self.rows[0].stop - self.rows[0].start, self.columns[0].stop - self.columns[0].start

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """Yield (row span, column span) of every tile, row by row."""
        return ((row, column) for row in self.rows for column in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


def plan(
    height: int, width: int, halo: int | None, tile: int = 0, *, multiple: int = 1, bytes_per_pixel: int = 0
) -> Plan:
    """Return the tiles of a height×width image.

    Args:
        height: of the input in pixels, a multiple of `multiple`.
        width: of the input in pixels, likewise.
        halo: what the network needs around a tile, in pixels; None when unbounded.
        tile: side of a tile's core in pixels, without its halo; 0 chooses it.
        multiple: what every tile's position and size must be a multiple of.
        bytes_per_pixel: of the network's values in one tile, per input pixel; bounds the tiles that are chosen here.

    Raises:
        BadOption: the tile is negative.
    """
    if tile < 0:
        raise BadOption(f"tile must not be negative: {tile}")
    covered = halo is not None and halo <= LARGEST_HALO
    margin = _up(halo if halo is not None and covered else PARTIAL_HALO, multiple)
    if tile:
        sides = (_up(tile, multiple) + 2 * margin,) * 2
    else:
        sides = _choose(height, width, margin, _pixels_allowed(height * width, bytes_per_pixel, covered=covered))
    rows, columns = (
        _spans(length, margin, side, multiple) for length, side in zip((height, width), sides, strict=True)
    )
    if covered or len(rows) * len(columns) == 1:
        return Plan(rows, columns, exact=True)
    return Plan(rows, columns, exact=False, row_fade=_fade(rows), column_fade=_fade(columns))


def _pixels_allowed(image: int, bytes_per_pixel: int, *, covered: bool) -> int:
    most = max(WINDOWS) ** 2
    if not bytes_per_pixel:
        return most
    least = WINDOWS[0] ** 2 if covered else _LEAST_PIXELS
    # Half as much again: runtimes keep buffers beside the values that live.
    budget = max(_LEAST_MEMORY, MEMORY - _BESIDE_A_PIXEL * image)
    return min(most, max(least, budget * 2 // (3 * bytes_per_pixel)))


def _choose(height: int, width: int, margin: int, allowed: int) -> tuple[int, int]:
    """Return the window (height, width) within the allowed pixels that computes the least in all."""
    rows, columns = (_candidates(length, margin) for length in (height, width))
    fitting = [
        (row_cost * column_cost, row_side * column_side, row_side, column_side)
        for row_side, row_cost in rows
        for column_side, column_cost in columns
        if row_side * column_side <= allowed
    ]
    if not fitting:
        return min(height, WINDOWS[0]), min(width, WINDOWS[0])
    return min(fitting)[2:]


def _candidates(length: int, margin: int) -> list[tuple[int, int]]:
    """Return (window, pixels computed along this axis) of the windows that can be used along it."""
    found = [(side, side * _count(length, margin, side)) for side in WINDOWS if 2 * margin < side < length]
    return [*found, (length, length)] if length <= WINDOWS[-1] or not found else found


def _count(length: int, margin: int, side: int) -> int:
    return 1 if length <= side else math.ceil((length - 2 * margin) / (side - 2 * margin))


def _spans(length: int, margin: int, side: int, multiple: int) -> tuple[Span, ...]:
    """Return evenly spread windows of one size; the border between two lies in the middle of what they share."""
    count = _count(length, margin, side)
    if count == 1:
        return (Span(0, length, 0, length),)
    starts = [number * (length - side) // (count - 1) // multiple * multiple for number in range(count)]
    starts[-1] = length - side
    borders = [(before + side + after) // 2 for before, after in pairwise(starts)]
    return tuple(
        Span(start, start + side, first, last)
        for start, first, last in zip(starts, [0, *borders], [*borders, length], strict=True)
    )


def _fade(spans: tuple[Span, ...]) -> int:
    if len(spans) == 1:
        return 0
    return min(FADE, min(after.start - before.start for before, after in pairwise(spans)) // 2)


def _up(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
