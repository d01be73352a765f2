"""Sizes that the network does not make by itself, and the alpha channel; in bands, so that no second canvas is held.

Lanczos for smaller sizes (antialiased), bicubic for larger ones, both Pillow's, per channel in 32-bit floats: its way
with 8 bits clips between rows and columns, by up to 7 levels at hard edges and not the same for every band.
"""

from __future__ import annotations

import math

import numpy as np

from .backends import Levels

_SUPPORT = {True: 3.0, False: 2.0}
"""How far Lanczos (smaller sizes) and bicubic (larger ones) reach, in pixels of the coarser side."""


def resize(levels: Levels, height: int, width: int) -> Levels:
    """Return H×W×C levels (uint8 or uint16, C = 1 or 3) at another size; the same array when it has that size."""
    if levels.shape[:2] == (height, width):
        return levels
    return resize_rows(levels, 0, levels.shape[0], (height, width), 0, height)


def rows_needed(whole: int, height: int, first: int, last: int) -> tuple[int, int]:
    """Return the source rows [top, bottom) of `whole` that output rows [first, last) of `height` depend on."""
    step = whole / height
    reach = _SUPPORT[step > 1] * max(step, 1.0) + 1
    return max(0, math.floor(first * step - reach)), min(whole, math.ceil(last * step + reach))


def rows_ready(whole: int, height: int, available: int) -> int:
    """Return how many output rows of `height` the first `available` rows of `whole` determine."""
    if available >= whole:
        return height
    ready = max(0, math.floor(available * height / whole))
    while ready and rows_needed(whole, height, 0, ready)[1] > available:
        ready -= 1
    return ready


def resize_rows(levels: Levels, top: int, whole: int, size: tuple[int, int], first: int, last: int) -> Levels:
    """Return output rows [first, last) of an image resized to `size` (height, width).

    Args:
        levels: h×W×C source rows that begin at row `top` and hold at least `rows_needed`.
        top: of `levels` in the source.
        whole: height of the source.
        size: of the whole output.
        first: first output row.
        last: one past the last.
    """
    from PIL import Image

    height, width = size
    shrinks = height * width < whole * levels.shape[1]
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    box = (0.0, first * whole / height - top, float(levels.shape[1]), last * whole / height - top)
    target = (width, last - first)
    planes = [
        np.asarray(Image.fromarray(levels[:, :, channel].astype(np.float32)).resize(target, method, box=box))
        for channel in range(levels.shape[2])
    ]
    peak = np.iinfo(levels.dtype).max
    deep: Levels = np.clip(np.rint(np.dstack(planes)), 0, peak).astype(levels.dtype)
    return deep
