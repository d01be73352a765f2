"""Runs the tiles of a plan and fills a canvas with their answers, row band by row band from the top.

Only the canvas of the output's own size is held as a whole. Where the output is of another size than the network's
answer, the answer exists as one band at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .backends import Levels
from .errors import BackendError
from .resample import resize_rows, rows_needed, rows_ready
from .tiling import Plan, Span

Infer = Callable[[Levels], Levels]
_BAND = 32


class Rows(Protocol):
    """Takes the network's answer, rows in order."""

    def rows(self, first: int, last: int) -> Levels:
        """Return a writable view of rows [first, last) of the answer; what was written there before is still there."""

    def done(self, last: int) -> int:
        """Say that rows before `last` are final; return how many rows of the output are."""


class Direct:
    """The answer has the output's size: it is written where it stays."""

    def __init__(self, canvas: Levels) -> None:
        self._canvas = canvas

    def rows(self, first: int, last: int) -> Levels:
        """See `Rows.rows`. Rows beyond the canvas (of a padded input) do not exist."""
        return self._canvas[first : min(last, len(self._canvas))]

    def done(self, last: int) -> int:
        """See `Rows.done`."""
        return min(last, len(self._canvas))


class Resized:
    """The output has another size: rows are resampled into the canvas as soon as their neighbours are there."""

    def __init__(self, canvas: Levels, height: int, width: int) -> None:
        """Keep the canvas (the output) and the size of the network's whole answer."""
        self._canvas = canvas
        self._height, self._width = height, width
        self._made = 0
        self._top = 0
        self._buffer: Levels = np.empty((0, width, canvas.shape[2]), canvas.dtype)

    def rows(self, first: int, last: int) -> Levels:
        """See `Rows.rows`."""
        last = min(last, self._height)
        missing = last - self._top - len(self._buffer)
        if missing > 0:
            more = np.empty((missing, *self._buffer.shape[1:]), self._buffer.dtype)
            self._buffer = np.concatenate([self._buffer, more])
        return self._buffer[first - self._top : last - self._top]

    def done(self, last: int) -> int:
        """See `Rows.done`."""
        target = (len(self._canvas), self._canvas.shape[1])
        ready = rows_ready(self._height, target[0], min(last, self._height))
        if ready > self._made:
            for first in range(self._made, ready, _BAND):
                last_made = min(ready, first + _BAND)
                begin, end = rows_needed(self._height, target[0], first, last_made)
                part = self._buffer[begin - self._top : end - self._top]
                self._canvas[first:last_made] = resize_rows(part, begin, self._height, target, first, last_made)
            self._made = ready
            needed = rows_needed(self._height, target[0], ready, target[0])[0] if ready < target[0] else self._height
            keep = min(needed, last)
            self._buffer = self._buffer[max(0, keep - self._top) :].copy()
            self._top = max(self._top, keep)
        return self._made


def fill(levels: Levels, plan: Plan, infer: Infer, scale: int, out: Rows, ready: Callable[[int], None]) -> None:
    """Run every tile of H×W×C `levels` and write the answers.

    Args:
        levels: the input, padded to what the network needs.
        plan: of its tiles.
        infer: one tile's answer.
        scale: of the network.
        out: takes the answer.
        ready: is told after each row of tiles how many rows of the output are final.

    Raises:
        BackendError: a tile failed: the image fails with it, no tile is ever left as it was.
    """
    width = min(levels.shape[1] * scale, out.rows(0, 1).shape[1])
    for number, row in enumerate(plan.rows):
        first, last = _answered(row, plan.row_fade, levels.shape[0])
        band = out.rows(first * scale, last * scale)
        shared = 2 * plan.row_fade * scale if number else 0
        head = np.empty_like(band[:shared])
        for column in plan.columns:
            left, right = _answered(column, plan.column_fade, levels.shape[1])
            answer = _infer(levels[row.start : row.stop, column.start : column.stop], infer, scale)
            answer = answer[(first - row.start) * scale :, (left - column.start) * scale :]
            answer = answer[: len(band), : min(right * scale, width) - left * scale]
            place = slice(left * scale, left * scale + answer.shape[1])
            if plan.column_fade and column.start:
                seam = slice(place.start, place.start + 2 * plan.column_fade * scale)
                before = np.concatenate([head[:, seam], band[shared:, seam]])
                answer = np.concatenate(
                    [_mix(before, answer[:, : before.shape[1]], 1), answer[:, before.shape[1] :]], 1
                )
            head[:, place], band[shared:, place] = answer[:shared], answer[shared:]
        if shared:
            band[:shared] = _mix(band[:shared], head, 0)
        final = row.last - plan.row_fade if number + 1 < len(plan.rows) else row.last
        ready(out.done(final * scale))


def fill_alpha(alpha: Levels, canvas: Levels) -> None:
    """Resample H×W×1 levels into a canvas h×w×1, band by band."""
    height, width = canvas.shape[:2]
    for first in range(0, height, _BAND):
        last = min(height, first + _BAND)
        top, bottom = rows_needed(len(alpha), height, first, last)
        canvas[first:last] = resize_rows(alpha[top:bottom], top, len(alpha), (height, width), first, last)


def pad(levels: Levels, multiple: int) -> Levels:
    """Return the levels with rows and columns mirrored below and to the right, up to multiples of `multiple`."""
    below, right = -levels.shape[0] % multiple, -levels.shape[1] % multiple
    if not below and not right:
        return levels
    return np.pad(levels, ((0, below), (0, right), (0, 0)), mode="reflect")


def _answered(span: Span, fade: int, length: int) -> tuple[int, int]:
    return (span.first - fade if span.first else 0), (span.last + fade if span.last < length else length)


def _infer(tile: Levels, infer: Infer, scale: int) -> Levels:
    answer = infer(tile)
    expected = (tile.shape[0] * scale, tile.shape[1] * scale, tile.shape[2])
    if answer.shape != expected or answer.dtype != tile.dtype:
        raise BackendError(f"The network answered {answer.shape} {answer.dtype} to a tile that needs {expected}.")
    return answer


def _mix(before: Levels, after: Levels, axis: int) -> Levels:
    """Return a linear fade from `before` to `after` along an axis, rounded half to even."""
    length = after.shape[axis]
    shape = [1, 1, 1]
    shape[axis] = length
    share: NDArray[Any] = ((np.arange(length, dtype=np.float32) + 0.5) / length).reshape(shape)
    mixed: Levels = np.rint(before * (1 - share) + after * share).astype(after.dtype)
    return mixed
