"""What an input costs, in pixels: read from its header, or estimated from its bytes by what earlier inputs had."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

PIXELS_PER_BYTE = {".png": 0.7, ".jpg": 4.0, ".jpeg": 4.0, ".webp": 8.0, ".tif": 0.4, ".tiff": 0.4, ".bmp": 1 / 3}
"""Of photos, where nothing was learned yet."""
HEADER = 64 * 1024
"""Bytes in which the size of nearly every image is told."""
_LEARN_FROM = 2_000


@dataclass(frozen=True)
class Estimate:
    """How pixels are estimated.

    Attributes:
        factors: pixels per byte, by the ending in lower case.
        probe: asked first, or None.
    """

    factors: Mapping[str, float]
    probe: Callable[[str], int | None] | None = None

    @classmethod
    def learned(cls, connection: sqlite3.Connection, probe: Callable[[str], int | None] | None) -> Estimate:
        """Learn the factors from the newest records of ``manifest.records``."""
        size: dict[str, int] = {}
        pixels: dict[str, int] = {}
        for name, each_size, each_pixels in connection.execute(
            "SELECT name, size, pixels FROM manifest.records ORDER BY id DESC LIMIT ?", (_LEARN_FROM,)
        ):
            if each_size and each_pixels:
                ending = _ending(name)
                size[ending] = size.get(ending, 0) + each_size
                pixels[ending] = pixels.get(ending, 0) + each_pixels
        return cls({**PIXELS_PER_BYTE, **{ending: pixels[ending] / size[ending] for ending in size}}, probe)

    def pixels(self, name: str, size: int) -> int:
        """Return an input's pixels, at least 1."""
        found = self.probe(name) if self.probe else None
        return found or max(1, int(size * self.factors.get(_ending(name), 1.0)))


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
