"""Where tiles lie, so that a tiled answer equals the untiled one and few shapes occur.

Tiles never reach beyond the image: a network pads every layer with zeros at the border it is given, so only a tile
whose border is the image's own border answers there as the whole image would. Inside, each tile carries a halo that is
cut off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import BadOption

MAX_WINDOW = 544
"""Longest side in input pixels of a tile with its halo when it is chosen here."""
_STEP = 16
_LARGEST_HALO = 64
"""Beyond it a tile would be mostly halo: such networks overlap by less than their field, and plans say so."""
_PARTIAL_HALO = 32
"""Overlap of networks whose field is too large or has no known bound: seams are then small, not absent."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis: it reads [start, stop) and answers for [first, last), all in input pixels."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """The tiles of an image: every row span with every column span."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    exact: bool

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """Yield (row span, column span) of every tile, row by row."""
        return ((row, column) for row in self.rows for column in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


def plan(height: int, width: int, halo: int | None, tile: int = 0) -> Plan:
    """Return the tiles of a height×width image.

    Args:
        height: of the input in pixels.
        width: of the input in pixels.
        halo: what the network needs around a tile, in pixels; None when unbounded.
        tile: side of a tile's core in pixels, without its halo; 0 chooses it.

    Raises:
        BadOption: the tile is negative.
    """
    if tile < 0:
        raise BadOption(f"tile must not be negative: {tile}")
    covered = halo is not None and halo <= _LARGEST_HALO
    margin = halo if halo is not None and covered else _PARTIAL_HALO
    rows, columns = (_spans(length, margin, tile) for length in (height, width))
    return Plan(rows, columns, exact=covered or len(rows) * len(columns) == 1)


def _spans(length: int, halo: int, tile: int) -> tuple[Span, ...]:
    window = tile + 2 * halo if tile else _balanced_window(length, halo)
    if length <= window:
        return (Span(0, length, 0, length),)
    spans: list[Span] = []
    first = 0
    while first < length:
        start = min(max(first - halo, 0), length - window)
        stop = start + window
        last = length if stop == length else stop - halo
        spans.append(Span(start, stop, first, last))
        first = last
    return tuple(spans)


def _balanced_window(length: int, halo: int) -> int:
    """Return the smallest window, in steps of 16, of the fewest tiles that cover the length."""
    if length <= MAX_WINDOW:
        return length
    count = math.ceil((length - 2 * halo) / (MAX_WINDOW - 2 * halo))
    needed = math.ceil((length + (count - 1) * 2 * halo) / count)
    return min(MAX_WINDOW, math.ceil(needed / _STEP) * _STEP)
